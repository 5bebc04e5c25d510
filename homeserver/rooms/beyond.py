"""What the doors to rooms need of other servers, where there are any.

The doors are made before there is anything to ask; `rooms.remote` is put into their `beyond` afterwards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from federation.auth import check_auth
from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID, RoomAlias, RoomID, ServerName, UserID, server_of
from homeserver.policy import Hidden, Invalid
from homeserver.rooms.acl import is_let_in
from homeserver.rooms.room import Room, seal_draft
from homeserver.rooms.seal import Draft, Seal
from homeserver.storage.invites import Outlying


@dataclass(frozen=True, slots=True, kw_only=True)
class Entering:
    """Somebody of ours wants into a room, by way of these servers; `content` is what they show of themselves.

    `anew`: also where this server is in the room, because it may let nobody in itself.
    """

    person: UserID
    room_id: RoomID
    via: Iterable[str] = ()
    content: Mapping[str, object]
    anew: bool = False


class Beyond(Protocol):
    """The ways into rooms of other servers, and out of them."""

    def lacks(self, room: Room | None, /) -> bool:
        """Whether this server has no part in a room, so that others must be asked."""

    async def join(self, wanted: Entering, /) -> bool:
        """Join a room; False when this server has come into it meanwhile."""

    async def knock(self, wanted: Entering, /) -> bool:
        """Ask to be let in; False when this server has come into the room meanwhile."""

    async def leave(self, person: UserID, room_id: str, content: Mapping[str, object], /) -> None:
        """Refuse an invitation or take back a knock."""

    async def invite(self, room: Room, draft: Draft, /) -> EventID:
        """Ask somebody of another server in."""

    async def find_outlying(self, person: UserID, room_id: str, /) -> Outlying | None:
        """What somebody of ours is in a room, whether or not this server has part in it."""

    async def find_alias(self, alias: RoomAlias, /) -> tuple[RoomID, list[ServerName]] | None:
        """The room that another server's alias leads to, and servers that know it."""


class UnsupportedVersion(Invalid):
    """The other server does not speak the room's version.

    Spec: client-server-api#post_matrixclientv3roomsroomidinvite
    """

    def __init__(self) -> None:
        super().__init__("M_UNSUPPORTED_ROOM_VERSION", "The person's server does not speak the room's version")


def seal_invitation(seal: Seal, room: Room, draft: Draft) -> Event:
    """The event by which somebody of another server is to be asked in, as far as this server can judge it.

    Raises: Refused, also where the room is for this server's people only, or wants nothing to do with theirs.
    Spec: client-server-api#mroomcreate
    """
    if room.create.content.get("m.federate") is False:
        raise Refused("federate", "The room is for people of this server only")
    if not is_let_in(room.head.find(("m.room.server_acl", "")), server_of(UserID(draft.state_key or ""))):
        raise Refused("acl", "The room's access list denies the person's server")
    event = seal_draft(seal, room.record, room.head, draft).event
    check_auth(event, room.head.find, create=room.create, levels=room.head.levels)
    return event


class Nowhere:
    """There are no other servers."""

    def lacks(self, _room: Room | None, /) -> bool:
        """There is nobody to ask."""
        return False

    async def join(self, _wanted: Entering, /) -> bool:
        """There is nothing to join."""
        raise Hidden

    async def knock(self, _wanted: Entering, /) -> bool:
        """There is nothing to knock at."""
        raise Hidden

    async def leave(self, _person: UserID, _room_id: str, _content: Mapping[str, object], /) -> None:
        """There is nothing to leave."""
        raise Hidden

    async def invite(self, _room: Room, _draft: Draft, /) -> EventID:
        """There is nobody to ask in."""
        raise Refused("federation", "People of other servers cannot be invited here")

    async def find_outlying(self, _person: UserID, _room_id: str, /) -> Outlying | None:
        """There is nothing outside."""
        return None

    async def find_alias(self, _alias: RoomAlias, /) -> tuple[RoomID, list[ServerName]] | None:
        """There is nobody to ask."""
        return None
