"""A person's push rules: what they changed of the defaults, how they change it, and the order in which rules count.

`Edits` is what is stored: own rules by kind, and which default rules are switched or act differently. Everything here
is a function of values.

Spec: client-server-api#push-rules, client-server-api#push-rules-api
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from homeserver.policy import Invalid, NotFound
from homeserver.push.conditions import ME, Condition, Judged, Setting, body_matches, compile_conditions, kind_of
from homeserver.push.defaults import DEFAULTS, DISABLED, MASTER

Kind: TypeAlias = Literal["override", "content", "room", "sender", "underride"]

KINDS: Final[tuple[Kind, ...]] = ("override", "content", "room", "sender", "underride")
"""The kinds of rules in the order in which they are checked."""

MOST_RULES: Final = 1000
MOST_BYTES: Final = 65_536
LONGEST_PATTERN: Final = 255
MOST_TYPES: Final = 256
"""For how many types of events the rules that may match are kept sorted out."""

_HISTORICAL: Final = ("dont_notify", "coalesce")


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule. `conditions` only with kinds override and underride, `pattern` only with kind content."""

    rule_id: str
    actions: list[Any]
    conditions: list[dict[str, Any]] | None = None
    pattern: str | None = None
    disabled: bool = False

    def shown(self, *, default: bool = False, user_id: str = "") -> dict[str, Any]:
        """The rule as its owner sees it."""
        shown: dict[str, Any] = {
            "rule_id": self.rule_id,
            "default": default,
            "enabled": not self.disabled,
            "actions": self.actions,
        }
        if self.conditions is not None:
            shown["conditions"] = [
                _named(condition, user_id) if default else condition for condition in self.conditions
            ]
        if self.pattern is not None:
            shown["pattern"] = self.pattern
        return shown


class Edits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person changed: own rules by kind, the most important first; and by ID, default rules switched or given
    other actions.
    """

    rules: dict[str, list[Rule]] = msgspec.field(default_factory=dict)
    enabled: dict[str, bool] = msgspec.field(default_factory=dict)
    actions: dict[str, list[Any]] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a new rule goes: just before or just after another own rule of its kind; before wins."""

    before: str | None = None
    after: str | None = None


class Outcome(NamedTuple):
    """What a rule makes of an event it matches."""

    notify: bool
    highlight: bool
    rule_id: str
    actions: Sequence[Any]


NOTHING: Final = Outcome(notify=False, highlight=False, rule_id="", actions=())
"""The outcome where no rule matches."""


class _Compiled(NamedTuple):
    """A rule as functions; `type` is the only type of event it matches, in lower case, None where conditions tell."""

    type: str | None
    conditions: tuple[Condition, ...]
    outcome: Outcome


class RuleSet:
    """All rules of whoever made the same edits, compiled, in the order in which they count.

    `personal` tells whether the outcome depends on more of its reader than being mentioned or being the state key.
    """

    __slots__ = ("_by_type", "_rules", "edits", "personal")

    def __init__(self, edits: Edits) -> None:
        self.edits = edits
        rules = [(kind, rule) for kind in KINDS for rule, _ in rules_of(edits, kind) if not rule.disabled]
        self._rules = tuple(_compile_rule(kind, rule) for kind, rule in rules)
        self._by_type: dict[str, tuple[_Compiled, ...]] = {}
        kinds = {kind_of(condition) for _, rule in rules for condition in rule.conditions or ()}
        self.personal = "contains_display_name" in kinds

    def evaluate(self, event: Judged, user_id: str, setting: Setting) -> Outcome:
        """What the first matching rule says of an event somebody else sent."""
        for _, conditions, outcome in self._by_type.get(event.type) or self._sort_out(event.type):
            for holds in conditions:
                if not holds(event, user_id, setting):
                    break
            else:
                return outcome
        return NOTHING

    def _sort_out(self, event_type: str) -> tuple[_Compiled, ...]:
        """The rules that may match events of a type."""
        lower = event_type.lower()
        rules = tuple(rule for rule in self._rules if rule.type in (None, lower))
        if len(self._by_type) >= MOST_TYPES:
            self._by_type.clear()
        self._by_type[event_type] = rules
        return rules


