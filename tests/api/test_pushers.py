"""Pushers at their doors, a real gateway on loopback, and the list of notifications."""

from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import DeferredQueue
from twisted.internet.endpoints import TCP4ServerEndpoint, wrapServerTLS
from twisted.web.resource import Resource
from twisted.web.server import Site

from homeserver.schools.rights import Kind
from tests.kit.certificates import make_certificate
from tests.kit.district import OFFICE, DistrictCase
from tests.kit.people import Person
from tests.kit.schools import SERVER
from tests.kit.server import ServerCase

PATH = "/_matrix/push/v1/notify"
GOOD = {
    "kind": "http",
    "app_id": "org.test.phone",
    "pushkey": "key",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "lang": "ru",
    "data": {"url": "https://push.test" + PATH, "format": "event_id_only"},
}


class Gateway(Resource):
    """A push gateway that takes everything."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self) -> None:
        super().__init__()
        self.told: DeferredQueue[tuple[bytes, Any]] = DeferredQueue()

    def render_POST(self, request: Any) -> bytes:
        self.told.put((request.uri, msgspec.json.decode(request.content.read())))
        return b'{"rejected": []}'


async def open_gateway(case: Any) -> tuple[Gateway, str]:
    """A gateway on loopback, and its URL; nobody vouches for its certificate."""
    gateway = Gateway()
    _, certificate = make_certificate(case.folder, "localhost")
    endpoint: Any = wrapServerTLS(certificate.options(), TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))
    port = await endpoint.listen(Site(gateway))
    case.addCleanup(port.stopListening)
    return gateway, f"https://localhost:{port.getHost().port}{PATH}"


async def push_to(person: Person, url: str, **more: Any) -> None:
    """Let somebody be notified through that gateway."""
    await person.ok("POST", "/pushers/set", {**GOOD, "data": {"url": url}, **more})


NETWORK = {"network": {"allow_private_addresses": True, "verify_certificates": False}}


class Pushers(ServerCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")

    async def keys(self, who: Person) -> list[str]:
        """The pushkeys of somebody's pushers."""
        return [pusher["pushkey"] for pusher in (await who.ok("GET", "/pushers"))["pushers"]]

    async def test_a_pusher_is_shown_as_it_was_set_until_it_is_removed(self) -> None:
        assert await self.alice.ok("GET", "/pushers") == {"pushers": []}
        assert await self.alice.ok("POST", "/pushers/set", {**GOOD, "profile_tag": "x"}) == {}
        assert (await self.alice.ok("GET", "/pushers"))["pushers"] == [{**GOOD, "profile_tag": "x"}]
        await self.alice.ok("POST", "/pushers/set", {**GOOD, "lang": "en"})
        assert (await self.alice.ok("GET", "/pushers"))["pushers"] == [{**GOOD, "lang": "en"}]
        for _ in range(2):
            await self.alice.ok("POST", "/pushers/set", {"kind": None, "app_id": GOOD["app_id"], "pushkey": "key"})
            assert await self.keys(self.alice) == []

    async def test_nobody_sees_or_removes_anothers(self) -> None:
        await self.alice.ok("POST", "/pushers/set", GOOD)
        await self.bob.ok("POST", "/pushers/set", {"kind": None, "app_id": GOOD["app_id"], "pushkey": "key"})
        assert (await self.keys(self.alice), await self.keys(self.bob)) == (["key"], [])

    async def test_a_key_belongs_to_one_person_unless_appended(self) -> None:
        await self.alice.ok("POST", "/pushers/set", GOOD)
        await self.bob.ok("POST", "/pushers/set", {**GOOD, "append": True})
        assert (await self.keys(self.alice), await self.keys(self.bob)) == (["key"], ["key"])
        await self.bob.ok("POST", "/pushers/set", GOOD)
        assert (await self.keys(self.alice), await self.keys(self.bob)) == ([], ["key"])

    async def test_what_is_missing_is_named(self) -> None:
        for name in ("kind", "app_id", "pushkey", "app_display_name", "device_display_name", "lang", "data"):
            spoiled = {key: value for key, value in GOOD.items() if key != name}
            reply = await self.alice.call("POST", "/pushers/set", spoiled)
            assert (reply.status, reply.errcode) == (400, "M_MISSING_PARAM"), name
            assert name in reply.json["error"]
        assert await self.alice.refused("POST", "/pushers/set", {**GOOD, "data": {}}) == (400, "M_MISSING_PARAM")

    async def test_what_is_no_pusher_is_refused(self) -> None:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"kind": "email"}, "M_INVALID_PARAM"),
            ({"kind": 1}, "M_BAD_JSON"),
            ({"app_id": "x" * 65}, "M_INVALID_PARAM"),
            ({"app_id": ""}, "M_INVALID_PARAM"),
            ({"pushkey": "ж" * 257}, "M_INVALID_PARAM"),
            ({"data": {**GOOD["data"], "more": "x" * 20_000}}, "M_TOO_LARGE"),  # type: ignore[dict-item]  # a dict
            ({"append": "yes"}, "M_BAD_JSON"),
        ]
        urls = (
            "http://push.test" + PATH,
            "https://push.test/notify",
            "https://push.test" + PATH + "/",
            "https://push.test" + PATH + "?x",
            "https://a:b@push.test" + PATH,
            "https://push.test:x" + PATH,
            "https://" + PATH,
            "https://[::1" + PATH,
            "https://push test" + PATH,
            "nonsense",
            "",
            1,
        )
        wrong += [({"data": {"url": url}}, "M_INVALID_PARAM") for url in urls]
        for spoiled, errcode in wrong:
            answer = await self.alice.refused("POST", "/pushers/set", {**GOOD, **spoiled})
            assert answer == (400, errcode), spoiled
        assert await self.keys(self.alice) == []

    async def test_nobody_has_pushers_without_end(self) -> None:
        for number in range(100):
            await self.alice.ok("POST", "/pushers/set", {**GOOD, "pushkey": str(number)})
        more = await self.alice.refused("POST", "/pushers/set", {**GOOD, "pushkey": "more"})
        assert more == (400, "M_TOO_LARGE")
        await self.alice.ok("POST", "/pushers/set", {**GOOD, "pushkey": "99"})

    async def test_a_session_that_ends_takes_its_pusher_along(self) -> None:
        again = await self.log_in("alice")
        await again.ok("POST", "/pushers/set", GOOD)
        await self.alice.ok("POST", "/pushers/set", {**GOOD, "pushkey": "other"})
        await again.ok("POST", "/logout", {})
        assert await self.keys(self.alice) == ["other"]


