"""The view of power levels: defaults, old spellings, creators."""

import pytest

from federation.auth import CREATOR_LEVEL, PowerLevels
from federation.auth.levels import read_level
from federation.versions import ROOM_VERSIONS
from tests.kit.rooms import ALICE, BOB, CAROL, POWER_LEVELS, RoomFactory, spoil, versions


@pytest.fixture(params=versions())
def room(request):
    return RoomFactory(request.param)


def levels(room, content=None):
    current = room.state()[POWER_LEVELS]
    return PowerLevels.of(room.version, room.create, None if content is None else spoil(current, content=content))


def test_without_power_levels_the_creator_has_100_and_from_version_12_on_more_than_all(room):
    view = levels(room)
    assert view.power_of(ALICE) == (CREATOR_LEVEL if room.version.id == "12" else 100)
    assert view.power_of(BOB) == 0
    assert view.creators == {ALICE}


def test_without_a_create_event_nobody_is_a_creator(room):
    view = PowerLevels.of(room.version, None, None)
    assert (view.creators, view.power_of(ALICE)) == (frozenset(), 0)


def test_power_levels_that_say_nothing_mean_the_defaults(room):
    for view in (levels(room), levels(room, {}), levels(room, {"users": None, "events": 5, "notifications": []})):
        named = (
            view.users_default,
            view.events_default,
            view.state_default,
            view.ban,
            view.kick,
            view.redact,
            view.invite,
        )
        assert named == (0, 0, 50, 50, 50, 50, 0)
        assert view.level_for_event("a", is_state=True) == 50
        assert view.level_for_event("a", is_state=False) == 0
        assert view.level_for_notification("room") == 50
    assert levels(room, {}).power_of(ALICE) == (CREATOR_LEVEL if room.version.id == "12" else 0)


def test_power_levels_mean_what_they_say(room):
    view = levels(
        room,
        {
            "users": {BOB: 7},
            "users_default": 3,
            "events": {"a": 8},
            "events_default": 4,
            "state_default": 5,
            "notifications": {"room": 9},
            "ban": 11,
            "kick": 12,
            "redact": 13,
            "invite": 14,
        },
    )
    assert (view.power_of(BOB), view.power_of(CAROL)) == (7, 3)
    assert [view.level_for_event("a", is_state=is_state) for is_state in (True, False)] == [8, 8]
    assert [view.level_for_event("b", is_state=is_state) for is_state in (True, False)] == [5, 4]
    assert (view.level_for_notification("room"), view.level_for_notification("other")) == (9, 50)
    assert (view.ban, view.kick, view.redact, view.invite) == (11, 12, 13, 14)


def test_what_cannot_be_read_counts_as_not_said(room):
    view = levels(room, {"users": {BOB: "many"}, "users_default": 3, "events": {"a": []}, "ban": "many", "kick": True})
    assert (view.power_of(BOB), view.level_for_event("a", is_state=True), view.ban, view.kick) == (3, 50, 50, 50)


def test_creators_of_version_12_are_above_every_level_that_can_be_written():
    room = RoomFactory("12", create_content={"additional_creators": [BOB]})
    view = levels(room, {"users": {ALICE: 1, CAROL: 2**53 - 1}})
    assert view.creators == view.supreme == {ALICE, BOB}
    assert view.power_of(ALICE) == view.power_of(BOB) > view.power_of(CAROL)


@pytest.mark.parametrize("others", [None, "x", [5, None]])
def test_additional_creators_of_a_malformed_create_event_are_nobody(others):
    room = RoomFactory("12")
    create = spoil(room.create, content={**room.create.content, "additional_creators": others})
    assert PowerLevels.of(room.version, create, None).creators == {ALICE}


@pytest.mark.parametrize("version", versions(1, 11))
def test_additional_creators_mean_nothing_before_version_12(version):
    room = RoomFactory(version, create_content={"additional_creators": [BOB]})
    assert (levels(room).creators, levels(room).supreme) == ({ALICE}, frozenset())


@pytest.mark.parametrize("version", versions(1, 10))
@pytest.mark.parametrize("creator", [5, None, [ALICE]])
def test_a_creator_that_is_no_string_is_nobody(version, creator):
    room = RoomFactory(version)
    create = spoil(room.create, content={"creator": creator})
    assert PowerLevels.of(room.version, create, None).creators == frozenset()


@pytest.mark.parametrize(
    ("value", "level", "until"),
    [
        (50, 50, 12),
        (-1, -1, 12),
        (2**53 - 1, 2**53 - 1, 12),
        ("100", 100, 9),
        ("000100", 100, 9),
        ("+100", 100, 9),
        ("-100", -100, 9),
        (" 00100 ", 100, 9),
        (" -100\n", -100, 9),
        (50.57, 50, 5),
        (-50.57, -50, 5),
        (5.114698e4, 51146, 5),
        (1e300, int(1e300), 5),
        ("0" * 5000 + "7", 7, 9),
        ("", None, 12),
        ("+", None, 12),
        ("1.0", None, 12),
        ("1e2", None, 12),
        ("0x10", None, 12),
        ("1 0", None, 12),
        ("- 1", None, 12),
        ("\u00a01", None, 12),
        ("9" * 310, None, 12),
        (float("inf"), None, 12),
        (float("-inf"), None, 12),
        (float("nan"), None, 12),
        (True, None, 12),
        (None, None, 12),
        ([], None, 12),
    ],
)
def test_levels_are_read_as_each_version_allows(value, level, until):
    for version in versions():
        assert read_level(ROOM_VERSIONS[version], value) == (level if int(version) <= until else None)
