import json
from pathlib import Path

import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical
from federation.ed25519 import SigningKey
from federation.errors import BadJSON, BadSignature, EventTooLarge
from federation.event import parse_event
from federation.hashes import content_hash, essential_bytes
from federation.redaction import redact_event
from federation.signatures import (
    MAX_SIGNATURES,
    add_signature,
    check_event_signatures,
    check_policy_signature,
    servers_that_must_sign,
    sign_event,
    sign_json,
    verify_json,
)
from federation.unpadded import encode_base64, find_base64
from federation.versions import ROOM_VERSIONS
from tests.kit.pdus import ALICE, VERSIONS, build_pdu, signing_key

VECTORS = json.loads((Path(__file__).parent / "vectors/signing.json").read_text())
VECTOR_KEY = SigningKey("1", find_base64(VECTORS["seed"]))
KEY = signing_key("one.example")
KEYS = {KEY.key_id: KEY.verify_key}
V1, V7, V8, V9, V12 = (ROOM_VERSIONS[name] for name in ("1", "7", "8", "9", "12"))
every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: "v" + version.id)

NUMBERS = st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
OBJECTS = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | NUMBERS | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    ),
).filter(lambda value: "signatures" not in value and "unsigned" not in value)


@pytest.mark.parametrize("case", VECTORS["json_signing"], ids=range(2))
def test_the_json_signatures_of_the_specification_hold(case):
    assert sign_json(case["given"], VECTORS["server_name"], VECTOR_KEY) == case["signed"]
    verify_json(case["signed"], VECTORS["server_name"], {VECTORS["key_id"]: VECTOR_KEY.verify_key})


@pytest.mark.parametrize("case", VECTORS["event_signing"], ids=range(2))
def test_the_event_signatures_of_the_specification_hold(case):
    pdu = case["given"] | {"hashes": {"sha256": content_hash(case["given"])}}
    signature = encode_base64(VECTOR_KEY.sign(essential_bytes(V1, pdu)))
    assert pdu | {"signatures": {"domain": {"ed25519:1": signature}}} == case["signed"]


@given(OBJECTS)
def test_what_we_sign_the_reference_library_verifies(value):
    theirs = signedjson.key.decode_verify_key_base64("ed25519", "a_1", KEY.verify_key.encode())
    signedjson.sign.verify_signed_json(sign_json(value, "one.example", KEY), "one.example", theirs)


@given(OBJECTS)
def test_what_the_reference_library_signs_we_verify(value):
    (theirs,) = signedjson.key.read_signing_keys([KEY.encode()])
    ours = sign_json(value, "one.example", KEY)
    signed = signedjson.sign.sign_json(dict(value), "one.example", theirs)
    assert signed == ours
    verify_json(signed, "one.example", KEYS)


@given(OBJECTS, st.text(), NUMBERS)
def test_a_changed_object_is_not_what_was_signed(value, name, number):
    signed = sign_json(value, "one.example", KEY)
    if value.get(name) == number or name in ("signatures", "unsigned"):
        return
    with pytest.raises(BadSignature):
        verify_json(signed | {name: number}, "one.example", KEYS)


def test_signing_leaves_the_object_alone_and_keeps_what_was_there():
    value = {
        "a": 1,
        "unsigned": {"age": 1},
        "signatures": {"two.example": {"ed25519:2": "x"}, "one.example": {"ed25519:0": "y"}},
    }
    before = json.dumps(value)
    signed = sign_json(value, "one.example", KEY)
    assert json.dumps(value) == before
    assert signed["unsigned"] == {"age": 1}
    assert signed["signatures"]["two.example"] == {"ed25519:2": "x"}
    assert set(signed["signatures"]["one.example"]) == {"ed25519:0", KEY.key_id}
    verify_json(signed | {"unsigned": {"age": 2}}, "one.example", KEYS)


@pytest.mark.parametrize("signatures", [None, 5, [], {"one.example": 5}, {"one.example": None}], ids=repr)
def test_signatures_that_are_none_are_replaced_by_ours(signatures):
    verify_json(sign_json({"signatures": signatures}, "one.example", KEY), "one.example", KEYS)


def test_what_is_not_canonical_is_not_signed():
    with pytest.raises(BadJSON):
        sign_json({"a": 1.5}, "one.example", KEY)


def signatures_of(*by_key):
    return {"a": 1, "signatures": {"one.example": dict(by_key)}}


