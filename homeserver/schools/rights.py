"""Who may do what, and who may reach whom: tables and pure functions over them, deny by default.

A person's *grants* are the roles that count right now: verified, not ended, each in its organisation and, for
pupils, parents and teachers of a class, in that class. A grant never reaches outside its scope, so rights are never
the union of a person's roles. A *place* is a school's room of some kind. Grants and place give the *standing* of a
person in the place, and :data:`KINDS` says what that standing may do there. Two people's grants give their
*contacts* by :data:`CONTACTS`. What is in no table is not allowed.

School: rows 1-5, 25, 41, 49, 51, decided 1-4
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from federation.ids import ServerName, UserID
from homeserver.schools.agreements import Agreement, Voucher, roles_agreed, roles_vouched


class Role(StrEnum):
    """What somebody is in an organisation. School: rows 1-4."""

    ADMINISTRATOR = "administrator"
    EDITOR = "editor"  # posts in the channel by delegation, besides another role
    TEACHER = "teacher"
    PARENT = "parent"
    PUPIL = "pupil"


_GIB: Final = 1 << 30
QUOTA_BYTES: Final[Mapping[Role, int]] = {
    Role.ADMINISTRATOR: 50 * _GIB,
    Role.EDITOR: 20 * _GIB,
    Role.TEACHER: 20 * _GIB,
    Role.PARENT: 1 * _GIB,
    Role.PUPIL: 2 * _GIB,
}
"""How many bytes of files somebody may keep, by the role that allows the most. School: rows 45, 54"""

PREVIEWS: Final[frozenset[Role]] = frozenset(Role)
"""Who may learn what a page of a host says that the operator has listed; of any other host nobody."""

SERVERS: Final[frozenset[str]] = frozenset({"profile", "room", "media"})
"""What another server is told, by its name in `policy.About`, of those it shares a room with; of others nothing. Of
devices it is told nothing at all: rooms that it is in are not encrypted, and whoever may claim one-time keys may use
them up.
"""


class Kind(StrEnum):
    """What a school's room is for. `SCHOOL` and `CLASS` are spaces."""

    SCHOOL = "school"
    CHANNEL = "channel"
    STAFF = "staff"
    CLASS = "class"
    PUPILS = "pupils"
    PARENTS = "parents"
    HELP = "help"
    DIRECT = "direct"
    DIRECT_PUPIL = "direct_pupil"
    NETWORK = "network"  # from here on: of cooperations between organisations
    PROFESSIONAL = "professional"
    OLYMPIAD = "olympiad"
    MEETING = "meeting"


class Standing(StrEnum):
    """What somebody is in a place: a role that counts there, or a named person of a room for few."""

    ADMINISTRATOR = "administrator"
    EDITOR = "editor"
    TEACHER = "teacher"
    PARENT = "parent"
    PUPIL = "pupil"
    OWNER = "owner"
    SUPERVISOR = "supervisor"
    SERVICE = "service"  # of an application service, in a room that the operator named for it


class Action(StrEnum):
    """What can be done in a place; `ENTER` includes to see, read and mark as read."""

    ENTER = "enter"
    POST = "post"
    ANSWER = "answer"  # a poll, and say nothing else
    RETRACT = "retract"  # redact what one wrote oneself
    MODERATE = "moderate"  # redact what others wrote
    DESCRIBE = "describe"  # topic and avatar
    PIN = "pin"
    ENCRYPT = "encrypt"
    LEAVE = "leave"


class Contact(StrEnum):
    """What a person may do towards another."""

    FIND = "find"  # in the user directory
    SEE = "see"  # the profile
    PRESENCE = "presence"
    WRITE = "write"  # a direct room of the two
    WRITE_SUPERVISED = "write supervised"  # a direct room with a supervisor in it
    DEVICES = "devices"  # keys and to-device messages


class Nearness(StrEnum):
    """How two grants meet."""

    ORG = "org"
    CLASS = "class"
    KIN = "kin"


