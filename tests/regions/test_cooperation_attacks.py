"""A guest's server makes whatever events it likes, and gives them to the host past its school: nothing comes of it."""

from typing import Any
from urllib.parse import quote

from federation.event import Event
from federation.ids import EventID
from homeserver.rooms.head import Head
from homeserver.rooms.room import MOST_RECENT, Room
from homeserver.schools.demo import PASSWORD
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from homeserver.storage.received import find_known
from tests.kit.crafting import NOWHERE, craft, craft_member, send_events
from tests.kit.region import Region
from tests.kit.wire import Reply
from tests.regions.test_cooperation import CooperationCase

SIGN = "/_matrix/policy/v1/sign"
TEXT = {"msgtype": "m.text", "body": "x"}
POLL_ANSWERS = [{"m.id": "yes", "m.text": [{"body": "да"}]}]
POLL = {"m.text": [{"body": "?"}], "m.poll": {"question": {"m.text": [{"body": "?"}]}, "answers": POLL_ANSWERS}}
STATE: dict[str, dict[str, Any]] = {
    "m.room.name": {"name": "x"},
    "m.room.join_rules": {"join_rule": "public"},
    "m.room.power_levels": {"users_default": 100},
    "m.room.history_visibility": {"history_visibility": "world_readable"},
    "m.room.guest_access": {"guest_access": "can_join"},
    "m.room.server_acl": {"allow": ["*"], "deny": [], "allow_ip_literals": True},
    "m.room.canonical_alias": {"alias": "#x:127.0.0.1"},
    "m.room.aliases": {"aliases": ["#x:127.0.0.1"]},
    "m.room.tombstone": {"body": "x", "replacement_room": NOWHERE},
    "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
    "m.room.policy": {},
    "m.room.third_party_invite": {"display_name": "x", "public_key": "x", "key_validity_url": "https://x"},
    "m.room.retention": {"max_lifetime": 1},
    "m.space.child": {"via": ["127.0.0.1"]},
    "m.space.parent": {"via": ["127.0.0.1"]},
    "im.vector.modular.widgets": {"url": "https://x"},
    "org.parta.kind": {"kind": "staff"},
}
"""State that no guest sets, by its type."""


