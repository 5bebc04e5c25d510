"""Lies at the doors of rooms: of those who want in, of those who let others in, and of those who invite."""

from itertools import count
from typing import Any
from urllib.parse import quote

import msgspec

from federation.event import Event, EventFields, parse_template, seal_event
from federation.ids import UserID
from homeserver.rooms.remote import invited
from homeserver.storage import invites
from homeserver.storage.invites import Bounds
from homeserver.storage.received import find_known
from tests.kit.elsewhere import Said
from tests.kit.hostile import HostileCase, Villain, forge
from tests.kit.peer import Peer
from tests.kit.region import now_ms
from tests.kit.rooms import RoomFactory, signing_key
from tests.kit.wire import Reply

NUMBERS = count()
V2 = "/_matrix/federation/v2/"


class Doors(HostileCase):
    """Our room is Alice's of another server; ours is the server that others come in by."""

    async def setUp(self) -> None:
        await super().setUp()
        self.open_id = await self.us.create_room(preset="public_chat")

    def path(self, *parts: str) -> str:
        return "/".join(quote(part, safe="") for part in parts)

    async def put(self, path: str, json: object) -> Reply:
        return await self.north.call_signed(self.evil.name, self.evil.key, "PUT", path, json)

    async def propose(self, move: str = "join", person: str = "", room_id: str = "", versions: str = "12") -> Reply:
        query = "?" + "&".join(f"ver={each}" for each in versions.split(","))
        return await self.ask(self.path(f"make_{move}", room_id or self.open_id, person or self.eve) + query)

    async def build(self, **changes: Any) -> Event:
        """A join that is as it should be but for the changes."""
        reply = await self.propose()
        assert reply.status == 200, reply
        fields = parse_template(reply.json["event"], self.factory.version, origin_server_ts=now_ms())
        values = {name: getattr(fields, name) for name in EventFields.__struct_fields__}
        key = changes.pop("key", self.evil.key)
        return seal_event(self.factory.version, EventFields(**{**values, **changes}), server=self.evil.name, key=key)

    async def enter(self, event: Event, move: str = "join", *, room_id: str = "", event_id: str = "") -> Reply:
        path = self.path(f"send_{move}", room_id or self.open_id, event_id or event.event_id)
        return await self.put(V2 + path, event.pdu())

    async def members(self) -> set[str]:
        room = await self.north.running.rooms.doors.rooms.load(self.open_id)
        assert room is not None
        return set(room.joined_members)


