"""Tables of key backups: a person's message keys, encrypted by their devices for those that come later.

Spec: client-server-api#server-side-key-backups
"""

from collections.abc import Collection
from typing import NamedTuple

from federation.ids import UserID
from homeserver.storage.database import Insert, Row, Txn

_SET_KEY = Insert(
    "INSERT INTO backed_up_keys (user_id, version, session_id, room_id, is_verified, first_message_index,"
    " forwarded_count, session_data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (user_id, version, session_id, room_id) DO UPDATE SET is_verified = excluded.is_verified,"
    " first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,"
    " session_data = excluded.session_data"
)
_BACKUP = "SELECT version, algorithm, auth_data, keys, etag FROM key_backups WHERE user_id = ? AND deleted = 0"


class Backup(NamedTuple):
    """A backup: how its keys are encrypted (`auth_data` is JSON), how many there are and how often they changed."""

    version: int
    algorithm: str
    auth_data: bytes
    keys: int
    etag: int


class Worth(NamedTuple):
    """What a key is worth: of two for one session the lesser in this order is kept.

    Spec: client-server-api#server-side-key-backups
    """

    unverified: bool
    first_message_index: int
    forwarded_count: int


class BackedUpKey(NamedTuple):
    """A key in a backup; `session_data` is JSON."""

    room_id: str
    session_id: str
    worth: Worth
    session_data: bytes


class Place(NamedTuple):
    """Keys of a backup: all (None), those of a room, or the one of a session."""

    room_id: str | None = None
    session_id: str | None = None


def append_backup(txn: Txn, user_id: UserID, algorithm: str, auth_data: bytes) -> int:
    """Begin a backup; its version, higher than any the person has had."""
    row = txn.one("SELECT COALESCE(MAX(version), 0) + 1 FROM key_backups WHERE user_id = ?", (user_id,))
    version = int(row[0]) if row is not None else 1
    sql = "INSERT INTO key_backups (user_id, version, algorithm, auth_data) VALUES (?, ?, ?, ?)"
    txn.run(sql, (user_id, version, algorithm, auth_data))
    return version


def count_backups(txn: Txn, user_id: UserID) -> int:
    """Count the backups of a person that are not deleted."""
    row = txn.one("SELECT COUNT(*) FROM key_backups WHERE user_id = ? AND deleted = 0", (user_id,))
    return 0 if row is None else int(row[0])


def find_current(txn: Txn, user_id: UserID) -> Backup | None:
    """Find the latest backup."""
    row = txn.one(f"{_BACKUP} ORDER BY version DESC LIMIT 1", (user_id,))
    return None if row is None else Backup(*row)


def find_backup(txn: Txn, user_id: UserID, version: int) -> Backup | None:
    """Find a backup that is not deleted."""
    row = txn.one(f"{_BACKUP} AND version = ?", (user_id, version))
    return None if row is None else Backup(*row)


def has_had_backup(txn: Txn, user_id: UserID, version: int) -> bool:
    """Tell whether there is or was a backup of that version."""
    return txn.one("SELECT 1 FROM key_backups WHERE user_id = ? AND version = ?", (user_id, version)) is not None


def set_auth_data(txn: Txn, user_id: UserID, version: int, auth_data: bytes) -> None:
    """Replace what is said of a backup's encryption."""
    txn.run("UPDATE key_backups SET auth_data = ? WHERE user_id = ? AND version = ?", (auth_data, user_id, version))


def set_deleted(txn: Txn, user_id: UserID, version: int) -> None:
    """Delete a backup; :func:`remove_deleted` then makes room, some keys at a time."""
    sql = "UPDATE key_backups SET deleted = 1, auth_data = ?, keys = 0 WHERE user_id = ? AND version = ?"
    txn.run(sql, (b"{}", user_id, version))


