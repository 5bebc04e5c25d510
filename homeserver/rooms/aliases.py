"""Aliases: names that lead to rooms.

Spec: client-server-api#room-aliases
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from federation.errors import BadIdentifier, Refused, RemoteFault
from federation.ids import RoomAlias, RoomID, ServerName, UserID, parse_room_alias, server_of
from homeserver.accounts.appservices.questions import Questions
from homeserver.policy import (
    Administer,
    Conflict,
    Hidden,
    Invalid,
    NotFound,
    Policy,
    SeeRoom,
    SetAlias,
    absent,
    allows,
)
from homeserver.rooms.beyond import Beyond, Nowhere
from homeserver.rooms.outlying import OutlyingRoom
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.rooms.view import is_world_readable
from homeserver.storage.database import Database, Txn
from homeserver.storage.directory import append_alias, find_alias, load_aliases, remove_alias

CANONICAL_ALIAS: Final = "m.room.canonical_alias"
MOST_SERVERS: Final = 50


class Target(NamedTuple):
    """Where an alias leads, and servers that know the room."""

    room_id: RoomID
    servers: list[ServerName]


class Aliases:
    """Finds, makes and removes the aliases of this server."""

    def __init__(
        self, rooms: Rooms, database: Database, policy: Policy, now_ms: Callable[[], int], questions: Questions
    ) -> None:
        self.beyond: Beyond = Nowhere()
        self._questions = questions
        self._rooms = rooms
        self._db = database
        self._policy = policy
        self._now_ms = now_ms

    async def find(self, by: UserID | None, alias: str) -> Target:
        """Where an alias leads, for somebody who may learn of it; another server's is asked for there.

        Raises: NotFound otherwise; BadIdentifier; RemoteFault.
        Spec: client-server-api#get_matrixclientv3directoryroomroomalias
        """
        parsed = parse_room_alias(alias)
        room = await self._find_or_summon(parsed)
        if room is not None:
            if await allows(self._policy, SeeRoom(by=by, room=room)):
                return Target(room.room_id, self.servers_of(room))
            raise _no_alias()
        found = await self._find_elsewhere(by, parsed)
        if found is None:
            raise _no_alias()
        return found

    async def resolve(self, room_id_or_alias: str, by: UserID | None = None) -> Target:
        """The room ID that is meant, and servers that know the room where an alias tells them; for the doors that take
        either and ask the policy themselves.

        Raises: NotFound or Hidden for an alias that leads nowhere; BadIdentifier; RemoteFault.
        """
        if room_id_or_alias.startswith("!"):
            return Target(RoomID(room_id_or_alias), [])
        alias = parse_room_alias(room_id_or_alias)
        room = await self._find_or_summon(alias)
        found = Target(room.room_id, []) if room is not None else await self._find_elsewhere(by, alias)
        if found is None:
            raise await absent(self._policy, by)
        return found

    async def _find_elsewhere(self, by: UserID | None, alias: RoomAlias) -> Target | None:
        """Where another server's alias leads."""
        if by is None or server_of(alias) == self._rooms.seal.server:
            return None
        if not await allows(self._policy, SeeRoom(by=by, room=OutlyingRoom(RoomID("")))):
            return None
        found = await self.beyond.find_alias(alias)
        return None if found is None else Target(*found)

    async def _find_or_summon(self, alias: RoomAlias) -> Room | None:
        """The room of an alias, which an application service may make now.

        Raises: NoAnswer.
        """
        room = await self.find_room(alias)
        if room is None and server_of(alias) == self._rooms.seal.server and await self._questions.summon_alias(alias):
            return await self.find_room(alias)
        return room

    def servers_of(self, room: Room) -> list[ServerName]:
        """Servers that know the room, ours first."""
        ours = self._rooms.seal.server
        return [ours, *(server for server in islice(room.shown.servers, MOST_SERVERS) if server != ours)]

    async def find_room(self, alias: RoomAlias) -> Room | None:
        """The room that an alias leads to."""
        found = await self._db.read(find_alias, alias)
        return None if found is None else await self._rooms.load(found.room_id)

    async def set(self, by: UserID, alias: str, room_id: str) -> None:
        """Give a room an alias; its members may.

        Raises: Conflict when it is taken; Invalid for another server's; BadIdentifier; Hidden; Refused.
        Spec: client-server-api#put_matrixclientv3directoryroomroomalias
        """
        parsed = parse_room_alias(alias)
        if server_of(parsed) != self._rooms.seal.server:
            raise Invalid("M_INVALID_PARAM", "That is another server's alias")
        self._questions.services.check_alias(parsed, by)
        room = await self._rooms.load(room_id)
        if room is None or by not in room.joined_members:
            raise Hidden
        await self._policy.check(SetAlias(by=by, room=room, alias=parsed))
        await self._db.write(_append, parsed, room.nid, by, self._now_ms())

    async def remove(self, by: UserID, alias: str, *, is_admin: bool = False) -> None:
        """Take an alias away: who made it may, who may name the room's canonical alias, and this server's admin.

        If the room's canonical alias event names it, and the person may change that, it is dropped there as well.

        Raises: NotFound, also for who may not know; BadIdentifier; Refused.
        Spec: client-server-api#delete_matrixclientv3directoryroomroomalias
        """
        parsed = parse_room_alias(alias)
        found = await self._db.read(find_alias, parsed)
        room = None if found is None else await self._rooms.load(found.room_id)
        if found is None or room is None or not await allows(self._policy, SeeRoom(by=by, room=room)):
            raise _no_alias()
        is_own = is_admin or self._questions.services.check_alias(parsed, by)
        if not (is_own or by == found.creator or may_name(room, by)):
            raise Refused("alias", "Only who made this alias or may name the room can remove it")
        await self._policy.check(SetAlias(by=by, room=room, alias=parsed, removed=True))
        await self._remove(by, parsed, room)

    async def of_room(self, by: UserID, room_id: str, *, is_admin: bool = False) -> list[RoomAlias]:
        """The aliases of a room for its members and for operators, or for all if it is world readable.

        Raises: Hidden; Refused.
        Spec: client-server-api#get_matrixclientv3roomsroomidaliases
        """
        room = await self._rooms.load(room_id)
        if room is None or not (is_admin or by in room.joined_members or is_world_readable(room)):
            raise Hidden
        if is_admin:
            await self._policy.check(Administer(by=by, deed="see_room", room_id=room_id))
        elif by not in room.joined_members:
            await self._policy.check(SeeRoom(by=by, room=room))
        return await self._db.read(load_aliases, room.nid)

    async def check_canonical(self, room: Room, content: Mapping[str, object]) -> None:
        """Refuse a canonical alias event that newly names an alias which does not lead to the room.

        Raises: Invalid: M_INVALID_PARAM for what is no alias, M_BAD_ALIAS for one that leads elsewhere.
        Spec: client-server-api#put_matrixclientv3roomsroomidstateeventtypestatekey
        """
        before = room.head.find((CANONICAL_ALIAS, ""))
        known = set(aliases_in(before.content)) if before is not None else set()
        for alias in aliases_in(content):
            if alias not in known and not await self._leads_to(alias, room):
                raise Invalid("M_BAD_ALIAS", f"The alias {alias} does not lead to this room")

    async def _leads_to(self, alias: RoomAlias, room: Room) -> bool:
        if server_of(alias) != self._rooms.seal.server:
            try:
                elsewhere = await self.beyond.find_alias(alias)
            except (RemoteFault, Refused):
                return False
            return elsewhere is not None and elsewhere[0] == room.room_id
        found = await self._db.read(find_alias, alias)
        return found is not None and found.room_id == room.room_id

    async def _remove(self, by: UserID, alias: RoomAlias, room: Room) -> None:
        removal = partial(_remove_alias, alias)
        draft = _without(room, by, alias)
        if draft is not None and may_name(room, by):
            await self._rooms.commit([(room, [draft])], [removal])
        else:
            await self._db.write(removal)


