"""Whom a request with a service's token acts for: its own account, or one in its namespace; on a device, or on none.

Spec: application-service-api#identity-assertion
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from federation.errors import BadIdentifier, Refused
from federation.ids import DeviceID, UserID, parse_user_id
from homeserver.accounts.appservices.registry import AppService, AppServices
from homeserver.accounts.sessions import NO_DEVICE, Session
from homeserver.policy import Invalid
from homeserver.storage.accounts import Account, NewAccount, append_account, find_account
from homeserver.storage.changes import SessionsEnded
from homeserver.storage.database import Change, Database
from homeserver.storage.devices import has_device

MOST_KNOWN: Final = 50_000
"""Of how many accounts and devices it is remembered that they are there; the one learned of first goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Whom and which device a request names, as it was written; what it does not name is None.

    `is_proposed`: the device was named as MSC4326 did before it was adopted.
    """

    user_id: str | None = None
    device_id: str | None = None
    is_proposed: bool = False


class Identities:
    """The sessions of application services.

    With `only_own` a service acts for no account but those it made itself, whatever its namespaces say: so in a school,
    whose people nobody acts for. The composition root hands `heed` each commit, as `Database.on_commit` brings it.
    """

    def __init__(
        self, database: Database, services: AppServices, now_ms: Callable[[], int], *, only_own: bool = False
    ) -> None:
        self.services = services
        self._database = database
        self._now_ms = now_ms
        self._only_own = only_own
        self._accounts: dict[UserID, Account] = {}
        self._devices: set[tuple[UserID, DeviceID]] = set()
        self._forgettings = 0
        self._heeded = database.position

    async def prepare(self) -> None:
        """Make the accounts of the services themselves, if they are not there."""
        for service in self.services.all:
            await self._make(service)

    async def _make(self, service: AppService) -> None:
        now_ms = self._now_ms()
        account = NewAccount(user_id=service.sender, created_ms=now_ms, kind="appservice", service_id=service.id)
        await self._database.write(append_account, account)

    async def find(self, service: AppService, wish: Wish) -> Session:
        """The session of a request.

        Raises:
            Refused: The service may not act for that person.
            Invalid: M_UNKNOWN_DEVICE: they have no such device.

        Spec: application-service-api#identity-assertion
        """
        user_id = service.sender if wish.user_id is None else _parse(wish.user_id)
        account = await self.check(service, user_id)
        device_id = NO_DEVICE if wish.device_id is None else await self._check_device(user_id, wish)
        return Session(
            user_id=user_id,
            device_id=device_id,
            token_hash=service.token_hash,
            kind="appservice",
            locked=account.locked,
            suspended=account.suspended,
            service_id=service.id,
            unlimited=user_id == service.sender or not service.rate_limited,
        )

    async def check(self, service: AppService, user_id: UserID) -> Account:
        """The account that a service wants to act for.

        Raises:
            Refused: It may not: it is not in its namespace, there is none, or another made it and this is a school.
        """
        if not service.covers_user(user_id):
            raise Refused("appservice", "The application service cannot act for this user")
        account = self._accounts.get(user_id) if self._heeded == self._database.position else None
        if account is None:
            account = await self._load(user_id)
        if account is None and user_id == service.sender:  # it asks before the start has come to making it
            await self._make(service)
            account = await self._load(user_id)
        is_fit = account is not None and not account.deactivated and account.kind != "server"
        if account is None or not is_fit or (self._only_own and account.service_id != service.id):
            raise Refused("appservice", "The application service has not registered this user")
        return account

    async def find_owner(self, user_id: UserID) -> AppService | None:
        """The service that made an account, or whose own it is; None for a person's, and for one it covers no more."""
        if not any(True for _ in self.services.covering(user_id)):
            return None
        account = self._accounts.get(user_id) or await self._load(user_id)
        service = None if account is None or account.deactivated else self.services.find(account.service_id)
        return service if service is not None and service.covers_user(user_id) else None

    def heed(self, position: int, changes: Iterable[Change]) -> None:
        """Forget the accounts and devices that a commit has changed."""
        self._heeded = position
        for change in changes if self.services.all else ():
            if isinstance(change, SessionsEnded):
                self._forgettings += 1
                self._accounts.pop(change.user_id, None)
                if change.device_id is None:
                    self._devices = {pair for pair in self._devices if pair[0] != change.user_id}
                else:
                    self._devices.discard((change.user_id, change.device_id))

    async def _load(self, user_id: UserID) -> Account | None:
        forgettings = self._forgettings
        account = await self._database.read(find_account, user_id)
        if account is not None and forgettings == self._forgettings:
            if len(self._accounts) >= MOST_KNOWN:
                del self._accounts[next(iter(self._accounts))]
            self._accounts[user_id] = account
        return account

    async def _check_device(self, user_id: UserID, wish: Wish) -> DeviceID:
        device_id = DeviceID(wish.device_id or "")
        pair = (user_id, device_id)
        if pair in self._devices and self._heeded == self._database.position:
            return device_id
        forgettings = self._forgettings
        if not device_id or not await self._database.read(has_device, user_id, device_id):
            errcode = "ORG.MATRIX.MSC4326.M_UNKNOWN_DEVICE" if wish.is_proposed else "M_UNKNOWN_DEVICE"
            raise Invalid(errcode, "This user has no such device")
        if forgettings == self._forgettings:
            if len(self._devices) >= MOST_KNOWN:
                self._devices.clear()
            self._devices.add(pair)
        return device_id


def _parse(user_id: str) -> UserID:
    try:
        return parse_user_id(user_id)
    except BadIdentifier:
        raise Refused("appservice", "The application service cannot act for this user") from None
