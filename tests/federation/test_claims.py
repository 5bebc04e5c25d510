"""Role claims: what is one, for whom it counts, and for how long."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from federation.claims import LIFE_MS, SKEW_MS, Claim, check_claim, parse_claim, sign_claim
from federation.ed25519 import SigningKey
from federation.errors import BadClaim, BadSignature
from federation.ids import ServerName, UserID
from federation.signatures import sign_json, verify_json

NOW = 1_700_000_000_000
NORTH, SOUTH, WEST = (ServerName(f"{name}.example") for name in ("north", "south", "west"))
KEY, OTHER = (SigningKey(f"a_{n}", bytes([n]) * 32) for n in (1, 2))
GOOD = Claim(
    claim_id="k2v9",
    cooperation="c7h2",
    person=UserID(f"@anna:{SOUTH}"),
    organisation="q4x8",
    role="teacher",
    purpose="professional",
    audience=NORTH,
    issued_ms=NOW,
    valid_until_ms=NOW + LIFE_MS,
)
WORDS = st.text(min_size=1, max_size=64)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def is_good(claim: Claim, issuer: ServerName = SOUTH, now_ms: int = NOW) -> bool:
    try:
        check_claim(claim, issuer, NORTH, now_ms)
    except BadClaim:
        return False
    return True


def is_signed(value: dict[str, Any], key: SigningKey = KEY) -> bool:
    try:
        verify_json(value, SOUTH, {KEY.key_id: key.verify_key})
    except BadSignature:
        return False
    return True


@given(claim_id=WORDS, organisation=WORDS, role=WORDS, purpose=WORDS, issued=st.integers(0, 2**53 - 1))
def test_a_claim_is_read_as_it_was_signed(
    claim_id: str, organisation: str, role: str, purpose: str, issued: int
) -> None:
    words = {"claim_id": claim_id, "organisation": organisation, "role": role, "purpose": purpose}
    claim = replace(GOOD, **words, issued_ms=issued)
    value = sign_claim(claim, KEY)
    assert parse_claim(value) == claim
    assert is_signed(value)
    assert not is_signed(value, OTHER)


@pytest.mark.parametrize("member", sorted(set(sign_claim(GOOD, KEY)) - {"signatures"}))
@given(other=JSON)
def test_nothing_of_a_claim_can_be_changed(member: str, other: Any) -> None:
    value = sign_claim(GOOD, KEY)
    changed = {**value, member: other}
    if type(other) is type(value[member]) and other == value[member]:
        return
    assert not is_signed(changed)
    with suppress(BadClaim):
        assert parse_claim(changed) != GOOD


@given(value=st.dictionaries(st.sampled_from([*sign_claim(GOOD, KEY), "x"]), JSON))
def test_whatever_else_is_sent_is_no_claim(value: dict[str, Any]) -> None:
    with pytest.raises(BadClaim):
        parse_claim({**value, "x": 1})
    if len(value) < 11:
        with pytest.raises(BadClaim):
            parse_claim(value)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "org.parta.other"},
        {"verified": False},
        {"verified": 1},
        {"verified": "true"},
        {"role": ""},
        {"role": "x" * 65},
        {"person": "anna"},
        {"person": "@anna:" + "x" * 300},
        {"audience": "not a server"},
        {"issued_ts": -1},
        {"issued_ts": 1.5},
        {"valid_until_ts": str(NOW)},
        {"valid_until_ts": 2**53},
        {"class": "9B"},
        {"signatures": []},
        {"signatures": {SOUTH: {f"ed25519:{n}": "x" * 86 for n in range(60)}}},
    ],
)
def test_what_is_wrong_in_one_member_is_no_claim(change: dict[str, Any]) -> None:
    value = sign_claim(GOOD, KEY)
    assert parse_claim(value) == GOOD
    with pytest.raises(BadClaim):
        parse_claim({**value, **change})
    bare = {name: part for name, part in value.items() if name not in change}
    if len(bare) < len(value) and "signatures" not in change:
        with pytest.raises(BadClaim):
            parse_claim(bare)


def test_a_claim_counts_for_its_audience_and_its_own_people_only() -> None:
    assert is_good(GOOD)
    assert not is_good(replace(GOOD, audience=WEST))
    assert not is_good(GOOD, issuer=WEST)
    assert not is_good(replace(GOOD, person=UserID(f"@anna:{WEST}")))
    assert not is_good(replace(GOOD, person=UserID(f"@anna:{NORTH}")))


def test_a_claim_lives_for_a_short_time() -> None:
    assert is_good(GOOD, now_ms=NOW + LIFE_MS - 1)
    assert not is_good(GOOD, now_ms=NOW + LIFE_MS)
    assert not is_good(replace(GOOD, valid_until_ms=NOW + LIFE_MS + 1))
    assert not is_good(replace(GOOD, valid_until_ms=NOW))


def test_clocks_may_differ_a_little() -> None:
    assert is_good(GOOD, now_ms=NOW - SKEW_MS)
    assert not is_good(GOOD, now_ms=NOW - SKEW_MS - 1)


def test_something_else_that_a_server_signed_is_no_claim() -> None:
    for value in ({"method": "GET", "uri": "/", "origin": SOUTH}, {"server_name": SOUTH, "verify_keys": {}}):
        with pytest.raises(BadClaim):
            parse_claim(sign_json(value, SOUTH, KEY))