class Joiners(Doors):
    async def test_who_says_the_truth_comes_in(self) -> None:
        event = await self.build()
        reply = await self.enter(event)
        assert reply.status == 200, reply
        assert self.eve in await self.members()
        assert {msgspec.json.encode(each)[:1] for each in reply.json["state"]} == {b"{"}
        assert (await self.enter(event)).status == 200

    async def test_nobody_comes_in_with_an_event_that_is_not_their_join(self) -> None:
        other = UserID(f"@other:{self.evil.name}")
        spoiled: list[dict[str, Any]] = [
            {"content": {"membership": "leave"}},
            {"content": {"membership": "ban"}},
            {"content": {}},
            {"state_key": other},
            {"sender": other},
            {"state_key": self.us.user_id, "sender": self.us.user_id},
            {"type": "m.room.message"},
            {"room_id": self.room_id},
            {"key": signing_key("elsewhere.example")},
            {"auth_events": ()},
            {"prev_events": ()},
        ]
        before = await self.members()
        for changes in spoiled:
            reply = await self.enter(await self.build(**changes))
            assert reply.status in (400, 403), (changes, reply.status, reply.body)
            assert await self.members() == before, changes

    async def test_who_may_not_send_an_event_is_told_so_and_what_is_none_is_called_that(self) -> None:
        for changes, status, errcode in (
            ({"sender": self.us.user_id, "state_key": self.us.user_id}, 403, "M_FORBIDDEN"),
            ({"key": signing_key("elsewhere.example")}, 403, "M_FORBIDDEN"),
            ({"type": "m.room.message"}, 400, "M_INVALID_PARAM"),
            ({"state_key": self.us.user_id}, 400, "M_INVALID_PARAM"),
        ):
            reply = await self.enter(await self.build(**changes))
            assert (reply.status, reply.errcode) == (status, errcode), (changes, reply.body)

    async def test_path_and_event_are_the_same(self) -> None:
        event = await self.build()
        assert (await self.enter(event, event_id="$" + "x" * 43)).errcode == "M_INVALID_PARAM"
        assert (await self.enter(event, room_id=self.room_id)).status in (400, 403)
        assert (await self.enter(event, room_id="!" + "x" * 43)).status == 404
        assert (await self.enter(event, "leave")).errcode == "M_INVALID_PARAM"
        assert self.eve not in await self.members()

    async def test_what_was_changed_after_it_was_signed_or_is_too_large_is_refused(self) -> None:
        event = await self.build()
        for more in ({"displayname": "E"}, {"displayname": "E" * 70_000}):
            pdu = event.pdu()
            pdu["content"] = {**pdu["content"], **more}
            reply = await self.put(V2 + self.path("send_join", self.open_id, event.event_id), pdu)
            assert reply.errcode == "M_INVALID_PARAM", reply.body
        assert self.eve not in await self.members()

    async def test_nothing_is_proposed_to_a_server_for_others_or_in_a_version_it_does_not_speak(self) -> None:
        assert (await self.propose(person=self.us.user_id)).status == 403
        assert (await self.propose(person="nobody")).status == 400
        assert (await self.propose(room_id="!" + "x" * 43)).status == 404
        refused = await self.propose(versions="1,11")
        assert (refused.status, refused.errcode) == (400, "M_INCOMPATIBLE_ROOM_VERSION")
        assert refused.json["room_version"] == "12"

    async def test_who_is_banned_shut_out_or_of_another_server_than_the_rooms_stays_out(self) -> None:
        await self.us.ok("POST", f"/rooms/{quote(self.open_id)}/ban", {"user_id": self.eve})
        assert (await self.propose()).status == 403
        host = self.evil.name.rpartition(":")[0]
        denying = {"allow": ["*"], "deny": [host], "allow_ip_literals": True}
        await self.us.set_state(self.open_id, "m.room.server_acl", denying)
        assert (await self.propose(person=f"@other:{self.evil.name}")).status == 403

    async def test_nobody_of_another_server_comes_into_a_room_that_is_not_federated(self) -> None:
        closed = await self.us.create_room(preset="public_chat", creation_content={"m.federate": False})
        assert (await self.propose(room_id=closed)).status == 403
        room = await self.north.running.rooms.doors.rooms.load(closed)
        assert room is not None
        auth = [room.shown.state[key, ""].event_id for key in ("m.room.power_levels", "m.room.join_rules")]
        ends = [held.event_id for held in room.head.extremities]
        forged = await self.build(room_id=closed, auth_events=tuple(auth), prev_events=tuple(ends))
        assert (await self.enter(forged, room_id=closed)).status == 403
        assert set(room.joined_members) == {self.us.user_id}

    async def test_nobody_is_let_in_by_one_of_ours_who_did_not(self) -> None:
        allow = [{"type": "m.room_membership", "room_id": self.room_id}]
        rule = {"join_rule": "restricted", "allow": allow}
        rules = {"type": "m.room.join_rules", "content": rule}
        room_id = await self.us.create_room(initial_state=[rules])
        assert (await self.propose(room_id=room_id)).status == 403
        let_in = await self.propose(room_id=room_id, person=self.mallory)
        assert let_in.json["event"]["content"]["join_authorised_via_users_server"] == self.us.user_id
        self.open_id = room_id
        template = let_in.json["event"] | {"sender": self.eve, "state_key": self.eve}
        fields = parse_template(template, self.factory.version, origin_server_ts=now_ms())
        forged = seal_event(self.factory.version, fields, server=self.evil.name, key=self.evil.key)
        assert (await self.enter(forged)).status == 403
        fields = parse_template(let_in.json["event"], self.factory.version, origin_server_ts=now_ms())
        true = seal_event(self.factory.version, fields, server=self.evil.name, key=self.evil.key)
        reply = await self.enter(true)
        assert reply.status == 200, reply.body
        assert set(reply.json["event"]["signatures"]) == {self.north.name, self.evil.name}
        assert await self.members() == {self.us.user_id, self.mallory}

    async def test_rooms_that_are_not_known_here_and_people_who_may_not_invite_are_told_apart(self) -> None:
        for allowing, levels, expected in (
            ("!" + "x" * 43, {}, "M_UNABLE_TO_AUTHORISE_JOIN"),
            (self.room_id, {"invite": 150}, "M_UNABLE_TO_GRANT_JOIN"),
        ):
            allow = [{"type": "m.room_membership", "room_id": allowing}]
            rules = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
            room_id = await self.us.create_room(
                room_version="11", initial_state=[rules], power_level_content_override=levels
            )
            refused = await self.propose(room_id=room_id, person=self.mallory, versions="11")
            assert (refused.status, refused.errcode) == (400, expected)


