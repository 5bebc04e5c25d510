"""The redaction algorithm, told once more as the pages of the versions tell it: what is kept, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.event import parse_event
from federation.hashes import reference_hash
from federation.redaction import redact, redact_content, redact_event
from federation.versions import ROOM_VERSIONS
from tests.kit.pdus import ALICE, VERSIONS, build_pdu, event_fields

_OLD = """event_id type room_id sender state_key content hashes signatures depth prev_events prev_state auth_events
    origin origin_server_ts membership"""
TOP = {str(number): set(_OLD.split()) for number in range(1, 11)}
TOP["11"] = TOP["12"] = TOP["1"] - {"prev_state", "origin", "membership"}

POWER = {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
V1 = {
    "m.room.member": {"membership"},
    "m.room.create": {"creator"},
    "m.room.join_rules": {"join_rule"},
    "m.room.power_levels": POWER,
    "m.room.aliases": {"aliases"},
    "m.room.history_visibility": {"history_visibility"},
}
V6 = {name: keys for name, keys in V1.items() if name != "m.room.aliases"}
V8 = V6 | {"m.room.join_rules": {"join_rule", "allow"}}
V9 = V8 | {"m.room.member": {"membership", "join_authorised_via_users_server"}}
V11 = V9 | {"m.room.power_levels": POWER | {"invite"}, "m.room.redaction": {"redacts"}}
CONTENT = {str(n): V1 for n in range(1, 6)}
CONTENT |= {"6": V6, "7": V6, "8": V8, "9": V9, "10": V9, "11": V11, "12": V11}

TYPES = sorted({*V1, *V11, "m.room.message", "m.room.topic", "m.room.third_party_invite", "m.room.encryption"})
KEYS = sorted(
    {key for rules in (V1, V11) for keys in rules.values() for key in keys} | {"body", "signed", "room_version"}
)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_the_top_of_an_event_keeps_what_the_page_lists(version):
    pdu = dict.fromkeys({*TOP["1"], "redacts", "unsigned", "age", "outlier", "user_id"}, "x") | {"content": {}}
    assert set(redact(version, pdu)) == TOP[version.id]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
@pytest.mark.parametrize("event_type", TYPES)
def test_the_content_keeps_what_the_page_lists(version, event_type):
    content = dict.fromkeys(KEYS, "x")
    kept = set(redact_content(version, event_type, content))
    if event_type == "m.room.create" and version.id in ("11", "12"):
        assert kept == set(KEYS)
    else:
        assert kept == CONTENT[version.id].get(event_type, set())


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_of_a_third_party_invite_only_the_proof_stays_and_only_since_version_11(version):
    content = {"membership": "invite", "third_party_invite": {"display_name": "Al", "signed": {"token": "t"}}}
    kept = {"third_party_invite": {"signed": {"token": "t"}}} if version.id in ("11", "12") else {}
    assert redact_content(version, "m.room.member", content) == {"membership": "invite"} | kept
    content["third_party_invite"] = {"display_name": "Al"}
    kept = {"third_party_invite": {}} if version.id in ("11", "12") else {}
    assert redact_content(version, "m.room.member", content) == {"membership": "invite"} | kept


@pytest.mark.parametrize("invite", ["x", None, [1], 5])
def test_a_third_party_invite_that_is_no_object_goes(invite):
    content = {"membership": "invite", "third_party_invite": invite}
    assert redact_content(ROOM_VERSIONS["12"], "m.room.member", content) == {"membership": "invite"}


@pytest.mark.parametrize("content", [None, "x", [1], 5])
def test_content_that_is_no_object_becomes_an_empty_one(content):
    assert redact(ROOM_VERSIONS["12"], {"type": "m.room.create", "content": content})["content"] == {}
    assert redact(ROOM_VERSIONS["12"], {"content": {"a": 1}})["content"] == {}
    assert redact(ROOM_VERSIONS["12"], {"type": ["m.room.create"], "content": {"a": 1}})["content"] == {}


def test_redaction_copies_and_leaves_the_event_alone():
    pdu = {"type": "m.room.create", "content": {"creator": ALICE}, "unsigned": {"age": 1}}
    pruned = redact(ROOM_VERSIONS["12"], pdu)
    pruned["content"]["creator"] = "@bob:two.example"
    assert pdu == {"type": "m.room.create", "content": {"creator": ALICE}, "unsigned": {"age": 1}}


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
@pytest.mark.parametrize("event_type", TYPES)
def test_a_redacted_event_keeps_its_id_and_is_redacted_for_good(version, event_type):
    if event_type == "m.room.create":
        event_type = "m.room.name"
    pdu = build_pdu(version, type=event_type, content=dict.fromkeys(KEYS, "x"), state_key="")
    event = parse_event(pdu | {"unsigned": {"age": 3}}, version)
    redacted = redact_event(event)
    assert redacted == event
    assert redacted.unsigned == {}
    assert redacted.content == redact_content(version, event_type, event.content)
    assert parse_event(redacted.raw, version).event_id == event.event_id
    assert redact_event(redacted).raw == redacted.raw


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_a_redacted_redaction_names_its_target_only_since_version_11(version):
    target = event_fields(version).prev_events[0]
    event = parse_event(build_pdu(version, type="m.room.redaction", content={"reason": "r"}, redacts=target), version)
    assert event.redacts == target
    assert redact_event(event).redacts == (target if version.redacts_in_content else None)
    assert parse_event(redact_event(event).raw, version).redacts == redact_event(event).redacts


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(VERSIONS),
    st.dictionaries(st.sampled_from(sorted({*TOP["1"], "redacts", "unsigned"})), JSON),
    st.sampled_from(TYPES),
)
def test_redacting_twice_is_redacting_once_and_never_moves_the_reference_hash(version, pdu, event_type):
    pdu["type"] = event_type
    once = redact(version, pdu)
    assert redact(version, once) == once
    assert reference_hash(version, once) == reference_hash(version, pdu)
