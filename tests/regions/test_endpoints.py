"""The routes for other servers, held against the list of the specification's endpoints."""

import csv
import re
from pathlib import Path

from tests.kit.region import RegionsCase

ENDPOINTS = Path(__file__).parent.parent / "vectors" / "endpoints.tsv"
V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return re.sub(r"\{.*?\}", "{}", path.strip())


class Endpoints(RegionsCase):
    """All routes of a server's door for others."""

    configuration = {"federation": {"mode": "open", "delegate": "north.test:443"}}

    async def setUp(self) -> None:
        await super().setUp()
        self.routes = {(route.method, shape(route.path)): route for route in self.north.server_routes}
        with ENDPOINTS.open(encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["api"] == "server-server"]
        self.rows = {(row["method"], shape(row["path"])): row for row in rows}

    async def test_every_endpoint_is_there(self) -> None:
        missing = {path for (method, path), row in self.rows.items() if (method, path) not in self.routes}
        assert not missing

    async def test_a_signature_is_wanted_where_the_specification_wants_one(self) -> None:
        wrong = [
            key
            for key, route in self.routes.items()
            if key in self.rows and (route.auth == "region") != self.rows[key]["auth_required"].startswith("yes")
        ]
        assert not wrong

    async def test_every_route_for_servers_is_limited(self) -> None:
        unlimited = [key for key, route in self.routes.items() if route.rate is None]
        assert unlimited == [("GET", "/.well-known/matrix/server")]
