"""What strangers may send as an event, and what becomes of everything else."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import canonical
from federation.errors import BadEvent, EventTooLarge
from federation.event import Event, encode_client_event, parse_event, revive_event, stripped_state
from federation.versions import ROOM_VERSIONS
from tests.kit.pdus import (
    ALICE,
    LENIENT,
    STRICT,
    VERSIONS,
    build_pdu,
    event_id_like,
    room_id_like,
    without,
)

V1, V3, V4, V5, V6, V10, V11, V12 = (ROOM_VERSIONS[name] for name in ("1", "3", "4", "5", "6", "10", "11", "12"))
SENT = VERSIONS[:2]
HASHED = VERSIONS[2:]


def by_id(version):
    return "v" + version.id


every_version = pytest.mark.parametrize("version", VERSIONS, ids=by_id)

NO_STRING = [None, 5, True, [], {}]
NO_OBJECT = [None, 5, "x", True, []]
NO_INTEGER = [None, "7", 7.0, True, [], {}, -(2**63) - 1, 2**63]
REQUIRED = [
    "type",
    "sender",
    "room_id",
    "content",
    "prev_events",
    "auth_events",
    "depth",
    "origin_server_ts",
    "hashes",
    "signatures",
]


def refuse(pdu, version):
    with pytest.raises(BadEvent) as caught:
        parse_event(pdu, version)
    return caught.value


@every_version
def test_a_valid_event_says_what_it_holds(version):
    pdu = build_pdu(version, type="m.room.member", state_key=ALICE, content={"membership": "join"})
    event = parse_event(pdu | {"unsigned": {"age": 4}}, version)
    assert event.version is version
    assert event.room_id == room_id_like(version)
    assert (event.type, event.state_key, event.sender) == ("m.room.member", ALICE, ALICE)
    assert event.content == {"membership": "join"}
    assert event.prev_events == event.auth_events == (event_id_like(version),)
    assert (event.depth, event.origin_server_ts) == (7, 1_700_000_000_000)
    assert event.redacts is None
    assert event.hashes == pdu["hashes"]
    assert event.signatures == pdu["signatures"]
    assert event.unsigned == {"age": 4}
    assert event.raw == canonical.encode(pdu)
    assert event.pdu() == pdu
    assert event.is_state
    assert event.key == ("m.room.member", ALICE)
    assert event.membership == "join"
    assert event.origin == "one.example"
    assert event.event_id in repr(event)


@every_version
def test_bytes_and_their_value_are_the_same_event(version):
    pdu = build_pdu(version)
    pretty = json.dumps(pdu, indent=2, ensure_ascii=True).encode()
    assert parse_event(pretty, version).raw == parse_event(pdu, version).raw


def test_the_id_is_sent_in_the_first_versions_and_computed_later():
    assert parse_event(build_pdu(V1), V1).event_id == "$opaque:one.example"
    assert len(parse_event(build_pdu(V3), V3).event_id) == 44
    pdu = build_pdu(V12)
    assert parse_event(pdu, V12).event_id != parse_event(pdu | {"depth": 8}, V12).event_id


def test_a_message_has_no_key_and_no_membership():
    event = parse_event(build_pdu(V12), V12)
    assert not event.is_state
    assert event.membership is None
    with pytest.raises(TypeError):
        _ = event.key


@pytest.mark.parametrize("membership", [None, 5, ["join"]])
def test_a_membership_that_is_no_string_is_none(membership):
    pdu = build_pdu(V12, type="m.room.member", state_key=ALICE, content={"membership": membership})
    assert parse_event(pdu, V12).membership is None


def test_events_are_equal_by_their_id_and_cannot_be_altered():
    event = parse_event(build_pdu(V12), V12)
    again = parse_event(event.raw, V12)
    other = parse_event(build_pdu(V12, depth=8), V12)
    assert event == again
    assert event != other
    assert event != event.event_id
    assert {event, again, other} == {event, other}
    with pytest.raises(AttributeError):
        event.depth = 9


@every_version
@pytest.mark.parametrize("name", REQUIRED)
def test_no_required_field_may_be_missing(version, name):
    refuse(without(build_pdu(version), name), version)


@every_version
@pytest.mark.parametrize("name", ["type", "sender", "room_id", "state_key", "redacts"])
@pytest.mark.parametrize("value", NO_STRING, ids=repr)
def test_a_string_is_a_string(version, name, value):
    refuse(build_pdu(version) | {name: value}, version)


@every_version
@pytest.mark.parametrize("name", ["content", "hashes", "signatures", "unsigned"])
@pytest.mark.parametrize("value", NO_OBJECT, ids=repr)
def test_an_object_is_an_object(version, name, value):
    refuse(build_pdu(version) | {name: value}, version)


@every_version
@pytest.mark.parametrize("name", ["depth", "origin_server_ts"])
@pytest.mark.parametrize("value", NO_INTEGER, ids=repr)
def test_an_integer_is_an_integer_within_bounds(version, name, value):
    refuse(build_pdu(version) | {name: value}, version)


@every_version
def test_depth_goes_from_nought_to_its_limit(version):
    pdu = build_pdu(version)
    for depth in (0, version.max_depth):
        assert parse_event(pdu | {"depth": depth}, version).depth == depth
    for depth in (-1, version.max_depth + 1):
        refuse(pdu | {"depth": depth}, version)


@every_version
def test_a_time_before_1970_is_strange_but_a_time(version):
    assert parse_event(build_pdu(version) | {"origin_server_ts": -5}, version).origin_server_ts == -5


@every_version
@pytest.mark.parametrize("name", ["prev_events", "auth_events"])
@pytest.mark.parametrize(
    "value", [None, {}, "$a:b", 5, [None], [5], [["$a:b"]], ["a"], ["$"], [{}], ["$" + "x" * 42]], ids=repr
)
def test_references_are_a_list_of_what_the_version_calls_references(version, name, value):
    refuse(build_pdu(version) | {name: value}, version)


@pytest.mark.parametrize("version", SENT, ids=by_id)
@pytest.mark.parametrize(
    "reference",
    [
        "$a:b",
        ["$a:b", {}, {}],
        ["$a:b", "hash"],
        ["$a:b", None],
        [5, {}],
        ["a:b", {}],
        ["$" + "x" * 43, {}],
        ["$a:" + "b" * 255, {}],
    ],
    ids=repr,
)
def test_old_references_are_pairs_of_an_id_and_a_hash(version, reference):
    pdu = build_pdu(version)
    assert parse_event(pdu | {"prev_events": [["$a:b", {}]]}, version).prev_events == ("$a:b",)
    refuse(pdu | {"prev_events": [reference]}, version)


def test_the_alphabet_of_references_is_that_of_the_version():
    standard, urlsafe = "$" + "x" * 42 + "/", "$" + "x" * 42 + "_"
    assert parse_event(build_pdu(V3) | {"prev_events": [standard]}, V3).prev_events == (standard,)
    assert parse_event(build_pdu(V4) | {"prev_events": [urlsafe]}, V4).prev_events == (urlsafe,)
    refuse(build_pdu(V3) | {"prev_events": [urlsafe]}, V3)
    refuse(build_pdu(V4) | {"prev_events": [standard]}, V4)


@every_version
@pytest.mark.parametrize(("name", "most"), [("prev_events", 20), ("auth_events", 10)])
def test_the_number_of_references_is_limited(version, name, most):
    pdu = build_pdu(version)
    reference = pdu[name][0]
    assert len(getattr(parse_event(pdu | {name: [reference] * most}, version), name)) == most
    refuse(pdu | {name: [reference] * (most + 1)}, version)


@every_version
@pytest.mark.parametrize("name", ["type", "state_key"])
def test_type_and_state_key_have_at_most_255_bytes(version, name):
    pdu = build_pdu(version)
    for fits in ("a" * 255, "é" * 127, ""):
        assert getattr(parse_event(pdu | {name: fits}, version), name) == fits
    for too_long in ("a" * 256, "é" * 128):
        assert isinstance(refuse(pdu | {name: too_long}, version), EventTooLarge)


@every_version
@pytest.mark.parametrize("sender", ["alice", "@alice", "@alice:", "@a\0:x", "@a:x y", "@a:" + "b" * 253])
def test_the_sender_is_a_user_id(version, sender):
    assert parse_event(build_pdu(version) | {"sender": "@Old Name:one.example"}, version)
    refuse(build_pdu(version) | {"sender": sender}, version)


@every_version
@pytest.mark.parametrize("room_id", ["room", "!", "!a", "!a:x y", "#a:one.example", "!a:" + "b" * 253])
def test_the_room_id_is_a_room_id(version, room_id):
    refuse(build_pdu(version) | {"room_id": room_id}, version)


@every_version
def test_the_room_id_has_the_form_of_the_version(version):
    other = V11 if version is V12 else V12
    refuse(build_pdu(version) | {"room_id": room_id_like(other)}, version)


@pytest.mark.parametrize("version", SENT, ids=by_id)
@pytest.mark.parametrize("event_id", [None, 5, "a:b", "$a", "$" + "x" * 43, "$a\0:b", "$a:" + "b" * 255], ids=repr)
def test_a_sent_id_is_an_event_id_with_a_domain(version, event_id):
    refuse(build_pdu(version) | {"event_id": event_id}, version)
    refuse(without(build_pdu(version), "event_id"), version)


def test_the_create_event_of_version_12_names_its_room_by_its_own_hash():
    fields = {
        "type": "m.room.create",
        "state_key": "",
        "content": {"room_version": "12"},
        "prev_events": (),
        "auth_events": (),
    }
    pdu = build_pdu(V12, room_id=None, **fields)
    event = parse_event(pdu, V12)
    assert "room_id" not in pdu
    assert event.room_id == "!" + event.event_id[1:]
    refuse(pdu | {"room_id": event.room_id}, V12)
    refuse(pdu | {"room_id": None}, V12)
    refuse(pdu | {"state_key": "other"}, V12)
    refuse(without(pdu, "state_key"), V12)
    assert parse_event(build_pdu(V11, **fields), V11).room_id == room_id_like(V11)


@every_version
@pytest.mark.parametrize(
    "signatures", [{"x": "y"}, {"x": {"ed25519:1": 5}}, {"x": {"ed25519:1": None}}, {"x": []}], ids=repr
)
def test_signatures_are_strings_by_key_by_server(version, signatures):
    assert parse_event(build_pdu(version) | {"signatures": {}}, version).signatures == {}
    refuse(build_pdu(version) | {"signatures": signatures}, version)


@every_version
@pytest.mark.parametrize("hashes", [{}, {"sha256": 5}, {"sha256": None}, {"md5": "x"}], ids=repr)
def test_the_hashes_hold_a_sha256(version, hashes):
    refuse(build_pdu(version) | {"hashes": hashes}, version)


@pytest.mark.parametrize("value", [1.5, 1.0, 1e10, 2**53, -(2**53), [{"a": 2**64}]], ids=repr)
@pytest.mark.parametrize("place", ["content", "unsigned", "age"])
def test_numbers_are_judged_since_version_6_wherever_they_stand(value, place):
    for version in VERSIONS:
        pdu = build_pdu(version)
        pdu[place] = value if place == "age" else {"n": value}
        if version in STRICT:
            refuse(pdu, version)
            continue
        event = parse_event(pdu, version)
        assert parse_event(event.raw, version).raw == event.raw


@pytest.mark.parametrize("version", LENIENT, ids=by_id)
def test_numbers_no_json_library_could_read_are_refused_even_before(version):
    for number in (b"1e999", b"NaN", b"9" * 5_000):
        refuse(canonical.encode(build_pdu(version)).replace(b'"depth":7', b'"depth":7,"n":' + number), version)


@every_version
def test_a_lone_surrogate_is_refused(version):
    refuse(build_pdu(version) | {"content": {"body": "\ud800"}}, version)
    refuse(build_pdu(version) | {"type": "\ud800"}, version)
    refuse(build_pdu(version) | {"unsigned": {"\udfff": 1}}, version)


@every_version
def test_a_nul_is_a_character_like_others_in_type_and_state_key(version):
    event = parse_event(build_pdu(version) | {"type": "a\0b", "state_key": "\0"}, version)
    assert event.key == ("a\0b", "\0")
    assert parse_event(event.raw, version) == event


@every_version
def test_an_event_measures_at_most_65536_bytes_signatures_included_and_unsigned_not(version):
    room = 65536 - len(canonical.encode(build_pdu(version, content={"body": ""})))
    pdu = build_pdu(version, content={"body": "é" * (room // 2) + "a" * (room % 2)})
    event = parse_event(pdu | {"unsigned": {"prev_content": {"body": "x" * 60_000}}}, version)
    assert len(event.raw) == 65536
    pdu["content"]["body"] += "a"
    assert isinstance(refuse(pdu, version), EventTooLarge)
    pdu["content"]["body"] = ""
    assert parse_event(json.dumps(pdu, indent=9).encode() + b" " * 70_000, version)


def test_unsigned_is_limited_on_its_own():
    assert isinstance(refuse(build_pdu(V12) | {"unsigned": {"a": "x" * 65536}}, V12), EventTooLarge)


@every_version
def test_deep_nesting_is_refused(version):
    deep = []
    for _ in range(5_000):
        deep = [deep]
    refuse(build_pdu(version) | {"content": {"a": deep}}, version)
    refuse(
        canonical.encode(build_pdu(version)).replace(b'"depth":7', b'"depth":7,"a":' + b"[" * 5_000 + b"]" * 5_000),
        version,
    )


@pytest.mark.parametrize(
    "pdu", [None, 5, [], "x", b"", b"[]", b"5", b"{", b'{"a":1,"a":2}', b"\xff", b"{}", {}], ids=repr
)
def test_what_is_no_object_or_empty_is_no_event(pdu):
    refuse(pdu, V12)


def test_a_field_given_twice_is_refused():
    raw = canonical.encode(build_pdu(V12))
    refuse(raw.replace(b'"depth":7', b'"depth":7,"depth":8'), V12)


def test_fields_nobody_knows_stay_and_count_for_the_hash():
    pdu = build_pdu(V12) | {"org.example.more": {"x": 1}}
    assert parse_event(pdu, V12).pdu() == pdu


@pytest.mark.parametrize(
    ("target", "found"),
    [("$x:y", True), ("$" + "x" * 43, True), ("x", False), ("$" + "x" * 255, False), ("$\0", False), ("", False)],
)
def test_a_redaction_names_its_target_where_the_version_puts_it(target, found):
    top = {"type": "m.room.redaction", "redacts": target, "content": {}}
    inside = {"type": "m.room.redaction", "content": {"redacts": target}}
    assert parse_event(build_pdu(V10) | top, V10).redacts == (target if found else None)
    assert parse_event(build_pdu(V10) | inside, V10).redacts is None
    assert parse_event(build_pdu(V11) | top, V11).redacts is None
    assert parse_event(build_pdu(V11) | inside, V11).redacts == (target if found else None)


def test_only_a_redaction_redacts_and_only_an_id():
    assert parse_event(build_pdu(V10) | {"redacts": "$x:y"}, V10).redacts is None
    assert parse_event(build_pdu(V11, type="m.room.redaction", content={"redacts": 5}), V11).redacts is None


@every_version
def test_an_event_from_storage_is_the_event_that_was_parsed(version):
    event = parse_event(build_pdu(version) | {"unsigned": {"age": 1}}, version)
    again = revive_event(version, event.raw, event_id=event.event_id, room_id=event.room_id)
    kept = [name for name in Event.__struct_fields__ if name != "unsigned"]
    assert all(getattr(again, name) == getattr(event, name) for name in kept)
    assert (event.unsigned, again.unsigned) == ({"age": 1}, {})


@every_version
def test_clients_get_what_is_theirs(version):
    event = parse_event(build_pdu(version, type="m.room.name", state_key="", content={"name": "5b"}), version)
    shown = msgspec.json.decode(encode_client_event(event))
    assert shown == {
        "content": {"name": "5b"},
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "room_id": event.room_id,
        "sender": ALICE,
        "state_key": "",
        "type": "m.room.name",
    }
    message = msgspec.json.decode(encode_client_event(parse_event(build_pdu(version), version)))
    assert "state_key" not in message


@every_version
def test_clients_old_and_new_find_the_target_of_a_redaction(version):
    target = event_id_like(version)
    event = parse_event(build_pdu(version, type="m.room.redaction", redacts=target, content={"reason": "r"}), version)
    shown = msgspec.json.decode(encode_client_event(event))
    assert shown["redacts"] == target
    assert shown["content"] == {"reason": "r", "redacts": target}


def test_strangers_get_the_stripped_state():
    event = parse_event(build_pdu(V12, type="m.room.name", state_key="", content={"name": "5b"}), V12)
    assert stripped_state(event) == {"content": {"name": "5b"}, "sender": ALICE, "state_key": "", "type": "m.room.name"}


FIELDS = [*REQUIRED, "state_key", "redacts", "unsigned", "event_id", "origin", "prev_state", "membership", "\ud800"]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=20)
    | st.text(alphabet="@!$:.ax\0\ud800", max_size=20)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(VERSIONS), st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3))
@settings(max_examples=400)
def test_any_value_in_any_field_is_an_event_or_refused(version, spoiled):
    try:
        event = parse_event(build_pdu(version) | spoiled, version)
    except BadEvent:
        return
    assert parse_event(event.raw, version) == event


@given(st.sampled_from(VERSIONS), st.integers(0, 10_000), st.binary(min_size=1, max_size=4), st.booleans())
@settings(max_examples=400)
def test_any_damage_to_the_bytes_is_an_event_or_refused(version, place, noise, replace):
    raw = canonical.encode(build_pdu(version, type="m.room.member", state_key=ALICE, content={"membership": "join"}))
    place %= len(raw)
    try:
        event = parse_event(raw[:place] + noise + raw[place + replace * len(noise) :], version)
    except BadEvent:
        return
    assert parse_event(event.raw, version) == event
