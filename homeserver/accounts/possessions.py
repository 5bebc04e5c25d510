"""What people have here, as operators see and remove it: devices, pushers, account data, rooms.

Each look is in the audit log before it is answered; see `homeserver.operators`.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from federation.ids import DeviceID, ServerName, UserID, server_of
from homeserver.accounts.login import parse_device_wish
from homeserver.operators import Operators
from homeserver.policy import Administer, Deed, Invalid, NotFound
from homeserver.storage import devices
from homeserver.storage.accountlist import count_invitations, count_rooms_joined, find_record
from homeserver.storage.data import AccountData, load_account_data
from homeserver.storage.database import Database, Txn
from homeserver.storage.devices import Device
from homeserver.storage.members import Membership, load_memberships
from homeserver.storage.pushers import Pusher, load_pushers

T = TypeVar("T")

LONGEST_NAME: Final = 255
_END: Final = 2**62


class Possessions:
    """Shows operators what people have, and takes it away; that it is an operator who asks is checked before.

    Methods raise Invalid for a person of another server, NotFound for one who is not here, and Refused.
    """

    def __init__(
        self, database: Database, operators: Operators, server_name: ServerName, now_ms: Callable[[], int]
    ) -> None:
        self._database = database
        self._operators = operators
        self._server_name = server_name
        self._now_ms = now_ms

    async def devices(self, by: UserID, user_id: UserID) -> list[Device]:
        """The devices of a person, the oldest first."""
        return await self._look(by, user_id, "devices", devices.load_devices)

    async def device(self, by: UserID, user_id: UserID, device_id: DeviceID) -> Device:
        """One device of a person.

        Raises: NotFound also when there is none of that ID.
        """
        found = await self._look(by, user_id, "device", lambda txn, _: devices.find_device(txn, user_id, device_id))
        if found is None:
            raise NotFound("Device not found")
        return found

    async def pushers(self, by: UserID, user_id: UserID) -> list[Pusher]:
        """The pushers of a person; none of a locked or closed account."""
        return await self._look(by, user_id, "pushers", load_pushers)

    async def account_data(self, by: UserID, user_id: UserID) -> list[AccountData]:
        """What a person's clients keep here."""
        return await self._look(
            by, user_id, "account_data", lambda txn, _: load_account_data(txn, user_id, upto=_END), "see_account_data"
        )

    async def memberships(self, by: UserID, user_id: UserID, membership: str | None = None) -> list[Membership]:
        """What a person, of whatever server, is in the rooms known here; those with one membership if it is named."""
        act = Administer(by=by, deed="see_account", person=user_id)
        entry = await self._operators.check(act, what="memberships")
        if server_of(user_id) == self._server_name:
            await self._check_there(user_id)
        found = await self._database.read(load_memberships, user_id, membership)
        await self._operators.note(entry)
        return found

    async def count_invitations(self, by: UserID, user_id: UserID, since_ms: int) -> int:
        """How many invitations a person has sent since a time."""
        return await self._look(by, user_id, "invitations", lambda txn, _: count_invitations(txn, user_id, since_ms))

    async def count_rooms_joined(self, by: UserID, user_id: UserID, since_ms: int) -> int:
        """How many rooms a person has joined since a time."""
        return await self._look(by, user_id, "rooms_joined", lambda txn, _: count_rooms_joined(txn, user_id, since_ms))

    async def add_device(self, by: UserID, user_id: UserID, device_id: str) -> None:
        """Give a person a device without a session; one that is there stays as it is.

        Raises: Invalid also for what cannot be an ID.
        """
        wished = parse_device_wish(device_id, None, refreshable=False).device_id
        if wished is None:
            raise Invalid("M_INVALID_PARAM", "Not a device ID")
        await self._do(by, user_id, "change_device", _add_device, (wished, self._now_ms()))

    async def rename_device(self, by: UserID, user_id: UserID, device_id: DeviceID, name: str | None) -> None:
        """Give a device another name, cut where it is too long; with None it keeps its own.

        Raises: NotFound also when there is none of that ID.
        """
        if name is None:
            await self.device(by, user_id, device_id)
        else:
            await self._do(by, user_id, "change_device", _rename_device, (device_id, name[:LONGEST_NAME]))

    async def remove_devices(self, by: UserID, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        """End devices of a person with all that hangs on them; those that are not there are gone already."""
        await self._do(by, user_id, "end_sessions", devices.remove_devices, (device_ids,))

    async def _look(
        self, by: UserID, user_id: UserID, what: str, read: Callable[[Txn, UserID], T], deed: Deed = "see_account"
    ) -> T:
        entry = await self._operators.check(Administer(by=by, deed=deed, person=user_id), what=what)
        await self._check_there(user_id)
        found = await self._database.read(read, user_id)
        await self._operators.note(entry)
        return found

    async def _do(
        self, by: UserID, user_id: UserID, deed: Deed, unit: Callable[..., None], args: tuple[object, ...]
    ) -> None:
        await self._check_there(user_id)
        entry = await self._operators.check(Administer(by=by, deed=deed, person=user_id), devices=args[0])
        await self._operators.write(entry, unit, user_id, *args)

    async def _check_there(self, user_id: UserID) -> None:
        if server_of(user_id) != self._server_name:
            raise Invalid("M_INVALID_PARAM", "User does not belong to the local server")
        if await self._database.read(find_record, user_id) is None:
            raise NotFound("User not found")


def _add_device(txn: Txn, user_id: UserID, device_id: DeviceID, now_ms: int) -> None:
    devices.append_device(txn, user_id, device_id, None, now_ms)


def _rename_device(txn: Txn, user_id: UserID, device_id: DeviceID, name: str) -> None:
    if not devices.set_display_name(txn, user_id, device_id, name):
        raise NotFound("Device not found")
