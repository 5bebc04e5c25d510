"""Odd events of other servers before a school's judges: whatever it is, the school is asked, and says no or nothing.

A judge that stumbled over such an event would keep the transaction that it comes in from ever being taken.
"""

from typing import Any

from federation.errors import Refused
from federation.ids import UserID
from homeserver.rooms.receive.objections import build_act
from homeserver.schools.rights import Kind
from tests.kit.district import DistrictCase
from tests.kit.rooms import RoomFactory
from tests.regions.hostile.test_odd_events import FIELDS, ODD

FOREIGN = UserID("@mallory:evil.example")


class OddActs(DistrictCase):
    """Everything odd, by somebody of no school, in rooms of a school."""

    async def refusals(self, room_id: str, by: UserID) -> tuple[int, int]:
        """How many odd events are refused, of how many."""
        room = await self.server.rooms.doors.rooms.load(room_id)
        assert room is not None
        factory = RoomFactory("12", creator=by)
        refused = asked = 0
        for (kind, key), names in FIELDS.items():
            contents: list[dict[str, Any]] = [{}, *({name: odd} for name in names for odd in ODD)]
            for content in contents:
                for state_key in {key, by if key else None, "a\0b" if key is not None else None}:
                    event = factory.build(kind, content, sender=by, state_key=state_key)
                    asked += 1
                    try:
                        await self.server.core.policy.check(build_act(room, event))
                    except Refused:
                        refused += 1
        return refused, asked

    async def test_who_is_of_no_school_may_do_nothing_however_odd(self) -> None:
        for kind, title in ((Kind.PUPILS, "9Б"), (Kind.STAFF, "")):
            refused, asked = await self.refusals(await self.room(kind, title), FOREIGN)
            assert refused == asked > 500

    async def test_who_is_of_the_school_may_do_some_of_it(self) -> None:
        refused, asked = await self.refusals(await self.room(Kind.PUPILS, "9Б"), UserID("@teacher1:north.example"))
        assert 0 < refused < asked