def remove_deleted(txn: Txn, user_id: UserID, limit: int) -> bool:
    """Remove some keys of a person's deleted backups; False when none were left."""
    row = txn.one(
        "SELECT b.version FROM key_backups b WHERE b.user_id = ? AND b.deleted = 1 AND EXISTS"
        " (SELECT 1 FROM backed_up_keys k WHERE k.user_id = b.user_id AND k.version = b.version) LIMIT 1",
        (user_id,),
    )
    if row is None:
        return False
    txn.run(
        "DELETE FROM backed_up_keys WHERE user_id = ? AND version = ? AND session_id IN (SELECT session_id"
        " FROM backed_up_keys WHERE user_id = ? AND version = ? ORDER BY session_id LIMIT ?)",
        (user_id, row[0], user_id, row[0], limit),
    )
    return True


def remove_backups(txn: Txn, user_id: UserID) -> None:
    """Forget all backups of a person."""
    txn.run("DELETE FROM backed_up_keys WHERE user_id = ?", (user_id,))
    txn.run("DELETE FROM key_backups WHERE user_id = ?", (user_id,))


def load_worths(txn: Txn, user_id: UserID, version: int, session_ids: Collection[str]) -> dict[tuple[str, str], Worth]:
    """Load what the keys of those sessions are worth: by room and session."""
    rows = txn.all_in(
        "SELECT room_id, session_id, is_verified, first_message_index, forwarded_count FROM backed_up_keys"
        " WHERE user_id = ? AND version = ? AND session_id {in}",
        session_ids,
        (user_id, version),
    )
    return {(room_id, session_id): _worth(*worth) for room_id, session_id, *worth in rows}


def set_keys(txn: Txn, user_id: UserID, backup: Backup, keys: Collection[BackedUpKey], more: int) -> Backup:
    """Keep keys in the place of those there may be for their sessions; `more` of them are new."""
    for key in keys:
        worth = key.worth
        row = (int(not worth.unverified), worth.first_message_index, worth.forwarded_count, key.session_data)
        txn.append(_SET_KEY, (user_id, backup.version, key.session_id, key.room_id, *row))
    return _count(txn, user_id, backup, more)


def load_keys(txn: Txn, user_id: UserID, version: int, place: Place) -> list[BackedUpKey]:
    """Load keys, those of a room together."""
    sql = (
        "SELECT room_id, session_id, is_verified, first_message_index, forwarded_count, session_data"
        " FROM backed_up_keys WHERE user_id = ? AND version = ?"
    )
    where, params = _where(place)
    return [_key(row) for row in txn.all(f"{sql}{where} ORDER BY room_id, session_id", (user_id, version, *params))]


def remove_keys(txn: Txn, user_id: UserID, backup: Backup, place: Place) -> Backup:
    """Remove keys; the backup as it is then."""
    where, params = _where(place)
    sql = "DELETE FROM backed_up_keys WHERE user_id = ? AND version = ?"
    removed = txn.run(f"{sql}{where}", (user_id, backup.version, *params))
    return _count(txn, user_id, backup, -removed) if removed else backup


def _count(txn: Txn, user_id: UserID, backup: Backup, more: int) -> Backup:
    """Note that the keys of a backup changed."""
    changed = backup._replace(keys=backup.keys + more, etag=backup.etag + 1)
    txn.run(
        "UPDATE key_backups SET keys = ?, etag = ? WHERE user_id = ? AND version = ?",
        (changed.keys, changed.etag, user_id, backup.version),
    )
    return changed


def _where(place: Place) -> tuple[str, tuple[str, ...]]:
    """The condition that only keys of that place meet."""
    if place.room_id is None:
        return "", ()
    if place.session_id is None:
        return " AND room_id = ?", (place.room_id,)
    return " AND room_id = ? AND session_id = ?", (place.room_id, place.session_id)


def _worth(is_verified: int, first_message_index: int, forwarded_count: int) -> Worth:
    return Worth(not is_verified, first_message_index, forwarded_count)


def _key(row: Row) -> BackedUpKey:
    room_id, session_id, is_verified, first_message_index, forwarded_count, session_data = row
    return BackedUpKey(room_id, session_id, _worth(is_verified, first_message_index, forwarded_count), session_data)
