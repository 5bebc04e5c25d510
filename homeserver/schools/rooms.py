"""The school's rooms: which there must be, what they are called, and the events they begin with. Pure.

Organisation space > class space > rooms. All are version 12 rooms that the service account alone creates, so that
nobody is ever above the school in them.

School: rows 2, 17, 25, decided 1
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from federation.ids import RoomID, ServerName, UserID
from homeserver.rooms.seal import Draft
from homeserver.schools.rights import KINDS, Kind
from homeserver.schools.school import School

VERSION: Final = "12"
_OF_THE_ORGANISATION: Final = (Kind.SCHOOL, Kind.CHANNEL, Kind.STAFF)
_OF_A_CLASS: Final = (Kind.CLASS, Kind.PUPILS, Kind.PARENTS)
_NAMES: Final = {Kind.CHANNEL: "Объявления", Kind.STAFF: "Учительская", Kind.HELP: "Помощь"}
SERVICE_NAME: Final = "Школа"


class RoomKey(NamedTuple):
    """What there is one room of: a kind, in a class or not, for somebody or not."""

    kind: Kind
    class_id: str = ""
    owner: UserID | str = ""
    peer: UserID | str = ""


def room_keys(school: School) -> dict[RoomKey, RoomID]:
    """The open rooms that there are."""
    return {
        RoomKey(Kind(room.kind), room.class_id, room.owner, room.peer): room.room_id
        for room in school.rooms.values()
        if room.closed_ms is None
    }


def needed_rooms(school: School) -> Iterator[RoomKey]:
    """The rooms that there must be, spaces before what is in them; a help room for everybody who waits.

    School: rows 17, 26, 70
    """
    for kind in _OF_THE_ORGANISATION:
        yield RoomKey(kind)
    for school_class in school.classes.values():
        if school_class.closed_ms is None:
            for kind in _OF_A_CLASS:
                yield RoomKey(kind, school_class.class_id)
    for user_id in sorted({role.user_id for role in school.current_roles() if role.verified_ms is None}):
        yield RoomKey(Kind.HELP, owner=user_id)


def find_parent(school: School, key: RoomKey) -> RoomID | None:
    """The space that a room is in: the class's, the organisation's, or none."""
    space = _space_of(key)
    return None if space is None else room_keys(school).get(space)


def _space_of(key: RoomKey) -> RoomKey | None:
    if key.kind in {Kind.PUPILS, Kind.PARENTS}:
        return RoomKey(Kind.CLASS, key.class_id)
    return RoomKey(Kind.SCHOOL) if key.kind in {Kind.CHANNEL, Kind.STAFF, Kind.CLASS} else None


def rooms_by_space(school: School) -> dict[RoomKey, set[RoomID]]:
    """The rooms that each space shows as its own; direct and help rooms are in no space."""
    found: dict[RoomKey, set[RoomID]] = {}
    for key, room_id in room_keys(school).items():
        space = _space_of(key)
        if space is not None:
            found.setdefault(space, set()).add(room_id)
    return found


def room_name(school: School, kind: Kind, class_id: str) -> str:
    """What the school calls a room; direct rooms are called after who is in them."""
    if kind is Kind.SCHOOL:
        return school.org.short_name
    if class_id:
        title = school.classes[class_id].title
        return {Kind.PUPILS: f"{title}: ученики", Kind.PARENTS: f"{title}: родители"}.get(kind, title)
    return _NAMES.get(kind, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Founder:
    """In whose name rooms begin: the service account and our server. `nonce` is another one for each room.

    A room of this version is named by the hash of its create event, and two may be alike in all else.
    """

    service: UserID
    server: ServerName
    nonce: str


def build_beginning(kind: Kind, founder: Founder, parent: RoomID | None) -> Iterator[Draft]:
    """The events that a room of that kind begins with; its roll's follow.

    Spec: client-server-api#mroomcreate, client-server-api#mroomjoin_rules, client-server-api#mspaceparent
    """
    service, server = founder.service, founder.server
    create: dict[str, object] = {"room_version": VERSION, "m.federate": False}
    create |= {"org.parta.kind": kind.value, "org.parta.nonce": founder.nonce}
    if KINDS[kind].space:
        create["type"] = "m.space"
    contents: list[tuple[str, str, dict[str, object]]] = [
        ("m.room.create", "", create),
        ("m.room.member", service, {"membership": "join", "displayname": SERVICE_NAME}),
        ("m.room.join_rules", "", _join_rule(kind, parent)),
        ("m.room.history_visibility", "", {"history_visibility": KINDS[kind].history}),
        ("m.room.guest_access", "", {"guest_access": "forbidden"}),
    ]
    if parent is not None:
        contents.append(("m.space.parent", parent, {"via": [server], "canonical": True}))
    for event_type, state_key, content in contents:
        yield Draft(type=event_type, sender=service, state_key=state_key, content=content)


def _join_rule(kind: Kind, parent: RoomID | None) -> dict[str, object]:
    """Restricted to the space it is in, where that says who belongs; a class's own space admits by the school only."""
    rule = KINDS[kind].join_rule
    if rule != "restricted":
        return {"join_rule": rule}
    allowed = parent is not None and kind is not Kind.CLASS
    return {"join_rule": rule, "allow": [{"type": "m.room_membership", "room_id": parent}] if allowed else []}
