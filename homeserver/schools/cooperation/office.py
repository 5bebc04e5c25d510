"""What administrators do about cooperation: propose, accept, end, open and close rooms, name pupils who take part.

To one who may not ask, an organisation and a cooperation are as if they did not exist. Every deed is committed here
before the other side is told of it.

School: rows 63, 67, 68
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from federation.errors import BadIdentifier, Refused
from federation.ids import RoomID, ServerName, UserID, parse_server_name
from homeserver.policy import Conflict, Invalid, NotFound
from homeserver.rooms.writing import Work
from homeserver.schools.books import World
from homeserver.schools.cooperation.network import Network, Without
from homeserver.schools.cooperation.notices import MOST_ROOMS, Notices, check_term, parse_purpose
from homeserver.schools.cooperation.rounds import Rounds
from homeserver.schools.facts import Facts
from homeserver.schools.names import parse_title
from homeserver.schools.office import Asker, check_may_command
from homeserver.schools.rights import Command, Role
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, Txn
from homeserver.storage.schools import cooperation as table
from homeserver.storage.schools.cooperation import Cooperation, NetworkRoom, PupilTakesPart
from homeserver.storage.schools.organisations import find_organisation

PAGE: Final = 100
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = 200


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is proposed to an organisation of that region (this one, if it is not named)."""

    organisation: Annotated[str, Meta(min_length=1, max_length=64)]
    kind: str
    title: str
    until_ms: int
    server: str | None = None
    roles: tuple[str, ...] = (Role.TEACHER.value,)


