"""Direct rooms: what becomes of a person's wish to create a room.

The room is the school's like any other: the service account creates it, with the two in it and, for a teacher and a
pupil, a supervisor. So nobody is above the school in it, and it closes when the two may no longer write to each other.

School: rows 2, 3, 49, decided 1 and 4
"""

from federation.ids import UserID
from homeserver.policy import CreateRoom, Hidden
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.schools.desk import Desk, WantedRoom
from homeserver.schools.enrolment import find_supervisor
from homeserver.schools.facts import Facts
from homeserver.schools.rights import Contact, Grant, Kind, Role, find_contacts
from homeserver.schools.rooms import RoomKey, room_keys
from homeserver.schools.school import Moment, School


class DirectRooms:
    """Makes the rooms that people ask for."""

    def __init__(self, rooms: Rooms, facts: Facts, desk: Desk) -> None:
        self._rooms = rooms
        self._facts = facts
        self._desk = desk

    async def begin(self, act: CreateRoom) -> Room:
        """The direct room of the asker and the one they invite, after the gate let that pass: a new or the old one.

        Raises: Hidden: they may not write to each other any more.

        Spec: client-server-api#post_matrixclientv3createroom
        """
        if act.by is None or len(act.invite) != 1:
            raise Hidden
        owner, peer = act.by, act.invite[0]
        mine, theirs = await self._facts.grants(owner), await self._facts.grants(peer)
        school = await self._desk.load(_shared_organisation(owner, mine, peer, theirs))
        kind = Kind.DIRECT_PUPIL if any(grant.role is Role.PUPIL for grant in (*mine, *theirs)) else Kind.DIRECT
        supervisor = None
        if Contact.WRITE not in find_contacts(owner, mine, peer, theirs):
            supervisor = find_supervisor(Moment(school, self._desk.world.now_ms()), owner, peer)
            if supervisor is None:
                raise Hidden
        key = _existing(school, owner, peer) or RoomKey(kind, owner=owner, peer=peer)
        extra = [
            Draft(type=event_type, sender=self._desk.world.service, state_key=state_key, content=content)
            for event_type, state_key, content in act.initial_state
            if event_type == "m.room.encryption"
        ]
        wanted = WantedRoom(key=key, asker=owner, supervisor=supervisor, extra=extra)
        room = await self._rooms.load(await self._desk.open_room(school.org.org_id, wanted))
        if room is None:
            raise Hidden
        return room


def _shared_organisation(owner: UserID, mine: tuple[Grant, ...], peer: UserID, theirs: tuple[Grant, ...]) -> str:
    """The organisation in which the one may write to the other; the first of several.

    Raises: Hidden.
    """
    for org_id in sorted({grant.org_id for grant in mine} & {grant.org_id for grant in theirs}):
        held = [[grant for grant in grants if grant.org_id == org_id] for grants in (mine, theirs)]
        if find_contacts(owner, held[0], peer, held[1]) & {Contact.WRITE, Contact.WRITE_SUPERVISED}:
            return org_id
    raise Hidden


def _existing(school: School, owner: UserID, peer: UserID) -> RoomKey | None:
    """The direct room of the two, whoever of them began it."""
    return next(
        (
            key
            for key in room_keys(school)
            if key.kind in {Kind.DIRECT, Kind.DIRECT_PUPIL} and {key.owner, key.peer} == {owner, peer}
        ),
        None,
    )
