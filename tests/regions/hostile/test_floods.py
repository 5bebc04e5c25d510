"""Too much of everything: bodies, floods, endless answers, answers that never end, histories that are bombs.

Each is refused or bounded, counted in requests and rows; what was there stays as it was, and the server goes on.
"""

from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from federation.errors import PeerRefused, PeerUnreachable
from federation.event import Event
from federation.ids import EventID, ServerName, UserID
from homeserver.rooms.receive.gaps import MOST_FRONTIER, MOST_ROUNDS
from homeserver.rooms.receive.receiver import MOST_SOURCES
from tests.kit.databases import reactor_in_use
from tests.kit.elsewhere import Said
from tests.kit.hostile import HostileCase
from tests.kit.peer import FEDERATION
from tests.kit.rooms import RoomFactory

MADE_UP = EventID("$" + "x" * 43)
NOTHING: dict[str, Any] = {"events": []}


class Case(HostileCase):
    def after_nothing(self, text: str = "x", **more: Any) -> Event:
        """A message of mallory's that follows what nobody has."""
        more = {"prev_events": (MADE_UP,), **more}
        event = self.factory.build("m.room.message", {"body": text}, sender=self.mallory, **more)
        self.factory.events[event.event_id] = event
        self.factory._states[event.event_id] = self.factory.state()
        return event


class Bodies(Case):
    """Bodies that are too large, too deep, too many, or no JSON."""

    async def test_bodies_that_are_too_much_are_refused_and_do_no_harm(self) -> None:
        path = f"{FEDERATION}send/large"
        good = b'{"pdus": [], "edus": []}'
        for body in (
            b'{"pdus": [' + b'"' + b"x" * (20 << 20) + b'"]}',
            b'{"pdus": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"pdus": [' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"]}",
            b'{"pdus": [' + b"1," * 50 + b"1]}",
            b'{"pdus": [], "edus": [' + b"1," * 100 + b"1]}",
            b'{"pdus": [' + b"[]," * 5_000_000 + b"[]]}",
            b'{"pdus": [{"a": [' + b"1," * 5_000_000 + b"1]}]}",
            b'{"pdus": [1e999]}',
            b'{"pdus": [' + b"9" * 100_000 + b"]}",
            b'{"pdus": ["\xff"]}',
            b'{"pdus": [], "pdus": 5}',
            b"",
        ):
            async with self.unharmed():
                reply = await self.north.call_signed(self.evil.name, self.evil.key, "PUT", path, body=body)
                assert 400 <= reply.status < 500, (body[:40], reply)
        reply = await self.north.call_signed(self.evil.name, self.evil.key, "PUT", path, body=good)
        assert reply.status == 200

    async def test_an_event_that_is_too_large_in_any_part_is_not_taken_and_harms_nothing_beside_it(self) -> None:
        good = self.factory.build("m.room.message", {"body": "x"}, sender=self.mallory)
        deep: Any = 1
        for _ in range(50):
            deep = {"a": deep}
        async with self.unharmed():
            for changes in (
                {"content": {"body": "x" * 65_536}},
                {"type": "x" * 256},
                {"state_key": "x" * 256},
                {"content": {str(number): number for number in range(9_000)}},
                {"unsigned": {"x": "x" * 200_000}, "type": "п" * 128},
            ):
                await self.tell(self.sign(good, **changes))
        assert await self.tell({**good.pdu(), "unsigned": {"age": "x" * 200_000, "redacted_because": {}}}) == {}
        assert await self.tell(self.sign(good, content=deep)) == {}
        page = await self.us.ok("GET", f"/rooms/{self.room_id}/messages", dir="b")
        assert b"redacted_because" not in msgspec.json.encode(page)