def rules_of(edits: Edits, kind: Kind) -> Iterator[tuple[Rule, bool]]:
    """The rules of a kind, the most important first, each with whether it is a default one."""
    defaults = [_edited_default(edits, *default) for default in DEFAULTS.get(kind, ())]
    first = [rule for rule in defaults if rule.rule_id == MASTER]
    yield from ((rule, True) for rule in first)
    yield from ((rule, False) for rule in edits.rules.get(kind, ()))
    yield from ((rule, True) for rule in defaults[len(first) :])


def show_rules(edits: Edits, user_id: str) -> dict[str, list[dict[str, Any]]]:
    """The whole rule set as its owner sees it: what is under `global`."""
    return {
        kind: [rule.shown(default=default, user_id=user_id) for rule, default in rules_of(edits, kind)]
        for kind in KINDS
    }


def load_rule(edits: Edits, kind: Kind, rule_id: str) -> tuple[Rule, bool]:
    """That rule, and whether it is a default one.

    Raises:
        NotFound: there is no such rule.
    """
    for rule, default in rules_of(edits, kind):
        if rule.rule_id == rule_id:
            return rule, default
    raise NotFound("The push rule was not found")


def put_rule(edits: Edits, kind: Kind, rule: Rule, place: Place) -> Edits:
    """Add or change an own rule; without a place a new one becomes the most important, a changed one stays.

    Raises:
        Invalid: the rule, its ID or its place is not possible.
    """
    check_rule(kind, rule)
    rules = list(edits.rules.get(kind, ()))
    old = next((at for at, other in enumerate(rules) if other.rule_id == rule.rule_id), None)
    if old is not None:
        rule = msgspec.structs.replace(rule, disabled=rules.pop(old).disabled)
    rules.insert(_index_of(rules, place, old or 0), rule)
    changed = msgspec.structs.replace(edits, rules={**edits.rules, kind: rules})
    if sum(map(len, changed.rules.values())) > MOST_RULES or len(msgspec.json.encode(changed)) > MOST_BYTES:
        raise Invalid("M_TOO_LARGE", "These are too many push rules")
    return changed


def remove_rule(edits: Edits, kind: Kind, rule_id: str) -> Edits:
    """Take an own rule away.

    Raises:
        NotFound: there is no such rule of their own.
    """
    _, default = load_rule(edits, kind, rule_id)
    if default:
        raise NotFound("A default push rule can only be disabled")
    kept = [rule for rule in edits.rules[kind] if rule.rule_id != rule_id]
    return msgspec.structs.replace(edits, rules={**edits.rules, kind: kept})


def set_enabled(edits: Edits, kind: Kind, rule_id: str, *, enabled: bool) -> Edits:
    """Switch a rule, own or default, on or off.

    Raises:
        NotFound: there is no such rule.
    """
    _, default = load_rule(edits, kind, rule_id)
    if default:
        return msgspec.structs.replace(edits, enabled={**edits.enabled, rule_id: enabled})
    return _changed(edits, kind, rule_id, lambda rule: msgspec.structs.replace(rule, disabled=not enabled))


def set_actions(edits: Edits, kind: Kind, rule_id: str, actions: Sequence[object]) -> Edits:
    """Let a rule, own or default, act differently.

    Raises:
        NotFound: there is no such rule.
        Invalid: not actions.
    """
    parsed = parse_actions(actions)
    _, default = load_rule(edits, kind, rule_id)
    if default:
        return msgspec.structs.replace(edits, actions={**edits.actions, rule_id: parsed})
    return _changed(edits, kind, rule_id, lambda rule: msgspec.structs.replace(rule, actions=parsed))


def parse_actions(actions: Sequence[object]) -> list[Any]:
    """The actions without the historical ones, which mean nothing.

    Raises:
        Invalid: something that is no action.
    """
    for action in actions:
        if isinstance(action, str):
            known = action == "notify" or action in _HISTORICAL
        else:
            known = isinstance(action, dict) and isinstance(action.get("set_tweak"), str)
        if not known:
            raise Invalid("M_INVALID_PARAM", "An action is notify or sets a tweak")
    return [action for action in actions if action not in _HISTORICAL]


def parse_kind(text: str) -> Kind:
    """The kind of that name.

    Raises:
        Invalid: there is none.
    """
    for kind in KINDS:
        if kind == text:
            return kind
    raise Invalid("M_INVALID_PARAM", "There is no such kind of push rule")