class CooperationOffice:
    """The part of every school's office that has to do with other organisations."""

    def __init__(self, database: Database, facts: Facts, network: Network, notices: Notices, rounds: Rounds) -> None:
        self._database = database
        self._facts = facts
        self._network = network
        self._notices = notices
        self._rounds = rounds

    @property
    def _world(self) -> World:
        return self._rounds.world

    async def list(self, asker: Asker, org_id: str, after: str = "") -> Sequence[tuple[Cooperation, list[NetworkRoom]]]:
        """A page of an organisation's cooperations from behind `after`, each with its open rooms.

        Raises: NotFound.
        """
        await self._check(asker, org_id)
        return await self._database.read(_load_page, org_id, after)

    async def see(self, asker: Asker, org_id: str, cooperation_id: str) -> tuple[Cooperation, Sequence[NetworkRoom]]:
        """A cooperation with its open rooms.

        Raises: NotFound.
        """
        known = await self._load(asker, org_id, cooperation_id)
        return known, await self._database.read(table.load_network_rooms, known)

    async def propose(self, asker: Asker, org_id: str, terms: Terms) -> Cooperation:
        """Propose a cooperation, and agree to it; its rooms will be this organisation's.

        Raises: NotFound, Invalid; Refused: this region has nothing to do with that one.
        """
        await self._check(asker, org_id)
        kind, roles = parse_purpose(terms.kind, terms.roles)
        now_ms = self._world.now_ms()
        check_term(terms.until_ms, now_ms)
        cooperation = Cooperation(
            cooperation_id=self._world.new_id(),
            org_id=org_id,
            peer_server=self._parse_server(terms.server),
            peer_org_id=terms.organisation,
            is_hosted=1,
            kind=kind.value,
            title=parse_title("title", terms.title, _NAME),
            roles=roles,
            until_ms=terms.until_ms,
            began_ms=now_ms,
            agreed_by=asker.user_id,
            agreed_ms=now_ms,
            version=1,
        )
        if cooperation.peer_org_id == org_id:
            raise Invalid("M_INVALID_PARAM", "An organisation does not cooperate with itself")
        entry = self._entry(cooperation, asker, "propose_cooperation")
        await self._database.write(_write, cooperation, entry)
        self._rounds.hurry()
        return cooperation

    async def accept(self, asker: Asker, org_id: str, cooperation_id: str) -> None:
        """Agree to what another organisation has proposed; from here on the cooperation is in force.

        Raises: NotFound; Conflict: it is over.
        """
        known = await self._load(asker, org_id, cooperation_id)
        now_ms = self._world.now_ms()
        if known.is_ended or known.until_ms <= now_ms:
            raise Conflict("M_INVALID_PARAM", "This cooperation is over")
        if known.agreed_ms is None:
            agreed = replace(known, agreed_by=asker.user_id, agreed_ms=now_ms, version=known.version + 1)
            await self._database.write(_write, agreed, self._entry(known, asker, "accept_cooperation"))
            self._rounds.hurry()

    async def end(self, asker: Asker, org_id: str, cooperation_id: str) -> None:
        """End a cooperation, or decline it: when this returns its people are out of its rooms here.

        Raises: NotFound.
        """
        known = await self._load(asker, org_id, cooperation_id)
        if known.ended_ms is not None:
            return
        ended = replace(known, ended_by=asker.user_id, ended_ms=self._world.now_ms(), version=known.version + 1)
        rooms = await self._database.read(table.load_network_rooms, known)
        work = partial(_write_work, ended, self._entry(known, asker, "end_cooperation"))
        await self._settle(rooms, [work], Without(cooperations=frozenset({cooperation_id})), "cooperation ended")
        self._rounds.hurry()

    async def open_room(self, asker: Asker, org_id: str, cooperation_ids: Sequence[str], name: str) -> RoomID:
        """Open a room of one or several cooperations of one purpose that this organisation hosts.

        Raises: NotFound, Invalid; Conflict: a cooperation is not in force, or has rooms enough.
        """
        found = [await self._load(asker, org_id, each) for each in dict.fromkeys(cooperation_ids)]
        if not found or len({each.kind for each in found}) != 1:
            raise Invalid("M_INVALID_PARAM", "A room is of one or several cooperations of one purpose")
        for each in found:
            if not each.is_hosted:
                raise Conflict("M_INVALID_PARAM", "The rooms of this cooperation are the other organisation's")
            if not each.is_in_force(self._world.now_ms()):
                raise Conflict("M_INVALID_PARAM", "This cooperation is not in force")
            if len(await self._database.read(table.load_network_rooms, each)) >= MOST_ROOMS:
                raise Conflict("M_INVALID_PARAM", "This cooperation has as many rooms as it may have")
        room_id = await self._network.open(found, parse_title("name", name, _NAME), asker.user_id)
        self._rounds.hurry()
        return room_id

    async def close_room(self, asker: Asker, org_id: str, room_id: str) -> None:
        """Close a room: nobody belongs there any more.

        Raises: NotFound.
        """
        await self._check(asker, org_id)
        rooms = await self._database.read(_load_hosted, RoomID(room_id), org_id)
        if not rooms:
            raise NotFound("There is no such room")
        entry = AuditEntry(
            org_id=org_id,
            at_ms=self._world.now_ms(),
            done_by=asker.user_id,
            deed="close_network_room",
            subject=room_id,
        )
        work = partial(_close_room, rooms, entry)
        await self._settle(rooms, [work], Without(rooms=frozenset({RoomID(room_id)})), "room closed")
        self._rounds.hurry()

    async def let_pupil_take_part(
        self, asker: Asker, org_id: str, cooperation_id: str, user_id: UserID, consent_sha256: str
    ) -> None:
        """Let a pupil take part, on the guardian's written consent.

        Raises: NotFound; Invalid; Conflict: the cooperation admits no pupils, or it is no pupil's.
        """
        known = await self._load(asker, org_id, cooperation_id)
        if _SHA256.fullmatch(consent_sha256) is None:
            raise Invalid("M_INVALID_PARAM", "sha256: 64 hexadecimal digits")
        grants = await self._facts.grants(user_id)
        if not any(grant.role is Role.PUPIL and grant.org_id == org_id for grant in grants):
            raise NotFound("There is no such pupil")
        if Role.PUPIL.value not in known.roles.split(","):
            raise Conflict("M_INVALID_PARAM", "This cooperation is not for pupils")
        pupil = PupilTakesPart(
            cooperation_id=cooperation_id,
            org_id=org_id,
            user_id=user_id,
            document_sha256=consent_sha256,
            accepted_by=asker.user_id,
            accepted_ms=self._world.now_ms(),
        )
        entry = self._entry(known, asker, "let_pupil_cooperate", user_id)
        await self._database.write(_append_pupil, pupil, known, entry)

    async def take_pupil_out(self, asker: Asker, org_id: str, cooperation_id: str, user_id: UserID) -> None:
        """Let a pupil take part no more.

        Raises: NotFound.
        """
        known = await self._load(asker, org_id, cooperation_id)
        entry = self._entry(known, asker, "take_pupil_out", user_id)
        await self._database.write(_remove_pupil, user_id, known, entry)
        self._rounds.hurry({user_id})

    async def _check(self, asker: Asker, org_id: str) -> None:
        await check_may_cooperate(self._database, self._facts, asker, org_id)

    async def _load(self, asker: Asker, org_id: str, cooperation_id: str) -> Cooperation:
        await self._check(asker, org_id)
        known = await self._database.read(table.find_cooperation, cooperation_id, org_id)
        if known is None:
            raise NotFound("There is no such cooperation")
        return known

    def _parse_server(self, text: str | None) -> ServerName:
        try:
            server = self._world.server if text is None else parse_server_name(text)
        except BadIdentifier as fault:
            raise Invalid("M_INVALID_PARAM", str(fault)) from None
        if server != self._world.server and not self._rounds.may_talk(server):
            raise Refused("region", "This region has nothing to do with that one")
        return server

    async def _settle(self, rooms: Sequence[NetworkRoom], works: Sequence[Work], without: Without, why: str) -> None:
        await self._network.settle({room.room_id for room in rooms}, works, without=without, why=why)

    def _entry(self, cooperation: Cooperation, asker: Asker, deed: str, subject: str = "") -> AuditEntry:
        return AuditEntry(
            org_id=cooperation.org_id,
            at_ms=self._world.now_ms(),
            done_by=asker.user_id,
            deed=deed,
            subject=subject or cooperation.cooperation_id,
            detail={
                "cooperation": cooperation.cooperation_id,
                "server": cooperation.peer_server,
                "organisation": cooperation.peer_org_id,
                "title": cooperation.title,
            },
        )


