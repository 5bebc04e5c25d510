"""Who belongs in which room, and the events that make a room agree with it. Pure.

A *roll* is what a school's room should be: who is put into it, who else may be there, who has which power. It follows
from the school alone; whatever is otherwise in the room is put right, whoever caused it.

School: rows 17, 25, 28
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec.structs import replace

from federation.event import Event
from federation.ids import RoomID, ServerName, StateKey, UserID
from homeserver.rooms.polls import RESPONSES
from homeserver.rooms.seal import Draft
from homeserver.schools.deeds import Pen, add_room, close_rooms
from homeserver.schools.rights import (
    KINDS,
    NOBODY,
    STATE_ACTIONS,
    Action,
    Contact,
    Kind,
    Place,
    Role,
    Standing,
    find_contacts,
    find_standing,
    may,
)
from homeserver.schools.rooms import RoomKey, room_name, rooms_by_space
from homeserver.schools.school import Moment, School, display_name, place_of
from homeserver.storage.events import RoomEvent
from homeserver.storage.schools.rooms import SchoolRoom

State: TypeAlias = Mapping[StateKey, RoomEvent]

_NOBODY: Final[frozenset[UserID]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """What a room should be: who is put into it, who may be there (them included), powers, its name and children.

    It says so of the people it is `about`; with None of everybody.
    """

    kind: Kind
    about: frozenset[UserID] | None
    name: str
    children: frozenset[RoomID]
    enrolled: frozenset[UserID]
    allowed: frozenset[UserID]
    powers: Mapping[UserID, int]


def build_rolls(moment: Moment, about: frozenset[UserID] | None = None) -> dict[RoomID, Roll]:
    """The rolls of all rooms of a school; that of a closed room is of everybody, and empty."""
    school = moment.school
    people = {role.user_id for role in school.current_roles()} if about is None else about
    everybody, administrators = set(), set()
    by_class: dict[str | None, set[UserID]] = {}
    for user_id in people:
        for grant in moment.grants(user_id):
            everybody.add(user_id)
            by_class.setdefault(grant.class_id, set()).add(user_id)
            if grant.role is Role.ADMINISTRATOR:
                administrators.add(user_id)
    rolls, shown = {}, rooms_by_space(school)
    for room in school.rooms.values():
        place = place_of(room)
        if room.closed_ms is not None:
            rolls[room.room_id] = _build_roll(moment, place, shown, _NOBODY, None)
            continue
        present: Set[UserID] = everybody
        if place.owners:
            present = administrators | (place.owners if about is None else place.owners & about)
        elif place.class_id:
            present = by_class.get(place.class_id, _NOBODY) | administrators
        rolls[room.room_id] = _build_roll(moment, place, shown, present, about)
    return rolls


def build_roll(moment: Moment, room: SchoolRoom) -> Roll:
    """The whole roll of one room."""
    place = place_of(room)
    people = place.owners | {role.user_id for role in moment.school.current_roles()}
    return _build_roll(moment, place, rooms_by_space(moment.school), people, None)


def _build_roll(
    moment: Moment,
    place: Place,
    shown: Mapping[RoomKey, Set[RoomID]],
    people: Set[UserID],
    about: frozenset[UserID] | None,
) -> Roll:
    kind = KINDS[place.kind]
    standings: dict[UserID, Standing] = {}
    for user_id in people:
        standing = find_standing(user_id, moment.grants(user_id), place)
        if may(standing, Action.ENTER, place.kind) and standing is not None:
            standings[user_id] = standing
    return Roll(
        kind=place.kind,
        about=about,
        name=room_name(moment.school, place.kind, place.class_id or ""),
        children=frozenset(shown.get(RoomKey(place.kind, place.class_id or ""), ())),
        enrolled=frozenset(user for user, standing in standings.items() if standing in kind.enrolled),
        allowed=frozenset(standings),
        powers={user: kind.powers[standing] for user, standing in standings.items() if standing in kind.powers},
    )


def build_power_levels(roll: Roll, before: Mapping[str, object]) -> dict[str, object]:
    """The power levels of a room: who has which, and what needs which. Whom the roll is not about keep what they had.

    Only the service account, as the room's creator, may invite, remove and change what the school has set.

    Spec: client-server-api#mroompower_levels
    """
    kind = KINDS[roll.kind]
    events = {
        event_type: min(kind.powers.get(standing, 0) for standing in standings)
        for event_type, action in STATE_ACTIONS.items()
        if (standings := [s for s, actions in kind.rights.items() if action in actions])
    }
    if kind.posting and any(Action.ANSWER in actions for actions in kind.rights.values()):
        events |= dict.fromkeys(RESPONSES, 0)
    had = before.get("users")
    kept = had if roll.about is not None and isinstance(had, Mapping) else {}
    users = {user: power for user, power in kept.items() if user not in (roll.about or ())} | {**roll.powers}
    return {
        "users": dict(sorted(users.items())),
        "users_default": 0,
        "events_default": kind.posting,
        "state_default": NOBODY,
        "events": {**events, "m.room.tombstone": NOBODY + 50},
        "invite": NOBODY,
        "kick": NOBODY,
        "ban": NOBODY,
        "redact": 50,
        "notifications": {"room": 50},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """In whose name rooms are put right: the service account and our server; and whose names are shown in them."""

    service: UserID
    server: ServerName
    school: School


def build_drafts(roll: Roll, state: State, registrar: Registrar) -> Iterator[Draft]:
    """The events that make a room of that state agree with its roll: powers first, then who goes, then who comes.

    Somebody who may be there without being put there stays or stays away as it pleases them, and so does one who has
    left by their own hand a room that may be left.
    """
    yield from _state_drafts(roll, state, registrar)
    members = _find_members(roll, state)
    for user_id, event in members.items():
        stays = user_id == registrar.service or (user_id in roll.allowed and event.membership != "ban")
        if not stays and event.membership != "leave":
            yield _member(registrar.service, user_id, {"membership": "leave"})
    for user_id in sorted(roll.enrolled):
        member = members.get(user_id)
        if member is None or member.membership != "join":
            if not _stays_away(user_id, member, roll.kind):
                yield from build_admission(user_id, roll.kind, registrar)
        elif member.content.get("displayname") != (name := display_name(registrar.school, user_id)):
            yield _member(user_id, user_id, {**member.content, "displayname": name})


def _find_members(roll: Roll, state: State) -> dict[UserID, Event]:
    """The membership events of those the roll is about."""
    if roll.about is None:
        return {UserID(key[1]): held.event for key, held in state.items() if key[0] == "m.room.member"}
    found = {user_id: state.get(("m.room.member", user_id)) for user_id in roll.about}
    return {user_id: held.event for user_id, held in found.items() if held is not None}


def _state_drafts(roll: Roll, state: State, registrar: Registrar) -> Iterator[Draft]:
    levels = state.get(("m.room.power_levels", ""))
    wanted: dict[StateKey, Mapping[str, object]] = {}
    wanted["m.room.power_levels", ""] = build_power_levels(roll, levels.event.content if levels is not None else {})
    if roll.name:
        wanted["m.room.name", ""] = {"name": roll.name}
    if KINDS[roll.kind].space:
        wanted |= {key: {} for key in state if key[0] == "m.space.child"}
    for child in roll.children:
        wanted["m.space.child", child] = {"via": [registrar.server]}
    for (event_type, state_key), content in wanted.items():
        held = state.get((event_type, state_key))
        if held is None or held.event.content != content:
            yield Draft(type=event_type, sender=registrar.service, state_key=state_key, content=content)


def _stays_away(user_id: UserID, member: Event | None, kind: Kind) -> bool:
    left = member is not None and member.membership == "leave" and member.sender == user_id
    return left and all(may(standing, Action.LEAVE, kind) for standing in KINDS[kind].enrolled)


def build_admission(user_id: UserID, kind: Kind, registrar: Registrar) -> Iterator[Draft]:
    """Somebody's coming in: one event where the room lets us vouch for them, else an invitation before it.

    Spec: client-server-api#restricted-rooms
    """
    service, name = registrar.service, display_name(registrar.school, user_id)
    content = {"membership": "join", "displayname": name}
    if KINDS[kind].join_rule == "restricted":
        content["join_authorised_via_users_server"] = service
    else:
        yield _member(service, user_id, {"membership": "invite", "displayname": name})
    yield _member(user_id, user_id, content)


def _member(sender: UserID, user_id: UserID, content: Mapping[str, object]) -> Draft:
    return Draft(type="m.room.member", sender=sender, state_key=user_id, content=content)


_DIRECT: Final = frozenset({Kind.DIRECT, Kind.DIRECT_PUPIL})


def tidy_direct_rooms(moment: Moment, about: frozenset[UserID] | None, pen: Pen) -> School:
    """Close the direct rooms of people who may no longer write to each other, and replace supervisors who have gone.

    Only rooms of those it is `about` are looked at, with None all.

    School: row 49, decided 4
    """
    school = moment.school
    for room in school.rooms.values():
        if room.kind not in _DIRECT or room.closed_ms is not None:
            continue
        if about is not None and about.isdisjoint({room.owner, room.peer, room.supervisor}):
            continue
        supervisor = _find_present_supervisor(moment, room)
        if not may_be_direct(moment, RoomKey(Kind(room.kind), "", room.owner, room.peer), supervisor):
            school = close_rooms(school, [room], pen)
        elif supervisor is not None and supervisor != room.supervisor:
            school = add_room(school, replace(room, supervisor=supervisor))
    return school


def may_be_direct(moment: Moment, key: RoomKey, supervisor: UserID | None) -> bool:
    """Whether there may be a direct room of the two, with that supervisor in it."""
    owner, peer = UserID(key.owner), UserID(key.peer)
    contacts = find_contacts(owner, moment.grants(owner), peer, moment.grants(peer))
    return Contact.WRITE in contacts or (Contact.WRITE_SUPERVISED in contacts and supervisor is not None)


def _find_present_supervisor(moment: Moment, room: SchoolRoom) -> UserID | None:
    if not room.supervisor:
        return None
    supervisor = UserID(room.supervisor)
    if _may_supervise(moment, supervisor):
        return supervisor
    return find_supervisor(moment, UserID(room.owner), UserID(room.peer))


def find_supervisor(moment: Moment, *pair: UserID) -> UserID | None:
    """Who sits in on a teacher's and a pupil's direct room: an administrator who is none of the two."""
    appointed = {role.user_id for role in moment.school.current_roles() if role.role == Role.ADMINISTRATOR}
    return min((user for user in appointed if user not in pair and _may_supervise(moment, user)), default=None)


def _may_supervise(moment: Moment, user_id: UserID) -> bool:
    return any(grant.role is Role.ADMINISTRATOR for grant in moment.grants(user_id))
