"""The table of devices. Removing one removes, by the database's own rule, its tokens, keys and waiting messages.

Spec: client-server-api#device-management
"""

from collections.abc import Iterable
from dataclasses import dataclass

from federation.ids import DeviceID, UserID
from homeserver.storage import keys
from homeserver.storage.changes import SessionsEnded
from homeserver.storage.database import Txn
from homeserver.storage.outbox import load_servers_near

_DEVICES = "SELECT device_id, display_name, last_seen_ms, last_seen_ip FROM devices WHERE user_id = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as its owner sees it."""

    device_id: DeviceID
    display_name: str | None
    last_seen_ms: int | None
    last_seen_ip: str | None


def load_devices(txn: Txn, user_id: UserID) -> list[Device]:
    """Load all devices of a person, the oldest first."""
    rows = txn.all(f"{_DEVICES} ORDER BY created_ms, device_id", (user_id,))
    return [_device(row) for row in rows]


def load_device_ids(txn: Txn, user_ids: Iterable[UserID]) -> dict[UserID, set[DeviceID]]:
    """Load the device IDs of several people; who has none is missing."""
    found: dict[UserID, set[DeviceID]] = {}
    sql = "SELECT user_id, device_id FROM devices WHERE user_id {in}"
    for user_id, device_id in txn.all_in(sql, list(user_ids)):
        found.setdefault(user_id, set()).add(device_id)
    return found


def find_device(txn: Txn, user_id: UserID, device_id: DeviceID) -> Device | None:
    """Find one device of a person."""
    row = txn.one(f"{_DEVICES} AND device_id = ?", (user_id, device_id))
    return None if row is None else _device(row)


def has_device(txn: Txn, user_id: UserID, name: str) -> bool:
    """Tell whether a person has a device of that ID."""
    return txn.one("SELECT 1 FROM devices WHERE user_id = ? AND device_id = ?", (user_id, name)) is not None


def append_device(
    txn: Txn,
    user_id: UserID,
    device_id: DeviceID,
    name: str | None,
    created_ms: int,
    made_by: UserID | None = None,
) -> bool:
    """Add a device; False, and nothing changes, when the person has one of that ID. `made_by`: an operator uses it."""
    sql = (
        "INSERT INTO devices (user_id, device_id, display_name, created_ms, made_by) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (user_id, device_id) DO NOTHING"
    )
    is_new = txn.run(sql, (user_id, device_id, name, created_ms, made_by)) == 1
    if is_new and load_servers_near(txn, user_id):
        keys.set_changed(txn, user_id, [device_id])
    return is_new


def set_display_name(txn: Txn, user_id: UserID, device_id: DeviceID, name: str) -> bool:
    """Rename a device; False when there is none of that ID."""
    sql = "UPDATE devices SET display_name = ? WHERE user_id = ? AND device_id = ?"
    if not txn.run(sql, (name, user_id, device_id)):
        return False
    if keys.has_device_keys(txn, user_id, device_id):
        keys.set_changed(txn, user_id, [device_id])
    return True


def set_last_seen(txn: Txn, sightings: list[tuple[int, str, UserID, DeviceID]]) -> None:
    """Note when and from where devices were last seen: `(ms, address, user, device)`."""
    txn.many("UPDATE devices SET last_seen_ms = ?, last_seen_ip = ? WHERE user_id = ? AND device_id = ?", sightings)


def remove_devices(txn: Txn, user_id: UserID, device_ids: Iterable[DeviceID]) -> None:
    """Remove devices with all that hangs on them: their sessions end, their messages and keys are gone."""
    missed, is_known = [], bool(load_servers_near(txn, user_id))
    for device_id in device_ids:
        had_keys = keys.has_device_keys(txn, user_id, device_id)
        keys.remove_signatures(txn, user_id, device_id)
        if txn.run("DELETE FROM devices WHERE user_id = ? AND device_id = ?", (user_id, device_id)):
            txn.tell(SessionsEnded(position=txn.position(), user_id=user_id, device_id=device_id))
            if had_keys or is_known:
                missed.append(device_id)
    if missed:
        keys.set_changed(txn, user_id, missed)


def introduce_devices(txn: Txn, user_id: UserID) -> None:
    """Tell of all devices of somebody, whom other servers have just met.

    Spec: server-server-api#device-management
    """
    rows = txn.all("SELECT device_id FROM devices WHERE user_id = ? ORDER BY created_ms, device_id", (user_id,))
    if rows:
        keys.set_changed(txn, user_id, [DeviceID(device_id) for (device_id,) in rows])


def remove_all_devices(txn: Txn, user_id: UserID, *, but: DeviceID | None = None) -> None:
    """Remove all devices of a person, one perhaps excepted, as :func:`remove_devices` does."""
    rows = txn.all("SELECT device_id FROM devices WHERE user_id = ?", (user_id,))
    remove_devices(txn, user_id, [DeviceID(device_id) for (device_id,) in rows if device_id != but])


def remove_made_by(txn: Txn, operator: UserID) -> None:
    """Remove the devices with which an operator is somebody else, as :func:`remove_devices` does."""
    for user_id, device_id in txn.all("SELECT user_id, device_id FROM devices WHERE made_by = ?", (operator,)):
        remove_devices(txn, UserID(user_id), [DeviceID(device_id)])


def _device(row: tuple[str, str | None, int | None, str | None]) -> Device:
    device_id, display_name, last_seen_ms, last_seen_ip = row
    return Device(
        device_id=DeviceID(device_id),
        display_name=display_name,
        last_seen_ms=last_seen_ms,
        last_seen_ip=last_seen_ip,
    )
