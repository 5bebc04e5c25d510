"""From a request to an answer, over a connection in memory."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed

from federation.errors import BadIdentifier, BadJSON, BadSignature, EventTooLarge, Refused
from homeserver.accounts.passwords import PasswordsBusy
from homeserver.api.errors import MatrixError
from homeserver.api.limits import RATES
from homeserver.api.route import Answer, Call, Endpoint, Reply, Route
from homeserver.logs import request_id
from homeserver.policy import Conflict, Hidden, Invalid, NotFound
from homeserver.storage.faults import StorageUnavailable
from tests.kit.edges import ALICE, EdgeCase
from tests.kit.wire import Wire, encode_request

V3 = "/_matrix/client/v3"
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
    "access-control-allow-headers": "X-Requested-With, Content-Type, Authorization, If-Match, If-None-Match",
}


class Name(msgspec.Struct):
    name: str


async def show(call: Call) -> Reply:
    return {"who": None if call.session is None else call.session.user_id, "params": dict(call.params)}


async def echo(call: Call) -> Reply:
    return {"name": call.body.name, "bytes": len(call.raw)}


def get(handle: Endpoint = show, path: str = V3 + "/thing", **fields: Any) -> Route:
    return Route(method="GET", path=path, handle=handle, **fields)


def put(handle: Endpoint = echo, **fields: Any) -> Route:
    return Route(method="PUT", path=V3 + "/thing", handle=handle, **{"body": Name, **fields})


class Answers(EdgeCase):
    """What an endpoint gives and what goes out."""

    def test_a_mapping_a_record_and_bytes_go_out_as_json(self) -> None:
        async def record(call: Call) -> Reply:
            return Name("ы")

        async def encoded(call: Call) -> Reply:
            return b'{"raw":1}'

        self.serve(get(), get(record, V3 + "/record"), get(encoded, V3 + "/raw"))
        for path, json in (("/thing", {"who": ALICE, "params": {}}), ("/record", {"name": "ы"}), ("/raw", {"raw": 1})):
            reply = self.ask("GET", V3 + path)
            assert (reply.status, reply.json) == (200, json)
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["content-length"] == str(len(reply.body))
            assert reply.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"

    def test_an_answer_has_its_own_status_and_headers(self) -> None:
        async def html(call: Call) -> Reply:
            return Answer(status=201, body=b"<p>", headers={"Content-Type": "text/html", "X-A": "b\r\nX-Evil: c"})

        async def plain(call: Call) -> Reply:
            return Answer(status=404, body={"a": 1}, headers={"X-A": "b"})

        self.serve(get(html), get(plain, V3 + "/plain"))
        reply = self.ask("GET", V3 + "/thing")
        assert (reply.status, reply.body, reply.headers["content-type"]) == (201, b"<p>", "text/html")
        assert reply.headers["x-a"] == "b X-Evil: c"
        reply = self.ask("GET", V3 + "/plain")
        assert (reply.status, reply.json, reply.headers["content-type"]) == (404, {"a": 1}, "application/json")

    def test_head_gets_the_head_of_get(self) -> None:
        self.serve(get())
        reply = self.ask("HEAD", V3 + "/thing")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["content-length"] == str(len(self.ask("GET", V3 + "/thing").body))

    def test_the_parts_of_the_path_and_the_query_are_read(self) -> None:
        async def read(call: Call) -> Reply:
            return {"id": call.params["id"], "limit": call.query.int("limit"), "agent": call.header("User-Agent")}

        self.serve(get(read, V3 + "/things/{id}"))
        reply = self.ask("GET", V3 + "/things/%D1%8B?limit=5", headers={"User-Agent": "x"})
        assert reply.json == {"id": "ы", "limit": 5, "agent": "x"}
        assert self.ask("GET", V3 + "/things/%ff").errcode == "M_INVALID_PARAM"
        assert self.ask("GET", V3 + "/things/a?limit=x").errcode == "M_INVALID_PARAM"
        assert self.ask("GET", V3 + "/things/a?limit=%ff").errcode == "M_INVALID_PARAM"

    def test_an_endpoint_may_wait(self) -> None:
        first: Deferred[str] = Deferred()
        second: Deferred[str] = Deferred()

        async def wait(call: Call) -> Reply:
            before = request_id.get()
            words = [await first, await second, await succeed("c")]
            return {"words": words, "same": before == request_id.get() == call.request_id}

        self.serve(get(wait))
        wire = Wire(self.factory)
        waiting = wire.reply()
        wire.send(encode_request("GET", V3 + "/thing", {"Authorization": "Bearer alice's"}))
        self.assertNoResult(waiting)
        assert self.factory.edge.running == 1
        first.callback("a")
        self.assertNoResult(waiting)
        second.callback("b")
        assert self.successResultOf(waiting).json == {"words": ["a", "b", "c"], "same": True}
        assert self.factory.edge.running == 0

    def test_a_request_id_is_seen_by_nobody_else(self) -> None:
        seen = []

        async def note(call: Call) -> Reply:
            seen.append(request_id.get())
            return {}

        self.serve(get(note))
        self.ask("GET", V3 + "/thing")
        self.ask("GET", V3 + "/thing")
        assert len(set(seen)) == 2
        assert request_id.get() == "-"


class Browsers(EdgeCase):
    """Cross-origin requests."""

    def test_every_answer_to_a_client_may_be_read_by_a_web_page(self) -> None:
        async def break_down(call: Call) -> Reply:
            raise Refused("1", "no")

        self.serve(get(), get(break_down, V3 + "/broken"), get(path="/.well-known/matrix/client", auth="none"))
        for method, path, status in (
            ("GET", V3 + "/thing", 200),
            ("GET", V3 + "/broken", 403),
            ("GET", V3 + "/none", 404),
            ("PUT", V3 + "/thing", 405),
            ("GET", "/.well-known/matrix/client", 200),
            ("OPTIONS", V3 + "/thing", 200),
            ("OPTIONS", V3 + "/none", 200),
        ):
            reply = self.ask(method, path)
            assert reply.status == status, path
            assert CORS.items() <= reply.headers.items(), path

    def test_options_does_nothing_and_wants_no_token(self) -> None:
        calls: list[Call] = []

        async def note(call: Call) -> Reply:
            calls.append(call)
            return {}

        self.serve(get(note))
        assert self.ask("OPTIONS", V3 + "/thing", token=None).status == 200
        assert not calls

    def test_other_pages_are_no_business_of_web_pages(self) -> None:
        self.serve(get(path="/metrics", auth="none"))
        assert "access-control-allow-origin" not in self.ask("GET", "/metrics").headers


class Tokens(EdgeCase):
    """Who may ask."""

    def setUp(self) -> None:
        super().setUp()
        alice = self.sessions["alice's"]
        self.sessions["expired"] = replace(alice, soft_logout=True)
        self.sessions["locked"] = replace(alice, locked=True)
        self.sessions["suspended"] = replace(alice, suspended=True)
        self.sessions["guest"] = replace(alice, kind="guest")
        self.sessions["operator"] = replace(alice, admin=True)

    def refusal(self, token: str | None, route: Route) -> tuple[int, str, bool | None]:
        self.serve(route)
        reply = self.ask(route.method, route.path, token=token)
        return reply.status, reply.errcode, reply.json.get("soft_logout")

    def test_a_token_opens_what_is_for_people(self) -> None:
        self.serve(get())
        assert self.ask("GET", V3 + "/thing").json["who"] == ALICE

    def test_without_a_token_or_with_a_wrong_one_nobody_comes_in(self) -> None:
        assert self.refusal(None, get()) == (401, "M_MISSING_TOKEN", None)
        assert self.refusal("bob's", get()) == (401, "M_UNKNOWN_TOKEN", False)
        assert self.refusal("expired", get()) == (401, "M_UNKNOWN_TOKEN", True)

    def test_a_token_is_taken_from_the_authorization_header_only(self) -> None:
        self.serve(get())
        assert self.ask("GET", V3 + "/thing?access_token=alice's", token=None).errcode == "M_MISSING_TOKEN"
        for value in ("Basic alice's", "alice's", "Bearer", "Bearer ", ""):
            reply = self.ask("GET", V3 + "/thing", token=None, headers={"Authorization": value})
            assert reply.errcode == "M_MISSING_TOKEN", value
        reply = self.ask("GET", V3 + "/thing", token=None, headers={"authorization": "bearer alice's"})
        assert reply.status == 200

    def test_what_is_for_everybody_asks_no_token_and_looks_at_none(self) -> None:
        self.serve(get(auth="none"))
        assert self.ask("GET", V3 + "/thing", token=None).json["who"] is None
        assert self.ask("GET", V3 + "/thing", token="bob's").json["who"] is None

    def test_an_optional_token_must_be_right_if_it_is_there(self) -> None:
        self.serve(get(auth="optional"))
        assert self.ask("GET", V3 + "/thing", token=None).json["who"] is None
        assert self.ask("GET", V3 + "/thing").json["who"] == ALICE
        assert self.ask("GET", V3 + "/thing", token="bob's").errcode == "M_UNKNOWN_TOKEN"

    def test_a_device_is_seen_when_it_is_let_in(self) -> None:
        self.serve(get(), get(path=V3 + "/operators", auth="admin"))
        self.ask("GET", V3 + "/thing")
        self.ask("GET", V3 + "/thing", token="bob's")
        self.ask("GET", V3 + "/operators")
        assert self.seen == [(ALICE, "PHONE", "127.0.0.1")]

    def test_what_is_for_operators_is_for_nobody_else(self) -> None:
        assert self.refusal("alice's", get(auth="admin")) == (403, "M_FORBIDDEN", None)
        assert self.refusal(None, get(auth="admin")) == (401, "M_MISSING_TOKEN", None)
        assert self.ask("GET", V3 + "/thing", token="operator").status == 200

    def test_a_locked_account_may_only_log_out(self) -> None:
        assert self.refusal("locked", get()) == (401, "M_USER_LOCKED", True)
        self.serve(Route(method="POST", path=V3 + "/logout", handle=show))
        assert self.ask("POST", V3 + "/logout", token="locked").status == 200

    def test_a_suspended_account_may_read_but_not_send(self) -> None:
        send = Route(method="PUT", path=V3 + "/rooms/{roomId}/send/{eventType}/{txnId}", handle=show)
        assert self.refusal("suspended", send) == (403, "M_USER_SUSPENDED", None)
        self.serve(get())
        assert self.ask("GET", V3 + "/thing", token="suspended").status == 200

    def test_a_guest_may_do_what_the_specification_lists(self) -> None:
        assert self.refusal("guest", get()) == (403, "M_GUEST_ACCESS_FORBIDDEN", None)
        self.serve(get(path=V3 + "/sync"))
        assert self.ask("GET", V3 + "/sync", token="guest").status == 200

    def test_a_caller_is_there_behind_a_door_for_people_only(self) -> None:
        async def call_on(call: Call) -> Reply:
            return {"who": call.caller.user_id}

        self.serve(get(call_on), get(call_on, V3 + "/open", auth="none"))
        assert self.ask("GET", V3 + "/thing").json["who"] == ALICE
        assert self.ask("GET", V3 + "/open").errcode == "M_MISSING_TOKEN"


class Bodies(EdgeCase):
    """What comes with a request."""

    def test_a_body_is_decoded_to_the_type_of_its_route(self) -> None:
        self.serve(put())
        assert self.ask("PUT", V3 + "/thing", {"name": "a"}).json == {"name": "a", "bytes": 12}

    def test_a_bad_body_is_refused_and_the_endpoint_not_called(self) -> None:
        async def never(call: Call) -> Reply:
            raise AssertionError

        self.serve(put(never))
        for body, errcode in ((b"{", "M_NOT_JSON"), (b"", "M_NOT_JSON"), (b"[]", "M_BAD_JSON"), (b"{}", "M_BAD_JSON")):
            reply = self.ask("PUT", V3 + "/thing", body=body)
            assert (reply.status, reply.errcode) == (400, errcode)
        assert self.ask("PUT", V3 + "/thing").errcode == "M_NOT_JSON"

    def test_the_token_is_asked_before_the_body(self) -> None:
        self.serve(put())
        assert self.ask("PUT", V3 + "/thing", body=b"{", token=None).errcode == "M_MISSING_TOKEN"

    def test_an_optional_body_may_be_empty_but_not_wrong(self) -> None:
        async def take(call: Call) -> Reply:
            return {"body": call.body}

        self.serve(put(take, body=dict[str, Any], body_optional=True))
        assert self.ask("PUT", V3 + "/thing").json == {"body": {}}
        assert self.ask("PUT", V3 + "/thing", body=b"").json == {"body": {}}
        assert self.ask("PUT", V3 + "/thing", body=b"x").errcode == "M_NOT_JSON"

    def test_a_route_without_a_body_does_not_look_at_one(self) -> None:
        self.serve(get())
        assert self.ask("GET", V3 + "/thing", body=b"junk").status == 200


class Faults(EdgeCase):
    """What goes wrong."""

    def answer_to(self, fault: Exception) -> tuple[int, str]:
        async def break_down(call: Call) -> Reply:
            raise fault

        self.serve(get(break_down))
        reply = self.ask("GET", V3 + "/thing")
        assert isinstance(reply.json["error"], str)
        return reply.status, reply.errcode

    def test_each_kind_has_its_status_and_code(self) -> None:
        for fault, expected in (
            (MatrixError(418, "M_TEAPOT", "x"), (418, "M_TEAPOT")),
            (Refused("auth 4.1", "banned"), (403, "M_FORBIDDEN")),
            (Hidden(), (403, "M_FORBIDDEN")),
            (NotFound("none"), (404, "M_NOT_FOUND")),
            (NotFound("none", errcode="M_UNRECOGNIZED"), (404, "M_UNRECOGNIZED")),
            (Conflict("M_UNKNOWN", "there"), (409, "M_UNKNOWN")),
            (Conflict("M_ROOM_IN_USE", "there"), (400, "M_ROOM_IN_USE")),
            (Conflict("M_USER_IN_USE", "there"), (400, "M_USER_IN_USE")),
            (Invalid("M_WEAK_PASSWORD", "weak"), (400, "M_WEAK_PASSWORD")),
            (BadIdentifier("no user ID"), (400, "M_INVALID_PARAM")),
            (BadJSON("a float"), (400, "M_BAD_JSON")),
            (EventTooLarge("an event"), (413, "M_TOO_LARGE")),
            (PasswordsBusy(), (429, "M_LIMIT_EXCEEDED")),
            (StorageUnavailable("disk full"), (503, "M_UNKNOWN")),
            (BadSignature("bad"), (502, "M_UNKNOWN")),
        ):
            assert self.answer_to(fault) == expected, fault

    def test_a_refusal_after_waiting_is_a_refusal(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def wait(call: Call) -> Reply:
            await waiting
            return {}

        self.serve(get(wait))
        wire = Wire(self.factory)
        reply = wire.reply()
        wire.send(encode_request("GET", V3 + "/thing", {"Authorization": "Bearer alice's"}))
        waiting.errback(Refused("1", "no"))
        assert self.successResultOf(reply).errcode == "M_FORBIDDEN"

    def test_an_endpoint_may_catch_what_it_waited_for(self) -> None:
        async def wait(call: Call) -> Reply:
            try:
                await fail(Refused("1", "no"))
            except Refused as refused:
                return {"caught": refused.rule}
            return {}

        self.serve(get(wait))
        assert self.ask("GET", V3 + "/thing").json == {"caught": "1"}

    def test_storage_that_is_away_says_when_to_come_back(self) -> None:
        async def break_down(call: Call) -> Reply:
            raise StorageUnavailable("disk full")

        self.serve(get(break_down))
        reply = self.ask("GET", V3 + "/thing")
        assert reply.headers["retry-after"] == "5"
        assert "disk" not in reply.json["error"]

    def test_a_bug_is_logged_once_with_the_request_and_shows_nothing(self) -> None:
        async def unencodable(call: Call) -> Reply:
            return {"a": object()}

        async def crash(call: Call) -> Reply:
            raise ZeroDivisionError("secret detail")

        self.serve(get(crash), get(unencodable, V3 + "/unencodable"))
        for path in ("/thing", "/unencodable"):
            with self.assertLogs("homeserver.api.edge", logging.ERROR) as logged:
                reply = self.ask("GET", V3 + path)
            assert (reply.status, reply.errcode) == (500, "M_UNKNOWN")
            assert "secret" not in reply.json["error"]
            (line,) = logged.records
            assert line.getMessage().split()[1] in reply.json["error"]

    def test_the_same_refusal_twice_is_the_same(self) -> None:
        self.serve(get())
        first, second = (self.ask("GET", V3 + "/none") for _ in range(2))
        assert first.body == second.body


class Rates(EdgeCase):
    """How often one may ask."""

    def spend(self, kind: str, ask: Callable[[], Any]) -> Any:
        for _ in range(RATES[kind].burst):
            assert ask().status == 200
        return ask()

    def test_too_many_requests_are_told_when_to_come_back(self) -> None:
        self.serve(get(rate="create"))
        reply = self.spend("create", lambda: self.ask("GET", V3 + "/thing"))
        assert (reply.status, reply.errcode) == (429, "M_LIMIT_EXCEEDED")
        assert reply.json["retry_after_ms"] > 0
        assert int(reply.headers["retry-after"]) * 1000 >= reply.json["retry_after_ms"]
        assert CORS.items() <= reply.headers.items()
        self.clock.advance(reply.json["retry_after_ms"] / 1000)
        assert self.ask("GET", V3 + "/thing").status == 200

    def test_without_a_session_the_address_counts(self) -> None:
        self.serve(get(rate="register", auth="none"), behind_proxy=True)

        def ask(ip: str) -> Any:
            return self.ask("GET", V3 + "/thing", token=None, headers={"X-Forwarded-For": f"6.6.6.6, {ip}"})

        assert self.spend("register", lambda: ask("10.0.0.1")).status == 429
        assert ask("10.0.0.2").status == 200

    def test_without_a_proxy_nobody_chooses_their_address(self) -> None:
        seen = []

        async def note(call: Call) -> Reply:
            seen.append(call.ip)
            return {}

        self.serve(get(note, auth="none"))
        self.ask("GET", V3 + "/thing", headers={"X-Forwarded-For": "10.0.0.1"})
        self.serve(get(note, auth="none"), behind_proxy=True)
        self.ask("GET", V3 + "/thing", headers={"X-Forwarded-For": "10.0.0.1"})
        self.ask("GET", V3 + "/thing")
        assert seen == ["127.0.0.1", "10.0.0.1", "127.0.0.1"]

    def test_a_route_names_a_class_that_there_is(self) -> None:
        with self.assertRaisesRegex(ValueError, "no such classes of rates: {'mesages'}"):
            self.serve(get(rate="mesages"))

    def test_switched_off_nothing_is_counted(self) -> None:
        self.serve(get(rate="create"), rates=False)
        for _ in range(RATES["create"].burst * 2):
            assert self.ask("GET", V3 + "/thing").status == 200


class Log(EdgeCase):
    """What is written and counted of a request."""

    def test_a_line_tells_who_asked_what_and_how_it_ended(self) -> None:
        self.serve(get(auth="optional"))
        self.ask("GET", V3 + "/thing?secret=1")
        self.ask("GET", V3 + "/nothing", token=None)
        assert not self.log
        self.clock.advance(1)
        first, second, end = "".join(self.log).split("\n")
        assert (
            first == f"2023-11-14T22:13:20.000Z info 1 access 127.0.0.1 {ALICE} GET {V3}/thing 200 {first.split()[-1]}"
        )
        assert second.split()[2:9] == ["2", "access", "127.0.0.1", "-", "GET", V3 + "/nothing", "404"]
        assert end == ""

    def test_requests_are_counted_by_route_and_status(self) -> None:
        route = get(path=V3 + "/things/{id}")
        self.serve(route)
        for token in ("alice's", "alice's", "bob's"):
            self.ask("GET", V3 + "/things/x", token=token)
        self.ask("GET", V3 + "/none")
        assert self.metrics.route(route).statuses == {200: 2, 401: 1}
        assert self.metrics.strays.statuses == {404: 1}