class Replays(Case):
    """The same again."""

    async def test_a_transaction_that_comes_again_does_nothing_again_whatever_is_in_it_then(self) -> None:
        first, second = (self.factory.message(self.mallory, text) for text in ("first", "second"))
        reply = await self.send([first.pdu()], txn_id="again")
        assert reply.json == {"pdus": {first.event_id: {}}}
        async with self.unharmed():
            for pdus in ([first.pdu()], [second.pdu()], []):
                again = await self.send(pdus, txn_id="again")
                assert again.body == reply.body
        other = await self.send([second.pdu()], txn_id="again", by=self.west)  # its own names
        assert other.json == {"pdus": {second.event_id: {}}}

    async def test_a_server_that_sends_ever_more_is_remembered_no_better_and_does_not_crowd_out_others(self) -> None:
        event = self.factory.message(self.alice)
        reply = await self.send([event.pdu()], txn_id="honest", by=self.west)
        for number in range(50):
            await self.send([], txn_id=f"flood{number}")
        assert self.north.running.receiving.transactions.remembered <= 21
        async with self.unharmed():
            assert (await self.send([], txn_id="honest", by=self.west)).body == reply.body

    async def test_no_more_than_some_are_taken_in_at_once_from_one_server(self) -> None:
        message, honest = self.factory.message(self.mallory), self.factory.message(self.alice)
        async with self.north.running.receiving.world.turns.of(self.factory.create.room_id):
            flood = [Deferred.fromCoroutine(self.send([message.pdu()])) for _ in range(30)]
            other = Deferred.fromCoroutine(self.send([honest.pdu()], by=self.west))
            for _ in range(500):
                if sum(each.called for each in flood) == 20:
                    break
                await deferLater(reactor_in_use(), 0.01)
        replies = [await each for each in flood]
        assert [reply.status for reply in replies].count(200) == 10
        assert {reply.errcode for reply in replies if reply.status != 200} == {"M_LIMIT_EXCEEDED"}
        assert (await other).json == {"pdus": {honest.event_id: {}}}
        self.assert_no_errors()

    async def test_events_that_come_again_in_other_transactions_are_shown_once(self) -> None:
        message = self.factory.message(self.mallory)
        assert await self.tell(message) == {}
        async with self.unharmed():
            for _ in range(5):
                assert await self.tell(*[message] * 50) == {}
            assert await self.tell(message, by=self.west) == {}

    async def test_what_was_refused_stays_refused(self) -> None:
        bad = self.factory.build("m.room.topic", {"topic": "x"}, sender=self.mallory, state_key="")
        await self.expect_refused(bad)
        for by in (self.evil, self.west):
            async with self.unharmed():
                await self.tell(bad, by=by)
        await self.north.restart()
        async with self.unharmed():
            await self.tell(bad)
        assert (await self.room()).state("m.room.topic") is None


