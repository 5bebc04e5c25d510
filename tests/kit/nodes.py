"""Several homeservers in one process with a wire between them that a test cuts, loses from and mixes up.

    net = Net(self, "12", ["a.test", "b.test", "c.test"])
    await net.begin()
    await net.nodes[0].say("hi")          # sent to the others as the wire allows
    net.cut({"a.test"}, {"b.test", "c.test"})
    await net.heal()                      # everybody speaks until all know all

Nothing here waits for time; what is delivered, and in which order, is the test's chance alone.
"""

from collections.abc import Collection, Sequence
from random import Random
from typing import Any
from urllib.parse import unquote

import msgspec
from twisted.trial.unittest import TestCase

from federation.errors import PeerRefused, PeerUnreachable, Refused, RemoteFault
from federation.event import Event
from federation.ids import RoomID, ServerName, UserID
from federation.versions import ROOM_VERSIONS
from homeserver.policy import NotFound, OpenPolicy
from homeserver.rooms.giving import Giving, dump
from homeserver.rooms.receive.adopt import Adoption
from homeserver.rooms.receive.intake import Turns, World
from homeserver.rooms.receive.outside import Outside, parse_all
from homeserver.rooms.receive.receiver import Receiver
from homeserver.rooms.room import Room, seal_draft
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft, Seal
from homeserver.storage.database import Database
from homeserver.storage.given import load_chain
from tests.kit.databases import make_database
from tests.kit.peer import FEDERATION, Keys
from tests.kit.receiving import run
from tests.kit.rooms import START_MS, signing_key


class Net:
    """Homeservers and the wire between them; they know one room."""

    def __init__(self, case: TestCase, version: str, names: Sequence[str], random: Random) -> None:
        self.version = ROOM_VERSIONS[version]
        self.random = random
        self.now_ms = START_MS
        self.nodes = [Node(self, ServerName(name), case) for name in names]
        self.room_id = RoomID("")
        self._parts: list[Collection[str]] = []
        self.on_the_way: list[tuple[Node, Node, Event]] = []

    def node(self, name: str) -> "Node":
        return next(node for node in self.nodes if node.name == name)

    # the wire

    def cut(self, *parts: Collection[str]) -> None:
        """Servers of different parts do not reach each other; without parts all do."""
        self._parts = list(parts)

    def reaches(self, one: str, other: str) -> bool:
        parts = self._parts
        return not parts or any(one in part and other in part for part in parts)

    def post(self, node: "Node", event: Event) -> None:
        """Send an event to all that can be reached; it is on its way."""
        self.on_the_way += [(node, other, event) for other in node.others() if self.reaches(node.name, other.name)]

    async def deliver(self, share: float = 1.0, lost: float = 0.0) -> None:
        """Let a share of what is on its way arrive, in any order; some of it is lost."""
        self.random.shuffle(self.on_the_way)
        count = round(len(self.on_the_way) * share)
        arriving, self.on_the_way = self.on_the_way[:count], self.on_the_way[count:]
        for sender, receiver, event in arriving:
            if self.random.random() >= lost:
                await receiver.take(sender.name, event)

    # the room

    async def begin(self) -> None:
        """The first server makes the room, the others join it."""
        first = self.nodes[0]
        content = {"room_version": self.version.id}
        if not self.version.implicit_creator:
            content["creator"] = first.user_id
        drafts = [
            Draft(type="m.room.create", sender=first.user_id, content=content, state_key=""),
            first.move("join"),
            first.draft("m.room.power_levels", self._levels(), ""),
            first.draft("m.room.join_rules", {"join_rule": "public"}, ""),
        ]
        room = await first.rooms.create(self.version, drafts)
        self.room_id = room.room_id
        for node in self.nodes[1:]:
            await node.join_through(first)
            for other in self.nodes[: self.nodes.index(node)]:
                await other.take(first.name, node.sent[-1])
        self.on_the_way = []

    def _levels(self) -> dict[str, Any]:
        users: dict[str, int] = {node.user_id: 100 - 10 * at for at, node in enumerate(self.nodes) if at}
        if not self.version.creators_are_supreme:
            users[self.nodes[0].user_id] = 100
        return {"users": users, "state_default": 50, "ban": 50, "kick": 50}

    async def heal(self, rounds: int = 3) -> None:
        """Cut nothing any more: what was said is said once more until it is heard, then everybody speaks in turn."""
        self.cut()
        self.on_the_way = []
        for node in self.nodes:
            for event in node.sent:
                for other in node.others():
                    await other.take(node.name, event)
        for at in range(rounds):
            for node in self.nodes:
                room = await node.room()
                if node.user_id in room.joined_members:
                    await node.send(node.draft("m.room.message", {"body": f"healed {at}"}))
                    await self.deliver()


