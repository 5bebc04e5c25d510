"""Bad input of another server at every door for servers, rightly signed: always a Matrix error, never a fault of ours.

What is sent is made from the table of routes, as in tests/api. To make the good requests of a route better, add what it
needs to `BODIES`, `QUERIES` or `PARTS`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from homeserver.api.route import Route
from tests.kit.faults import LoggedFaults
from tests.kit.oddities import (
    BROKEN_BODIES,
    ODD_PARTS,
    ODD_QUERIES,
    ODD_VALUES,
    REFUSED_VALUES,
    UNDECODABLE_PARTS,
    UNDECODABLE_QUERIES,
    encode,
    fill,
    leave_out,
    spoil,
)
from tests.kit.region import RegionsCase
from tests.kit.wire import Reply

BODIES: Mapping[str, Any] = {
    "/_matrix/key/v2/query": {"server_keys": {"{south}": {"ed25519:a": {"minimum_valid_until_ts": 1}}}},
    "/_parta/federation/v1/claims": {"cooperation": "x", "people": ["@bob:{south}"]},
    "/_parta/federation/v1/claims/revoke": {"people": ["@bob:{south}"]},
    "/_parta/federation/v1/cooperations/{cooperationId}": {
        "organisation": "x",
        "to": "x",
        "kind": "professional",
        "title": "x",
        "roles": ["teacher"],
        "until_ts": 1_900_000_000_000,
        "hosts": True,
        "agreed": True,
        "ended": False,
        "version": 1,
        "rooms": [{"room_id": "!x:{south}", "name": "x"}],
    },
}
"""Good bodies by the path of their route."""
QUERIES: Mapping[str, str] = {"/_matrix/key/v2/query/{serverName}": "minimum_valid_until_ts=1"}
"""What a route is asked with behind the question mark."""
PARTS: Mapping[str, str] = {"serverName": "{south}", "roomId": "!room:{south}", "userId": "@bob:{south}"}
"""Good values of parameters of a path."""
PARAMETERS = (
    "access_token",
    "field",
    "room_alias",
    "suggested_only",
    "minimum_valid_until_ts",
    "limit",
    "v",
    "event_id",
    "ver",
    "ts",
    "dir",
    "user_id",
    "since",
    "width",
)


class BadInput(RegionsCase):
    """Every route for servers, with everything that can be wrong."""

    timeout = 240
    mode = "list"  # nobody else is looked for

    async def setUp(self) -> None:
        await super().setUp()
        self.faults = LoggedFaults(self)
        self.wrong: list[str] = []

    def place(self, template: Any) -> Any:
        """Put the name of the other server where a template wants it."""
        match template:
            case str():
                return template.replace("{south}", self.south.name)
            case dict():
                return {self.place(key): self.place(value) for key, value in template.items()}
            case list():
                return [self.place(value) for value in template]
        return template

    def path(self, route: Route, spoiled: Mapping[str, bytes] | None = None) -> str:
        """The route's path with good parts, but for the spoiled ones."""

        def part(name: re.Match[str]) -> str:
            odd = (spoiled or {}).get(name[1])
            return self.place(PARTS.get(name[1], "x")) if odd is None else odd.decode("latin-1")  # type: ignore[no-any-return]

        return re.sub(r"\{(\w+)\}", part, route.path)

    def body(self, route: Route) -> Any:
        """A good body of the route."""
        known = self.place(BODIES.get(route.path, {}))
        return known if route.body in (Any, dict, list) else fill(route.body, known)

    def with_body(self) -> Iterator[Route]:
        """The routes that read a body."""
        return (route for route in self.north.server_routes if route.body is not None)

    async def expect(self, route: Route, what: str, path: str, body: bytes | None = None) -> Reply:
        """Send it; note when that was no answer as Matrix wants it."""
        if route.auth == "region":
            reply = await self.north.call_signed(self.south.name, self.south.key, route.method, path, body=body)
        else:
            reply = await self.north.call_as_server(route.method, path, body=body)
        is_error = reply.status >= 400
        if reply.status in (500, 502, 503) or (is_error and not isinstance(reply.json.get("errcode"), str)):
            self.wrong.append(f"{route.method} {route.path} with {what}: {reply.status} {reply.body[:200]!r}")
        return reply

    def conclude(self) -> None:
        """Nothing went wrong."""
        assert not self.wrong, "\n".join(self.wrong)
        self.faults.check()

    async def test_a_body_that_is_not_json_is_refused(self) -> None:
        for route in self.with_body():
            for what, body in BROKEN_BODIES.items():
                reply = await self.expect(route, what, self.path(route), body)
                if reply.status < 400:
                    self.wrong.append(f"{route.method} {route.path} takes {what}")
        self.conclude()

    async def test_a_field_of_a_wrong_kind_is_refused_or_ignored(self) -> None:
        for route in self.with_body():
            good = self.body(route)
            for what, body in [*spoil(good, {**ODD_VALUES, **REFUSED_VALUES}), *leave_out(good)]:
                await self.expect(route, what, self.path(route), body)
            await self.expect(route, "a list", self.path(route), encode([]))
        self.conclude()

    async def test_a_bad_part_of_a_path_is_refused_or_found_nowhere(self) -> None:
        for route in self.north.server_routes:
            for name in re.findall(r"\{(\w+)\}", route.path):
                for odd in (*ODD_PARTS, *UNDECODABLE_PARTS):
                    body = None if route.body is None else encode(self.body(route))
                    await self.expect(route, f"{name} {odd!r}", self.path(route, {name: odd}), body)
        self.conclude()

    async def test_a_bad_parameter_is_refused_or_ignored(self) -> None:
        for route in self.north.server_routes:
            body = None if route.body is None else encode(self.body(route))
            good = QUERIES.get(route.path, "")
            for name in PARAMETERS:
                for odd in (*ODD_QUERIES, *UNDECODABLE_QUERIES):
                    text = odd.decode("latin-1")
                    query = "&".join(part for part in (f"{name}={text}", good) if part)
                    await self.expect(route, f"{name} {odd!r}", f"{self.path(route)}?{query}", body)
        self.conclude()


class BadInputAtSchools(BadInput):
    """The same for what regions of schools say to each other."""

    configuration = {"policy": "school", "registration": {"mode": "closed"}}
