"""OpenID tokens: by one a person proves to another service who they are; it opens nothing here.

Spec: client-server-api#openid
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from federation.errors import Refused
from federation.ids import UserID
from homeserver.accounts.tokens import Mint, hash_token
from homeserver.policy import Policy, ProveIdentity
from homeserver.storage.database import Database, Txn
from homeserver.storage.openid import append_openid_token, find_openid_owner

LIFETIME_MS: Final = 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIDToken:
    """A fresh token."""

    token: str
    expires_in_ms: int


class OpenIDTokens:
    """Gives out tokens, and tells whose they are."""

    def __init__(self, database: Database, policy: Policy, mint: Mint, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._policy = policy
        self._mint = mint
        self._now_ms = now_ms

    async def make(self, asker: UserID, user_id: UserID) -> OpenIDToken:
        """A token for oneself.

        Raises: Refused for anybody else's, and where the policy lets nobody prove to others who they are.
        Spec: client-server-api#post_matrixclientv3useruseridopenidrequest_token
        """
        if asker != user_id:
            raise Refused("openid", "That is somebody else")
        await self._policy.check(ProveIdentity(by=asker))
        token, now_ms = self._mint.secret(), self._now_ms()
        await self._database.write(_append, hash_token(token), user_id, now_ms)
        return OpenIDToken(token=token, expires_in_ms=LIFETIME_MS)

    async def find_owner(self, token: str) -> UserID | None:
        """Whose token it is, None for one that is or was nobody's.

        Spec: server-server-api#openid
        """
        return await self._database.read(find_openid_owner, hash_token(token), self._now_ms())


def _append(txn: Txn, token_hash: bytes, user_id: UserID, now_ms: int) -> None:
    append_openid_token(txn, token_hash, user_id, now_ms=now_ms, expires_ms=now_ms + LIFETIME_MS)
