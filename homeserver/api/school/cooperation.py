"""Cooperation of an organisation with others: proposals, agreement, rooms, pupils who take part.

School: rows 63, 67, 68
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from federation.ids import parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.api.school.organisations import ROOT, asker_of
from homeserver.schools.cooperation.office import PAGE, CooperationOffice, Terms
from homeserver.storage.schools.cooperation import Cooperation, NetworkRoom


class RoomBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A room to be opened, and of which cooperations."""

    cooperations: Annotated[list[str], Meta(min_length=1, max_length=50)]
    name: str


class PupilBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A pupil who is to take part, and the SHA-256 of the guardian's written consent."""

    user_id: str
    sha256: str


def routes(office: CooperationOffice) -> tuple[Route, ...]:
    """The endpoints of cooperation."""
    api = _CooperationAPI(office)
    org = f"{ROOT}/{{orgId}}"
    one = f"{org}/cooperations/{{cooperationId}}"
    pupils = f"{one}/pupils"
    return (
        Route(method="GET", path=f"{org}/cooperations", handle=api.list, rate="other"),
        Route(method="POST", path=f"{org}/cooperations", handle=api.propose, rate="create", body=Terms),
        Route(method="GET", path=one, handle=api.see, rate="other"),
        Route(method="POST", path=f"{one}/accept", handle=api.accept, rate="other"),
        Route(method="POST", path=f"{one}/end", handle=api.end, rate="other"),
        Route(method="POST", path=pupils, handle=api.let_pupil_take_part, rate="other", body=PupilBody),
        Route(method="DELETE", path=f"{pupils}/{{userId}}", handle=api.take_pupil_out, rate="other"),
        Route(method="POST", path=f"{org}/network_rooms", handle=api.open_room, rate="create", body=RoomBody),
        Route(method="POST", path=f"{org}/network_rooms/{{roomId}}/close", handle=api.close_room, rate="other"),
    )


class _CooperationAPI:
    def __init__(self, office: CooperationOffice) -> None:
        self._office = office

    async def list(self, call: Call) -> Reply:
        found = await self._office.list(asker_of(call), call.params["orgId"], call.query.str("from", ""))
        page: dict[str, object] = {"cooperations": [build_cooperation(each, rooms) for each, rooms in found]}
        if len(found) == PAGE:
            page["next"] = found[-1][0].cooperation_id
        return page

    async def see(self, call: Call) -> Reply:
        return build_cooperation(
            *await self._office.see(asker_of(call), call.params["orgId"], call.params["cooperationId"])
        )

    async def propose(self, call: Call) -> Reply:
        return build_cooperation(await self._office.propose(asker_of(call), call.params["orgId"], call.body), [])

    async def accept(self, call: Call) -> Reply:
        await self._office.accept(asker_of(call), call.params["orgId"], call.params["cooperationId"])
        return {}

    async def end(self, call: Call) -> Reply:
        await self._office.end(asker_of(call), call.params["orgId"], call.params["cooperationId"])
        return {}

    async def open_room(self, call: Call) -> Reply:
        body: RoomBody = call.body
        asker, org_id = asker_of(call), call.params["orgId"]
        return {"room_id": await self._office.open_room(asker, org_id, body.cooperations, body.name)}

    async def close_room(self, call: Call) -> Reply:
        await self._office.close_room(asker_of(call), call.params["orgId"], call.params["roomId"])
        return {}

    async def let_pupil_take_part(self, call: Call) -> Reply:
        body: PupilBody = call.body
        org_id, cooperation_id = call.params["orgId"], call.params["cooperationId"]
        pupil = parse_user_id(body.user_id)
        await self._office.let_pupil_take_part(asker_of(call), org_id, cooperation_id, pupil, body.sha256)
        return {}

    async def take_pupil_out(self, call: Call) -> Reply:
        org_id, cooperation_id = call.params["orgId"], call.params["cooperationId"]
        pupil = parse_user_id(call.params["userId"])
        await self._office.take_pupil_out(asker_of(call), org_id, cooperation_id, pupil)
        return {}


def build_cooperation(cooperation: Cooperation, rooms: Sequence[NetworkRoom]) -> dict[str, object]:
    """A cooperation as it is told of to one of its sides."""
    return {
        "cooperation_id": cooperation.cooperation_id,
        "server": cooperation.peer_server,
        "organisation": cooperation.peer_org_id,
        "hosts": bool(cooperation.is_hosted),
        "kind": cooperation.kind,
        "title": cooperation.title,
        "roles": cooperation.roles.split(","),
        "until_ms": cooperation.until_ms,
        "agreed": {"we": cooperation.agreed_ms is not None, "they": bool(cooperation.peer_agreed)},
        "ended": cooperation.is_ended,
        "rooms": [{"room_id": room.room_id, "name": room.name} for room in rooms],
    }