class Command(StrEnum):
    """What the school's office does for somebody."""

    SEE = "see"  # people, classes, audit log
    ENROL = "enrol"  # add people, verify them, import a roster
    DISMISS = "dismiss"
    STRUCTURE = "structure"  # classes, moves, promotion
    EXPORT = "export"  # what there is of a person, for them
    COOPERATE = "cooperate"  # with other organisations
    APPOINT = "appoint"  # administrators; found organisations


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A role that counts now. `class_id` is the class where it counts, None for all of the organisation.

    A parent's grant is in the class of the `child`. `chats` says that pupils of that class may write to each other.
    """

    role: Role
    org_id: str
    class_id: str | None = None
    child: UserID | None = None
    chats: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A school's room: its kind and scope. `owners` and `supervisor` are the people of a help or direct room.

    A room of cooperations has their `agreements`, as `host` the region whose room it is, None for ours, and those whom
    the organisation that hosts it has `dismissed`.
    """

    kind: Kind
    org_id: str
    class_id: str | None = None
    owners: frozenset[UserID] = frozenset()
    supervisor: UserID | None = None
    agreements: tuple[Agreement, ...] = ()
    host: ServerName | None = None
    dismissed: frozenset[UserID] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomKind:
    """What rooms of a kind are like.

    `enrolled` are put into the room by the school; who else may enter does so by hand. `powers` are the power levels
    by standing, `posting` the level that a message needs: both follow from `rights`, and are the second net under it.
    """

    rights: Mapping[Standing, frozenset[Action]]
    enrolled: frozenset[Standing]
    powers: Mapping[Standing, int]
    posting: int
    space: bool = False
    join_rule: str = "restricted"
    history: str = "invited"


_A, _E, _T, _P, _C = Standing.ADMINISTRATOR, Standing.EDITOR, Standing.TEACHER, Standing.PARENT, Standing.PUPIL
_READ = frozenset({Action.ENTER})
_VOTE = _READ | {Action.ANSWER}
_VISIT = _READ | {Action.LEAVE}
_RELAY = _VISIT | {Action.POST, Action.RETRACT}
_TALK = _VOTE | {Action.POST, Action.RETRACT}
_LEAD = _TALK | {Action.MODERATE, Action.DESCRIBE, Action.PIN}
_NONE: frozenset[Standing] = frozenset()
NOBODY = 100
"""A level that no person has: only the service account, which created the room, is above it."""

KINDS: Mapping[Kind, RoomKind] = {
    Kind.SCHOOL: RoomKind(
        rights={_A: _READ | {Action.DESCRIBE}, _E: _READ, _T: _READ, _P: _READ, _C: _READ},
        enrolled=frozenset({_A, _E, _T, _P, _C}),
        powers={_A: 90, _T: 50},
        posting=NOBODY,
        space=True,
    ),
    Kind.CHANNEL: RoomKind(
        rights={_A: _LEAD, _E: _TALK | {Action.PIN}, _T: _VOTE, _P: _VOTE, _C: _VOTE, Standing.SERVICE: _VISIT},
        enrolled=frozenset({_A, _E, _T, _P, _C}),
        powers={_A: 90, _E: 90, _T: 50},
        posting=90,
        history="shared",
    ),
    Kind.STAFF: RoomKind(
        rights={_A: _LEAD | {Action.ENCRYPT}, _T: _TALK | {Action.PIN}, Standing.SERVICE: _RELAY},
        enrolled=frozenset({_A, _T}),
        powers={_A: 90, _T: 50},
        posting=0,
    ),
    Kind.CLASS: RoomKind(
        rights={_A: _READ | {Action.DESCRIBE}, _T: _READ | {Action.DESCRIBE}, _P: _READ, _C: _READ},
        enrolled=frozenset({_A, _T, _P, _C}),
        powers={_A: 90, _T: 50},
        posting=NOBODY,
        space=True,
    ),
    Kind.PUPILS: RoomKind(
        rights={_A: _LEAD | {Action.LEAVE}, _T: _LEAD, _C: _TALK, Standing.SERVICE: _RELAY},
        enrolled=frozenset({_T, _C}),
        powers={_A: 90, _T: 50},
        posting=0,
    ),
    Kind.PARENTS: RoomKind(
        rights={_A: _LEAD | {Action.LEAVE}, _T: _LEAD, _P: _TALK, Standing.SERVICE: _RELAY},
        enrolled=frozenset({_T, _P}),
        powers={_A: 90, _T: 50},
        posting=0,
    ),
    Kind.HELP: RoomKind(
        rights={_A: _TALK | {Action.MODERATE}, Standing.OWNER: _TALK},
        enrolled=frozenset({_A, Standing.OWNER}),
        powers={_A: 90},
        posting=0,
        join_rule="invite",
    ),
    Kind.DIRECT: RoomKind(
        rights={Standing.OWNER: _TALK | {Action.ENCRYPT, Action.LEAVE}},
        enrolled=frozenset({Standing.OWNER}),
        powers={},
        posting=0,
        join_rule="invite",
    ),
    Kind.DIRECT_PUPIL: RoomKind(
        rights={Standing.OWNER: _VOTE | {Action.POST}, Standing.SUPERVISOR: _TALK | {Action.MODERATE}},
        enrolled=frozenset({Standing.OWNER, Standing.SUPERVISOR}),
        powers={Standing.SUPERVISOR: 50},
        posting=0,
        join_rule="invite",
    ),
    Kind.NETWORK: RoomKind(
        rights={_A: _LEAD | {Action.LEAVE}, _T: _TALK | {Action.LEAVE}},
        enrolled=_NONE,
        powers={_A: 50},
        posting=0,
    ),
    Kind.PROFESSIONAL: RoomKind(
        rights={_A: _LEAD | {Action.LEAVE}, _T: _TALK | {Action.PIN, Action.LEAVE}},
        enrolled=_NONE,
        powers={_A: 50},
        posting=0,
    ),
    Kind.OLYMPIAD: RoomKind(
        rights={_A: _LEAD | {Action.LEAVE}, _T: _LEAD | {Action.LEAVE}, _C: _TALK | {Action.LEAVE}},
        enrolled=_NONE,
        powers={_A: 50, _T: 50},
        posting=0,
    ),
    Kind.MEETING: RoomKind(
        rights={_A: _LEAD | {Action.LEAVE}, _T: _VOTE | {Action.LEAVE}},
        enrolled=_NONE,
        powers={_A: 50},
        posting=50,
    ),
}

