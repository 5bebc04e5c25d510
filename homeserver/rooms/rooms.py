"""The live rooms: loaded when asked for, as many as memory allows, each of them once.

Everything that changes a room goes through `commit`: events of one or several rooms, and other rows with them, in one
unit of work.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID, RoomID
from federation.versions import RoomVersion
from homeserver.rooms.listing import build_listing
from homeserver.rooms.overview import find_overview
from homeserver.rooms.recommending import (
    AskToSign,
    NotRecommended,
    PolicyServer,
    ask_for,
    find_asked,
    is_departure,
    needs_recommending,
)
from homeserver.rooms.room import MOST_RECENT, Room, begin_room, revive_room
from homeserver.rooms.seal import Draft, Seal
from homeserver.rooms.turns import Turns
from homeserver.rooms.writing import Addition, Pending, RoomDropped, Work, write_additions
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.directory import is_published
from homeserver.storage.events import RoomEvent
from homeserver.storage.received import find_last_gap
from homeserver.storage.relations import load_parents
from homeserver.storage.retention import find_horizon
from homeserver.storage.rooms import find_room
from homeserver.storage.state import has_present, load_present

Changes: TypeAlias = Sequence[tuple[Room, Sequence[Draft]]]
Added: TypeAlias = list[tuple[Room, Addition]]


class Succession(Protocol):
    """How a new room takes the place of another."""

    @property
    def version(self) -> RoomVersion:
        """The new room's version."""

    def begin(self, old: Room, tombstone: EventID | None, /) -> Iterable[Draft]:
        """The events of the new room, the create event first."""

    def end(self, old: Room, new_id: RoomID, /) -> Iterable[Draft]:
        """The last events of the old room, the tombstone first."""

    def also(self, old: Room, new: Room, *, listed: bool) -> Sequence[Work]:
        """What else is written; `listed`: the directory lists the room."""


CAPACITY: Final = 50_000
"""How many events of state and of recent history all live rooms may hold together, about 4 kilobytes each."""
_TRIES: Final = 3


def no_more(_room: Room) -> Sequence[Work]:
    """Nothing else to write with a new room."""
    return ()