class PushersOnPostgreSQL(Pushers):
    dialect = "postgresql"


class Delivery(ServerCase):
    configuration = NETWORK

    async def test_a_message_reaches_the_gateway_over_tls_and_after_a_restart(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        gateway, url = await open_gateway(self)
        await push_to(bob, url)
        event_id = await alice.send(room, "Привет")
        path, told = await gateway.told.get()
        assert path == PATH.encode()
        assert told["notification"]["event_id"] == event_id
        assert told["notification"]["content"]["body"] == "Привет"
        await self.restart()
        later = await alice.send(room, "hi")
        _, told = await gateway.told.get()
        if told["notification"]["event_id"] == event_id:  # its answer was cut off by the restart
            _, told = await gateway.told.get()
        assert told["notification"]["event_id"] == later
        assert told["notification"]["counts"] == {"unread": 2}


class SchoolDelivery(DistrictCase):
    configuration = {"policy": "school", "server_name": SERVER, "registration": {"mode": "closed"}, **NETWORK}

    async def test_no_word_leaves_the_school_and_the_dismissed_hear_nothing(self) -> None:
        gateway, url = await open_gateway(self)
        teacher, pupil, other = [await self.sign_in(name) for name in ("teacher1", "pupil3", "pupil4")]
        room = await self.room(Kind.PUPILS, "9Б")
        await push_to(teacher, url, pushkey="teachers")
        event_id = await pupil.send(room, "Секрет")
        _, told = await gateway.told.get()
        assert set(told["notification"]) == {"event_id", "room_id", "prio", "counts", "devices"}
        assert told["notification"]["event_id"] == event_id
        admin = await self.sign_in("admin1")
        await admin.ok("POST", f"{OFFICE}/{self.org_id}/people/{teacher.user_id}/dismiss")
        await push_to(other, url, pushkey="others")
        await pupil.send(room, "Секрет")
        _, told = await gateway.told.get()
        assert [device["pushkey"] for device in told["notification"]["devices"]] == ["others"]
        assert gateway.told.pending == []


class Notifications(ServerCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        self.rooms = [await self.alice.create_room(preset="public_chat") for _ in range(2)]
        for room in self.rooms:
            await self.bob.join(room)

    async def bodies(self, **query: object) -> list[str]:
        """What bob was notified of."""
        page = await self.bob.ok("GET", "/notifications", **query)
        return [each["event"]["content"]["body"] for each in page["notifications"]]

    async def mention(self, room: str, body: str) -> str:
        content = {"msgtype": "m.text", "body": body, "m.mentions": {"user_ids": [self.bob.user_id]}}
        return await self.alice.send_event(room, "m.room.message", content)

    async def test_the_latest_of_all_rooms_come_first_with_what_the_rules_say(self) -> None:
        first = await self.alice.send(self.rooms[0], "1")
        await self.mention(self.rooms[1], "2")
        await self.bob.send(self.rooms[0], "own")
        await self.bob.ok("POST", f"/rooms/{self.rooms[0]}/receipt/m.read/{first}", {})
        page = await self.bob.ok("GET", "/notifications")
        assert "next_token" not in page
        mention, plain = page["notifications"]
        assert (mention["room_id"], mention["read"], mention["event"]["content"]["body"]) == (self.rooms[1], False, "2")
        assert {"set_tweak": "highlight"} in mention["actions"]
        assert (plain["room_id"], plain["read"], plain["event"]["event_id"]) == (self.rooms[0], True, first)
        assert plain["ts"] == plain["event"]["origin_server_ts"]
        assert "room_id" not in plain["event"]

    async def test_pages_go_on_where_they_ended(self) -> None:
        for number in range(30):
            await self.alice.send(self.rooms[number % 2], str(number))
        seen, token = [], None
        for _ in range(10):
            page = await self.bob.ok("GET", "/notifications", limit=7, **({} if token is None else {"from": token}))
            seen += [int(each["event"]["content"]["body"]) for each in page["notifications"]]
            token = page.get("next_token")
            if token is None:
                break
        assert seen == list(range(29, -1, -1))

    async def test_only_highlights_are_listed_when_only_these_are_wanted(self) -> None:
        await self.alice.send(self.rooms[0], "plain")
        await self.mention(self.rooms[0], "highlight")
        assert await self.bodies(only="highlight") == ["highlight"]
        assert await self.bodies() == ["highlight", "plain"]

    async def test_what_was_said_before_one_came_or_in_rooms_one_has_left_is_not_listed(self) -> None:
        await self.alice.send(self.rooms[0], "then")
        await self.bob.leave(self.rooms[0])
        assert await self.bodies() == []
        await self.alice.send(self.rooms[0], "meanwhile")
        await self.bob.join(self.rooms[0])
        await self.alice.send(self.rooms[0], "now")
        assert await self.bodies() == ["now"]

    async def test_what_is_no_page_is_refused(self) -> None:
        for wrong in ({"from": "x"}, {"from": "n-1"}, {"from": "n" + "9" * 40}, {"limit": 0}, {"limit": "x"}):
            assert await self.bob.refused("GET", "/notifications", **wrong) == (400, "M_INVALID_PARAM"), wrong
        assert await self.bodies(limit=10_000) == []


class NotificationsOnPostgreSQL(Notifications):
    dialect = "postgresql"
