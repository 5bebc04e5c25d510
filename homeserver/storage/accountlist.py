"""Accounts as operators see them: listed, found and sorted, with what is kept of each."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, cast

from federation.ids import UserID
from homeserver.storage.accounts import Kind
from homeserver.storage.database import Row, Txn
from homeserver.storage.patterns import containing

_LAST_SEEN: Final = "(SELECT MAX(d.last_seen_ms) FROM devices d WHERE d.user_id = u.user_id)"
_SELECT: Final = (
    "SELECT u.user_id, u.kind, u.admin, u.user_type, u.appservice_id, u.created_ms, u.locked_ms, u.suspended_ms,"
    f" u.deactivated_ms, u.erased_ms, p.displayname, p.avatar_url, {_LAST_SEEN}"
)
_FROM: Final = "FROM users u LEFT JOIN profiles p ON p.user_id = u.user_id WHERE u.kind <> 'server'"
ORDERS: Final = {
    "name": "u.user_id",
    "is_guest": "CASE WHEN u.kind = 'guest' THEN 1 ELSE 0 END",
    "admin": "u.admin",
    "user_type": "COALESCE(u.user_type, '')",
    "deactivated": "CASE WHEN u.deactivated_ms IS NULL THEN 0 ELSE 1 END",
    "locked": "CASE WHEN u.locked_ms IS NULL THEN 0 ELSE 1 END",
    "suspended": "CASE WHEN u.suspended_ms IS NULL THEN 0 ELSE 1 END",
    "shadow_banned": "u.admin * 0",
    "displayname": "COALESCE(p.displayname, '')",
    "avatar_url": "COALESCE(p.avatar_url, '')",
    "creation_ts": "u.created_ms",
    "last_seen_ts": f"COALESCE({_LAST_SEEN}, 0)",
}
"""By what accounts may be sorted; equals are in the order of their IDs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRecord:
    """An account with all that operators are told of it."""

    user_id: UserID
    kind: Kind
    admin: bool
    user_type: str | None
    appservice_id: str | None
    created_ms: int
    locked: bool
    suspended: bool
    deactivated: bool
    erased: bool
    displayname: str | None
    avatar_url: str | None
    last_seen_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountQuery:
    """Which accounts, in which order; None and empty stand for no condition.

    `name` is in the localpart or the display name, `user_id` in the user ID; `without_types` are user types to leave
    out, "" being that of accounts without one.
    """

    name: str | None = None
    user_id: str | None = None
    guests: bool | None = None
    admins: bool | None = None
    deactivated: bool | None = None
    locked: bool | None = None
    without_types: Collection[str] = ()
    order: str = "name"
    backwards: bool = False
    start: int = 0
    limit: int = 100


def find_record(txn: Txn, user_id: str) -> AccountRecord | None:
    """The account of that user ID; that of the server itself is nobody's."""
    row = txn.one(f"{_SELECT} {_FROM} AND u.user_id = ?", (user_id,))
    return None if row is None else _read(row)


def load_records(txn: Txn, query: AccountQuery) -> tuple[list[AccountRecord], int]:
    """A page of the accounts, and how many there are on all pages."""
    where, params = _conditions(query)
    direction = "DESC" if query.backwards else "ASC"
    second = "" if query.order == "name" else ", u.user_id"
    rows = txn.all(
        f"{_SELECT} {_FROM}{where} ORDER BY {ORDERS[query.order]} {direction}{second} LIMIT ? OFFSET ?",
        (*params, query.limit, query.start),
    )
    total = txn.one(f"SELECT COUNT(*) {_FROM}{where}", params)
    return [_read(row) for row in rows], 0 if total is None else int(total[0])


def set_user_type(txn: Txn, user_id: UserID, user_type: str | None) -> None:
    """Say of what type an account is."""
    txn.run("UPDATE users SET user_type = ? WHERE user_id = ?", (user_type, user_id))


def count_invitations(txn: Txn, user_id: UserID, since_ms: int) -> int:
    """How many invitations a person has sent since a time, in the rooms they are or were in."""
    row = txn.one(
        "SELECT COUNT(*) FROM memberships m JOIN events e ON e.room_nid = m.room_nid AND e.type = 'm.room.member'"
        " AND e.state_key IS NOT NULL WHERE m.user_id = ? AND e.sender = ? AND e.membership = 'invite'"
        " AND e.origin_server_ts >= ?",
        (user_id, user_id, since_ms),
    )
    return 0 if row is None else int(row[0])


def count_rooms_joined(txn: Txn, user_id: UserID, since_ms: int) -> int:
    """How many rooms a person of this server has joined since a time, left or not."""
    row = txn.one(
        "SELECT COUNT(DISTINCT c.room_nid) FROM membership_changes c JOIN events e ON e.nid = c.event_nid"
        " WHERE c.user_id = ? AND c.membership = 'join' AND e.origin_server_ts >= ?",
        (user_id, since_ms),
    )
    return 0 if row is None else int(row[0])


def _conditions(query: AccountQuery) -> tuple[str, list[object]]:
    conditions: list[str] = []
    params: list[object] = []
    if query.name:
        conditions.append(
            "(substr(u.user_id, 2) LIKE ? ESCAPE '\\' OR p.displayname LIKE ? ESCAPE '\\' OR EXISTS"
            " (SELECT 1 FROM name_words w WHERE w.user_id = u.user_id AND w.word LIKE ? ESCAPE '\\'))"
        )
        localpart = containing(query.name.lower())[:-1] + "%:%"
        params += [localpart, containing(query.name), containing(query.name.casefold())]
    elif query.user_id:
        conditions.append("u.user_id LIKE ? ESCAPE '\\'")
        params.append(containing(query.user_id.lower()))
    for wanted, test in (
        (query.guests, "u.kind = 'guest'"),
        (query.admins, "u.admin = 1"),
        (query.deactivated, "u.deactivated_ms IS NOT NULL"),
        (query.locked, "u.locked_ms IS NOT NULL"),
    ):
        if wanted is not None:
            conditions.append(test if wanted else f"NOT ({test})")
    for user_type in query.without_types:
        conditions.append("COALESCE(u.user_type, '') <> ?")
        params.append(user_type)
    return "".join(f" AND {condition}" for condition in conditions), params


def _read(row: Row) -> AccountRecord:
    user_id, kind, admin, user_type, appservice_id, created_ms, *rest = row
    locked, suspended, deactivated, erased, displayname, avatar_url, last_seen_ms = rest
    return AccountRecord(
        user_id=UserID(user_id),
        kind=cast("Kind", kind),
        admin=bool(admin),
        user_type=user_type,
        appservice_id=appservice_id,
        created_ms=created_ms,
        locked=locked is not None,
        suspended=suspended is not None,
        deactivated=deactivated is not None,
        erased=erased is not None,
        displayname=displayname,
        avatar_url=avatar_url,
        last_seen_ms=last_seen_ms,
    )
