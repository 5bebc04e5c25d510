"""The south is killed while somebody of it comes into a room of the north, or goes: nothing is half, and all can be
done again.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from federation.ids import ServerName
from federation.transport.agent import Incoming, Outgoing, Unreachable
from homeserver.storage.database import Dialect
from tests.kit.across import AcrossCase


class Crashes(AcrossCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create_room(preset="public_chat")
        await self.alice.send(self.room, "before")
        self.reached = False

    # moments

    def kill_after_answer(self, part: str) -> None:
        """Kill the south when it has the answer to a request of its own, before it does anything with it."""
        outward: Any = self.south.running.core.outward
        go = outward.ask

        async def ask(request: Outgoing) -> Incoming:
            answer: Incoming = await go(request)
            if part in request.url and not self.reached:
                await self.kill()
                raise Unreachable("killed")
            return answer

        outward.ask = ask

    def kill_after(self, owner: Any, name: str) -> None:
        """Kill the south when something was done and committed, before anybody is told."""
        do: Callable[..., Any] = getattr(owner, name)

        async def do_and_die(*args: Any, **more: Any) -> Any:
            await do(*args, **more)
            await self.kill()
            raise Unreachable("killed")

        setattr(owner, name, do_and_die)

    async def kill(self) -> None:
        self.reached = True
        await self.south.running.core.database.close()

    async def die(self, attempt: Deferred[Any]) -> None:
        """Wait until the moment has come; then begin the south again."""
        await self.until(lambda: self.reached)
        attempt.addErrback(lambda _: None)  # nobody hears how it ended
        await self.crash(self.south)
        await attempt
        await self.south.begin()

    async def settle_all(self) -> None:
        for one, other in ((self.north, self.south), (self.south, self.north)):
            one.peers.heard_from(other.name)
        await self.settle(self.north, self.south)

    # what is so

    async def assert_whole(self) -> None:
        """Bob is in the room, which is the same on both sides, and both hear each other."""
        await self.settle_all()
        await self.alice.send(self.room, "from the north")
        await self.bob.send(self.room, "from the south")
        await self.settle_all()
        heads = [await self.load(region) for region in (self.north, self.south)]
        states = [{key: held.event_id for key, held in head.state.items()} for head in heads]
        self.assertEqual(*states)
        self.assertEqual(set(heads[0].servers), {self.north.name, self.south.name})
        self.assertEqual({held.event_id for held in heads[0].extremities}, {h.event_id for h in heads[1].extremities})
        for person in (self.alice, self.bob):
            self.assertEqual(set(await self.read(person, self.room)), {"before", "from the north", "from the south"})

    async def load(self, region: Any) -> Any:
        room = await region.running.rooms.doors.rooms.load(self.room)
        return room.shown

    async def servers(self) -> set[ServerName]:
        """The servers in the room, as the north has it."""
        return set((await self.load(self.north)).servers)

    def start(self, path: str) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.bob.call("POST", path, {}))

    @property
    def way_in(self) -> str:
        return f"/join/{self.room}?server_name={self.north.name}"

    async def test_between_the_answer_to_the_join_and_the_room(self) -> None:
        self.kill_after_answer("/send_join/")
        await self.die(self.start(self.way_in))
        self.assertIn(self.south.name, await self.servers())  # the north has taken it
        self.assertEqual((await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"], [])
        await self.alice.send(self.room, "lost on the south")
        await self.settle_all()
        await self.join(self.bob, self.room)
        self.assertEqual((await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"], [self.room])
        await self.settle_all()
        self.assertIn("lost on the south", await self.read(self.bob, self.room))

    async def test_the_join_is_repeated_and_the_room_whole(self) -> None:
        self.kill_after_answer("/send_join/")
        await self.die(self.start(self.way_in))
        await self.join(self.bob, self.room)
        await self.assert_whole()

    async def test_between_the_proposal_and_the_join(self) -> None:
        self.kill_after_answer("/make_join/")
        await self.die(self.start(self.way_in))
        self.assertEqual(await self.servers(), {self.north.name})
        await self.join(self.bob, self.room)
        await self.assert_whole()

    async def test_between_the_room_and_the_answer_to_the_client(self) -> None:
        self.kill_after(self.south.running.receiving.adoption, "adopt")
        await self.die(self.start(self.way_in))
        self.assertEqual((await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"], [self.room])
        await self.join(self.bob, self.room)
        await self.assert_whole()

    async def test_what_was_set_for_a_room_is_there_with_the_one_that_replaces_it(self) -> None:
        await self.join(self.bob, self.room)
        await self.bob.ok("PUT", f"/user/{self.bob.user_id}/rooms/{self.room}/tags/m.favourite", {"order": 0.5})
        upgraded = await self.alice.ok("POST", f"/rooms/{self.room}/upgrade", {"new_version": "12"})
        self.room = upgraded["replacement_room"]
        await self.settle_all()
        self.kill_after(self.south.running.receiving.adoption, "adopt")
        await self.die(self.start(self.way_in))
        tags = await self.bob.ok("GET", f"/user/{self.bob.user_id}/rooms/{self.room}/tags")
        self.assertEqual(tags, {"tags": {"m.favourite": {"order": 0.5}}})

    async def test_between_leaving_and_the_answer_to_the_client(self) -> None:
        await self.join(self.bob, self.room)
        await self.settle_all()
        self.kill_after(self.south.running.rooms.doors.memberships, "leave")
        self.cut(self.north)
        await self.die(self.start(f"/rooms/{self.room}/leave"))
        self.heal()
        self.assertEqual((await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"], [])
        await self.settle_all()
        self.assertEqual(await self.servers(), {self.north.name})
        await self.bob.ok("POST", f"/rooms/{self.room}/leave", {})
        await self.join(self.bob, self.room)
        await self.assert_whole()

    async def test_between_the_refusal_of_an_invitation_and_its_end_here(self) -> None:
        await self.alice.ok("POST", f"/rooms/{self.room}/invite", {"user_id": self.bob.user_id})
        self.assertIn(self.room, (await self.bob.sync())["rooms"]["invite"])
        self.kill_after_answer("/send_leave/")
        await self.die(self.start(f"/rooms/{self.room}/leave"))
        for _ in range(2):
            await self.bob.ok("POST", f"/rooms/{self.room}/leave", {})
        self.bob.since = None
        self.assertNotIn("invite", (await self.bob.sync()).get("rooms", {}))
        await self.join(self.bob, self.room)
        await self.assert_whole()


class CrashesOnPostgreSQL(Crashes):
    dialects: tuple[Dialect, Dialect] = ("sqlite", "postgresql")
