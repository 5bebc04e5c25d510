"""The ways into an account that exists, and how a session begins.

Spec: client-server-api#login
"""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.errors import BadIdentifier, Refused
from federation.ids import DeviceID, ServerName, UserID, parse_user_id, server_of
from homeserver.accounts.accounts import Accounts, WrongPassword
from homeserver.accounts.sessions import AccountLocked
from homeserver.accounts.tokens import Grant, Mint, Tokens
from homeserver.policy import Invalid, LogIn, Policy
from homeserver.storage import accounts, devices, keys, sessions
from homeserver.storage.database import Database, Txn

_LONGEST_DEVICE_ID = 255
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWish:
    """The device a session is to be on, as the client asks for it; what is None is made up."""

    device_id: DeviceID | None = None
    display_name: str | None = None
    refreshable: bool = False


def parse_device_wish(device_id: str | None, display_name: str | None, *, refreshable: bool) -> DeviceWish:
    """The device a client asks for; an empty ID counts as none, a long name is cut.

    Raises:
        Invalid: The ID is too long, or has characters that nobody can type.
    """
    if device_id and (len(device_id.encode("utf-8", "replace")) > _LONGEST_DEVICE_ID or not device_id.isprintable()):
        raise Invalid("M_INVALID_PARAM", "Not a device ID")
    return DeviceWish(
        device_id=DeviceID(device_id) if device_id else None,
        display_name=display_name[:_LONGEST_NAME] if display_name else None,
        refreshable=refreshable,
    )


def find_named_user(identifier: Mapping[str, object], server_name: ServerName) -> UserID | None:
    """The person of this server that an identifier names; None if it names nobody who could have an account here.

    Third-party identifiers name nobody: none are known here.

    Raises:
        Invalid: It is not an identifier.

    Spec: client-server-api#identifier-types
    """
    kind = identifier.get("type")
    if kind in ("m.id.thirdparty", "m.id.phone"):
        return None
    if kind != "m.id.user":
        raise Invalid("M_UNKNOWN", "Unknown type of identifier")
    user = identifier.get("user")
    if not isinstance(user, str):
        raise Invalid("M_BAD_JSON", "The identifier names no user")
    return find_local_user(user, server_name)


def find_local_user(user: str, server_name: ServerName) -> UserID | None:
    """The person of this server with that user ID or localpart, in any case of letters; None if nobody can be."""
    text = user if user.startswith("@") else f"@{user}:{server_name}"
    localpart, colon, server = text.partition(":")
    try:
        user_id = parse_user_id(f"{localpart.lower()}{colon}{server}")
    except BadIdentifier:
        return None
    return user_id if server_of(user_id) == server_name else None


class Logins:
    """Lets people in."""

    def __init__(self, database: Database, policy: Policy, accounts: Accounts, mint: Mint) -> None:
        self._database = database
        self._policy = policy
        self._accounts = accounts
        self._mint = mint

    async def with_password(self, user_id: UserID | None, password: str, wish: DeviceWish, origin: str) -> Grant:
        """Log in with a password; for `origin` see :meth:`Accounts.prove`.

        Raises:
            WrongPassword: The password opens no account of that name.
            AccountLocked: An administrator has locked the account.
            Refused: The policy does not let the person in, or the device ID is a key's.

        Spec: client-server-api#password-based
        """
        account = await self._accounts.prove(user_id, password, origin)
        if account.locked:
            raise AccountLocked
        return await self.begin(account.user_id, wish, account.password_hash)

    async def begin(self, user_id: UserID, wish: DeviceWish, proven_hash: str | None = None) -> Grant:
        """Begin a session of somebody who has proved who they are; `proven_hash` is the password's, if it was that.

        Raises:
            WrongPassword: Meanwhile the password was changed or the account closed.
            Refused: The policy does not let the person in, or the device ID is a key's.
        """
        await self._policy.check(LogIn(by=user_id))
        device_id = wish.device_id or self._mint.device_id()
        tokens = self._mint.tokens(refreshable=wish.refreshable)
        await self._database.write(_begin, user_id, device_id, wish.display_name, tokens, proven_hash)
        return self._mint.grant(user_id, device_id, tokens)


def begin_session(
    txn: Txn,
    user_id: UserID,
    device_id: DeviceID,
    name: str | None,
    tokens: Tokens,
    made_by: UserID | None = None,
) -> None:
    """Begin a session in a unit of work: the device is made, or its former tokens are revoked. `made_by` is an operator
    who lets themselves in as that person; the session ends with their powers.

    Raises:
        Refused: The device ID is that of a cross-signing key.

    Spec: client-server-api#relationship-between-access-tokens-and-devices
    """
    if keys.is_cross_signing_key(txn, user_id, device_id):
        raise Refused("login", "This device ID is in use for a key")
    if not devices.append_device(txn, user_id, device_id, name, tokens.pair.created_ms, made_by):
        sessions.remove_tokens(txn, user_id, device_id)
    sessions.append_tokens(txn, user_id, device_id, tokens.pair)


def _begin(
    txn: Txn, user_id: UserID, device_id: DeviceID, name: str | None, tokens: Tokens, proven_hash: str | None
) -> None:
    account = accounts.find_account(txn, user_id)
    if account is None or account.deactivated or proven_hash not in (None, account.password_hash):
        raise WrongPassword
    begin_session(txn, user_id, device_id, name, tokens)
