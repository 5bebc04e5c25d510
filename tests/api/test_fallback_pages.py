"""Pages for clients that cannot show a login, or a stage of a proof, themselves."""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any
from unittest import TestCase
from urllib.parse import quote, urlencode

from config.settings import Registration as Rules
from homeserver.api.pages import Page, answer_page, choose_language
from homeserver.storage import accounts
from tests.kit.doors import PASSWORD, SERVER, Client, DoorsCase
from tests.kit.server import ServerCase
from tests.kit.wire import Reply

LOGIN = "/_matrix/static/client/login/"
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
DONE = "window.onAuthDone"
BROWSER = Path(__file__).with_name("browser.js")


def policy_of(reply: Reply) -> dict[str, str]:
    """The rules of a page's content."""
    rules = reply.headers["content-security-policy"].split("; ")
    return dict(rule.split(" ", 1) for rule in rules)  # type: ignore[misc]  # each has a name and a value


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def assert_closed(reply: Reply) -> None:
    """The page runs and looks like nothing but what it was made of, and stands in no frame."""
    html, policy = reply.body.decode(), policy_of(reply)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert html.lower().count("<script") == len(scripts) <= 1
    assert policy["script-src"] == (hash_of(scripts[0]) if scripts else "'none'")
    assert [policy["style-src"]] == [hash_of(text) for text in re.findall(r"<style>(.*?)</style>", html, re.DOTALL)]
    assert (policy["default-src"], policy["base-uri"], policy["frame-ancestors"]) == ("'none'",) * 3
    assert not re.search(r"\b(src|href|style|on[a-z]+)\s*=|https?:", re.sub(r"<script>.*", "", html, flags=re.DOTALL))
    wanted = {"x-frame-options": "DENY", "referrer-policy": "no-referrer", "cache-control": "no-store"}
    wanted |= {"x-content-type-options": "nosniff", "content-type": "text/html; charset=utf-8"}
    assert {name: reply.headers[name] for name in wanted} == wanted


class Languages(TestCase):
    def test_a_page_speaks_what_the_browser_likes_best_of_two_languages(self) -> None:
        for accepted, language in (
            (None, "en"), ("", "en"), ("ru", "ru"), ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
            ("en-GB,en;q=0.9,ru;q=0.8", "en"), ("de, RU;q=0.5, en;q=0.4", "ru"), ("de", "en"), ("*", "en"),
            ("ru;q=0, en;q=0.1", "en"), ("ru;q=x", "en"), ("," * 100_000, "en"), (HOSTILE, "en"),
            ("rus", "en"), ("ru;q=0.5;x=1", "en"),
        ):  # fmt: skip
            self.assertEqual(choose_language(accepted), language, accepted)

    def test_what_is_no_unicode_can_be_sent(self) -> None:
        answer = answer_page(Page(language="ru", title="\ud800<", body=""))
        assert isinstance(answer.body, bytes)
        self.assertIn(b"<title>?&lt;</title>", answer.body)


