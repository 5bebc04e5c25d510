import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical
from federation.errors import BadServerKeys
from federation.event import parse_event
from federation.keys import (
    MAX_VALIDITY_MS,
    OldKey,
    build_key_finder,
    build_server_keys,
    key_valid_at,
    key_valid_now,
    parse_notary_answer,
    parse_server_keys,
)
from federation.signatures import check_event_signatures, sign_json
from federation.versions import ROOM_VERSIONS
from tests.kit.pdus import VERSIONS, build_pdu, signing_key, without

NOW = 1_700_000_000_000
HOUR = 3_600_000
KEY, SECOND, OLD = (signing_key("one.example", version) for version in ("a_1", "a_2", "a_0"))
NOTARY = signing_key("notary.example")
NOTARY_KEYS = {NOTARY.key_id: NOTARY.verify_key}
every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: "v" + version.id)


def build(valid_until_ms=NOW + HOUR, keys=(KEY, SECOND)):
    old_keys = {OLD.key_id: OldKey(key=OLD.verify_key, expired_ms=NOW - HOUR)}
    return build_server_keys("one.example", keys, old_keys=old_keys, valid_until_ms=valid_until_ms)


def parse(answer, server="one.example"):
    return parse_server_keys(answer, server=server, received_ms=NOW)


def resign(answer):
    return sign_json(without(answer, "signatures"), "one.example", KEY)


def test_what_we_publish_others_can_read():
    answer = build()
    keys = parse(answer)
    assert keys.server_name == "one.example"
    assert keys.verify_keys == {KEY.key_id: KEY.verify_key, SECOND.key_id: SECOND.verify_key}
    assert keys.old_verify_keys == {OLD.key_id: OldKey(key=OLD.verify_key, expired_ms=NOW - HOUR)}
    assert keys.valid_until_ms == NOW + HOUR
    assert canonical.decode(keys.raw) == answer
    assert set(answer["signatures"]["one.example"]) == {KEY.key_id, SECOND.key_id}
    assert parse(canonical.decode(keys.raw)) == keys


def test_no_key_is_trusted_for_more_than_seven_days():
    assert parse(build(NOW + 10 * MAX_VALIDITY_MS)).valid_until_ms == NOW + MAX_VALIDITY_MS


def test_keys_we_do_not_understand_are_left_out():
    answer = build()
    answer["verify_keys"] |= {"rsa:1": {"key": 5}, "ed25519:a-b": {}}
    answer["old_verify_keys"] |= {"dsa:1": None}
    assert set(parse(resign(answer)).verify_keys) == {KEY.key_id, SECOND.key_id}


def test_a_server_without_old_keys_need_not_say_so():
    assert parse(resign(without(build(), "old_verify_keys"))).old_verify_keys == {}


PUBLIC = KEY.verify_key.encode()


@pytest.mark.parametrize(
    "spoiled",
    [
        {"server_name": "two.example"},
        {"server_name": None},
        {"valid_until_ts": None},
        {"valid_until_ts": "5"},
        {"valid_until_ts": True},
        {"valid_until_ts": 1.5},
        {"valid_until_ts": -1},
        {"valid_until_ts": 2**53},
        {"verify_keys": None},
        {"verify_keys": []},
        {"verify_keys": {}},
        {"verify_keys": {KEY.key_id: PUBLIC}},
        {"verify_keys": {KEY.key_id: {}}},
        {"verify_keys": {KEY.key_id: {"key": 5}}},
        {"verify_keys": {KEY.key_id: {"key": PUBLIC[:-1]}}},
        {"verify_keys": {SECOND.key_id: {"key": PUBLIC}}},
        {"old_verify_keys": []},
        {"old_verify_keys": {OLD.key_id: PUBLIC}},
        {"old_verify_keys": {OLD.key_id: {"key": PUBLIC}}},
        {"old_verify_keys": {OLD.key_id: {"key": PUBLIC, "expired_ts": "5"}}},
        {"old_verify_keys": {OLD.key_id: {"expired_ts": 5}}},
    ],
    ids=str,
)
def test_a_malformed_answer_is_refused(spoiled):
    answer = build() | spoiled
    with contextlib.suppress(ValueError):
        answer = resign(answer)
    with pytest.raises(BadServerKeys):
        parse(answer)


def test_a_missing_field_is_refused():
    for name in ("server_name", "verify_keys", "valid_until_ts"):
        with pytest.raises(BadServerKeys):
            parse(resign(without(build(), name)))


