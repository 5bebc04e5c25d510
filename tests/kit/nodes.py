"""Several homeservers in one process with a wire between them that a test cuts, loses from and mixes up.

    net = Net(self, "12", ["a.test", "b.test", "c.test"])
    await net.begin()
    await net.nodes[0].say("hi")          # sent to the others as the wire allows
    net.cut({"a.test"}, {"b.test", "c.test"})
    await net.heal()                      # everybody speaks until all know all

A node tells the others what a server's outbox tells them, and comes into the room as a server does. Nothing here waits
for time; what is delivered, and in which order, is the test's chance alone.
"""

from collections import deque
from collections.abc import Collection, Coroutine, Sequence
from random import Random
from typing import Any
from urllib.parse import unquote

import msgspec
from twisted.trial.unittest import TestCase

from federation.errors import PeerRefused, PeerUnreachable, Refused, RemoteFault
from federation.event import Event
from federation.ids import RoomID, ServerName, UserID
from federation.versions import ROOM_VERSIONS
from homeserver.outbox.servers.audiences import Audiences
from homeserver.policy import Hidden, Invalid, NotFound, OpenPolicy
from homeserver.rooms.backfill import Backfill
from homeserver.rooms.beyond import Entering
from homeserver.rooms.giving import Giving, dump
from homeserver.rooms.receive.adopt import Adoption
from homeserver.rooms.receive.intake import World
from homeserver.rooms.receive.outside import Outside
from homeserver.rooms.receive.parting import AGAIN_MS
from homeserver.rooms.receive.receiver import Receiver
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.remote import Remote
from homeserver.rooms.remote.resident import Resident
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft, Seal
from homeserver.rooms.turns import Turns
from homeserver.storage.changes import EventAdded
from homeserver.storage.database import Change, Database
from tests.kit.databases import make_database
from tests.kit.peer import FEDERATION, Keys
from tests.kit.receiving import run
from tests.kit.rooms import START_MS, signing_key

LATER = "/_matrix/federation/v2/"
ROUNDS = 3
"""How often all speak in turn once nothing is cut."""


class Net:
    """Homeservers and the wire between them; they know one room."""

    def __init__(self, case: TestCase, version: str, names: Sequence[str], random: Random) -> None:
        self.version = ROOM_VERSIONS[version]
        self.random = random
        self.now_ms = START_MS
        self.beside: deque[Coroutine[Any, Any, None]] = deque()
        case.addCleanup(lambda: [work.close() for work in self.beside])
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

    def post(self, node: "Node", other: "Node", event: Event) -> None:
        """Send an event to somebody; if they can be reached, it is on its way."""
        if self.reaches(node.name, other.name):
            self.on_the_way.append((node, other, event))

    async def deliver(self, share: float = 1.0, lost: float = 0.0) -> None:
        """Let a share of what is on its way arrive, in any order; some of it is lost."""
        for node in self.nodes:
            await node.db.read(lambda txn: None)  # what a commit tells comes after its answer
        self.random.shuffle(self.on_the_way)
        count = round(len(self.on_the_way) * share)
        arriving, self.on_the_way = self.on_the_way[:count], self.on_the_way[count:]
        for sender, receiver, event in arriving:
            if self.random.random() >= lost:
                await receiver.take(sender.name, event)
                await self.rest()

    async def rest(self) -> None:
        """Let everybody do what is to be done beside."""
        for _ in range(100):
            if not self.beside:
                return
            await self.beside.popleft()
        raise AssertionError("servers tell each other without end")

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
            await self.deliver()

    def _levels(self) -> dict[str, Any]:
        users: dict[str, int] = {node.user_id: 100 - 10 * at for at, node in enumerate(self.nodes) if at}
        if not self.version.creators_are_supreme:
            users[self.nodes[0].user_id] = 100
        return {"users": users, "state_default": 50, "ban": 50, "kick": 50}

    async def heal(self) -> None:
        """Cut nothing any more: everybody is told what they are owed, then all speak in turn, until all know all."""
        self.cut()
        self.on_the_way = []
        for node in self.nodes:
            for other, event in node.owed:
                await other.take(node.name, event)
                await self.rest()
        for at in range(ROUNDS):
            self.now_ms += AGAIN_MS
            for node in self.nodes:
                room = await node.room()
                if node.user_id in room.joined_members:
                    await node.send(node.draft("m.room.message", {"body": f"healed {at}"}))
                    await self.deliver()
        for node in self.nodes:
            await node.read_back()