class Answers(Case):
    """What north is answered when it asks for what is missing."""

    async def bounded(self, event: Event, **asked: int) -> None:
        """Send an event; no endpoint is asked more often than that."""
        self.evil.asked.clear()
        self.west.asked.clear()
        await self.tell(event)
        for name, most in asked.items():
            assert self.evil.asked[name] + self.west.asked[name] <= most, (name, self.evil.asked, self.west.asked)
        self.assert_no_errors()
        await self.us.send(self.room_id, "still here")

    async def test_missing_events_without_end_end(self) -> None:
        made: list[Event] = []

        def more(true: dict[str, Any]) -> dict[str, Any]:
            for _ in range(50):
                before = EventID("$" + str(len(made) + 1).rjust(43, "z"))
                made.append(self.after_nothing(str(len(made)), prev_events=(before,)))
            return {"events": [each.pdu() for each in made[-50:]]}

        self.evil.lies["get_missing_events"] = more
        self.evil.lies["state_ids"] = lambda true: {}
        await self.bounded(self.after_nothing(), get_missing_events=MOST_ROUNDS * MOST_SOURCES)

    async def test_a_chain_of_missing_events_each_leading_to_the_next_is_followed_so_far_and_no_further(self) -> None:
        messages = [self.factory.message(self.mallory, str(number)) for number in range(400)]
        self.evil.lies["get_missing_events"] = lambda true: {"events": true["events"][-2:]}
        await self.bounded(messages[-1], get_missing_events=MOST_ROUNDS * MOST_SOURCES, state_ids=MOST_FRONTIER)

    async def test_twenty_unknown_events_before_one_are_asked_for_together(self) -> None:
        unknown = tuple(EventID("$" + str(number).rjust(43, "y")) for number in range(20))
        self.evil.said["get_missing_events"] = Said(body=b'{"events": []}')
        async with self.unharmed():
            self.evil.said["state_ids"] = Said(status=404, body=b"{}")
            event = self.after_nothing(prev_events=unknown)
            self.evil.asked.clear()
            refused = await self.tell(event)
            assert event.event_id in refused
            assert self.evil.asked["get_missing_events"] <= MOST_ROUNDS
            assert self.evil.asked["state_ids"] <= MOST_FRONTIER

    async def test_fifty_events_each_behind_a_gap_of_its_own_cost_no_more_than_some(self) -> None:
        self.evil.said["get_missing_events"] = Said(body=b'{"events": []}')
        self.evil.said["state_ids"] = Said(status=404, body=b"{}")
        events = [
            self.after_nothing(str(number), prev_events=(EventID("$" + str(number).rjust(43, "y")),))
            for number in range(50)
        ]
        async with self.unharmed():
            self.evil.asked.clear()
            await self.tell(*events)
            assert self.evil.asked["get_missing_events"] <= MOST_ROUNDS
            # for each of them the state before it, then before the one that it follows
            assert self.evil.asked["state_ids"] <= 2 * MOST_FRONTIER

    async def test_fifty_events_each_resting_on_what_is_not_there_cost_no_more_than_some(self) -> None:
        self.evil.said["event_auth"] = Said(body=b'{"auth_chain": []}')
        auth = self.factory.build("m.room.message", {}, sender=self.mallory).auth_events
        events = [
            self.factory.build(
                "m.room.message",
                {"n": number},
                sender=self.mallory,
                auth_events=(*auth, EventID("$" + str(number).rjust(43, "w"))),
            )
            for number in range(50)
        ]
        async with self.unharmed():
            self.evil.asked.clear()
            await self.tell(*events)
            assert self.evil.asked["event_auth"] <= 10, self.evil.asked

    async def test_answers_that_take_their_time_keep_the_room_waiting_for_a_while_and_no_longer(self) -> None:
        def slow(true: dict[str, Any]) -> dict[str, Any]:
            self.north.late_ms += 25_000
            return true

        messages = [self.factory.message(self.mallory, str(number)) for number in range(300)]
        for name in ("get_missing_events", "state_ids", "event_auth", "backfill", "state"):
            self.evil.lies[name] = slow
        self.evil.lies["get_missing_events"] = lambda true: {"events": slow(true)["events"][-1:]}
        began = self.north.late_ms
        await self.tell(*[each for each in messages if each.depth % 7 == 0][-50:])
        assert self.north.late_ms - began <= 100_000, self.evil.asked
        assert await self.tell(self.factory.message(self.alice, "honest", after=messages[0]), by=self.west) == {}

    async def test_a_state_of_a_hundred_thousand_made_up_events_is_not_fetched_one_by_one(self) -> None:
        state = [each.event_id for each in self.factory.state().values()]
        many = [f"${number:043}" for number in range(100_000)]
        self.evil.said["get_missing_events"] = Said(body=b'{"events": []}')
        answer = {"pdu_ids": [*state, *many], "auth_chain_ids": []}
        self.evil.said["state_ids"] = Said(body=msgspec.json.encode(answer))
        self.evil.said["state"] = Said(body=b'{"pdus": [], "auth_chain": []}')
        event = self.after_nothing()
        async with self.unharmed():
            assert event.event_id in await self.tell(event, by=self.evil)
        assert self.evil.asked["event"] == 0
        assert self.evil.asked["state"] <= 1

    async def test_an_auth_chain_ten_thousand_long_is_judged_and_not_stumbled_over(self) -> None:
        other = RoomFactory(self.version, creator=self.mallory)
        auth = self.factory.build("m.room.member", {}, sender=self.mallory, state_key=self.mallory).auth_events
        chain: list[Event] = []
        last = auth
        for number in range(10_000 // 20):  # each is a rejected one of twenty
            event = self.factory.build(
                "m.room.member",
                {"membership": "join", "displayname": str(number)},
                sender=self.mallory,
                state_key=self.mallory,
                auth_events=last,
            )
            chain.append(event)
            last = (*auth[:-1], event.event_id)
        for event in chain:
            self.factory.events[event.event_id] = event
        top = self.factory.build("m.room.message", {"body": "x"}, sender=self.mallory, auth_events=last)
        self.factory.events[top.event_id] = top
        await self.tell(top)
        self.assert_no_errors()
        assert other.room_id != self.room_id
        await self.us.send(self.room_id, "still here")

    async def test_answers_of_a_wrong_kind_are_as_none(self) -> None:
        for name in ("get_missing_events", "state_ids", "state", "event_auth", "event"):
            for body in (
                b"[]", b"null", b"{", b"", b'{"events": {}}', b'{"events": [null, 1, "x", [], {}]}',
                b'{"pdu_ids": [null], "auth_chain_ids": []}', b'{"pdu_ids": {}, "auth_chain_ids": {}}',
                b'{"auth_chain": 5}', b'{"pdus": [[]]}', b"[" * 10_000, b'{"a": ' * 2000,
                b'{"pdu_ids": ["' + b"x" * 300 + b'"], "auth_chain_ids": []}', b"\xff\xfe",
            ):  # fmt: skip
                self.evil.said = {"get_missing_events": Said(body=b'{"events": []}'), name: Said(body=body)}
                async with self.unharmed():
                    if name == "state_ids":
                        await self.tell(self.after_nothing(name))
                    else:
                        self.evil.said.setdefault("state_ids", Said(status=404, body=b"{}"))
                        await self.tell(self.after_nothing(name))

    async def test_an_answer_larger_than_is_listened_to_is_broken_off(self) -> None:
        self.evil.said["get_missing_events"] = Said(body=b'{"events": ["' + b"x" * (33 << 20) + b'"]}')
        self.evil.said["state_ids"] = Said(status=404, body=b"{}")
        async with self.unharmed():
            await self.tell(self.after_nothing())

    async def test_a_server_that_does_not_answer_in_time_is_not_asked_again_at_once(self) -> None:
        self.evil.said["event"] = Said(silent=True, body=b"")
        self.evil.asked.clear()
        asking = Deferred.fromCoroutine(self.north.peers.ask(self.evil.name, "GET", FEDERATION + "event/x"))
        for _ in range(500):
            if self.evil.asked["event"]:
                break
            await deferLater(reactor_in_use(), 0.01)
        asking.cancel()  # as when the time is up
        with pytest.raises(PeerUnreachable):
            await asking
        self.north.peers.heard_from(self.evil.name)
        with pytest.raises(PeerRefused):
            await self.north.peers.ask(self.evil.name, "GET", FEDERATION + "state_ids/x", query=[("event_id", "x")])
        assert self.evil.asked["event"] == 1

    async def test_a_redirect_is_not_followed(self) -> None:
        for status in (301, 302, 307, 308):
            for place in (
                f"https://{self.west.name}/_matrix/key/v2/server",
                "http://127.0.0.1:1/",
                "file:///etc/passwd",
            ):
                headers = {"Location": place}
                self.evil.said["get_missing_events"] = Said(status=status, headers=headers, body=b"{}")
                self.evil.said["state_ids"] = Said(status=status, headers=headers, body=b"{}")
                self.west.asked.clear()
                async with self.unharmed():
                    await self.tell(self.after_nothing())
        stranger = self.open_villain()
        stranger.said["keys"] = Said(
            status=302, headers={"Location": f"https://{self.evil.name}/_matrix/key/v2/server"}
        )
        assert (await self.send([], by=stranger)).status == 401


class Questions(Case):
    """What evil asks north."""

    async def test_a_server_that_is_not_in_the_room_is_told_nothing_alike(self) -> None:
        stranger = self.open_villain()
        event_id = (await self.say("secret")).event_id
        paths = [f"{what}/{{}}?event_id={event_id}" for what in ("state", "state_ids")]
        paths += [f"event_auth/{{}}/{event_id}", f"backfill/{{}}?v={event_id}&limit=10",
                  "timestamp_to_event/{}?ts=1&dir=f"]  # fmt: skip
        for path in paths:
            there, nowhere = (
                path.format(room.replace("!", "%21")) for room in (self.room_id, "!nowhere:" + stranger.name)
            )
            answers = [await self.ask(each, by=stranger) for each in (there, nowhere)]
            assert [each.status for each in answers] == [403, 403], path
            assert answers[0].body == answers[1].body
            assert (await self.ask(there)).status == 200, path
        for known, unknown in ((event_id, MADE_UP),):
            answers = [await self.ask(f"event/{each}", by=stranger) for each in (known, unknown)]
            assert [each.status for each in answers] == [404, 404]
            assert answers[0].body == answers[1].body

    async def test_who_was_put_out_or_shut_out_is_told_nothing_of_what_came_later(self) -> None:
        assert await self.tell(self.factory.ban(self.alice, self.mallory), by=self.west) == {}
        event_id = (await self.say("secret")).event_id
        room = self.room_id.replace("!", "%21")
        body = {"earliest_events": [], "latest_events": [event_id], "limit": 10}
        assert (await self.ask(f"event/{event_id}")).status == 404
        assert (await self.ask(f"backfill/{room}?v={event_id}&limit=10")).status == 403
        assert (await self.ask(f"get_missing_events/{room}", body, method="POST")).status == 403
        assert (await self.ask(f"event/{event_id}", by=self.west)).status == 200

    async def test_an_access_list_shuts_out_a_server_whatever_the_case_and_port(self) -> None:
        acl = {"allow": ["*"], "deny": ["127.0.0.?"]}
        create = self.factory.create
        path = f"backfill/{self.room_id.replace('!', '%21')}?limit=1&v="
        assert (await self.ask(path + create.event_id)).status == 200
        event = self.factory.send("m.room.server_acl", acl, sender=self.alice, state_key="")
        assert await self.tell(event, by=self.west) == {}
        await self.expect_refused(self.factory.build("m.room.message", {"body": "x"}, sender=self.mallory))
        assert (await self.ask(path + create.event_id)).status == 403
        assert (await self.ask(f"event/{event.event_id}")).status == 404

    async def test_more_than_some_is_not_given_however_much_is_asked_for(self) -> None:
        said = [await self.say(str(number)) for number in range(120)]
        room = self.room_id.replace("!", "%21")
        starts = "&".join(f"v={each.event_id}" for each in said)
        for limit in ("1000000", str(2**62), "-1", "0"):
            reply = await self.ask(f"backfill/{room}?{starts}&limit={limit}")
            assert reply.status in (200, 400), reply
            assert len(reply.json.get("pdus", [])) <= 100
        everything = [each.event_id for each in said] * 50
        body = {"earliest_events": everything, "latest_events": everything, "limit": 2**53}
        reply = await self.ask(f"get_missing_events/{room}", body, method="POST")
        assert len(reply.json.get("events", [])) <= 100
        self.assert_no_errors()

    async def test_many_who_cannot_be_reached_are_asked_for_their_keys_a_bounded_number_of_times(self) -> None:
        names = [ServerName(f"127.0.0.1:{port}") for port in range(1, 41)]
        events = [
            self.sign(self.factory.build("m.room.message", {"n": number}, sender=UserID(f"@x:{name}")))
            for number, name in enumerate(names)
        ]
        async with self.unharmed():
            await self.tell(*events)
        assert self.north.peers.away <= len(names)


class PrivateAddresses(Case):
    """A region that goes to no private address, whatever it is told."""

    async def test_a_server_at_a_private_address_is_neither_asked_nor_heard(self) -> None:
        network = {"trusted_ca": str(self.certifier.file), "allow_private_addresses": False}
        guarded = self.make_region("guarded", network=network)
        await guarded.begin()
        third, connected = self.open_villain(), list[str]()
        answer = third.render

        def render(request: Any) -> Any:
            connected.append(request.uri.decode())
            return answer(request)

        third.render = render  # type: ignore[method-assign]  # what comes is counted
        port = third.name.rpartition(":")[2]
        for name in (third.name, f"[::ffff:127.0.0.1]:{port}", f"localhost:{port}", f"127.1:{port}"):
            reply = await guarded.call_signed(ServerName(name), third.key, "PUT", f"{FEDERATION}send/x", {})
            assert reply.status == 401, name
        assert connected == []
        assert (await self.send([], by=third)).status == 200  # north may go there
        assert connected == ["/_matrix/key/v2/server"]
        self.assert_no_errors()
