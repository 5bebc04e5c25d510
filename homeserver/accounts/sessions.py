"""Sessions: whom an access token stands for. The hottest question of the server, answered from memory.

Spec: client-server-api#using-access-tokens
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from federation.ids import DeviceID, UserID
from homeserver.accounts.tokens import Grant, Mint, Tokens, hash_token
from homeserver.policy import LogIn, Policy
from homeserver.storage import devices, sessions
from homeserver.storage.accounts import Kind
from homeserver.storage.changes import SessionsEnded
from homeserver.storage.database import Change, Database, Txn

NO_DEVICE: Final = DeviceID("")
"""In place of a device, where an application service acts for somebody without one."""
KNOWN_SESSIONS: Final = 50_000
"""How many sessions are kept in memory; the one looked up the longest ago goes first."""


class UnknownToken(Exception):
    """The refresh token stands for no session (any more).

    With `soft_logout` the device is still there and may log in again as what it was.

    Spec: client-server-api#soft-logout
    """

    def __init__(self, *, soft_logout: bool) -> None:
        super().__init__("Unknown refresh token")
        self.soft_logout = soft_logout


class AccountLocked(Exception):
    """An administrator has locked the account.

    Spec: client-server-api#account-locking
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A person on a device, as an access token shows it.

    With `soft_logout` the token has expired: it opens nothing, but the device is still there. A `locked` account may
    only log out; a `suspended` one may read but not act. An application service with its own token acts as
    `service_id`, perhaps on `NO_DEVICE`; no rate limit holds for who is `unlimited`.
    """

    user_id: UserID
    device_id: DeviceID
    token_hash: bytes
    kind: Kind = "user"
    admin: bool = False
    locked: bool = False
    suspended: bool = False
    soft_logout: bool = False
    expires_ms: int | None = None
    service_id: str | None = None
    unlimited: bool = False


class Sessions:
    """Finds, carries on and ends sessions.

    What it knows, it forgets when a commit tells `SessionsEnded`: the composition root hands `heed` each commit, as
    `Database.on_commit` brings it. Until it has heeded the last commit it believes nothing it knows.
    """

    def __init__(self, database: Database, policy: Policy, mint: Mint, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._policy = policy
        self._mint = mint
        self._now_ms = now_ms
        self._known: dict[bytes, Session] = {}
        self._of_user: dict[UserID, set[bytes]] = {}
        self._forgettings = 0
        self._heeded = database.position

    @property
    def known(self) -> int:
        """How many sessions are in memory."""
        return len(self._known)

    async def find(self, token: str) -> Session | None:
        """Find the session of an access token; None when it stands for none.

        The first use of a token that came from a refresh revokes what it replaces.
        """
        token_hash = hash_token(token)
        session = self._known.get(token_hash) if self._heeded == self._database.position else None
        if session is None:
            session = await self._load(token_hash)
        if session is not None and session.expires_ms is not None and session.expires_ms <= self._now_ms():
            return replace(session, soft_logout=True)
        return session

    async def refresh(self, token: str) -> Grant:
        """Carry a session on with new tokens; the old ones hold until a new one is used.

        Raises:
            UnknownToken: The refresh token is unknown, revoked or too old.
            AccountLocked: An administrator has locked the account.
            Refused: The policy lets the person in no longer.

        Spec: client-server-api#refreshing-access-tokens
        """
        refresh_hash = hash_token(token)
        row = await self._database.read(sessions.find_refresh, refresh_hash)
        if row is None:
            raise UnknownToken(soft_logout=False)
        if row.expires_ms <= self._now_ms():
            raise UnknownToken(soft_logout=True)
        if row.locked:
            raise AccountLocked
        await self._policy.check(LogIn(by=row.user_id))
        tokens = self._mint.tokens(refreshable=True)
        if not await self._database.write(_carry_on, row, refresh_hash, tokens):
            raise UnknownToken(soft_logout=False)
        return self._mint.grant(row.user_id, row.device_id, tokens)

    async def end(self, session: Session) -> None:
        """Log out: the device goes, with its tokens, its keys and the messages that wait for it.

        Spec: client-server-api#post_matrixclientv3logout
        """
        await self._database.write(devices.remove_devices, session.user_id, [session.device_id])

    async def end_all(self, user_id: UserID) -> None:
        """Log a person out everywhere.

        Spec: client-server-api#post_matrixclientv3logoutall
        """
        await self._database.write(devices.remove_all_devices, user_id)

    def heed(self, position: int, changes: Iterable[Change]) -> None:
        """Forget the sessions that a commit has ended or altered."""
        self._heeded = position
        for change in changes:
            if isinstance(change, SessionsEnded):
                self._forget(change)

    async def _load(self, token_hash: bytes) -> Session | None:
        forgettings = self._forgettings
        row = await self._database.read(sessions.find_session, token_hash)
        if row is None:
            return None
        expired = row.expires_ms is not None and row.expires_ms <= self._now_ms()
        if row.fresh_refresh is not None and not expired:
            received = await self._database.write(sessions.settle_refresh, row.fresh_refresh)
            if not received:
                return None
        session = Session(
            user_id=row.user_id,
            device_id=row.device_id,
            token_hash=token_hash,
            kind=row.kind,
            admin=row.admin,
            locked=row.locked,
            suspended=row.suspended,
            expires_ms=row.expires_ms,
        )
        if forgettings == self._forgettings:  # else what was read may be older than what was forgotten
            self._keep(session)
        return session

    def _keep(self, session: Session) -> None:
        if len(self._known) >= KNOWN_SESSIONS:
            self._drop(next(iter(self._known)))
        self._known[session.token_hash] = session
        self._of_user.setdefault(session.user_id, set()).add(session.token_hash)

    def _forget(self, ended: SessionsEnded) -> None:
        self._forgettings += 1
        for token_hash in tuple(self._of_user.get(ended.user_id, ())):
            if ended.device_id in (None, self._known[token_hash].device_id):
                self._drop(token_hash)

    def _drop(self, token_hash: bytes) -> None:
        user_id = self._known.pop(token_hash).user_id
        hashes = self._of_user[user_id]
        hashes.discard(token_hash)
        if not hashes:
            del self._of_user[user_id]


def _carry_on(txn: Txn, row: sessions.RefreshRow, refresh_hash: bytes, tokens: Tokens) -> bool:
    """The unit of a refresh; False when the token was revoked meanwhile."""
    if not sessions.settle_refresh(txn, refresh_hash):
        return False
    sessions.remove_unreceived(txn, refresh_hash)
    sessions.append_tokens(txn, row.user_id, row.device_id, tokens.pair, replaces=refresh_hash)
    return True
