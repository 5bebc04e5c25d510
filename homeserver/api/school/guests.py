"""Rooms of cooperations for those who may enter them, and their guests for the administrators of the host.

School: rows 63, 67, 68
"""

from typing import Final

from msgspec.structs import asdict

from federation.ids import parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.api.school.organisations import ROOT, asker_of
from homeserver.schools.cooperation.guests import PAGE, Guests

OPEN: Final = "/_parta/school/v1/network_rooms"


def routes(guests: Guests) -> tuple[Route, ...]:
    """The endpoints of open rooms and of guests."""
    api = _GuestsAPI(guests)
    org = f"{ROOT}/{{orgId}}/guests"
    return (
        Route(method="GET", path=OPEN, handle=api.find_open, rate="search"),
        Route(method="GET", path=org, handle=api.list, rate="other"),
        Route(method="POST", path=f"{org}/{{userId}}/dismiss", handle=api.dismiss, rate="other"),
        Route(method="POST", path=f"{org}/{{userId}}/readmit", handle=api.readmit, rate="other"),
    )


class _GuestsAPI:
    def __init__(self, guests: Guests) -> None:
        self._guests = guests

    async def find_open(self, call: Call) -> Reply:
        openings, after = await self._guests.find_open(call.caller.user_id, call.query.str("from", ""))
        page: dict[str, object] = {"rooms": [{**asdict(each), "via": [each.server]} for each in openings]}
        return page if after is None else {**page, "next": after}

    async def list(self, call: Call) -> Reply:
        found, dismissed = await self._guests.list(asker_of(call), call.params["orgId"], call.query.str("from", ""))
        page: dict[str, object] = {"guests": [asdict(each) for each in found], "dismissed": sorted(dismissed)}
        return {**page, "next": found[-1].user_id} if len(found) == PAGE else page

    async def dismiss(self, call: Call) -> Reply:
        await self._guests.dismiss(asker_of(call), call.params["orgId"], parse_user_id(call.params["userId"]))
        return {}

    async def readmit(self, call: Call) -> Reply:
        await self._guests.readmit(asker_of(call), call.params["orgId"], parse_user_id(call.params["userId"]))
        return {}
