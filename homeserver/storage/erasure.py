"""Erasing a person: everything that is theirs goes at once, what they wrote in rooms is gone through room by room.

`PERSON_TABLES` names every table with rows of a person, and a test compares it with the schema: whoever adds such a
table adds it here, or says in `KEPT` why its rows outlive the person's data. Rows that hang on a device go with it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from federation.ids import UserID
from homeserver.storage import keys
from homeserver.storage.changes import PushersChanged, SchoolChanged, UserDataChanged
from homeserver.storage.database import Row, Txn
from homeserver.storage.database.sqlite import empty_write_ahead_log
from homeserver.storage.doomed import doom_media
from homeserver.storage.events import RoomEvent, load_events
from homeserver.storage.profiles import remove_profile
from homeserver.storage.rooms import RoomRecord, load_rooms

PERSON_TABLES: Final = (
    ("account_data", "user_id"),
    ("filters", "user_id"),
    ("push_rules", "user_id"),
    ("receipts", "user_id"),
    ("backed_up_keys", "user_id"),
    ("key_backups", "user_id"),
    ("cross_signing_keys", "user_id"),
    ("key_signatures", "user_id"),
    ("key_signatures", "signer_id"),
    ("openid_tokens", "user_id"),
    ("login_tokens", "user_id"),
    ("delayed_events", "user_id"),
    ("service_transactions", "user_id"),
    ("rate_overrides", "user_id"),
    ("notice_rooms", "user_id"),
    ("invitations", "user_id"),
    ("name_words", "user_id"),
    ("cooperating_pupils", "user_id"),
    ("media_pending", "uploader"),
)
"""What goes at once; profile, devices and files besides."""

ON_DEVICES: Final = frozenset(
    {
        "access_tokens",
        "dehydrated_devices",
        "device_keys",
        "device_transactions",
        "devices",
        "fallback_keys",
        "one_time_keys",
        "pushers",
        "refresh_tokens",
        "to_device",
    }
)
"""What goes with a person's devices."""

KEPT: Final[Mapping[str, str]] = {
    "users": "the name is never given again, and that it was erased is known",
    "profiles": "is removed as a profile, so that it is told",
    "people": "the record stays without the name: roles and the audit log hang on it",
    "roles": "who had which role when, under a name that says nothing",
    "appointments": "by which document somebody was administrator",
    "memberships": "are the rooms': who was there when",
    "membership_changes": "are the rooms': who was there when",
    "propagations": "what is still to be done for the person",
    "reports": "what was reported stays; what the person wrote in settled ones does not",
    "key_changes": "so that others learn that the keys are gone",
    "media": "is doomed with its bytes",
    "erasures": "notes how far the erasure has come",
    "claims_given": "is what other regions are told to forget, now that the roles have ended",
    "claims_held": "is of people of other servers",
    "dismissed_guests": "whom a host has sent away stays outside, under a name that says nothing",
    "remote_people": "is of people of other servers",
    "remote_devices": "is of people of other servers",
}
"""Tables that name people and are treated otherwise, and why."""


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """The erasure of a person: `by` whom, and how far it has come: `stage` is messages, departure or done."""

    user_id: UserID
    by: str
    stage: str
    began_ms: int
    room_nid: int = 0
    stream: int = 0
    ended_ms: int | None = None


def erase_person(txn: Txn, user_id: UserID, now_ms: int) -> int:
    """Take away what is a person's own; how many files that were. Their devices are removed before.

    The school's record loses the name, and the roles end.
    """
    for table, column in PERSON_TABLES:
        txn.run(f"DELETE FROM {table} WHERE {column} = ?", (user_id,))  # noqa: S608 - our own names
    remove_profile(txn, user_id)
    keys.set_changed(txn, user_id)
    txn.run("UPDATE reports SET reason = '' WHERE reporter = ? AND settled_ms IS NOT NULL", (user_id,))
    _erase_record(txn, user_id, now_ms)
    uploads = txn.all("SELECT origin, media_id FROM media WHERE uploader = ?", (user_id,))
    position = txn.position()
    txn.tell(SchoolChanged(position=position, people=frozenset({user_id}), rooms=frozenset()))
    txn.tell(PushersChanged(position=position, user_id=user_id))
    txn.tell(UserDataChanged(position=position, user_id=user_id, kind="push_rules"))
    return doom_media(txn, uploads)


