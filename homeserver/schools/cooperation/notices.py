"""What the two sides of a cooperation tell each other: each all of its own half, by number, until the other has it.

A region is believed what it says of its own organisations and rooms, and nothing else: no notice changes the terms, and
none names a room that is somebody else's. A room comes with its create event, of which its ID is the hash, so that it
can be seen whose it is.

School: rows 63, 67, 68
"""

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import quote

from msgspec import Meta, Struct, to_builtins
from msgspec.structs import replace

from federation.canonical import MAX_INTEGER
from federation.errors import BadEvent, PeerUnreachable, Refused, RemoteFault
from federation.event import Event, parse_event
from federation.ids import RoomID, ServerName
from federation.transport.peers import Asks
from federation.transport.tasks import side_by_side
from federation.versions import ROOM_VERSIONS
from homeserver.policy import Hidden, Invalid
from homeserver.schools.books import World
from homeserver.schools.cooperation.claims import PATIENCE_S
from homeserver.schools.cooperation.network import Network, Without
from homeserver.schools.names import parse_title
from homeserver.schools.rights import COOPERATIVE, KINDS, Kind, Role, Standing
from homeserver.schools.rooms import VERSION
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, Txn
from homeserver.storage.schools.cooperation import (
    Cooperation,
    NetworkRoom,
    count_proposals,
    find_cooperation,
    load_network_rooms,
    load_untold,
    set_cooperation,
    set_network_room,
    set_told,
)
from homeserver.storage.schools.organisations import find_organisation

PATH: Final = "/_parta/federation/v1/cooperations"
MOST_PROPOSALS: Final = 100
"""How many proposals of one region wait for an answer; further ones are not taken."""
MOST_ROOMS: Final = 50
"""How many rooms of one cooperation are open at most."""
MOST_TERM_MS: Final = 3 * 366 * 24 * 60 * 60 * 1000
"""For how long organisations agree on something at most."""
PAGE: Final = 50

_log: Final = logging.getLogger(__name__)
_Word = Annotated[str, Meta(min_length=1, max_length=64)]
_Time = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class SharedRoom(Struct, frozen=True):
    """A room as its host makes it known; `create` is its create event."""

    room_id: Annotated[str, Meta(max_length=255)]
    name: Annotated[str, Meta(max_length=500)]
    create: dict[str, Any] = {}


class Notice(Struct, frozen=True, kw_only=True):
    """One side's half of a cooperation; `organisation` is its own, `to` the other. See docs/schools.md."""

    organisation: _Word
    to: _Word
    kind: _Word
    title: Annotated[str, Meta(max_length=500)]
    roles: Annotated[list[_Word], Meta(max_length=10)]
    until_ts: _Time
    hosts: bool
    agreed: bool
    ended: bool
    version: _Time
    rooms: Annotated[list[SharedRoom], Meta(max_length=MOST_ROOMS)] = []


