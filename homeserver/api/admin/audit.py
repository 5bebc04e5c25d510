"""The audit log of the whole region, for operators; that of a school is read with the school's own API."""

from typing import Final

import msgspec

from homeserver.api.route import Call, Reply, Route
from homeserver.operators import MOST_ENTRIES, Operators
from homeserver.storage.audit import Which

_PAGE: Final = 100


def routes(operators: Operators) -> tuple[Route, ...]:
    """The endpoint of the log: newest first, `from` the entry below which the next page begins."""

    async def read(call: Call) -> Reply:
        query = call.query
        limit = min(query.int("limit", _PAGE, least=1), MOST_ENTRIES)
        which = Which(
            before=query.int("from"),
            org_id=query.str("org_id"),
            done_by=query.str("done_by"),
            subject=query.str("subject"),
        )
        entries = await operators.load(call.caller.user_id, which, limit)
        page: dict[str, object] = {"entries": [msgspec.structs.asdict(entry) for entry in entries]}
        return page | {"next": entries[-1].entry} if len(entries) == limit else page

    return (Route(method="GET", path="/_parta/admin/v1/audit", handle=read, auth="admin", rate="other"),)
