"""Push rules: what a person wants to be notified of.

Spec: client-server-api#push-rules-api
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from homeserver.api.route import Call, Reply, Route
from homeserver.push.rulebook import Rulebook
from homeserver.push.rules import (
    Edits,
    Kind,
    Place,
    Rule,
    load_rule,
    parse_actions,
    parse_kind,
    put_rule,
    remove_rule,
    set_actions,
    set_enabled,
    show_rules,
)

_RULES = "/_matrix/client/v3/pushrules/"
_RULE = _RULES + "global/{kind}/{ruleId}"
_ANCHOR = "matrixclientv3pushrulesglobalkindruleid"


class RuleBody(Struct, frozen=True):
    """A rule as its owner puts it.

    Spec: client-server-api#put_matrixclientv3pushrulesglobalkindruleid
    """

    actions: list[Any]
    conditions: list[dict[str, Any]] | None = None
    pattern: str | None = None


class EnabledBody(Struct, frozen=True):
    """Whether a rule counts.

    Spec: client-server-api#put_matrixclientv3pushrulesglobalkindruleidenabled
    """

    enabled: bool


class ActionsBody(Struct, frozen=True):
    """What a rule does.

    Spec: client-server-api#put_matrixclientv3pushrulesglobalkindruleidactions
    """

    actions: list[Any]


def routes(rulebook: Rulebook) -> tuple[Route, ...]:
    """The endpoints of push rules."""
    api = _RulesAPI(rulebook)
    return (
        _route("GET", _RULES, api.see_all, "get_matrixclientv3pushrules"),
        _route("GET", _RULES + "global/", api.see_global, "get_matrixclientv3pushrulesglobal"),
        _route("GET", _RULE, api.see, f"get_{_ANCHOR}"),
        _route("PUT", _RULE, api.put, f"put_{_ANCHOR}", RuleBody),
        _route("DELETE", _RULE, api.remove, f"delete_{_ANCHOR}"),
        _route("GET", _RULE + "/enabled", api.see_enabled, f"get_{_ANCHOR}enabled"),
        _route("PUT", _RULE + "/enabled", api.set_enabled, f"put_{_ANCHOR}enabled", EnabledBody),
        _route("GET", _RULE + "/actions", api.see_actions, f"get_{_ANCHOR}actions"),
        _route("PUT", _RULE + "/actions", api.set_actions, f"put_{_ANCHOR}actions", ActionsBody),
    )


def _route(method: str, path: str, handle: Callable[[Call], Any], anchor: str, body: Any = None) -> Route:
    return Route(
        method=method,
        path=path,
        handle=handle,
        rate="other",
        spec=f"client-server-api#{anchor}",
        body=body,
        body_limit=1 << 16,
    )


class _RulesAPI:
    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook

    async def see_all(self, call: Call) -> Reply:
        return await self._rulebook.show(call.caller.user_id)

    async def see_global(self, call: Call) -> Reply:
        rules = await self._rulebook.load(call.caller.user_id)
        return show_rules(rules.edits, call.caller.user_id)

    async def see(self, call: Call) -> Reply:
        rule, default = await self._load(call)
        return rule.shown(default=default, user_id=call.caller.user_id)

    async def see_enabled(self, call: Call) -> Reply:
        rule, _ = await self._load(call)
        return {"enabled": not rule.disabled}

    async def see_actions(self, call: Call) -> Reply:
        rule, _ = await self._load(call)
        return {"actions": rule.actions}

    async def put(self, call: Call) -> Reply:
        body: RuleBody = call.body
        kind, rule_id = _which(call)
        rule = Rule(
            rule_id=rule_id,
            actions=parse_actions(body.actions),
            conditions=(body.conditions or []) if kind in ("override", "underride") else None,
            pattern=body.pattern if kind == "content" else None,
        )
        place = Place(before=call.query.str("before"), after=call.query.str("after"))
        return await self._edit(call, lambda edits: put_rule(edits, kind, rule, place))

    async def remove(self, call: Call) -> Reply:
        kind, rule_id = _which(call)
        return await self._edit(call, lambda edits: remove_rule(edits, kind, rule_id))

    async def set_enabled(self, call: Call) -> Reply:
        kind, rule_id = _which(call)
        enabled: bool = call.body.enabled
        return await self._edit(call, lambda edits: set_enabled(edits, kind, rule_id, enabled=enabled))

    async def set_actions(self, call: Call) -> Reply:
        kind, rule_id = _which(call)
        actions: list[Any] = call.body.actions
        return await self._edit(call, lambda edits: set_actions(edits, kind, rule_id, actions))

    async def _load(self, call: Call) -> tuple[Rule, bool]:
        rules = await self._rulebook.load(call.caller.user_id)
        return load_rule(rules.edits, *_which(call))

    async def _edit(self, call: Call, change: Callable[[Edits], Edits]) -> Reply:
        await self._rulebook.edit(call.caller.user_id, change)
        return {}


def _which(call: Call) -> tuple[Kind, str]:
    return parse_kind(call.params["kind"]), call.params["ruleId"]
