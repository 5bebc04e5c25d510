"""Accounts: proved by their password, given another one, closed for good."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from federation.errors import Refused
from federation.ids import DeviceID, UserID, localpart_of
from homeserver.accounts.passwords import Passwords, check_strength
from homeserver.accounts.propagation import Propagations
from homeserver.policy import CloseAccount, Policy
from homeserver.storage import accounts, backup, delayed, devices, erasure, keys, logintokens, profiles
from homeserver.storage.accounts import Account
from homeserver.storage.database import Database, Txn

Limit: TypeAlias = Callable[[str, str], None]
"""Takes one try of that class by that key, or raises: the rate limits, handed in."""


class WrongPassword(Refused):
    """The person is unknown, has no password, or not this one; which of them, nobody learns."""

    def __init__(self) -> None:
        super().__init__("login", "Wrong user name or password")


def no_limit(kind: str, key: str) -> None:
    """Let every try pass."""


class Accounts:
    """The accounts of this server, as far as their holders change them."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        passwords: Passwords,
        propagations: Propagations,
        now_ms: Callable[[], int],
        limit: Limit = no_limit,
    ) -> None:
        self._database = database
        self._policy = policy
        self._passwords = passwords
        self._propagations = propagations
        self._now_ms = now_ms
        self._limit = limit

    async def prove(self, user_id: UserID | None, password: str, origin: str) -> Account:
        """Find the account that the password opens; None stands for somebody who cannot be here, and takes as long.

        `origin` is what counts as one client for the limits: an account is guessed at from one address, or from many.

        Raises:
            WrongPassword: It opens none.
        """
        if user_id is not None:
            self._limit("password", f"{user_id} {origin}")
            self._limit("account", user_id)
        account = await self._database.read(accounts.find_account, user_id) if user_id is not None else None
        password_hash = None if account is None or account.deactivated else account.password_hash
        matches = await self._passwords.matches(password_hash, password)
        if account is None or password_hash is None or not matches:
            raise WrongPassword
        if self._passwords.is_outdated(password_hash):
            fresh = await self._passwords.hash(password)
            await self._database.write(_replace_hash, account.user_id, password_hash, fresh)
            return replace(account, password_hash=fresh)
        return account

    async def set_password(self, user_id: UserID, password: str, keep: DeviceID | None, *, end_others: bool) -> None:
        """Give the account another password; `end_others` logs out every device but `keep`.

        Raises:
            Invalid: The password is too weak.

        Spec: client-server-api#post_matrixclientv3accountpassword
        """
        check_strength(password, localpart_of(user_id))
        password_hash = await self._passwords.hash(password)
        await self._database.write(_set_password, user_id, password_hash, keep, end_others)

    async def check_closable(self, user_id: UserID) -> None:
        """Refuse where the policy lets nobody close such an account.

        Raises:
            Refused: The person may not close it.
        """
        await self._policy.check(CloseAccount(by=user_id))

    async def deactivate(self, user_id: UserID, *, erase: bool) -> None:
        """Close the account for good: sessions, keys, profile and password go, then the person leaves every room.

        With `erase` all that is theirs goes, their files too, and who comes into a room later sees none of what they
        said there.

        Raises:
            Refused: The person may not close it.

        Spec: client-server-api#post_matrixclientv3accountdeactivate
        """
        await self.check_closable(user_id)
        number = await self._database.write(close_account, user_id, self._now_ms(), erase)
        await self._propagations.settle(user_id, "departure", number)


def close_account(txn: Txn, user_id: UserID, now_ms: int, erase: bool) -> int:
    """The unit of a deactivation; gives the number to settle the departure from the rooms by."""
    end_account(txn, user_id, now_ms, erase)
    return accounts.append_propagation(txn, user_id, "departure")


def end_account(txn: Txn, user_id: UserID, now_ms: int, erase: bool) -> None:
    """What a deactivation does besides the departure from the rooms."""
    accounts.set_deactivated(txn, user_id, now_ms, erase=erase)
    devices.remove_all_devices(txn, user_id)
    if keys.remove_cross_signing_keys(txn, user_id):
        keys.set_changed(txn, user_id)
    backup.remove_backups(txn, user_id)
    profiles.remove_profile(txn, user_id)
    delayed.remove_delayed(txn, user_id)
    logintokens.remove_login_tokens(txn, user_id)
    if erase:
        erasure.erase_person(txn, user_id, now_ms)


def _set_password(txn: Txn, user_id: UserID, password_hash: str, keep: DeviceID | None, end_others: bool) -> None:
    accounts.set_password(txn, user_id, password_hash)
    if end_others:
        logintokens.remove_login_tokens(txn, user_id)
        devices.remove_all_devices(txn, user_id, but=keep)


def _replace_hash(txn: Txn, user_id: UserID, outdated: str, fresh: str) -> None:
    account = accounts.find_account(txn, user_id)
    if account is not None and account.password_hash == outdated:
        accounts.set_password(txn, user_id, fresh)
