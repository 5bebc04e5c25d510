"""Two servers and a room between them: what one sends the other shows, and gives what it is asked for."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from federation.errors import PeerRefused
from federation.event import Event
from federation.ids import RoomID, UserID
from homeserver.rooms.room import Room, seal_draft
from homeserver.rooms.seal import Draft
from homeserver.storage.database import Dialect
from tests.kit.people import Person
from tests.kit.region import Region, RegionsCase

V1 = "/_matrix/federation/v1"


class RoomCase(RegionsCase):
    """Events are sent by the test alone: which, and when, is what it is about."""

    silent = True

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice, self.bob = await self.north.register("alice"), await self.south.register("bob")
        await self.alice.sync()
        await self.bob.sync()

    async def share(self, **wanted: Any) -> RoomID:
        """A room of Alice's that Bob joined."""
        created = await self.alice.ok("POST", "/createRoom", {"preset": "public_chat", **wanted})
        room_id = RoomID(created["room_id"])
        await self.alice.send(room_id, "before Bob")
        join = await self.join(self.bob, room_id)
        await self.send(self.south, self.north, join)
        return room_id

    async def join(self, person: Person, room_id: RoomID) -> Event:
        """Let somebody of the south join by what the north's room is now."""
        room = await self.room(self.north, room_id)
        draft = Draft(
            type="m.room.member",
            sender=UserID(person.user_id),
            content={"membership": "join"},
            state_key=person.user_id,
        )
        parts = self.south.running.receiving
        join = seal_draft(parts.world.rooms.seal, room.record, room.shown, draft).event
        state = [held.event for held in room.shown.state.values()]
        await parts.adoption.adopt(room.version, state, state, join)
        return join

    async def room(self, region: Region, room_id: str) -> Room:
        room = await region.running.rooms.doors.rooms.load(room_id)
        assert room is not None
        return room

    async def send(self, sender: Region, receiver: Region, *events: Event, txn: str | None = None) -> Any:
        """Send events in a transaction; its results."""
        body = {
            "origin": sender.name,
            "origin_server_ts": 1,
            "pdus": [event.pdu() for event in events],
            "edus": [{"edu_type": "org.unknown", "content": {}}],
        }
        path = f"{V1}/send/{txn or events[-1].event_id.strip('$')}"
        return (await sender.peers.ask(receiver.name, "PUT", path, body=body))["pdus"]

    async def last(self, region: Region, room_id: str) -> Event:
        """The last event of a room there."""
        return (await self.room(region, room_id)).recent[-1].event

    async def bodies(self, person: Person, room_id: str) -> list[str]:
        """What somebody finds when they read back as far as it goes."""
        found: list[str] = []
        at: dict[str, str] = {}
        while True:
            page = await person.ok("GET", f"/rooms/{quote(room_id)}/messages", dir="b", limit=5, **at)
            found += [event["content"].get("body", event["type"]) for event in page["chunk"]]
            if "end" not in page:
                return found
            at = {"from": page["end"]}

    async def refused(self, path: str, **query: str) -> int:
        """The status with which the north refuses the south something."""
        try:
            await self.south.peers.ask(self.north.name, "GET", V1 + path, query=list(query.items()))
        except PeerRefused as refusal:
            return refusal.status
        return 200


