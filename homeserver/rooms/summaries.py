"""Summaries of rooms, for those who may learn of them before they are in.

Spec: client-server-api#room-previews
"""

from collections.abc import Sequence

from federation.errors import Refused, RemoteFault
from federation.ids import UserID
from homeserver.policy import NotFound, Policy, SeeRoom, allows
from homeserver.rooms.afar import RoomsAfar
from homeserver.rooms.aliases import Aliases
from homeserver.rooms.listing import build_summary, read_text
from homeserver.rooms.restricted import RESTRICTED, allowing_rooms, is_let_in, join_rule
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.view import is_world_readable


class Summaries:
    """Tells of rooms to those who are in, may come in, may knock or may look in.

    Rooms that are not known here are found by `afar`.
    """

    afar: RoomsAfar | None = None

    def __init__(self, rooms: Rooms, policy: Policy, aliases: Aliases) -> None:
        self._rooms = rooms
        self._policy = policy
        self._aliases = aliases

    async def summary(self, by: UserID, room_id_or_alias: str, via: Sequence[str] = ()) -> dict[str, object]:
        """A room's summary, in client form; `via` are servers that may know it.

        Raises: NotFound, also for who may not know; BadIdentifier for what is no alias.
        Spec: client-server-api#get_matrixclientv1room_summaryroomidoralias
        """
        room_id, servers = room_id_or_alias, list(via)
        if room_id.startswith("#"):
            try:
                room_id, known = await self._aliases.resolve(room_id, by)
            except (Refused, RemoteFault):
                raise NotFound("Room not found") from None
            servers += known
        room = await self._rooms.load(room_id)
        if room is not None and await self.may_learn(by, room):
            membership = room.membership(by)
            return summarise(room) | ({} if membership is None else {"membership": membership})
        is_ours = room is not None and self._rooms.seal.server in room.shown.servers
        level = None if self.afar is None or is_ours else await self.afar.find(by, room_id, servers)
        if level is None:
            raise NotFound("Room not found")
        return level.summary

    async def may_learn(self, by: UserID, room: Room) -> bool:
        """Whether somebody may learn of a room: by being in or invited, or by its rules; and by the policy.

        Spec: client-server-api#get_matrixclientv1roomsroomidhierarchy
        """
        return await self._is_open_to(by, room) and await allows(self._policy, SeeRoom(by=by, room=room))

    async def _is_open_to(self, by: UserID, room: Room) -> bool:
        membership = room.membership(by)
        if membership in ("join", "invite"):
            return True
        if membership == "ban":
            return False
        rule, version = join_rule(room), room.version
        if rule == "public" or is_world_readable(room):
            return True
        if (rule == "knock" and version.knock) or (rule == "knock_restricted" and version.knock_restricted):
            return True
        return rule == "restricted" and version.restricted_join and await is_let_in(self._rooms, room, by)


def summarise(room: Room) -> dict[str, object]:
    """What is told of a room: its entry in the directory, and what one needs to know before joining.

    Spec: client-server-api#get_matrixclientv1room_summaryroomidoralias
    """
    summary = build_summary(room.record, room.shown) | {"room_version": room.version.id}
    algorithm = read_text(room.state("m.room.encryption"), "algorithm")
    if algorithm is not None:
        summary["encryption"] = algorithm
    if join_rule(room) in RESTRICTED:
        summary["allowed_room_ids"] = allowing_rooms(room)
    return summary
