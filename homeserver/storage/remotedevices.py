"""Tables of the devices of people elsewhere, as far as they share rooms with ours, and of what was sent to our devices.

A list is good as long as its person has been in a room with one of ours ever since it was asked for: only then does
their server tell us what changes. Their cross-signing keys are in the same table as ours.

Spec: server-server-api#device-management
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from federation.ids import DeviceID, RoomID, ServerName, UserID
from homeserver.storage import keys
from homeserver.storage.database import Txn
from homeserver.storage.keys import CrossSigningKey

MOST_REMEMBERED = 100_000
"""How many messages of a server are remembered."""


class DeviceList(NamedTuple):
    """What somebody's server says of their devices: identity keys by device, canonical JSON, and cross-signing keys."""

    user_id: UserID
    stream_id: int
    devices: Mapping[DeviceID, bytes]
    cross_signing: Sequence[CrossSigningKey]


class Known(NamedTuple):
    """How a list that is kept stands."""

    stream_id: int
    stale: bool


def has_company(txn: Txn, user_id: UserID) -> bool:
    """Tell whether somebody is in a room with one of ours."""
    sql = (
        "SELECT 1 FROM memberships theirs JOIN memberships mine ON mine.room_nid = theirs.room_nid"
        " JOIN users ON users.user_id = mine.user_id"
        " WHERE theirs.user_id = ? AND theirs.membership = 'join' AND mine.membership = 'join' LIMIT 1"
    )
    return txn.one(sql, (user_id,)) is not None


def load_in_company(txn: Txn, user_ids: Iterable[UserID]) -> set[UserID]:
    """Load which of those people are in a room with one of ours."""
    rows = txn.all_in(
        "SELECT user_id, room_nid FROM memberships WHERE user_id {in} AND membership = 'join'", list(user_ids)
    )
    ours = _load_ours(txn, {room_nid for _, room_nid in rows})
    return {UserID(user_id) for user_id, room_nid in rows if room_nid in ours}


def _load_ours(txn: Txn, room_nids: Iterable[int]) -> dict[int, int]:
    """Load in which of some rooms ours are, and since when the one who has been there for the longest."""
    rows = txn.all_in(
        "SELECT m.room_nid, MIN(m.stream) FROM memberships m JOIN users ON users.user_id = m.user_id"
        " WHERE m.room_nid {in} AND m.membership = 'join' GROUP BY m.room_nid",
        list(room_nids),
    )
    return {room_nid: int(stream) for room_nid, stream in rows}


def shares_room(txn: Txn, server: ServerName, user_id: UserID) -> bool:
    """Tell whether somebody is in a room with anybody of a server."""
    sql = (
        "SELECT 1 FROM memberships mine JOIN memberships theirs ON theirs.room_nid = mine.room_nid"
        " WHERE mine.user_id = ? AND mine.membership = 'join' AND theirs.membership = 'join'"
        " AND substr(theirs.user_id, length(theirs.user_id) - ?) = ? LIMIT 1"
    )
    return txn.one(sql, (user_id, len(server), f":{server}")) is not None


def is_near(txn: Txn, server: ServerName, rooms: Iterable[RoomID], people: Iterable[UserID]) -> bool:
    """Tell whether anybody of a server is in one of some rooms, or in a room with one of some people."""
    joined = txn.all_in(
        "SELECT 1 FROM memberships m JOIN rooms ON rooms.nid = m.room_nid WHERE rooms.room_id {in}"
        " AND m.membership = 'join' AND substr(m.user_id, length(m.user_id) - ?) = ?",
        list(rooms),
        (len(server), f":{server}"),
    )
    return bool(joined) or any(shares_room(txn, server, user_id) for user_id in people)


def find_known(txn: Txn, user_id: UserID) -> Known | None:
    """Find how the list of somebody stands; None when it is not kept."""
    row = txn.one("SELECT stream_id, stale FROM remote_people WHERE user_id = ?", (user_id,))
    return None if row is None else Known(row[0], bool(row[1]))


def load_fresh(txn: Txn, user_ids: Iterable[UserID]) -> set[UserID]:
    """Load those of some people whose lists are as their servers have them, as far as we were told."""
    rows = txn.all_in(
        "SELECT p.user_id, p.since, m.room_nid, m.stream FROM remote_people p JOIN memberships m"
        " ON m.user_id = p.user_id AND m.membership = 'join' WHERE p.user_id {in} AND p.stale = 0",
        list(user_ids),
    )
    ours = _load_ours(txn, {room_nid for _, _, room_nid, _ in rows})
    return {
        UserID(user_id)
        for user_id, since, room_nid, stream in rows
        if stream <= since and room_nid in ours and ours[room_nid] <= since
    }


def load_lists(txn: Txn, user_ids: Iterable[UserID]) -> dict[UserID, dict[DeviceID, bytes]]:
    """Load the lists that are kept of some people, fresh or not: identity keys by device."""
    people = list(user_ids)
    found: dict[UserID, dict[DeviceID, bytes]] = {
        UserID(user_id): {} for (user_id,) in txn.all_in("SELECT user_id FROM remote_people WHERE user_id {in}", people)
    }
    rows = txn.all_in("SELECT user_id, device_id, keys FROM remote_devices WHERE user_id {in}", list(found))
    for user_id, device_id, signed in rows:
        found[user_id][device_id] = bytes(signed)
    return found