class Node:
    """One homeserver with one person of its own."""

    def __init__(self, net: Net, name: ServerName, case: TestCase) -> None:
        self.net = net
        self.name = name
        self.user_id = UserID(f"@user:{name}")
        self.owed: list[tuple[Node, Event]] = []
        place = make_database("sqlite")
        self.db: Database = place.open()
        case.addCleanup(place.remove)
        case.addCleanup(lambda: self.db.close())
        self.begin()

    def begin(self) -> None:
        """Begin, or begin anew with nothing but the database and what the others are owed."""
        self.seal = Seal(
            server=self.name,
            key=signing_key(self.name),
            now_ms=self._tick,
            token_bytes=Random(self.name).randbytes,
            next_id=self.db.next_id,
        )
        self.rooms = Rooms(self.db, self.seal)
        line = Line(self)
        world = World(
            rooms=self.rooms,
            database=self.db,
            outside=Outside(line, Keys(), run),
            turns=Turns(),
            policy=OpenPolicy(),
            beside=self.net.beside.append,
        )
        self.receiver = Receiver(world)
        ground = Ground(world=world, peers=line, receiver=self.receiver, adoption=Adoption(world), entries=Turns())
        self.resident = Resident(ground)
        self.remote = Remote(ground)
        self.giving = Giving(self.rooms, self.db)
        self.backfill = Backfill(world)
        self._audiences = Audiences(self.name)
        self.db.on_commit = self._heed

    def _heed(self, _position: int, changes: Sequence[Change]) -> None:
        """Tell the others what a commit tells."""
        for change in changes:
            if isinstance(change, EventAdded):
                for server in sorted(self._audiences.find(change)):
                    other, event = self.net.node(server), change.event.event
                    self.owed.append((other, event))
                    self.net.post(self, other, event)

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
        """Do something, if the rules allow it here and now."""
        room = await self.room()
        if self.name not in room.shown.servers:
            return draft.content.get("membership") == "join" and await self._come_back()
        try:
            await self.rooms.append(room, draft)
        except Refused:
            return False
        return True

    async def _come_back(self) -> bool:
        """Join through another server, as one must that has nobody in the room."""
        for other in self.others():
            if self.net.reaches(self.name, other.name) and other.name in (await other.room()).shown.servers:
                return await self.join_through(other)
        return False

    async def join_through(self, other: "Node") -> bool:
        wanted = Entering(person=self.user_id, room_id=self.net.room_id, via=[other.name], content={})
        try:
            return await self.remote.join(wanted)
        except (Refused, RemoteFault, Hidden, Invalid, NotFound):
            return False

    async def read_back(self) -> None:
        """Fetch all of the room's history that is missing."""
        while await self.backfill.fetch(await self.room(), (0, 1 << 60)):
            pass

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
        name, *rest = [unquote(part) for part in path.removeprefix(FEDERATION).removeprefix(LATER).split("/")]
        try:
            answer = await self._answer(node.net.node(destination), name, rest, [*query, ("body", body)])
        except (NotFound, Refused, Invalid) as fault:
            raise PeerRefused(403, "M_FORBIDDEN", str(fault), {}) from None
        return {
            key: [_load(each) for each in value] if isinstance(value, list) else _load(value)
            for key, value in answer.items()
        }

    async def _answer(self, other: Node, name: str, rest: Sequence[str], query: Any) -> dict[str, Any]:
        origin, body = self._node.name, dict(query)["body"]
        if name == "make_join":
            proposal = await other.resident.propose(origin, rest[0], rest[1], "join", ROOM_VERSIONS)
            return {"room_version": proposal.version, "event": proposal.event}
        if name == "send_join":
            return (await other.resident.let_join(origin, (rest[0], rest[1]), body)).dump()
        if name == "send":
            await other.receiver.receive_all(origin, body["pdus"])
            return {}
        return await self._give(other.giving, name, rest, query)

    async def _give(self, giving: Giving, name: str, rest: Sequence[str], query: Any) -> dict[str, Any]:
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
