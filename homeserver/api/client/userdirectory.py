"""The user directory.

Spec: client-server-api#user-directory
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from homeserver.accounts.userdirectory import UserDirectory
from homeserver.api.route import Call, Reply, Route
from homeserver.storage.names import Match


class Search(Struct, frozen=True):
    """The body of a search for people."""

    search_term: str
    limit: Annotated[int, Meta(ge=0)] = 10


def routes(directory: UserDirectory) -> tuple[Route, ...]:
    """The endpoint that finds people."""

    async def search(call: Call) -> Reply:
        body: Search = call.body
        found, limited = await directory.search(call.caller.user_id, body.search_term, body.limit)
        return {"results": [_show(match) for match in found], "limited": limited}

    return (
        Route(
            method="POST",
            path="/_matrix/client/v3/user_directory/search",
            handle=search,
            rate="search",
            spec="client-server-api#post_matrixclientv3user_directorysearch",
            body=Search,
        ),
    )


def _show(match: Match) -> dict[str, Any]:
    fields = {"user_id": match.user_id, "display_name": match.displayname, "avatar_url": match.avatar_url}
    return {name: value for name, value in fields.items() if value is not None}
