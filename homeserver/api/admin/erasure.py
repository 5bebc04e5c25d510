"""Erasing people for good, and seeing how far that has come; for operators.

School: row 47
"""

from msgspec import Struct

from federation.ids import UserID, parse_user_id
from homeserver.accounts.erasure import Erasures
from homeserver.api.route import Answer, Call, Reply, Route
from homeserver.operators import Operators
from homeserver.policy import Administer

_PATH = "/_parta/admin/v1/accounts/{userId}/erasure"


class ErasureBody(Struct, frozen=True):
    """`reported`: it is known that reports about the person wait to be settled."""

    reported: bool = False


def routes(erasures: Erasures, operators: Operators) -> tuple[Route, ...]:
    """The endpoints of erasures."""
    api = _ErasureAPI(erasures, operators)
    return (
        Route(
            method="POST",
            path=_PATH,
            handle=api.begin,
            auth="admin",
            rate="other",
            body=ErasureBody,
            body_optional=True,
        ),
        Route(method="GET", path=_PATH, handle=api.see, auth="admin", rate="other"),
    )


class _ErasureAPI:
    def __init__(self, erasures: Erasures, operators: Operators) -> None:
        self._erasures = erasures
        self._operators = operators

    async def begin(self, call: Call) -> Reply:
        body: ErasureBody = call.body
        user_id = _person(call)
        entry = await self._operators.check(Administer(by=call.caller.user_id, deed="erase", person=user_id))
        await self._erasures.begin(user_id, entry, reported=body.reported)
        return Answer(202, await self._show(user_id))

    async def see(self, call: Call) -> Reply:
        return await self._show(_person(call))

    async def _show(self, user_id: UserID) -> dict[str, object]:
        erasure = await self._erasures.find(user_id)
        times = {"began_ms": erasure.began_ms, "ended_ms": erasure.ended_ms}
        return {"user_id": user_id, "stage": erasure.stage, "by": erasure.by, **times}


def _person(call: Call) -> UserID:
    return parse_user_id(call.params["userId"])