async def check_may_cooperate(database: Database, facts: Facts, asker: Asker, org_id: str) -> None:
    """Refuse one who does not decide with whom an organisation works, as if there were no such organisation.

    Raises: NotFound.
    """
    await check_may_command(facts, asker, Command.COOPERATE, org_id)
    if await database.read(find_organisation, org_id) is None:
        raise NotFound("There is no such organisation")


def _load_page(txn: Txn, org_id: str, after: str) -> list[tuple[Cooperation, list[NetworkRoom]]]:
    return [(each, table.load_network_rooms(txn, each)) for each in table.load_cooperations(txn, org_id, after, PAGE)]


def _load_hosted(txn: Txn, room_id: RoomID, org_id: str) -> list[NetworkRoom]:
    """The records of an open room with that organisation as its host."""
    return [
        room
        for each in table.load_cooperations_of_room(txn, room_id)
        if each.org_id == org_id and each.is_hosted
        for room in table.load_network_rooms(txn, each)
        if room.room_id == room_id
    ]


def _write(txn: Txn, cooperation: Cooperation, entry: AuditEntry) -> None:
    """Write our half, and nothing of the other side's, which may have changed meanwhile."""
    held = table.find_cooperation(txn, cooperation.cooperation_id, cooperation.org_id)
    if held is not None:
        cooperation = replace(
            held,
            agreed_by=held.agreed_by or cooperation.agreed_by,
            agreed_ms=held.agreed_ms or cooperation.agreed_ms,
            ended_by=held.ended_by or cooperation.ended_by,
            ended_ms=held.ended_ms or cooperation.ended_ms,
            version=held.version + 1,
        )
    table.set_cooperation(txn, cooperation)
    append_audit(txn, entry)
    rooms = frozenset(room.room_id for room in table.load_network_rooms(txn, cooperation))
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset(), rooms=rooms))


def _write_work(cooperation: Cooperation, entry: AuditEntry, txn: Txn) -> None:
    _write(txn, cooperation, entry)


def _close_room(rooms: Sequence[NetworkRoom], entry: AuditEntry, txn: Txn) -> None:
    for room in rooms:
        table.set_network_room(txn, replace(room, closed_ms=entry.at_ms))
        table.bump_version(txn, room.cooperation_id, room.org_id)
    append_audit(txn, entry)
    touched = frozenset(room.room_id for room in rooms)
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset(), rooms=touched))


def _append_pupil(txn: Txn, pupil: PupilTakesPart, cooperation: Cooperation, entry: AuditEntry) -> None:
    table.append_pupil(txn, pupil)
    _tell_of_pupil(txn, pupil.user_id, cooperation, entry)


def _remove_pupil(txn: Txn, user_id: UserID, cooperation: Cooperation, entry: AuditEntry) -> None:
    table.remove_pupil(txn, cooperation, user_id)
    _tell_of_pupil(txn, user_id, cooperation, entry)


def _tell_of_pupil(txn: Txn, user_id: UserID, cooperation: Cooperation, entry: AuditEntry) -> None:
    append_audit(txn, entry)
    rooms = frozenset(room.room_id for room in table.load_network_rooms(txn, cooperation))
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset({user_id}), rooms=rooms))