def check_rule(kind: Kind, rule: Rule) -> None:
    """Refuse an ID that is reserved or unusable, and fields that do not belong to the kind.

    Raises:
        Invalid: with M_MISSING_PARAM for a content rule without pattern.
    """
    if rule.rule_id.startswith(".") or not rule.rule_id or "/" in rule.rule_id or "\\" in rule.rule_id:
        raise Invalid("M_INVALID_PARAM", "The ID of a push rule holds no slashes and does not start with a dot")
    if len(rule.rule_id) > LONGEST_PATTERN:
        raise Invalid("M_INVALID_PARAM", "The ID of the push rule is too long")
    if kind == "content" and rule.pattern is None:
        raise Invalid("M_MISSING_PARAM", "A content rule has a pattern")
    if not all(kind_of(condition) for condition in rule.conditions or ()):
        raise Invalid("M_INVALID_PARAM", "A condition has a kind")
    patterns = [rule.pattern, *(condition.get("pattern") for condition in rule.conditions or ())]
    if any(isinstance(pattern, str) and len(pattern) > LONGEST_PATTERN for pattern in patterns):
        raise Invalid("M_INVALID_PARAM", f"A pattern has at most {LONGEST_PATTERN} characters")


def outcome_of(rule: Rule) -> Outcome:
    """What the rule's actions come to."""
    highlights = [
        action.get("value", True) is True
        for action in rule.actions
        if isinstance(action, dict) and action.get("set_tweak") == "highlight"
    ]
    notify = "notify" in rule.actions
    return Outcome(notify, notify and bool(highlights) and highlights[-1], rule.rule_id, rule.actions)


def _named(condition: dict[str, Any], user_id: str) -> dict[str, Any]:
    return {key: user_id if value == ME else value for key, value in condition.items()}


def _edited_default(edits: Edits, rule_id: str, conditions: list[dict[str, Any]], actions: list[Any]) -> Rule:
    return Rule(
        rule_id=rule_id,
        conditions=conditions,
        actions=edits.actions.get(rule_id, actions),
        disabled=not edits.enabled.get(rule_id, rule_id not in DISABLED),
    )


def _changed(edits: Edits, kind: Kind, rule_id: str, change: Callable[[Rule], Rule]) -> Edits:
    rules = [change(rule) if rule.rule_id == rule_id else rule for rule in edits.rules[kind]]
    return msgspec.structs.replace(edits, rules={**edits.rules, kind: rules})


def _index_of(rules: Sequence[Rule], place: Place, otherwise: int) -> int:
    wanted = place.before or place.after
    if wanted is None:
        return otherwise
    for at, rule in enumerate(rules):
        if rule.rule_id == wanted:
            return at if place.before else at + 1
    raise Invalid("M_UNKNOWN", f"before/after rule not found: {wanted}")


def _compile_rule(kind: Kind, rule: Rule) -> _Compiled:
    conditions, only = rule.conditions or [], None
    if kind == "content":
        compiled: tuple[Condition, ...] = (body_matches(str(rule.pattern)),)
    elif kind == "room":
        compiled = (lambda event, _user, _setting: event.room_id == rule.rule_id,)
    elif kind == "sender":
        compiled = (lambda event, _user, _setting: event.sender == rule.rule_id,)
    else:
        named = next((condition for condition in conditions if _names_type(condition)), None)
        exact = next((condition["value"] for condition in conditions if _is_type(condition)), None)
        only = exact.lower() if exact is not None else None if named is None else str(named["pattern"]).lower()
        compiled = compile_conditions([each for each in conditions if exact is not None or each is not named])
    return _Compiled(only, compiled, outcome_of(rule))


def _is_type(condition: Mapping[str, Any]) -> bool:
    """Whether the condition asks for one type of event, letter by letter."""
    is_named = condition.get("key") == "type" and isinstance(condition.get("value"), str)
    return is_named and kind_of(condition) == "event_property_is"


def _names_type(condition: Mapping[str, Any]) -> bool:
    """Whether the condition asks for one type of event."""
    pattern = condition.get("pattern")
    if kind_of(condition) != "event_match" or condition.get("key") != "type" or not isinstance(pattern, str):
        return False
    return not {"*", "?"} & set(pattern)
