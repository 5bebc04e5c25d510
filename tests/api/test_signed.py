"""Requests of other servers at the edge: who has signed what, for whom."""

from dataclasses import replace
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed

from federation.ed25519 import SigningKey, VerifyKey
from federation.errors import Refused
from federation.ids import ServerName
from federation.requests import build_request_auth
from homeserver.api.limits import RATES
from homeserver.api.route import Call, Reply, Route
from homeserver.api.signed import SignedRequests
from homeserver.storage.faults import StorageUnavailable
from tests.kit.edges import EdgeCase
from tests.kit.wire import Reply as Answered
from tests.kit.wire import Wire, encode_request

US, NORTH, SOUTH = (ServerName(f"{name}.example") for name in ("us", "north", "south"))
KEY, OTHER = (SigningKey(f"a_{n}", bytes([n]) * 32) for n in (1, 2))
PATH = "/_matrix/federation/v1/thing"


async def show(call: Call) -> Reply:
    return {"origin": call.origin, "body": call.body if call.raw else None, "has_session": call.session is not None}


class SignedCase(EdgeCase):
    """An edge that asks for signatures; north and south have keys, south is no member."""

    def setUp(self) -> None:
        super().setUp()
        self.keys: dict[tuple[ServerName, str], VerifyKey] = {
            (NORTH, KEY.key_id): KEY.verify_key,
            (SOUTH, KEY.key_id): KEY.verify_key,
            (US, KEY.key_id): KEY.verify_key,
        }
        self.wanted: list[ServerName] = []
        self.heard: list[ServerName] = []
        self.fault: Exception | None = None
        self.signed = SignedRequests(server=US, check=self.check, find_key=self.find_key, note_heard=self.heard.append)
        declared = {"path": PATH, "handle": show, "auth": "region", "rate": "region"}
        self.serve(
            Route(method="GET", **declared),  # type: ignore[arg-type]
            Route(method="PUT", **declared, body=dict[str, Any]),  # type: ignore[arg-type]
            Route(method="POST", **declared, body=dict[str, Any], body_optional=True),  # type: ignore[arg-type]
        )

    def check(self, server: ServerName) -> None:
        if server != NORTH and server != US:
            raise Refused("region", f"{server} is not a member")

    def find_key(self, server: ServerName, key_id: str) -> "Deferred[VerifyKey | None]":
        self.wanted.append(server)
        return fail(self.fault) if self.fault is not None else succeed(self.keys.get((server, key_id)))

    def send(self, method: str, auth: str | list[str], body: bytes | None = None, path: str = PATH) -> Answered:
        """A request with those headers."""
        lines = [f"Authorization: {each}\r\n" for each in ([auth] if isinstance(auth, str) else auth)]
        head, _, rest = encode_request(method, path, {}, body).partition(b"\r\n\r\n")
        wire = Wire(self.factory)
        reply = wire.reply()
        wire.send(head + b"\r\n" + "".join(lines).encode() + b"\r\n" + rest)
        answer = self.successResultOf(reply)
        wire.hang_up()
        return answer

    def sign(self, method: str = "GET", content: object = None, **changes: Any) -> str:
        """The header of a good request, or whatever the changes make of it."""
        fields = {"uri": PATH, "origin": NORTH, "destination": US, "key": KEY, **changes}
        return build_request_auth(
            method, fields["uri"], fields["origin"], fields["destination"], content, fields["key"]
        )

    def assert_unauthorized(self, answer: Answered) -> None:
        assert (answer.status, answer.json["errcode"]) == (401, "M_UNAUTHORIZED"), answer
        assert self.heard == []


