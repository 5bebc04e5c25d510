"""The table of OpenID tokens, by which people prove to other services who they are.

Spec: client-server-api#openid
"""

from federation.ids import UserID
from homeserver.storage.database import Txn


def append_openid_token(txn: Txn, token_hash: bytes, user_id: UserID, *, now_ms: int, expires_ms: int) -> None:
    """Keep a token until it expires; the person's expired ones go."""
    txn.run("DELETE FROM openid_tokens WHERE user_id = ? AND expires_ms <= ?", (user_id, now_ms))
    txn.run(
        "INSERT INTO openid_tokens (token_hash, user_id, expires_ms) VALUES (?, ?, ?)",
        (token_hash, user_id, expires_ms),
    )


def find_openid_owner(txn: Txn, token_hash: bytes, now_ms: int) -> UserID | None:
    """Whose token it is, if it has not expired and its owner's account is neither closed nor locked."""
    row = txn.one(
        "SELECT users.user_id FROM openid_tokens JOIN users ON users.user_id = openid_tokens.user_id"
        " WHERE token_hash = ? AND expires_ms > ? AND deactivated_ms IS NULL AND locked_ms IS NULL",
        (token_hash, now_ms),
    )
    return None if row is None else UserID(row[0])