class LoginPage(DoorsCase):
    async def test_it_is_there_in_both_languages_and_closed_to_all_else(self) -> None:
        for language, title in (("en", "Sign in"), ("ru-RU", "Вход")):
            reply = await self.call("GET", LOGIN, language=language)
            self.assertEqual((reply.status, reply.headers["content-language"]), (200, language[:2]))
            assert_closed(reply)
            self.assertEqual(policy_of(reply)["connect-src"], "'self'")
            self.assertEqual(policy_of(reply)["form-action"], "'none'")
            self.assertIn(f"<h1>{title}</h1>", reply.body.decode())
            self.assertIn(SERVER, reply.body.decode())

    async def test_every_field_has_a_label(self) -> None:
        html = (await self.call("GET", LOGIN)).body.decode()
        self.assertEqual(re.findall(r'<input id="(\w+)"', html), re.findall(r'<label for="(\w+)"', html))
        self.assertIn('<html lang="en">', html)

    async def test_nothing_that_was_asked_is_put_into_it(self) -> None:
        plain = await self.call("GET", LOGIN)
        query = urlencode({"device_id": HOSTILE, "initial_device_display_name": HOSTILE, HOSTILE: HOSTILE})
        reply = await self.call("GET", f"{LOGIN}?{query}")
        self.assertEqual(reply.body, plain.body)

    async def test_a_password_is_never_taken_by_the_page_itself(self) -> None:
        reply = await self.call("POST", LOGIN, body=b"user=alice&password=x")
        self.assert_refused(reply, 405, "M_UNRECOGNIZED")

    async def test_its_script_logs_in_and_tells_the_client(self) -> None:
        """In a browser that has no more than the script asks of it."""
        node = shutil.which("node")
        if node is None:
            self.skipTest("there is no node")
        html = (await self.call("GET", LOGIN)).body.decode()
        words = {name: unescape(text) for name, text in re.findall(r'data-(\w+)="([^"]*)"', html)}
        (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
        told = {"script": script, "words": words, "query": "?device_id=GHTYAJCE&initial_device_display_name=A%26B&x=1"}
        run = subprocess.run([node, BROWSER], input=json.dumps(told).encode(), capture_output=True, check=True)
        seen = json.loads(run.stdout)
        identifier = {"type": "m.id.user", "user": "alice"}
        wish = {"device_id": "GHTYAJCE", "initial_device_display_name": "A&B"}
        body = {"type": "m.login.password", "password": "pass", "identifier": identifier, **wish}
        self.assertEqual(seen["asked"], [["/_matrix/client/v3/login", "POST", body]] * 3)
        self.assertEqual(seen["told"], [words["wrong"], words["failed"], words["done"]])
        self.assertEqual(seen["given"], [{"user_id": "@alice:parta.test"}])
        reply = await self.call("POST", "/login", body)
        self.assert_refused(reply, 403, "M_FORBIDDEN")  # the login's own form: nobody of that name is there


class PagesCase(DoorsCase):
    """Two people, and the pages of stages."""

    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice")
        self.bob = await self.register("bob")

    async def begin(self, client: Client, path: str = "/account/password", **fields: Any) -> str:
        """A session of proof, begun by a request."""
        reply = await client.call("POST", path, {"new_password": "another one 77", **fields})
        self.assertEqual(reply.status, 401, reply.body)
        key = reply.json["session"]
        assert isinstance(key, str)
        return key

    async def page(self, session: str, stage: str = "m.login.password", **fields: Any) -> Reply:
        """The page of a stage, or with fields what is answered to its form."""
        language, ip = fields.pop("language", None), fields.pop("ip", "10.9.9.9")
        path = f"/auth/{quote(stage, safe='')}/fallback/web?session={quote(session)}"
        body = urlencode(fields).encode() if fields else None
        reply = await self.call("POST" if fields else "GET", path, body=body, language=language, ip=ip)
        assert_closed(reply)
        return reply

    async def finish(self, client: Client, session: str) -> Reply:
        body = {"new_password": "another one 77", "auth": {"session": session}}
        return await client.call("POST", "/account/password", body)


class Stages(PagesCase):
    async def test_a_stage_completed_on_its_page_lets_the_request_through(self) -> None:
        session = await self.begin(self.alice)
        page = await self.page(session)
        html = page.body.decode()
        self.assertEqual((page.status, DONE in html, 'name="user"' in html), (200, False, False))
        self.assertIn("change the password", html)
        self.assertIn(self.alice.user_id, html)
        self.assertEqual((await self.finish(self.alice, session)).status, 401)
        done = await self.page(session, password=PASSWORD)
        self.assertEqual(done.status, 200)
        self.assertIn(DONE, done.body.decode())
        self.assertIn('window.opener.postMessage("authDone", "*")', done.body.decode())
        again = await self.page(session)
        self.assertEqual(again.body, done.body)
        self.assertEqual((await self.finish(self.alice, session)).status, 200)

    async def test_the_page_speaks_russian_to_who_reads_it(self) -> None:
        session = await self.begin(self.alice)
        page = await self.page(session, language="ru")
        self.assertIn("Вы меняете пароль", page.body.decode())
        self.assertEqual(page.headers["vary"], "Accept-Language")
        gone = await self.page("x", language="ru")
        self.assertIn("Здесь нечего подтверждать", gone.body.decode())

    async def test_a_wrong_password_is_told_and_completes_nothing(self) -> None:
        session = await self.begin(self.alice)
        page = await self.page(session, password="wrong")
        self.assertEqual((page.status, DONE in page.body.decode()), (403, False))
        self.assertIn("Try again", page.body.decode())
        self.assertNotIn("wrong", page.body.decode().partition("<form")[2])
        self.assertEqual((await self.finish(self.alice, session)).status, 401)

    async def test_nobody_completes_a_stage_of_somebody_else(self) -> None:
        """Neither by their own name and password, nor by handing them a session of theirs."""
        session = await self.begin(self.alice)
        page = await self.page(session, user="bob", password="bob's own one 5")
        self.assertEqual(page.status, 403)
        await self.page(session, password=PASSWORD)
        stolen = await self.finish(self.bob, session)
        self.assertEqual((stolen.status, stolen.json["errcode"]), (401, "M_UNKNOWN"))
        self.assertNotEqual(stolen.json["session"], session)
        self.assertEqual((await self.finish(self.alice, session)).status, 200)

    async def test_a_session_and_a_stage_that_are_not_there_are_answered_alike(self) -> None:
        session = await self.begin(self.alice)
        pages = [
            await self.page(key, stage, **fields)
            for key, stage in (
                ("x", "m.login.password"), ("", "m.login.password"), (session, "m.login.dummy"),
                (session, "m.login.sso"), (session, HOSTILE), (HOSTILE, "m.login.password"),
                (session[:-1], "m.login.password"), (session, "m.login.terms"), ("x" * 5000, "m.login.dummy"),
            )
            for fields in ({}, {"password": PASSWORD})
        ]  # fmt: skip
        self.assertEqual({(page.status, page.body) for page in pages}, {(404, pages[0].body)})
        self.assertNotIn(b"alert(1)", pages[0].body)
        self.assertEqual((await self.finish(self.alice, session)).status, 401)

    async def test_a_session_is_over_after_half_an_hour(self) -> None:
        session = await self.begin(self.alice)
        self.advance(minutes=29)
        self.assertEqual((await self.page(session)).status, 200)
        self.advance(minutes=1)
        self.assertEqual((await self.page(session)).status, 404)

    async def test_what_is_sent_back_is_never_part_of_the_page(self) -> None:
        session = await self.begin(self.alice)
        page = await self.page(session, password=HOSTILE, user=HOSTILE, token=HOSTILE)
        self.assertEqual((page.status, b"alert(1)" in page.body), (403, False))

    async def test_a_page_asks_who_it_is_where_nobody_has_signed_in_and_says_what_for(self) -> None:
        reply = await self.call("POST", "/account/deactivate", {})
        session = reply.json["session"]
        html = (await self.page(session)).body.decode()
        self.assertIn('name="user"', html)
        self.assertIn("close an account", html)
        self.assertIn(SERVER, html)
        self.assertEqual((await self.page(session, user="alice", password="wrong")).status, 403)
        self.assertEqual((await self.page(session, user="nobody", password=PASSWORD)).status, 403)
        self.assertEqual((await self.page(session, user="alice", password=PASSWORD)).status, 200)
        closed = await self.call("POST", "/account/deactivate", {"auth": {"session": session}})
        self.assertEqual(closed.status, 200)
        await self.assert_ended(self.alice)
        await self.assert_lives(self.bob)

    async def test_other_devices_are_told_of_in_words(self) -> None:
        reply = await self.alice.call("POST", "/delete_devices", {"devices": [HOSTILE]})
        self.assertIn("sign devices out", (await self.page(reply.json["session"])).body.decode())
        reply = await self.alice.call("DELETE", f"/devices/{quote(self.alice.device_id)}", {})
        self.assertIn("sign devices out", (await self.page(reply.json["session"])).body.decode())

    async def test_the_dummy_stage_is_a_button(self) -> None:
        fields = {"username": "carol", "password": PASSWORD}
        session = (await self.call("POST", "/register", fields)).json["session"]
        page = await self.page(session, "m.login.dummy")
        self.assertEqual((page.status, b"<input" in page.body, b"<button>" in page.body), (200, False, True))
        self.assertEqual((await self.call("POST", "/register", {**fields, "auth": {"session": session}})).status, 401)
        await self.page(session, "m.login.dummy", go="on")
        self.assertEqual((await self.call("POST", "/register", {**fields, "auth": {"session": session}})).status, 200)

    async def test_a_form_that_is_too_long_or_no_text_is_refused(self) -> None:
        session = await self.begin(self.alice)
        path = f"/auth/m.login.password/fallback/web?session={session}"
        reply = await self.call("POST", path, body=b"password=" + b"x" * 20_000)
        self.assert_refused(reply, 413, "M_TOO_LARGE")
        reply = await self.call("POST", path, body=b"password=%FF")
        self.assert_refused(reply, 400, "M_INVALID_PARAM")
        self.assertEqual((await self.page(session, password="x" * 10_000)).status, 403)


class Limited(PagesCase):
    """With the limits of a server that is on."""

    rates = True

    async def test_guessing_is_slowed_down_on_a_page_as_anywhere(self) -> None:
        session = await self.begin(self.alice)
        statuses = [(await self.page(session, password="wrong", ip="10.3.3.3")).status for _ in range(12)]
        self.assertEqual(statuses, [403] * 10 + [429] * 2)
        late = await self.page(session, password=PASSWORD, ip="10.3.3.3")
        self.assertIn("Too many tries", late.body.decode())
        self.assertEqual((await self.page(session, password=PASSWORD, ip="10.4.4.4")).status, 200)


class Invited(DoorsCase):
    rules = Rules(mode="invite")

    async def test_a_registration_token_is_taken_on_its_page_and_used_up_once(self) -> None:
        once = {"uses_allowed": 1, "created_ms": self.now_ms(), "expires_ms": None}
        await self.db.write(lambda txn: accounts.append_registration_token(txn, "welcome", **once))
        fields = {"username": "dave", "password": PASSWORD}
        session = (await self.call("POST", "/register", fields)).json["session"]
        path = f"/auth/m.login.registration_token/fallback/web?session={session}"
        wrong = await self.call("POST", path, body=b"token=other")
        self.assertEqual((wrong.status, DONE in wrong.body.decode()), (403, False))
        right = await self.call("POST", path, body=b"token=welcome")
        self.assertEqual((right.status, DONE in right.body.decode()), (200, True))
        body = {**fields, "auth": {"session": session}}
        self.assertEqual((await self.call("POST", "/register", body)).status, 200)
        other = (await self.call("POST", "/register", {**fields, "username": "eve"})).json["session"]
        late = await self.call("POST", path.replace(session, other), body=b"token=welcome")
        self.assertEqual(late.status, 403)


class AtSchool(ServerCase):
    """The same pages where accounts are the school's to make."""

    configuration = {"policy": "school", "registration": {"mode": "closed"}}

    async def test_the_pages_are_there_and_open_nothing(self) -> None:
        self.assertEqual((await self.call("GET", LOGIN)).status, 200)
        for method, body in (("GET", None), ("POST", b"user=x&password=y")):
            reply = await self.call(method, "/_matrix/client/v3/auth/m.login.dummy/fallback/web?session=x", body=body)
            self.assertEqual(reply.status, 404)
            assert_closed(reply)
