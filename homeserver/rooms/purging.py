"""Removing rooms, and the past of rooms, for the operator: noted first, then done bit by bit, whatever happens between.

What is asked for is a row of `purges`; `resume` goes on with those that a crash or a stop has left.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from federation.errors import Refused
from federation.ids import RoomID, ServerName, UserID, parse_user_id, server_of
from homeserver.policy import Invalid, NotFound
from homeserver.rooms.create import Creation, NewRoom
from homeserver.rooms.membership import IN_ROOM
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.directory import load_aliases
from homeserver.storage.purge import (
    Purge,
    Span,
    append_purge,
    begin_removal,
    find_place_of,
    find_purge,
    load_purges,
    load_running_purges,
    purge_events,
    purge_room,
    set_blocked,
    set_purge,
)

_log = logging.getLogger(__name__)

AT_ONCE: Final = 50
"""How many people leave in one unit of work."""
MOST_TOLD: Final = 100
_ROOM_NAME: Final = "Content Violation Notification"
_MESSAGE: Final = "Sharing illegal content on this server is not permitted and rooms in violation will be blocked."


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """How a room is removed: `by` whom; nobody comes in again (`block`); all its rows go (`purge`), even if somebody
    cannot be made to leave (`force`). With `new_room_user` its people find themselves in a new room of that person's,
    which says `message`.
    """

    by: UserID
    block: bool = False
    purge: bool = True
    force: bool = False
    message: str = _MESSAGE
    room_name: str = _ROOM_NAME
    new_room_user: str | None = None


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it so far."""

    kicked_users: list[UserID] = []
    failed_to_kick_users: list[UserID] = []
    local_aliases: list[str] = []
    new_room_id: RoomID | None = None
    error: str | None = None


