"""A house of rooms whose people sync.

    @on_both_databases
    class Hearing(SyncCase):
        async def test_what_is_said_is_heard(self) -> None:
            room = await self.alice.create(preset="public_chat")
            await self.bob.join(room)
            await self.bob.sync()
            await self.alice.say(room, "hi")
            heard = await self.bob.sync()
            assert bodies(heard, room) == ["hi"]

The clock stands until a test moves it; `wait` leaves a sync waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from homeserver.accounts.data import ClientConfig, Filters
from homeserver.api.access import Instants
from homeserver.api.client import data, filters, presence, pushrules, receipts, sliding, sync, typing
from homeserver.api.client import rooms as rooms_api
from homeserver.api.connection import EdgeFactory
from homeserver.api.edge import Attendants, Edge
from homeserver.api.limits import RateLimits
from homeserver.api.metrics import Metrics
from homeserver.ephemeral.presence import Presences
from homeserver.ephemeral.receipts import Receipts
from homeserver.ephemeral.typing import Typing
from homeserver.push.counts import Counts
from homeserver.push.rulebook import Rulebook
from homeserver.storage.database import Change
from homeserver.streams import Streams
from homeserver.sync.answers import Sources
from homeserver.sync.sync import Sync
from tests.kit.databases import reactor_in_use
from tests.kit.houses import SERVER, HouseCase, Person

LAZY = {"room": {"state": {"lazy_load_members": True}}}


@dataclass(kw_only=True, eq=False)
class Syncer(Person):
    """Somebody at a device that syncs; `since` is the last token it got."""

    since: str | None = None

    async def sync(self, **query: object) -> Any:
        """Sync from where the last sync ended, without waiting unless told to."""
        if self.since is not None:
            query.setdefault("since", self.since)
        answer = await self.ok("GET", "/sync", **query)
        self.since = answer["next_batch"]
        return answer

    def wait(self, timeout: int = 30_000, **query: object) -> Deferred[Any]:
        """Begin a sync that waits; fires with its answer."""
        return Deferred.fromCoroutine(self.sync(timeout=timeout, **query))

    async def type(self, room: str, typing: bool = True, **more: object) -> None:
        await self.ok("PUT", f"/rooms/{quote(room)}/typing/{self.user_id}", {"typing": typing, **more})

    async def read(self, room: str, event_id: str, kind: str = "m.read", **more: object) -> None:
        await self.ok("POST", f"/rooms/{quote(room)}/receipt/{kind}/{quote(event_id, safe='')}", more)

    async def set_data(self, kind: str, content: object, room: str | None = None) -> None:
        scope = "" if room is None else f"/rooms/{quote(room)}"
        await self.ok("PUT", f"/user/{self.user_id}{scope}/account_data/{kind}", content)

    async def ignore(self, *others: Person) -> None:
        await self.set_data("m.ignored_user_list", {"ignored_users": {other.user_id: {} for other in others}})

    async def rename(self, room: str, name: str) -> str:
        """Change the name one goes by in a room."""
        return await self.put(room, "m.room.member", {"membership": "join", "displayname": name}, self.user_id)


class SyncCase(HouseCase):
    """A house of rooms; `alice`, `bob`, `carol` and `dave` sync."""

    alice: Syncer
    bob: Syncer
    carol: Syncer
    dave: Syncer
    presence = True

    def restart(self) -> None:
        """Begin anew: nothing is left but the database, sessions and profiles."""
        super().restart()
        rooms = self.doors.rooms
        self.streams = Streams(self.db, self.clock, self.now_ms())
        self.rulebook = Rulebook(self.db)
        self.counts = Counts(self.db, self.streams, self.rulebook, rooms.find)
        self.typing = Typing(self.streams, self.policy, rooms.load, self.clock)
        self.presences = Presences(self.db, self.streams, self.policy, self.clock, self.now_ms, enabled=self.presence)
        self.receipts = Receipts(self.db, self.policy, rooms.load, self.now_ms)
        sources = Sources(
            database=self.db,
            policy=self.policy,
            streams=self.streams,
            rooms=rooms,
            typing=self.typing,
            presences=self.presences,
            notices=self.counts,
            clock=self.clock,
            now_ms=self.now_ms,
        )
        self.sync = Sync(sources)
        self.db.on_commit = self._tell
        stored = Filters(self.db)
        routes = (
            *rooms_api.routes(self.doors, self.later, self.now_ms, SERVER, self.clock),
            *sync.routes(self.sync, stored),
            *sliding.routes(self.sync.sliding),
            *typing.routes(self.typing),
            *receipts.routes(self.receipts),
            *presence.routes(self.presences),
            *pushrules.routes(self.rulebook),
            *data.routes(ClientConfig(self.db)),
            *filters.routes(stored),
        )
        attendants = Attendants(
            reactor=self.clock,
            instants=Instants(self.now_ms),
            find_session=self._find_session,
            limits=RateLimits(enabled=False, now_ms=self.now_ms),
            metrics=Metrics(),
            access=None,
            spool_dir=None,
        )
        self.factory = EdgeFactory(Edge(routes, attendants))

    def _tell(self, position: int, changes: Sequence[Change]) -> None:
        self.told.extend(changes)
        self.counts.heed(changes)
        self.streams.advance(position, changes)

    def person(self, name: str, device: str = "PHONE", **session: Any) -> Syncer:
        """Somebody, or somebody's further device."""
        there = super().person(name, device, **session)
        return Syncer(case=self, user_id=there.user_id, device_id=there.device_id, token=there.token)

    async def settle(self) -> None:
        """Let what is on its way arrive: threads, and what they call."""
        for _ in range(5):
            await self.db.read(lambda txn: None)
            await deferLater(reactor_in_use(), 0)
            self.clock.advance(0)


def joined(answer: Any, room: str) -> Any:
    """What an answer says of a room one is in."""
    return answer.get("rooms", {}).get("join", {}).get(room, {})


def timeline(answer: Any, room: str) -> list[Any]:
    """The events of a room's timeline, joined or left."""
    left = answer.get("rooms", {}).get("leave", {}).get(room, {})
    events: list[Any] = (joined(answer, room) or left).get("timeline", {}).get("events", [])
    return events


def bodies(answer: Any, room: str) -> list[str]:
    """What was said in a room's timeline."""
    return [event["content"].get("body", "") for event in timeline(answer, room) if event["type"] == "m.room.message"]


def ephemeral(answer: Any, room: str, kind: str) -> list[Any]:
    """The contents of a room's ephemeral events of a type."""
    events = joined(answer, room).get("ephemeral", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == kind]
