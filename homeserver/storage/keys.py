"""Tables of end-to-end encryption keys, as far as a server sees them: the public halves, and signatures on them.

Keys of a device go with the device. A JSON object is stored as it was uploaded; signatures that came later, from
other devices and people, are kept apart, because not everybody may see them.

Spec: client-server-api#end-to-end-encryption
"""

from collections.abc import Collection, Iterable, Sequence, Set
from typing import Literal, NamedTuple, TypeAlias

from federation.ids import DeviceID, RoomID, UserID
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Txn
from homeserver.storage.keynews import tell_devices, tell_signing_keys

Usage: TypeAlias = Literal["master", "self_signing", "user_signing"]


class DeviceKeys(NamedTuple):
    """The identity keys of a device as uploaded, and the name its owner gave it."""

    user_id: UserID
    device_id: DeviceID
    keys: bytes
    display_name: str | None


class OneTimeKey(NamedTuple):
    """A one-time or fallback key; `key` is JSON, a string or an object."""

    algorithm: str
    key_id: str
    key: bytes


class CrossSigningKey(NamedTuple):
    """A cross-signing key as uploaded, and its public key in unpadded base64."""

    user_id: UserID
    usage: Usage
    public_key: str
    key: bytes


class Signature(NamedTuple):
    """A signature on `user_id`'s device or cross-signing key (`key_id`: the device ID or the public key)."""

    user_id: UserID
    key_id: str
    signer_id: UserID
    signer_key_id: str
    signature: str


def set_changed(txn: Txn, user_id: UserID, devices: Sequence[DeviceID] = (), *, signing: bool = False) -> None:
    """Note that a person's device or cross-signing keys changed, for those who encrypt to them.

    Of somebody of ours other servers are told: of these `devices`, which may be gone, and with `signing` of the
    cross-signing keys. Only changes of devices make a new version of the list; whatever is not told makes one, too, so
    that who is told of the next has missed one, and asks.
    """
    row = txn.one("SELECT version FROM key_changes WHERE user_id = ?", (user_id,))
    versions = [0 if row is None else row[0], *[txn.position() for _ in devices]]
    position = versions[-1] if devices else txn.position()
    txn.run(
        "INSERT INTO key_changes (user_id, position, version) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET position = excluded.position, version = excluded.version",
        (user_id, position, versions[-1] if signing else position),
    )
    rows = txn.all(
        "SELECT r.room_id FROM memberships m JOIN rooms r ON r.nid = m.room_nid"
        " WHERE m.user_id = ? AND m.membership = 'join'",
        (user_id,),
    )
    rooms = tuple([RoomID(room_id) for (room_id,) in rows])
    txn.tell(UserDataChanged(position=position, user_id=user_id, kind="device_lists", rooms=rooms))
    if devices:
        tell_devices(txn, user_id, devices, versions)
    if signing:
        tell_signing_keys(txn, user_id)


def load_changed(txn: Txn, user_id: UserID, since: int) -> set[UserID]:
    """Load those whose keys changed after that position, among the person and all who share a room with them now."""
    rows = txn.all(
        "SELECT c.user_id FROM key_changes c WHERE c.position > ? AND (c.user_id = ? OR EXISTS ("
        "SELECT 1 FROM memberships theirs JOIN memberships mine ON mine.room_nid = theirs.room_nid"
        " WHERE theirs.user_id = c.user_id AND theirs.membership = 'join'"
        " AND mine.user_id = ? AND mine.membership = 'join'))",
        (since, user_id, user_id),
    )
    return {UserID(changed) for (changed,) in rows}


def find_device_keys(txn: Txn, user_id: UserID, device_id: DeviceID) -> bytes | None:
    """Find the identity keys of a device, as uploaded."""
    row = txn.one("SELECT keys FROM device_keys WHERE user_id = ? AND device_id = ?", (user_id, device_id))
    return None if row is None else row[0]


def has_device_keys(txn: Txn, user_id: UserID, device_id: DeviceID) -> bool:
    """Tell whether a device takes part in encryption."""
    return txn.one("SELECT 1 FROM device_keys WHERE user_id = ? AND device_id = ?", (user_id, device_id)) is not None


def set_device_keys(txn: Txn, user_id: UserID, device_id: DeviceID, keys: bytes) -> None:
    """Replace the identity keys of a device."""
    txn.run(
        "INSERT INTO device_keys (user_id, device_id, keys) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
        (user_id, device_id, keys),
    )
    set_changed(txn, user_id, [device_id])


def load_device_keys(txn: Txn, user_ids: Iterable[UserID]) -> list[DeviceKeys]:
    """Load the identity keys of all devices of several people."""
    rows = txn.all_in(
        "SELECT k.user_id, k.device_id, k.keys, d.display_name FROM device_keys k"
        " JOIN devices d ON d.user_id = k.user_id AND d.device_id = k.device_id WHERE k.user_id {in}",
        list(user_ids),
    )
    return [DeviceKeys(*row) for row in rows]


