"""What a person was notified of, the latest first: found again in their rooms by their rules as they are now.

Spec: client-server-api#listing-notifications
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any, Final

import msgspec

from federation.ids import UserID
from homeserver.push.counts import Reader, StoredSetting
from homeserver.push.rulebook import Rulebook
from homeserver.push.rules import Outcome
from homeserver.storage.data import load_ignored
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import load_events
from homeserver.storage.receipts import load_reads
from homeserver.storage.rooms import load_rooms
from homeserver.storage.threads import find_thread
from homeserver.storage.unread import Arrival, Entry, load_arrivals, load_entries
from homeserver.streams.streams import load_joined_rooms

MOST: Final = 100
"""How many notifications a page has at most."""
MOST_LOOKED_AT: Final = 2000
"""After how many events a page ends although it is not full."""
_LEAST_READ: Final = 4
_MOST_READ: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Which page: of what is not later than `upto`, at most so many; perhaps only those that highlight."""

    upto: int | None = None
    limit: int = 20
    highlights: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Notifications in the form of the specification; `next` is where the next page begins, None for the last."""

    notifications: list[dict[str, Any]]
    next: int | None


class Notifications:
    """Lists what people were notified of."""

    def __init__(self, database: Database, rulebook: Rulebook) -> None:
        self._database = database
        self._rulebook = rulebook

    async def list(self, user_id: UserID, ask: Ask) -> Page:
        """A page of what a person was or would have been notified of in the rooms they are in.

        Spec: client-server-api#get_matrixclientv3notifications
        """
        upto = self._database.position
        upto = upto if ask.upto is None else min(ask.upto, upto)
        reader = Reader(user_id=user_id, rules=await self._rulebook.load(user_id), settings={}, upto=upto)
        return await self._database.read(_read_page, reader, ask)


def _read_page(txn: Txn, reader: Reader, ask: Ask) -> Page:
    arrivals = load_arrivals(txn, reader.user_id, load_joined_rooms(txn, reader.user_id))
    settings = {arrival.room_id: StoredSetting(txn, arrival.room_id, reader.upto) for arrival in arrivals}
    ignored = load_ignored(txn, reader.user_id) | {reader.user_id}
    found: list[tuple[Arrival, Entry, Outcome]] = []
    end = None
    entries = merge(*[_each(txn, arrival, reader.upto) for arrival in arrivals], key=lambda each: -each[1].stream)
    for looked_at, (arrival, entry) in enumerate(entries):
        if len(found) == min(ask.limit, MOST) or looked_at == MOST_LOOKED_AT:
            end = entry.stream
            break
        if entry.sender in ignored:
            continue
        outcome = reader.rules.evaluate(entry, reader.user_id, settings[arrival.room_id])
        if outcome.highlight or (outcome.notify and not ask.highlights):
            found.append((arrival, entry, outcome))
    return Page(notifications=_show(txn, reader.user_id, found), next=end)


def _each(txn: Txn, arrival: Arrival, upto: int) -> Iterator[tuple[Arrival, Entry]]:
    """The events of a room since somebody came, the latest first; read a few at a time."""
    size = _LEAST_READ
    while entries := load_entries(txn, arrival, (arrival.stream, upto), size):
        yield from ((arrival, entry) for entry in entries)
        if len(entries) < size:
            return
        upto = entries[-1].stream - 1
        size = min(4 * size, _MOST_READ)


def _show(txn: Txn, user_id: UserID, found: Sequence[tuple[Arrival, Entry, Outcome]]) -> list[dict[str, Any]]:
    events = _load_client_events(txn, found)
    reads = {(read.room_nid, read.thread_id): read.upto for read in load_reads(txn, user_id, _nids(found))}
    shown = []
    for arrival, entry, outcome in found:
        thread = find_thread(txn, arrival.room_nid, entry.content)
        read_upto = max(reads.get((arrival.room_nid, None), 0), reads.get((arrival.room_nid, thread), 0))
        shown.append(
            {
                "room_id": arrival.room_id,
                "event": events[entry.nid],
                "actions": outcome.actions,
                "read": entry.stream <= read_upto,
                "ts": entry.origin_server_ts,
            }
        )
    return shown


def _load_client_events(txn: Txn, found: Sequence[tuple[Arrival, Entry, Outcome]]) -> dict[int, dict[str, Any]]:
    """The events as clients get them, without their room, which is told beside."""
    events = {}
    for record in load_rooms(txn, {arrival.room_id for arrival, _, _ in found}).values():
        nids = [entry.nid for arrival, entry, _ in found if arrival.room_nid == record.nid]
        for nid, held in load_events(txn, record, nids).items():
            event: dict[str, Any] = msgspec.json.decode(held.client)
            del event["room_id"]
            events[nid] = event
    return events


def _nids(found: Sequence[tuple[Arrival, Entry, Outcome]]) -> Collection[int]:
    return {arrival.room_nid for arrival, _, _ in found}
