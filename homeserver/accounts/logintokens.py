"""Login tokens: somebody who is signed in lets themselves in on another device, once and within two minutes.

Spec: client-server-api#post_matrixclientv1loginget_token
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from federation.errors import Refused
from federation.ids import DeviceID, UserID
from homeserver.accounts.login import DeviceWish, begin_session
from homeserver.accounts.sessions import AccountLocked
from homeserver.accounts.tokens import Grant, Mint, Tokens, hash_token
from homeserver.policy import LogIn, Policy
from homeserver.storage import accounts, logintokens
from homeserver.storage.database import Database, Txn

LIFETIME_MS: Final = 120_000


class WrongToken(Refused):
    """The token lets nobody in, or not any more."""

    def __init__(self) -> None:
        super().__init__("login", "The login token is not valid")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A session that a token is to begin."""

    user_id: UserID
    token_hash: bytes
    device_id: DeviceID
    device_name: str | None
    now_ms: int


class LoginTokens:
    """Gives out login tokens, and lets in who shows one."""

    def __init__(self, database: Database, policy: Policy, mint: Mint, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._policy = policy
        self._mint = mint
        self._now_ms = now_ms

    async def make(self, user_id: UserID) -> str:
        """A token for somebody who has just proved who they are; it lives for `LIFETIME_MS`.

        Raises: Refused where the policy lets the person begin no session.
        """
        await self._policy.check(LogIn(by=user_id))
        token = self._mint.secret()
        await self._database.write(_append, hash_token(token), user_id, self._now_ms())
        return token

    async def log_in(self, token: str, wish: DeviceWish) -> Grant:
        """Begin a session with a token, and use it up.

        Raises:
            WrongToken: It lets nobody in.
            AccountLocked: An administrator has locked the account.
            Refused: The policy does not let the person in, or the device ID is a key's.

        Spec: client-server-api#post_matrixclientv3login
        """
        token_hash, now_ms = hash_token(token), self._now_ms()
        user_id = await self._database.read(logintokens.find_login_token, token_hash, now_ms)
        if user_id is None:
            raise WrongToken
        await self._policy.check(LogIn(by=user_id))
        tokens = self._mint.tokens(refreshable=wish.refreshable)
        entry = _Entry(
            user_id=user_id,
            token_hash=token_hash,
            device_id=wish.device_id or self._mint.device_id(),
            device_name=wish.display_name,
            now_ms=now_ms,
        )
        await self._database.write(_let_in, entry, tokens)
        return self._mint.grant(user_id, entry.device_id, tokens)


def _append(txn: Txn, token_hash: bytes, user_id: UserID, now_ms: int) -> None:
    logintokens.append_login_token(txn, token_hash, user_id, now_ms=now_ms, expires_ms=now_ms + LIFETIME_MS)


def _let_in(txn: Txn, entry: _Entry, tokens: Tokens) -> None:
    """The unit of a login by token."""
    account = accounts.find_account(txn, entry.user_id)
    if account is None or account.deactivated or not logintokens.take_login_token(txn, entry.token_hash, entry.now_ms):
        raise WrongToken
    if account.locked:
        raise AccountLocked
    begin_session(txn, entry.user_id, entry.device_id, entry.device_name, tokens)