STATE_ACTIONS: Mapping[str, Action] = {
    "m.room.topic": Action.DESCRIBE,
    "m.room.avatar": Action.DESCRIBE,
    "m.room.pinned_events": Action.PIN,
    "m.room.encryption": Action.ENCRYPT,
}
"""The state that people may set at all; names, powers, join rules and the rest are the school's."""

COOPERATIVE: Final = frozenset({Kind.NETWORK, Kind.PROFESSIONAL, Kind.OLYMPIAD, Kind.MEETING})
"""The kinds of rooms of cooperations, each named like the purpose of the cooperation. A cooperation admits no role that
the table above gives nothing in rooms of its purpose, and administrators always. School: rows 63, 67, 68"""

_OF_CLASS = frozenset({Kind.CLASS, Kind.PUPILS, Kind.PARENTS})
_OF_FEW = frozenset({Kind.HELP, Kind.DIRECT, Kind.DIRECT_PUPIL})
_RANKS = (Role.ADMINISTRATOR, Role.EDITOR, Role.TEACHER, Role.PARENT, Role.PUPIL)

_COLLEAGUES = frozenset({Contact.FIND, Contact.SEE, Contact.PRESENCE, Contact.WRITE, Contact.DEVICES})
_ADULTS = frozenset({Contact.SEE, Contact.WRITE, Contact.DEVICES})
_LOOK = frozenset({Contact.FIND, Contact.SEE, Contact.PRESENCE})
_R = Role