class Attacking(CooperationCase):
    """An olympiad of the north, in which teachers lead: they set the topic, pin, and redact what others said."""

    async def setUp(self) -> None:
        await super().setUp()
        self.room_id = await self.open_room(await self.agree(kind="olympiad", roles=["teacher", "pupil"]))
        self.guest = await self.south.log_in("teacher1", PASSWORD)
        self.host = await self.north.log_in("teacher1", PASSWORD)
        for person in (self.host, self.guest):
            assert await self.join(person, self.room_id) == 200
        self.said = EventID(await self.host.send(self.room_id, "задание"))
        self.teacher = self.guest.user_id

    async def here(self) -> Room:
        return await self.ours.room(self.room_id)

    async def is_shown(self, event: Event) -> bool:
        return (await self.here()).find_recent(event.event_id) is not None

    async def sign(self, event: Event, by: Region | None = None) -> Reply:
        """Have the host recommend an event."""
        region = by or self.south
        return await self.north.call_signed(region.name, region.key, "POST", SIGN, event.pdu())

    async def check_in_vain(self, event: Event, by: Region | None = None) -> None:
        """Given to the host by a region, the event is neither shown, nor changes the room, nor is recommended."""
        before = (await self.here()).head.state
        assert (await self.sign(event, by)).status in (400, 403, 404), event
        await send_events(by or self.south, self.north, event)
        assert not await self.is_shown(event), event
        assert (await self.here()).head.state == before, event

    def make(self, **fields: Any) -> dict[str, Any]:
        return {"sender": self.teacher, "content": TEXT, "type": "m.room.message", **fields}

    async def forbidden(self) -> list[Event]:
        """What a teacher who is a guest may not do though the room is theirs to lead."""
        room = await self.here()
        fields: list[dict[str, Any]] = [
            *({"type": kind, "state_key": "", "content": content} for kind, content in STATE.items()),
            {"type": "m.room.topic", "state_key": "x", "content": {"topic": "x"}},
            {"type": "m.room.topic", "state_key": self.teacher, "content": {"topic": "x"}},
            {"type": "m.room.encrypted", "content": {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}},
            {"type": "org.parta.notice"},
            {"type": "m.room.redaction"},
        ]
        stranger, own = f"@teacher2:{self.south.name}", f"@teacher2:{self.north.name}"
        for person, membership in (
            (stranger, "invite"),
            (own, "invite"),
            (f"@pupil1:{self.north.name}", "invite"),
            ("@friend:elsewhere.test", "invite"),
            (self.host.user_id, "leave"),
            (self.host.user_id, "ban"),
            (stranger, "join"),
        ):
            fields.append({"type": "m.room.member", "state_key": person, "content": {"membership": membership}})
        return [craft(self.south, room, **self.make(**each)) for each in fields]

    async def test_a_guest_leads_a_room_and_does_nothing_beyond_that(self) -> None:
        for event in await self.forbidden():
            await self.check_in_vain(event)
        topic = craft(
            self.south,
            await self.here(),
            **self.make(type="m.room.topic", state_key="", content={"topic": "Физика"}),
        )
        assert (await self.sign(topic)).status == 200
        await send_events(self.south, self.north, topic)
        assert (await self.here()).head.state["m.room.topic", ""].event_id == topic.event_id

    async def test_nor_does_their_client_by_any_door(self) -> None:
        before = (await self.here()).head.state
        room, own = quote(self.room_id), quote(f"#x:{self.south.name}", safe="")
        doors: list[tuple[str, str, Any]] = [
            *(("PUT", f"/rooms/{room}/state/{kind}/", content) for kind, content in STATE.items()),
            ("PUT", f"/rooms/{room}/state/m.room.name/?org.matrix.msc4140.delay=1000", {"name": "x"}),
            ("PUT", f"/rooms/{room}/send/m.room.encrypted/1", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}),
            ("PUT", f"/rooms/{room}/send/m.room.encrypted/2?org.matrix.msc4140.delay=1000", {"ciphertext": "x"}),
            ("PUT", f"/rooms/{room}/redact/{quote(before['m.room.server_acl', ''].event_id)}/1", {}),
            ("POST", f"/rooms/{room}/upgrade", {"new_version": "12"}),
            ("PUT", f"/directory/room/{own}", {"room_id": self.room_id}),
            ("PUT", f"/directory/list/room/{room}", {"visibility": "public"}),
            *(
                ("POST", f"/rooms/{room}/{deed}", {"user_id": person})
                for deed in ("invite", "kick", "ban", "unban")
                for person in (self.host.user_id, f"@teacher2:{self.south.name}", f"@pupil1:{self.north.name}")
            ),
            ("POST", f"/rooms/{room}/invite", {"medium": "email", "address": "a@b.test", "id_server": "x.test"}),
            ("POST", "/createRoom", {"creation_content": {"predecessor": {"room_id": self.room_id}}}),
        ]
        for method, path, body in doors:
            reply = await self.guest.call(method, path, body)
            assert reply.status in (400, 403, 404), (method, path, reply)
        assert (await self.here()).head.state == before

    async def test_nobody_redacts_the_rooms_state_however_long_ago_it_was_set(self) -> None:
        room = await self.here()
        created = [held.event_id for held in room.head.state.values() if held.event.sender.startswith("@_parta:")]
        assert len(created) > 7
        for _ in range(MOST_RECENT):
            await self.host.send(self.room_id, "x")
        assert room.find_recent(self.said) is None
        for target in (*created, "$" + "y" * 43):
            redaction = craft(self.south, await self.here(), **self.redacting(target))
            await self.check_in_vain(redaction)
        for good in (self.said, await self.guest_says()):
            redaction = craft(self.south, await self.here(), **self.redacting(good))
            assert (await self.sign(redaction)).status == 200
            await send_events(self.south, self.north, redaction)
            assert await self.is_shown(redaction)

    async def guest_says(self) -> EventID:
        event = craft(self.south, await self.here(), **self.make())
        await send_events(self.south, self.north, event)
        assert await self.is_shown(event)
        return event.event_id

    def redacting(self, target: str) -> dict[str, Any]:
        return self.make(type="m.room.redaction", content={}, redacts=EventID(target))

    async def test_nobody_else_of_any_region_says_anything(self) -> None:
        west = self.make_region("west")
        self.publish(self.build_list())
        await west.begin()
        await self.refresh()
        room = await self.here()
        for region in (self.south, west):
            for name in ("newcomer", "pupil1", "parent1", "nobody", "_parta"):
                person = f"@{name}:{region.name}"
                let_in = {"join_authorised_via_users_server": f"@_parta:{self.north.name}"}
                for event in (
                    craft(region, room, **self.make(sender=person)),
                    craft_member(region, room, person, "join"),
                    craft_member(region, room, person, "join", content=let_in),
                    craft_member(region, room, person, "knock"),
                    craft_member(region, room, person, "leave"),
                ):
                    await self.check_in_vain(event, region)
        # a region speaks for none but its own people, and what another has signed it may pass on
        await self.check_in_vain(craft(west, room, **self.make()), west)
        passed_on = craft(self.south, room, **self.make())
        await send_events(west, self.north, passed_on)
        assert await self.is_shown(passed_on)

    async def test_to_name_a_file_opens_it_to_nobody(self) -> None:
        colleague = await self.north.log_in("teacher2", PASSWORD)
        school = await self.north.running.bureau.desk.load(self.ours.org_id)
        uri = await colleague.upload(b"secret")
        await colleague.send_event(room_keys(school)[RoomKey(Kind.STAFF)], "m.room.message", {**TEXT, "url": uri})
        room = await self.here()
        for event in (
            craft(self.south, room, **self.make(content={"msgtype": "m.file", "body": "x", "url": uri})),
            craft(self.south, room, **self.make(content={"msgtype": "m.file", "body": "x", "file": {"url": uri}})),
            craft(self.south, room, **self.make(type="m.room.avatar", state_key="", content={"url": uri})),
            craft_member(self.south, room, self.teacher, "join", content={"avatar_url": uri}),
        ):
            await send_events(self.south, self.north, event)
        name = uri.rpartition("/")[2]
        for path in (f"download/{name}", f"thumbnail/{name}?width=1&height=1"):
            path = f"/_matrix/federation/v1/media/{path}"
            assert (await self.north.call_signed(self.south.name, self.south.key, "GET", path)).status == 404
        where = f"/_matrix/client/v1/media/download/{self.north.name}/{name}"
        for person in (self.guest, self.host):
            assert (await person.call("GET", where)).status == (200 if person is self.host else 404)

    async def test_of_a_region_that_is_suspended_nothing_comes_by_way_of_another(self) -> None:
        west = self.make_region("west")
        self.publish(self.build_list())
        await west.begin()
        room = await self.here()
        members: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        members[self.south.name]["status"] = "suspended"
        self.publish(self.build_list(regions=members))
        self.north.running.cooperation.rounds.stop()  # before anybody could put its people out
        await self.north.running.region.regions.refresh()
        assert self.teacher in await self.ours.members(self.room_id)
        assert await self.may(self.ours, self.teacher, self.room_id) == [False] * 3
        for event in (
            craft(self.south, room, **self.make()),
            craft(self.south, room, **self.make(type="m.room.topic", state_key="", content={"topic": "x"})),
            craft_member(self.south, room, self.teacher, "join", content={"displayname": "x"}),
        ):
            await send_events(west, self.north, event)
            assert not await self.is_shown(event)
        assert (await self.here()).head.state == room.head.state

    # what was made before

    async def dismiss_guest(self) -> Head:
        """The guest is dismissed at home, and out; what the room was before."""
        before = (await self.here()).head
        await self.theirs.dismiss(self.teacher)
        await self.theirs.round()
        await self.until_out(self.ours, self.teacher, self.room_id)
        return before

    async def test_what_somebody_who_was_dismissed_is_said_to_have_done_before_counts_for_nothing(self) -> None:
        held_back = craft(self.south, await self.here(), **self.make())
        signed = await self.sign(held_back)
        assert signed.status == 200
        kept = {**held_back.pdu(), "signatures": _merge(held_back.pdu()["signatures"], signed.json)}
        before = await self.dismiss_guest()
        colleague = await self.south.log_in("teacher2", PASSWORD)
        assert await self.join(colleague, self.room_id) == 200
        after = (await self.here()).head.state
        topic = self.make(type="m.room.topic", state_key="", content={"topic": "x"})
        forks = [
            craft(self.south, None, at=before, room_id=self.room_id, **fields)
            for fields in (
                self.make(),
                topic,
                self.make(type="m.room.pinned_events", state_key="", content={"pinned": [self.said]}),
                self.redacting(self.said),
            )
        ]
        forks.append(craft_member(self.south, None, self.teacher, "join", at=before, room_id=self.room_id))
        for event in forks:
            assert (await self.sign(event)).status == 400
        reply = await self.north.call_signed(
            self.south.name, self.south.key, "PUT", "/_matrix/federation/v1/send/kept", _transaction(self.south, kept)
        )
        assert reply.status == 200
        await send_events(self.south, self.north, *forks)
        for event in (held_back, *forks):
            assert not await self.is_shown(event), event
        assert (await self.here()).head.state == after
        # nor does it by what an honest guest has said upon it
        upon = craft(
            self.south,
            await self.here(),
            **self.make(sender=colleague.user_id, prev_events=tuple(event.event_id for event in (forks[1], forks[4]))),
        )
        await send_events(self.south, self.north, upon)
        state = (await self.here()).head.state
        assert ("m.room.topic", "") not in state
        assert state["m.room.member", self.teacher].membership == "leave"
        known = await self.north.running.core.database.read(find_known, [self.said])
        assert self.said in known