GOOD = sign_json({"a": 1}, "one.example", KEY)["signatures"]["one.example"][KEY.key_id]


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        {"a": 1, "signatures": None},
        {"a": 1, "signatures": []},
        {"a": 1, "signatures": {"two.example": {KEY.key_id: GOOD}}},
        {"a": 1, "signatures": {"one.example": None}},
        {"a": 1, "signatures": {"one.example": [GOOD]}},
        signatures_of(),
        signatures_of(("rsa:a_1", GOOD)),
        signatures_of(("ed25519:unknown", GOOD)),
        signatures_of((KEY.key_id, None)),
        signatures_of((KEY.key_id, "not base64")),
        signatures_of((KEY.key_id, GOOD[:-2])),
        signatures_of((KEY.key_id, GOOD + GOOD)),
        signatures_of((KEY.key_id, "A" * 86)),
        signatures_of((5, GOOD)) | {"b": 1.5},
    ],
    ids=str,
)
def test_a_signature_that_is_missing_or_wrong_is_refused(value):
    verify_json(signatures_of((KEY.key_id, GOOD)), "one.example", KEYS)
    with pytest.raises(BadSignature):
        verify_json(value, "one.example", KEYS)


def test_unknown_keys_are_skipped_but_every_known_one_must_be_right():
    second = signing_key("one.example", "a_2")
    both = sign_json(sign_json({"a": 1}, "one.example", KEY), "one.example", second)
    keys = KEYS | {second.key_id: second.verify_key}
    verify_json(both, "one.example", keys)
    verify_json(both, "one.example", KEYS)
    both["signatures"]["one.example"][second.key_id] = GOOD
    verify_json(both, "one.example", KEYS)
    with pytest.raises(BadSignature):
        verify_json(both, "one.example", keys)


def test_a_server_cannot_make_us_verify_without_end():
    value, keys = {"a": 1}, {}
    for number in range(MAX_SIGNATURES):
        key = signing_key("one.example", f"a_{number}")
        value, keys[key.key_id] = sign_json(value, "one.example", key), key.verify_key
    verify_json(value, "one.example", keys)
    more = signing_key("one.example", "a_more")
    with pytest.raises(BadSignature):
        verify_json(sign_json(value, "one.example", more), "one.example", keys | {more.key_id: more.verify_key})


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.dictionaries(st.sampled_from(["signatures", "one.example", KEY.key_id, "a"]), inner),
    )
)
def test_any_object_at_all_is_verified_or_refused(value):
    with pytest.raises(BadSignature):
        verify_json(value if isinstance(value, dict) else {"signatures": value}, "one.example", KEYS)


# Events


def member(version, membership="join", **content):
    content = {"membership": membership} | content
    return parse_event(build_pdu(version, type="m.room.member", state_key=ALICE, content=content), version)


def find_key(server, key_id):
    key = signing_key(server)
    return key.verify_key if key.key_id == key_id else None


@every_version
def test_the_server_of_the_sender_signs(version):
    event = parse_event(build_pdu(version), version)
    assert servers_that_must_sign(event) == {"one.example"}
    check_event_signatures(event, find_key)
    check_event_signatures(redact_event(event), find_key)
    check_event_signatures(parse_event(event.pdu() | {"unsigned": {"age": 1}, "content": {}}, version), find_key)
    with pytest.raises(BadSignature):
        check_event_signatures(event, lambda server, key_id: None)
    with pytest.raises(BadSignature):
        check_event_signatures(event, lambda server, key_id: signing_key("two.example").verify_key)


@every_version
@pytest.mark.parametrize(
    "spoiled", [{"sender": "@bob:two.example"}, {"depth": 9}, {"type": "x"}, {"signatures": {}}], ids=str
)
def test_what_redaction_keeps_is_signed(version, spoiled):
    pdu = build_pdu(version)
    with pytest.raises(BadSignature):
        check_event_signatures(parse_event(pdu | spoiled, version), find_key)


@every_version
def test_the_server_in_the_event_id_signs_too_where_there_is_one(version):
    pdu = build_pdu(version) | {"event_id": "$other:two.example"}
    event = parse_event(pdu, version)
    if version.event_ids != "sent":
        assert servers_that_must_sign(event) == {"one.example"}
        return
    assert servers_that_must_sign(event) == {"one.example", "two.example"}
    event = sign_event(event, "one.example", KEY)
    with pytest.raises(BadSignature):
        check_event_signatures(event, find_key)
    check_event_signatures(sign_event(event, "two.example", signing_key("two.example")), find_key)


