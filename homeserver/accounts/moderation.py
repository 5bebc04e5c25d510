"""What operators do with the accounts of others: lock and suspend them, and see where they are signed in.

Spec: client-server-api#server-administration
"""

from collections.abc import Callable, Sequence

from federation.errors import Refused
from federation.ids import ServerName, UserID, server_of
from homeserver.operators import Operators
from homeserver.policy import Administer, Deed, Invalid, NotFound
from homeserver.storage.accounts import Account, find_account, set_locked, set_suspended
from homeserver.storage.database import Database
from homeserver.storage.devices import Device, load_devices


class Moderation:
    """Moderates accounts; that it is an operator who asks is checked before. All of it is in the audit log."""

    def __init__(
        self,
        database: Database,
        operators: Operators,
        server_name: ServerName,
        now_ms: Callable[[], int],
        renew: Callable[[UserID, Sequence[Device]], Sequence[Device]],
    ) -> None:
        self._renew = renew  # adds when devices were seen of late
        self._database = database
        self._operators = operators
        self._server_name = server_name
        self._now_ms = now_ms

    async def standing(self, by: UserID, user_id: UserID) -> Account:
        """The account of somebody, to see whether it is locked or suspended.

        Raises: Invalid for another server's; NotFound for none, or a closed one; Refused for another operator's.
        Spec: client-server-api#get_matrixclientv1adminlockuserid
        """
        if server_of(user_id) != self._server_name:
            raise Invalid("M_INVALID_PARAM", "User does not belong to the local server")
        account = await self._database.read(find_account, user_id)
        if account is None or account.deactivated:
            raise NotFound("User not found")
        if account.admin and user_id != by:
            raise Refused("moderation", "That is another operator")
        return account

    async def lock(self, by: UserID, user_id: UserID, *, locked: bool) -> None:
        """Lock an account, or unlock it.

        Raises: as `standing`; Refused for one's own.
        Spec: client-server-api#put_matrixclientv1adminlockuserid
        """
        if (await self._open(by, user_id)).locked is not locked:
            entry = await self._operators.check(Administer(by=by, deed="lock" if locked else "unlock", person=user_id))
            await self._operators.write(entry, set_locked, user_id, self._now_ms() if locked else None)

    async def suspend(self, by: UserID, user_id: UserID, *, suspended: bool) -> None:
        """Suspend an account, or let it act again.

        Raises: as `standing`; Refused for one's own.
        Spec: client-server-api#put_matrixclientv1adminsuspenduserid
        """
        if (await self._open(by, user_id)).suspended is not suspended:
            deed: Deed = "suspend" if suspended else "unsuspend"
            entry = await self._operators.check(Administer(by=by, deed=deed, person=user_id))
            await self._operators.write(entry, set_suspended, user_id, self._now_ms() if suspended else None)

    async def whois(self, by: UserID, user_id: UserID, *, is_admin: bool) -> Sequence[Device]:
        """The devices at which somebody is signed in: for themselves, and for operators.

        Raises: Refused for everybody else, whoever is asked for; NotFound.
        Spec: client-server-api#get_matrixclientv3adminwhoisuserid
        """
        if by != user_id and not is_admin:
            raise Refused("moderation", "This is for operators")
        if await self._database.read(find_account, user_id) is None:
            raise NotFound("User not found")
        if by == user_id:
            return self._renew(user_id, await self._database.read(load_devices, user_id))
        entry = await self._operators.check(Administer(by=by, deed="see_account", person=user_id), what="whois")
        found = await self._database.read(load_devices, user_id)
        await self._operators.note(entry)
        return self._renew(user_id, found)

    async def _open(self, by: UserID, user_id: UserID) -> Account:
        if by == user_id:
            raise Refused("moderation", "That is your own account")
        return await self.standing(by, user_id)