CONTACTS: Mapping[tuple[Role, Nearness, Role], frozenset[Contact]] = {
    (_R.ADMINISTRATOR, Nearness.ORG, _R.ADMINISTRATOR): _COLLEAGUES,
    (_R.ADMINISTRATOR, Nearness.ORG, _R.TEACHER): _COLLEAGUES,
    (_R.ADMINISTRATOR, Nearness.ORG, _R.PARENT): _COLLEAGUES,
    (_R.ADMINISTRATOR, Nearness.ORG, _R.PUPIL): _LOOK,
    (_R.TEACHER, Nearness.ORG, _R.ADMINISTRATOR): _COLLEAGUES,
    (_R.TEACHER, Nearness.ORG, _R.TEACHER): _COLLEAGUES,
    (_R.TEACHER, Nearness.ORG, _R.PARENT): _ADULTS,
    (_R.TEACHER, Nearness.CLASS, _R.PARENT): _COLLEAGUES,
    (_R.TEACHER, Nearness.CLASS, _R.PUPIL): _LOOK | {Contact.WRITE_SUPERVISED},
    (_R.PARENT, Nearness.ORG, _R.ADMINISTRATOR): _COLLEAGUES,
    (_R.PARENT, Nearness.ORG, _R.TEACHER): _ADULTS,
    (_R.PARENT, Nearness.CLASS, _R.TEACHER): _COLLEAGUES,
    (_R.PARENT, Nearness.ORG, _R.PARENT): _ADULTS,
    (_R.PARENT, Nearness.CLASS, _R.PARENT): _COLLEAGUES,
    (_R.PARENT, Nearness.KIN, _R.PUPIL): _LOOK | {Contact.WRITE},
    (_R.PUPIL, Nearness.ORG, _R.ADMINISTRATOR): frozenset({Contact.SEE}),
    (_R.PUPIL, Nearness.CLASS, _R.TEACHER): _LOOK,
    (_R.PUPIL, Nearness.CLASS, _R.PUPIL): _LOOK,
    (_R.PUPIL, Nearness.KIN, _R.PARENT): _LOOK,
}
"""What the first may do towards the second when their grants meet so; the contact matrix. School: rows 3, 4, 41, 49"""

_NOTHING: frozenset[Contact] = frozenset()

CALLERS: Final[frozenset[Role]] = frozenset({Role.ADMINISTRATOR, Role.TEACHER, Role.PARENT})
"""Who is given access to the servers that carry calls; pupils call nobody by themselves. School: rows 49, 57"""

COMMANDS: Mapping[Role, frozenset[Command]] = {
    Role.ADMINISTRATOR: frozenset(Command) - {Command.APPOINT},
}
"""What the office does for the roles of its organisation. To appoint and to found is the region's (row 6)."""


class Reach(StrEnum):
    """How far a deed of an operator reaches in a region of schools."""

    ALL = "all"
    STRANGERS = "strangers"  # only people and rooms that no school knows


OPERATORS: Mapping[str, Reach] = {
    "see_account": Reach.ALL,
    "set_password": Reach.STRANGERS,
    "change_profile": Reach.STRANGERS,
    "make_operator": Reach.STRANGERS,
    "unmake_operator": Reach.ALL,
    "lock": Reach.ALL,
    "unlock": Reach.ALL,
    "suspend": Reach.ALL,
    "unsuspend": Reach.ALL,
    "deactivate": Reach.ALL,
    "set_type": Reach.ALL,
    "limit": Reach.ALL,
    "end_sessions": Reach.ALL,
    "change_device": Reach.STRANGERS,
    "see_room": Reach.ALL,
    "block_room": Reach.ALL,
    "unblock_room": Reach.ALL,
    "delete_room": Reach.STRANGERS,
    "tidy_room": Reach.ALL,
    "see_report": Reach.ALL,
    "settle_report": Reach.ALL,
    "see_tokens": Reach.ALL,
    "remove_token": Reach.ALL,
    "notify": Reach.ALL,
    "see_audit": Reach.ALL,
    "run_job": Reach.ALL,
    "reset_destination": Reach.ALL,
    "see_media": Reach.ALL,
    "quarantine_media": Reach.ALL,
    "release_media": Reach.ALL,
    "protect_media": Reach.ALL,
    "remove_media": Reach.ALL,
    "purge_history": Reach.ALL,
    "export": Reach.ALL,
    "erase": Reach.ALL,
}
"""What operators of the server may do where schools are, by its name in `policy.Deed`. Not listed, and so nobody's: to
be somebody else (`log_in_as`), to let anybody in (`admit`, `make_room_admin`), to read what was said (`read_room`,
`see_account_data`), and to make accounts that are on no roster (`create_account`, `make_token`). School: rows 1, 24
"""


def may_administer(deed: str, *, of_school: bool) -> bool:
    """Whether an operator may do that to somebody or in a room; `of_school`: which a school knows."""
    reach = OPERATORS.get(deed)
    return reach is Reach.ALL or (reach is Reach.STRANGERS and not of_school)


