"""What regions ask and tell each other beyond Matrix: role claims, and the halves of cooperations.

Who belongs to no cooperation with the asking region is answered like one who does not exist.

School: rows 63, 67, 68
"""

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from federation.errors import BadIdentifier
from federation.ids import UserID, parse_user_id, server_of
from homeserver.api.errors import BadParam
from homeserver.api.route import Call, Reply, Route
from homeserver.schools.cooperation.claims import MOST_PEOPLE, PATH, Claims
from homeserver.schools.cooperation.notices import PATH as COOPERATIONS
from homeserver.schools.cooperation.notices import Notice, Notices

_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_People = Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=MOST_PEOPLE)]


class AskBody(Struct, frozen=True):
    """For whom claims are asked, and for which cooperation."""

    cooperation: Annotated[str, Meta(max_length=64)]
    people: _People


class RevokeBody(Struct, frozen=True):
    """Of whom something that was vouched for is true no more."""

    people: _People


def routes(claims: Claims, notices: Notices) -> tuple[Route, ...]:
    """The endpoints of claims and cooperations for other regions."""

    async def give(call: Call) -> Reply:
        body: AskBody = call.body
        return {"claims": await claims.give(call.origin, body.cooperation, _parse_people(body.people))}

    async def take_back(call: Call) -> Reply:
        body: RevokeBody = call.body
        people = [person for person in _parse_people(body.people) if server_of(person) == call.origin]
        await claims.take_back(call.origin, people)
        return {}

    async def take_notice(call: Call) -> Reply:
        cooperation_id = call.params["cooperationId"]
        if _ID.fullmatch(cooperation_id) is None:
            raise BadParam("not the id of a cooperation")
        await notices.take(call.origin, cooperation_id, call.body)
        return {}

    one = f"{COOPERATIONS}/{{cooperationId}}"
    return (
        Route(method="POST", path=PATH, handle=give, auth="region", rate="region", body=AskBody),
        Route(method="POST", path=f"{PATH}/revoke", handle=take_back, auth="region", rate="region", body=RevokeBody),
        Route(method="PUT", path=one, handle=take_notice, auth="region", rate="region", body=Notice),
    )


def _parse_people(people: list[str]) -> list[UserID]:
    try:
        return [parse_user_id(person) for person in dict.fromkeys(people)]
    except BadIdentifier as fault:
        raise BadParam(str(fault)) from None