class Staged(HostileCase):
    """There is a room of others, of which we know nothing but what they say."""

    async def setUp(self) -> None:
        await super().setUp()
        self.known = self.factory
        self.stage = RoomFactory("12", creator=self.alice, create_content={"topic": "stage"})
        self.stage.join(self.bob, self.mallory)
        self.evil.live_in(self.stage)


class Residents(Staged):
    """We want into it."""

    async def enter(self) -> Reply:
        query = f"?via={quote(self.evil.name)}"
        return await self.us.call("POST", f"/join/{quote(self.stage.create.room_id, safe='')}{query}", {})

    async def expect_outside(self, *statuses: int) -> None:
        """We do not get in, and the room is as little known as before."""
        async with self.unharmed():
            reply = await self.enter()
            assert reply.status in statuses, (reply.status, reply.body)
        assert await self.north.running.rooms.doors.rooms.load(self.stage.create.room_id) is None

    def lie(self, endpoint: str, **changes: Any) -> None:
        self.evil.lies[endpoint] = lambda answer: {**answer, **changes}

    async def test_the_truth_lets_us_in(self) -> None:
        reply = await self.enter()
        assert reply.status == 200, reply.body
        room = await self.north.running.rooms.doors.rooms.load(self.stage.create.room_id)
        assert room is not None
        assert set(room.joined_members) == {self.alice, self.bob, self.mallory, self.us.user_id}

    async def test_a_refusal_is_told_with_its_code_where_it_is_the_persons_affair(self) -> None:
        for status, errcode, told in (
            (400, "M_BAD_STATE", (400, "M_BAD_STATE")),
            (400, "M_UNABLE_TO_AUTHORISE_JOIN", (400, "M_UNABLE_TO_AUTHORISE_JOIN")),
            (400, "M_UNABLE_TO_GRANT_JOIN", (400, "M_UNABLE_TO_GRANT_JOIN")),
            (400, "M_INCOMPATIBLE_ROOM_VERSION", (400, "M_INCOMPATIBLE_ROOM_VERSION")),
            (400, "M_INVALID_PARAM", (502, "M_UNKNOWN")),
            (400, "M_MISSING_PARAM", (502, "M_UNKNOWN")),
            (400, "M_UNKNOWN_TOKEN", (400, "M_UNKNOWN")),
            (403, "M_FORBIDDEN", (403, "M_FORBIDDEN")),
            (403, "M_UNKNOWN_TOKEN", (403, "M_FORBIDDEN")),
            (404, "M_NOT_FOUND", (404, "M_NOT_FOUND")),
        ):
            body = {"errcode": errcode, "error": "no", "room_version": "12"}
            for endpoint in ("make_join", "send_join"):
                self.evil.said = {endpoint: Said(status=status, body=msgspec.json.encode(body))}
                reply = await self.enter()
                assert (reply.status, reply.errcode) == told, (endpoint, errcode, reply.body)

    async def test_nothing_is_signed_but_our_own_join_to_that_room(self) -> None:
        truth = Peer(self.stage)._make_join([self.stage.create.room_id, self.us.user_id], (), None)["event"]
        lies: list[dict[str, Any]] = [
            {"room_id": self.room_id},
            {"sender": self.mallory},
            {"state_key": self.mallory},
            {"content": {"membership": "invite"}},
            {"type": "m.room.power_levels"},
            {"prev_events": [f"${n}" + "x" * 42 for n in range(10)] * 10},
            {"depth": 2**60},
        ]
        for lie in lies:
            self.lie("make_join", event={**truth, **lie})
            await self.expect_outside(502)
        assert not self.evil.asked["send_join"]

    async def test_what_the_proposal_says_beside_is_not_signed(self) -> None:
        truth = Peer(self.stage)._make_join([self.stage.create.room_id, self.us.user_id], (), None)["event"]
        content = {"membership": "join", "displayname": "Mallory's", "org.evil": True}
        self.lie("make_join", event={**truth, "content": content})
        assert (await self.enter()).status == 200
        room = await self.north.running.rooms.doors.rooms.load(self.stage.create.room_id)
        assert room is not None
        own = room.state("m.room.member", self.us.user_id)
        assert own is not None
        assert "org.evil" not in own.content
        assert own.content.get("displayname") != "Mallory's"

    async def test_another_version_than_the_rooms_is_noticed(self) -> None:
        self.lie("make_join", room_version="999")
        await self.expect_outside(400)
        for version in ("1", "10", "11"):
            self.lie("make_join", room_version=version)
            await self.expect_outside(502)

    async def test_a_state_that_is_none_is_not_taken(self) -> None:
        room_id, us = self.stage.create.room_id, self.us.user_id
        truth = Peer(self.stage)._send_join([room_id, us], (), None)
        state: list[dict[str, Any]] = truth["state"]
        without = [pdu for pdu in state if pdu["type"] != "m.room.create"]
        known = [event.pdu() for event in self.known.state().values()]
        lies: list[dict[str, Any]] = [
            {"state": without, "auth_chain": []},
            {"state": without},
            {"state": known, "auth_chain": known},
            {"state": []},
            {"state": {}},
            {"auth_chain": None},
            {"state": [[]] * 1000},
            {"members_omitted": True},
            {"event": state[0]},
            {"event": []},
        ]
        for lie in lies:
            self.lie("send_join", **lie)
            await self.expect_outside(502, 403)

    async def test_forged_members_and_powers_are_left_out_of_the_state(self) -> None:
        truth = Peer(self.stage)._send_join([self.stage.create.room_id, self.us.user_id], (), None)
        mighty = self.stage.build(
            "m.room.power_levels", {"users": {self.mallory: 100}}, sender=self.mallory, state_key=""
        )
        banned = forge(self.stage, self.stage.build_member(self.alice, self.bob, "ban"), {}, self.evil.key)
        keys = {("m.room.power_levels", ""), ("m.room.member", self.bob)}
        state = [pdu for pdu in truth["state"] if (pdu["type"], pdu["state_key"]) not in keys]
        self.lie("send_join", state=[*state, mighty.pdu(), banned])
        reply = await self.enter()
        assert reply.status == 200, reply.body
        room = await self.north.running.rooms.doors.rooms.load(self.stage.create.room_id)
        assert room is not None
        assert room.state("m.room.power_levels") is None
        assert room.membership(self.bob) is None

    async def test_whoever_falls_silent_or_refuses_does_not_keep_us_from_asking_others(self) -> None:
        self.west.live_in(self.stage)
        self.lie("send_join", state=[])
        query = f"?via={quote(self.evil.name)}&via={quote(self.west.name)}"
        reply = await self.us.call("POST", f"/join/{quote(self.stage.create.room_id, safe='')}{query}", {})
        assert reply.status == 200, reply.body


