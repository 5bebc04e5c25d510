"""Our own events: what others will make of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical
from federation.errors import BadEvent, EventTooLarge
from federation.event import Event, parse_event, parse_template, seal_event
from federation.hashes import check_content_hash, reference_hash
from federation.signatures import check_event_signatures
from federation.versions import ROOM_VERSIONS
from tests.kit.pdus import (
    ALICE,
    ONE,
    VERSIONS,
    build_pdu,
    event_fields,
    event_id_like,
    room_id_like,
    signing_key,
    without,
)

KEY = signing_key(ONE)
V1, V10, V11, V12 = (ROOM_VERSIONS[name] for name in ("1", "10", "11", "12"))
every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: "v" + version.id)

CREATE = {"type": "m.room.create", "state_key": "", "prev_events": (), "auth_events": ()}
KINDS = {
    "message": {},
    "state": {"type": "m.room.topic", "state_key": "", "content": {"topic": "Fractions"}},
    "member": {"type": "m.room.member", "state_key": ALICE, "content": {"membership": "join", "displayname": "Al"}},
    "levels": {
        "type": "m.room.power_levels",
        "state_key": "",
        "content": {"users": {ALICE: 100}, "invite": 50, "x": 1},
    },
    "redaction": {"type": "m.room.redaction", "content": {"reason": "wrong"}, "redacts": "target"},
    "create": CREATE | {"content": {"room_version": "x", "creator": ALICE}},
}


def seal(version, **changed):
    if changed.get("redacts"):
        changed["redacts"] = event_id_like(version, changed["redacts"])
    if changed.get("type") == "m.room.create":
        changed.setdefault("room_id", None if version.room_id_is_create_hash else room_id_like(version))
    return seal_event(version, event_fields(version, **changed), server=ONE, key=KEY)


def find_key(server, key_id):
    return KEY.verify_key if (server, key_id) == (ONE, KEY.key_id) else None


@every_version
@pytest.mark.parametrize("kind", KINDS)
def test_what_we_seal_others_read_as_we_do(version, kind):
    event = seal(version, **KINDS[kind])
    read = parse_event(event.raw, version)
    assert all(getattr(read, name) == getattr(event, name) for name in Event.__struct_fields__)
    assert check_content_hash(read)
    check_event_signatures(read, find_key)
    assert canonical.encode(event.pdu()) == event.raw
    if version.event_ids != "sent":
        assert event.event_id == "$" + reference_hash(version, event.pdu())


@given(
    st.sampled_from(VERSIONS),
    st.dictionaries(st.text(), st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=4)),
    st.text(max_size=60),
    st.none() | st.text(max_size=60),
)
def test_whatever_people_write_is_sealed_to_a_good_event(version, content, event_type, state_key):
    if event_type.startswith("m.room.create"):
        event_type = "x"
    event = seal(version, content=content, type=event_type, state_key=state_key)
    read = parse_event(event.raw, version)
    assert read.content == content
    assert check_content_hash(read)
    check_event_signatures(read, find_key)


def test_the_target_of_a_redaction_goes_where_the_version_wants_it():
    target = event_id_like(V10)
    old = seal_event(V10, event_fields(V10, type="m.room.redaction", redacts=target), server=ONE, key=KEY)
    new = seal_event(V11, event_fields(V11, type="m.room.redaction", redacts=target), server=ONE, key=KEY)
    assert old.pdu()["redacts"] == target
    assert "redacts" not in old.content
    assert "redacts" not in new.pdu()
    assert new.content["redacts"] == target
    assert old.redacts == new.redacts == target


def test_the_sender_chooses_the_id_in_version_1_and_refers_with_hashes():
    event = seal(V1)
    assert event.event_id == "$opaque:one.example"
    assert event.pdu()["prev_events"] == [[event_id_like(V1), {"sha256": "h" * 43}]]
    with pytest.raises(ValueError, match="opaque"):
        seal(V1, opaque=None)
    with pytest.raises(KeyError):
        seal(V1, reference_hashes={})


def test_only_the_create_event_of_version_12_comes_without_room_id():
    event = seal(V12, **KINDS["create"])
    assert event.room_id == "!" + event.event_id[1:]
    for version, spoiled in (
        (V12, {"room_id": None}),
        (V11, {"room_id": None}),
        (V11, CREATE | {"room_id": None}),
        (V12, CREATE | {"room_id": room_id_like(V12)}),
        (V12, CREATE | {"room_id": None, "state_key": "x"}),
        (V12, CREATE | {"room_id": None, "state_key": None}),
    ):
        with pytest.raises(BadEvent):
            seal_event(version, event_fields(version, **spoiled), server=ONE, key=KEY)


@every_version
@pytest.mark.parametrize("content", [{"a": 1.5}, {"a": 2**53}, {"a": "\ud800"}, {1: 2}, {"a": b"x"}], ids=repr)
def test_content_that_is_not_canonical_is_never_sent_in_any_version(version, content):
    with pytest.raises(BadEvent):
        seal(version, content=content)


@every_version
def test_content_nests_only_so_deep_that_others_can_read_the_event(version):
    deep = {}
    for _ in range(canonical.MAX_DEPTH - 1):
        deep = {"a": deep}
    assert parse_event(seal(version, content=deep).raw, version).content == deep
    with pytest.raises(BadEvent):
        seal(version, content={"a": deep})


@every_version
def test_what_is_too_large_is_not_sealed(version):
    room = 65536 - len(seal(version, content={"body": ""}).raw)
    assert len(seal(version, content={"body": "a" * room}).raw) == 65536
    for spoiled in (
        {"content": {"body": "a" * (room + 1)}},
        {"type": "a" * 256},
        {"type": "x", "state_key": "é" * 128},
    ):
        with pytest.raises(EventTooLarge):
            seal(version, **spoiled)


@every_version
def test_numbers_and_references_stay_within_bounds(version):
    before = event_id_like(version)
    assert seal(version, depth=version.max_depth, prev_events=(before,) * 20, auth_events=(before,) * 10)
    for spoiled in (
        {"depth": version.max_depth + 1},
        {"depth": -1},
        {"origin_server_ts": version.max_depth + 1},
        {"prev_events": (before,) * 21},
        {"auth_events": (before,) * 11},
    ):
        with pytest.raises(BadEvent):
            seal(version, **spoiled)


JOIN = {"type": "m.room.member", "state_key": ALICE, "content": {"membership": "join"}}


def build_template(version):
    """What a server in the room proposes: a join that is neither hashed, signed nor named."""
    return without(seal(version, **JOIN).pdu(), "hashes", "signatures", "event_id")


@every_version
def test_a_template_is_sealed_by_the_other_server(version):
    fields = event_fields(version, **JOIN)
    read = parse_template(build_template(version), version, origin_server_ts=5)
    event = seal(
        version,
        **JOIN,
        prev_events=read.prev_events,
        auth_events=read.auth_events,
        depth=read.depth,
        reference_hashes=read.reference_hashes,
        origin_server_ts=read.origin_server_ts,
        room_id=read.room_id,
    )
    assert parse_event(event.raw, version).prev_events == fields.prev_events
    assert (read.sender, read.state_key, read.content) == (ALICE, ALICE, {"membership": "join"})


@every_version
@pytest.mark.parametrize(
    "name", ["type", "sender", "state_key", "room_id", "content", "prev_events", "auth_events", "depth"]
)
def test_a_template_with_a_spoiled_field_is_refused(version, name):
    template = build_template(version)
    assert parse_template(template, version, origin_server_ts=5)
    for value in (None, True, "x", [5], {"a": 1.5}, -1, 1.0):
        with pytest.raises(BadEvent):
            parse_template(template | {name: value}, version, origin_server_ts=5)
    with pytest.raises(BadEvent):
        parse_template(without(template, name), version, origin_server_ts=5)


@pytest.mark.parametrize("template", [None, [], "x", 5, {}, {"type": "m.room.message"}], ids=repr)
def test_what_is_no_template_is_refused(template):
    with pytest.raises(BadEvent):
        parse_template(template, V12, origin_server_ts=5)


@pytest.mark.parametrize("pair", [{}, {"sha256": 5}, {"md5": "x"}], ids=repr)
def test_a_template_of_version_1_refers_with_hashes(pair):
    template = build_template(V1)
    with pytest.raises(BadEvent):
        parse_template(template | {"auth_events": [["$a:b", pair]]}, V1, origin_server_ts=5)


@given(
    st.sampled_from(VERSIONS),
    st.dictionaries(
        st.sampled_from(["sender", "room_id", "prev_events", "depth", "content"]),
        st.recursive(
            st.none() | st.integers() | st.text() | st.floats(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    ),
)
def test_any_template_at_all_is_read_or_refused(version, spoiled):
    try:
        fields = parse_template(build_template(version) | spoiled, version, origin_server_ts=5)
    except BadEvent:
        return
    assert fields.type == "m.room.member"


def test_a_pdu_of_the_kit_is_what_seal_event_makes():
    assert build_pdu(V12) == seal(V12).pdu()