@every_version
def test_an_invite_by_third_party_needs_no_signature_of_its_sender(version):
    proof = {"signed": {"mxid": ALICE, "token": "t", "signatures": {}}}
    domain = {"one.example"} if version.event_ids == "sent" else set()
    assert servers_that_must_sign(member(version, "invite", third_party_invite=proof)) == domain
    for spoiled in (
        member(version, "join", third_party_invite=proof),
        member(version, "invite", third_party_invite="proof"),
        member(version, "invite"),
        parse_event(build_pdu(version, content={"membership": "invite", "third_party_invite": proof}), version),
        parse_event(
            build_pdu(version, type="m.room.member", content={"membership": "invite", "third_party_invite": proof}),
            version,
        ),
    ):
        assert servers_that_must_sign(spoiled) == {"one.example"}


@every_version
def test_the_server_that_let_somebody_in_signs_where_joins_can_be_restricted(version):
    event = member(version, join_authorised_via_users_server="@carol:three.example")
    others = {"three.example"} if version.restricted_join else set()
    assert servers_that_must_sign(event) == {"one.example"} | others
    if not others:
        check_event_signatures(event, find_key)
        return
    with pytest.raises(BadSignature):
        check_event_signatures(event, find_key)
    authorised = sign_event(event, "three.example", signing_key("three.example"))
    check_event_signatures(authorised, find_key)
    assert authorised == event
    assert parse_event(authorised.raw, version).signatures == authorised.signatures


def test_the_authoriser_counts_only_in_memberships():
    event = parse_event(build_pdu(V12, content={"join_authorised_via_users_server": "@carol:three.example"}), V12)
    assert servers_that_must_sign(event) == {"one.example"}


@pytest.mark.parametrize("version", [V8, V9, V12], ids=lambda version: "v" + version.id)
@pytest.mark.parametrize("authoriser", [None, 5, "", "carol", "@carol", ["@carol:three.example"]], ids=repr)
def test_an_authoriser_that_cannot_be_is_refused(version, authoriser):
    event = member(version, join_authorised_via_users_server=authoriser)
    with pytest.raises(BadSignature):
        servers_that_must_sign(event)
    with pytest.raises(BadSignature):
        check_event_signatures(event, find_key)


def test_a_redacted_join_loses_its_authoriser_in_version_8_but_not_later():
    for version, kept in ((V7, False), (V8, False), (V9, True), (V12, True)):
        event = redact_event(member(version, join_authorised_via_users_server="@carol:three.example"))
        assert ("three.example" in servers_that_must_sign(event)) == kept


def test_a_signature_from_elsewhere_is_added_as_it_is():
    event = parse_event(build_pdu(V12) | {"unsigned": {"age": 1}}, V12)
    added = add_signature(event, "policy.example", "ed25519:policy_server", "c2lnbmF0dXJl")
    assert added == event
    assert added.signatures["policy.example"] == {"ed25519:policy_server": "c2lnbmF0dXJl"}
    assert added.unsigned == {"age": 1}
    assert added.pdu()["signatures"] == added.signatures
    check_event_signatures(added, find_key)


def test_a_policy_server_signs_with_the_key_the_room_names():
    key = SigningKey("policy_server", bytes(32))
    event = parse_event(build_pdu(V12), V12)
    recommended = sign_event(event, "policy.example", key)
    check_policy_signature(recommended, "policy.example", key.verify_key)
    check_event_signatures(recommended, find_key)
    for spoiled, server, known in (
        (event, "policy.example", key.verify_key),
        (recommended, "one.example", key.verify_key),
        (recommended, "policy.example", KEY.verify_key),
        (sign_event(event, "policy.example", KEY), "policy.example", KEY.verify_key),
    ):
        with pytest.raises(BadSignature):
            check_policy_signature(spoiled, server, known)


def test_an_event_that_a_signature_would_make_too_large_is_refused():
    room = 65536 - len(canonical.encode(build_pdu(V12, content={"body": ""})))
    event = parse_event(build_pdu(V12, content={"body": "a" * room}), V12)
    with pytest.raises(EventTooLarge):
        sign_event(event, "two.example", signing_key("two.example"))


@every_version
def test_an_event_with_odd_numbers_can_be_signed_where_it_can_exist(version):
    number = 5 if version.strict_canonical_json else 1e17
    event = parse_event(build_pdu(version) | {"origin": number}, version)
    check_event_signatures(sign_event(event, "one.example", KEY), find_key)
