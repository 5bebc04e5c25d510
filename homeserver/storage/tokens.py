"""Registration tokens as operators see them: listed, made, changed and removed.

How one is used up lies in `accounts`.

Spec: client-server-api#token-authenticated-registration
"""

from typing import NamedTuple

from homeserver.storage.database import Txn

_SELECT = "SELECT token, uses_allowed, used, expires_ms FROM registration_tokens"
_VALID = "(uses_allowed IS NULL OR used < uses_allowed) AND (expires_ms IS NULL OR expires_ms > ?)"


class RegistrationToken(NamedTuple):
    """A token, how often it may be used (None: without end), how often it was, and until when."""

    token: str
    uses_allowed: int | None
    used: int
    expires_ms: int | None


def load_registration_tokens(txn: Txn, valid: bool | None, now_ms: int) -> list[RegistrationToken]:
    """All tokens, or those that can be used, or those that cannot (any more)."""
    if valid is None:
        rows = txn.all(f"{_SELECT} ORDER BY token")
    else:
        rows = txn.all(f"{_SELECT} WHERE {'' if valid else 'NOT '}({_VALID}) ORDER BY token", (now_ms,))
    return [RegistrationToken(*row) for row in rows]


def find_registration_token(txn: Txn, token: str) -> RegistrationToken | None:
    """The token of that text."""
    row = txn.one(f"{_SELECT} WHERE token = ?", (token,))
    return None if row is None else RegistrationToken(*row)


def set_registration_token(txn: Txn, changed: RegistrationToken) -> None:
    """Say anew how often and until when a token may be used."""
    sql = "UPDATE registration_tokens SET uses_allowed = ?, expires_ms = ? WHERE token = ?"
    txn.run(sql, (changed.uses_allowed, changed.expires_ms, changed.token))


def remove_registration_token(txn: Txn, token: str) -> bool:
    """Remove a token; False when there is none of that text."""
    return txn.run("DELETE FROM registration_tokens WHERE token = ?", (token,)) == 1
