"""What one region tells another of its rooms: everything, in order, once, whoever was away and whatever crashed."""

import msgspec
from twisted.internet.defer import Deferred

from federation.transport.agent import Incoming, Outgoing, Unreachable
from homeserver.outbox.servers import destination
from homeserver.storage import outbox
from tests.kit.across import AcrossCase, Go, body_of, txn_of
from tests.kit.region import Region


def answer(status: int, body: bytes) -> Incoming:
    return Incoming(status=status, headers={}, body=body)


def texts_of(*requests: Outgoing) -> list[str]:
    """The texts of all messages of transactions, in their order."""
    pdus = [pdu for request in requests for pdu in body_of(request)["pdus"]]
    return [pdu["content"].get("body") for pdu in pdus if pdu["type"] == "m.room.message"]


class Told(AcrossCase):
    dialects = ("sqlite", "postgresql")

    async def test_what_is_said_is_read_on_the_other_side_in_order(self) -> None:
        room = await self.share()
        said = [f"{number}" for number in range(120)]
        sent = self.watch(self.north)
        for text in said:
            await self.alice.send(room, text)
        await self.settle()
        self.assertEqual(await self.read(self.bob, room), said)
        self.assertEqual(texts_of(*sent), said)
        self.assertTrue(all(len(body_of(request)["pdus"]) <= 50 for request in sent))
        self.assertEqual(len({txn_of(request) for request in sent}), len(sent))

    async def test_both_sides_talk(self) -> None:
        room = await self.share()
        await self.alice.send(room, "one")
        await self.settle()
        await self.bob.send(room, "two")
        await self.settle(self.south)
        for person in (self.alice, self.bob):
            self.assertEqual(await self.read(person, room), ["one", "two"])

    async def test_nobody_is_told_of_a_room_they_are_not_in_or_of_what_came_before_or_after(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        other = await self.alice.create_room(preset="public_chat")
        await self.alice.send(room, "before")
        sent = self.watch(self.north)
        await self.join(self.bob, room)
        await self.alice.send(other, "elsewhere")
        await self.alice.send(room, "for you")
        await self.bob.leave(room)
        await self.settle(self.north, self.south)
        await self.alice.send(room, "after")
        await self.settle()
        await self.north.stop()
        again = await self.begin_again(self.north)
        await self.settle()
        self.assertEqual(texts_of(*sent, *again), ["for you"])

    async def test_who_is_put_out_is_told_that(self) -> None:
        room = await self.share()
        await self.settle()
        await self.alice.ok("POST", f"/rooms/{room}/kick", {"user_id": self.bob.user_id})
        await self.settle()
        joined = await self.bob.ok("GET", "/joined_rooms")
        self.assertEqual(joined["joined_rooms"], [])

    async def test_a_server_that_the_room_shuts_out_is_told_no_more(self) -> None:
        room = await self.share()
        await self.alice.set_state(room, "m.room.server_acl", {"allow": ["elsewhere.test"]})
        sent = self.watch(self.north)
        await self.alice.send(room, "secret")
        await self.settle()
        await self.crash(self.north)
        again = await self.begin_again(self.north)
        await self.settle()
        self.assertEqual(texts_of(*sent, *again), [])

    async def test_a_third_server_is_told_who_came_in_through_us(self) -> None:
        west = self.make_region("west")
        self.publish(self.build_list())
        await west.begin()
        carol = await west.register("carol")
        room = await self.share(carol)
        await self.settle()
        for person in (self.alice, self.bob, carol):
            members = await person.ok("GET", f"/rooms/{room}/joined_members")
            self.assertEqual(len(members["joined"]), 3, person.user_id)
        await carol.send(room, "hello")
        await self.settle(west)
        self.assertEqual(await self.read(self.bob, room), ["hello"])


class Away(AcrossCase):
    """Servers that do not do what they should."""

    dialects = ("postgresql", "sqlite")

    async def test_who_was_away_is_told_everything_in_order(self) -> None:
        self.patch(destination, "MOST_HELD", 10)
        room = await self.share()
        await self.settle()
        self.cut(self.south)
        said = [f"{number}" for number in range(130)]
        for text in said:
            await self.alice.send(room, text)
        self.heal()
        await self.settle()
        self.assertEqual(await self.read(self.bob, room), said)

    async def test_of_a_long_absence_the_latest_is_told_and_the_rest_can_be_asked_for(self) -> None:
        self.patch(outbox, "LONG_ABSENCE", 100)
        room, quiet = await self.share(), await self.share()
        await self.settle()
        self.cut(self.south)
        await self.alice.send(quiet, "quiet")
        said = [f"{number}" for number in range(300)]
        for number, text in enumerate(said):
            await self.alice.send(room, text)
            if number == 150:
                await self.try_in_vain()
        sent = self.watch(self.north)
        self.heal()
        await self.settle()
        self.assertEqual(sorted(texts_of(*sent)), sorted(["quiet", *said[-outbox.LATEST :]]))
        self.assertEqual((await self.read(self.bob, room))[-outbox.LATEST :], said[-outbox.LATEST :])
        self.assertEqual(await self.read(self.bob, quiet), ["quiet"])

    async def try_in_vain(self) -> None:
        """Let the north try the south once more, which is away."""
        self.north.peers.heard_from(self.south.name)
        await self.settle()

    async def test_a_crash_loses_nothing_and_what_was_under_way_comes_again_as_it_was(self) -> None:
        room = await self.share()
        await self.settle()
        lost: Deferred[Incoming] = Deferred()

        async def lose(request: Outgoing, go: Go) -> Incoming:
            await go(request)  # it was taken, but we never learn that
            return await lost

        sent = self.meddle(self.north, lose)
        await self.alice.send(room, "one")
        await self.until(lambda: len(sent) == 1)
        await self.crash(self.north)
        again = await self.begin_again(self.north)
        await self.settle()
        self.assertEqual((txn_of(sent[0]), sent[0].body), (txn_of(again[0]), again[0].body))
        self.alice.server = self.north
        await self.alice.send(room, "two")
        await self.settle()
        self.assertEqual(await self.read(self.bob, room), ["one", "two"])

    async def test_nothing_that_was_taken_is_sent_again_after_a_restart(self) -> None:
        room = await self.share()
        await self.alice.send(room, "one")
        await self.settle()
        await self.north.stop()
        again = await self.begin_again(self.north)
        await self.settle()
        self.assertEqual(again, [])

    async def test_what_is_not_answered_well_is_sent_until_it_is(self) -> None:
        self.patch(destination, "FIRST_DELAY_S", 0.01)
        room = await self.share()
        await self.settle()
        faults = [answer(500, b"{}"), answer(200, b"<html>"), answer(200, b"[]"), answer(429, b"{}"), None]

        async def fail(request: Outgoing, go: Go) -> Incoming:
            return (faults.pop(0) if faults else None) or await go(request)

        sent = self.meddle(self.north, fail)
        await self.alice.send(room, "one")
        await self.until(lambda: not faults)
        await self.settle()
        self.assertEqual(await self.read(self.bob, room), ["one"])
        self.assertEqual(len({txn_of(request) for request in sent}), 1)

    async def test_an_event_that_the_other_does_not_take_holds_up_no_other(self) -> None:
        room = await self.share()
        await self.settle()

        async def object_to_all(request: Outgoing, go: Go) -> Incoming:
            pdus = {pdu["content"]["body"]: {"error": "no"} for pdu in body_of(request)["pdus"]}
            return answer(200, msgspec.json.encode({"pdus": pdus}))

        sent = self.meddle(self.north, object_to_all)
        await self.alice.send(room, "one")
        await self.settle()
        await self.alice.send(room, "two")
        await self.settle()
        self.assertEqual(texts_of(*sent), ["one", "two"])

    async def test_a_transaction_that_is_refused_becomes_smaller_until_only_what_is_bad_is_left_out(self) -> None:
        self.patch(destination, "FIRST_DELAY_S", 0.001)
        self.patch(destination, "LONGEST_DELAY_S", 0.005)
        room = await self.share()
        await self.settle()

        async def dislike(request: Outgoing, go: Go) -> Incoming:
            return answer(400, b"{}") if "bad" in texts_of(request) else await go(request)

        self.cut(self.south)
        for text in ("one", "two", "bad", "three", "four"):
            await self.alice.send(room, text)
        self.meddle(self.north, dislike)
        self.heal()
        await self.until(lambda: self.north.running.sending.is_told(self.south.name))
        read = await self.read(self.bob, room)
        self.assertEqual([text for text in read if text != "bad"], ["one", "two", "three", "four"])

    async def test_a_slow_server_holds_up_no_other(self) -> None:
        west = self.make_region("west")
        self.publish(self.build_list())
        await west.begin()
        carol = await west.register("carol")
        room = await self.share(carol)
        await self.settle()
        slow: Deferred[Incoming] = Deferred()

        async def keep(request: Outgoing, go: Go) -> Incoming:
            if not _is_to(request, west):
                return await go(request)
            if slow.called:
                raise Unreachable("away")
            return await slow

        sent = self.meddle(self.north, keep)
        for number in range(60):
            await self.alice.send(room, f"{number}")
        await self.until(lambda: self.north.running.sending.is_told(self.south.name))
        self.assertEqual(len(await self.read(self.bob, room)), 60)
        self.assertEqual(sum(_is_to(request, west) for request in sent), 1)
        slow.errback(Unreachable("enough"))

    async def test_servers_that_are_away_cost_no_memory(self) -> None:
        self.patch(destination, "MOST_HELD", 5)
        room = await self.share()
        await self.settle()
        self.cut(self.south)
        for number in range(30):
            await self.alice.send(room, f"{number}")
        await self.settle()
        self.assertEqual(self.north.running.sending.measure()["events_to_servers"], 0)


def _is_to(request: Outgoing, region: Region) -> bool:
    return request.to is not None and request.to.host_header == region.name
