"""Removing rooms and their history, a few rows at a time, so that nobody waits long for the writer.

A room that is removed disappears at once, with its row in `rooms`; what hangs on that is then taken away table by
table. `ROOM_TABLES` names every table with rows of a room, and a test compares it with the schema: whoever adds such a
table adds it here, or says in `KEPT` why its rows outlive the room.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from federation.ids import RoomID, ServerName, UserID, server_of
from homeserver.storage.database import Row, Txn
from homeserver.storage.doomed import doom_unshown
from homeserver.storage.events import Place
from homeserver.storage.rooms import RoomRecord

AT_ONCE: Final = 500
"""How many rows one unit of work takes away."""
_FIRST: Final = -(2**62)


class RoomTable(NamedTuple):
    """A table with rows of a room: the column that names the room, its key, and what else the rows must be."""

    name: str
    room: Literal["room_nid", "room_id"]
    key: str
    only: str = ""


ROOM_TABLES: Final = (
    RoomTable("memberships", "room_nid", "user_id, room_nid"),
    RoomTable("membership_changes", "room_nid", "user_id, stream"),
    RoomTable("invitations", "room_nid", "event_nid"),
    RoomTable("aliases", "room_nid", "alias"),
    RoomTable("published", "room_nid", "room_nid"),
    RoomTable("network_rooms", "room_nid", "service_id, network_id, room_nid"),
    RoomTable("room_overviews", "room_nid", "room_nid"),
    RoomTable("notice_rooms", "room_id", "user_id"),
    RoomTable("delayed_events", "room_id", "delay_id"),
    RoomTable("gaps", "room_nid", "room_nid, missing_id, event_nid"),
    RoomTable("open_rooms", "room_nid", "room_nid, why"),
    RoomTable("room_servers", "room_nid", "server_name, room_nid"),
    RoomTable("passed_on", "room_nid", "room_nid, event_nid"),
    RoomTable("forks", "room_nid", "room_nid"),
    RoomTable("room_horizons", "room_nid", "room_nid"),
    RoomTable("school_rooms", "room_id", "room_id"),
    RoomTable("cooperation_rooms", "room_id", "room_id, cooperation_id, org_id"),
    RoomTable("account_data", "room_id", "user_id, room_id, type"),
    RoomTable("receipts", "room_nid", "room_nid, user_id, kind, thread_id"),
    RoomTable("events", "room_nid", "nid", " AND stream IS NOT NULL"),
    RoomTable("events", "room_nid", "nid", " AND stream IS NULL"),
    RoomTable("search_texts", "room_nid", "nid"),
    RoomTable("relations", "room_nid", "event_nid"),
    RoomTable("media_references", "room_nid", "origin, media_id, event_nid"),
    RoomTable("state_changes", "room_nid", "room_nid, stream, type, state_key"),
    RoomTable("state_groups", "room_nid", "nid"),
)
"""What is taken away of a room, in this order: first what would show it to people."""

EVENT_TABLES: Final = ("relations", "media_references", "invitations", "passed_on")
"""The tables with rows of one event each (`event_nid`), which go with it."""

KEPT: Final[Mapping[str, str]] = {
    "rooms": "the room's own row goes first, in `begin_removal`",
    "purges": "is what remains to tell of the removal",
    "blocked_rooms": "a room stays blocked, so that it does not come back",
    "reports": "what was reported is evidence, and names no content",
    "backed_up_keys": "a person's own backup, which nobody else can read",
    "erasures": "notes how far the erasure of a person has come",
}
"""Tables that name rooms and are not touched, and why."""


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """A removal, running or done: `wanted` and `result` are JSON; `room_nid` while rows of the room may be left."""

    purge_id: str
    room_id: RoomID
    kind: Literal["room", "history"]
    status: str
    wanted: bytes
    began_ms: int
    result: bytes = b"{}"
    room_nid: int | None = None
    ended_ms: int | None = None


_PURGE: Final = (
    "INSERT INTO purges (purge_id, room_id, kind, status, wanted, began_ms, result, room_nid, ended_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT: Final = "SELECT purge_id, room_id, kind, status, wanted, began_ms, result, room_nid, ended_ms FROM purges"


def append_purge(txn: Txn, purge: Purge) -> None:
    """Note a removal that is to be done."""
    txn.run(_PURGE, msgspec.structs.astuple(purge))


def set_purge(txn: Txn, purge: Purge) -> None:
    """Note how far a removal has come."""
    txn.run(
        "UPDATE purges SET status = ?, result = ?, room_nid = ?, ended_ms = ? WHERE purge_id = ?",
        (purge.status, purge.result, purge.room_nid, purge.ended_ms, purge.purge_id),
    )


def find_purge(txn: Txn, purge_id: str) -> Purge | None:
    """The removal of that ID; anything may be asked."""
    row = txn.one(f"{_SELECT} WHERE purge_id = ?", (purge_id,))
    return None if row is None else _read(row)


def load_purges(txn: Txn, room_id: str, limit: int) -> list[Purge]:
    """The removals of a room, the latest first."""
    rows = txn.all(f"{_SELECT} WHERE room_id = ? ORDER BY began_ms DESC LIMIT ?", (room_id, limit))
    return [_read(row) for row in rows]


def load_running_purges(txn: Txn) -> list[Purge]:
    """The removals that are not done, the oldest first."""
    return [_read(row) for row in txn.all(f"{_SELECT} WHERE ended_ms IS NULL ORDER BY began_ms")]


def _read(row: Row) -> Purge:
    return Purge(**dict(zip(Purge.__struct_fields__, row, strict=True)))


# a whole room


def begin_removal(txn: Txn, room: RoomRecord, purge: Purge) -> Purge:
    """Let a room disappear: nobody finds it from now on. What it was made of is still to be purged."""
    begun = msgspec.structs.replace(purge, status="purging", room_nid=room.nid)
    txn.run("DELETE FROM rooms WHERE nid = ?", (room.nid,))
    set_purge(txn, begun)
    return begun


def purge_room(txn: Txn, room_nid: int, room_id: RoomID, most: int = AT_ONCE) -> bool:
    """Take away at most so many rows of a room that has disappeared; True when none is left."""
    left = most
    for table in ROOM_TABLES:
        left -= _purge_table(txn, table, room_nid if table.room == "room_nid" else room_id, left)
        if left <= 0:
            return False
    return left == most


def _purge_table(txn: Txn, table: RoomTable, room: int | str, most: int) -> int:
    rows = f"SELECT {table.key} FROM {table.name} WHERE {table.room} = ?{table.only} LIMIT ?"  # noqa: S608 - our names
    if table.name == "events":
        nids = [nid for (nid,) in txn.all(rows, (room, most))]
        remove_events(txn, nids)
        return len(nids)
    gone = f"DELETE FROM {table.name} WHERE ({table.key}) IN ({rows}) RETURNING {table.key}"  # noqa: S608 - our names
    found = txn.all(gone, (room, most))
    if table.name == "media_references":
        doom_unshown(txn, {(origin, media_id) for origin, media_id, _ in found})
    return len(found)


def remove_events(txn: Txn, nids: Sequence[int]) -> None:
    """Take events away with all that hangs on them, and the files that nothing shows any more."""
    shown = set(txn.all_in("SELECT origin, media_id FROM media_references WHERE event_nid {in}", nids))
    for table in EVENT_TABLES:
        txn.all_in(f"DELETE FROM {table} WHERE event_nid {{in}} RETURNING event_nid", nids)  # noqa: S608 - our names
    txn.all_in("DELETE FROM search_texts WHERE nid {in} RETURNING nid", nids)
    txn.all_in("DELETE FROM events WHERE nid {in} RETURNING nid", nids)
    doom_unshown(txn, shown)


# some of a room's history


class Span(NamedTuple):
    """Which part of a room's history goes: what lies before a place, or was sent before a time (ms).

    With `but_of`, what people of that server sent stays.
    """

    place: Place | None = None
    at_ms: int = 0
    but_of: ServerName | None = None


Cursor: TypeAlias = tuple[int, ...]
"""How far a part of history has been gone through."""


class Purged(NamedTuple):
    """What a step took away, and where the next one begins; None: that was all.

    `stayed`: messages of the span that the room cannot be without, as the next events are built on them.
    """

    removed: int
    stayed: Sequence[int]
    next: Cursor | None


def purge_events(txn: Txn, room_nid: int, span: Span, after: Cursor = (), most: int = AT_ONCE) -> Purged:
    """Take away messages of a part of a room's history, looking at most at so many events, from behind a cursor on.

    State stays, as what later events were judged by; so do the redactions of it, and the ends of the room.
    """
    rows = _load_old(txn, room_nid, span, after, most)
    ends = load_ends(txn, room_nid)
    messages = [row for row in rows if row[1] is None and (span.but_of is None or server_of(row[2]) != span.but_of)]
    stateful = _find_state_among(txn, [row[3] for row in messages if row[3] is not None])
    going = [row[0] for row in messages if row[0] not in ends and row[3] not in stateful]
    remove_events(txn, going)
    stayed = [row[0] for row in messages if row[0] in ends]
    return Purged(len(going), stayed, tuple(rows[-1][4:]) if len(rows) == most else None)


def _load_old(txn: Txn, room_nid: int, span: Span, after: Cursor, most: int) -> list[Row]:
    order, end = "origin_server_ts, depth, stream", "origin_server_ts < ?"
    params: tuple[int, ...] = (span.at_ms,)
    if span.place is not None:
        order, end, params = "depth, stream", "(depth, stream) < (?, ?)", span.place
    places = order.count(",") + 1
    return txn.all(
        f"SELECT nid, state_key, sender, redacts, {order} FROM events"  # noqa: S608 - our own names
        f" WHERE room_nid = ? AND stream IS NOT NULL AND {end}"
        f" AND ({order}) > ({', '.join('?' * places)}) ORDER BY {order} LIMIT ?",
        (room_nid, *params, *(after or (_FIRST,) * places), most),
    )


def load_ends(txn: Txn, room_nid: int) -> set[int]:
    """The events that the next ones of a room are built on: its last in the stream, or where history has forked."""
    row = txn.one(
        "SELECT nid FROM events WHERE room_nid = ? AND stream IS NOT NULL ORDER BY stream DESC LIMIT 1", (room_nid,)
    )
    fork = txn.one("SELECT extremities FROM forks WHERE room_nid = ?", (room_nid,))
    named = () if fork is None else msgspec.json.decode(fork[0])
    forked = txn.all_in("SELECT nid FROM events WHERE event_id {in}", named)
    return {nid for (nid,) in ([row] if row else []) + forked}


def _find_state_among(txn: Txn, event_ids: Sequence[str]) -> set[str]:
    rows = txn.all_in("SELECT event_id FROM events WHERE event_id {in} AND state_key IS NOT NULL", event_ids)
    return {event_id for (event_id,) in rows}


def find_place_of(txn: Txn, room_nid: int, event_id: str) -> Place | None:
    """Where an event of a room's timeline is; anything may be asked."""
    row = txn.one(
        "SELECT depth, stream FROM events WHERE event_id = ? AND room_nid = ? AND stream IS NOT NULL",
        (event_id, room_nid),
    )
    return None if row is None else (row[0], row[1])


def set_pruned(txn: Txn, nid: int, raw: bytes) -> None:
    """Overwrite an event by what its redaction would leave of it, without there being one."""
    txn.run("UPDATE events SET json = ? WHERE nid = ?", (raw, nid))
    for table in EVENT_TABLES:
        txn.run(f"DELETE FROM {table} WHERE event_nid = ?", (nid,))  # noqa: S608 - our own names


# rooms that nobody may come into


def set_blocked(txn: Txn, room_id: str, by: UserID | None, now_ms: int) -> None:
    """Let nobody here into a room, or (None) again those who may."""
    if by is None:
        txn.run("DELETE FROM blocked_rooms WHERE room_id = ?", (room_id,))
    else:
        txn.run(
            "INSERT INTO blocked_rooms (room_id, blocked_by, blocked_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (room_id, by, now_ms),
        )


def find_blocker(txn: Txn, room_id: str) -> UserID | None:
    """Who has blocked a room, None if nobody; anything may be asked."""
    row = txn.one("SELECT blocked_by FROM blocked_rooms WHERE room_id = ?", (room_id,))
    return None if row is None else UserID(row[0])
