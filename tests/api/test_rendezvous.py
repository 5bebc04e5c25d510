"""Two devices meet, in the form of 2025 and in that of 2024."""

import secrets
from typing import Any

from twisted.trial.unittest import TestCase

from federation.errors import Refused
from federation.ids import UserID
from homeserver.accounts import rendezvous
from homeserver.accounts.rendezvous import LASTS_MS, MOST_OF_ONE, Rendezvous
from homeserver.accounts.tokens import Mint
from homeserver.policy import NotFound, OpenPolicy
from tests.kit.callers import send
from tests.kit.district import DistrictCase
from tests.kit.server import ServerCase
from tests.kit.wire import Reply

NEW = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
OLD = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"


class Meeting(ServerCase):
    """The form of 2025: JSON."""

    async def make(self, data: str = "hello") -> dict[str, Any]:
        reply = await self.call("POST", NEW, {"data": data})
        assert reply.status == 200, reply
        return reply.json  # type: ignore[no-any-return]  # an object, as the proposal has it

    async def test_either_device_reads_and_replaces_what_is_said(self) -> None:
        made = await self.make()
        self.assertLessEqual(made["expires_in_ms"], 300_000)
        where = f"{NEW}/{made['id']}"
        seen = (await self.call("GET", where)).json
        self.assertEqual((seen["data"], seen["sequence_token"]), ("hello", made["sequence_token"]))
        changed = await self.call("PUT", where, {"sequence_token": seen["sequence_token"], "data": "hi"})
        self.assertEqual(changed.status, 200)
        self.assertNotEqual(changed.json["sequence_token"], seen["sequence_token"])
        self.assertEqual((await self.call("GET", where)).json["data"], "hi")

    async def test_of_two_who_write_at_once_the_second_is_told_and_one_who_repeats_is_not(self) -> None:
        made = await self.make()
        where = f"{NEW}/{made['id']}"
        first = await self.call("PUT", where, {"sequence_token": made["sequence_token"], "data": "one"})
        again = await self.call("PUT", where, {"sequence_token": made["sequence_token"], "data": "one"})
        self.assertEqual(again.json, first.json)
        second = await self.call("PUT", where, {"sequence_token": made["sequence_token"], "data": "two"})
        self.assertEqual((second.status, second.errcode), (409, "M_CONCURRENT_WRITE"))
        self.assertEqual((await self.call("GET", where)).json["data"], "one")

    async def test_what_is_ended_or_never_was_is_not_found(self) -> None:
        made = await self.make()
        where = f"{NEW}/{made['id']}"
        self.assertEqual((await self.call("DELETE", where)).json, {})
        for method, body in (("GET", None), ("DELETE", None), ("PUT", {"sequence_token": "x", "data": "x"})):
            for place in (where, f"{NEW}/junk"):
                reply = await self.call(method, place, body)
                self.assertEqual((reply.status, reply.errcode), (404, "M_NOT_FOUND"))

    async def test_a_text_has_at_most_4096_bytes(self) -> None:
        made = await self.make("я" * 2048)
        for method, where, more in (
            ("POST", NEW, {}),
            ("PUT", f"{NEW}/{made['id']}", {"sequence_token": made["sequence_token"]}),
        ):
            reply = await self.call(method, where, {"data": "я" * 2048 + "x", **more})
            self.assertEqual((reply.status, reply.errcode), (413, "M_TOO_LARGE"))

    async def test_a_browser_shows_it_as_no_page(self) -> None:
        where = f"{NEW}/{(await self.make())['id']}"
        reply = await send(self.factory, "GET", where, {"Sec-Fetch-Mode": "navigate"}, None)
        self.assertEqual((reply.status, reply.errcode), (403, "M_FORBIDDEN"))
        reply = await send(self.factory, "GET", where, {"Sec-Fetch-Mode": "cors"}, None)
        self.assertEqual(reply.status, 200)

    async def test_everybody_may_begin_one(self) -> None:
        self.assertEqual((await self.call("GET", NEW)).json, {"create_available": True})