def aliases_in(content: Mapping[str, object]) -> list[RoomAlias]:
    """The aliases that a canonical alias event names.

    Raises: Invalid.
    Spec: client-server-api#mroomcanonical_alias
    """
    canonical = content.get("alias")
    named = [*([] if canonical in (None, "") else [canonical]), *_list_in(content)]
    try:
        return [parse_room_alias(alias) for alias in named]  # type: ignore[arg-type]  # it checks
    except BadIdentifier as fault:
        raise Invalid("M_INVALID_PARAM", f"Not an alias: {fault}") from None


def may_name(room: Room, by: UserID) -> bool:
    """Whether somebody may set the room's canonical alias."""
    levels = room.head.levels
    return by in room.joined_members and levels.power_of(by) >= levels.level_for_event(CANONICAL_ALIAS, is_state=True)


def _list_in(content: Mapping[str, object]) -> list[object]:
    listed = content.get("alt_aliases", [])
    if not isinstance(listed, list):
        raise Invalid("M_INVALID_PARAM", "alt_aliases is a list")
    return listed


def _without(room: Room, by: UserID, alias: RoomAlias) -> Draft | None:
    """A canonical alias event that names the alias no longer, if the present one does."""
    before = room.head.find((CANONICAL_ALIAS, ""))
    if before is None or alias not in (before.content.get("alias"), *_alternatives(before.content)):
        return None
    content = dict(before.content)
    if content.get("alias") == alias:
        del content["alias"]
    if "alt_aliases" in content:
        content["alt_aliases"] = [other for other in _alternatives(content) if other != alias]
    return Draft(type=CANONICAL_ALIAS, sender=by, content=content, state_key="")


def _alternatives(content: Mapping[str, object]) -> list[object]:
    listed = content.get("alt_aliases")
    return listed if isinstance(listed, list) else []


def _remove_alias(alias: RoomAlias, txn: Txn) -> None:
    remove_alias(txn, alias)


def _no_alias() -> NotFound:
    return NotFound("There is no such room alias")


def _append(txn: Txn, alias: RoomAlias, room_nid: int, by: UserID, now_ms: int) -> None:
    """The unit of a new alias: what raises is not committed."""
    if not append_alias(txn, alias, room_nid, by, now_ms):
        raise Conflict("M_UNKNOWN", "That alias exists already")