def set_list(txn: Txn, new: DeviceList, since: int, *, stale: bool = False) -> bool:
    """Keep a whole list that was asked for at a position, `stale` if changes of it were missed since; tells our people,
    and True, if it is not what it was.
    """
    before = load_lists(txn, [new.user_id]).get(new.user_id)
    txn.run(
        "INSERT INTO remote_people (user_id, stream_id, since, stale) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE"
        " SET stream_id = excluded.stream_id, since = excluded.since, stale = excluded.stale",
        (new.user_id, new.stream_id, since, int(stale)),
    )
    changed = before != new.devices
    if changed:
        txn.run("DELETE FROM remote_devices WHERE user_id = ?", (new.user_id,))
        txn.many(
            "INSERT INTO remote_devices (user_id, device_id, keys) VALUES (?, ?, ?)",
            [(new.user_id, device_id, signed) for device_id, signed in new.devices.items()],
        )
    changed |= _set_cross_signing(txn, new.user_id, new.cross_signing, whole=True)
    if changed and before is not None:
        keys.set_changed(txn, new.user_id)
    return changed


def set_device(txn: Txn, user_id: UserID, device_id: DeviceID, signed: bytes | None, stream_id: int) -> None:
    """Keep one change of a list, and tell our people; with None the device is gone, or has no keys."""
    txn.run("UPDATE remote_people SET stream_id = ? WHERE user_id = ?", (stream_id, user_id))
    if signed is None:
        if not txn.run("DELETE FROM remote_devices WHERE user_id = ? AND device_id = ?", (user_id, device_id)):
            return
    else:
        txn.run(
            "INSERT INTO remote_devices (user_id, device_id, keys) VALUES (?, ?, ?)"
            " ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys",
            (user_id, device_id, signed),
        )
    keys.set_changed(txn, user_id)


def count_devices(txn: Txn, user_id: UserID) -> int:
    """Count the devices in a list."""
    row = txn.one("SELECT COUNT(*) FROM remote_devices WHERE user_id = ?", (user_id,))
    return 0 if row is None else int(row[0])


def set_cross_signing_keys(txn: Txn, user_id: UserID, new: Sequence[CrossSigningKey]) -> None:
    """Keep somebody's new cross-signing keys, and tell our people if they are not those they were."""
    if _set_cross_signing(txn, user_id, new, whole=False):
        keys.set_changed(txn, user_id)


def set_stale(txn: Txn, user_id: UserID) -> None:
    """Note that changes of a list were missed."""
    txn.run("UPDATE remote_people SET stale = 1 WHERE user_id = ?", (user_id,))


def load_stale(txn: Txn, after: UserID, most: int) -> list[UserID]:
    """Load whose lists have to be asked for again, from behind somebody on."""
    rows = txn.all(
        "SELECT user_id FROM remote_people WHERE stale = 1 AND user_id > ? ORDER BY user_id LIMIT ?", (after, most)
    )
    return [UserID(user_id) for (user_id,) in rows]


def remove_strangers(txn: Txn, after: UserID, most: int) -> UserID | None:
    """Forget the lists of those among some people, from behind somebody on, who are in no room with one of ours.

    Gives after whom to go on; None at the end.
    """
    rows = txn.all("SELECT user_id FROM remote_people WHERE user_id > ? ORDER BY user_id LIMIT ?", (after, most))
    people = [UserID(user_id) for (user_id,) in rows]
    for user_id in set(people) - load_in_company(txn, people):
        remove_list(txn, user_id)
    return people[-1] if len(people) == most else None


def remove_list(txn: Txn, user_id: UserID) -> None:
    """Forget the list of somebody elsewhere, and their cross-signing keys."""
    txn.run("DELETE FROM remote_devices WHERE user_id = ?", (user_id,))
    txn.run("DELETE FROM cross_signing_keys WHERE user_id = ?", (user_id,))
    txn.run("DELETE FROM remote_people WHERE user_id = ?", (user_id,))


def find_version(txn: Txn, user_id: UserID) -> int:
    """Find what other servers know as the stream ID of the devices of one of ours.

    Spec: server-server-api#device-management
    """
    row = txn.one("SELECT version FROM key_changes WHERE user_id = ?", (user_id,))
    return 0 if row is None else int(row[0])


def append_received(txn: Txn, origin: ServerName, message_id: str) -> bool:
    """Note a message of another server; False when it was noted before. The oldest are forgotten."""
    row = txn.one("SELECT MAX(number) FROM received_messages WHERE origin = ?", (origin,))
    number = 1 if row is None or row[0] is None else int(row[0]) + 1
    is_new = txn.run(
        "INSERT INTO received_messages (origin, message_id, number) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (origin, message_id, number),
    )
    if is_new:
        txn.run("DELETE FROM received_messages WHERE origin = ? AND number <= ?", (origin, number - MOST_REMEMBERED))
    return is_new == 1


def _set_cross_signing(txn: Txn, user_id: UserID, new: Sequence[CrossSigningKey], *, whole: bool) -> bool:
    """Keep those that differ; `whole`: others than these are no more. Whether any does."""
    before = {key.usage: key for key in keys.load_cross_signing_keys(txn, [user_id])}
    differing = [key for key in new if key.usage not in before or before[key.usage].key != key.key]
    masters = {key.public_key for key in (*new, *before.values()) if key.usage == "master"}
    whole |= len(masters) > 1  # what another master key has signed is nothing to the new one
    for key in differing:
        keys.set_cross_signing_key(txn, key)
    gone = [key for usage, key in before.items() if whole and usage not in {each.usage for each in new}]
    for key in gone:
        keys.remove_signatures(txn, user_id, key.public_key)
        txn.run("DELETE FROM cross_signing_keys WHERE user_id = ? AND usage = ?", (user_id, key.usage))
    return bool(differing or gone)
