"""The table of rights, cell by cell. What the tests do not name must be refused."""

import itertools
from dataclasses import replace

import pytest

from federation.ids import ServerName, UserID
from homeserver.schools.agreements import Agreement, Voucher
from homeserver.schools.rights import (
    COMMANDS,
    CONTACTS,
    COOPERATIVE,
    KINDS,
    NOBODY,
    STATE_ACTIONS,
    Action,
    Command,
    Contact,
    Grant,
    Kind,
    Nearness,
    Place,
    Role,
    Standing,
    find_contacts,
    find_guest_standing,
    find_standing,
    may,
    may_command,
    may_encrypt,
    may_set_state,
)

ME, OTHER, CHILD = (UserID(f"@{name}:north.example") for name in ("me", "other", "child"))

# e enter, p post, a answer polls, r retract one's own, m moderate, d describe, i pin, c encrypt, l leave
LETTERS = dict(zip("eparmdicl", Action, strict=True))
RIGHTS = """
                school  channel  staff    class  pupils   parents  help   direct  direct_pupil
administrator   ed      eparmdi  eparmdic ed     eparmdil eparmdil eparm  -       -
editor          e       epari    -        -      -        -        -      -       -
teacher         e       ea       epari    ed     eparmdi  eparmdi  -      -       -
parent          e       ea       -        e      -        epar     -      -       -
pupil           e       ea       -        e      epar     -        -      -       -
owner           -       -        -        -      -        -        epar   eparcl  epa
supervisor      -       -        -        -      -        -        -      -       eparm
service         -       el       eprl     -      eprl     eprl     -      -       -
"""
RIGHTS_OF_COOPERATIONS = """
                network   professional  olympiad  meeting
administrator   eparmdil  eparmdil      eparmdil  eparmdil
teacher         eparl     eparil        eparmdil  eal
pupil           -         -             eparl     -
parent          -         -             -         -
editor          -         -             -         -
owner           -         -             -         -
supervisor      -         -             -         -
service         -         -             -         -
"""


def cells() -> list[tuple[Standing, Kind, frozenset[Action]]]:
    return [*cells_of(RIGHTS), *cells_of(RIGHTS_OF_COOPERATIONS)]


def cells_of(table: str) -> list[tuple[Standing, Kind, frozenset[Action]]]:
    header, *lines = table.strip().splitlines()
    found = []
    for line in lines:
        name, *rights = line.split()
        for kind, letters in zip(header.split(), rights, strict=True):
            allowed = frozenset() if letters == "-" else frozenset(LETTERS[letter] for letter in letters)
            found.append((Standing(name), Kind(kind), allowed))
    return found


@pytest.mark.parametrize(("standing", "kind", "allowed"), cells())
@pytest.mark.parametrize("action", Action)
def test_a_standing_gives_the_rights_of_its_cell_and_no_others(standing, kind, allowed, action) -> None:
    assert may(standing, action, kind) == (action in allowed)


def test_the_table_of_the_tests_has_every_cell() -> None:
    assert {(standing, kind) for standing, kind, _ in cells()} == set(itertools.product(Standing, Kind))


@pytest.mark.parametrize(("action", "kind"), list(itertools.product(Action, Kind)))
def test_a_stranger_may_do_nothing_anywhere(action, kind) -> None:
    assert not may(None, action, kind)


def test_what_needs_no_entry_is_allowed_to_nobody() -> None:
    for _, _, allowed in cells():
        assert not allowed or Action.ENTER in allowed


# powers: the Matrix rules agree with the table


@pytest.mark.parametrize(("standing", "kind", "allowed"), cells())
def test_power_levels_let_post_exactly_those_who_may(standing, kind, allowed) -> None:
    if allowed:
        power = KINDS[kind].powers.get(standing, 0)
        assert (power >= KINDS[kind].posting) == (Action.POST in allowed)


@pytest.mark.parametrize(("standing", "kind", "allowed"), cells())
def test_who_may_not_moderate_has_no_power_to_redact(standing, kind, allowed) -> None:
    power = KINDS[kind].powers.get(standing, 0)
    assert power < NOBODY
    if Action.MODERATE in allowed:
        assert power >= 50


def test_administrators_have_90_teachers_50_and_others_nothing() -> None:
    powers = {(standing, power) for kind in KINDS.values() for standing, power in kind.powers.items()}
    assert powers == {
        (Standing.ADMINISTRATOR, 90),
        (Standing.ADMINISTRATOR, 50),  # in rooms of cooperations, where nobody is above the other organisation's
        (Standing.EDITOR, 90),
        (Standing.TEACHER, 50),
        (Standing.SUPERVISOR, 50),
    }