class Node:
    """One homeserver with one person of its own."""

    def __init__(self, net: Net, name: ServerName, case: TestCase) -> None:
        self.net = net
        self.name = name
        self.user_id = UserID(f"@user:{name}")
        self.sent: list[Event] = []
        place = make_database("sqlite")
        self.db: Database = place.open()
        case.addCleanup(place.remove)
        case.addCleanup(lambda: self.db.close())
        self.begin()

    def begin(self) -> None:
        """Begin, or begin anew with nothing but the database."""
        self.seal = Seal(
            server=self.name,
            key=signing_key(self.name),
            now_ms=self._tick,
            token_bytes=Random(self.name).randbytes,
            next_id=self.db.next_id,
        )
        self.rooms = Rooms(self.db, self.seal)
        world = World(
            rooms=self.rooms,
            database=self.db,
            outside=Outside(Line(self), Keys(), run),
            turns=Turns(),
            policy=OpenPolicy(),
        )
        self.receiver = Receiver(world)
        self.adoption = Adoption(world)
        self.giving = Giving(self.rooms, self.db)

    def _tick(self) -> int:
        self.net.now_ms += 1000
        return self.net.now_ms

    def others(self) -> list["Node"]:
        return [node for node in self.net.nodes if node is not self]

    async def room(self) -> Room:
        room = await self.rooms.load(self.net.room_id)
        assert room is not None
        return room

    # what its person does

    def draft(self, kind: str, content: Any, state_key: str | None = None) -> Draft:
        return Draft(type=kind, sender=self.user_id, content=content, state_key=state_key)

    def move(self, membership: str, person: UserID | None = None) -> Draft:
        return self.draft("m.room.member", {"membership": membership}, person or self.user_id)

    async def send(self, draft: Draft) -> bool:
        """Do something, if the rules allow it here and now, and send it to the others."""
        room = await self.room()
        if self.name not in room.shown.servers:
            return await self._come_back(draft)
        try:
            held = await self.rooms.append(room, draft)
        except Refused:
            return False
        self.sent.append(held.event)
        self.net.post(self, held.event)
        return True

    async def _come_back(self, draft: Draft) -> bool:
        """Join through another server, as one must that has nobody in the room."""
        if draft.content.get("membership") == "join":
            for other in self.others():
                there = self.net.reaches(self.name, other.name) and other.name in (await other.room()).shown.servers
                if there:
                    return await self.join_through(other)
        return False

    async def join_through(self, other: "Node") -> bool:
        room = await other.room()
        held = seal_draft(self.seal, room.record, room.shown, self.move("join"))
        state = [each.event for each in room.shown.state.values()]
        join = held.event
        outcomes = await other.receiver.receive_all(self.name, [join.pdu()])
        if outcomes[join.event_id] is not None:
            return False
        raws = [event.raw for event in (*state, join)]
        chain = await other.db.read(load_chain, room.record, raws, 1000)
        try:
            await self.adoption.adopt(
                self.net.version, state, parse_all(self.net.version, self.net.room_id, chain.values()), join
            )
        except (Refused, RemoteFault):
            return False
        self.sent.append(join)
        self.net.post(other, join)
        return True

    # what comes

    async def take(self, origin: ServerName, event: Event) -> Exception | None:
        outcomes = await self.receiver.receive_all(origin, [event.pdu()])
        return outcomes.get(event.event_id)


class Line:
    """How a node asks the others: their own answers, as far as the wire reaches."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def ask(
        self,
        destination: ServerName,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        timeout_s: float = 30,
        most_bytes: int = 32 << 20,
    ) -> dict[str, Any]:
        node = self._node
        if not node.net.reaches(node.name, destination):
            raise PeerUnreachable("the wire is cut")
        name, *rest = [unquote(part) for part in path.removeprefix(FEDERATION).split("/")]
        try:
            answer = await self._answer(node.net.node(destination).giving, name, rest, [*query, ("body", body)])
        except (NotFound, Refused) as fault:
            raise PeerRefused(403, "M_FORBIDDEN", str(fault), {}) from None
        return {key: [_load(each) for each in value] for key, value in answer.items()}

    async def _answer(self, giving: Giving, name: str, rest: Sequence[str], query: Any) -> dict[str, Any]:
        origin, room_id, given = self._node.name, self._node.net.room_id, dict(query)
        if name == "event":
            return {"pdus": [await giving.event(origin, rest[0])]}
        if name == "event_auth":
            return {"auth_chain": await giving.event_auth(origin, room_id, rest[1])}
        if name == "backfill":
            starts = [value for key, value in query if key == "v"]
            return {"pdus": await giving.backfill(origin, room_id, starts, int(given["limit"]))}
        if name == "get_missing_events":
            body = given["body"]
            ends = (body["earliest_events"], body["latest_events"])
            return {"events": await giving.missing(origin, room_id, ends, body["limit"], 0)}
        state = await giving.state(origin, room_id, given["event_id"])
        if name == "state":
            return {"pdus": dump(state.state), "auth_chain": dump(state.chain)}
        assert name == "state_ids", name
        return {"pdu_ids": list(state.state), "auth_chain_ids": list(state.chain)}


def _load(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