def find_standing(user_id: UserID, grants: Collection[Grant], place: Place) -> Standing | None:
    """What that person is in that place, None for a stranger there; the first rank of those that count."""
    if place.kind in _OF_FEW:
        return _standing_among_few(user_id, grants, place)
    if user_id in place.dismissed:
        return None
    if place.kind in COOPERATIVE:
        held = [(grant.org_id, grant.role.value) for grant in grants]
        return rank(roles_agreed(user_id, held, place.agreements), place.kind)
    return rank({grant.role.value for grant in grants if _counts_in(grant, place)}, place.kind)


def find_guest_standing(user_id: UserID, vouchers: Collection[Voucher], place: Place, now_ms: int) -> Standing | None:
    """What somebody of another region is in a place: by what their region vouches for now, and only in a room of
    cooperations with it.
    """
    if place.kind not in COOPERATIVE or user_id in place.dismissed:
        return None
    return rank(roles_vouched(user_id, vouchers, place.agreements, now_ms), place.kind)


def rank(roles: Collection[str], kind: Kind) -> Standing | None:
    """The first of the roles that count in a place for what somebody is there."""
    return next((Standing(r) for r in _RANKS if r in roles and Standing(r) in KINDS[kind].rights), None)


def _standing_among_few(user_id: UserID, grants: Collection[Grant], place: Place) -> Standing | None:
    if place.kind is Kind.HELP:
        if user_id in place.owners:
            return Standing.OWNER
        staff = any(g.role is Role.ADMINISTRATOR and g.org_id == place.org_id for g in grants)
        return Standing.ADMINISTRATOR if staff else None
    if not any(grant.org_id == place.org_id for grant in grants):
        return None
    if user_id in place.owners:
        return Standing.OWNER
    return Standing.SUPERVISOR if user_id == place.supervisor else None


def _counts_in(grant: Grant, place: Place) -> bool:
    if grant.org_id != place.org_id:
        return False
    if place.kind in _OF_CLASS:
        return grant.role is Role.ADMINISTRATOR or grant.class_id == place.class_id
    return True


def may(standing: Standing | None, action: Action, kind: Kind) -> bool:
    """Whether somebody of that standing may do that in a place of that kind."""
    return standing is not None and action in KINDS[kind].rights.get(standing, ())


def may_set_state(standing: Standing | None, event_type: str, kind: Kind) -> bool:
    """Whether somebody of that standing may set that type of state by hand."""
    action = STATE_ACTIONS.get(event_type)
    return action is not None and may(standing, action, kind)


def may_encrypt(kind: Kind) -> bool:
    """Whether rooms of that kind may be encrypted at all. School: decided 1"""
    return any(Action.ENCRYPT in actions for actions in KINDS[kind].rights.values())


def find_contacts(one: UserID, ones: Collection[Grant], other: UserID, others: Collection[Grant]) -> frozenset[Contact]:
    """What the one may do towards the other: what any two of their grants give, each within its scope."""
    if one == other:
        return frozenset({Contact.FIND, Contact.SEE, Contact.PRESENCE, Contact.DEVICES})
    found = _NOTHING
    for mine in ones:
        for theirs in others:
            if mine.org_id == theirs.org_id:
                found |= _contacts_of(one, mine, other, theirs)
    return found


def _contacts_of(one: UserID, mine: Grant, other: UserID, theirs: Grant) -> frozenset[Contact]:
    found = CONTACTS.get((mine.role, Nearness.ORG, theirs.role), _NOTHING)
    if mine.class_id is not None and mine.class_id == theirs.class_id:
        found |= CONTACTS.get((mine.role, Nearness.CLASS, theirs.role), _NOTHING)
        if mine.role is theirs.role is Role.PUPIL and mine.chats and theirs.chats:
            found |= {Contact.WRITE}
    if other == mine.child or one == theirs.child:
        found |= CONTACTS.get((mine.role, Nearness.KIN, theirs.role), _NOTHING)
    return found


def may_command(grants: Collection[Grant], command: Command, org_id: str) -> bool:
    """Whether the office of that organisation does this for somebody with those grants."""
    return any(g.org_id == org_id and command in COMMANDS.get(g.role, ()) for g in grants)
