"""What operators do with the accounts of others, beyond locking them: see, make, change and close them.

Everything is in the audit log, in the unit of work that does it; see `homeserver.operators`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from federation.errors import Refused
from federation.ids import DeviceID, ServerName, UserID, localpart_of, server_of
from homeserver.accounts.accounts import close_account
from homeserver.accounts.login import begin_session
from homeserver.accounts.passwords import Passwords, check_strength
from homeserver.accounts.profile import change_shown, check_value
from homeserver.accounts.propagation import Propagations
from homeserver.accounts.registration import Newcomer, Registration, enter
from homeserver.accounts.tokens import Mint, Tokens
from homeserver.operators import Operators
from homeserver.policy import Administer, Deed, Invalid, NotFound
from homeserver.storage import accounts, devices, logintokens
from homeserver.storage.accountlist import AccountQuery, AccountRecord, find_record, load_records, set_user_type
from homeserver.storage.accounts import NewAccount, Propagation
from homeserver.storage.audit import AuditEntry
from homeserver.storage.database import Database, Txn

LONGEST_TYPE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """What is to be different of an account; None: nothing. An empty name, avatar or type takes it away.

    A new password logs out all devices unless `logout_devices` is False.
    """

    password: str | None = None
    logout_devices: bool = True
    displayname: str | None = None
    avatar_url: str | None = None
    admin: bool | None = None
    locked: bool | None = None
    deactivated: bool | None = None
    user_type: str | None = None

    def check(self, user_id: UserID) -> None:
        """Refuse values that cannot be.

        Raises: Invalid; BadIdentifier.
        """
        if self.password is not None:
            check_strength(self.password, localpart_of(user_id))
        for name, value in (("displayname", self.displayname), ("avatar_url", self.avatar_url)):
            if value is not None:
                check_value(name, value)
        if self.user_type is not None and len(self.user_type) > LONGEST_TYPE:
            raise Invalid("M_INVALID_PARAM", f"user_type has at most {LONGEST_TYPE} characters")

    def beside(self, record: AccountRecord) -> "AccountChange":
        """What of it is not so already."""
        names = ("displayname", "avatar_url", "admin", "locked", "deactivated", "user_type")
        wanted = {name: getattr(self, name) for name in names}
        same = {name for name, value in wanted.items() if value == (getattr(record, name) or type(value)())}
        nothing: dict[str, Any] = dict.fromkeys(same)
        return replace(self, **nothing)

    def deeds(self) -> Iterator[Deed]:
        """What an operator does who makes this change."""
        if self.password is not None:
            yield "set_password"
        if self.displayname is not None or self.avatar_url is not None:
            yield "change_profile"
        if self.admin is not None:
            yield "make_operator" if self.admin else "unmake_operator"
        if self.locked is not None:
            yield "lock" if self.locked else "unlock"
        if self.deactivated:
            yield "deactivate"
        if self.user_type is not None:
            yield "set_type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """Does with accounts what operators ask for; that it is an operator who asks is checked before.

    Methods raise Invalid for a person of another server, NotFound for one who is not here, and Refused.
    """

    server_name: ServerName
    database: Database
    operators: Operators
    registration: Registration
    passwords: Passwords
    propagations: Propagations
    mint: Mint
    now_ms: Callable[[], int]

    async def load(self, by: UserID, query: AccountQuery) -> tuple[list[AccountRecord], int]:
        """A page of the accounts, and how many there are on all pages."""
        await self.operators.check(Administer(by=by, deed="see_account"))
        return await self.database.read(load_records, query)

    async def see(self, by: UserID, user_id: UserID) -> AccountRecord:
        """One account."""
        entry = await self.operators.check(Administer(by=by, deed="see_account", person=user_id))
        record = await self._load(user_id)
        await self.operators.note(entry)
        return record

    async def put(self, by: UserID, user_id: UserID, change: AccountChange) -> tuple[AccountRecord, bool]:
        """Change an account, or make it where there is none; the account then, and whether it is a new one."""
        self._check_ours(user_id)
        change.check(user_id)
        account = await self.database.read(accounts.find_account, user_id)
        if account is None:
            user_id = await self._create(by, user_id, change)
        else:
            await self.change(by, user_id, change)
        return await self._load(user_id), account is None

    async def change(self, by: UserID, user_id: UserID, change: AccountChange) -> None:
        """Change an account that is there.

        Raises: Invalid also for an account that is closed; Refused for what operators do not do to themselves.
        """
        change.check(user_id)
        record = await self._load(user_id)
        change = change.beside(record)
        if record.deactivated and (change.deactivated is False or change.password or change.admin):
            raise Invalid("M_INVALID_PARAM", "The account was closed for good")
        if by == user_id and (change.admin is False or change.locked or change.deactivated):
            raise Refused("administration", "That is your own account")
        if record.admin and by != user_id and change.locked is not None:
            raise Refused("administration", "That is another operator")
        noted = await self._check_deeds(by, user_id, change)
        if noted:
            await self._carry_out(noted, user_id, change)

    async def deactivate(self, by: UserID, user_id: UserID, *, erase: bool) -> None:
        """Close an account for good; the person leaves every room. With `erase` what their clients kept goes, too.

        Raises: Refused for one's own.
        """
        await self._load(user_id)
        if by == user_id:
            raise Refused("administration", "That is your own account")
        entry = await self.operators.check(Administer(by=by, deed="deactivate", person=user_id), erase=erase or None)
        number = await self.operators.write(entry, close_account, user_id, self.now_ms(), erase)
        await self.propagations.settle(user_id, "departure", number)

    async def log_in_as(self, by: UserID, user_id: UserID, until_ms: int | None) -> str:
        """An access token of somebody else, until a time, and no longer than the operator is one; they see its device,
        which bears the operator's name.

        Raises: Refused for oneself and for other operators, and for who is none any more; NotFound also for a closed
            account.
        """
        record = await self._load(user_id)
        if record.deactivated:
            raise NotFound("User not found")
        if until_ms is not None and until_ms <= self.now_ms():
            raise Invalid("M_INVALID_PARAM", "valid_until_ms lies in the past")
        if by == user_id or record.admin:
            raise Refused("administration", "Operators are nobody else, and nobody else is an operator")
        act = Administer(by=by, deed="log_in_as", person=user_id)
        device_id = self.mint.device_id()
        entry = await self.operators.check(act, device_id=device_id, until_ms=until_ms)
        tokens = self.mint.tokens(refreshable=False)
        tokens = replace(tokens, pair=replace(tokens.pair, access_expires_ms=until_ms))
        await self.operators.write(entry, _begin_as, by, user_id, device_id, tokens)
        return tokens.access_token

    async def _create(self, by: UserID, user_id: UserID, change: AccountChange) -> UserID:
        user_id = self.registration.parse_name(localpart_of(user_id))
        noted = [await self.operators.check(Administer(by=by, deed="create_account", person=user_id))]
        if change.admin:
            noted.append(await self.operators.check(Administer(by=by, deed="make_operator", person=user_id)))
        newcomer = Newcomer(
            user_id=user_id,
            password=change.password,
            display_name=change.displayname or localpart_of(user_id),
            admin=change.admin is True,
        )
        account = await self.registration.build_account(newcomer)
        change = replace(change, password=None, displayname=None, admin=None)
        await self.operators.write(noted, _create, account, newcomer, change, self.now_ms())
        return user_id

    async def _check_deeds(self, by: UserID, user_id: UserID, change: AccountChange) -> list[AuditEntry]:
        return [await self.operators.check(Administer(by=by, deed=deed, person=user_id)) for deed in change.deeds()]

    async def _carry_out(self, noted: list[AuditEntry], user_id: UserID, change: AccountChange) -> None:
        password_hash = None if change.password is None else await self.passwords.hash(change.password)
        told = await self.operators.write(noted, _change, user_id, change, password_hash, self.now_ms())
        for what, number in told:
            await self.propagations.settle(user_id, what, number)

    async def _load(self, user_id: UserID) -> AccountRecord:
        self._check_ours(user_id)
        record = await self.database.read(find_record, user_id)
        if record is None:
            raise NotFound("User not found")
        return record

    def _check_ours(self, user_id: UserID) -> None:
        if server_of(user_id) != self.server_name:
            raise Invalid("M_INVALID_PARAM", "User does not belong to the local server")


def _begin_as(txn: Txn, by: UserID, user_id: UserID, device_id: DeviceID, tokens: Tokens) -> None:
    """The unit of a session in which an operator is somebody else."""
    operator = accounts.find_account(txn, by)
    if operator is None or not operator.admin or operator.locked or operator.suspended:
        raise Refused("administration", "This is for operators")
    begin_session(txn, user_id, device_id, f"Operator {by}", tokens, by)


def _create(txn: Txn, account: NewAccount, newcomer: Newcomer, change: AccountChange, now_ms: int) -> None:
    """The unit of a new account: nobody is in a room yet, so no room has to learn of it."""
    enter(txn, account, newcomer, None)
    _change(txn, account.user_id, change, None, now_ms)


def _change(
    txn: Txn, user_id: UserID, change: AccountChange, password_hash: str | None, now_ms: int
) -> list[tuple[Propagation, int]]:
    """The unit of a change; gives what the person's rooms have to learn, and the numbers to settle it by."""
    told: list[tuple[Propagation, int | None]] = []
    if password_hash is not None:
        accounts.set_password(txn, user_id, password_hash)
        if change.logout_devices:
            logintokens.remove_login_tokens(txn, user_id)
            devices.remove_all_devices(txn, user_id)
    for name in ("displayname", "avatar_url"):
        value = getattr(change, name)
        if value is not None:
            told.append(("profile", change_shown(txn, user_id, name, value)))
    if change.admin is not None:
        accounts.set_admin(txn, user_id, change.admin)
    if change.locked is not None:
        accounts.set_locked(txn, user_id, now_ms if change.locked else None)
    if change.user_type is not None:
        set_user_type(txn, user_id, change.user_type or None)
    if change.deactivated:
        told.append(("departure", close_account(txn, user_id, now_ms, False)))
    return [(what, number) for what, number in told if number is not None]