def load_one_time_keys(txn: Txn, user_id: UserID, device_id: DeviceID) -> dict[tuple[str, str], bytes]:
    """Load the one-time keys of a device that nobody has claimed: `(algorithm, key ID)` to key."""
    rows = txn.all(
        "SELECT algorithm, key_id, key FROM one_time_keys WHERE user_id = ? AND device_id = ?", (user_id, device_id)
    )
    return {(algorithm, key_id): key for algorithm, key_id, key in rows}


def append_one_time_keys(txn: Txn, user_id: UserID, device_id: DeviceID, keys: Sequence[OneTimeKey]) -> None:
    """Add one-time keys; they are given out after all that the device uploaded before."""
    row = txn.one("SELECT MAX(upload) FROM one_time_keys WHERE user_id = ? AND device_id = ?", (user_id, device_id))
    upload = 0 if row is None or row[0] is None else int(row[0]) + 1
    txn.many(
        "INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, upload, key) VALUES (?, ?, ?, ?, ?, ?)",
        [(user_id, device_id, key.algorithm, key.key_id, upload, key.key) for key in keys],
    )
    _tell_counts(txn, user_id)


def count_one_time_keys(txn: Txn, user_id: UserID, device_id: DeviceID) -> dict[str, int]:
    """Count a device's unclaimed one-time keys by algorithm; an algorithm without any is missing.

    Spec: client-server-api#e2e-extensions-to-sync
    """
    rows = txn.all(
        "SELECT algorithm, COUNT(*) FROM one_time_keys WHERE user_id = ? AND device_id = ? GROUP BY algorithm",
        (user_id, device_id),
    )
    return {algorithm: int(count) for algorithm, count in rows}


def set_fallback_key(txn: Txn, user_id: UserID, device_id: DeviceID, key: OneTimeKey) -> None:
    """Replace a device's fallback key of that algorithm; the same key again stays as used as it is."""
    row = txn.one(
        "SELECT key_id, key FROM fallback_keys WHERE user_id = ? AND device_id = ? AND algorithm = ?",
        (user_id, device_id, key.algorithm),
    )
    if row is not None and (row[0], bytes(row[1])) == (key.key_id, key.key):
        return
    txn.run(
        "INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, key, used) VALUES (?, ?, ?, ?, ?, 0)"
        " ON CONFLICT (user_id, device_id, algorithm) DO UPDATE SET key_id = excluded.key_id, key = excluded.key,"
        " used = 0",
        (user_id, device_id, key.algorithm, key.key_id, key.key),
    )
    _tell_counts(txn, user_id)


def load_unused_fallback_types(txn: Txn, user_id: UserID, device_id: DeviceID) -> list[str]:
    """Load the algorithms for which a device has a fallback key that nobody was given yet.

    Spec: client-server-api#e2e-extensions-to-sync
    """
    rows = txn.all(
        "SELECT algorithm FROM fallback_keys WHERE user_id = ? AND device_id = ? AND used = 0 ORDER BY algorithm",
        (user_id, device_id),
    )
    return [algorithm for (algorithm,) in rows]


def take_one_time_keys(
    txn: Txn, algorithm: str, wanted: Collection[tuple[UserID, DeviceID]]
) -> dict[tuple[UserID, DeviceID], OneTimeKey]:
    """Take a one-time key of an algorithm from each of some devices, the longest held first; the fallback key where
    there are none left. Four statements, however many devices.

    Spec: client-server-api#post_matrixclientv3keysclaim
    """
    devices, people = set(wanted), {user_id for user_id, _ in wanted}
    oldest = txn.all_in(
        "SELECT d.user_id, d.device_id, k.key_id, k.key FROM devices d JOIN one_time_keys k ON k.user_id = d.user_id"
        " AND k.device_id = d.device_id AND k.algorithm = ? AND k.key_id = (SELECT o.key_id FROM one_time_keys o"
        " WHERE o.user_id = d.user_id AND o.device_id = d.device_id AND o.algorithm = ?"
        " ORDER BY o.upload, o.key_id LIMIT 1) WHERE d.user_id {in}",
        people,
        (algorithm, algorithm),
    )
    taken = {(row[0], row[1]): OneTimeKey(algorithm, row[2], row[3]) for row in oldest if (row[0], row[1]) in devices}
    txn.many(
        "DELETE FROM one_time_keys WHERE user_id = ? AND device_id = ? AND algorithm = ? AND key_id = ?",
        [(*device, algorithm, key.key_id) for device, key in taken.items()],
    )
    changed = {user_id for user_id, _ in taken}
    if len(taken) < len(devices):
        changed |= _take_fallback_keys(txn, algorithm, devices - taken.keys(), taken)
    for user_id in sorted(changed):
        _tell_counts(txn, user_id)
    return taken