class Notices:
    """Tells other sides, and hears them."""

    def __init__(self, database: Database, network: Network, peers: Asks, world: World) -> None:
        self._database = database
        self._network = network
        self._peers = peers
        self._world = world

    async def take(self, origin: ServerName, cooperation_id: str, notice: Notice) -> None:
        """Hear what an organisation of that region says; a notice that is older than what is known changes nothing.

        A proposal to an organisation that there is not is taken like any other, and goes nowhere.

        Raises: Hidden: it is not theirs to say. Invalid.
        """
        known = await self._database.read(find_cooperation, cooperation_id, notice.to)
        if known is None:
            await self._take_proposal(origin, cooperation_id, notice)
            return
        _check_same(known, origin, notice)
        if notice.version <= known.peer_version:
            return
        rooms = await self._database.read(load_network_rooms, known)
        offered = {} if known.is_hosted else _parse_rooms(notice.rooms, origin)
        closing = frozenset(room.room_id for room in rooms if not known.is_hosted and room.room_id not in offered)
        works = [partial(_write_notice, notice, offered, self._world, known)]
        ended = frozenset({cooperation_id}) if notice.ended else frozenset()
        touched = {room.room_id for room in rooms} if notice.ended else closing
        await self._network.settle(touched, works, without=Without(cooperations=ended, rooms=closing), why="ended")

    async def tell(self) -> None:
        """Tell all other sides what they do not know yet, regions side by side: a silent one keeps none waiting."""
        by_peer: dict[ServerName, list[Cooperation]] = {}
        after = ("", "")
        while page := await self._database.read(load_untold, PAGE, after):
            for cooperation in page:
                by_peer.setdefault(cooperation.peer_server, []).append(cooperation)
            after = (page[-1].cooperation_id, page[-1].org_id)
        await side_by_side(self._tell_each(several) for several in by_peer.values())

    async def _tell_each(self, cooperations: Iterable[Cooperation]) -> None:
        """Tell one region of its cooperations, as long as it is there."""
        for cooperation in cooperations:
            try:
                await self._tell_of(cooperation)
            except PeerUnreachable:
                return
            except (RemoteFault, Refused, Invalid):
                continue

    async def tell_of(self, cooperation: Cooperation) -> bool:
        """Tell the other side of one; whether it has taken it."""
        try:
            await self._tell_of(cooperation)
        except (RemoteFault, Refused, Invalid):
            return False
        return True

    async def _tell_of(self, cooperation: Cooperation) -> None:
        rooms = await self._database.read(load_network_rooms, cooperation) if cooperation.is_hosted else []
        notice = build_notice(cooperation, await self._network.show(rooms))
        peer, cooperation_id = cooperation.peer_server, cooperation.cooperation_id
        try:
            if peer == self._world.server:
                await self.take(peer, cooperation_id, notice)
            else:
                path = f"{PATH}/{quote(cooperation_id, safe='')}"
                await self._peers.ask(peer, "PUT", path, body=to_builtins(notice), timeout_s=PATIENCE_S)
        except (RemoteFault, Refused, Invalid) as fault:
            _log.info("%s has not taken what there is of cooperation %s: %s", peer, cooperation_id, fault)
            raise
        await self._database.write(set_told, cooperation)

    async def _take_proposal(self, origin: ServerName, cooperation_id: str, notice: Notice) -> None:
        if notice.ended or not (notice.agreed and notice.hosts):
            return
        kind, roles = parse_purpose(notice.kind, notice.roles)
        check_term(notice.until_ts, self._world.now_ms())
        proposed = Cooperation(
            cooperation_id=cooperation_id,
            org_id=notice.to,
            peer_server=origin,
            peer_org_id=notice.organisation,
            is_hosted=0,
            kind=kind.value,
            title=parse_title("title", notice.title, 500),
            roles=roles,
            until_ms=notice.until_ts,
            began_ms=self._world.now_ms(),
            peer_agreed=1,
            peer_version=notice.version,
        )
        if await self._database.read(count_proposals, origin) >= MOST_PROPOSALS:
            raise Refused("cooperation", "Too many proposals of your region wait for an answer")
        await self._database.write(_write_proposal, proposed)


def build_notice(cooperation: Cooperation, rooms: Sequence[tuple[NetworkRoom, Event]]) -> Notice:
    """What the other side is told of a cooperation and its rooms, each with its create event."""
    return Notice(
        organisation=cooperation.org_id,
        to=cooperation.peer_org_id,
        kind=cooperation.kind,
        title=cooperation.title,
        roles=cooperation.roles.split(","),
        until_ts=cooperation.until_ms,
        hosts=bool(cooperation.is_hosted),
        agreed=cooperation.agreed_ms is not None,
        ended=cooperation.ended_ms is not None,
        version=cooperation.version,
        rooms=[SharedRoom(room.room_id, room.name, create.pdu()) for room, create in rooms[:MOST_ROOMS]],
    )


def parse_purpose(kind: str, roles: Sequence[str]) -> tuple[Kind, str]:
    """The purpose of a cooperation, and its roles as they are kept.

    Raises: Invalid: there is no such purpose, or it admits no such role.
    """
    if kind not in COOPERATIVE:
        raise Invalid("M_INVALID_PARAM", f"kind: one of {', '.join(sorted(COOPERATIVE))}")
    purpose = Kind(kind)
    may_be = {role.value for role in Role if Standing(role) in KINDS[purpose].rights}
    if not roles or not may_be.issuperset(roles):
        raise Invalid("M_INVALID_PARAM", f"roles: some of {', '.join(sorted(may_be))}")
    return purpose, ",".join(sorted(set(roles)))


