"""Filters of room events."""

from typing import Any

import msgspec
import pytest

from federation.event import Event
from homeserver.rooms.filters import RoomEventFilter, build_test
from tests.kit.rooms import ALICE, BOB, RoomFactory


@pytest.fixture(scope="module")
def event() -> Event:
    return RoomFactory().send("m.room.message", {"body": "hi", "url": "mxc://one/x"}, sender=ALICE)


def passes(event: Event, **wanted: Any) -> bool:
    test = build_test(RoomEventFilter(**wanted))
    return test is None or test(event)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("m.room.message",), True),
        (("m.room.name", "m.room.message"), True),
        (("m.room.name",), False),
        ((), False),
        (("m.room.*",), True),
        (("*",), True),
        (("*message",), True),
        (("m.*.message",), True),
        (("m.*room.m*ssage",), True),
        (("m.room.message*",), True),
        (("m.room.message**",), True),
        (("m.room.messages*",), False),
        (("*m.room.message.*",), False),
        (("m.room.mess*message",), False),
        (("m.r?om.message",), False),
        (("M.ROOM.MESSAGE",), False),
    ],
)
def test_types_with_wildcards(event: Event, types: tuple[str, ...], expected: bool) -> None:
    assert passes(event, types=types) is expected
    assert passes(event, not_types=types) is not expected
    assert passes(event, types=types, not_types=types) is False


def test_senders(event: Event) -> None:
    assert passes(event, senders=(ALICE, BOB))
    assert not passes(event, senders=(BOB,))
    assert passes(event, not_senders=(BOB,))
    assert not passes(event, senders=(ALICE,), not_senders=(ALICE,))


def test_contains_url(event: Event) -> None:
    plain = RoomFactory().send("m.room.message", {"body": "hi"}, sender=ALICE)
    assert passes(event, contains_url=True)
    assert not passes(event, contains_url=False)
    assert passes(plain, contains_url=False)
    assert not passes(plain, contains_url=True)


def test_a_filter_that_lets_all_pass_asks_nothing() -> None:
    assert build_test(RoomEventFilter(limit=3, lazy_load_members=True)) is None


def test_rooms() -> None:
    assert RoomEventFilter().takes_room("!a")
    assert RoomEventFilter(rooms=("!a",)).takes_room("!a")
    assert not RoomEventFilter(rooms=("!a",)).takes_room("!b")
    assert not RoomEventFilter(rooms=("!a",), not_rooms=("!a",)).takes_room("!a")


@pytest.mark.parametrize(
    "body", [b'{"limit":0}', b'{"types":"x"}', b'{"senders":[1]}', b'{"contains_url":"yes"}', b"[]"]
)
def test_what_is_no_filter_is_refused(body: bytes) -> None:
    assert msgspec.json.decode(b'{"limit":1,"unknown":{}}', type=RoomEventFilter).limit == 1
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=RoomEventFilter)


def test_a_pattern_full_of_stars_takes_no_time(event: Event) -> None:
    assert not passes(event, types=("*m" * 120 + "*x",))