def _take_fallback_keys(
    txn: Txn,
    algorithm: str,
    devices: Set[tuple[UserID, DeviceID]],
    taken: dict[tuple[UserID, DeviceID], OneTimeKey],
) -> set[UserID]:
    """Add the fallback keys of some devices to those taken; gives whose were used for the first time."""
    rows = txn.all_in(
        "SELECT user_id, device_id, key_id, key, used FROM fallback_keys WHERE algorithm = ? AND user_id {in}",
        {user_id for user_id, _ in devices},
        (algorithm,),
    )
    found = {(user_id, device_id): (key_id, key, used) for user_id, device_id, key_id, key, used in rows}
    fresh = []
    for device in devices & found.keys():
        key_id, key, used = found[device]
        taken[device] = OneTimeKey(algorithm, key_id, key)
        if not used:
            fresh.append(device)
    txn.many(
        "UPDATE fallback_keys SET used = 1 WHERE user_id = ? AND device_id = ? AND algorithm = ?",
        [(*device, algorithm) for device in fresh],
    )
    return {user_id for user_id, _ in fresh}


def load_cross_signing_keys(txn: Txn, user_ids: Iterable[UserID]) -> list[CrossSigningKey]:
    """Load the cross-signing keys of several people, all three kinds."""
    sql = "SELECT user_id, usage, public_key, key FROM cross_signing_keys WHERE user_id {in}"
    return [CrossSigningKey(*row) for row in txn.all_in(sql, list(user_ids))]


def is_cross_signing_key(txn: Txn, user_id: UserID, public_key: str) -> bool:
    """Tell whether that is the public half of one of the person's cross-signing keys: no device may be called so."""
    sql = "SELECT 1 FROM cross_signing_keys WHERE user_id = ? AND public_key = ?"
    return txn.one(sql, (user_id, public_key)) is not None


def set_cross_signing_key(txn: Txn, new: CrossSigningKey) -> None:
    """Replace a cross-signing key; signatures on and by the one before are gone."""
    row = txn.one("SELECT public_key FROM cross_signing_keys WHERE user_id = ? AND usage = ?", (new.user_id, new.usage))
    if row is not None and row[0] != new.public_key:
        remove_signatures(txn, new.user_id, row[0])
    txn.run(
        "INSERT INTO cross_signing_keys (user_id, usage, public_key, key) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id, usage) DO UPDATE SET public_key = excluded.public_key, key = excluded.key",
        new,
    )


def remove_cross_signing_keys(txn: Txn, user_id: UserID) -> bool:
    """Forget a person's cross-signing keys and every signature by or on their keys; whether there were any."""
    txn.run("DELETE FROM key_signatures WHERE user_id = ?", (user_id,))
    txn.run("DELETE FROM key_signatures WHERE signer_id = ?", (user_id,))
    return txn.run("DELETE FROM cross_signing_keys WHERE user_id = ?", (user_id,)) > 0


def set_signature(txn: Txn, new: Signature) -> bool:
    """Add a signature; False when it is already there."""
    sql = (
        "INSERT INTO key_signatures (user_id, key_id, signer_id, signer_key_id, signature) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (user_id, key_id, signer_id, signer_key_id) DO UPDATE SET signature = excluded.signature"
        " WHERE key_signatures.signature <> excluded.signature"
    )
    return txn.run(sql, new) == 1


def load_signatures(txn: Txn, user_ids: Iterable[UserID], viewer: UserID) -> list[Signature]:
    """Load the signatures on several people's keys that the viewer may see: by their owners, and by the viewer.

    Spec: client-server-api#key-and-signature-security
    """
    rows = txn.all_in(
        "SELECT user_id, key_id, signer_id, signer_key_id, signature FROM key_signatures"
        " WHERE (signer_id = user_id OR signer_id = ?) AND user_id {in}",
        list(user_ids),
        (viewer,),
    )
    return [Signature(*row) for row in rows]


def remove_signatures(txn: Txn, user_id: UserID, key_id: str) -> None:
    """Forget every signature on and by a person's device or cross-signing key."""
    txn.run("DELETE FROM key_signatures WHERE user_id = ? AND key_id = ?", (user_id, key_id))
    txn.run("DELETE FROM key_signatures WHERE signer_id = ? AND signer_key_id = ?", (user_id, f"ed25519:{key_id}"))


def _tell_counts(txn: Txn, user_id: UserID) -> None:
    txn.tell(UserDataChanged(position=txn.position(), user_id=user_id, kind="one_time_keys"))
