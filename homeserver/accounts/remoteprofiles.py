"""Profiles across servers: those of people elsewhere, asked for each time, and ours for other servers.

What a member event says of somebody's name is for that room; a profile is what their server says of it.

Spec: server-server-api#get_matrixfederationv1queryprofile
"""

from functools import partial
from typing import Any, Final

import msgspec

from federation.errors import BadIdentifier, PeerRefused, Refused
from federation.ids import ServerName, UserID, server_of
from federation.transport.peers import Asks
from homeserver.accounts.profile import LARGEST, SHOWN_IN_ROOMS, Profiles, check_value, parse_field
from homeserver.policy import Invalid, NotFound, Policy, TellServer
from homeserver.storage.database import Database
from homeserver.storage.remotedevices import shares_room

WAIT_S: Final = 10.0
_PATH: Final = "/_matrix/federation/v1/query/profile"


class RemoteProfiles:
    """Asks for profiles of people elsewhere."""

    def __init__(self, server: ServerName, peers: Asks) -> None:
        self._server = server
        self._peers = peers

    def is_theirs(self, user_id: UserID) -> bool:
        """Whether it is somebody of another server."""
        return server_of(user_id) != self._server

    async def see(self, user_id: UserID) -> dict[str, Any]:
        """The profile of somebody elsewhere, as far as it is well-formed.

        Raises: NotFound when their server knows nobody of that name, or does not say; RemoteFault.
        """
        try:
            answer = await self._peers.ask(
                server_of(user_id), "GET", _PATH, query=[("user_id", user_id)], timeout_s=WAIT_S, most_bytes=2 * LARGEST
            )
        except Refused:
            raise _unknown() from None
        except PeerRefused as refusal:
            if refusal.status in (403, 404):
                raise _unknown() from None
            raise
        values = {name: value for name, value in answer.items() if value is not None and _is_good(name, value)}
        return values if len(msgspec.json.encode(values)) < LARGEST else {}


def _unknown() -> NotFound:
    return NotFound("There is no such profile")


class ProfilesForServers:
    """Tells other servers the profiles of ours; with `bare` no more than what rooms show."""

    def __init__(self, profiles: Profiles, database: Database, policy: Policy, *, bare: bool) -> None:
        self._profiles = profiles
        self._database = database
        self._policy = policy
        self._bare = bare

    async def tell(self, origin: ServerName, user_id: UserID, name: str | None) -> dict[str, Any]:
        """The profile of somebody of ours, or one field of it; empty where that is not set.

        Raises: NotFound when there is no such person here, or the server may not know: one answer for both.
        Spec: server-server-api#get_matrixfederationv1queryprofile
        """
        asks = partial(self._shares_room, origin, user_id)
        try:
            await self._policy.check(TellServer(by=None, server=origin, about="profile", shares_room=asks))
        except Refused:
            raise _unknown() from None
        values = await self._profiles.load(user_id)
        return {
            key: value
            for key, value in values.items()
            if name in (None, key) and (key in SHOWN_IN_ROOMS or not self._bare)
        }

    async def _shares_room(self, origin: ServerName, user_id: UserID) -> bool:
        return await self._database.read(shares_room, origin, user_id)


def _is_good(name: str, value: Any) -> bool:
    try:
        parse_field(name)
        check_value(name, value)
    except (Invalid, BadIdentifier):
        return False
    return True
