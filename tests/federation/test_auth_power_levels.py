"""The rule about changes of power levels: their shape, and how far a sender's power reaches."""

import pytest

from tests.kit.rooms import ALICE, BOB, CAROL, DAVE, POWER_LEVELS, RoomFactory, spoil, versions

PROPERTIES = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}


@pytest.fixture(params=versions())
def room(request):
    """Bob and Carol may both set power levels, Bob with 50 and Carol with 60."""
    room = RoomFactory(request.param)
    room.join(BOB, CAROL, DAVE)
    room.set_levels(users={BOB: 50, CAROL: 60})
    return room


def version_of(room):
    return int(room.version.id)


def against(room, sender=ALICE, /, *, without=(), **levels):
    """The rule against a change: `levels` merged into what is there, `without` taken out (`"users/@a:b"`)."""
    event = room.build_levels(sender)
    content = {name: dict(value) if isinstance(value, dict) else value for name, value in event.content.items()}
    for name, value in levels.items():
        merged = isinstance(value, dict) and isinstance(content.get(name), dict)
        content[name] = {**content[name], **value} if merged else value
    for path in without:
        name, _, key = path.partition("/")
        if key:
            del content[name][key]
        else:
            del content[name]
    return room.rule_against(spoil(event, content=content))


# 10.1, 10.2, 10.3: the shape


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("value", ["50", " +050 ", 50.5, True, None, [], {}, "many"])
def test_from_version_10_on_a_level_is_an_integer(room, name, value):
    assert against(room, **{name: 50}) is None
    found = against(room, **{name: value})
    if version_of(room) >= 10:
        assert found == "power_levels.properties"
    elif isinstance(value, str) and value != "many" or isinstance(value, float) and version_of(room) <= 5:
        assert found is None
    else:
        assert found == "power_levels.property.new"


@pytest.mark.parametrize("name", ["events", "notifications"])
@pytest.mark.parametrize("value", [{"a": "1"}, {"a": None}, {"a": True}, {"a": 1.5}, [], None, 5, "x"])
def test_from_version_10_on_events_and_notifications_hold_integers(room, name, value):
    assert against(room, **{name: {"a": 1}}) is None
    found = against(room, **{name: value})
    if version_of(room) >= 10:
        assert found == "power_levels.entries"
    elif not isinstance(value, dict) or value == {"a": "1"} or (name == "notifications" and version_of(room) < 6):
        assert found is None
    elif value == {"a": 1.5}:
        assert found == (None if version_of(room) <= 5 else "power_levels.entry_given.new")
    else:
        assert found == "power_levels.entry_given.new"


@pytest.mark.parametrize(
    ("users", "since", "until"),
    [
        ({DAVE: 5}, 1, 12),
        ({}, 1, 12),
        ({DAVE: "5"}, 1, 9),
        ({DAVE: "\n-0005\t"}, 1, 9),
        ({DAVE: 5.9}, 1, 5),
        ({DAVE: "5.9"}, 0, 0),
        ({DAVE: "5_0"}, 0, 0),
        ({DAVE: "\u0665"}, 0, 0),
        ({DAVE: "1" * 310}, 0, 0),
        ({DAVE: ""}, 0, 0),
        ({DAVE: None}, 0, 0),
        ({DAVE: True}, 0, 0),
        ({DAVE: float("inf")}, 0, 0),
        ({DAVE: float("nan")}, 0, 0),
        ({DAVE: [5]}, 0, 0),
        ({"dave": 5}, 0, 0),
        ({"@dave": 5}, 0, 0),
        ({"": 5}, 0, 0),
        ([], 0, 0),
        (None, 0, 0),
        ("x", 0, 0),
    ],
)
def test_users_are_user_ids_with_levels(room, users, since, until):
    assert against(room, users=users) == (None if since <= version_of(room) <= until else "power_levels.users")


