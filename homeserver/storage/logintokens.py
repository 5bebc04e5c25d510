"""The table of login tokens, by which a person lets themselves in on another device.

Spec: client-server-api#post_matrixclientv1loginget_token
"""

from federation.ids import UserID
from homeserver.storage.database import Txn


def append_login_token(txn: Txn, token_hash: bytes, user_id: UserID, *, now_ms: int, expires_ms: int) -> None:
    """Keep a token until it expires; all that have expired go."""
    txn.run("DELETE FROM login_tokens WHERE expires_ms <= ?", (now_ms,))
    txn.run(
        "INSERT INTO login_tokens (token_hash, user_id, expires_ms) VALUES (?, ?, ?)", (token_hash, user_id, expires_ms)
    )


def find_login_token(txn: Txn, token_hash: bytes, now_ms: int) -> UserID | None:
    """Find whom a token lets in, None when it is nobody's or has expired."""
    row = txn.one("SELECT user_id FROM login_tokens WHERE token_hash = ? AND expires_ms > ?", (token_hash, now_ms))
    return None if row is None else UserID(row[0])


def take_login_token(txn: Txn, token_hash: bytes, now_ms: int) -> bool:
    """Use a token up; False when it lets nobody in (any more)."""
    return txn.run("DELETE FROM login_tokens WHERE token_hash = ? AND expires_ms > ?", (token_hash, now_ms)) == 1


def remove_login_tokens(txn: Txn, user_id: UserID) -> None:
    """Revoke all tokens of a person."""
    txn.run("DELETE FROM login_tokens WHERE user_id = ?", (user_id,))