def test_who_is_put_into_a_room_may_be_there() -> None:
    for kind, room in KINDS.items():
        for standing in room.enrolled:
            assert may(standing, Action.ENTER, kind)


@pytest.mark.parametrize("kind", Kind)
def test_only_staff_rooms_and_direct_rooms_of_adults_are_encrypted(kind) -> None:
    assert may_encrypt(kind) == (kind in {Kind.STAFF, Kind.DIRECT})


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("standing", [*Standing, None])
@pytest.mark.parametrize(
    "event_type",
    [
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.canonical_alias",
        "m.room.server_acl",
        "m.room.tombstone",
        "m.room.create",
        "m.room.third_party_invite",
        "m.space.child",
        "m.space.parent",
        "m.room.policy",
        "m.room.name",
        "m.room.member",
        "org.example.anything",
        "",
    ],
)
def test_nobody_sets_what_the_school_sets(kind, standing, event_type) -> None:
    assert not may_set_state(standing, event_type, kind)


@pytest.mark.parametrize(("standing", "kind", "allowed"), cells())
@pytest.mark.parametrize("event_type", STATE_ACTIONS)
def test_state_that_people_may_set_follows_the_table(standing, kind, allowed, event_type) -> None:
    assert may_set_state(standing, event_type, kind) == (STATE_ACTIONS[event_type] in allowed)


# standings


def place(kind: Kind, **fields) -> Place:
    fields.setdefault("class_id", "9b" if kind in {Kind.CLASS, Kind.PUPILS, Kind.PARENTS} else None)
    return Place(kind=kind, org_id="north", **fields)


def grant(role: Role, **fields) -> Grant:
    return Grant(role=role, org_id=fields.pop("org_id", "north"), **fields)


WIDE = (Kind.SCHOOL, Kind.CHANNEL)
OF_CLASS = (Kind.CLASS, Kind.PUPILS, Kind.PARENTS)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.DIRECT, Kind.DIRECT_PUPIL, *COOPERATIVE}])
def test_an_administrator_has_that_standing_in_every_room_of_the_school(kind) -> None:
    grants = [grant(Role.ADMINISTRATOR)]
    assert find_standing(ME, grants, place(kind)) is Standing.ADMINISTRATOR


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kind", Kind)
def test_a_role_at_another_school_is_no_standing_here(role, kind) -> None:
    grants = [grant(role, org_id="south", class_id="9b", child=CHILD)]
    assert find_standing(ME, grants, place(kind)) is None


@pytest.mark.parametrize("role", [Role.TEACHER, Role.PUPIL, Role.PARENT])
@pytest.mark.parametrize("kind", OF_CLASS)
def test_a_role_counts_in_its_own_class_only(role, kind) -> None:
    expected = Standing(role) if Standing(role) in KINDS[kind].rights else None
    assert find_standing(ME, [grant(role, class_id="9b")], place(kind)) == expected
    assert find_standing(ME, [grant(role, class_id="5a")], place(kind)) is None
    assert find_standing(ME, [grant(role)], place(kind)) is None


@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("role", Role)
def test_every_role_counts_in_the_rooms_of_the_whole_school(kind, role) -> None:
    assert find_standing(ME, [grant(role, class_id="5a")], place(kind)) is Standing(role)


def test_pupils_and_parents_are_strangers_in_the_staff_room() -> None:
    for role in (Role.PUPIL, Role.PARENT, Role.EDITOR):
        assert find_standing(ME, [grant(role, class_id="9b")], place(Kind.STAFF)) is None


def test_an_editor_who_is_a_teacher_is_one_in_the_staff_room() -> None:
    grants = [grant(Role.EDITOR), grant(Role.TEACHER)]
    assert find_standing(ME, grants, place(Kind.STAFF)) is Standing.TEACHER
    assert find_standing(ME, grants, place(Kind.CHANNEL)) is Standing.EDITOR


def test_a_teacher_of_one_class_and_parent_in_another_is_not_both_in_either() -> None:
    grants = [grant(Role.TEACHER, class_id="5a"), grant(Role.PARENT, class_id="9b", child=CHILD)]
    assert find_standing(ME, grants, place(Kind.PARENTS)) is Standing.PARENT
    assert find_standing(ME, grants, place(Kind.PUPILS)) is None
    assert find_standing(ME, grants, place(Kind.PUPILS, class_id="5a")) is Standing.TEACHER


