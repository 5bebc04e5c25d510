"""Invitations into rooms elsewhere, told to those who have a pusher."""

from typing import Any

import msgspec

from federation.event import stripped_state
from federation.ids import ServerName, UserID, server_of
from homeserver.storage.events import RoomEvent
from homeserver.storage.invites import Shown, set_outlying
from homeserver.storage.rooms import RoomRecord
from tests.homeserver.push.test_pushing import PushCase
from tests.kit.databases import on_both_databases
from tests.kit.rooms import ALICE, CREATE, RoomFactory


@on_both_databases
class Elsewhere(PushCase):
    async def invite(self, shown: list[Any] | None = None, version: str = "12") -> RoomEvent:
        """Invite Bob into a room of another server."""
        stage = RoomFactory(version)
        name = stage.send("m.room.name", {"name": "Олимпиада"}, sender=ALICE, state_key="")
        event = stage.build_member(ALICE, UserID(self.bob.user_id), "invite")
        record = RoomRecord(
            nid=self.db.next_id("rooms"), room_id=event.room_id, version=stage.version, creator=event.sender
        )
        held = RoomEvent(event, nid=self.db.next_id("events"), room_nid=record.nid, group=0)
        given = [stripped_state(each) for each in (stage.state()[CREATE], name)] if shown is None else shown
        servers: tuple[ServerName, ...] = (server_of(ALICE),)
        await self.db.write(set_outlying, record, held, Shown(msgspec.json.encode(given), servers))
        return held

    async def test_an_invitation_is_told_with_the_name_that_was_shown(self) -> None:
        for version in ("1", "12"):
            held = await self.invite(version=version)
            (told,) = await self.heard()
            assert (told["event_id"], told["room_id"]) == (held.event_id, held.event.room_id)
            assert (told["room_name"], told["sender"], told["user_is_target"]) == ("Олимпиада", ALICE, True)

    async def test_what_is_shown_may_be_nothing_or_nonsense(self) -> None:
        nonsense = {"type": "m.room.power_levels", "state_key": "", "sender": ALICE, "content": {"users": 5}}
        name = {"type": "m.room.name", "state_key": "", "sender": ALICE, "content": {"name": 5}}
        for shown in ([], [nonsense], [name]):
            held = await self.invite(shown, "1" if not shown else "11" if shown == [name] else "12")
            (told,) = await self.heard()
            assert told["event_id"] == held.event_id
            assert "room_name" not in told

    async def test_it_is_told_after_a_crash_too(self) -> None:
        self.gateway.is_away = True
        held = await self.invite()
        await self.heard()
        self.gateway.is_away = False
        await self.start_again(crash=True)
        assert held.event_id in await self.heard_ids()
