"""A room's access list at every door for other servers: who is shut out is refused there, and let in again later."""

from typing import Any
from urllib.parse import quote

from federation.event import Event, parse_template, seal_event
from federation.versions import ROOM_VERSIONS
from tests.kit.neighbours import NeighboursCase
from tests.kit.region import now_ms
from tests.kit.wire import Reply

V1, V2 = "/_matrix/federation/v1/", "/_matrix/federation/v2/"
DENIED = (403, "M_FORBIDDEN")


class AccessLists(NeighboursCase):
    """Bob's server, which is in Alice's room, is shut out of that."""

    async def setUp(self) -> None:
        await super().setUp()
        rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
        self.room_id = await self.alice.create_room(invite=[self.bob.user_id], initial_state=[rules])
        await self.enter(self.bob, self.room_id)
        self.where = quote(self.room_id, safe="")
        self.event_id = await self.alice.send(self.room_id, "Before")
        self.carol = f"@carol:{self.south.name}"

    async def ask_at(self, method: str, path: str, body: Any = None) -> Reply:
        return await self.north.call_signed(self.south.name, self.south.key, method, path, body)

    async def build(self, move: str, person: str, **changes: Any) -> Event:
        """What the north proposes for somebody, but for the changes, signed by their server."""
        proposed = await self.ask_at("GET", f"{V1}make_{move}/{self.where}/{quote(person)}?ver=12")
        assert proposed.status == 200, proposed
        version = ROOM_VERSIONS["12"]
        fields = parse_template({**proposed.json["event"], **changes}, version, origin_server_ts=now_ms())
        return seal_event(version, fields, server=self.south.name, key=self.south.key)

    async def build_doors(self) -> list[tuple[str, str, Any]]:
        """Every door that the specification names, with a request that is as it should be: method, path, body."""
        where, event, bob = self.where, f"?event_id={self.event_id}", quote(self.bob.user_id)
        dave = await self.north.register("dave")
        leave, knock = await self.build("leave", self.bob.user_id), await self.build("knock", self.carol)
        room = await self.north.running.rooms.doors.rooms.load(self.room_id)
        assert room is not None
        rules = room.shown.state["m.room.join_rules", ""].event_id
        invite = await self.build(
            "leave",
            self.bob.user_id,
            content={"membership": "invite"},
            state_key=dave.user_id,
            auth_events=[*leave.auth_events, rules],
        )
        join = await self.build("leave", self.bob.user_id, content={"membership": "join", "displayname": "B"})
        invited = {
            "room_version": "12",
            "event": invite.pdu(),
            "invite_room_state": [event.event.pdu() for event in (room.shown.state["m.room.create", ""],)],
        }
        missing = {"earliest_events": [], "latest_events": [self.event_id], "limit": 5}
        return [
            ("GET", f"{V1}make_leave/{where}/{bob}", None),
            ("GET", f"{V1}make_knock/{where}/{quote(self.carol)}?ver=12", None),
            ("GET", f"{V1}state/{where}{event}", None),
            ("GET", f"{V1}state_ids/{where}{event}", None),
            ("GET", f"{V1}backfill/{where}?v={self.event_id}&limit=5", None),
            ("GET", f"{V1}event_auth/{where}/{self.event_id}", None),
            ("POST", f"{V1}get_missing_events/{where}", missing),
            ("GET", f"{V1}make_join/{where}/{bob}?ver=12", None),
            ("PUT", f"{V1}send_join/{where}/{join.event_id}", join.pdu()),
            ("PUT", f"{V2}send_join/{where}/{join.event_id}", join.pdu()),
            ("PUT", f"{V1}send_knock/{where}/{knock.event_id}", knock.pdu()),
            ("PUT", f"{V2}invite/{where}/{invite.event_id}", invited),
            ("PUT", f"{V1}send_leave/{where}/{leave.event_id}", leave.pdu()),
            ("PUT", f"{V2}send_leave/{where}/{leave.event_id}", leave.pdu()),
        ]

    async def test_who_is_shut_out_is_refused_at_every_door_and_let_in_again(self) -> None:
        doors = await self.build_doors()
        await self.set_list(allow_ip_literals=False)
        for method, path, body in doors:
            reply = await self.ask_at(method, path, body)
            assert (reply.status, reply.errcode) == DENIED, (path, reply)
        await self.set_list()
        for method, path, body in doors:
            assert (await self.ask_at(method, path, body)).status == 200, path

    async def set_list(self, **content: Any) -> None:
        await self.alice.set_state(self.room_id, "m.room.server_acl", {"allow": ["*"], **content})
