"""How somebody without an account gets one: open to all, by token, as a guest, or not at all.

Spec: client-server-api#account-registration
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from config.settings import Registration as Rules
from federation.errors import BadIdentifier, Refused
from federation.ids import DeviceID, ServerName, UserID, check_localpart, parse_user_id
from homeserver.accounts.login import DeviceWish, begin_session
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.tokens import Grant, Mint, Tokens, hash_token
from homeserver.policy import Conflict, Invalid
from homeserver.storage import accounts, profiles, sessions
from homeserver.storage.accounts import NewAccount
from homeserver.storage.database import Database, Txn
from homeserver.storage.profiles import ProfileRow

DUMMY: Final = "m.login.dummy"
REGISTRATION_TOKEN: Final = "m.login.registration_token"

_FLOWS: Final = {"open": ((DUMMY,),), "invite": ((REGISTRATION_TOKEN,),)}
_RESERVED: Final = "_"
"""What no name that people choose begins with: the region's own account and application services do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """An account to be made (`upgrades`: of a guest's). `token` is the registration token to use up for it,
    `service_id` whose account it is.
    """

    user_id: UserID
    password: str | None = None
    display_name: str | None = None
    admin: bool = False
    upgrades: bool = False
    token: str | None = None
    service_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    """The first session of an account."""

    device_id: DeviceID
    device_name: str | None
    tokens: Tokens


class Registration:
    """Makes accounts, by the rules of the configuration."""

    def __init__(
        self, database: Database, passwords: Passwords, mint: Mint, rules: Rules, server_name: ServerName,
        now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self._database = database
        self._passwords = passwords
        self._mint = mint
        self._rules = rules
        self._server_name = server_name
        self._now_ms = now_ms

    @property
    def flows(self) -> tuple[tuple[str, ...], ...]:
        """What somebody must show to get an account.

        Raises:
            Refused: Accounts are made for people here, not by them.

        Spec: client-server-api#user-interactive-authentication-api
        """
        if self._rules.mode == "closed":
            raise Refused("registration", "Registration is not open here")
        return _FLOWS[self._rules.mode]

    def check_open(self) -> None:
        """Refuse where accounts are made for people, not by them.

        Raises:
            Refused: It is so here.
        """
        _ = self.flows

    def parse_name(self, name: str | None) -> UserID:
        """The user ID that a newcomer of that name would have; without a name one is made up.

        Raises:
            Invalid: Nobody may have that name (M_INVALID_USERNAME), or it is not for people (M_EXCLUSIVE).
        """
        if name is None:
            return UserID(f"@{self._mint.localpart()}:{self._server_name}")
        user_id = build_user_id(name, self._server_name)
        if name.startswith(_RESERVED):
            raise Invalid("M_EXCLUSIVE", "This user name is reserved")
        return user_id

    async def find_guest(self, token: str) -> UserID | None:
        """The guest whose access token it is.

        Spec: client-server-api#guest-access
        """
        session = await self._database.read(sessions.find_session, hash_token(token))
        if session is None or session.kind != "guest" or session.locked:
            return None
        return session.user_id

    async def check_free(self, user_id: UserID) -> None:
        """Refuse a user ID that somebody has, or had once.

        Raises:
            Conflict: It is so.

        Spec: client-server-api#get_matrixclientv3registeravailable
        """
        if await self._database.read(accounts.find_account, user_id) is not None:
            raise Conflict("M_USER_IN_USE", "This user name is taken")

    async def is_usable(self, token: str) -> bool:
        """Tell whether an account could now be made with that registration token.

        Spec: client-server-api#get_matrixclientv1registermloginregistration_tokenvalidity
        """
        return await self._database.read(accounts.is_registration_token_usable, token, self._now_ms())

    async def register(self, newcomer: Newcomer) -> None:
        """Make an account.

        Raises:
            Conflict: The user ID is taken.
            Refused: The registration token is used up.
        """
        await self._database.write(enter, await self.build_account(newcomer), newcomer, None)

    async def register_and_begin(self, newcomer: Newcomer, wish: DeviceWish) -> Grant:
        """Make an account and begin its first session; both or neither.

        Raises:
            Conflict: The user ID is taken.
            Refused: The registration token is used up.
        """
        return await self._begin(await self.build_account(newcomer), newcomer, wish)

    async def register_guest(self, device_name: str | None) -> Grant:
        """Make an account for a guest and begin its session on a device of our choice.

        Raises:
            Refused: Guests are not let in here.

        Spec: client-server-api#guest-access
        """
        if not self._rules.guests:
            raise Refused("registration", "Guests are not let in here")
        user_id = UserID(f"@guest-{self._mint.localpart()}:{self._server_name}")
        account = NewAccount(user_id=user_id, created_ms=self._now_ms(), kind="guest")
        return await self._begin(account, Newcomer(user_id=user_id), DeviceWish(display_name=device_name))

    async def build_account(self, newcomer: Newcomer) -> NewAccount:
        """The account that a newcomer begins with; the password is hashed meanwhile."""
        return NewAccount(
            user_id=newcomer.user_id,
            created_ms=self._now_ms(),
            kind="user" if newcomer.service_id is None else "appservice",
            password_hash=None if newcomer.password is None else await self._passwords.hash(newcomer.password),
            admin=newcomer.admin,
            service_id=newcomer.service_id,
        )

    async def _begin(self, account: NewAccount, newcomer: Newcomer, wish: DeviceWish) -> Grant:
        first = _First(
            device_id=wish.device_id or self._mint.device_id(),
            device_name=wish.display_name,
            tokens=self._mint.tokens(refreshable=wish.refreshable),
        )
        await self._database.write(enter, account, newcomer, first)
        return self._mint.grant(account.user_id, first.device_id, first.tokens)


def build_user_id(name: str, server_name: ServerName) -> UserID:
    """The user ID of a new account of that name; capital letters become small ones.

    Raises:
        Invalid: Nobody may have that name.

    Spec: appendices#user-identifiers
    """
    localpart = name.lower()
    try:
        check_localpart(localpart)
        return parse_user_id(f"@{localpart}:{server_name}", historical=False)
    except BadIdentifier as fault:
        raise Invalid("M_INVALID_USERNAME", f"Not a user name: {fault}") from None


def enter(txn: Txn, account: NewAccount, newcomer: Newcomer, first: _First | None) -> None:
    """The unit of a registration.

    Raises:
        Conflict: The user ID is taken.
        Refused: The registration token is used up.
    """
    enter = accounts.upgrade_guest if newcomer.upgrades else accounts.append_account
    if not enter(txn, account):
        raise Conflict("M_USER_IN_USE", "This user name is taken")
    if newcomer.token is not None and not accounts.take_registration_token(txn, newcomer.token, account.created_ms):
        raise Refused("registration", "This registration token is not valid any more")
    if newcomer.display_name is not None:
        profiles.set_profile(txn, account.user_id, ProfileRow(displayname=newcomer.display_name))
    if first is not None:
        begin_session(txn, account.user_id, first.device_id, first.device_name, first.tokens)
