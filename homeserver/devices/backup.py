"""Key backups: message keys that a person's devices leave here, encrypted, for those that come later.

The server knows of a key only whose it is, of which session, and what it is worth against another one for that session.

Spec: client-server-api#server-side-key-backups
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

import msgspec

from federation.ids import UserID, fits, parse_room_id
from homeserver.policy import Invalid, NotFound
from homeserver.storage import backup as stored
from homeserver.storage.backup import BackedUpKey, Backup, Place, Worth
from homeserver.storage.database import Database, Txn

MOST_BACKUPS: Final = 1_000
"""How many backups a person may have that are not deleted."""
MOST_KEYS: Final = 500_000
"""How many keys a backup may hold."""
LARGEST: Final = 65_536
"""How many bytes a key, or what is said of a backup's encryption, may have."""
AT_ONCE: Final = 5_000
"""How many keys of a deleted backup are removed in one unit of work."""

_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")
_object: Final = msgspec.json.Decoder(dict[str, object])
_encode: Final = msgspec.json.encode


class WrongVersion(Exception):
    """Keys are added to the latest backup only, and this is another.

    Spec: client-server-api#put_matrixclientv3room_keyskeys
    """

    def __init__(self, current: str) -> None:
        super().__init__(current)
        self.current = current


def parse_object(raw: msgspec.Raw) -> bytes:
    """A JSON object that the server keeps as it is and does not look into.

    Raises:
        Invalid: It is none, or too large.
    """
    try:
        _object.decode(raw)
    except msgspec.DecodeError as fault:
        raise Invalid("M_BAD_JSON", f"Not a JSON object: {fault}") from None
    if len(memoryview(raw)) > LARGEST:
        raise Invalid("M_TOO_LARGE", f"It may have at most {LARGEST} bytes")
    return bytes(raw)


def parse_key(room_id: str, session_id: str, worth: Worth, session_data: msgspec.Raw) -> BackedUpKey:
    """A key as it is kept.

    Raises:
        BadIdentifier: There can be no such room.
        Invalid: There can be no such session, or the data are no object or too large.
    """
    if not session_id or "\0" in session_id or not fits(session_id):
        raise Invalid("M_INVALID_PARAM", "Not the ID of a session")
    return BackedUpKey(parse_room_id(room_id), session_id, worth, parse_object(session_data))