def test_the_first_power_levels_are_looked_at_for_their_shape_only(room):
    bare = RoomFactory(room.version, power_levels={})
    for content in ({}, {"users": {DAVE: 5}}, {"users": {DAVE: 1000}, "ban": 1000, "events": {"a": 1000}}):
        event = bare.build("m.room.power_levels", content, sender=ALICE, state_key="")
        assert bare.rule_against(event) is None
    event = bare.build("m.room.power_levels", {"users": {"dave": 5}}, sender=ALICE, state_key="")
    assert bare.rule_against(event) == "power_levels.users"
    unreadable = bare.build("m.room.power_levels", {"ban": "many"}, sender=ALICE, state_key="")
    assert bare.rule_against(unreadable) == ("power_levels.properties" if version_of(room) >= 10 else None)


# 10.4: creators


def test_in_version_12_creators_have_no_level():
    room = RoomFactory("12", create_content={"additional_creators": [BOB]})
    for creator in (ALICE, BOB):
        assert against(room, users={creator: 100}) == "power_levels.creators"
    assert against(room, users={CAROL: 100}) is None
    bare = RoomFactory("12", power_levels={})
    event = bare.build("m.room.power_levels", {"users": {ALICE: 100}}, sender=ALICE, state_key="")
    assert bare.rule_against(event) == "power_levels.creators"


@pytest.mark.parametrize("version", versions(1, 11))
def test_before_version_12_a_creator_has_a_level_and_may_lose_it(version):
    room = RoomFactory(version, create_content={"additional_creators": [BOB]})
    assert against(room, users={ALICE: 100, BOB: 100}) is None
    room.set_levels(users={ALICE: 0})
    assert room.rule_against(room.build("m.room.topic", {}, sender=ALICE, state_key="")) == "level"


# 10.6: levels


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_level_is_changed_within_the_senders_power(room, name):
    room.set_levels(**{name: 50})
    assert against(room, BOB, **{name: 40}) is None
    assert against(room, BOB, **{name: 51}) == "power_levels.property.new"
    room.set_levels(**{name: 51} if name != "state_default" else {name: 51, "events": {POWER_LEVELS[0]: 50}})
    assert against(room, BOB, **{name: 50}) == "power_levels.property.current"
    assert against(room, BOB, users={DAVE: 1}) is None  # what stays is not looked at


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_level_is_added_and_removed_within_the_senders_power(room, name):
    assert against(room, BOB, **{name: 50}) is None
    assert against(room, BOB, **{name: 51}) == "power_levels.property.new"
    room.set_levels(**{name: 50})
    assert against(room, BOB, without=[name]) is None
    room.set_levels(**{name: 51} if name != "state_default" else {name: 51, "events": {POWER_LEVELS[0]: 50}})
    assert against(room, BOB, without=[name]) == "power_levels.property.current"


@pytest.mark.parametrize("name", ["ban", "redact", "kick", "state_default"])
def test_an_absent_level_has_its_default_which_may_be_out_of_reach(room, name):
    room.set_levels(users={DAVE: 30}, events={POWER_LEVELS[0]: 30})
    assert against(room, DAVE, **{name: 0}) == "power_levels.property.current"
    assert against(room, DAVE, invite=10) is None
    room.set_levels(**{name: 30})
    assert against(room, DAVE, without=[name]) == "power_levels.property.new"
    assert against(room, DAVE, **{name: 20}) is None


# 10.7, 10.8: entries


@pytest.mark.parametrize("name", ["events", "notifications"])
def test_an_entry_is_changed_added_and_removed_within_the_senders_power(room, name):
    checked = name == "events" or version_of(room) >= 6
    room.set_levels(**{name: {"low": 50, "high": 51}})
    assert against(room, BOB, **{name: {"low": 40}}) is None
    assert against(room, BOB, without=[f"{name}/low"]) is None
    assert against(room, BOB, **{name: {"new": 50}}) is None
    for change in ({"high": 50}, {"high": 52}):
        assert against(room, BOB, **{name: change}) == ("power_levels.entry_taken.current" if checked else None)
    assert against(room, BOB, without=[f"{name}/high"]) == ("power_levels.entry_taken.current" if checked else None)
    for change in ({"low": 51}, {"new": 51}):
        assert against(room, BOB, **{name: change}) == ("power_levels.entry_given.new" if checked else None)