class Inviters(Staged):
    """Others invite us."""

    def build(self, **changes: Any) -> tuple[dict[str, Any], str]:
        """An invitation that is as it should be but for the changes, and its ID."""
        values: dict[str, Any] = {"sender": self.mallory, "state_key": self.us.user_id, **changes}
        content = values.pop("content", {"membership": "invite"})
        event = self.stage.build(values.pop("type", "m.room.member"), content, **values)
        return event.pdu(), event.event_id

    async def invite(self, pdu: Any, event_id: str, *, by: Villain | None = None, **more: Any) -> Reply:
        shown = [event.pdu() for event in self.stage.state().values() if event.type != "m.room.member"]
        body = {"room_version": "12", "event": pdu, "invite_room_state": shown, **more}
        path = V2 + "/".join(quote(part, safe="") for part in ("invite", self.stage.create.room_id, event_id))
        villain = by or self.evil
        return await self.north.call_signed(villain.name, villain.key, "PUT", path, body)

    async def invitations(self) -> dict[str, Any]:
        self.us.since = None
        rooms: dict[str, Any] = (await self.us.sync()).get("rooms", {}).get("invite", {})
        return rooms

    async def test_a_true_invitation_is_signed_and_shown(self) -> None:
        pdu, event_id = self.build()
        reply = await self.invite(pdu, event_id)
        assert reply.status == 200, reply.body
        assert set(reply.json["event"]["signatures"]) == {self.evil.name, self.north.name}
        assert self.stage.create.room_id in await self.invitations()

    async def test_nothing_else_is_signed_or_shown(self) -> None:
        lies: list[dict[str, Any]] = [
            {"content": {"membership": "join"}},
            {"content": {"membership": "ban"}},
            {"sender": self.alice},
            {"sender": UserID(self.us.user_id)},
            {"state_key": self.eve},
            {"state_key": ""},
            {"type": "m.room.message"},
            {"room_id": self.known.create.room_id},
        ]
        for lie in lies:
            reply = await self.invite(*self.build(**lie))
            assert reply.errcode == "M_INVALID_PARAM", (lie, reply.body)
        pdu, event_id = self.build()
        assert (await self.invite(pdu, "$" + "x" * 43)).errcode == "M_INVALID_PARAM"
        assert (await self.invite({**pdu, "depth": 99}, event_id)).errcode == "M_INVALID_PARAM"
        assert (await self.invite(pdu, event_id, room_version="999")).errcode == "M_INCOMPATIBLE_ROOM_VERSION"
        pdu, event_id = self.build(state_key=f"@nobody:{self.north.name}")
        assert (await self.invite(pdu, event_id)).status == 404
        assert not await self.invitations()

    async def test_what_is_shown_of_a_room_is_of_that_room_and_has_its_create_event(self) -> None:
        pdu, event_id = self.build()
        state = self.stage.state()
        create = state["m.room.create", ""].pdu()
        foreign = self.known.state()["m.room.join_rules", ""].pdu()
        forged = forge(self.stage, state["m.room.join_rules", ""], {"content": {}}, self.evil.key)
        stripped = {"type": "m.room.name", "state_key": "", "sender": self.alice, "content": {"name": "Bank"}}
        assert (await self.invite(pdu, event_id, invite_room_state=[])).errcode == "M_INVALID_PARAM"
        for lie in (foreign, forged, stripped, []):
            reply = await self.invite(pdu, event_id, invite_room_state=[create, lie])
            assert reply.errcode == "M_INVALID_PARAM", (lie, reply.body)
        assert not await self.invitations()

    async def flood(self, times: int) -> list[int]:
        """Invitations into rooms of evil's own, each another; how they were answered."""
        answers = []
        for _ in range(times):
            self.stage = RoomFactory(self.version, creator=self.mallory, create_content={"n": next(NUMBERS)})
            answers.append((await self.invite(*self.build())).status)
        return answers

    async def test_no_more_than_some_invitations_of_a_server_are_open(self) -> None:
        self.patch(invited, "BOUNDS", Bounds(each=5, person=8, server=7))
        assert await self.flood(7) == [200] * 5 + [403] * 2
        assert len(shown := await self.invitations()) == 5
        self.stage = RoomFactory(self.version, creator=self.alice, create_content={"n": "honest"})
        pdu, event_id = self.build(sender=self.alice)
        assert (await self.invite(pdu, event_id, by=self.west)).status == 200
        await self.us.leave(next(iter(shown)))
        assert await self.flood(3) == [200, 403, 403]
        assert len(await self.invitations()) == 6
        for room_id in await self.invitations():
            await self.us.leave(room_id)
        assert await self.flood(5) == [200] * 5
        self.assert_no_errors()

    async def test_one_server_asks_no_more_than_some_in_and_all_servers_a_person_no_more_than_some(self) -> None:
        for bounds in (Bounds(each=9, person=9, server=3), Bounds(each=9, person=3, server=9)):
            self.patch(invited, "BOUNDS", bounds)
            assert await self.flood(4) == [200] * 3 + [403]
            for room_id in await self.invitations():
                await self.us.leave(room_id)

    async def test_who_has_joined_has_room_for_another_invitation(self) -> None:
        self.patch(invited, "BOUNDS", Bounds(each=1, person=9, server=9))
        pdu, event_id = self.build()
        assert (await self.invite(pdu, event_id)).status == 200
        room_id, query = quote(self.stage.create.room_id, safe=""), f"?via={quote(self.west.name)}"
        assert await self.flood(1) == [403]
        assert (await self.us.call("POST", f"/join/{room_id}{query}", {})).status == 200
        assert await self.flood(1) == [200]

    async def test_of_much_that_is_shown_little_is_kept(self) -> None:
        self.stage = RoomFactory(self.version, creator=self.mallory)
        topics = [
            self.stage.build("m.room.topic", {"topic": "x" * 40_000}, sender=self.mallory, state_key=str(n)).pdu()
            for n in range(9)
        ]
        pdu, event_id = self.build()
        assert (await self.invite(pdu, event_id, invite_room_state=[self.stage.create.pdu(), *topics])).status == 200
        kept = await self.database.read(lambda txn: txn.one("SELECT SUM(LENGTH(state)) FROM invitations"))
        assert kept is not None
        assert kept[0] <= 65_536
        (known,) = (await self.invitations()).values()
        assert [each["type"] for each in known["invite_state"]["events"]] == [
            "m.room.create", "m.room.topic", "m.room.member"
        ]  # fmt: skip

    async def test_only_who_invited_can_take_it_back(self) -> None:
        pdu, event_id = self.build()
        assert (await self.invite(pdu, event_id)).status == 200
        kick = self.stage.build_member(self.alice, UserID(self.us.user_id), "leave")
        await self.tell(kick, by=self.west)
        forged = forge(self.stage, kick, {}, self.evil.key)
        await self.tell(forged)
        assert self.stage.create.room_id in await self.invitations()
        await self.tell(kick)
        assert not await self.invitations()

    async def rows(self) -> list[Any]:
        """How much is kept of rooms and memberships."""
        tables = ("rooms", "events", "memberships", "membership_changes", "invitations")
        read = ", ".join(f"(SELECT COUNT(*) FROM {table})" for table in tables)
        return list((await self.database.read(lambda txn: txn.one(f"SELECT {read}"))) or ())

    async def tease(self, *, anew: bool) -> None:
        """Invite, and take it back; `anew`: into another room each time."""
        if anew:
            self.stage = RoomFactory(self.version, creator=self.mallory, create_content={"n": next(NUMBERS)})
        pdu, event_id = self.build(content={"membership": "invite", "n": next(NUMBERS)})
        assert (await self.invite(pdu, event_id)).status == 200
        kick = self.stage.build_member(self.mallory, UserID(self.us.user_id), "leave", content={"n": next(NUMBERS)})
        await self.tell(kick)
        assert not await self.invitations()

    async def test_of_invitations_that_were_taken_back_no_more_than_some_leave_anything(self) -> None:
        self.patch(invites, "MOST_ENDED", 3)
        for anew in (True, False):
            for _ in range(4):
                await self.tease(anew=anew)
            before = await self.rows()
            for _ in range(4):
                await self.tease(anew=anew)
            assert await self.rows() == before, anew

    async def test_what_an_invitation_led_to_stays_however_many_are_taken_back_later(self) -> None:
        self.patch(invites, "MOST_ENDED", 1)
        pdu, event_id = self.build()
        assert (await self.invite(pdu, event_id)).status == 200
        room_id, query = self.stage.create.room_id, f"?via={quote(self.evil.name)}"
        await self.us.ok("POST", f"/join/{quote(room_id, safe='')}{query}", {})
        await self.us.leave(room_id)
        for anew in (False, False, True, True):
            await self.tease(anew=anew)
        assert await self.database.read(find_known, [event_id])
        messages = await self.us.ok("GET", f"/rooms/{quote(room_id, safe='')}/messages?dir=b")
        assert self.us.user_id in [event.get("state_key") for event in messages["chunk"]]
        self.assert_no_errors()


