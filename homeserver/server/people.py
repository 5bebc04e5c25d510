"""The composition of what concerns people of other servers: their devices and keys, profiles, what is told of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from homeserver.accounts.openid import OpenIDTokens
from homeserver.accounts.remoteprofiles import ProfilesForServers, RemoteProfiles
from homeserver.api.route import Route
from homeserver.api.server import devices, queries
from homeserver.api.server import media as server_media
from homeserver.api.server import rooms as server_rooms
from homeserver.devices.remote.asking import Asking
from homeserver.devices.remote.elsewhere import KeysElsewhere, OutOfReach
from homeserver.devices.remote.lists import RemoteLists
from homeserver.devices.remote.receiving import DeviceNews
from homeserver.devices.remote.serving import KeysForServers
from homeserver.ephemeral.receiving import EphemeralNews
from homeserver.rooms.acl import check_acl
from homeserver.rooms.afar import RoomsAfar
from homeserver.rooms.levels import RoomsForServers
from homeserver.server.accounts import AccountParts
from homeserver.server.core import Core
from homeserver.server.media import MediaParts, build_remote_media
from homeserver.server.receiving import ReceivingParts
from homeserver.server.region import RegionParts
from homeserver.server.rooms import RoomParts
from homeserver.server.sync import SyncParts
from homeserver.storage.database import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What people of other servers are known by here."""

    region: RegionParts
    rooms: RoomParts
    people: AccountParts
    told: SyncParts
    receiving: ReceivingParts
    media: MediaParts


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteParts:
    """People elsewhere, and what their servers are told of ours."""

    lists: RemoteLists
    keys: KeysForServers
    afar: RoomsAfar | None

    async def resume(self) -> None:
        """Take up what an earlier run left unfinished."""
        if self.federates:
            await self.lists.resume()

    def stop(self) -> None:
        """Begin nothing any more."""
        self.lists.stop()

    def heed(self, changes: Iterable[Change]) -> None:
        """Take note of what a commit tells."""
        if self.afar is not None:
            self.lists.heed(changes)
            self.afar.heed(changes)

    @property
    def federates(self) -> bool:
        """Whether there are others to be told, and to ask."""
        return self.afar is not None


def build_remote(core: Core, parts: Parts) -> RemoteParts:
    """Make what knows people elsewhere; what asks for them, and what takes what is sent of them, learns of it."""
    database, policy, reactor = core.database, core.policy, core.world.reactor
    asking = Asking(parts.region.peers, core.world.run)
    lists = RemoteLists(core.world.server_name, database, asking, reactor)
    afar = None
    parts.people.keys.elsewhere = OutOfReach(core.world.server_name)
    if parts.region.regions.mode != "none":
        parts.people.keys.elsewhere = KeysElsewhere(lists, asking, database, reactor)
        afar = _open_doors(core, parts)
    devices_told = DeviceNews(lists, database, policy)
    told = EphemeralNews(
        database, policy, parts.rooms.doors.rooms.load, check_acl, parts.told.typing, parts.told.presences
    )
    parts.receiving.transactions.edus.update(
        {
            "m.typing": told.take_typing,
            "m.receipt": told.take_receipts,
            "m.presence": told.take_presence,
            "m.direct_to_device": devices_told.take_messages,
            "m.device_list_update": devices_told.take_update,
            "m.signing_key_update": devices_told.take_signing_keys,
        }
    )
    return RemoteParts(lists=lists, keys=KeysForServers(database, policy), afar=afar)


def _open_doors(core: Core, parts: Parts) -> RoomsAfar:
    """What asks other servers for people and rooms that are not here, for those who want to learn of them."""
    world, peers, doors = core.world, parts.region.peers, parts.rooms.doors
    parts.rooms.profiles.elsewhere = RemoteProfiles(world.server_name, peers)
    parts.media.media.elsewhere = build_remote_media(core, parts.media, parts.region)
    afar = RoomsAfar(doors.rooms, peers, core.policy, world.now_ms)
    doors.directory.afar = doors.spaces.afar = doors.summaries.afar = doors.dates.afar = afar
    return afar


def remote_routes(core: Core, parts: RoomParts, media: MediaParts, remote: RemoteParts) -> tuple[Route, ...]:
    """The endpoints for other servers that concern people and rooms they are not in; none without federation."""
    if not remote.federates:
        return ()
    database, policy, doors = core.database, core.policy, parts.doors
    bare = core.world.settings.policy == "school"
    rooms = RoomsForServers(doors.rooms, doors.aliases, policy)
    profiles = ProfilesForServers(parts.profiles, database, policy, bare=bare)
    tokens = OpenIDTokens(database, policy, core.mint, core.world.now_ms)
    return (
        *devices.routes(remote.keys),
        *queries.routes(profiles, rooms, tokens),
        *server_rooms.routes(doors.directory, rooms),
        *server_media.routes(media.media, core.world.token_bytes),
    )
