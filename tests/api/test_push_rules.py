"""The doors of push rules."""

from typing import Any

from tests.kit.server import ServerCase

RULES = "/pushrules/global"
TEA = {"pattern": "tea", "actions": ["notify", {"set_tweak": "sound", "value": "default"}]}


class PushRules(ServerCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice = await self.register("alice")

    async def order(self, kind: str) -> list[str]:
        rules = (await self.alice.ok("GET", f"{RULES}/"))[kind]
        return [rule["rule_id"] for rule in rules if not rule["default"]]

    async def test_everybody_begins_with_the_same_rules(self) -> None:
        whole = await self.alice.ok("GET", "/pushrules/")
        assert whole == {"global": await self.alice.ok("GET", f"{RULES}/")}
        assert list(whole["global"]) == ["override", "content", "room", "sender", "underride"]
        mention = await self.alice.ok("GET", f"{RULES}/override/.m.rule.is_user_mention")
        assert mention["conditions"][0]["value"] == self.alice.user_id
        assert whole["global"]["override"][0] == {
            "rule_id": ".m.rule.master", "default": True, "enabled": False, "conditions": [], "actions": [],
        }  # fmt: skip

    async def test_a_rule_is_put_seen_changed_and_taken_away(self) -> None:
        path = f"{RULES}/content/tea"
        assert await self.alice.ok("PUT", path, TEA) == {}
        shown = {"rule_id": "tea", "default": False, "enabled": True, **TEA}
        assert await self.alice.ok("GET", path) == shown
        await self.alice.ok("PUT", path + "/enabled", {"enabled": False})
        assert await self.alice.ok("GET", path + "/enabled") == {"enabled": False}
        await self.alice.ok("PUT", path + "/actions", {"actions": []})
        assert await self.alice.ok("GET", path + "/actions") == {"actions": []}
        await self.restart()
        assert await self.alice.ok("GET", path) == {**shown, "enabled": False, "actions": []}
        await self.alice.ok("DELETE", path)
        assert await self.alice.refused("GET", path) == (404, "M_NOT_FOUND")

    async def test_a_rule_has_a_place_among_ones_own(self) -> None:
        for rule_id in ("c", "a"):
            await self.alice.ok("PUT", f"{RULES}/content/{rule_id}", TEA)
        await self.alice.ok("PUT", f"{RULES}/content/b?after=a", TEA)
        assert await self.order("content") == ["a", "b", "c"]
        await self.alice.ok("PUT", f"{RULES}/content/c?before=a", TEA)
        assert await self.order("content") == ["c", "a", "b"]
        for query in ("before=none", "after=none", "before=.m.rule.master"):
            assert await self.alice.refused("PUT", f"{RULES}/content/x?{query}", TEA) == (400, "M_UNKNOWN")

    async def test_a_default_rule_can_be_switched_and_act_differently(self) -> None:
        path = f"{RULES}/underride/.m.rule.message"
        await self.alice.ok("PUT", path + "/enabled", {"enabled": False})
        await self.alice.ok("PUT", path + "/actions", {"actions": ["dont_notify"]})
        shown = await self.alice.ok("GET", path)
        assert (shown["default"], shown["enabled"], shown["actions"]) == (True, False, [])
        assert await self.alice.refused("DELETE", path) == (404, "M_NOT_FOUND")
        assert await self.alice.refused("PUT", path, {"actions": []}) == (400, "M_INVALID_PARAM")

    async def test_what_makes_no_rule_is_refused(self) -> None:
        cases: list[tuple[str, Any, tuple[int, str]]] = [
            ("content/x", {"actions": []}, (400, "M_MISSING_PARAM")),
            ("content/x", {"pattern": 1, "actions": []}, (400, "M_BAD_JSON")),
            ("content/x", {"pattern": "x"}, (400, "M_BAD_JSON")),
            ("content/x", {"pattern": "x", "actions": ["shout"]}, (400, "M_INVALID_PARAM")),
            ("content/x%2Fy", TEA, (400, "M_INVALID_PARAM")),
            ("content/.x", TEA, (400, "M_INVALID_PARAM")),
            ("device/x", TEA, (400, "M_INVALID_PARAM")),
            ("override/x", {"conditions": [{}], "actions": []}, (400, "M_INVALID_PARAM")),
            ("override/x", {"conditions": ["x"], "actions": []}, (400, "M_BAD_JSON")),
        ]
        for where, body, expected in cases:
            assert await self.alice.refused("PUT", f"{RULES}/{where}", body) == expected, (where, body)
        assert all([not await self.order(kind) for kind in ("content", "override")])

    async def test_what_is_not_there_is_not_found(self) -> None:
        for method, end, body in (
            ("GET", "", None), ("DELETE", "", None), ("GET", "/enabled", None), ("GET", "/actions", None),
            ("PUT", "/enabled", {"enabled": True}), ("PUT", "/actions", {"actions": []}),
        ):  # fmt: skip
            path = f"{RULES}/content/none{end}"
            assert await self.alice.refused(method, path, body) == (404, "M_NOT_FOUND"), (method, end)
            assert await self.alice.refused(method, f"{RULES}/device/none{end}", body) == (400, "M_INVALID_PARAM")

    async def test_rules_are_ones_own(self) -> None:
        bob = await self.register("bob")
        await self.alice.ok("PUT", f"{RULES}/content/tea", TEA)
        assert await bob.refused("GET", f"{RULES}/content/tea") == (404, "M_NOT_FOUND")
        assert await bob.refused("PUT", f"{RULES}/content/tea/enabled", {"enabled": 1}) == (400, "M_BAD_JSON")