class Aliases(Staged):
    """Names that other servers give to rooms."""

    async def setUp(self) -> None:
        await super().setUp()
        self.alias = f"#stage:{self.evil.name}"
        self.say({"room_id": self.stage.create.room_id, "servers": [self.evil.name]})

    def say(self, answer: object, status: int = 200) -> None:
        self.evil.said["query"] = Said(body=msgspec.json.encode(answer), status=status)

    async def look(self) -> Reply:
        return await self.us.call("GET", f"/directory/room/{quote(self.alias, safe='')}")

    async def test_an_alias_of_another_server_leads_into_its_room(self) -> None:
        assert (await self.look()).json == {"room_id": self.stage.create.room_id, "servers": [self.evil.name]}
        await self.us.join(self.alias)
        room = await self.north.running.rooms.doors.rooms.load(self.stage.create.room_id)
        assert room is not None
        assert self.us.user_id in room.joined_members

    async def test_an_alias_that_leads_nowhere_leads_nobody_anywhere(self) -> None:
        self.say({"errcode": "M_NOT_FOUND", "error": "no"}, 404)
        assert ((await self.look()).status, (await self.look()).errcode) == (404, "M_NOT_FOUND")
        path = f"/join/{quote(self.alias, safe='')}"
        assert await self.us.refused("POST", path, {}) == (404, "M_NOT_FOUND")

    async def test_an_answer_that_is_none_is_the_other_servers_fault(self) -> None:
        for answer in ({}, {"room_id": 1}, {"room_id": "#stage"}, {"room_id": "!" + "x" * 300}, []):
            self.say(answer)
            assert (await self.look()).status == 502, answer

    async def test_servers_that_are_none_are_not_asked(self) -> None:
        self.say({"room_id": self.stage.create.room_id, "servers": ["", "no server", 5, None, self.evil.name]})
        assert (await self.look()).json["servers"] == [self.evil.name]
        await self.us.join(self.alias)
