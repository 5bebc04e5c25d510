"""Tables of accounts: who has one here, how they prove it, and who may still make one.

Sessions of an account lie in `sessions`, its devices in `devices`, its profile in `profiles`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from federation.ids import UserID
from homeserver.storage.changes import SessionsEnded
from homeserver.storage.database import Txn
from homeserver.storage.devices import remove_made_by
from homeserver.storage.names import renew_words

Kind: TypeAlias = Literal["user", "guest", "appservice", "server"]
Propagation: TypeAlias = Literal["profile", "departure"]

_USABLE = (
    "SELECT 1 FROM registration_tokens WHERE token = ? AND (uses_allowed IS NULL OR used < uses_allowed)"
    " AND (expires_ms IS NULL OR expires_ms > ?)"
)
_ACCOUNT = (
    "SELECT user_id, kind, password_hash, admin, locked_ms, suspended_ms, deactivated_ms, erased_ms, appservice_id"
    " FROM users"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account as it stands; `password_hash` is None when there is no login by password, `service_id` when it is not
    an application service's.
    """

    user_id: UserID
    kind: Kind
    password_hash: str | None
    admin: bool
    locked: bool
    suspended: bool
    deactivated: bool
    erased: bool
    service_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """What an account begins with; `service_id` is the application service it belongs to."""

    user_id: UserID
    created_ms: int
    kind: Kind = "user"
    password_hash: str | None = None
    admin: bool = False
    service_id: str | None = None


def find_account(txn: Txn, user_id: UserID) -> Account | None:
    """Find an account, deactivated ones included."""
    row = txn.one(f"{_ACCOUNT} WHERE user_id = ?", (user_id,))
    return None if row is None else _account(row)


def load_accounts(txn: Txn, after: str, limit: int) -> list[Account]:
    """Load a page of all accounts, in the order of their IDs, from behind `after`."""
    rows = txn.all(f"{_ACCOUNT} WHERE user_id > ? ORDER BY user_id LIMIT ?", (after, limit))
    return [_account(row) for row in rows]


def load_active(txn: Txn, user_ids: Iterable[UserID]) -> list[UserID]:
    """Load which of these people have an account here that is not deactivated."""
    rows = txn.all_in("SELECT user_id FROM users WHERE user_id {in} AND deactivated_ms IS NULL", user_ids)
    return [UserID(user_id) for (user_id,) in rows]


def load_guests(txn: Txn, user_ids: Iterable[UserID]) -> list[UserID]:
    """Those of these people who are guests."""
    rows = txn.all_in("SELECT user_id FROM users WHERE user_id {in} AND kind = 'guest'", user_ids)
    return [UserID(user_id) for (user_id,) in rows]


def load_erased(txn: Txn, user_ids: Iterable[UserID]) -> frozenset[UserID]:
    """Those of these people who were erased."""
    rows = txn.all_in("SELECT user_id FROM users WHERE user_id {in} AND erased_ms IS NOT NULL", user_ids)
    return frozenset(UserID(user_id) for (user_id,) in rows)


def append_account(txn: Txn, new: NewAccount) -> bool:
    """Add an account; False, and nothing is added, when the user ID is or ever was taken."""
    sql = (
        "INSERT INTO users (user_id, kind, password_hash, admin, appservice_id, created_ms) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (user_id) DO NOTHING"
    )
    row = (new.user_id, new.kind, new.password_hash, int(new.admin), new.service_id, new.created_ms)
    if txn.run(sql, row) != 1:
        return False
    renew_words(txn, new.user_id)
    return True


def upgrade_guest(txn: Txn, new: NewAccount) -> bool:
    """Make a guest's account that of a person; False when it is no guest's (any more)."""
    sql = "UPDATE users SET kind = ?, password_hash = ? WHERE user_id = ? AND kind = 'guest' AND deactivated_ms IS NULL"
    if txn.run(sql, (new.kind, new.password_hash, new.user_id)) != 1:
        return False
    renew_words(txn, new.user_id)
    _tell(txn, new.user_id)
    return True


def set_password(txn: Txn, user_id: UserID, password_hash: str | None) -> None:
    """Replace the hash of the password."""
    txn.run("UPDATE users SET password_hash = ? WHERE user_id = ?", (password_hash, user_id))


def set_kind(txn: Txn, user_id: UserID, kind: Kind) -> None:
    """Make it an account of another kind; its sessions are looked up again."""
    txn.run("UPDATE users SET kind = ? WHERE user_id = ?", (kind, user_id))
    renew_words(txn, user_id)
    _tell(txn, user_id)