class HistorySpan(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a room's history goes: before a place or a time (ms); what our own people sent only if `local`."""

    by: UserID
    place: tuple[int, int] | None = None
    at_ms: int = 0
    local: bool = False


class Thinned(msgspec.Struct, frozen=True, kw_only=True):
    """How far that has come."""

    removed: int = 0
    after: tuple[int, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What purges need of the outside: the rooms, how new ones are made, and what is to follow (`sweep` the files)."""

    rooms: Rooms
    database: Database
    creation: Creation
    sweep: Callable[[], Awaitable[None]]
    new_id: Callable[[], str]


class Purges:
    """Removes rooms and history. All that it is asked for goes on by itself; `finished` waits for it."""

    def __init__(self, world: World) -> None:
        self._rooms = world.rooms
        self._db = world.database
        self._creation = world.creation
        self._sweep = world.sweep
        self._new_id = world.new_id
        self._running: dict[str, Deferred[None]] = {}

    async def delete_room(self, room_id: str, wanted: Deletion) -> str:
        """Remove a room; the ID to ask about it by.

        Raises: NotFound; Invalid while it is being removed already; Refused or Invalid when there can be no new room.
        """
        room = await self._rooms.load(room_id)
        if room is None and not wanted.block:
            raise NotFound("There is no such room")
        await self._check_idle(room_id)
        new = None if wanted.new_room_user is None or room is None else await self._make_new(wanted)
        result = Removed(new_room_id=None if new is None else new.room_id)
        return await self._begin(RoomID(room_id), "room", wanted, result)

    async def purge_history(
        self, room_id: str, by: UserID, *, event_id: str | None, at_ms: int | None, local: bool
    ) -> str:
        """Remove what was said in a room before an event, or before a time; the ID to ask about it by.

        Raises: NotFound; Invalid without either, or while that is being done already.
        """
        room = await self._rooms.load(room_id)
        if room is None:
            raise NotFound("There is no such room")
        if event_id is None and at_ms is None:
            raise Invalid("M_BAD_JSON", "purge_up_to_event_id or purge_up_to_ts is needed")
        place = None if event_id is None else await self._db.read(find_place_of, room.nid, event_id)
        if event_id is not None and place is None:
            raise NotFound("Event not found")
        await self._check_idle(room_id)
        span = HistorySpan(by=by, place=place, at_ms=at_ms or 0, local=local)
        return await self._begin(room.room_id, "history", span, Thinned())

    async def status(self, purge_id: str) -> Purge | None:
        """What has come of it; None for what nobody asked for."""
        return await self._db.read(find_purge, purge_id)

    async def of_room(self, room_id: str) -> list[Purge]:
        """The removals of a room, the latest first."""
        return await self._db.read(load_purges, room_id, MOST_TOLD)

    async def finished(self, purge_id: str) -> Purge | None:
        """The same once it is done, or cannot go on at present."""
        running = self._running.get(purge_id)
        if running is not None:
            waiter: Deferred[None] = Deferred()
            running.addCallback(waiter.callback)
            await waiter
        return await self.status(purge_id)

    async def block(self, room_id: str, by: UserID | None) -> None:
        """Let nobody come into a room, known here or not; with None let them again."""
        await self._db.write(set_blocked, room_id, by, self._rooms.seal.now_ms())

    async def resume(self) -> None:
        """Go on with what an earlier run of the server left."""
        for purge in await self._db.read(load_running_purges):
            self._start(purge)

    # one after the other

    async def _check_idle(self, room_id: str) -> None:
        if any(purge.ended_ms is None for purge in await self.of_room(room_id)):
            raise Invalid("M_UNKNOWN", "This room is being purged already")

    async def _begin(self, room_id: RoomID, kind: str, wanted: msgspec.Struct, result: msgspec.Struct) -> str:
        purge = Purge(
            purge_id=self._new_id(),
            room_id=room_id,
            kind="room" if kind == "room" else "history",
            status="shutting_down" if kind == "room" else "active",
            wanted=msgspec.json.encode(wanted),
            result=msgspec.json.encode(result),
            began_ms=self._rooms.seal.now_ms(),
        )
        await self._db.write(append_purge, purge)
        self._start(purge)
        return purge.purge_id

    def _start(self, purge: Purge) -> None:
        done = Deferred.fromCoroutine(self._run(purge))
        if not done.called:
            self._running[purge.purge_id] = done
            done.addBoth(self._forget, purge.purge_id)

    def _forget(self, result: "Failure | None", purge_id: str) -> None:
        del self._running[purge_id]
        if result is not None:
            _log.error("the purge %s has failed: %s", purge_id, result.getTraceback())

    async def _run(self, purge: Purge) -> None:
        try:
            await (self._remove(purge) if purge.kind == "room" else self._thin(purge))
            await self._sweep()
        except StorageUnavailable as fault:
            _log.warning("the purge of %s goes on at the next start: %s", purge.room_id, fault)

    async def _end(self, purge: Purge, status: str, result: msgspec.Struct | None = None) -> None:
        ended = msgspec.structs.replace(
            purge,
            status=status,
            room_nid=None,
            ended_ms=self._rooms.seal.now_ms(),
            result=purge.result if result is None else msgspec.json.encode(result),
        )
        await self._db.write(set_purge, ended)

    # history

    async def _thin(self, purge: Purge) -> None:
        wanted = msgspec.json.decode(purge.wanted, type=HistorySpan)
        ours = self._rooms.seal.server
        span = Span(wanted.place, wanted.at_ms, None if wanted.local else ours)
        room = await self._rooms.load(purge.room_id)
        more = room is not None
        while more and room is not None:
            purge, more = await self._db.write(_thin_step, purge, room.nid, span)
        await self._rooms.renew(purge.room_id)
        await self._end(purge, "complete")

    # a whole room

    async def _remove(self, purge: Purge) -> None:
        wanted = msgspec.json.decode(purge.wanted, type=Deletion)
        if wanted.block:
            await self.block(purge.room_id, wanted.by)
        room = await self._rooms.load(purge.room_id)
        if room is not None:
            purge = await self._empty(purge, room, wanted)
            result = msgspec.json.decode(purge.result, type=Removed)
            if result.failed_to_kick_users and wanted.purge and not wanted.force:
                error = "Some people could not be made to leave"
                return await self._end(purge, "failed", msgspec.structs.replace(result, error=error))
        if wanted.purge:
            purge = await self._purge(purge, room)
        return await self._end(purge, "complete")

    async def _empty(self, purge: Purge, room: Room, wanted: Deletion) -> Purge:
        """Make our people leave, in the new room if there is one; its aliases lead nowhere then."""
        result = msgspec.json.decode(purge.result, type=Removed)
        new = None if result.new_room_id is None else await self._rooms.load(result.new_room_id)
        inside = sorted(_ours_in(room, self._rooms.seal.server))
        failed = [person for slice_ in _slices(inside) for person in await self._put_out(room.room_id, slice_)]
        kicked = [person for person in inside if person not in failed]
        if new is not None:
            await self._move(new, [person for person in kicked if person not in new.head.joined], wanted)
        told = msgspec.structs.replace(
            result,
            kicked_users=sorted({*result.kicked_users, *kicked}),
            failed_to_kick_users=failed,
            local_aliases=result.local_aliases or await self._db.read(load_aliases, room.nid),
        )
        purge = msgspec.structs.replace(purge, result=msgspec.json.encode(told))
        await self._db.write(set_purge, purge)
        return purge

    async def _put_out(self, room_id: RoomID, people: Sequence[UserID]) -> list[UserID]:
        """Let people leave; those who cannot."""
        room = await self._rooms.load(room_id)
        if room is None:
            return []
        try:
            await self._rooms.commit([(room, [_leaving(person) for person in people])])
        except Refused:
            if len(people) == 1:
                return list(people)
            return [person for each in people for person in await self._put_out(room_id, [each])]
        return []

    async def _make_new(self, wanted: Deletion) -> Room:
        user_id = parse_user_id(wanted.new_room_user or "")
        levels = {"users_default": -10}
        new = NewRoom(name=wanted.room_name, preset="private_chat", power_level_content_override=levels)
        room = await self._creation.create(user_id, new)
        said = Draft(type="m.room.message", sender=user_id, content={"msgtype": "m.text", "body": wanted.message})
        await self._rooms.commit([(room, [said])])
        return room

    async def _move(self, new: Room, people: Sequence[UserID], wanted: Deletion) -> None:
        host = parse_user_id(wanted.new_room_user or "")
        for slice_ in _slices(people):
            drafts = [draft for person in slice_ if person != host for draft in _taking_in(host, person)]
            await self._rooms.commit([(new, drafts)])

    async def _purge(self, purge: Purge, room: Room | None) -> Purge:
        if room is not None:
            await self._rooms.close(room.room_id)
            try:
                purge = await self._db.write(_begin_removal, room, purge)
            finally:
                self._rooms.reopen(room.room_id)
        while purge.room_nid is not None and not await self._db.write(purge_room, purge.room_nid, purge.room_id):
            continue
        return purge


def _ours_in(room: Room, server: ServerName) -> Iterator[UserID]:
    for (event_type, state_key), held in room.head.state.items():
        if event_type == "m.room.member" and held.membership in IN_ROOM:
            person = UserID(state_key)
            if server_of(person) == server:
                yield person


def _leaving(person: UserID) -> Draft:
    return Draft(type="m.room.member", sender=person, content={"membership": "leave"}, state_key=person)


def _taking_in(host: UserID, person: UserID) -> Iterator[Draft]:
    for sender, membership in ((host, "invite"), (person, "join")):
        yield Draft(type="m.room.member", sender=sender, content={"membership": membership}, state_key=person)


def _slices(people: Sequence[UserID]) -> Iterator[Sequence[UserID]]:
    for start in range(0, len(people), AT_ONCE):
        yield people[start : start + AT_ONCE]


def _begin_removal(txn: Txn, room: Room, purge: Purge) -> Purge:
    """Unit of work: the room is gone, also for what knows what rooms are for."""
    begun = begin_removal(txn, room.record, purge)
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset(), rooms=frozenset({room.room_id})))
    return begun


def _thin_step(txn: Txn, purge: Purge, room_nid: int, span: Span) -> tuple[Purge, bool]:
    """Unit of work: a bit of history goes, and how far that has come is noted with it."""
    thinned = msgspec.json.decode(purge.result, type=Thinned)
    step = purge_events(txn, room_nid, span, thinned.after)
    result = Thinned(removed=thinned.removed + step.removed, after=step.next or thinned.after)
    purge = msgspec.structs.replace(purge, result=msgspec.json.encode(result))
    set_purge(txn, purge)
    return purge, step.next is not None
