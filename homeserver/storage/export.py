"""What there is of one person in the tables, for an export to them: by section, as names and values."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from federation.ids import RoomID, ServerName, UserID
from homeserver.storage.database import Txn


class _Section(NamedTuple):
    """Where a section is read from: what stands behind FROM, its columns, and the condition with the person."""

    source: str
    columns: str
    where: str = "user_id = ?"


_IN_ROOMS: Final = "JOIN rooms ON rooms.nid = "
SECTIONS: Final[Mapping[str, _Section]] = {
    "account": _Section("users", "user_id, kind, created_ms, locked_ms, suspended_ms, deactivated_ms"),
    "profile": _Section("profiles", "displayname, avatar_url, fields"),
    "devices": _Section("devices", "device_id, display_name, created_ms, last_seen_ms, last_seen_ip"),
    "account_data": _Section("account_data", "room_id, type, content"),
    "push_rules": _Section("push_rules", "edits"),
    "pushers": _Section("pushers", "app_id, device_id, set_ms"),
    "rooms": _Section(f"memberships {_IN_ROOMS}memberships.room_nid", "room_id, membership"),
    "receipts": _Section(f"receipts {_IN_ROOMS}receipts.room_nid", "room_id, receipts.kind, event_id, at_ms"),
    "reports": _Section("reports", "kind, room_id, event_id, user_id, reason, at_ms, settled_ms", "reporter = ?"),
    "audit": _Section("audit", "at_ms, done_by, deed, detail, outcome", "subject = ?"),
    "school_record": _Section("people", "org_id, family, given, patronymic, roster_key, created_ms"),
    "roles": _Section("roles", "org_id, role, class_id, child_id, began_ms, verified_ms, verified_until_ms, ended_ms"),
    "guardians": _Section("roles", "user_id, org_id, began_ms, verified_ms, ended_ms", "child_id = ?"),
    "appointments": _Section("appointments", "org_id, signed_on, accepted_ms"),
    "files": _Section("media", "media_id, created_ms, content_type, filename, size", "uploader = ?"),
}


def load_section(txn: Txn, name: str, user_id: UserID) -> list[dict[str, Any]]:
    """The rows of a section, encoded JSON taken apart."""
    section = SECTIONS[name]
    names = [column.rpartition(".")[2] for column in section.columns.split(", ")]
    rows = txn.all(
        f"SELECT {section.columns} FROM {section.source} WHERE {section.where}",  # noqa: S608 - our own names
        (user_id,),
    )
    return [dict(zip(names, map(_read, row), strict=True)) for row in rows]


def _read(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, bytes) else value


class Upload(NamedTuple):
    """A file as an export takes it along."""

    origin: ServerName
    media_id: str
    filename: str | None
    content_type: str
    file_id: str


_UPLOAD: Final = "SELECT media.origin, media.media_id, filename, content_type, file_id FROM media"


def load_uploads(txn: Txn, user_id: UserID, after: str, most: int) -> list[Upload]:
    """A page of what a person has uploaded, in the order of media IDs, from behind one on."""
    rows = txn.all(f"{_UPLOAD} WHERE uploader = ? AND media_id > ? ORDER BY media_id LIMIT ?", (user_id, after, most))
    return [Upload(*row) for row in rows]


def find_upload(txn: Txn, origin: ServerName, media_id: str) -> Upload | None:
    """A file by its address."""
    row = txn.one(f"{_UPLOAD} WHERE origin = ? AND media_id = ?", (origin, media_id))
    return None if row is None else Upload(*row)


def find_organisation_of(txn: Txn, user_id: UserID) -> str | None:
    """The organisation that keeps a person's record."""
    row = txn.one("SELECT org_id FROM people WHERE user_id = ?", (user_id,))
    return None if row is None else str(row[0])


def find_name(txn: Txn, room_id: RoomID) -> str | None:
    """What a room is called now."""
    row = txn.one(
        "SELECT e.json FROM rooms JOIN state_changes c ON c.room_nid = rooms.nid AND c.type = 'm.room.name'"
        " AND c.state_key = '' JOIN events e ON e.nid = c.event_nid WHERE room_id = ? ORDER BY c.stream DESC LIMIT 1",
        (room_id,),
    )
    name = None if row is None else msgspec.json.decode(row[0])["content"].get("name")
    return name if isinstance(name, str) else None
