"""What sliding sync asks of the tables: all rooms of a person in the order of their activity, how the person labels
them, and what rooms are like.

Spec: client-server-api#syncing
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from federation.ids import RoomID, UserID
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.receipts import load_own_receipts, load_receipts
from homeserver.storage.rooms import load_rooms

BUMPS: Final = (
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "org.matrix.msc3381.poll.start",
    "m.beacon_info",
    "org.matrix.msc3672.beacon_info",
)
"""The types of events that clients count as activity in a room."""


class Standing(NamedTuple):
    """What somebody is in a room since `stream`, by whose doing, and since when they have been joined to it, or were
    for the last time (None: never). `last` is the position of the room's last event, `changed` that of the last event
    or other change of its state. `forgotten` rooms are shown to nobody but those who have not heard that they left.
    """

    room_id: RoomID
    membership: str
    stream: int
    sender: str
    joined: int | None
    last: int
    changed: int
    forgotten: bool = False


class Nature(NamedTuple):
    """What a room is: its type, and whether it is encrypted."""

    type: str | None
    encrypted: bool


class Labels(NamedTuple):
    """How a person labels rooms: which are direct chats, and the tags of each that has any."""

    direct: frozenset[str]
    tags: dict[str, frozenset[str]]


def load_standings(txn: Txn, user_id: UserID) -> list[Standing]:
    """All rooms that a person is or was in, or was asked into."""
    joined = _load_joins(txn, user_id)
    rows = txn.all(
        "SELECT m.room_nid, rooms.room_id, m.membership, m.stream, e.sender,"
        " (SELECT MAX(x.stream) FROM events x WHERE x.room_nid = m.room_nid AND x.stream IS NOT NULL),"
        " (SELECT MAX(c.stream) FROM state_changes c WHERE c.room_nid = m.room_nid), m.forgotten"
        " FROM memberships m JOIN rooms ON rooms.nid = m.room_nid JOIN events e ON e.nid = m.event_nid"
        " WHERE m.user_id = ?",
        (user_id,),
    )
    return [
        Standing(
            room_id,
            membership,
            stream,
            sender,
            joined.get(nid),
            last or 0,
            max(last or 0, changed or 0),
            forgotten == 1,
        )
        for nid, room_id, membership, stream, sender, last, changed, forgotten in rows
    ]


def _load_joins(txn: Txn, user_id: UserID) -> dict[int, int]:
    """When a person came for the last time into each room (nid) that they ever were in."""
    joined: dict[int, int] = {}
    before: dict[int, str] = {}
    rows = txn.all(
        "SELECT room_nid, membership, stream FROM membership_changes WHERE user_id = ? ORDER BY stream", (user_id,)
    )
    for room_nid, membership, stream in rows:
        if membership == "join" and before.get(room_nid) != "join":
            joined[room_nid] = stream
        before[room_nid] = membership
    return joined


def load_labels(txn: Txn, user_id: UserID) -> Labels:
    """How a person labels rooms."""
    rows = txn.all(
        "SELECT room_id, content FROM account_data WHERE user_id = ? AND type IN ('m.direct', 'm.tag')", (user_id,)
    )
    direct: frozenset[str] = frozenset()
    tags: dict[str, frozenset[str]] = {}
    for room_id, raw in rows:
        content = msgspec.json.decode(raw)
        if not room_id:
            lists = [value for value in content.values() if isinstance(value, list)]
            direct = frozenset(each for value in lists for each in value if isinstance(each, str))
        elif isinstance(named := content.get("tags"), dict):
            tags[room_id] = frozenset(named)
    return Labels(direct, tags)


def load_natures(txn: Txn, room_ids: Iterable[RoomID]) -> dict[RoomID, Nature]:
    """What those rooms are."""
    ids = list(room_ids)
    rows = txn.all_in(
        "SELECT rooms.room_id, c.type, e.json FROM state_changes c JOIN rooms ON rooms.nid = c.room_nid"
        " JOIN events e ON e.nid = c.event_nid"
        " WHERE rooms.room_id {in} AND c.state_key = '' AND c.type IN ('m.room.create', 'm.room.encryption')",
        ids,
    )
    found = dict.fromkeys(ids, Nature(None, encrypted=False))
    for room_id, kind, raw in rows:
        nature = found[room_id]
        if kind == "m.room.create":
            found[room_id] = nature._replace(type=room_type(msgspec.json.decode(raw).get("content")))
        else:
            found[room_id] = nature._replace(encrypted=True)
    return found


def room_type(content: object) -> str | None:
    """The type of a room by the content of its create event."""
    kind = content.get("type") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


def load_redacted(txn: Txn, room_nid: int, after: int, upto: int) -> set[str]:
    """The IDs of the events of a room that were redacted above one position and not above another."""
    rows = txn.all(
        "SELECT redacts FROM events WHERE room_nid = ? AND stream IS NOT NULL AND stream > ? AND stream <= ?"
        " AND redacts IS NOT NULL",
        (room_nid, after, upto),
    )
    return {event_id for (event_id,) in rows}


def find_bump(txn: Txn, room_nid: int, upto: int) -> int | None:
    """The position of the last event of a room that counts as activity, not above `upto`."""
    marks = ", ".join("?" * len(BUMPS))
    row = txn.one(
        f"SELECT stream FROM events WHERE room_nid = ? AND stream IS NOT NULL AND stream <= ? AND type IN ({marks})"  # noqa: S608 - only question marks
        " ORDER BY stream DESC LIMIT 1",
        (room_nid, upto, *BUMPS),
    )
    return None if row is None else int(row[0])


def load_receipts_on(
    txn: Txn, user_id: UserID, rooms: Mapping[RoomID, Sequence[RoomEvent]], upto: int
) -> list[ReceiptMoved]:
    """The receipts on some events of rooms that the person is in, and all of the person's own in those rooms."""
    found = []
    for room in load_rooms(txn, rooms).values():
        events = rooms[room.room_id]
        event_ids = {held.event_id for held in events}
        after = min([held.stream for held in events], default=upto)  # nobody reads what is not there yet
        moved = load_receipts(txn, user_id, [room.nid], (after, upto))
        found += [each for each in moved if each.event_id in event_ids and each.user_id != user_id]
    return found + load_own_receipts(txn, user_id, list(rooms))