class Talking(RoomCase):
    async def test_what_is_said_on_one_side_is_shown_on_the_other(self) -> None:
        room_id = await self.share()
        await self.alice.send(room_id, "hello south")
        event = await self.last(self.north, room_id)
        self.assertEqual(await self.send(self.north, self.south, event), {event.event_id: {}})
        synced = await self.bob.sync()
        timeline = synced["rooms"]["join"][room_id]["timeline"]
        self.assertEqual(timeline["events"][-1]["content"]["body"], "hello south")
        await self.bob.send(room_id, "hello north")
        answer = await self.last(self.south, room_id)
        self.assertEqual(await self.send(self.south, self.north, answer), {answer.event_id: {}})
        events = (await self.alice.sync())["rooms"]["join"][room_id]["timeline"]["events"]
        self.assertEqual(events[-1]["content"]["body"], "hello north")

    async def test_a_repeated_transaction_gets_the_same_answer(self) -> None:
        room_id = await self.share()
        await self.alice.send(room_id, "once")
        event = await self.last(self.north, room_id)
        first = await self.send(self.north, self.south, event, txn="t1")
        self.assertEqual(await self.send(self.north, self.south, event, txn="t1"), first)
        await self.south.restart()
        self.assertEqual(await self.send(self.north, self.south, event, txn="t1"), first)
        self.assertEqual((await self.bodies(self.bob, room_id)).count("once"), 1)

    async def test_events_sent_while_one_was_away_are_fetched_with_the_next(self) -> None:
        room_id = await self.share()
        await self.south.stop()
        for number in range(12):
            await self.alice.send(room_id, f"missed {number}")
        await self.south.begin()
        await self.alice.send(room_id, "now")
        event = await self.last(self.north, room_id)
        self.assertEqual(await self.send(self.north, self.south, event), {event.event_id: {}})
        found = await self.bodies(self.bob, room_id)
        self.assertEqual(found[:13], ["now", *[f"missed {number}" for number in reversed(range(12))]])

    async def test_history_from_before_the_join_is_fetched_when_somebody_reads_back(self) -> None:
        room_id = await self.share()
        found = await self.bodies(self.bob, room_id)
        self.assertIn("before Bob", found)
        self.assertEqual(found[-1], "m.room.create")
        self.assertEqual(found, await self.bodies(self.alice, room_id))

    async def test_too_large_a_transaction_is_refused(self) -> None:
        room_id = await self.share()
        event = await self.last(self.north, room_id)
        with self.assertRaises(PeerRefused) as refused:
            await self.send(self.north, self.south, *[event] * 51)
        self.assertEqual(refused.exception.status, 400)


class Forking(RoomCase):
    """What a client of the south sees of a history that forks."""

    async def fork(self, room_id: RoomID, *drafts: Draft) -> list[Event]:
        """Events of the north that all follow what the room was when this was called."""
        room = await self.room(self.north, room_id)
        seal, before = self.north.running.rooms.doors.rooms.seal, room.shown
        return [seal_draft(seal, room.record, before, draft).event for draft in drafts]

    def draft(self, kind: str, content: Any, state_key: str | None = "") -> Draft:
        return Draft(type=kind, sender=UserID(self.alice.user_id), content=content, state_key=state_key)

    async def told(self, room_id: RoomID) -> Any:
        """What the next sync of Bob's tells of a room he is in, the state as it is at its end."""
        answer = await self.bob.sync(use_state_after="true")
        return answer["rooms"]["join"][room_id]

    async def test_a_client_is_told_what_two_branches_add_up_to(self) -> None:
        room_id = await self.share()
        await self.bob.sync()
        topics = [self.draft("m.room.topic", {"topic": str(number)}) for number in range(4)]
        for event in await self.fork(room_id, *topics):
            await self.send(self.north, self.south, event)
            told = await self.told(room_id)
            current = (await self.room(self.south, room_id)).state("m.room.topic")
            assert current is not None
            after = [each for each in told["state_after"]["events"] if each["type"] == "m.room.topic"]
            self.assertEqual(told["timeline"]["events"][-1]["event_id"], event.event_id)
            if after:
                self.assertEqual(after[-1]["event_id"], current.event_id)
            shown = await self.bob.ok("GET", f"/rooms/{quote(room_id)}/state/m.room.topic/")
            self.assertEqual(shown, current.content)

    async def test_who_is_put_out_on_another_branch_leaves_and_hears_no_more(self) -> None:
        room_id = await self.share()
        await self.bob.sync()
        kick = self.draft("m.room.member", {"membership": "leave"}, self.bob.user_id)
        message = self.draft("m.room.message", {"body": "beside"}, None)
        said, kicked = await self.fork(room_id, message, kick)
        await self.send(self.north, self.south, said)
        await self.bob.sync()
        await self.send(self.north, self.south, kicked)
        rooms = (await self.bob.sync())["rooms"]
        self.assertIn(room_id, rooms["leave"])
        self.assertNotIn(room_id, rooms.get("join", {}))
        (after,) = await self.fork(room_id, self.draft("m.room.message", {"body": "secret"}, None))
        await self.send(self.north, self.south, after)
        self.assertNotIn("secret", str(await self.bob.sync()))

    async def test_what_others_write_counts_as_unread(self) -> None:
        room_id = await self.share()
        await self.bob.sync()
        await self.alice.send(room_id, "one")
        await self.send(self.north, self.south, await self.last(self.north, room_id))
        told = await self.told(room_id)
        self.assertEqual(told["unread_notifications"]["notification_count"], 1)

    async def test_a_waiting_sync_is_woken(self) -> None:
        room_id = await self.share()
        await self.bob.sync()
        waiting = Deferred.fromCoroutine(self.bob.sync(timeout=20000))
        await self.alice.send(room_id, "wake up")
        await self.send(self.north, self.south, await self.last(self.north, room_id))
        events = (await waiting)["rooms"]["join"][room_id]["timeline"]["events"]
        self.assertEqual([event["content"]["body"] for event in events], ["wake up"])


