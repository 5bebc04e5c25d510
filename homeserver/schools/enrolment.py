"""Who belongs in which room, and the events that make a room agree with it. Pure.

A *roll* is what a school's room should be: who is put into it, who else may be there, who has which power. It follows
from the school alone; whatever is otherwise in the room is put right, whoever caused it.

School: rows 17, 25, 28
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec.structs import replace

from federation.event import Event
from federation.ids import RoomID, ServerName, StateKey, UserID
from homeserver.rooms.seal import Draft
from homeserver.schools.deeds import Pen, add_room, close_rooms
from homeserver.schools.rights import (
    KINDS,
    NOBODY,
    STATE_ACTIONS,
    Action,
    Contact,
    Grant,
    Kind,
    Place,
    Role,
    Standing,
    find_contacts,
    find_standing,
    may,
)
from homeserver.schools.rooms import children_of, room_name
from homeserver.schools.school import School, place_of
from homeserver.storage.events import RoomEvent

Grants: TypeAlias = Mapping[UserID, tuple[Grant, ...]]
State: TypeAlias = Mapping[StateKey, RoomEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """What a room should be: who is put into it, who may be there (them included), powers, its name and children."""

    kind: Kind
    name: str
    children: frozenset[RoomID]
    enrolled: frozenset[UserID]
    allowed: frozenset[UserID]
    powers: Mapping[UserID, int]


def build_rolls(school: School, grants: Grants) -> dict[RoomID, Roll]:
    """The rolls of all rooms of a school; that of a closed room is empty."""
    by_class: dict[str | None, set[UserID]] = {}
    administrators = set()
    for user_id, held in grants.items():
        for grant in held:
            by_class.setdefault(grant.class_id, set()).add(user_id)
            if grant.role is Role.ADMINISTRATOR:
                administrators.add(user_id)
    rolls = {}
    for room in school.rooms.values():
        place = place_of(room)
        if place.owners:
            people = {*place.owners, *administrators}
        else:
            people = by_class.get(place.class_id, set()) | administrators if place.class_id else set(grants)
        rolls[room.room_id] = _build_roll(school, place, people if room.closed_ms is None else set(), grants)
    return rolls


def build_roll(school: School, place: Place, grants: Grants) -> Roll:
    """The roll of a room that is yet to be."""
    return _build_roll(school, place, place.owners | grants.keys(), grants)


def _build_roll(school: School, place: Place, people: Iterable[UserID], grants: Grants) -> Roll:
    kind = KINDS[place.kind]
    standings: dict[UserID, Standing] = {}
    for user_id in people:
        standing = find_standing(user_id, grants.get(user_id, ()), place)
        if may(standing, Action.ENTER, place.kind) and standing is not None:
            standings[user_id] = standing
    return Roll(
        kind=place.kind,
        name=room_name(school, place.kind, place.class_id or ""),
        children=children_of(school, place.kind, place.class_id or ""),
        enrolled=frozenset(user for user, standing in standings.items() if standing in kind.enrolled),
        allowed=frozenset(standings),
        powers={user: kind.powers[standing] for user, standing in standings.items() if standing in kind.powers},
    )


def build_power_levels(roll: Roll) -> dict[str, object]:
    """The power levels of a room: who has which, and what needs which.

    Only the service account, as the room's creator, may invite, remove and change what the school has set.

    Spec: client-server-api#mroompower_levels
    """
    kind = KINDS[roll.kind]
    events = {
        event_type: min(kind.powers.get(standing, 0) for standing in standings)
        for event_type, action in STATE_ACTIONS.items()
        if (standings := [s for s, actions in kind.rights.items() if action in actions])
    }
    return {
        "users": dict(sorted(roll.powers.items())),
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
    """In whose name rooms are put right: the service account, our server, and what people are called."""

    service: UserID
    server: ServerName
    names: Mapping[UserID, str]


def build_drafts(roll: Roll, state: State, registrar: Registrar) -> Iterator[Draft]:
    """The events that make a room of that state agree with its roll: powers first, then who goes, then who comes.

    Somebody who may be there without being put there stays or stays away as it pleases them, and so does one who has
    left by their own hand a room that may be left.
    """
    yield from _state_drafts(roll, state, registrar)
    members = {UserID(key[1]): held.event for key, held in state.items() if key[0] == "m.room.member"}
    for user_id, event in members.items():
        stays = user_id == registrar.service or (user_id in roll.allowed and event.membership != "ban")
        if not stays and event.membership != "leave":
            yield _member(registrar.service, user_id, {"membership": "leave"})
    for user_id in sorted(roll.enrolled):
        member = members.get(user_id)
        name = registrar.names[user_id]
        if member is None or member.membership != "join":
            if not _stays_away(user_id, member, roll.kind):
                yield from build_admission(user_id, roll.kind, registrar)
        elif member.content.get("displayname") != name:
            yield _member(user_id, user_id, {**member.content, "displayname": name})


def _state_drafts(roll: Roll, state: State, registrar: Registrar) -> Iterator[Draft]:
    wanted: dict[StateKey, Mapping[str, object]] = {("m.room.power_levels", ""): build_power_levels(roll)}
    if roll.name:
        wanted["m.room.name", ""] = {"name": roll.name}
    for key in state:
        if key[0] == "m.space.child":
            wanted[key] = {}
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
    service, name = registrar.service, registrar.names[user_id]
    content = {"membership": "join", "displayname": name}
    if KINDS[kind].join_rule == "restricted":
        content["join_authorised_via_users_server"] = service
    else:
        yield _member(service, user_id, {"membership": "invite", "displayname": name})
    yield _member(user_id, user_id, content)


def _member(sender: UserID, user_id: UserID, content: Mapping[str, object]) -> Draft:
    return Draft(type="m.room.member", sender=sender, state_key=user_id, content=content)


_DIRECT: Final = frozenset({Kind.DIRECT, Kind.DIRECT_PUPIL})


def tidy_direct_rooms(school: School, grants: Grants, pen: Pen) -> School:
    """Close the direct rooms of people who may no longer write to each other, and replace supervisors who have gone.

    School: row 49, decided 4
    """
    for room in school.rooms.values():
        if room.kind not in _DIRECT or room.closed_ms is not None:
            continue
        owner, peer = UserID(room.owner), UserID(room.peer)
        contacts = find_contacts(owner, grants.get(owner, ()), peer, grants.get(peer, ()))
        supervisor = UserID(room.supervisor) if room.supervisor else None
        if supervisor is not None and not _may_supervise(supervisor, grants):
            supervisor = find_supervisor(grants, owner, peer)
        supervised = Contact.WRITE in contacts or (Contact.WRITE_SUPERVISED in contacts and supervisor is not None)
        if not supervised:
            school = close_rooms(school, [room], pen)
        elif supervisor is not None and supervisor != room.supervisor:
            school = add_room(school, replace(room, supervisor=supervisor))
    return school


def find_supervisor(grants: Grants, *pair: UserID) -> UserID | None:
    """Who sits in on a teacher's and a pupil's direct room: an administrator who is none of the two."""
    able = (user_id for user_id in grants if user_id not in pair and _may_supervise(user_id, grants))
    return min(able, default=None)


def _may_supervise(user_id: UserID, grants: Grants) -> bool:
    return any(grant.role is Role.ADMINISTRATOR for grant in grants.get(user_id, ()))
