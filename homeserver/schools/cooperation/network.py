"""The rooms of cooperations: as they begin, and as they should be whenever something has changed.

A room is version 12, federated, its host's service account alone has created it, and whoever comes in comes by the
policy of the host's region. Its access list names the regions of its cooperations.

School: rows 63, 67, 68
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from federation.errors import Refused
from federation.event import Event
from federation.ids import RoomID, ServerName, UserID, is_address, server_of, split_server_name
from federation.versions import ROOM_VERSIONS
from homeserver.rooms.recommending import POLICY, build_policy_content
from homeserver.rooms.restricted import CLAIM
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Changes, Rooms
from homeserver.rooms.seal import Draft
from homeserver.rooms.writing import Work
from homeserver.schools.books import World
from homeserver.schools.enrolment import Roll, State, build_power_levels
from homeserver.schools.facts import Facts
from homeserver.schools.rights import COOPERATIVE, KINDS, Kind, Place, Standing, find_guest_standing, find_standing
from homeserver.schools.rooms import SERVICE_NAME, VERSION
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, Txn
from homeserver.storage.schools.cooperation import (
    Cooperation,
    NetworkRoom,
    bump_version,
    find_organisation_of_room,
    set_network_room,
)

_IN_ROOM: Final = ("join", "invite", "knock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """What counts no more when that is written for which rooms are settled: cooperations by id, rooms that close,
    claims by person and cooperation, and people who are sent away.
    """

    cooperations: frozenset[str] = frozenset()
    rooms: frozenset[RoomID] = frozenset()
    claims: frozenset[tuple[UserID, str]] = frozenset()
    people: frozenset[UserID] = frozenset()


AS_IT_IS: Final = Without()
_log: Final = logging.getLogger(__name__)


class Network:
    """Opens rooms of cooperations, and puts out of them who does not belong there any more."""

    def __init__(self, database: Database, rooms: Rooms, facts: Facts, world: World) -> None:
        self._database = database
        self._rooms = rooms
        self._facts = facts
        self._world = world

    async def open(self, cooperations: Sequence[Cooperation], name: str, by: UserID) -> RoomID:
        """A new room of cooperations of one purpose, which an organisation of ours hosts; nobody is in it yet."""
        kind, world = Kind(cooperations[0].kind), self._world
        servers = {world.server, *(each.peer_server for each in cooperations)}
        roll = _build_roll(kind, name, {})
        entry = AuditEntry(
            org_id=cooperations[0].org_id, at_ms=world.now_ms(), done_by=by, deed="open_network_room", subject=""
        )
        room = await self._rooms.create(
            ROOM_VERSIONS[VERSION],
            [*_build_beginning(roll, world, servers), *self._build_policy()],
            kind=kind.value,
            also=lambda live: [partial(_append_room, cooperations, name, entry, live.room_id)],
        )
        return room.room_id

    def _build_policy(self) -> Iterator[Draft]:
        """That nothing comes into the room that this server has not let pass: a second net."""
        seal = self._rooms.seal
        if seal.policy_key is not None:
            content = build_policy_content(seal)
            yield Draft(type=POLICY[0], sender=self._world.service, state_key=POLICY[1], content=content)

    async def show(self, rooms: Iterable[NetworkRoom]) -> list[tuple[NetworkRoom, Event]]:
        """Rooms of ours with their create events."""
        found = [(each, await self._rooms.load(each.room_id)) for each in rooms]
        return [(each, room.create) for each, room in found if room is not None]

    async def settle(
        self, room_ids: Iterable[RoomID], works: Sequence[Work] = (), *, without: Without = AS_IT_IS, why: str = ""
    ) -> None:
        """Put right who is in some rooms and with which power, and do `works`, all in one unit of work.

        Raises: StorageUnavailable; what `works` raise.
        """
        rooms = sorted(room_ids)
        for last in (False, False, False, True):
            try:
                await self._settle(rooms, works, without, why)
            except Refused:  # somebody has gone or come while it was looked at who is there
                if last:
                    raise
            else:
                return

    async def _settle(self, room_ids: Sequence[RoomID], works: Sequence[Work], without: Without, why: str) -> None:
        changes: Changes = []
        also = list(works)
        for room_id in room_ids:
            room = await self._rooms.load(room_id)
            if room is None or self._world.server not in room.head.servers:
                continue
            drafts = await self._build_drafts(room, without)
            gone = [draft.state_key for draft in drafts if draft.type == "m.room.member" and draft.state_key]
            if drafts:
                changes = [*changes, (room, drafts)]
            if gone:
                also.append(partial(_append_departures, room_id, gone, why, self._world))
        if changes or also:
            people = without.people.union(user_id for user_id, _ in without.claims)
            with self._facts.holding(people):
                await self._rooms.commit(changes, also)
                self._facts.heed([SchoolChanged(position=0, people=people, rooms=frozenset(room_ids))])

    async def settle_each(self, room_ids: Iterable[RoomID]) -> set[RoomID]:
        """Put rooms right, each in a unit of its own; those that are no cooperation's stay as they are.

        Gives those that could not be put right now: one room keeps no other waiting.
        """
        left = set()
        for room_id in sorted(room_ids):
            try:
                if await self._database.read(find_organisation_of_room, room_id):
                    await self.settle([room_id], why="does not belong there")
            except Refused as fault:
                _log.warning("the room %s of a cooperation is not as it should be: %s", room_id, fault)
                left.add(room_id)
        return left

    def find_shared(self, room_id: RoomID) -> frozenset[RoomID]:
        """The room itself if it is in memory and of a cooperation, or may be one of another region's; else nothing."""
        room = self._rooms.find(room_id)
        is_shared = room is not None and (room.record.kind is None or room.record.kind in COOPERATIVE)
        return frozenset({room_id}) if is_shared else frozenset()

    async def _build_drafts(self, room: Room, without: Without) -> list[Draft]:
        service = self._world.service
        create = room.state("m.room.create")
        is_ours = create is not None and create.sender == service
        place = None if room.room_id in without.rooms else _reduce(await self._facts.place(room.room_id), without)
        standings: dict[UserID, Standing] = {}
        drafts = []
        for user_id in _members(room.head.state):
            if user_id == service or not (is_ours or server_of(user_id) == self._world.server):
                continue
            standing = None if place is None else await self._find_standing(user_id, place, without)
            if standing is None:
                sender = service if is_ours else user_id
                leave = {"membership": "leave"}
                drafts.append(Draft(type="m.room.member", sender=sender, state_key=user_id, content=leave))
            else:
                standings[user_id] = standing
        if is_ours and place is not None:
            drafts.extend(_build_state(room.head.state, place, standings, self._world))
        return drafts

    async def _find_standing(self, user_id: UserID, place: Place, without: Without) -> Standing | None:
        if user_id in without.people:
            return None
        if server_of(user_id) == self._world.server:
            return find_standing(user_id, await self._facts.grants(user_id), place)
        held = await self._facts.vouchers(user_id)
        good = [voucher for voucher in held if (user_id, voucher.cooperation_id) not in without.claims]
        return find_guest_standing(user_id, good, place, self._world.now_ms())