class TalkingOnPostgreSQL(Talking):
    dialects: tuple[Dialect, Dialect] = ("postgresql", "sqlite")


class Giving(RoomCase):
    async def ask(self, path: str, **query: Any) -> Any:
        pairs = [
            (name, value) for name, given in query.items() for value in (given if isinstance(given, list) else [given])
        ]
        return await self.south.peers.ask(self.north.name, "GET", V1 + path, query=pairs)

    async def test_a_server_in_the_room_gets_what_it_asks_for(self) -> None:
        room_id = await self.share()
        await self.alice.send(room_id, "hi")
        event = await self.last(self.north, room_id)
        where, quoted = quote(room_id, safe=""), quote(event.event_id, safe="")
        self.assertEqual((await self.ask(f"/event/{quoted}"))["pdus"], [event.pdu()])
        ids = await self.ask(f"/state_ids/{where}", event_id=event.event_id)
        state = (await self.room(self.north, room_id)).shown.state
        self.assertEqual(set(ids["pdu_ids"]), {held.event_id for held in state.values()})
        whole = await self.ask(f"/state/{where}", event_id=event.event_id)
        self.assertEqual(len(whole["pdus"]), len(ids["pdu_ids"]))
        self.assertEqual(len(whole["auth_chain"]), len(ids["auth_chain_ids"]))
        self.assertTrue((await self.ask(f"/event_auth/{where}/{quoted}"))["auth_chain"])
        self.assertEqual(len((await self.ask(f"/backfill/{where}", v=[event.event_id], limit="3"))["pdus"]), 3)
        found = await self.ask(f"/timestamp_to_event/{where}", ts=str(event.origin_server_ts), dir="b")
        self.assertEqual(found["event_id"], event.event_id)

    async def test_what_a_question_must_say_is_asked_for(self) -> None:
        room_id = await self.share()
        event_id = (await self.last(self.north, room_id)).event_id
        where = quote(room_id, safe="")
        for path, whole in (
            (f"/backfill/{where}", {"v": event_id, "limit": "3"}),
            (f"/state/{where}", {"event_id": event_id}),
            (f"/state_ids/{where}", {"event_id": event_id}),
            (f"/timestamp_to_event/{where}", {"ts": "1", "dir": "f"}),
        ):
            await self.ask(path, **whole)
            for name in whole:
                less = "&".join(f"{other}={quote(value, safe='')}" for other, value in whole.items() if other != name)
                reply = await self.north.call_signed(self.south.name, self.south.key, "GET", f"{V1}{path}?{less}")
                self.assertEqual((reply.status, reply.errcode), (400, "M_MISSING_PARAM"), (path, name))

    async def test_the_state_before_a_state_event_is_without_it(self) -> None:
        room_id = await self.share()
        await self.alice.ok("PUT", f"/rooms/{quote(room_id)}/state/m.room.topic/", {"topic": "one"})
        first = await self.last(self.north, room_id)
        await self.alice.ok("PUT", f"/rooms/{quote(room_id)}/state/m.room.topic/", {"topic": "two"})
        second = await self.last(self.north, room_id)
        where = quote(room_id, safe="")
        before = (await self.ask(f"/state_ids/{where}", event_id=second.event_id))["pdu_ids"]
        self.assertIn(first.event_id, before)
        self.assertNotIn(second.event_id, before)
        self.assertNotIn(first.event_id, (await self.ask(f"/state_ids/{where}", event_id=first.event_id))["pdu_ids"])

    async def test_a_server_that_is_not_in_the_room_gets_nothing(self) -> None:
        created = await self.alice.ok("POST", "/createRoom", {"preset": "public_chat"})
        room_id = created["room_id"]
        event = await self.last(self.north, room_id)
        where, quoted = quote(room_id, safe=""), quote(event.event_id, safe="")
        for path, query in (
            (f"/state/{where}", {"event_id": event.event_id}),
            (f"/state_ids/{where}", {"event_id": event.event_id}),
            (f"/backfill/{where}", {"v": event.event_id, "limit": "10"}),
            (f"/event_auth/{where}/{quoted}", {}),
            (f"/timestamp_to_event/{where}", {"ts": "1", "dir": "f"}),
        ):
            self.assertEqual(await self.refused(path, **query), 403, path)
            unknown = path.replace(where, quote("!unknown:127.0.0.1", safe=""))
            self.assertEqual(await self.refused(unknown, **query), 403, unknown)
        self.assertEqual(await self.refused(f"/event/{quoted}"), 404)

    async def test_a_server_that_was_put_out_gets_what_leads_to_that_and_no_more(self) -> None:
        room_id = await self.share()
        await self.alice.send(room_id, "before")
        before = await self.last(self.north, room_id)
        await self.alice.ok("POST", f"/rooms/{quote(room_id)}/kick", {"user_id": self.bob.user_id})
        kick = await self.last(self.north, room_id)
        await self.alice.send(room_id, "after")
        after = await self.last(self.north, room_id)
        where = quote(room_id, safe="")
        for event, status in ((before, 200), (kick, 200), (after, 403)):
            quoted, query = quote(event.event_id, safe=""), {"event_id": event.event_id}
            self.assertEqual(await self.refused(f"/state/{where}", **query), status, event.content)
            self.assertEqual(await self.refused(f"/state_ids/{where}", **query), status, event.content)
            self.assertEqual(await self.refused(f"/event_auth/{where}/{quoted}"), status, event.content)
            self.assertEqual(await self.refused(f"/backfill/{where}", v=event.event_id, limit="5"), status)
            self.assertEqual(await self.refused(f"/event/{quoted}"), 404 if status == 403 else 200, event.content)
            body = {"earliest_events": [], "latest_events": [event.event_id]}
            self.assertEqual(await self.status("POST", f"{V1}/get_missing_events/{where}", body), status)
        given = str(await self.ask(f"/backfill/{where}", v=[kick.event_id, after.event_id], limit="50"))
        self.assertIn("before", given)
        self.assertNotIn("after", given)
        self.assertEqual(await self.refused(f"/timestamp_to_event/{where}", ts="1", dir="f"), 403)
        acl = {"allow": ["*"], "deny": [], "allow_ip_literals": False}
        await self.alice.ok("PUT", f"/rooms/{quote(room_id)}/state/m.room.server_acl/", acl)
        self.assertEqual(await self.refused(f"/state_ids/{where}", event_id=kick.event_id), 403)

    async def test_a_server_that_the_list_denies_neither_gets_nor_gives(self) -> None:
        room_id = await self.share()
        event = await self.last(self.north, room_id)
        await self.bob.send(room_id, "denied")
        theirs = await self.last(self.south, room_id)
        acl = {"allow": ["*"], "deny": [], "allow_ip_literals": False}
        await self.alice.ok("PUT", f"/rooms/{quote(room_id)}/state/m.room.server_acl/", acl)
        where = quote(room_id, safe="")
        self.assertEqual(await self.refused(f"/state_ids/{where}", event_id=event.event_id), 403)
        self.assertEqual(await self.refused(f"/event/{quote(event.event_id, safe='')}"), 404)
        results = await self.send(self.south, self.north, theirs)
        self.assertIn("error", results[theirs.event_id])
        self.assertNotEqual((await self.last(self.north, room_id)).event_id, theirs.event_id)

    async def test_what_was_said_before_anybody_of_theirs_joined_is_redacted_where_only_members_may_see_it(
        self,
    ) -> None:
        visibility = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}
        room_id = await self.share(initial_state=[visibility])
        event = await self.last(self.north, room_id)
        page = await self.ask(f"/backfill/{quote(room_id, safe='')}", v=[event.event_id], limit="50")
        messages = [pdu for pdu in page["pdus"] if pdu["type"] == "m.room.message"]
        self.assertEqual([message["content"] for message in messages], [{}])
        await self.alice.send(room_id, "now")
        event = await self.last(self.north, room_id)
        page = await self.ask(f"/backfill/{quote(room_id, safe='')}", v=[event.event_id], limit="1")
        self.assertEqual(page["pdus"][0]["content"]["body"], "now")

    async def test_nonsense_is_refused_at_every_door(self) -> None:
        room_id = await self.share()
        where = quote(room_id, safe="")
        event_id = (await self.last(self.north, room_id)).event_id
        for nasty in ("", "$", "\0", "$\0", "x" * 3000, "!" + "ж" * 200, "$" + "%" * 43, "../..", "\ud7ff"):
            quoted = quote(nasty, safe="") or "%20"
            for path, query in (
                (f"/event/{quoted}", {}),
                (f"/state/{where}", {"event_id": nasty}),
                (f"/state_ids/{quoted}", {"event_id": event_id}),
                (f"/event_auth/{where}/{quoted}", {}),
                (f"/backfill/{quoted}", {"v": event_id, "limit": "1"}),
                (f"/backfill/{where}", {"v": event_id, "limit": nasty}),
                (f"/timestamp_to_event/{where}", {"ts": nasty, "dir": "f"}),
                (f"/timestamp_to_event/{where}", {"ts": "9" * 18, "dir": nasty}),
            ):
                self.assertIn(await self.refused(path, **query), (400, 403, 404), (path, query))
        for number in ("9" * 18, "9" * 30, "-1", "1.5", "0x1"):
            self.assertIn(await self.refused(f"/timestamp_to_event/{where}", ts=number, dir="f"), (400, 404), number)

    async def test_nonsense_in_bodies_is_refused_or_finds_nothing(self) -> None:
        room_id = await self.share()
        path = f"{V1}/get_missing_events/{quote(room_id, safe='')}"
        for body in (
            [],
            {},
            {"earliest_events": 1, "latest_events": []},
            {"earliest_events": [1], "latest_events": []},
        ):
            self.assertEqual(await self.status("POST", path, body), 400, body)
        for body in ({"limit": 2**53 - 1}, {"limit": 0}, {"min_depth": 2**53 - 1}):
            full = {"earliest_events": ["\0"], "latest_events": ["\0", "x" * 1000], **body}
            self.assertEqual(await self.status("POST", path, full), 200, body)
        for body in ([], {"pdus": 1}, {"edus": []}, {"pdus": [], "edus": 1}):
            self.assertEqual(await self.status("PUT", f"{V1}/send/t", body), 400, body)
        odd = [
            None,
            1,
            "",
            [],
            {},
            {"room_id": room_id},
            {"room_id": "\0"},
            {"room_id": room_id, "type": 1, "depth": "x"},
        ]
        for number, body in enumerate(({"pdus": odd, "edus": odd}, {"pdus": [[[[]]]], "edus": [{"edu_type": 1}]})):
            self.assertEqual(await self.status("PUT", f"{V1}/send/odd{number}", body), 200)

    async def status(self, method: str, path: str, body: Any) -> int:
        """The status of a request of the south's with that body."""
        return (await self.north.call_signed(self.south.name, self.south.key, method, path, body)).status
