"""A server in a room that people of other servers want into or out of: it proposes events, and takes them.

Spec: server-server-api#joining-rooms, server-server-api#knocking-rooms,
server-server-api#leaving-rooms-rejecting-invites
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from federation.auth import check_auth
from federation.errors import BadEvent, BadIdentifier, BadSignature, Refused, RemoteFault
from federation.event import Event, parse_event
from federation.hashes import check_content_hash
from federation.ids import EventID, RoomID, ServerName, UserID, parse_user_id, server_of
from federation.signatures import sign_event
from homeserver.policy import Hidden, Invalid, Join, Knock, Leave, NotFound, RoomAct
from homeserver.rooms.acl import check_acl
from homeserver.rooms.giving import MOST_CHAIN
from homeserver.rooms.membership import RoomBlocked
from homeserver.rooms.remote.faults import IncompatibleVersion
from homeserver.rooms.remote.ground import Ground, build_unknown
from homeserver.rooms.restricted import RESTRICTED, allowing_rooms, find_authoriser, is_left_to_policy, join_rule
from homeserver.rooms.room import Room, seal_draft
from homeserver.rooms.seal import Draft
from homeserver.rooms.servers import servers_of
from homeserver.rooms.shown import shown_to
from homeserver.storage.database import Txn
from homeserver.storage.given import load_chain, load_state_before
from homeserver.storage.purge import find_blocker
from homeserver.storage.rooms import RoomRecord

Move: TypeAlias = Literal["join", "knock", "leave"]

AUTHORISER: Final = "join_authorised_via_users_server"
MOST_HEROES: Final = 5
_ACTS: Final[Mapping[Move, type[RoomAct]]] = {"join": Join, "knock": Knock, "leave": Leave}
_UNSEALED: Final = ("hashes", "signatures", "event_id")
_REASONS: Final = (Refused, Invalid, IncompatibleVersion)
"""Why it cannot be: told only to those who may learn that there is such a room."""
_NAMES: Final = (("m.room.name", ""), ("m.room.canonical_alias", ""))


class Proposal(NamedTuple):
    """An event that another server may complete, sign and send, and the version of the room."""

    version: str
    event: dict[str, Any]


class Entry(NamedTuple):
    """What a server learns that has come into a room: the state before that and what it rests on, as canonical JSON.

    `servers` are those that were in the room; `omitted`: the state lacks members.
    """

    event: bytes
    state: list[bytes]
    chain: list[bytes]
    servers: list[ServerName]
    omitted: bool

    def dump(self) -> dict[str, Any]:
        """The answer to `send_join`.

        Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
        """
        return {
            "state": [msgspec.Raw(raw) for raw in self.state],
            "auth_chain": [msgspec.Raw(raw) for raw in self.chain],
            "event": msgspec.Raw(self.event),
            "members_omitted": self.omitted,
            "servers_in_room": self.servers,
        }


class Resident:
    """Lets people of other servers into rooms, and out of them.

    Methods raise NotFound for a room in which this server has no part, and for one that is not for the person; Refused
    where the rules or the policy forbid it, and Invalid for what makes no sense.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.server = ground.server

    async def propose(
        self, origin: ServerName, room_id: str, user_id: str, move: Move, versions: Collection[str]
    ) -> Proposal:
        """The event by which somebody of another server might join, knock or leave.

        Raises: IncompatibleVersion when the server speaks none of these `versions`.
        Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid
        """
        person = parse_user_id(user_id)
        if server_of(person) != origin:
            raise Refused("origin", "That is nobody of the server that asks")
        room = await self._open(origin, room_id)
        try:
            return await self._propose(room, person, move, versions)
        except _REASONS:
            await self._ground.check_known(origin, room)
            raise

    async def _propose(self, room: Room, person: UserID, move: Move, versions: Collection[str]) -> Proposal:
        await self._check_policy(room, person, move)
        if move != "leave" and room.version.id not in versions:
            raise IncompatibleVersion(room.version.id)
        if move == "knock" and not room.version.knock:
            raise Refused("knock", "Nobody knocks at rooms of this version")
        content: dict[str, Any] = {"membership": move}
        if move == "join":
            content |= await self._let_in(room, person)
        await self._ground.rooms.wait_for(room)  # others must not be told of what is not committed
        draft = Draft(type="m.room.member", sender=person, content=content, state_key=person)
        event = seal_draft(self._ground.seal, room.record, room.head, draft).event
        check_auth(event, room.head.find, create=room.create, levels=room.head.levels)
        proposed = {name: value for name, value in event.pdu().items() if name not in _UNSEALED}
        return Proposal(room.version.id, {**proposed, "origin": self.server})

    async def let_join(
        self, origin: ServerName, place: tuple[str, str], pdu: Mapping[str, Any], *, omit_members: bool = False
    ) -> Entry:
        """Take a join that another server has signed; what that server must know of the room.

        `place` are the IDs of room and event that the request names.

        Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
        """
        servers = list(servers_of(await self._open(origin, place[0])))
        room, event = await self._take(origin, place, pdu, "join")
        found = await self._ground.database.read(
            partial(_read_entry, record=room.record, event=event, servers=servers, omit_members=omit_members)
        )
        if found is None:
            raise NotFound("The state before that event is not known here")
        return found

    async def let_knock(self, origin: ServerName, place: tuple[str, str], pdu: Mapping[str, Any]) -> list[msgspec.Raw]:
        """Take a knock that another server has signed; what its person is shown of the room.

        Spec: server-server-api#put_matrixfederationv1send_knockroomideventid
        """
        room, event = await self._take(origin, place, pdu, "knock")
        return shown_to(room, event.sender)

    async def let_leave(self, origin: ServerName, place: tuple[str, str], pdu: Mapping[str, Any]) -> None:
        """Take a leave that another server has signed.

        Spec: server-server-api#put_matrixfederationv2send_leaveroomideventid
        """
        await self._take(origin, place, pdu, "leave")

    async def _open(self, origin: ServerName, room_id: str) -> Room:
        room = await self._ground.open(room_id)
        try:
            check_acl(room, origin)
        except Refused:
            await self._ground.check_known(origin, room)
            raise
        return room

    async def _check_policy(self, room: Room, person: UserID, move: Move) -> None:
        try:
            await self._ground.policy.check(_ACTS[move](by=person, room=room))
        except Hidden:
            raise build_unknown() from None
        if move != "leave" and await self._ground.database.read(find_blocker, room.room_id) is not None:
            raise RoomBlocked

    async def _take(
        self, origin: ServerName, place: tuple[str, str], pdu: Mapping[str, Any], move: Move
    ) -> tuple[Room, Event]:
        room = await self._open(origin, place[0])
        try:
            return room, await self._take_in(origin, room, _parse(room, place, pdu, move), move)
        except _REASONS:
            await self._ground.check_known(origin, room)
            raise

    async def _take_in(self, origin: ServerName, room: Room, event: Event, move: Move) -> Event:
        if event.origin != origin:
            raise Refused("origin", "The event is not by somebody of the server that sends it")
        await self._check_policy(room, event.sender, move)
        event = await self._countersign(room, event)
        try:
            await self._ground.receiver.receive(origin, event, passes_on=True)
        except BadSignature as fault:
            raise Refused("signature", f"The event is not properly signed: {fault}") from None
        except RemoteFault as fault:
            raise Invalid("M_INVALID_PARAM", f"The event cannot be taken: {fault}") from None
        return event

    # restricted rooms

    async def _countersign(self, room: Room, event: Event) -> Event:
        """A join, signed by us as well; if one of ours is to have let the person in, only where that is so.

        Spec: server-server-api#joining-rooms, server-server-api#restricted-rooms
        """
        if event.membership != "join":
            return event
        vouches = room.version.restricted_join and self._is_ours(event.content.get(AUTHORISER))
        if vouches and not await self._let_in(room, event.sender) and join_rule(room) not in RESTRICTED:
            raise Refused("restricted", "Nobody has to let anybody into this room")
        return sign_event(event, self._ground.server, self._ground.seal.key)

    def _is_ours(self, authoriser: object) -> bool:
        try:
            return isinstance(authoriser, str) and server_of(parse_user_id(authoriser)) == self._ground.server
        except BadIdentifier as fault:
            raise Invalid("M_INVALID_PARAM", str(fault)) from None

    async def _let_in(self, room: Room, person: UserID) -> dict[str, str]:
        """What a join must say of who let the person in; nothing where that is not needed.

        Raises: Invalid: M_UNABLE_TO_AUTHORISE_JOIN, M_UNABLE_TO_GRANT_JOIN; Refused.
        Spec: server-server-api#restricted-rooms
        """
        if not room.version.restricted_join or join_rule(room) not in RESTRICTED:
            return {}
        member = room.head.find(("m.room.member", person))
        if member is not None and member.membership in ("join", "invite"):
            return {}
        if not is_left_to_policy(room):
            await self._check_allowed(room, person)
        authoriser = find_authoriser(room, self._ground.server)
        if authoriser is None:
            raise Invalid("M_UNABLE_TO_GRANT_JOIN", "Nobody of this server may let people in")
        return {AUTHORISER: authoriser}

    async def _check_allowed(self, room: Room, person: UserID) -> None:
        known = [other for each in allowing_rooms(room) if (other := await self._find_known(each)) is not None]
        if not any(person in other.head.joined for other in known):
            if not known and allowing_rooms(room):
                raise Invalid("M_UNABLE_TO_AUTHORISE_JOIN", "This server does not know the rooms that let people in")
            raise Refused("restricted", "The person is in none of the rooms that let people in")

    async def _find_known(self, room_id: str) -> Room | None:
        """A room whose members this server knows."""
        room = await self._ground.rooms.load(room_id)
        return room if room is not None and self._ground.server in room.head.servers else None