@pytest.mark.parametrize("version", versions(1, 9))
def test_entries_that_vanish_with_their_object_are_taken_away(version):
    room = RoomFactory(version)
    room.join(BOB)
    room.set_levels(users={BOB: 50}, events={"low": 50})
    assert against(room, BOB, events="gone") is None
    room.set_levels(events={"high": 51})
    assert against(room, BOB, events="gone") == "power_levels.entry_taken.current"


@pytest.mark.parametrize("version", versions(1, 9))
def test_what_nobody_can_read_may_stay_and_go_but_not_come(version):
    levels = {"users": {ALICE: 100}, "ban": "many", "events": {"odd": "many"}}
    room = RoomFactory(version, power_levels=levels)
    room.join(BOB)
    room.set_levels(users={BOB: 50})
    assert against(room, BOB, ban="more", events={"odd": "more"}) is None
    assert against(room, BOB, ban=40, events={"odd": 40}) is None
    assert against(room, BOB, without=["ban", "events/odd"]) is None
    assert against(room, BOB, kick="many") == "power_levels.property.new"
    assert against(room, BOB, events={"new": "many"}) == "power_levels.entry_given.new"


@pytest.mark.parametrize("version", versions(1, 9))
def test_another_spelling_of_a_level_is_no_change(version):
    room = RoomFactory(version)
    room.join(BOB)
    room.set_levels(users={BOB: 50, CAROL: 60}, events={"high": 60}, kick=60)
    assert against(room, BOB, users={CAROL: "60"}, events={"high": " +60"}, kick="060") is None
    assert against(room, BOB, users={CAROL: "59"}) == "power_levels.user_taken.current"


# 10.9, 10.10: users


def test_a_user_is_demoted_by_those_above(room):
    assert against(room, CAROL, users={BOB: 10}) is None
    assert against(room, CAROL, without=[f"users/{BOB}"]) is None
    assert against(room, BOB, users={CAROL: 10}) == "power_levels.user_taken.current"
    assert against(room, BOB, without=[f"users/{CAROL}"]) == "power_levels.user_taken.current"
    room.set_levels(users={CAROL: 50})
    assert against(room, BOB, users={CAROL: 10}) == "power_levels.user_taken.current"
    assert against(room, BOB, users={CAROL: 60}) == "power_levels.user_taken.current"


def test_a_user_demotes_oneself_but_does_not_rise(room):
    assert against(room, BOB, users={BOB: 49}) is None
    assert against(room, BOB, without=[f"users/{BOB}"]) is None
    assert against(room, BOB, users={BOB: 51}) == "power_levels.user_given.new"


def test_a_user_is_promoted_up_to_the_senders_level(room):
    assert against(room, BOB, users={DAVE: 50}) is None
    assert against(room, BOB, users={DAVE: 51}) == "power_levels.user_given.new"
    room.set_levels(users={DAVE: 49})
    assert against(room, BOB, users={DAVE: 50}) is None
    assert against(room, BOB, users={DAVE: 51}) == "power_levels.user_given.new"


def test_nothing_changed_needs_nothing_but_the_required_level(room):
    assert against(room, BOB) is None
    assert against(room, DAVE) == "level"


def test_in_version_12_a_creator_reaches_every_level():
    room = RoomFactory("12", create_content={"additional_creators": [BOB]})
    room.join(BOB, CAROL)
    top = 2**53 - 1
    room.set_levels(users={CAROL: top}, events={"m.room.tombstone": top}, ban=top)
    assert against(room, BOB, users={CAROL: 0}, events={"m.room.tombstone": 150}, ban=50) is None
    assert against(room, CAROL, users={DAVE: top}) is None
    assert against(room, CAROL, users={CAROL: 0}) is None