def test_somebody_without_grants_has_their_help_room_and_nothing_else() -> None:
    for kind in Kind:
        own = place(kind, owners=frozenset({ME}))
        assert find_standing(ME, [], own) is (Standing.OWNER if kind is Kind.HELP else None)
    assert find_standing(ME, [], place(Kind.HELP, owners=frozenset({OTHER}))) is None
    assert find_standing(ME, [grant(Role.TEACHER)], place(Kind.HELP, owners=frozenset({OTHER}))) is None


@pytest.mark.parametrize("kind", [Kind.DIRECT, Kind.DIRECT_PUPIL])
def test_a_direct_room_is_for_the_two_and_their_supervisor(kind) -> None:
    room = place(kind, owners=frozenset({ME, CHILD}), supervisor=OTHER)
    grants = [grant(Role.TEACHER)]
    assert find_standing(ME, grants, room) is Standing.OWNER
    assert find_standing(OTHER, grants, room) is Standing.SUPERVISOR
    assert find_standing(UserID("@third:north.example"), [grant(Role.ADMINISTRATOR)], room) is None


# contacts

FIND, SEE, PRESENCE, WRITE, SUPERVISED, DEVICES = Contact
COLLEAGUES = {FIND, SEE, PRESENCE, WRITE, DEVICES}
ADULTS = {SEE, WRITE, DEVICES}
LOOK = {FIND, SEE, PRESENCE}
A, E, T, P, C = Role

EXPECTED = {
    Nearness.ORG: {
        (A, A): COLLEAGUES,
        (A, T): COLLEAGUES,
        (A, P): COLLEAGUES,
        (A, C): LOOK,
        (T, A): COLLEAGUES,
        (T, T): COLLEAGUES,
        (T, P): ADULTS,
        (P, A): COLLEAGUES,
        (P, T): ADULTS,
        (P, P): ADULTS,
        (C, A): {SEE},
    },
    Nearness.CLASS: {
        (T, P): COLLEAGUES,
        (T, C): LOOK | {SUPERVISED},
        (P, T): COLLEAGUES,
        (P, P): COLLEAGUES,
        (C, T): LOOK,
        (C, C): LOOK,
    },
    Nearness.KIN: {(P, C): LOOK | {WRITE}, (C, P): LOOK},
}


@pytest.mark.parametrize("nearness", Nearness)
@pytest.mark.parametrize(("one", "other"), list(itertools.product(Role, Role)))
def test_the_contact_matrix_has_these_cells_and_no_others(nearness, one, other) -> None:
    assert CONTACTS.get((one, nearness, other), frozenset()) == EXPECTED[nearness].get((one, other), set())


@pytest.mark.parametrize(("one", "other"), list(itertools.product(Role, Role)))
def test_people_of_one_organisation_have_the_contacts_of_the_matrix(one, other) -> None:
    apart = find_contacts(ME, [grant(one, class_id="5a")], OTHER, [grant(other, class_id="9b")])
    assert apart == EXPECTED[Nearness.ORG].get((one, other), set())
    together = find_contacts(ME, [grant(one, class_id="9b")], OTHER, [grant(other, class_id="9b")])
    assert together == apart | EXPECTED[Nearness.CLASS].get((one, other), set())


@pytest.mark.parametrize(("one", "other"), list(itertools.product(Role, Role)))
def test_people_of_two_organisations_have_no_contact(one, other) -> None:
    mine, theirs = [grant(one, class_id="9b")], [grant(other, class_id="9b", org_id="south")]
    assert find_contacts(ME, mine, OTHER, theirs) == set()


def test_a_parent_may_write_to_their_own_child_and_to_no_other() -> None:
    parent = [grant(P, class_id="9b", child=CHILD)]
    assert WRITE in find_contacts(ME, parent, CHILD, [grant(C, class_id="9b")])
    assert find_contacts(ME, parent, OTHER, [grant(C, class_id="9b")]) == set()
    assert find_contacts(CHILD, [grant(C, class_id="9b")], ME, parent) == LOOK
    assert find_contacts(OTHER, [grant(C, class_id="9b")], ME, parent) == set()


