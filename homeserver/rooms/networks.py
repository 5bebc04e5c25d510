"""The room directories of other networks, which application services keep.

Spec: application-service-api#published-room-directories
"""

from functools import partial
from typing import Final

import msgspec

from federation.ids import RoomID, UserID
from homeserver.accounts.appservices.registry import AppService, AppServices
from homeserver.policy import Hidden, Invalid, NotFound, Policy, PublishRoom, SeeRoom, allows
from homeserver.rooms.listing import build_listing
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.storage.appservices import load_listed, set_listed
from homeserver.storage.database import Database
from homeserver.storage.directory import Listing

MOST_ROOMS: Final = 100
FIRST_OF_NETWORKS: Final = "w0"
"""The token of the first page of all networks' rooms."""
LONGEST_ID: Final = 255


class Networks:
    """Lists rooms in the directories of networks, and finds listed ones."""

    def __init__(self, rooms: Rooms, database: Database, policy: Policy, services: AppServices) -> None:
        self._rooms = rooms
        self._db = database
        self._policy = policy
        self._services = services

    @property
    def are_there(self) -> bool:
        """Whether there is anybody who keeps one."""
        return bool(self._services.all)

    async def set_listed(self, service: AppService, by: UserID, network_id: str, room_id: str, *, listed: bool) -> None:
        """List a room in the directory of a service's network, or take it out.

        Raises:
            NotFound: there is no such room, also where none of the service's people is in it.
            Refused: the policy lists none.
            Invalid: the network cannot be named so.

        Spec: client-server-api#put_matrixclientv3directorylistappservicenetworkidroomid
        """
        if not 0 < len(network_id) <= LONGEST_ID or not network_id.isprintable():
            raise Invalid("M_INVALID_PARAM", "Not the ID of a network")
        room = await self._rooms.load(room_id)
        if room is None or not _concerns(room, service):
            raise NotFound("Room not found")
        try:
            await self._policy.check(PublishRoom(by=by, room=room, published=listed))
        except Hidden:
            raise NotFound("Room not found") from None
        await self._db.write(partial(set_listed, listed=listed), (service.id, network_id), room.nid)

    async def find(
        self, by: UserID | None, instance_id: str | None, since: str | None, limit: int, words: str
    ) -> dict[str, object]:
        """A page of the rooms of a network, or (None) of all, in client form, for whoever may know of them.

        Raises: NotFound: there is no such network; Invalid for a token that is none.
        Spec: client-server-api#post_matrixclientv3publicrooms
        """
        network = None if instance_id is None else self._parse(instance_id)
        most = min(max(limit, 1), MOST_ROOMS)
        page = await self._db.read(load_listed, network, _position(since), most + 1)
        listings = [await self._see(by, room_id) for _, room_id in page[:most]]
        found = [each for each in listings if each is not None and words.casefold() in each.words]
        answer: dict[str, object] = {
            "chunk": [msgspec.Raw(each.summary) for each in sorted(found, key=lambda each: -each.members)],
            "total_room_count_estimate": len(found),
        }
        if len(page) > most:
            answer["next_batch"] = f"w{page[most - 1][0]}"
        return answer

    def _parse(self, instance_id: str) -> tuple[str, str]:
        """The service and the network that an instance's ID names."""
        for service in self._services.all:
            if instance_id.startswith(f"{service.id}|"):
                return service.id, instance_id.removeprefix(f"{service.id}|")
        raise NotFound("There is no such network")

    async def _see(self, by: UserID | None, room_id: RoomID) -> Listing | None:
        room = await self._rooms.load(room_id)
        if room is None or not await allows(self._policy, SeeRoom(by=by, room=room)):
            return None
        return build_listing(room.record, room.head)


def build_instance_id(service: AppService, network_id: str) -> str:
    """How clients name a network of a service."""
    return f"{service.id}|{network_id}"


def is_of_networks(since: str | None) -> bool:
    """Whether a page's token is one of `Networks`."""
    return since is not None and since.startswith("w")


def _concerns(room: Room, service: AppService) -> bool:
    return service.may_enter(room.room_id) and any(service.covers_user(user_id) for user_id in room.joined_members)


def _position(since: str | None) -> int:
    if since is None:
        return 0
    digits = since.removeprefix("w")
    if digits == since or not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise Invalid("M_INVALID_PARAM", "Not a pagination token")
    return int(digits)
