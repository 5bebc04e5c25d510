import dataclasses

import pytest

from federation.versions import ROOM_VERSIONS, RoomVersion, find_room_version

SWITCHES = [field.name for field in dataclasses.fields(RoomVersion) if field.name not in ("id", "stable")]

CHANGES = {
    "2": {"state_resolution": 2},
    "3": {"event_ids": "hash", "redaction_auth_by_server": False},
    "4": {"event_ids": "urlsafe"},
    "5": {"enforce_key_validity": True},
    "6": {
        "strict_canonical_json": True,
        "aliases_special_auth": False,
        "notifications_level_checked": True,
        "redaction_keeps_aliases": False,
    },
    "7": {"knock": True},
    "8": {"restricted_join": True, "redaction_keeps_allow": True},
    "9": {"redaction_keeps_authoriser": True},
    "10": {"integer_power_levels": True, "knock_restricted": True},
    "11": {"implicit_creator": True, "redacts_in_content": True, "redaction_clarified": True},
    "12": {
        "state_resolution": 21,
        "room_id_is_create_hash": True,
        "create_in_auth_events": False,
        "creators_are_supreme": True,
    },
}


def test_there_are_the_twelve_versions_of_the_specification_and_all_are_stable():
    assert list(ROOM_VERSIONS) == [str(number) for number in range(1, 13)]
    assert all(version.stable and version.id == name for name, version in ROOM_VERSIONS.items())


@pytest.mark.parametrize("name", CHANGES)
def test_a_version_changes_what_its_page_says_and_nothing_else(name):
    version, before = ROOM_VERSIONS[name], ROOM_VERSIONS[str(int(name) - 1)]
    changed = {
        switch: getattr(version, switch) for switch in SWITCHES if getattr(version, switch) != getattr(before, switch)
    }
    assert changed == CHANGES[name]


def test_depth_is_bounded_by_what_the_version_can_write():
    assert ROOM_VERSIONS["5"].max_depth == 2**63 - 1
    assert ROOM_VERSIONS["6"].max_depth == 2**53 - 1


@pytest.mark.parametrize("name", ["13", "", "org.matrix.msc1", None, 1, ["1"], {}, 1.0], ids=repr)
def test_an_unknown_version_is_not_found(name):
    assert find_room_version("12") is ROOM_VERSIONS["12"]
    assert find_room_version(name) is None


def test_a_version_cannot_be_altered():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ROOM_VERSIONS["12"].knock = False
    with pytest.raises(TypeError):
        ROOM_VERSIONS["13"] = ROOM_VERSIONS["12"]