class Texts(ServerCase):
    """The form of 2024: text, with ETags."""

    configuration = {"public_base_url": "https://matrix.parta.test/"}

    async def ask(self, method: str, where: str, body: str | None = None, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named.setdefault("Content-Type", "text/plain")
        return await send(self.factory, method, where, named, None if body is None else body.encode())

    async def make(self) -> tuple[str, Reply]:
        reply = await self.ask("POST", OLD, "hello")
        self.assertEqual(reply.status, 201)
        begin = f"https://matrix.parta.test{OLD}/"
        assert reply.json["url"].startswith(begin), reply.json
        return f"{OLD}/{reply.json['url'].removeprefix(begin)}", reply

    async def test_either_device_reads_and_replaces_what_is_said(self) -> None:
        where, made = await self.make()
        for header in ("etag", "expires", "last-modified"):
            self.assertIn(header, made.headers)
        self.assertEqual((made.headers["cache-control"], made.headers["pragma"]), ("no-store", "no-cache"))
        etag = made.headers["etag"]
        self.assertEqual((await self.ask("GET", where, If_None_Match=etag)).status, 304)
        changed = await self.ask("PUT", where, "hi", If_Match=etag)
        self.assertEqual(changed.status, 202)
        seen = await self.ask("GET", where, If_None_Match=etag)
        self.assertEqual((seen.status, seen.body, seen.headers["content-type"]), (200, b"hi", "text/plain"))
        self.assertEqual(seen.headers["etag"], changed.headers["etag"])
        self.assertEqual((await self.ask("DELETE", where)).status, 204)
        self.assertEqual((await self.ask("GET", where)).errcode, "M_NOT_FOUND")

    async def test_of_two_who_write_at_once_the_second_is_told(self) -> None:
        where, made = await self.make()
        await self.ask("PUT", where, "one", If_Match=made.headers["etag"])
        second = await self.ask("PUT", where, "two", If_Match=made.headers["etag"])
        self.assertEqual((second.status, second.errcode), (412, "M_CONCURRENT_WRITE"))
        self.assertEqual(second.headers["etag"], (await self.ask("GET", where)).headers["etag"])

    async def test_what_is_missing_or_malformed_is_named(self) -> None:
        where, made = await self.make()
        etag = made.headers["etag"]
        for status, errcode, headers in (
            (400, "M_MISSING_PARAM", {}),
            (400, "M_INVALID_PARAM", {"If_Match": etag.strip('"')}),
            (400, "M_INVALID_PARAM", {"If_Match": f"{etag}, {etag}"}),
            (400, "M_INVALID_PARAM", {"If_Match": etag, "Content_Type": "application/json"}),
        ):
            reply = await self.ask("PUT", where, "two", **headers)
            self.assertEqual((reply.status, reply.errcode), (status, errcode), headers)
        reply = await self.ask("POST", OLD, "x" * 4097)
        self.assertEqual((reply.status, reply.errcode), (413, "M_TOO_LARGE"))
        reply = await send(self.factory, "POST", OLD, {}, b"hello")
        self.assertEqual((reply.status, reply.errcode), (400, "M_MISSING_PARAM"))
        reply = await send(self.factory, "POST", OLD, {"Content-Type": "text/plain"}, b"\xff")
        self.assertEqual((reply.status, reply.errcode), (400, "M_INVALID_PARAM"))


class MeetingAtSchool(DistrictCase):
    """Under the schools' policy only who belongs begins a meeting: it is no place for strangers to leave things."""

    async def test_only_who_belongs_begins_one_and_the_new_device_needs_no_token(self) -> None:
        for login in ("pupil1", "parent1", "teacher1"):
            person = await self.sign_in(login)
            self.assertEqual(await person.ok("GET", NEW), {"create_available": True})
            made = await person.ok("POST", NEW, {"data": "hello"})
            self.assertEqual((await self.call("GET", f"{NEW}/{made['id']}")).json["data"], "hello")
        newcomer = await self.sign_in("newcomer")
        for token in (None, newcomer.token):
            self.assertEqual((await self.call("GET", NEW, token=token)).json, {"create_available": False})
            reply = await self.call("POST", NEW, {"data": "hello"}, token=token)
            self.assertEqual((reply.status, reply.errcode), (403, "M_FORBIDDEN"))
            headers = {"Content-Type": "text/plain"} | ({"Authorization": f"Bearer {token}"} if token else {})
            reply = await send(self.factory, "POST", OLD, headers, b"hello")
            self.assertEqual((reply.status, reply.errcode), (403, "M_FORBIDDEN"))


class Bounds(TestCase):
    """What is bounded: time, and the number of places."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.now_ms = 1_000
        self.places = Rendezvous(OpenPolicy(), Mint(secrets.token_bytes, lambda: self.now_ms), lambda: self.now_ms)

    def is_there(self, place: rendezvous.Place) -> bool:
        try:
            return self.places.find(place.id) is place
        except NotFound:
            return False

    async def test_a_place_is_there_for_five_minutes(self) -> None:
        place = await self.places.make(None, "192.0.2.1", "hello")
        self.now_ms += LASTS_MS - 1
        assert self.is_there(place)
        self.places.change(place.id, place.token, "longer?")
        self.now_ms += 1
        assert not self.is_there(place)

    async def test_who_makes_too_many_loses_their_own_oldest_and_nobody_elses(self) -> None:
        alice = UserID("@alice:parta.test")
        others = await self.places.make(None, "192.0.2.1", "hello")
        hers = [await self.places.make(alice, "192.0.2.1", str(number)) for number in range(MOST_OF_ONE + 1)]
        assert [self.is_there(place) for place in (others, *hers)] == [True, False, *[True] * MOST_OF_ONE]

    async def test_there_are_not_too_many_at_all_until_some_end(self) -> None:
        self.patch(rendezvous, "MOST_PLACES", 2)
        for number in (1, 2):
            await self.places.make(None, f"192.0.2.{number}", "hello")
        with self.assertRaises(Refused):
            await self.places.make(None, "192.0.2.3", "hello")
        self.now_ms += LASTS_MS
        assert self.is_there(await self.places.make(None, "192.0.2.3", "hello"))