def _members(state: State) -> list[UserID]:
    return [
        UserID(key[1]) for key, held in state.items() if key[0] == "m.room.member" and held.event.membership in _IN_ROOM
    ]


def _reduce(place: Place | None, without: Without) -> Place | None:
    if place is None or not without.cooperations:
        return place
    left = tuple(each for each in place.agreements if each.cooperation_id not in without.cooperations)
    return replace(place, agreements=left) if left else None


def _build_roll(kind: Kind, name: str, standings: Mapping[UserID, Standing]) -> Roll:
    powers = KINDS[kind].powers
    return Roll(
        kind=kind,
        about=None,
        name=name,
        children=frozenset(),
        enrolled=frozenset(),
        allowed=frozenset(standings),
        powers={user_id: powers[standing] for user_id, standing in standings.items() if standing in powers},
    )


def _build_state(state: State, place: Place, standings: Mapping[UserID, Standing], world: World) -> Iterator[Draft]:
    """Powers and access list, where they are not as they should be."""
    servers = {world.server, *(agreement.server for agreement in place.agreements)}
    held = state.get(("m.room.power_levels", ""))
    levels = build_power_levels(_build_roll(place.kind, "", standings), held.event.content if held is not None else {})
    for event_type, content in (("m.room.power_levels", levels), ("m.room.server_acl", _build_acl(servers))):
        held = state.get((event_type, ""))
        if held is None or held.event.content != content:
            yield Draft(type=event_type, sender=world.service, state_key="", content=content)


