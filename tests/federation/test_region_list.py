"""The list of regions: who has signed it, who is on it, and what takes its place."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation.ed25519 import SigningKey
from federation.errors import BadRegionList, Refused
from federation.ids import ServerName
from federation.keys import key_valid_now
from federation.regions import (
    RegionList,
    check_succession,
    parse_authority_keys,
    parse_region_list,
    sign_region_list,
)

NOW = 1_700_000_000_000
DAY = 86_400_000
KEY, NEXT, STRANGER = (SigningKey(f"a_{n}", bytes([n]) * 32) for n in (1, 2, 3))
TRUSTED = {KEY.key_id: KEY.verify_key}
NORTH, SOUTH, WEST = (ServerName(f"{name}.example") for name in ("north", "south", "west"))


def build_draft(**changes: Any) -> dict[str, Any]:
    regions = {
        NORTH: {"status": "member", "name": "North", "hosts": ["Matrix.host.example"]},
        SOUTH: {"status": "suspended"},
        WEST: {"status": "member", "valid_until_ts": NOW + DAY},
    }
    draft = {"authority": "schools.example", "version": 7, "valid_until_ts": NOW + 30 * DAY, "regions": regions}
    return {**draft, **changes}


def sign(draft: dict[str, Any], key: SigningKey = KEY) -> bytes:
    return sign_region_list(json.dumps(draft).encode(), key)


def build_list(**changes: Any) -> RegionList:
    return parse_region_list(sign(build_draft(**changes)), TRUSTED)


def is_refused(listed: RegionList, server: str, now_ms: int = NOW) -> bool:
    try:
        listed.check(ServerName(server), now_ms)
    except Refused:
        return True
    return False


def test_a_signed_list_says_who_belongs() -> None:
    listed = build_list()
    assert (listed.version, listed.authority, listed.regions[NORTH].name) == (7, "schools.example", "North")
    assert listed.authority_keys == TRUSTED
    assert not is_refused(listed, NORTH)
    for stranger in (SOUTH, "east.example", "NORTH.example", "north.example:8448", "sub.north.example"):
        assert is_refused(listed, stranger)


def test_a_membership_ends_and_so_does_a_list() -> None:
    listed = build_list()
    assert not is_refused(listed, WEST, NOW + DAY - 1)
    assert is_refused(listed, WEST, NOW + DAY)
    assert not is_refused(listed, NORTH, NOW + 30 * DAY - 1)
    assert is_refused(listed, NORTH, NOW + 30 * DAY)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.update(version=8),
        lambda value: value["regions"].update({"east.example": {"status": "member"}}),
        lambda value: value["regions"][SOUTH].update(status="member"),
        lambda value: value.update(authority="other.example"),
        lambda value: value.pop("signatures"),
        lambda value: value["signatures"].update({"schools.example": {}}),
        lambda value: value["authority_keys"].update({NEXT.key_id: NEXT.verify_key.encode()}),
    ],
)
def test_what_the_authority_has_not_signed_is_refused(spoil: Any) -> None:
    value = json.loads(sign(build_draft()))
    assert parse_region_list(json.dumps(value).encode(), TRUSTED).version == 7
    spoil(value)
    with pytest.raises(BadRegionList, match="not signed"):
        parse_region_list(json.dumps(value).encode(), TRUSTED)


def test_a_list_signed_by_somebody_else_is_refused() -> None:
    for trusted in ({STRANGER.key_id: STRANGER.verify_key}, {KEY.key_id: STRANGER.verify_key}, {}):
        with pytest.raises(BadRegionList, match="not signed"):
            parse_region_list(sign(build_draft()), trusted)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": -1},
        {"version": "7"},
        {"version": 7.5},
        {"valid_until_ts": None},
        {"authority": ""},
        {"authority_keys": {}},
        {"authority_keys": {"rsa:1": KEY.verify_key.encode()}},
        {"authority_keys": {"ed25519:1": "short"}},
        {"regions": []},
        {"regions": {"not a name": {"status": "member"}}},
        {"regions": {NORTH: {"status": "friend"}}},
        {"regions": {NORTH: {}}},
        {"regions": {NORTH: {"status": "member", "keys": {"ed25519:a": {"key": "short"}}}}},
        {"regions": {NORTH: {"status": "member", "keys": {"ed25519:a": "key"}}}},
        {"regions": {NORTH: {"status": "member", "hosts": "host.example"}}},
    ],
)
def test_a_list_that_is_none_is_not_even_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(BadRegionList, match="malformed"):
        sign(build_draft(**changes))


@example(b'{"authority":[],"signatures":{}}')
@given(st.binary() | st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["authority", "version", "regions", "signatures", "authority_keys"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_are_a_list_or_refused(raw: bytes) -> None:
    with pytest.raises(BadRegionList):
        parse_region_list(raw, TRUSTED)
    with pytest.raises(BadRegionList):
        sign_region_list(raw, KEY)


def test_versions_only_grow() -> None:
    seventh = build_list()
    assert check_succession(None, seventh, NOW)
    assert check_succession(seventh, build_list(version=8), NOW)
    assert not check_succession(seventh, build_list(), NOW)
    for other in (build_list(version=6), build_list(regions={}), build_list(version=8, valid_until_ts=NOW)):
        with pytest.raises(BadRegionList):
            check_succession(seventh, other, NOW)


def test_the_authority_changes_its_key_by_a_list() -> None:
    both = {key.key_id: key.verify_key.encode() for key in (KEY, NEXT)}
    eighth = build_list(version=8, authority_keys=both)
    only_next = {NEXT.key_id: NEXT.verify_key.encode()}
    ninth = parse_region_list(sign(build_draft(version=9, authority_keys=only_next), NEXT), eighth.authority_keys)
    assert ninth.authority_keys == parse_authority_keys(only_next)
    with pytest.raises(BadRegionList, match="not signed"):
        parse_region_list(sign(build_draft(version=10), KEY), ninth.authority_keys)


def test_two_keys_may_sign_one_after_the_other_but_what_changed_since_is_signed_anew() -> None:
    keys = {key.key_id: key.verify_key.encode() for key in (KEY, NEXT)}
    once = sign(build_draft(authority_keys=keys))
    twice = sign_region_list(once, NEXT)
    assert set(json.loads(twice)["signatures"]["schools.example"]) == set(keys)
    changed = {**json.loads(twice), "version": 8}
    again = json.loads(sign_region_list(json.dumps(changed).encode(), NEXT))
    assert set(again["signatures"]["schools.example"]) == {NEXT.key_id}


def test_the_keys_of_a_list_are_those_of_the_server_while_it_is_valid() -> None:
    keys = {
        "ed25519:new": {"key": KEY.verify_key.encode()},
        "ed25519:old": {"key": NEXT.verify_key.encode(), "expired_ts": NOW - DAY},
    }
    region = build_list(regions={NORTH: {"status": "member", "keys": keys}}).regions[NORTH]
    assert region.keys is not None
    assert key_valid_now(region.keys, "ed25519:new", NOW) == KEY.verify_key
    assert key_valid_now(region.keys, "ed25519:old", NOW) is None
    assert region.keys.old_verify_keys["ed25519:old"].expired_ms == NOW - DAY
    assert key_valid_now(region.keys, "ed25519:new", NOW + 31 * DAY) is None


@pytest.mark.parametrize(
    ("delegated", "good"),
    [
        ("north.example:443", True),
        ("matrix.north.example", True),
        ("NORTH.example", True),
        ("matrix.host.example:8000", True),
        (WEST, True),
        (SOUTH, False),
        ("evil.example", False),
        ("evilnorth.example", False),
        ("192.0.2.1", False),
    ],
)
def test_a_member_is_delegated_only_to_where_the_list_lets_it(delegated: str, good: bool) -> None:
    listed = build_list()
    if good:
        listed.check_delegation(NORTH, ServerName(delegated), NOW)
        return
    with pytest.raises(Refused):
        listed.check_delegation(NORTH, ServerName(delegated), NOW)