def _parse(room: Room, place: tuple[str, str], pdu: Mapping[str, Any], move: Move) -> Event:
    """The event of a request, if it is what it must be.

    Raises: Invalid.
    """
    try:
        event = parse_event(pdu, room.version)
    except BadEvent as fault:
        raise Invalid("M_INVALID_PARAM", f"That is no event of this room's version: {fault}") from None
    if (event.room_id, event.event_id) != (RoomID(place[0]), EventID(place[1])):
        raise Invalid("M_INVALID_PARAM", "The event is not the one that the path names")
    if event.membership != move or event.state_key != event.sender:
        raise Invalid("M_INVALID_PARAM", f"The event is not somebody's own {move}")
    if not check_content_hash(event):
        raise Invalid("M_INVALID_PARAM", "The event is not what was hashed")
    return event


class _Named(msgspec.Struct):
    type: str
    state_key: str | None = None
    content: msgspec.Raw = msgspec.Raw()


_named: Final = msgspec.json.Decoder(_Named)


def _read_entry(
    txn: Txn, *, record: RoomRecord, event: Event, servers: list[ServerName], omit_members: bool
) -> Entry | None:
    """What to answer to a join that was taken."""
    found = load_state_before(txn, record, event.event_id)
    if found is None:
        return None
    state = list(found.values())
    if omit_members:
        state = _without_members(state, event.sender)
    chain = load_chain(txn, record, [*state, event.raw], MOST_CHAIN)
    if omit_members:
        kept = set(state)
        return Entry(event.raw, state, [raw for raw in chain.values() if raw not in kept], servers, True)
    return Entry(event.raw, state, list(chain.values()), servers, False)


def _without_members(state: list[bytes], person: UserID) -> list[bytes]:
    """A state without its members, but for those after whom a room without a name is called.

    Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
    """
    named = {(each.type, each.state_key): raw for raw in state for each in [_named.decode(raw)]}
    kept = [raw for (kind, _), raw in named.items() if kind != "m.room.member"]
    if any(key in named for key in _NAMES):
        return kept
    heroes = [
        raw
        for (kind, key), raw in named.items()
        if kind == "m.room.member" and key != person and b'"membership":"join"' in bytes(_named.decode(raw).content)
    ]
    return kept + heroes[:MOST_HEROES]
