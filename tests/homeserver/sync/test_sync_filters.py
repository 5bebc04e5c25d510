"""Whole filters: what is one, and what passes."""

from typing import Any

import msgspec
import pytest

from homeserver.policy import Invalid
from homeserver.sync.filters import DEFAULT_LIMIT, MOST_BYTES, MOST_EVENTS, check_filter, parse_filter, pick_fields
from homeserver.sync.tokens import SyncToken, parse_token


def parse(**definition: Any) -> Any:
    return parse_filter(msgspec.json.encode(definition))


def test_equal_filters_are_one() -> None:
    one = parse_filter('{"room": {"timeline": {"limit": 5}}, "event_format": "client"}')
    assert one is parse_filter(b'{"event_format":"client","room":{"timeline":{"limit":5,"types":null}},"x":1}')
    assert one is not parse(room={"timeline": {"limit": 6}})


def test_a_limit_has_a_default_and_a_bound() -> None:
    assert parse().timeline.limit == DEFAULT_LIMIT
    assert parse(room={"timeline": {"limit": 3}}).timeline.limit == 3
    assert parse(room={"timeline": {"limit": 10**9}}).timeline.limit == MOST_EVENTS


@pytest.mark.parametrize(
    "definition",
    [
        b"", b"{", b"[]", b"1", b"null", b'{"room": []}', b'{"room": {"timeline": {"limit": 0}}}',
        b'{"room": {"timeline": {"limit": "5"}}}', b'{"presence": {"types": "m.presence"}}',
        b'{"event_format": "other"}', b'{"event_fields": [1]}', b'{"room": {"state": {"lazy_load_members": 1}}}',
        b"\xff", b"[" * 5000, b'{"event_fields": ["' + b"x" * MOST_BYTES + b'"]}',
    ],
)  # fmt: skip
def test_other_things_are_no_filters(definition: bytes) -> None:
    with pytest.raises(Invalid) as fault:
        parse_filter(definition)
    assert fault.value.errcode == "M_INVALID_PARAM"


def test_a_filter_to_be_stored_is_checked_the_same() -> None:
    check_filter({"room": {"timeline": {"limit": 5}}, "unknown": 1})
    for bad in ({"room": 1}, {"room": {"timeline": {"limit": 0}}}, {"event_format": 1}):
        with pytest.raises(Invalid) as fault:
            check_filter(bad)
        assert fault.value.errcode == "M_BAD_JSON"


def test_rooms_are_chosen_at_both_levels() -> None:
    wanted = parse(room={"not_rooms": ["!a"], "timeline": {"rooms": ["!b"]}, "state": {"not_rooms": ["!b"]}})
    assert [wanted.has_room(room) for room in ("!a", "!b", "!c")] == [False, True, True]
    assert [wanted.timeline.has_room(room) for room in ("!b", "!c")] == [True, False]
    assert [wanted.state.has_room(room) for room in ("!b", "!c")] == [False, True]
    assert parse(room={"rooms": ["!a"], "not_rooms": ["!a"]}).has_room("!a") is False


def test_what_is_no_event_is_chosen_by_type_and_sender() -> None:
    wanted = parse(presence={"not_senders": ["@a:b"]}, account_data={"types": ["m.*"], "not_types": ["m.push_rules"]})
    assert wanted.presence.has("m.presence", "@c:d")
    assert not wanted.presence.has("m.presence", "@a:b")
    assert [wanted.account_data.has(kind) for kind in ("m.direct", "m.push_rules", "org.x")] == [True, False, False]


def test_fields_are_picked_as_they_are_nested() -> None:
    value = {"type": "x", "content": {"body": "hi", "m.x": {"a": 1}, "other": 2}, "sender": "@a:b"}
    paths = (("content", "body"), ("content", "m.x", "a"), ("absent",), ("type", "deeper"), ("content", "absent"))
    assert pick_fields(value, paths) == {"content": {"body": "hi", "m.x": {"a": 1}}}


def test_tokens_come_back_as_they_went() -> None:
    for token in (SyncToken(0, 0, 0), SyncToken(5, 7, 5), SyncToken(5, 7, 3)):
        assert parse_token(token.encode()) == token
    assert parse_token("s12") == SyncToken(12, 0, 12)


@pytest.mark.parametrize("text", ["", "s", "x1", "s1_", "s1_2_", "s1_2_3_4", "s-1", "s1 ", "s" + "9" * 19, "s١"])
def test_other_texts_are_no_tokens(text: str) -> None:
    with pytest.raises(Invalid):
        parse_token(text)