def check_term(until_ms: int, now_ms: int) -> None:
    """Refuse a term that is over, or so long that nobody would look at it again.

    Raises: Invalid.
    """
    if not now_ms < until_ms <= now_ms + MOST_TERM_MS:
        raise Invalid("M_INVALID_PARAM", "A cooperation has a term: it ends within three years")


def _parse_rooms(rooms: Sequence[SharedRoom], origin: ServerName) -> dict[RoomID, str]:
    """The rooms that a host makes known, as far as they are its own, with their names, which people will read.

    Raises: Invalid.
    """
    found = {}
    for room in rooms:
        name = parse_title("name", room.name, 500)
        if _is_of(room, origin):
            found[RoomID(room.room_id)] = name
        else:
            _log.warning("%s made known a room that is not its own: %s", origin, room.room_id)
    return found


def _is_of(room: SharedRoom, origin: ServerName) -> bool:
    """Whether a room is one that somebody of that region has created."""
    try:
        create = parse_event(room.create, ROOM_VERSIONS[VERSION])
    except BadEvent:
        return False
    return (create.type, create.room_id, create.origin) == ("m.room.create", room.room_id, origin)


def _check_same(known: Cooperation, origin: ServerName, notice: Notice) -> None:
    """Refuse a notice that is not the other side's, or is of other terms.

    Raises: Hidden.
    """
    ours = (known.peer_server, known.peer_org_id, known.kind, known.title, known.roles, known.until_ms)
    theirs = (origin, notice.organisation, notice.kind, notice.title, ",".join(notice.roles), notice.until_ts)
    if ours != theirs or bool(known.is_hosted) == notice.hosts:
        raise Hidden


def _write_proposal(txn: Txn, proposed: Cooperation) -> None:
    if find_organisation(txn, proposed.org_id) is None:
        return
    if find_cooperation(txn, proposed.cooperation_id, proposed.org_id) is None:
        set_cooperation(txn, proposed)
        append_audit(txn, _build_entry(proposed, "cooperation_proposed", proposed.began_ms))


def _write_notice(notice: Notice, offered: dict[RoomID, str], world: World, known: Cooperation, txn: Txn) -> None:
    """Part of a unit of work: the other side's half, as it says it is."""
    held = find_cooperation(txn, known.cooperation_id, known.org_id)
    if held is None or notice.version <= held.peer_version:
        return
    agreed = max(held.peer_agreed, int(notice.agreed))
    ended = max(held.peer_ended, int(notice.ended))
    now = replace(held, peer_agreed=agreed, peer_ended=ended, peer_version=notice.version)
    set_cooperation(txn, now)
    rooms = {room.room_id: room for room in load_network_rooms(txn, held)}
    touched = frozenset({*rooms, *offered})
    if not held.is_hosted:
        _write_rooms(txn, now, rooms, offered, world)
    if (agreed, ended) != (held.peer_agreed, held.peer_ended):
        append_audit(txn, _build_entry(now, "cooperation_ended" if ended else "cooperation_agreed", world.now_ms()))
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset(), rooms=touched))


def _write_rooms(
    txn: Txn, held: Cooperation, rooms: dict[RoomID, NetworkRoom], offered: dict[RoomID, str], world: World
) -> None:
    for room_id, room in rooms.items():
        if room_id not in offered:
            set_network_room(txn, replace(room, closed_ms=world.now_ms()))
    for room_id, name in offered.items():
        room = NetworkRoom(
            room_id=room_id,
            cooperation_id=held.cooperation_id,
            org_id=held.org_id,
            name=name,
            opened_ms=world.now_ms(),
        )
        set_network_room(txn, room)


def _build_entry(cooperation: Cooperation, deed: str, now_ms: int) -> AuditEntry:
    return AuditEntry(
        org_id=cooperation.org_id,
        at_ms=now_ms,
        done_by=cooperation.peer_server,
        deed=deed,
        subject=cooperation.cooperation_id,
        detail={"organisation": cooperation.peer_org_id, "title": cooperation.title},
    )
