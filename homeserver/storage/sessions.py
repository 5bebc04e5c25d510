"""Tables of tokens: which access and refresh tokens stand for which device of whom.

A token is only ever seen here as its hash. Every change that makes a known session untrue tells `SessionsEnded`.

Spec: client-server-api#relationship-between-access-tokens-and-devices
"""

from dataclasses import dataclass
from typing import cast

from federation.ids import DeviceID, UserID
from homeserver.storage.accounts import Kind
from homeserver.storage.changes import SessionsEnded
from homeserver.storage.database import Txn


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """The hashes of an access token and its refresh token; what is None does not exist or expire."""

    access: bytes
    access_expires_ms: int | None
    refresh: bytes | None
    refresh_expires_ms: int | None
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """What an access token stands for; `fresh_refresh` is its refresh token's hash while neither was used yet."""

    user_id: UserID
    device_id: DeviceID
    kind: Kind
    admin: bool
    locked: bool
    suspended: bool
    expires_ms: int | None
    fresh_refresh: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRow:
    """Whose session a refresh token carries on, and until when it may."""

    user_id: UserID
    device_id: DeviceID
    locked: bool
    expires_ms: int


def find_session(txn: Txn, access: bytes) -> SessionRow | None:
    """Find what an access token stands for, also when it has expired."""
    row = txn.one(
        "SELECT t.user_id, t.device_id, u.kind, u.admin, u.locked_ms, u.suspended_ms, t.expires_ms,"
        " CASE WHEN r.replaces IS NULL THEN NULL ELSE r.token_hash END"
        " FROM access_tokens t JOIN users u ON u.user_id = t.user_id"
        " LEFT JOIN refresh_tokens r ON r.token_hash = t.refresh_hash WHERE t.token_hash = ?",
        (access,),
    )
    if row is None:
        return None
    user_id, device_id, kind, admin, locked, suspended, expires_ms, fresh_refresh = row
    return SessionRow(
        user_id=UserID(user_id),
        device_id=DeviceID(device_id),
        kind=cast("Kind", kind),
        admin=bool(admin),
        locked=locked is not None,
        suspended=suspended is not None,
        expires_ms=expires_ms,
        fresh_refresh=fresh_refresh,
    )


def find_refresh(txn: Txn, refresh: bytes) -> RefreshRow | None:
    """Find whose session a refresh token carries on, also when it has expired."""
    row = txn.one(
        "SELECT r.user_id, r.device_id, u.locked_ms, r.expires_ms FROM refresh_tokens r"
        " JOIN users u ON u.user_id = r.user_id WHERE r.token_hash = ?",
        (refresh,),
    )
    if row is None:
        return None
    user_id, device_id, locked, expires_ms = row
    return RefreshRow(
        user_id=UserID(user_id), device_id=DeviceID(device_id), locked=locked is not None, expires_ms=expires_ms
    )


def append_tokens(
    txn: Txn, user_id: UserID, device_id: DeviceID, tokens: TokenPair, replaces: bytes | None = None
) -> None:
    """Give a device tokens; `replaces` is the refresh token they are given out for."""
    if tokens.refresh is not None:
        txn.run(
            "INSERT INTO refresh_tokens (token_hash, user_id, device_id, replaces, created_ms, expires_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (tokens.refresh, user_id, device_id, replaces, tokens.created_ms, tokens.refresh_expires_ms),
        )
    txn.run(
        "INSERT INTO access_tokens (token_hash, user_id, device_id, refresh_hash, created_ms, expires_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (tokens.access, user_id, device_id, tokens.refresh, tokens.created_ms, tokens.access_expires_ms),
    )


def remove_tokens(txn: Txn, user_id: UserID, device_id: DeviceID) -> None:
    """Revoke all tokens of a device, which stays."""
    removed = txn.run("DELETE FROM access_tokens WHERE user_id = ? AND device_id = ?", (user_id, device_id))
    removed += txn.run("DELETE FROM refresh_tokens WHERE user_id = ? AND device_id = ?", (user_id, device_id))
    if removed:
        _tell(txn, user_id, device_id)


def settle_refresh(txn: Txn, refresh: bytes) -> bool:
    """Take a refresh token as received by the client: what it replaces is revoked. False when it no longer exists.

    Spec: client-server-api#refreshing-access-tokens
    """
    row = txn.one("SELECT user_id, device_id, replaces FROM refresh_tokens WHERE token_hash = ?", (refresh,))
    if row is None:
        return False
    user_id, device_id, replaced = row
    if replaced is not None:
        txn.run("UPDATE refresh_tokens SET replaces = NULL WHERE token_hash = ?", (refresh,))
        _remove_pair(txn, replaced)
        _tell(txn, user_id, device_id)
    return True


def remove_unreceived(txn: Txn, refresh: bytes) -> None:
    """Revoke what was given out for a refresh token and never used: the client asks again, so it got nothing."""
    rows = txn.all("SELECT token_hash, user_id, device_id FROM refresh_tokens WHERE replaces = ?", (refresh,))
    for token_hash, user_id, device_id in rows:
        _remove_pair(txn, token_hash)
        _tell(txn, user_id, device_id)


def _remove_pair(txn: Txn, refresh: bytes) -> None:
    """Remove a refresh token and the access token that was given out with it."""
    txn.run("DELETE FROM access_tokens WHERE refresh_hash = ?", (refresh,))
    txn.run("DELETE FROM refresh_tokens WHERE token_hash = ?", (refresh,))


def _tell(txn: Txn, user_id: UserID, device_id: DeviceID) -> None:
    txn.tell(SessionsEnded(position=txn.position(), user_id=user_id, device_id=device_id))