def test_pupils_write_to_each_other_where_their_class_may_and_only_there() -> None:
    quiet, open_ = grant(C, class_id="9b"), grant(C, class_id="9b", chats=True)
    assert WRITE in find_contacts(ME, [open_], OTHER, [open_])
    assert WRITE not in find_contacts(ME, [quiet], OTHER, [quiet])
    assert WRITE not in find_contacts(ME, [open_], OTHER, [quiet])
    assert WRITE not in find_contacts(ME, [open_], OTHER, [grant(C, class_id="9a", chats=True)])
    assert WRITE not in find_contacts(ME, [open_], OTHER, [grant(T, class_id="9b", chats=True)])
    assert WRITE not in find_contacts(ME, [grant(T, class_id="9b", chats=True)], OTHER, [open_])


def test_a_pupil_writes_to_no_adult_first() -> None:
    for role in (A, E, T, P):
        for class_id in (None, "9b"):
            adult = [grant(role, class_id=class_id)]
            assert not {WRITE, SUPERVISED} & find_contacts(ME, [grant(C, class_id="9b")], OTHER, adult)


def test_one_without_grants_has_only_themselves() -> None:
    assert find_contacts(ME, [], OTHER, [grant(T)]) == set()
    assert find_contacts(ME, [grant(T)], OTHER, []) == set()
    assert find_contacts(ME, [], ME, []) == {FIND, SEE, PRESENCE, DEVICES}


# the office


@pytest.mark.parametrize(("role", "command"), list(itertools.product(Role, Command)))
def test_the_office_serves_administrators_with_all_but_appointments(role, command) -> None:
    expected = role is Role.ADMINISTRATOR and command is not Command.APPOINT
    assert (command in COMMANDS.get(role, ())) == expected
    assert may_command([grant(role)], command, "north") == expected
    assert not may_command([grant(role)], command, "south")
    assert not may_command([], command, "north")


SOUTH = ServerName("south.example")
TERM_MS = 1_000_000


def agreement(*roles: Role, pupils: frozenset[UserID] = frozenset()) -> Agreement:
    return Agreement(
        cooperation_id="c", org_id="north", server=SOUTH, roles=frozenset(roles), until_ms=TERM_MS, pupils=pupils
    )


def network(kind: Kind, *agreements: Agreement) -> Place:
    return Place(kind=kind, org_id="north", agreements=agreements, host=ServerName("north.example"))


@pytest.mark.parametrize("kind", sorted(COOPERATIVE))
@pytest.mark.parametrize("role", Role)
def test_our_own_belong_in_a_room_of_a_cooperation_as_it_says(kind: Kind, role: Role) -> None:
    admitted = network(kind, agreement(Role.ADMINISTRATOR, role, pupils=frozenset({ME})))
    expected = Standing(role) if Standing(role) in KINDS[kind].rights else None
    assert find_standing(ME, [grant(role)], admitted) is expected
    assert find_standing(ME, [grant(role)], network(kind)) is None
    assert find_standing(ME, [replace(grant(role), org_id="west")], admitted) is None
    other = next(each for each in Role if each is not role)
    assert find_standing(ME, [grant(role)], network(kind, agreement(other))) is None


def test_a_pupil_belongs_in_a_room_of_a_cooperation_only_by_name() -> None:
    olympiad = network(Kind.OLYMPIAD, agreement(Role.PUPIL, pupils=frozenset({ME})))
    assert find_standing(ME, [grant(Role.PUPIL)], olympiad) is Standing.PUPIL
    assert find_standing(OTHER, [grant(Role.PUPIL)], olympiad) is None


def test_people_of_other_regions_belong_as_far_as_their_region_vouches_for_them() -> None:
    anna, kind = UserID(f"@anna:{SOUTH}"), Kind.PROFESSIONAL
    place_of_both = network(kind, agreement(Role.ADMINISTRATOR, Role.TEACHER))

    def stands(voucher: Voucher, user_id: UserID = anna, now_ms: int = 5, place: Place = place_of_both) -> bool:
        return find_guest_standing(user_id, [voucher], place, now_ms) is not None

    good = Voucher(cooperation_id="c", role="teacher", until_ms=10)
    assert stands(good)
    assert not stands(good, now_ms=10)
    assert not stands(replace(good, until_ms=TERM_MS * 2), now_ms=TERM_MS)
    assert not stands(replace(good, cooperation_id="d"))
    assert not stands(good, user_id=UserID("@anna:west.example"))
    assert not stands(good, place=network(kind))
    assert not stands(good, place=place(Kind.STAFF))
    for role in ("pupil", "parent", "editor", "owner", "supervisor", "service", "", "king"):
        assert not stands(replace(good, role=role))