def test_an_answer_that_is_not_signed_by_itself_is_refused():
    answer = build()
    for spoiled in (
        without(answer, "signatures"),
        answer | {"signatures": {"two.example": answer["signatures"]["one.example"]}},
        answer | {"valid_until_ts": NOW + 2 * HOUR},
        sign_json(without(answer, "signatures"), "one.example", OLD),
        sign_json(answer, "one.example", KEY) | {"more": 1.5},
        answer | {"signatures": answer["signatures"] | {"two.example": 1.5}},
        answer | {"signatures": answer["signatures"] | {"two.example": 2**60}},
    ):
        with pytest.raises(BadServerKeys):
            parse(spoiled)


@pytest.mark.parametrize("answer", [None, [], "x", 5, {}, b"{}"], ids=repr)
def test_what_is_no_answer_is_refused(answer):
    with pytest.raises(BadServerKeys):
        parse(answer)
    with pytest.raises(BadServerKeys):
        parse_notary_answer(answer, notary="notary.example", notary_keys=NOTARY_KEYS, received_ms=NOW)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["key", KEY.key_id, "x"]), inner),
)


@given(
    st.dictionaries(
        st.sampled_from(["server_name", "verify_keys", "old_verify_keys", "valid_until_ts", "signatures", "x"]), ANY
    )
)
def test_any_answer_at_all_is_read_or_refused(spoiled):
    try:
        keys = parse(build() | spoiled)
    except BadServerKeys:
        return
    assert keys.verify_keys == parse(build()).verify_keys


def vouched(entry):
    return sign_json(entry, "notary.example", NOTARY)


def ask(*entries):
    return parse_notary_answer(
        {"server_keys": list(entries)}, notary="notary.example", notary_keys=NOTARY_KEYS, received_ms=NOW
    )


def test_a_notary_vouches_for_the_keys_of_others():
    found = ask(vouched(build()))
    assert list(found) == ["one.example"]
    assert found["one.example"].verify_keys == parse(build()).verify_keys
    assert "notary.example" in canonical.decode(found["one.example"].raw)["signatures"]


def test_entries_of_a_notary_that_are_not_good_are_left_out():
    stranger = sign_json(build(), "notary.example", signing_key("other.example"))
    bad = [
        None,
        5,
        {},
        build(),
        stranger,
        vouched(build() | {"valid_until_ts": 5}),
        vouched({"server_name": "a b"}),
        vouched({"server_name": 5}),
        vouched({}),
    ]
    assert list(ask(*bad)) == []
    assert list(ask(*bad, vouched(build()))) == ["one.example"]


def test_of_two_answers_about_a_server_the_one_that_is_valid_longer_counts():
    short, long = vouched(build(NOW + 1)), vouched(build(NOW + 2))
    for order in ((short, long), (long, short)):
        assert ask(*order)["one.example"].valid_until_ms == NOW + 2


@every_version
def test_a_key_in_use_signs_events_until_it_must_be_asked_for_again(version):
    keys = parse(build())
    assert key_valid_at(keys, KEY.key_id, NOW + HOUR, version) == KEY.verify_key
    late = key_valid_at(keys, KEY.key_id, NOW + HOUR + 1, version)
    assert late == (None if version.enforce_key_validity else KEY.verify_key)


@every_version
def test_an_old_key_signs_only_the_events_of_its_time(version):
    keys = parse(build())
    assert key_valid_at(keys, OLD.key_id, NOW - HOUR, version) == OLD.verify_key
    assert key_valid_at(keys, OLD.key_id, NOW - HOUR + 1, version) is None
    assert key_valid_at(keys, "ed25519:unknown", NOW, version) is None


def test_only_a_key_in_use_signs_requests():
    keys = parse(build())
    assert key_valid_now(keys, KEY.key_id, NOW + HOUR) == KEY.verify_key
    assert key_valid_now(keys, KEY.key_id, NOW + HOUR + 1) is None
    assert key_valid_now(keys, OLD.key_id, NOW - 2 * HOUR) is None


def test_the_signatures_of_an_event_are_checked_with_the_keys_of_its_time():
    version = ROOM_VERSIONS["12"]
    keys = parse(build())
    event = parse_event(build_pdu(version, origin_server_ts=NOW), version)
    check_event_signatures(event, build_key_finder(event, {"one.example": keys}.get))
    find_key = build_key_finder(event, lambda server: None)
    assert find_key("one.example", KEY.key_id) is None
    late = parse_event(build_pdu(version, origin_server_ts=NOW + 2 * HOUR), version)
    assert build_key_finder(late, {"one.example": keys}.get)("one.example", KEY.key_id) is None
