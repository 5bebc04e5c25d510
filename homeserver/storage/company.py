"""With whom a person shares encrypted rooms, and how that changed since a position: whose keys their devices keep.

Spec: client-server-api#tracking-the-device-list-for-a-user
"""

from collections.abc import Collection
from typing import NamedTuple

from federation.ids import UserID
from homeserver.storage.database import Txn
from homeserver.storage.keys import load_changed
from homeserver.storage.members import load_memberships
from homeserver.storage.sync import Stay, has_stayed, load_confidants, load_stays

_FAR = (1 << 62) - 1


class Company(NamedTuple):
    """Those with whom a person shares an encrypted room now and did not, and those with whom they did and perhaps do
    no more: see :func:`load_confidants`.
    """

    met: set[UserID]
    lost: set[UserID]


def is_encrypted(txn: Txn, room_nid: int, upto: int) -> bool:
    """Tell whether a room was encrypted at a position: no room ceases to be."""
    sql = (
        "SELECT 1 FROM state_changes WHERE room_nid = ? AND type = 'm.room.encryption' AND state_key = ''"
        " AND stream <= ? LIMIT 1"
    )
    return txn.one(sql, (room_nid, upto)) is not None


def load_company_at(txn: Txn, room_nid: int, upto: int) -> set[UserID]:
    """Load who was in a room at a position, if it was encrypted then; else nobody."""
    if not is_encrypted(txn, room_nid, upto):
        return set()
    rows = txn.all("SELECT user_id, membership, stream FROM memberships WHERE room_nid = ?", (room_nid,))
    moved = [user_id for user_id, _, stream in rows if stream > upto]
    stayed = {UserID(user_id) for user_id, membership, stream in rows if stream <= upto and membership == "join"}
    return stayed | _load_joined_at(txn, room_nid, upto, moved)


def load_company(txn: Txn, room_nid: int, user_id: UserID, since: int, upto: int) -> Company:
    """Load how the company changed, above one position and not above another, that a person has in a room they were
    in all the while. Who left and came back meanwhile is met: their keys may have changed unseen.
    """
    if not is_encrypted(txn, room_nid, upto):
        return Company(set(), set())
    if not is_encrypted(txn, room_nid, since):
        return Company(load_company_at(txn, room_nid, upto) - {user_id}, set())
    rows = txn.all(
        "SELECT c.state_key, e.membership FROM state_changes c LEFT JOIN events e ON e.nid = c.event_nid"
        " WHERE c.room_nid = ? AND c.type = 'm.room.member' AND c.stream > ? AND c.stream <= ? AND c.state_key <> ?"
        " ORDER BY c.stream",
        (room_nid, since, upto, user_id),
    )
    now = {UserID(other): membership == "join" for other, membership in rows}
    before = _load_joined_at(txn, room_nid, since, list(now))
    absent = {other for other, membership in rows if membership != "join"}
    met = {other for other, joined in now.items() if joined and (other not in before or other in absent)}
    return Company(met, {other for other in before if not now[other]})


def load_key_changes(txn: Txn, user_id: UserID, since: int) -> tuple[set[UserID], set[UserID]]:
    """Load for whom a person's devices have to ask again since a position, and whom they may forget.

    Spec: client-server-api#get_matrixclientv3keyschanges
    """
    changed, lost = load_changed(txn, user_id, since), set[UserID]()
    moves: dict[int, list[Stay]] = {}
    for stay in load_stays(txn, user_id, since, _FAR):
        moves.setdefault(stay.room_nid, []).append(stay)
    moved = {room_nid: stays for room_nid, stays in moves.items() if not has_stayed(stays)}
    for room_nid, stays in moved.items():
        if stays[0].was_joined:
            lost |= load_company_at(txn, room_nid, since)
        if stays[-1].membership == "join":
            changed |= load_company_at(txn, room_nid, _FAR) - {user_id}
    rooms = [found.room_nid for found in load_memberships(txn, user_id, membership="join")]
    for room_nid in load_stirred(txn, rooms, since, _FAR) - moved.keys():
        company = load_company(txn, room_nid, user_id, since, _FAR)
        changed |= company.met
        lost |= company.lost
    lost -= load_confidants(txn, user_id, lost) | {user_id}
    return changed - lost, lost


def load_stirred(txn: Txn, room_nids: Collection[int], since: int, upto: int) -> set[int]:
    """Load in which of some rooms the company of members may have changed above one position and not above another."""
    rows = txn.all_in(
        "SELECT DISTINCT room_nid FROM state_changes WHERE room_nid {in} AND stream > ? AND stream <= ?"
        " AND type IN ('m.room.member', 'm.room.encryption')",
        room_nids,
        (since, upto),
    )
    return {int(room_nid) for (room_nid,) in rows}


def _load_joined_at(txn: Txn, room_nid: int, upto: int, people: Collection[str]) -> set[UserID]:
    """Those of some people who were in a room at a position."""
    rows = txn.all_in(
        "SELECT c.state_key, c.stream, e.membership FROM state_changes c LEFT JOIN events e ON e.nid = c.event_nid"
        " WHERE c.state_key {in} AND c.room_nid = ? AND c.type = 'm.room.member' AND c.stream <= ?",
        people,
        (room_nid, upto),
    )
    rows.sort(key=lambda row: int(row[1]))
    last = {UserID(other): membership for other, _, membership in rows}
    return {other for other, membership in last.items() if membership == "join"}
