"""Alice in the north and Bob in the south, in a room together, and what servers tell each other about them.

    class Talking(NeighboursCase):
        async def test_bob_types(self) -> None:
            room_id = await self.share()
            await self.tell(self.south, "m.typing", {"room_id": room_id, "user_id": self.bob.user_id, "typing": True})

What `tell` sends the north gets as if the other region had sent it.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from twisted.internet.task import deferLater

from federation.ids import UserID
from federation.transport.agent import Incoming, Outgoing
from tests.kit.databases import reactor_in_use
from tests.kit.keys import device_keys
from tests.kit.people import Person
from tests.kit.region import Region, RegionsCase
from tests.kit.wire import Reply

V1 = "/_matrix/federation/v1"
_numbers = count(1)


class NeighboursCase(RegionsCase):
    """Alice is in the north, Bob in the south."""

    dialects = ("postgresql", "sqlite")

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice = await self.north.register("alice")
        self.bob = await self.south.register("bob")

    async def share(self, *more: Person, **wanted: Any) -> str:
        """A room of Alice's that Bob is in, and whoever else of the south; its ID."""
        room_id = await self.alice.create_room(**{"preset": "public_chat", **wanted})
        for person in (self.bob, *more):
            await self.enter(person, room_id)
        return room_id

    async def enter(self, person: Person, room_id: str) -> None:
        """Let somebody of the south into a room of the north."""
        await person.ok("POST", f"/join/{quote(room_id, safe='')}?via={quote(self.north.name)}", {})

    async def tell(self, origin: Region, kind: str, *contents: Any) -> None:
        """Let the north get EDUs of a type from another region."""
        edus = [{"edu_type": kind, "content": content} for content in contents]
        for start in range(0, len(edus), 100):
            body = {"origin": origin.name, "origin_server_ts": 1, "pdus": [], "edus": edus[start : start + 100]}
            reply = await self.ask(origin, "PUT", f"/send/told{next(_numbers)}", body)
            assert reply.status == 200, reply

    async def hears(self, room_id: str, person: Person, membership: str) -> None:
        """Wait until the north knows that membership."""
        for _ in range(200):
            room = await self.north.running.rooms.doors.rooms.load(room_id)
            if room is not None and room.membership(UserID(person.user_id)) == membership:
                return
            await deferLater(reactor_in_use(), 0.05)
        raise AssertionError(f"{person.user_id} is not {membership}")

    async def ask(self, origin: Region, method: str, path: str, body: Any = None) -> Reply:
        """Ask the north something as another region does."""
        return await self.north.call_signed(origin.name, origin.key, method, V1 + path, body)

    async def publish_keys(self, person: Person) -> dict[str, Any]:
        """Let a device publish its keys; they."""
        keys = device_keys(person.user_id, person.device_id)
        await person.ok("POST", "/keys/upload", {"device_keys": keys})
        return keys

    def overhear(self, region: Region) -> "Line":
        """What that region asks others from now on."""
        line, outward = Line(), region.running.core.outward
        speak: Any = outward.ask

        async def ask(request: Outgoing) -> Incoming:
            path = urlsplit(request.url).path
            line.asked.append(f"{request.method} {path}")
            for part, answer in line.answers.items():
                if part in path:
                    if callable(answer):
                        answer = answer()
                    if isinstance(answer, Exception):
                        raise answer
                    return Incoming(status=200, headers={}, body=msgspec.json.encode(answer))
            heard: Incoming = await speak(request)
            return heard

        changed: Any = outward
        changed.ask = ask
        return line


@dataclass(kw_only=True)
class Line:
    """What a region asks, as method and path; what it hears instead of the true answer, by a part of the path.

    An answer is JSON, an exception, or makes one of both when called.
    """

    asked: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def count(self, part: str) -> int:
        """How often something of that kind was asked."""
        return sum(part in asked for asked in self.asked)