def set_admin(txn: Txn, user_id: UserID, admin: bool) -> None:
    """Give or take the powers of an administrator of the server; its sessions are looked up again.

    With the powers go the sessions in which it is somebody else.
    """
    txn.run("UPDATE users SET admin = ? WHERE user_id = ?", (int(admin), user_id))
    if not admin:
        remove_made_by(txn, user_id)
    _tell(txn, user_id)


def set_locked(txn: Txn, user_id: UserID, since_ms: int | None) -> None:
    """Lock the account, or unlock it (None); its sessions stay, but are looked up again. Those in which an operator is
    somebody else are over.

    Spec: client-server-api#account-locking
    """
    txn.run("UPDATE users SET locked_ms = ? WHERE user_id = ?", (since_ms, user_id))
    if since_ms is not None:
        remove_made_by(txn, user_id)
    _tell(txn, user_id)


def set_suspended(txn: Txn, user_id: UserID, since_ms: int | None) -> None:
    """Suspend the account, or let it act again (None); as `set_locked` does.

    Spec: client-server-api#account-suspension
    """
    txn.run("UPDATE users SET suspended_ms = ? WHERE user_id = ?", (since_ms, user_id))
    if since_ms is not None:
        remove_made_by(txn, user_id)
    _tell(txn, user_id)


def set_deactivated(txn: Txn, user_id: UserID, at_ms: int, *, erase: bool) -> None:
    """Close the account for good: its password is forgotten, its user ID stays taken.

    Spec: client-server-api#post_matrixclientv3accountdeactivate
    """
    txn.run(
        "UPDATE users SET password_hash = NULL, admin = 0, deactivated_ms = COALESCE(deactivated_ms, ?),"
        " erased_ms = COALESCE(erased_ms, ?) WHERE user_id = ?",
        (at_ms, at_ms if erase else None, user_id),
    )
    remove_made_by(txn, user_id)
    renew_words(txn, user_id)
    _tell(txn, user_id)


def append_registration_token(
    txn: Txn, token: str, *, uses_allowed: int | None, created_ms: int, expires_ms: int | None
) -> bool:
    """Add a registration token; False, and nothing is added, when there is one of that text."""
    sql = (
        "INSERT INTO registration_tokens (token, uses_allowed, created_ms, expires_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (token) DO NOTHING"
    )
    return txn.run(sql, (token, uses_allowed, created_ms, expires_ms)) == 1


def is_registration_token_usable(txn: Txn, token: str, now_ms: int) -> bool:
    """Tell whether an account could now be made with that token."""
    return txn.one(_USABLE, (token, now_ms)) is not None


def take_registration_token(txn: Txn, token: str, now_ms: int) -> bool:
    """Use a registration token once; False when it cannot be used (any more)."""
    if not is_registration_token_usable(txn, token, now_ms):
        return False
    return txn.run("UPDATE registration_tokens SET used = used + 1 WHERE token = ?", (token,)) == 1


def append_propagation(txn: Txn, user_id: UserID, what: Propagation) -> int:
    """Note that the person's rooms have yet to learn of a change; gives the number to settle it by."""
    number = txn.position()
    txn.run(
        "INSERT INTO propagations (user_id, what, position) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id, what) DO UPDATE SET position = excluded.position",
        (user_id, what, number),
    )
    return number


def find_propagation(txn: Txn, user_id: UserID, what: Propagation) -> int | None:
    """Find the number of a change that the person's rooms have yet to learn of."""
    row = txn.one("SELECT position FROM propagations WHERE user_id = ? AND what = ?", (user_id, what))
    return None if row is None else int(row[0])


def remove_propagation(txn: Txn, user_id: UserID, what: Propagation, number: int) -> None:
    """Note that the person's rooms have learned of the change with that number; a later one stays."""
    txn.run("DELETE FROM propagations WHERE user_id = ? AND what = ? AND position = ?", (user_id, what, number))


def load_propagations(txn: Txn, limit: int) -> list[tuple[UserID, Propagation, int]]:
    """Load the oldest changes that rooms have yet to learn of: `(user, what, number)`."""
    rows = txn.all("SELECT user_id, what, position FROM propagations ORDER BY position LIMIT ?", (limit,))
    return [(UserID(user_id), cast("Propagation", what), number) for user_id, what, number in rows]


def _account(row: tuple[object, ...]) -> Account:
    user_id, kind, password_hash, admin, locked, suspended, deactivated, erased, service_id = row
    return Account(
        user_id=UserID(cast("str", user_id)),
        kind=cast("Kind", kind),
        password_hash=cast("str | None", password_hash),
        admin=bool(admin),
        locked=locked is not None,
        suspended=suspended is not None,
        deactivated=deactivated is not None,
        erased=erased is not None,
        service_id=cast("str | None", service_id),
    )


def _tell(txn: Txn, user_id: UserID) -> None:
    txn.tell(SessionsEnded(position=txn.position(), user_id=user_id, device_id=None))
