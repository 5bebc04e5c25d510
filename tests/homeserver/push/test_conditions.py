"""Each kind of condition, with an event it matches and one that differs in the fact it looks at."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from federation.auth import PowerLevels
from homeserver.push.conditions import ME, compile_condition
from tests.kit.rooms import RoomFactory

ANN = "@ann:parta.test"


@dataclass(frozen=True)
class Told:
    """An event, as conditions see one."""

    event_id: str = "$event"
    room_id: str = "!room"
    type: str = "m.room.message"
    sender: str = "@ben:parta.test"
    state_key: str | None = None
    origin_server_ts: int = 1_700_000_000_000
    content: dict[str, Any] = field(default_factory=dict)


class Room:
    """A room of three, in which Ann goes by Annie and 50 is needed to notify everybody."""

    def member_count(self) -> int:
        return 3

    def power_levels(self) -> PowerLevels:
        factory = RoomFactory("12")
        levels = factory.set_levels(users={"@mod:parta.test": 50})
        return PowerLevels.of(factory.version, factory.create, levels)

    def display_name(self, user_id: str, /) -> str | None:
        return "Annie" if user_id == ANN else None


def holds(condition: dict[str, Any], event: Told, user_id: str = ANN) -> bool:
    return compile_condition(condition)(event, user_id, Room())


def match(key: str, pattern: object) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


TOPIC = Told(type="m.room.topic", state_key="", content={"topic": "Lunch plans", "n": 1, "nested": {"a.b": "x"}})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (match("content.topic", "lunc?*"), True),
        (match("content.topic", "lunch"), False),
        (match("type", "M.ROOM.topic"), True),
        (match("type", "m.room.*"), True),
        (match("state_key", ""), True),
        (match("sender", "@ben:*"), True),
        (match("room_id", "!room"), True),
        (match(r"content.nested.a\.b", "x"), True),
        (match("content.nested.a.b", "x"), False),
        (match("content.n", "*"), False),
        (match("content.absent", "*"), False),
        (match("content", "*"), False),
        (match("unsigned.age", "*"), False),
        (match("type.sub", "*"), False),
        (match("content.topic", 1), False),
        ({"kind": "event_match", "pattern": "*"}, False),
    ],
)
def test_event_match_looks_at_a_string(condition: dict[str, Any], expected: bool) -> None:
    assert holds(condition, TOPIC) is expected


def test_a_message_has_no_state_key_to_match() -> None:
    assert not holds(match("state_key", "*"), Told())


def test_the_body_is_matched_by_words() -> None:
    assert holds(match("content.body", "cake"), Told(content={"body": "Time for cake!"}))
    assert not holds(match("content.body", "cake"), Told(content={"body": "pancakes"}))
    assert not holds(match("content.body", "cake"), Told(content={"body": 1}))


def test_me_is_whoever_is_asked_for() -> None:
    event = Told(state_key=ANN)
    assert holds(match("state_key", ME), event)
    assert not holds(match("state_key", ME), event, "@ben:parta.test")


@pytest.mark.parametrize("value", ["text", 1, True, None])
def test_a_property_is_exactly_that_value(value: object) -> None:
    condition = {"kind": "event_property_is", "key": r"content.m\.x", "value": value}
    assert holds(condition, Told(content={"m.x": value}))
    assert not holds(condition, Told(content={"m.x": str(value) + "!"}))
    assert not holds(condition, Told())


def test_true_is_not_one() -> None:
    condition = {"kind": "event_property_is", "key": "content.x", "value": True}
    assert not holds(condition, Told(content={"x": 1}))
    assert not holds({**condition, "value": 1}, Told(content={"x": True}))
    assert not holds({**condition, "value": 1}, Told(content={"x": 1.0}))


def test_a_compound_value_matches_nothing() -> None:
    for kind in ("event_property_is", "event_property_contains"):
        assert not holds({"kind": kind, "key": "content.x", "value": {}}, Told(content={"x": {}}))
        assert not holds({"kind": kind, "key": "content.x"}, Told(content={"x": None}))
        assert not holds({"kind": kind, "value": "a"}, Told(content={"x": "a"}))


def test_an_array_contains_exactly_that_value() -> None:
    condition = {"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": ME}
    assert holds(condition, Told(content={"m.mentions": {"user_ids": ["@x:y", ANN]}}))
    assert not holds(condition, Told(content={"m.mentions": {"user_ids": ["@x:y", [ANN]]}}))
    assert not holds(condition, Told(content={"m.mentions": {"user_ids": ANN}}))
    assert not holds(condition, Told(content={"m.mentions": [ANN]}))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("annie, come", True),
        ("dear ANNIE", True),
        ("annies", False),
        ("xannie annie", True),
        ("ann", False),
        (7, False),
    ],
)
def test_the_display_name_stands_in_the_body_as_a_word(body: object, expected: bool) -> None:
    assert holds({"kind": "contains_display_name"}, Told(content={"body": body})) is expected
    assert not holds({"kind": "contains_display_name"}, Told(content={"body": body}), "@nameless:parta.test")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("3", True), ("==3", True), ("2", False), (">2", True), (">3", False), (">=3", True), ("<4", True), ("<=2", False),
     ("x", False), ("", False), (3, False), ("!3", False)],
)  # fmt: skip
def test_members_are_counted(wanted: object, expected: bool) -> None:
    assert holds({"kind": "room_member_count", "is": wanted}, Told()) is expected


def test_only_those_with_the_power_notify_everybody() -> None:
    condition = {"kind": "sender_notification_permission", "key": "room"}
    assert holds(condition, Told(sender="@mod:parta.test"))
    assert not holds(condition, Told())
    assert not holds({"kind": "sender_notification_permission"}, Told(sender="@mod:parta.test"))


def test_what_is_unknown_never_matches() -> None:
    assert not holds({"kind": "org.example.moon"}, Told())
    assert not holds({}, Told())
    assert not holds({"kind": ["event_match"]}, replace(Told()))