def _erase_record(txn: Txn, user_id: UserID, now_ms: int) -> None:
    """The school's record of a person becomes one of nobody.

    School: row 47
    """
    txn.run(
        "UPDATE people SET family = '', given = '', patronymic = '', roster_key = NULL WHERE user_id = ?", (user_id,)
    )
    txn.run(
        "UPDATE roles SET ended_ms = ?, ended_by = ? WHERE user_id = ? AND ended_ms IS NULL",
        (now_ms, user_id, user_id),
    )


def has_waiting_reports(txn: Txn, user_id: UserID) -> bool:
    """Whether somebody has yet to settle a report about a person."""
    return txn.one("SELECT 1 FROM reports WHERE user_id = ? AND settled_ms IS NULL", (user_id,)) is not None


# how far it has come

_SELECT: Final = "SELECT user_id, wanted, stage, began_ms, room_nid, stream, ended_ms FROM erasures"


def set_erasure(txn: Txn, erasure: Erasure) -> None:
    """Note an erasure, and how far it has come."""
    txn.run(
        "INSERT INTO erasures (user_id, wanted, stage, began_ms, room_nid, stream, ended_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET stage = excluded.stage,"
        " room_nid = excluded.room_nid, stream = excluded.stream, ended_ms = excluded.ended_ms",
        (
            erasure.user_id,
            msgspec.json.encode({"by": erasure.by}),
            erasure.stage,
            erasure.began_ms,
            erasure.room_nid,
            erasure.stream,
            erasure.ended_ms,
        ),
    )


def load_running_erasures(txn: Txn) -> list[Erasure]:
    """The erasures that are not done."""
    return [_read(row) for row in txn.all(f"{_SELECT} WHERE ended_ms IS NULL ORDER BY began_ms")]


def find_erasure(txn: Txn, user_id: str) -> Erasure | None:
    """The erasure of a person, running or done."""
    row = txn.one(f"{_SELECT} WHERE user_id = ?", (user_id,))
    return None if row is None else _read(row)


def _read(row: Row) -> Erasure:
    user_id, wanted, stage, began_ms, room_nid, stream, ended_ms = row
    return Erasure(
        user_id=UserID(user_id),
        by=msgspec.json.decode(wanted)["by"],
        stage=stage,
        began_ms=began_ms,
        room_nid=room_nid,
        stream=stream,
        ended_ms=ended_ms,
    )


# what they left in rooms

FIRST: Final = -(2**62)
"""Before the first event of a room."""


def find_next_room(txn: Txn, user_id: UserID, after: int) -> RoomRecord | None:
    """The next room, by nid, that a person of ours ever had to do with."""
    row = txn.one(
        "SELECT DISTINCT c.room_nid, rooms.room_id FROM membership_changes c JOIN rooms ON rooms.nid = c.room_nid"
        " WHERE c.user_id = ? AND c.room_nid > ? ORDER BY c.room_nid LIMIT 1",
        (user_id, after),
    )
    return None if row is None else load_rooms(txn, [row[1]])[row[1]]


def load_traces(txn: Txn, record: RoomRecord, user_id: UserID, after: int, most: int) -> list[RoomEvent]:
    """Messages of a person's and what tells of their membership, from behind a stream position on, in that order."""
    rows = txn.all(
        "SELECT nid FROM events WHERE room_nid = ? AND stream > ? AND stream IS NOT NULL AND ("
        "(sender = ? AND state_key IS NULL) OR (type = 'm.room.member' AND state_key = ?)) ORDER BY stream LIMIT ?",
        (record.nid, after, user_id, user_id, most),
    )
    held = load_events(txn, record, [nid for (nid,) in rows])
    return [held[nid] for (nid,) in rows]


# making it final


def empty_log(txn: Txn) -> bool:
    """Let nothing of what was overwritten stay in the log beside the database, as only SQLite has one; False while
    others still read from it. The database itself overwrites what is deleted.
    """
    if txn.dialect != "sqlite":
        return True
    return empty_write_ahead_log(Path(txn.all("PRAGMA database_list")[0][2]))
