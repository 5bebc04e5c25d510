"""The routes, held against the list of the specification's endpoints."""

import csv
import re
from pathlib import Path
from typing import Any

from homeserver.api.route import Route
from tests.kit.server import ServerCase

ENDPOINTS = Path(__file__).parent.parent / "vectors" / "endpoints.tsv"
ANCHOR = re.compile(r"client-server-api#[a-z0-9_.-]+$")
V1, V3 = "/_matrix/client/v1", "/_matrix/client/v3"

NOT_YET: set[str] = set()
"""Endpoints that later stages bring; this list only shrinks."""

ABSENT: dict[str, str] = {}
"""Endpoints that there will never be, and why; docs/protocol.md says so, too."""

SPELLINGS = {
    *((method, f"{V3}/rooms/{{}}/state/{{}}") for method in ("GET", "PUT")),
    *(
        (method, f"{V3}/profile/{{}}/{field}")
        for method in ("GET", "PUT", "DELETE")
        for field in ("displayname", "avatar_url")
    ),
}
"""Endpoints whose parameter has a value of its own, or may be left out."""

_MSC4140 = "/_matrix/client/unstable/org.matrix.msc4140"
_MSC3266 = "/_matrix/client/unstable/im.nheko.summary"
_MSC4108 = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
_MSC4388 = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
_MSC3814 = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
PROPOSED = {
    ("POST", "/_matrix/client/v4/sync"),
    ("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"),
    *((method, _MSC3814) for method in ("GET", "PUT", "DELETE")),
    *((method, f"{_MSC3814}/{{}}/events") for method in ("GET", "POST")),
    ("PUT", f"{_MSC4140}/rooms/{{}}/delayed_event/{{}}/{{}}"),
    ("GET", f"{_MSC4140}/delayed_events"),
    *((method, f"{_MSC4140}/delayed_events/{{}}") for method in ("GET", "POST")),
    *(("POST", f"{_MSC4140}/delayed_events/{{}}/{action}") for action in ("cancel", "restart", "send")),
    ("POST", _MSC4108),
    *((method, _MSC4388) for method in ("GET", "POST")),
    *((method, f"{path}/{{}}") for path in (_MSC4108, _MSC4388) for method in ("GET", "PUT", "DELETE")),
    ("GET", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"),
    ("GET", "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms"),
    ("GET", "/_matrix/client/unstable/org.matrix.msc1763/retention/configuration"),
    ("POST", "/_matrix/client/unstable/keys/device_signing/upload"),
    ("GET", f"{_MSC3266}/summary/{{}}"),
    ("GET", f"{_MSC3266}/rooms/{{}}/summary"),
}
"""Endpoints of proposals, under the names that clients use by now."""
PAGES = {
    ("GET", "/_matrix/static/client/login/"),
    ("GET", f"{V3}/auth/{{}}/fallback/web"),
    ("POST", f"{V3}/auth/{{}}/fallback/web"),
}
"""Pages that the specification tells of in its text."""


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return re.sub(r"\{.*?\}", "{}", path.strip())


class Endpoints(ServerCase):
    """All routes of a server."""

    configuration = {
        "public_base_url": "https://parta.test",
        "support": {"page": "https://help.parta.test"},
        "registration": {"mode": "open", "shared_secret": "secret"},
        "login_via_existing_session": True,
        "rtc_transports": [{"type": "livekit"}],
        "media": {"legacy_paths": True},
    }

    async def setUp(self) -> None:
        await super().setUp()
        bound: dict[Route, Any] = self.factory.edge._bound  # type: ignore[attr-defined]  # what the listener answers
        self.routes = {(route.method, shape(route.path)): route for route in bound}
        with ENDPOINTS.open(encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["api"] == "client-server"]
        self.rows = {(row["method"], shape(row["path"])): row for row in rows}

    async def test_every_endpoint_is_there_or_known_to_be_missing(self) -> None:
        missing = {key[1] for key in self.rows if key not in self.routes}
        assert missing == NOT_YET | {*ABSENT}

    async def test_a_token_is_wanted_where_the_specification_wants_one(self) -> None:
        wrong = [
            (key, route.auth)
            for key, route in self.routes.items()
            if key in self.rows
            and self.rows[key]["auth_required"].startswith("yes") != (route.auth in ("user", "admin"))
        ]
        assert not wrong

    async def test_every_endpoint_of_the_specification_says_where_it_stands(self) -> None:
        wrong = [key for key, route in self.routes.items() if key in self.rows and not ANCHOR.match(route.spec)]
        assert not wrong

    async def test_no_endpoint_is_invented(self) -> None:
        ours = ("/_parta/", "/_synapse/", "/metrics")
        extra = {key for key in self.routes if key not in self.rows and not key[1].startswith(ours)}
        assert extra == SPELLINGS | PROPOSED | PAGES
