"""What other servers ask of our people's devices. Names of devices are nobody's business elsewhere.

Spec: server-server-api#device-management, server-server-api#end-to-end-encryption
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from federation.ids import DeviceID, ServerName, UserID
from homeserver.devices.keys import KeyAnswer, read_keys, take_keys
from homeserver.devices.remote.asking import Claimed, Claims, Wanted
from homeserver.policy import NotFound, Policy, TellServer, allows
from homeserver.storage import remotedevices
from homeserver.storage.accounts import load_active
from homeserver.storage.database import Database, Txn

_NOBODY = UserID("")


class KeysForServers:
    """The keys of this server's people, for other servers."""

    def __init__(self, database: Database, policy: Policy) -> None:
        self._database = database
        self._policy = policy

    async def devices(self, origin: ServerName, user_id: UserID) -> dict[str, Any]:
        """The devices of somebody that take part in encryption, and their cross-signing keys.

        Raises: NotFound, also when the server may not know.
        Spec: server-server-api#get_matrixfederationv1userdevicesuserid
        """
        if not await self.may_tell(origin, user_id):
            raise NotFound("There is no such person")
        found = await self._database.read(_read_devices, user_id)
        if found is None:
            raise NotFound("There is no such person")
        return found

    async def query(self, origin: ServerName, wanted: Wanted) -> KeyAnswer:
        """The keys of people's devices (with no device IDs: of all), and their cross-signing keys.

        Spec: server-server-api#post_matrixfederationv1userkeysquery
        """
        allowed = {person: frozenset(wanted[person]) for person in await self._allowed(origin, wanted)}
        return await self._database.read(read_keys, _NOBODY, allowed)

    async def claim(self, origin: ServerName, wanted: Claims) -> Claimed:
        """Take a one-time key of each of some devices.

        Spec: server-server-api#post_matrixfederationv1userkeysclaim
        """
        allowed = {person: wanted[person] for person in await self._allowed(origin, wanted)}
        return await self._database.write(take_keys, allowed)

    async def may_tell(self, origin: ServerName, person: UserID) -> bool:
        """Whether a server may know of somebody's devices."""
        shares_room = partial(self._shares_room, origin, person)
        return await allows(self._policy, TellServer(by=None, server=origin, about="devices", shares_room=shares_room))

    async def _allowed(self, origin: ServerName, people: Iterable[UserID]) -> list[UserID]:
        return [person for person in people if await self.may_tell(origin, person)]

    async def _shares_room(self, origin: ServerName, person: UserID) -> bool:
        return await self._database.read(remotedevices.shares_room, origin, person)


def _read_devices(txn: Txn, user_id: UserID) -> dict[str, Any] | None:
    if not load_active(txn, [user_id]):
        return None
    found = read_keys(txn, _NOBODY, {user_id: frozenset[DeviceID]()})
    answer: dict[str, Any] = {
        "user_id": user_id,
        "stream_id": remotedevices.find_version(txn, user_id),
        "devices": [{"device_id": each, "keys": signed} for each, signed in found.devices[user_id].items()],
    }
    for name, by_person in (("master_key", found.master), ("self_signing_key", found.self_signing)):
        if user_id in by_person:
            answer[name] = by_person[user_id]
    return answer