def _build_acl(servers: Iterable[ServerName]) -> dict[str, object]:
    """Spec: client-server-api#mroomserver_acl"""
    hosts = sorted({split_server_name(server)[0].lower() for server in servers})
    return {"allow": hosts, "deny": [], "allow_ip_literals": any(is_address(host) for host in hosts)}


def _build_beginning(roll: Roll, world: World, servers: Iterable[ServerName]) -> Iterator[Draft]:
    """Spec: client-server-api#mroomcreate, client-server-api#mroomjoin_rules"""
    kind, service = roll.kind, world.service
    create = {"room_version": VERSION, "m.federate": True, "org.parta.kind": kind.value}
    contents: list[tuple[str, str, Mapping[str, object]]] = [
        ("m.room.create", "", {**create, "org.parta.nonce": world.new_id()}),
        ("m.room.member", service, {"membership": "join", "displayname": SERVICE_NAME}),
        ("m.room.power_levels", "", build_power_levels(roll, {})),
        ("m.room.join_rules", "", {"join_rule": KINDS[kind].join_rule, "allow": [{"type": CLAIM}]}),
        ("m.room.history_visibility", "", {"history_visibility": KINDS[kind].history}),
        ("m.room.guest_access", "", {"guest_access": "forbidden"}),
        ("m.room.server_acl", "", _build_acl(servers)),
        ("m.room.name", "", {"name": roll.name}),
    ]
    for event_type, state_key, content in contents:
        yield Draft(type=event_type, sender=service, state_key=state_key, content=content)


def _append_room(cooperations: Sequence[Cooperation], name: str, entry: AuditEntry, room_id: RoomID, txn: Txn) -> None:
    for each in cooperations:
        room = NetworkRoom(
            room_id=room_id,
            cooperation_id=each.cooperation_id,
            org_id=each.org_id,
            name=name,
            opened_ms=entry.at_ms,
        )
        set_network_room(txn, room)
        bump_version(txn, each.cooperation_id, each.org_id)
    detail = {"cooperations": [each.cooperation_id for each in cooperations]}
    append_audit(txn, _about(entry, room_id, detail))
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset(), rooms=frozenset({room_id})))


def _about(entry: AuditEntry, subject: str, detail: Mapping[str, object]) -> AuditEntry:
    return AuditEntry(
        org_id=entry.org_id,
        at_ms=entry.at_ms,
        done_by=entry.done_by,
        deed=entry.deed,
        subject=subject,
        detail=detail,
        request=entry.request,
    )


def _append_departures(room_id: RoomID, people: Sequence[str], why: str, world: World, txn: Txn) -> None:
    org_id = find_organisation_of_room(txn, room_id)
    for user_id in people:
        entry = AuditEntry(
            org_id=org_id,
            at_ms=world.now_ms(),
            done_by=world.service,
            deed="leave_network_room",
            subject=user_id,
            detail={"room_id": room_id, "why": why},
        )
        append_audit(txn, entry)
