"""Rule sets: the defaults, how people edit them, and which rule counts."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homeserver.policy import Invalid, NotFound
from homeserver.push.rules import (
    LONGEST_PATTERN,
    MOST_RULES,
    Edits,
    Kind,
    Place,
    Rule,
    RuleSet,
    load_rule,
    parse_actions,
    parse_kind,
    put_rule,
    remove_rule,
    set_actions,
    set_enabled,
    show_rules,
)
from tests.homeserver.push.test_conditions import ANN, Room, Told

NONE = Edits()
NOWHERE = Place()
HIGHLIGHT = ["notify", {"set_tweak": "highlight"}]


def rule(rule_id: str, **more: Any) -> Rule:
    return Rule(rule_id=rule_id, **{"actions": ["notify"], **more})


def put(edits: Edits, kind: Kind, rule_id: str, place: Place = NOWHERE, **more: Any) -> Edits:
    if kind == "content":
        more.setdefault("pattern", rule_id)
    return put_rule(edits, kind, rule(rule_id, **more), place)


def order(edits: Edits, kind: Kind) -> list[str]:
    return [each["rule_id"] for each in show_rules(edits, ANN)[kind]]


def evaluate(edits: Edits, event: Told, user_id: str = ANN) -> tuple[bool, bool]:
    outcome = RuleSet(edits).evaluate(event, user_id, Room())
    return outcome.notify, outcome.highlight


def add_polls(rules: list[Any]) -> list[Any]:
    """The rules with those of MSC3930 where it puts them, under its own names and those it is accepted with."""
    responses, notices = [], []
    for rule_id, poll in ((".m.rule", "m.poll"), (".org.matrix.msc3930.rule", "org.matrix.msc3381.poll")):
        switches = {"default": True, "enabled": True}
        about = {
            what: {"kind": "event_property_is", "key": "type", "value": f"{poll}.{what}"}
            for what in ("start", "end", "response")
        }
        responses.append(
            {"rule_id": f"{rule_id}.poll_response", **switches, "conditions": [about["response"]], "actions": []}
        )
        sound = {"set_tweak": "sound", "value": "default"}
        for what in ("start", "end"):
            two = [{"kind": "room_member_count", "is": "2"}, about[what]]
            one_to_one = {
                "rule_id": f"{rule_id}.poll_{what}_one_to_one",
                "conditions": two,
                "actions": ["notify", sound],
            }
            plain = {"rule_id": f"{rule_id}.poll_{what}", "conditions": [about[what]], "actions": ["notify"]}
            notices += [{**one_to_one, **switches}, {**plain, **switches}]
    at = next(at for at, rule in enumerate(rules) if rule["rule_id"] == ".m.rule.room.server_acl") + 1
    return [*rules[:at], *responses, *rules[at:], *notices]


def test_the_defaults_are_those_of_the_specification() -> None:
    text = (Path(__file__).parents[2] / "vectors" / "default_push_rules.md").read_text()
    blocks = re.findall(r"```json\n(\{.*?\n\s*\})\n```", text, re.DOTALL)
    expected = add_polls([msgspec.json.decode(block) for block in blocks])
    for each in expected:
        for condition in each["conditions"]:
            for name, value in condition.items():
                if value == "[the user's Matrix ID]":
                    condition[name] = ANN
    shown = show_rules(NONE, ANN)
    assert [each["rule_id"] for each in (*shown["override"], *shown["underride"])] == [e["rule_id"] for e in expected]
    assert [*shown["override"], *shown["underride"]] == expected
    assert not (shown["content"] or shown["room"] or shown["sender"])


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Told(content={"body": "hi", "msgtype": "m.text"}), (True, False)),
        (Told(content={"body": "hi", "msgtype": "m.notice"}), (False, False)),
        (Told(type="m.room.encrypted"), (True, False)),
        (Told(type="m.call.invite"), (True, False)),
        (Told(type="m.reaction"), (False, False)),
        (Told(type="org.example.thing"), (False, False)),
        (Told(type="m.poll.start"), (True, False)),
        (Told(type="org.matrix.msc3381.poll.start"), (True, False)),
        (Told(type="org.matrix.msc3381.poll.end"), (True, False)),
        (Told(type="org.matrix.msc3381.poll.response"), (False, False)),
        (Told(type="org.matrix.msc3381.Poll.start"), (False, False)),
        (Told(content={"m.mentions": {"user_ids": [ANN]}}), (True, True)),
        (Told(type="m.reaction", content={"m.mentions": {"user_ids": [ANN]}}), (True, True)),
        (Told(content={"m.mentions": {"user_ids": ["@ben:parta.test"]}}), (True, False)),
        (Told(content={"m.mentions": {"room": True}}), (True, False)),
        (Told(sender="@mod:parta.test", content={"m.mentions": {"room": True}}), (True, True)),
        (Told(content={"m.relates_to": {"rel_type": "m.replace"}}), (False, False)),
        (Told(type="m.room.tombstone", state_key=""), (True, True)),
        (Told(type="m.room.tombstone"), (False, False)),
        (Told(type="m.room.server_acl", state_key=""), (False, False)),
        (Told(type="m.room.member", state_key=ANN, content={"membership": "invite"}), (True, False)),
        (Told(type="m.room.member", state_key="@x:y", content={"membership": "invite"}), (False, False)),
        (Told(type="m.room.member", state_key=ANN, content={"membership": "join"}), (False, False)),
        (Told(type="M.ROOM.MESSAGE"), (True, False)),
    ],
)
def test_the_defaults_say(event: Told, expected: tuple[bool, bool]) -> None:
    assert evaluate(NONE, event) == expected


def test_the_master_rule_silences_all_when_it_is_on() -> None:
    on = set_enabled(NONE, "override", ".m.rule.master", enabled=True)
    assert evaluate(put(on, "override", "mine", conditions=[]), Told()) == (False, False)
    off = set_enabled(on, "override", ".m.rule.master", enabled=False)
    assert evaluate(put(off, "override", "mine", conditions=[]), Told()) == (True, False)


def test_own_rules_go_before_default_ones_but_for_the_master() -> None:
    edits = put(NONE, "override", "mine", conditions=[])
    assert order(edits, "override")[:3] == [".m.rule.master", "mine", ".m.rule.suppress_notices"]
    assert order(put(NONE, "underride", "mine", conditions=[]), "underride")[0] == "mine"


def test_kinds_are_checked_in_their_order() -> None:
    event = Told(content={"body": "cake"})
    edits = put(NONE, "sender", event.sender, actions=[])
    assert evaluate(edits, event) == (False, False)
    edits = put(edits, "room", event.room_id, actions=["notify"])
    assert evaluate(edits, event) == (True, False)
    edits = put(edits, "content", "cake", actions=HIGHLIGHT)
    assert evaluate(edits, event) == (True, True)
    edits = put(edits, "override", "all", conditions=[], actions=[])
    assert evaluate(edits, event) == (False, False)
    assert evaluate(edits, event) == evaluate(edits, Told())


def test_room_and_sender_rules_match_theirs_only() -> None:
    edits = put(put(NONE, "room", "!other", actions=[]), "sender", "@other:parta.test", actions=[])
    assert evaluate(edits, Told()) == (True, False)
    assert evaluate(edits, Told(room_id="!other")) == (False, False)
    assert evaluate(edits, Told(sender="@other:parta.test")) == (False, False)


def test_a_disabled_rule_never_matches() -> None:
    edits = put(NONE, "override", "quiet", conditions=[], actions=[])
    assert evaluate(edits, Told()) == (False, False)
    assert evaluate(set_enabled(edits, "override", "quiet", enabled=False), Told()) == (True, False)
    assert evaluate(set_enabled(NONE, "underride", ".m.rule.message", enabled=False), Told()) == (False, False)


def test_all_conditions_must_hold() -> None:
    conditions = [
        {"kind": "event_match", "key": "type", "pattern": "m.room.*"},
        {"kind": "room_member_count", "is": "3"},
    ]
    assert evaluate(put(NONE, "override", "quiet", conditions=conditions, actions=[]), Told()) == (False, False)
    conditions[1] = {"kind": "room_member_count", "is": "4"}
    assert evaluate(put(NONE, "override", "quiet", conditions=conditions, actions=[]), Told()) == (True, False)


def test_a_new_rule_is_the_most_important_own_one() -> None:
    edits = put(put(NONE, "content", "tea"), "content", "time")
    assert order(edits, "content") == ["time", "tea"]


def test_a_rule_is_put_before_or_after_another() -> None:
    edits = put(put(NONE, "content", "c"), "content", "a")
    edits = put(edits, "content", "b", Place(before="c"))
    assert order(edits, "content") == ["a", "b", "c"]
    edits = put(edits, "content", "a", Place(after="b"))
    assert order(edits, "content") == ["b", "a", "c"]
    edits = put(edits, "content", "c", Place(before="b", after="a"))
    assert order(edits, "content") == ["c", "b", "a"]


@pytest.mark.parametrize("place", [Place(before="none"), Place(after=".m.rule.message"), Place(before="tea")])
def test_a_rule_is_not_put_beside_none(place: Place) -> None:
    edits = put(NONE, "content", "tea")
    with pytest.raises(Invalid) as fault:
        put(edits, "content", "tea", place)
    assert fault.value.errcode == "M_UNKNOWN"


def test_a_changed_rule_keeps_its_place_and_its_switch() -> None:
    edits = put(put(NONE, "content", "tea"), "content", "time")
    edits = set_enabled(edits, "content", "tea", enabled=False)
    edits = put(edits, "content", "tea", pattern="coffee")
    assert order(edits, "content") == ["time", "tea"]
    changed, default = load_rule(edits, "content", "tea")
    assert (changed.pattern, changed.disabled, default) == ("coffee", True, False)


@pytest.mark.parametrize("rule_id", [".mine", "", "a/b", "a\\b", "x" * (LONGEST_PATTERN + 1)])
def test_some_ids_are_not_for_own_rules(rule_id: str) -> None:
    with pytest.raises(Invalid):
        put(NONE, "override", rule_id, conditions=[])


def test_a_content_rule_needs_a_pattern_of_some_length() -> None:
    with pytest.raises(Invalid) as fault:
        put_rule(NONE, "content", rule("tea"), NOWHERE)
    assert fault.value.errcode == "M_MISSING_PARAM"
    with pytest.raises(Invalid):
        put(NONE, "content", "tea", pattern="x" * (LONGEST_PATTERN + 1))
    with pytest.raises(Invalid):
        put(NONE, "override", "tea", conditions=[{"kind": "event_match", "pattern": "x" * (LONGEST_PATTERN + 1)}])


def test_there_are_not_too_many_rules() -> None:
    many = Edits(rules={"room": [rule(f"!{at}") for at in range(MOST_RULES)]})
    with pytest.raises(Invalid):
        put(many, "content", "one more")


def test_own_rules_can_be_removed_and_default_ones_cannot() -> None:
    edits = remove_rule(put(NONE, "content", "tea"), "content", "tea")
    assert order(edits, "content") == []
    for kind, rule_id in (("content", "tea"), ("override", ".m.rule.master")):
        with pytest.raises(NotFound):
            remove_rule(edits, parse_kind(kind), rule_id)


def test_rules_of_either_sort_act_as_told() -> None:
    edits = set_actions(put(NONE, "content", "tea"), "content", "tea", HIGHLIGHT)
    edits = set_actions(edits, "underride", ".m.rule.message", [])
    assert load_rule(edits, "content", "tea")[0].actions == HIGHLIGHT
    assert evaluate(edits, Told()) == (False, False)
    assert evaluate(edits, Told(content={"body": "tea"})) == (True, True)


@pytest.mark.parametrize("kind", ["override", "room"])
def test_what_is_not_there_cannot_be_switched(kind: Kind) -> None:
    with pytest.raises(NotFound):
        set_enabled(NONE, kind, "none", enabled=True)
    with pytest.raises(NotFound):
        set_actions(NONE, kind, "none", [])


def test_historical_actions_mean_nothing() -> None:
    assert parse_actions(["dont_notify", "notify", "coalesce"]) == ["notify"]
    assert parse_actions([{"set_tweak": "sound", "value": "x"}]) == [{"set_tweak": "sound", "value": "x"}]


@pytest.mark.parametrize("actions", [["shout"], [1], [{}], [{"set_tweak": 1}], [None]])
def test_other_things_are_no_actions(actions: list[object]) -> None:
    with pytest.raises(Invalid):
        parse_actions(actions)


@pytest.mark.parametrize(
    ("tweak", "expected"), [({}, True), ({"value": True}, True), ({"value": False}, False), ({"value": "x"}, False)]
)
def test_highlight_is_on_unless_it_says_otherwise(tweak: dict[str, Any], expected: bool) -> None:
    edits = put(NONE, "override", "all", conditions=[], actions=["notify", {"set_tweak": "highlight", **tweak}])
    assert evaluate(edits, Told()) == (True, expected)


def test_there_are_five_kinds() -> None:
    assert parse_kind("sender") == "sender"
    with pytest.raises(Invalid):
        parse_kind("global")


def test_edits_outlive_being_stored() -> None:
    edits = put(put(NONE, "content", "tea"), "override", "all", conditions=[{"kind": "room_member_count", "is": "2"}])
    edits = set_enabled(edits, "override", ".m.rule.master", enabled=True)
    again = msgspec.json.decode(msgspec.json.encode(edits), type=Edits)
    assert show_rules(again, ANN) == show_rules(edits, ANN)
    assert msgspec.json.encode(NONE) == b"{}"


def test_rules_for_types_are_sorted_out_within_bounds() -> None:
    rules = RuleSet(NONE)
    for at in range(600):
        assert rules.evaluate(Told(type=f"org.example.{at}"), ANN, Room()).notify is False
    assert rules.evaluate(Told(), ANN, Room()).notify is True