class Signed(SignedCase):
    """Good and bad side by side."""

    def test_a_signed_request_has_an_origin_and_no_session(self) -> None:
        answer = self.send("GET", self.sign())
        assert (answer.status, answer.json) == (200, {"origin": NORTH, "body": None, "has_session": False})
        assert self.heard == [NORTH]
        self.clock.advance(60)
        assert NORTH in "".join(self.log)

    def test_the_body_and_the_query_are_signed(self) -> None:
        body = {"b": [1.5, None], "a": "é"}
        raw = msgspec.json.encode(body)
        answer = self.send("PUT", self.sign("PUT", body), raw)
        assert (answer.status, answer.json["body"]) == (200, body)
        spaced = msgspec.json.format(raw, indent=2)
        assert self.send("PUT", self.sign("PUT", body), spaced).status == 200
        assert self.send("GET", self.sign(uri=PATH + "?a=%20&b"), path=PATH + "?a=%20&b").status == 200
        self.heard.clear()
        self.assert_unauthorized(self.send("PUT", self.sign("PUT", body), b'{"a":1}'))
        self.assert_unauthorized(self.send("PUT", self.sign("PUT", body), b"not JSON"))
        self.assert_unauthorized(self.send("PUT", self.sign("PUT"), raw))
        self.assert_unauthorized(self.send("POST", self.sign("POST", body)))
        self.assert_unauthorized(self.send("GET", self.sign(), path=PATH + "?a"))

    def test_a_large_body_is_checked_beside_the_reactor_and_as_strictly(self) -> None:
        beside: list[Any] = []

        async def run(work: Any, *args: Any) -> Any:
            beside.append(work)
            return work(*args)

        self.signed = replace(self.signed, run=run)
        self.serve(Route(method="PUT", path=PATH, handle=show, auth="region", rate="region", body=dict[str, Any]))
        body = {"a": ["x" * 1000] * 200}
        spaced = msgspec.json.format(msgspec.json.encode(body), indent=2)
        for raw, is_good in ((msgspec.json.encode(body), True), (spaced, True), (spaced[:-2] + b",}", False)):
            answer = self.send("PUT", self.sign("PUT", body), raw)
            assert answer.status == (200 if is_good else 401), answer
        assert len(beside) == 3

    def test_what_is_signed_otherwise_is_not_signed(self) -> None:
        for auth in (
            self.sign("PUT"),
            self.sign(uri="/_matrix/federation/v1/other"),
            self.sign(key=OTHER),
            self.sign(key=SigningKey("a_1", bytes([9]) * 32)),
            self.sign(destination=SOUTH),
            self.sign(destination=SOUTH).replace(SOUTH, US),
            self.sign(origin=SOUTH).replace(SOUTH, NORTH),
            self.sign(origin=US),
            self.sign()[:-10] + '"',
        ):
            self.assert_unauthorized(self.send("GET", auth))

    def test_what_is_no_signature_is_refused_before_a_key_is_looked_for(self) -> None:
        for auth in ([], "", "Bearer alice's", "X-Matrix", 'X-Matrix origin="x"', [self.sign()] * 5, "X-Matrix é=1"):
            self.assert_unauthorized(self.send("GET", auth))
        assert self.wanted == []

    def test_an_old_server_that_leaves_out_the_destination_is_heard(self) -> None:
        assert self.send("GET", self.sign().replace(f'destination="{US}",', "")).status == 200

    def test_two_keys_may_sign_and_both_must_be_good(self) -> None:
        self.keys[NORTH, OTHER.key_id] = OTHER.verify_key
        assert self.send("GET", [self.sign(), self.sign(key=OTHER)]).status == 200
        unknown = SigningKey("a_9", bytes(32))
        assert self.send("GET", [self.sign(), self.sign(key=unknown)]).status == 200
        self.heard.clear()
        self.assert_unauthorized(self.send("GET", [self.sign(), self.sign(key=OTHER, uri="/")]))
        self.assert_unauthorized(self.send("GET", [self.sign(), self.sign(origin=SOUTH)]))

    def test_who_is_no_member_is_told_the_same_whoever_it_is_and_costs_nothing(self) -> None:
        answers = [self.send("GET", self.sign(origin=ServerName(name))) for name in (SOUTH, "nobody.example")]
        answers.append(self.send("GET", self.sign(origin=SOUTH, key=OTHER)))
        assert {(answer.status, answer.body) for answer in answers} == {(403, answers[0].body)}
        assert answers[0].json["errcode"] == "M_FORBIDDEN"
        assert SOUTH not in answers[0].body.decode()
        assert (self.wanted, self.heard) == ([], [])

    def test_an_access_token_opens_no_door_for_servers_and_a_signature_none_for_people(self) -> None:
        self.assert_unauthorized(self.ask("GET", PATH, token="alice's"))
        self.serve(Route(method="GET", path=PATH, handle=show, auth="user"))
        assert self.send("GET", self.sign()).json["errcode"] == "M_MISSING_TOKEN"

    def test_each_server_may_ask_so_often(self) -> None:
        for _ in range(RATES["region"].burst):
            assert self.send("GET", self.sign()).status == 200
        assert self.send("GET", self.sign()).json["errcode"] == "M_LIMIT_EXCEEDED"

    def test_a_database_that_is_gone_is_no_wrong_signature(self) -> None:
        self.fault = StorageUnavailable("gone")
        assert self.send("GET", self.sign()).status == 503