class Backups:
    """The backups of this server's people, each for that person only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: UserID, algorithm: str, auth_data: bytes) -> str:
        """Begin a backup, to which from now on keys are added; its version. Those before it stay.

        Raises:
            Invalid: The algorithm's name is too long, or there are too many backups.

        Spec: client-server-api#post_matrixclientv3room_keysversion
        """
        if not algorithm or not fits(algorithm):
            raise Invalid("M_INVALID_PARAM", "Not the name of an algorithm")
        return str(await self._database.write(_create, user_id, algorithm, auth_data))

    async def see(self, user_id: UserID, version: str | None = None) -> Backup:
        """A backup, the latest without a version.

        Raises:
            NotFound: There is none.

        Spec: client-server-api#get_matrixclientv3room_keysversionversion
        """
        if version is None:
            current = await self._database.read(stored.find_current, user_id)
            return _existing(current, "There is no backup")
        return await self._database.read(_load, user_id, version)

    async def change(self, user_id: UserID, version: str, algorithm: str, auth_data: bytes) -> None:
        """Replace what is said of a backup's encryption.

        Raises:
            NotFound: There is no such backup.
            Invalid: Its algorithm is another.

        Spec: client-server-api#put_matrixclientv3room_keysversionversion
        """
        await self._database.write(_change, user_id, version, algorithm, auth_data)

    async def delete(self, user_id: UserID, version: str) -> None:
        """Delete a backup with its keys; it may be deleted already.

        Raises:
            NotFound: There never was such a backup.

        Spec: client-server-api#delete_matrixclientv3room_keysversionversion
        """
        await self._database.write(_delete, user_id, version)
        while await self._database.write(stored.remove_deleted, user_id, AT_ONCE):
            pass

    async def add(self, user_id: UserID, version: str, keys: Sequence[BackedUpKey]) -> Backup:
        """Add keys to the latest backup; of two for one session the better one is kept. The backup as it is then.

        Raises:
            WrongVersion: That is not the latest.
            NotFound: There is no such backup.
            Invalid: There are too many keys.

        Spec: client-server-api#put_matrixclientv3room_keyskeys
        """
        return await self._database.write(_add, user_id, version, keys)

    async def load(self, user_id: UserID, version: str, place: Place) -> bytes:
        """Keys of a backup: JSON of the shape in which they may be added to the same place.

        Raises:
            NotFound: There is no such backup, or no key of that session in it.

        Spec: client-server-api#get_matrixclientv3room_keyskeys
        """
        return await self._database.read(_load_keys, user_id, version, place)

    async def remove(self, user_id: UserID, version: str, place: Place) -> Backup:
        """Remove keys from a backup; the backup as it is then.

        Raises:
            NotFound: There is no such backup.

        Spec: client-server-api#delete_matrixclientv3room_keyskeys
        """
        return await self._database.write(_remove, user_id, version, place)


def _create(txn: Txn, user_id: UserID, algorithm: str, auth_data: bytes) -> int:
    if stored.count_backups(txn, user_id) >= MOST_BACKUPS:
        raise Invalid("M_INVALID_PARAM", f"There are {MOST_BACKUPS} backups: delete some first")
    return stored.append_backup(txn, user_id, algorithm, auth_data)


def _change(txn: Txn, user_id: UserID, version: str, algorithm: str, auth_data: bytes) -> None:
    backup = _load(txn, user_id, version)
    if backup.algorithm != algorithm:
        raise Invalid("M_INVALID_PARAM", "The backup has another algorithm")
    stored.set_auth_data(txn, user_id, backup.version, auth_data)


def _delete(txn: Txn, user_id: UserID, version: str) -> None:
    number = _number(version)
    if not stored.has_had_backup(txn, user_id, number):
        raise NotFound("There is no such backup")
    stored.set_deleted(txn, user_id, number)


def _add(txn: Txn, user_id: UserID, version: str, keys: Sequence[BackedUpKey]) -> Backup:
    """The unit of adding keys: two reads and two writes, however many there are."""
    current = _existing(stored.find_current(txn, user_id), "There is no backup")
    number = _number(version)
    if number != current.version:
        if stored.has_had_backup(txn, user_id, number):
            raise WrongVersion(str(current.version))
        raise NotFound("There is no such backup")
    held = stored.load_worths(txn, user_id, number, {key.session_id for key in keys})
    better = [key for key in keys if _is_better(key, held.get((key.room_id, key.session_id)))]
    new = sum((key.room_id, key.session_id) not in held for key in better)
    if current.keys + new > MOST_KEYS:
        raise Invalid("M_TOO_LARGE", f"A backup has at most {MOST_KEYS} keys")
    return stored.set_keys(txn, user_id, current, better, new) if better else current


def _is_better(key: BackedUpKey, held: Worth | None) -> bool:
    return held is None or key.worth < held


def _remove(txn: Txn, user_id: UserID, version: str, place: Place) -> Backup:
    return stored.remove_keys(txn, user_id, _load(txn, user_id, version), place)


def _load(txn: Txn, user_id: UserID, version: str) -> Backup:
    return _existing(stored.find_backup(txn, user_id, _number(version)), "There is no such backup")


def _existing(backup: Backup | None, fault: str) -> Backup:
    if backup is None:
        raise NotFound(fault)
    return backup


def _number(version: str) -> int:
    """The version as it is stored; 0, which no backup has, for what is none."""
    return int(version) if _VERSION.fullmatch(version) else 0


def _load_keys(txn: Txn, user_id: UserID, version: str, place: Place) -> bytes:
    """Read keys and encode them, in the reading thread: there may be very many."""
    keys = stored.load_keys(txn, user_id, _load(txn, user_id, version).version, place)
    if place.session_id is not None:
        if not keys:
            raise NotFound("There is no key of that session")
        return _encode_key(keys[0])
    if place.room_id is not None:
        return _encode_sessions(keys)
    rooms = groupby(keys, key=lambda key: key.room_id)
    return b'{"rooms":{%b}}' % b",".join([_encode(room) + b":" + _encode_sessions(theirs) for room, theirs in rooms])


def _encode_sessions(keys: Iterable[BackedUpKey]) -> bytes:
    return b'{"sessions":{%b}}' % b",".join([_encode(key.session_id) + b":" + _encode_key(key) for key in keys])


def _encode_key(key: BackedUpKey) -> bytes:
    unverified, first_message_index, forwarded_count = key.worth
    return b'{"first_message_index":%d,"forwarded_count":%d,"is_verified":%b,"session_data":%b}' % (
        first_message_index,
        forwarded_count,
        b"false" if unverified else b"true",
        key.session_data,
    )