class Rooms:
    """The live rooms. One that is held across an await may have been dropped; `commit` notices and loads it anew.

    Whoever can ask other servers puts into `ask_to_sign` how a room's policy server is asked.
    """

    def __init__(self, database: Database, seal: Seal, *, capacity: int = CAPACITY) -> None:
        self._db = database
        self.seal = seal
        self._capacity = capacity
        self._live: OrderedDict[RoomID, Room] = OrderedDict()
        self._weights: dict[RoomID, int] = {}
        self._weight = 0
        self._dropped: dict[RoomID, Room] = {}
        self._loading: dict[RoomID, list[Deferred[Room | None]]] = {}
        self._doubtful: set[RoomID] = set()
        self._closed: set[RoomID] = set()
        self._last_created_ms = 0
        self._recommended = Turns()
        self.ask_to_sign: AskToSign | None = None

    @property
    def live(self) -> int:
        """How many rooms are in memory."""
        return len(self._live)

    def find(self, room_id: str) -> Room | None:
        """The live room of that ID, if it is in memory."""
        return self._live.get(RoomID(room_id))

    async def renew(self, room_id: RoomID) -> None:
        """Load the room anew when it is next asked for: something of its past was changed in the tables."""
        room = self._live.get(room_id)
        while room is not None and room.live:
            if room.is_settled:
                room.live = False
                self._forget(room)
            await room.settled()

    async def close(self, room_id: RoomID) -> None:
        """From now on there is no such room, as far as anybody asks here; what was added to it is committed first."""
        self._closed.add(room_id)
        await self.renew(room_id)

    def reopen(self, room_id: RoomID) -> None:
        """The tables say again whether there is such a room."""
        self._closed.discard(room_id)

    async def load(self, room_id: str) -> Room | None:
        """The live room of that ID, None if this server knows no such room; anything may be asked."""
        room = self._live.get(RoomID(room_id))
        if room_id in self._closed:
            return None
        if room is None:
            return await self._load(RoomID(room_id))
        self._live.move_to_end(room.room_id)
        return room

    async def append(self, room: Room, draft: Draft) -> RoomEvent:
        """Send one event.

        Raises: what `commit` raises.
        """
        ((held,),) = await self.commit([(room, [draft])])
        return held

    async def commit(self, changes: Changes, also: Sequence[Work] = ()) -> list[list[RoomEvent]]:
        """Send events in one or several rooms, a room at most once, in one unit of work; `also` is done in the same.

        It fires after the commit, when the rooms show it. All or nothing: if one event is refused, no room changes.

        Raises: Refused, EventTooLarge or Invalid for an event that cannot be, NotRecommended among them; what `also`
            raises; StorageUnavailable.
        """
        asking = sorted(room.room_id for room, _ in changes if find_asked(self.seal, room.head) is not None)
        async with AsyncExitStack() as turns:
            for room_id in asking:  # one after the other, so that what is asked for still fits when the answer comes
                await turns.enter_async_context(self._recommended.of(room_id))
            return await self._commit(changes, also)

    async def _commit(self, changes: Changes, also: Sequence[Work]) -> list[list[RoomEvent]]:
        if not changes and not also:
            return []
        for _ in range(_TRIES):
            try:
                added = await self._recommend(self._add(changes))
                await self._write(added, also)
            except RoomDropped:
                changes = [(await self._load_again(room), drafts) for room, drafts in changes]
            else:
                events = {room.nid: [pending.held for pending in addition.pendings] for room, addition in added}
                return [events.get(room.nid, []) for room, _ in changes]
        raise StorageUnavailable("storage unavailable: the room could not be written")

    async def take_in(
        self, room: Room, build: Callable[[], Sequence[Pending]], also: Sequence[Work] = (), *, begins: bool = False
    ) -> None:
        """Write what `build` makes of events of other servers on the head of a room, and `also` if it makes any, in one
        unit of work; a room that begins is one of the live ones from then on.

        Raises: RoomDropped when the room must be loaded anew and all be built once more; StorageUnavailable.
        """
        addition = room.add_built(self.seal, build)
        if addition.pendings:
            self._renew_listing(room, addition)
            await self._write([(room, addition)], also)
        else:
            room.take_back(addition)
        if begins:
            self._keep(room)

    async def recommend(self, room: Room, event: Event) -> Event:
        """An event of ours that comes into the room by another way, recommended where that is for another to do.

        Raises: NotRecommended.
        """
        used = find_asked(self.seal, room.head)
        return event if used is None else await ask_for(self.ask_to_sign, used, event)

    async def wait_for(self, room: Room) -> None:
        """Fires when all that was added to a room so far is committed.

        Raises: StorageUnavailable when some of it failed.
        """
        if not room.is_settled:
            await room.settled()
            if not room.live:
                raise StorageUnavailable("storage unavailable: the room could not be written")

    async def create(
        self,
        version: RoomVersion,
        drafts: Sequence[Draft],
        *,
        kind: str | None = None,
        published: bool = False,
        also: Callable[[Room], Sequence[Work]] = no_more,
    ) -> Room:
        """A new room with these events, the first of which is its create event, in one unit of work.

        Raises: as `commit`.
        """
        room, addition = self._begin(version, drafts, kind=kind, published=published)
        await self._write([(room, addition)], also(room))
        self._keep(room)
        return room

    async def replace(self, old: Room, succession: Succession) -> Room:
        """A new room that takes the place of another, both changed in one unit of work.

        Raises: as `commit`.
        """
        for _ in range(_TRIES):
            listed = old.published
            try:
                added = self._succeed(old, succession)
                (new, _) = added[0]
                await self._write(await self._recommend(added), succession.also(old, new, listed=listed))
            except RoomDropped:
                old.published = listed
                old = await self._load_again(old)
            except Refused:
                old.published = listed
                raise
            else:
                self._keep(new)
                return new
        raise StorageUnavailable("storage unavailable: the room could not be written")

    def _succeed(self, old: Room, succession: Succession) -> Added:
        """The new room and the old one with what is added to each; where IDs are not hashes, the end comes first."""
        version, kind, listed = succession.version, old.record.kind, old.published
        begin = partial(self._begin, version, kind=kind, published=listed)
        if version.room_id_is_create_hash:
            new, beginning = begin(list(succession.begin(old, None)))
            ending = old.add(self.seal, list(succession.end(old, new.room_id)))
        else:
            room_id = self.seal.make_room_id()
            ending = old.add(self.seal, list(succession.end(old, room_id)))
            try:
                tombstone = ending.pendings[0].held.event_id
                new, beginning = begin(list(succession.begin(old, tombstone)), room_id=room_id)
            except BaseException:
                old.take_back(ending)
                raise
        old.published = False
        return [(new, beginning), (old, ending)]

    def _begin(
        self,
        version: RoomVersion,
        drafts: Sequence[Draft],
        *,
        kind: str | None,
        published: bool,
        room_id: RoomID | None = None,
    ) -> tuple[Room, Addition]:
        # where the create event's hash names the room, two that are equal but for their time must not have the same
        self._last_created_ms = max(self._last_created_ms + 1, self.seal.now_ms())
        first_draft = replace(drafts[0], at_ms=self._last_created_ms)
        room, first = begin_room(self.seal, version, first_draft, kind=kind, room_id=room_id)
        addition = room.add(self.seal, drafts[1:])
        addition.pendings = [first, *addition.pendings]
        addition.record = room.record
        room.published = published
        self._renew_listing(room, addition)
        return room, addition

    # writing

    async def _recommend(self, added: Added) -> Added:
        """What is to be added, recommended by the policy servers of the rooms; meanwhile the rooms are without it.

        Raises: NotRecommended; RoomDropped when a room has gone on.
        Spec: server-server-api#asking-for-a-policy-server-signature-on-an-event
        """
        asked = [(addition, find_asked(self.seal, addition.head)) for _, addition in added]
        if not any(used for _, used in asked):
            return added
        for room, addition in added:
            room.take_back(addition)
        for addition, used in asked:
            if used is not None:
                await self._ask_about(addition, used)
        back: Added = []
        try:
            for room, addition in added:
                room.put_back(addition)
                back.append((room, addition))
        except RoomDropped:
            for room, addition in back:
                room.take_back(addition)
            raise
        return added

    async def _ask_about(self, addition: Addition, used: PolicyServer) -> None:
        for held in [pending.held for pending in addition.pendings]:
            if not needs_recommending(held.event):
                continue
            try:
                held.sign(await ask_for(self.ask_to_sign, used, held.event))
            except NotRecommended:
                if not is_departure(held.event):
                    raise

    def _add(self, changes: Changes) -> Added:
        added: Added = []
        try:
            for room, drafts in changes:
                if drafts:
                    added.append((room, room.add(self.seal, drafts)))
                    self._renew_listing(*added[-1])
        except BaseException:
            for room, addition in added:
                room.take_back(addition)
            raise
        return added

    def _renew_listing(self, room: Room, addition: Addition) -> None:
        if room.published and any(pending.changes for pending in addition.pendings):
            addition.listing = build_listing(room.record, addition.pendings[-1].after)
        addition.overview = find_overview(room.nid, addition.pendings)

    async def _write(self, added: Added, also: Sequence[Work]) -> None:
        # the answer is a Deferred of its own: whoever waits may go away, the rooms must learn what became of it
        answer: Deferred[None] = Deferred()

        def settle(_: None) -> None:
            for room, addition in added:
                room.settle(addition, committed=True)
            answer.callback(None)

        def fail(failure: Failure) -> None:
            for room, addition in added:
                room.settle(addition, committed=False)
                self._drop(room)
                if isinstance(failure.value, StorageUnavailable):
                    self._doubtful.add(room.room_id)
            answer.errback(failure)

        written = self._db.write(write_additions, [addition for _, addition in added], also)
        written.addCallbacks(settle, fail).addErrback(answer.errback)
        await answer

    # what is in memory

    async def _load_again(self, room: Room) -> Room:
        again = await self.load(room.room_id)
        if again is None:
            raise StorageUnavailable("storage unavailable: the room is gone")
        return again

    async def _load(self, room_id: RoomID) -> Room | None:
        answer: Deferred[Room | None] = Deferred()
        waiting = self._loading.setdefault(room_id, [])
        waiting.append(answer)
        if len(waiting) == 1:
            # a Deferred of its own: the first who asks may go away, the others still wait
            ensureDeferred(self._revive(room_id)).addBoth(self._give, room_id)
        return await answer

    def _give(self, found: "Room | Failure | None", room_id: RoomID) -> None:
        for answer in self._loading.pop(room_id):
            answer.callback(found)

    async def _revive(self, room_id: RoomID) -> Room | None:
        dropped = self._dropped.get(room_id)
        if dropped is not None:
            await dropped.settled()
        if room_id in self._doubtful:
            return await self._revive_doubtful(room_id)
        room = await self._db.read(_read_room, room_id)
        if room is None or room_id in self._closed:
            return None
        if room_id in self._live:
            return self._live[room_id]
        self._keep(room)
        return room

    async def _revive_doubtful(self, room_id: RoomID) -> Room | None:
        """The writer alone knows what became of a commit whose answer was lost, so it reads behind that. As long as it
        cannot, there is a room to look at, to which nothing can be added.
        """
        try:
            room = await self._db.write(_read_room, room_id)
        except StorageUnavailable:
            room = await self._db.read(_read_room, room_id)
            if room is not None:
                room.live = False
            return room
        self._doubtful.discard(room_id)
        if room is not None:
            self._keep(room)
        return room

    def _keep(self, room: Room) -> None:
        self._live[room.room_id] = room
        weight = self._weights[room.room_id] = len(room.head.state) + len(room.recent)
        self._weight += weight
        if self._weight > self._capacity:
            self._let_go()

    def _let_go(self) -> None:
        """Forget the rooms unused for longest that nobody is writing to, but never the one used last."""
        for room in list(self._live.values())[:-1]:
            if room.is_settled:
                room.live = False
                self._forget(room)
            if self._weight <= self._capacity:
                return

    def _drop(self, room: Room) -> None:
        if self._live.get(room.room_id) is room:
            self._forget(room)
        if not room.is_settled:
            self._dropped[room.room_id] = room
        elif self._dropped.get(room.room_id) is room:
            del self._dropped[room.room_id]

    def _forget(self, room: Room) -> None:
        del self._live[room.room_id]
        self._weight -= self._weights.pop(room.room_id)


def _read_room(txn: Txn, room_id: RoomID) -> Room | None:
    record = find_room(txn, room_id)
    if record is None or not has_present(txn, record.nid):
        return None
    room = revive_room(record, load_present(txn, record, MOST_RECENT))
    parents = load_parents(txn, [held.nid for held in room.recent])
    room.parents = {held.event_id for held in room.recent if held.nid in parents}
    room.published = is_published(txn, record.nid)
    room.gap_at = find_last_gap(txn, record.nid)
    room.horizon_ms = find_horizon(txn, record.nid)
    return room