class Meeting(CooperationCase):
    """A meeting of the north's: teachers of elsewhere read, and answer polls."""

    async def test_a_guest_answers_a_poll_and_says_nothing_else(self) -> None:
        room_id = await self.open_room(await self.agree(kind="meeting"))
        guest = await self.south.log_in("teacher1", PASSWORD)
        for person in (self.ours.admin, guest):
            assert await self.join(person, room_id) == 200
        await self.ours.round()  # the administrator leads
        poll = await self.ours.admin.send_event(room_id, "m.poll.start", POLL)
        await self.until(lambda room: room.find_recent(poll) is not None, self.theirs, room_id)
        relation = {"m.relates_to": {"rel_type": "m.reference", "event_id": poll}}
        answer = await guest.send_event(room_id, "m.poll.response", {**relation, "m.selections": ["yes"]})
        await self.until(lambda room: room.find_recent(answer) is not None, self.ours, room_id)
        for kind, content in (
            ("m.poll.response", {**relation, "m.selections": ["yes"], "body": "и ещё"}),
            ("m.poll.response", {**relation, "m.selections": ["maybe"]}),
            ("m.room.message", TEXT),
        ):
            event = craft(self.south, await self.ours.room(room_id), sender=guest.user_id, type=kind, content=content)
            await send_events(self.south, self.north, event)
            assert (await self.ours.room(room_id)).find_recent(event.event_id) is None, content


def _merge(signatures: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {server: {**signatures.get(server, {}), **more.get(server, {})} for server in {*signatures, *more}}


def _transaction(by: Region, pdu: dict[str, Any]) -> dict[str, Any]:
    return {"origin": by.name, "origin_server_ts": 1, "pdus": [pdu], "edus": []}
