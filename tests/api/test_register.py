"""Making an account: open to all, by token, as a guest, or not at all."""

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from config.settings import Registration as Rules
from homeserver.storage import accounts
from tests.kit.databases import on_both_databases
from tests.kit.doors import PASSWORD, SERVER, DoorsCase
from tests.kit.wire import Reply

DUMMY = {"type": "m.login.dummy"}


def body_of(name: str | None = "alice", **fields: Any) -> dict[str, Any]:
    named = {} if name is None else {"username": name}
    return {**named, "password": PASSWORD, "auth": DUMMY, **fields}


class Open(DoorsCase):
    async def post(self, body: object, query: str = "") -> Reply:
        return await self.call("POST", f"/register{query}", body)

    async def test_without_a_proof_the_flows_are_told_and_nothing_is_made(self) -> None:
        for body in ({}, None, {"username": "alice", "password": PASSWORD}, {"auth": {}}, {"auth": None}):
            reply = await self.post(body)
            self.assertEqual(reply.status, 401)
            self.assertEqual(reply.json["flows"], [{"stages": ["m.login.dummy"]}])
            self.assertEqual(set(reply.json), {"flows", "params", "session"})
        self.assertEqual((await self.call("GET", "/register/available?username=alice")).json, {"available": True})

    async def test_the_dummy_stage_makes_the_account_and_its_session(self) -> None:
        session = (await self.post({})).json["session"]
        reply = await self.post(body_of(auth={"type": "m.login.dummy", "session": session}, device_id="PHONE"))
        alice = self.client(reply)
        self.assertEqual((alice.user_id, alice.device_id), (f"@alice:{SERVER}", "PHONE"))
        await self.assert_lives(alice)
        await self.assert_lives(await self.log_in("alice"))

    async def test_a_refresh_token_comes_to_who_can_use_one(self) -> None:
        reply = await self.post(body_of(refresh_token=True))
        self.assertIn("refresh_token", reply.json)
        self.assertEqual(reply.json["expires_in_ms"], 3_600_000)

    async def test_inhibit_login_makes_an_account_and_no_session(self) -> None:
        reply = await self.post(body_of(inhibit_login=True, device_id="PHONE"))
        self.assertEqual((reply.status, reply.json), (200, {"user_id": f"@alice:{SERVER}"}))
        alice = await self.log_in("alice")
        self.assertEqual(len((await alice.call("GET", "/devices")).json["devices"]), 1)

    async def test_without_a_name_one_is_made_up_that_says_nothing(self) -> None:
        first, second = [self.client(await self.post(body_of(None))) for _ in range(2)]
        self.assertNotEqual(first.user_id, second.user_id)
        self.assertRegex(first.user_id, rf"^@[a-z2-7]{{16}}:{SERVER}$")

    async def test_capital_letters_become_small_ones(self) -> None:
        self.assertEqual(self.client(await self.post(body_of("AliCe"))).user_id, f"@alice:{SERVER}")
        self.assert_refused(await self.post(body_of("alice")), 400, "M_USER_IN_USE")

    async def test_every_letter_of_the_grammar_is_taken(self) -> None:
        for name in ("a", "0", "a.b", "a_b", "a=b", "a-b", "a/b", "a+b", "-", "x" * 240):
            self.assertEqual(self.client(await self.post(body_of(name))).user_id, f"@{name}:{SERVER}")

    async def test_names_outside_the_grammar_are_refused_before_any_proof(self) -> None:
        for name in ("", " ", "al ice", "алиса", "a:b", "@alice", f"@alice:{SERVER}", "a\0", "a!", "x" * 250, "é", "ſ"):
            for fields in ({}, {"auth": None}):
                self.assert_refused(await self.post(body_of(name, **fields)), 400, "M_INVALID_USERNAME")

    async def test_reserved_names_are_refused(self) -> None:
        for name in ("_parta", "_", "_bridge_alice"):
            self.assert_refused(await self.post(body_of(name)), 400, "M_EXCLUSIVE")

    async def test_a_taken_name_is_refused_before_and_after_the_proof(self) -> None:
        session = (await self.post({"username": "alice"})).json["session"]
        await self.register("alice")
        for auth in (None, {"type": "m.login.dummy", "session": session}):
            self.assert_refused(await self.post(body_of(auth=auth)), 400, "M_USER_IN_USE")

    async def test_a_name_stays_taken_when_its_account_is_closed(self) -> None:
        alice = await self.register("alice")
        await self.accounts.deactivate(alice.user_id, erase=True)
        self.assert_refused(await self.post(body_of()), 400, "M_USER_IN_USE")

    async def test_of_two_at_once_one_gets_the_name(self) -> None:
        replies = await gatherResults([Deferred.fromCoroutine(self.post(body_of())) for _ in range(4)])
        self.assertEqual(sorted(reply.status for reply in replies), [200, 400, 400, 400])
        for reply in replies:
            if reply.status == 400:
                self.assert_refused(reply, 400, "M_USER_IN_USE")

    async def test_weak_passwords_are_refused(self) -> None:
        cases = [("short", "M_WEAK_PASSWORD"), ("", "M_WEAK_PASSWORD"), ("alicealice", "M_WEAK_PASSWORD")]
        cases += [("aaaaaaaaaa", "M_WEAK_PASSWORD"), ("Password1", "M_WEAK_PASSWORD"), ("x" * 513, "M_INVALID_PARAM")]
        for password, errcode in cases:
            self.assert_refused(await self.post(body_of("alicealice", password=password)), 400, errcode)
        self.assertEqual((await self.call("GET", "/register/available?username=alicealice")).status, 200)

    async def test_an_account_has_a_password(self) -> None:
        self.assert_refused(await self.post({"username": "alice", "auth": DUMMY}), 400, "M_MISSING_PARAM")

    async def test_a_request_whose_answer_was_lost_may_be_made_again(self) -> None:
        session = (await self.post({})).json["session"]
        body = body_of(auth={"type": "m.login.dummy", "session": session}, device_id="PHONE")
        first = self.client(await self.post(body))
        again = self.client(await self.post(body))
        self.assertEqual((again.user_id, again.device_id), (first.user_id, "PHONE"))
        await self.assert_lives(again)
        await self.assert_ended(first)
        nameless = {
            "password": PASSWORD,
            "auth": {"type": "m.login.dummy", "session": (await self.post({})).json["session"]},
        }
        self.assertEqual((await self.post(nameless)).json["user_id"], (await self.post(nameless)).json["user_id"])
        other = {**body, "password": "another one entirely"}
        reply = await self.post(other)
        self.assert_refused(reply, 401, "M_FORBIDDEN")

    async def test_a_session_of_proof_is_ours_and_young_and_for_this(self) -> None:
        for session in ("nonsense", "", "\0", "x" * 10_000):
            self.assert_refused(await self.post(body_of(auth={**DUMMY, "session": session})), 401, "M_UNKNOWN")
        session = (await self.post({})).json["session"]
        self.advance(minutes=31)
        reply = await self.post(body_of(auth={**DUMMY, "session": session}))
        self.assert_refused(reply, 401, "M_UNKNOWN")
        await self.register("bob")
        self.assertEqual((await self.post(body_of(auth={**DUMMY, "session": reply.json["session"]}))).status, 200)

    async def test_a_stage_that_is_not_asked_for_is_refused(self) -> None:
        for kind in ("m.login.password", "m.login.recaptcha", "m.login.registration_token", "", "x" * 1000):
            reply = await self.post(body_of(auth={"type": kind, "token": "x", "password": PASSWORD, "user": "alice"}))
            self.assert_refused(reply, 401, "M_UNRECOGNIZED")

    async def test_bodies_of_the_wrong_shape_are_refused(self) -> None:
        for body in ([], {"username": 5}, {"password": []}, {"auth": "x"}, {"auth": {"type": 5}}, {"device_id": {}},
                     {"inhibit_login": "yes"}, {"refresh_token": 1}):  # fmt: skip
            self.assert_refused(await self.post(body), 400, "M_BAD_JSON")
        self.assert_refused(await self.call("POST", "/register", body=b"{"), 400, "M_NOT_JSON")
        self.assert_refused(await self.post(body_of(), "?kind=robot"), 400, "M_INVALID_PARAM")

    async def test_a_name_may_be_asked_after(self) -> None:
        await self.register("alice")
        cases = [("bob", 200, None), ("alice", 400, "M_USER_IN_USE"), ("Alice", 400, "M_USER_IN_USE")]
        cases += [("_bob", 400, "M_EXCLUSIVE"), ("b%20ob", 400, "M_INVALID_USERNAME"), ("", 400, "M_INVALID_USERNAME")]
        for name, status, errcode in cases:
            reply = await self.call("GET", f"/register/available?username={name}")
            self.assertEqual((reply.status, reply.json.get("errcode")), (status, errcode))
        self.assert_refused(await self.call("GET", "/register/available"), 400, "M_MISSING_PARAM")

    async def test_a_guest_gets_an_account_of_our_making(self) -> None:
        body = {"username": "alice", "device_id": "MINE", "initial_device_display_name": "Browser", "password": "x"}
        guest = self.client(await self.post(body, "?kind=guest"))
        self.assertRegex(guest.user_id, rf"^@guest-[a-z2-7]{{16}}:{SERVER}$")
        self.assertNotEqual(guest.device_id, "MINE")
        whoami = await guest.call("GET", "/account/whoami")
        self.assertEqual(whoami.json["is_guest"], True)
        self.assertEqual((await guest.call("GET", "/devices")).json["devices"][0]["display_name"], "Browser")
        self.assert_refused(
            await guest.call("POST", "/account/password", {"new_password": PASSWORD}), 403, "M_GUEST_ACCESS_FORBIDDEN"
        )


class Closed(DoorsCase):
    rules = Rules(mode="closed")

    async def test_every_door_gives_the_same_refusal_whether_the_name_is_taken_or_not(self) -> None:
        await self.db.write(
            accounts.append_account, accounts.NewAccount(user_id=accounts.UserID(f"@alice:{SERVER}"), created_ms=1)
        )
        for name in ("alice", "bob", "_x", "not a name"):
            for reply in (
                await self.call("POST", "/register", body_of(name)),
                await self.call("POST", "/register", {}),
                await self.call("GET", f"/register/available?username={name.replace(' ', '%20')}"),
                await self.call("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=x"),
            ):
                self.assert_refused(reply, 403, "M_FORBIDDEN")
        self.assert_refused(await self.call("POST", "/register?kind=guest", {}), 403, "M_FORBIDDEN")

    async def test_there_is_no_registration_by_a_secret_that_is_not_configured(self) -> None:
        self.assert_refused(await self.call("GET", "/_synapse/admin/v1/register"), 404, "M_UNRECOGNIZED")


@on_both_databases
class Invite(DoorsCase):
    rules = Rules(mode="invite")

    async def give(self, token: str, uses: int | None = None, minutes: int | None = None) -> None:
        expires_ms = None if minutes is None else self.now_ms() + minutes * 60_000
        await self.db.write(
            lambda txn: accounts.append_registration_token(
                txn, token, uses_allowed=uses, created_ms=self.now_ms(), expires_ms=expires_ms
            )
        )

    async def come(self, name: str, token: object) -> Reply:
        auth = {"type": "m.login.registration_token", "token": token}
        return await self.call("POST", "/register", body_of(name, auth=auth))

    async def is_valid(self, token: str) -> bool:
        path = "/_matrix/client/v1/register/m.login.registration_token/validity?token="
        valid = (await self.call("GET", path + token)).json["valid"]
        assert isinstance(valid, bool)
        return valid

    async def test_a_token_lets_one_in_as_often_as_it_says(self) -> None:
        await self.give("twice", uses=2)
        self.client(await self.come("alice", "twice"))
        self.assertTrue(await self.is_valid("twice"))
        self.client(await self.come("bob", "twice"))
        self.assertFalse(await self.is_valid("twice"))
        self.assert_refused(await self.come("carol", "twice"), 401, "M_FORBIDDEN")

    async def test_a_token_lets_one_in_as_long_as_it_says(self) -> None:
        await self.give("soon", minutes=10)
        self.client(await self.come("alice", "soon"))
        self.advance(minutes=10)
        self.assertFalse(await self.is_valid("soon"))
        self.assert_refused(await self.come("bob", "soon"), 401, "M_FORBIDDEN")

    async def test_what_is_no_token_lets_nobody_in(self) -> None:
        await self.give("good")
        for token in ("", "Good", "good ", "\0", "' OR 1=1 --", "x" * 5000):
            self.assert_refused(await self.come("alice", token), 401, "M_FORBIDDEN")
        self.assertFalse(await self.is_valid("%00"))
        self.assert_refused(await self.come("alice", None), 400, "M_MISSING_PARAM")
        self.assert_refused(await self.come("alice", 5), 400, "M_BAD_JSON")
        reply = await self.call("POST", "/register", body_of())
        self.assert_refused(reply, 401, "M_UNRECOGNIZED")
        self.assertEqual(reply.json["flows"], [{"stages": ["m.login.registration_token"]}])

    async def test_of_those_who_race_for_the_last_use_one_wins_and_no_other_gets_an_account(self) -> None:
        await self.give("last", uses=1)
        names = ("alice", "bob", "carol")
        replies = await gatherResults([Deferred.fromCoroutine(self.come(name, "last")) for name in names])
        won, *lost = sorted(reply.status for reply in replies)
        self.assertEqual((won, set(lost) - {401, 403}), (200, set()))
        known = await self.db.read(lambda txn: txn.all("SELECT user_id FROM users"))
        self.assertEqual(len(known), 1)

    async def test_a_failed_registration_uses_up_nothing(self) -> None:
        await self.give("one", uses=1)
        alice = accounts.NewAccount(user_id=accounts.UserID(f"@alice:{SERVER}"), created_ms=1)
        await self.db.write(accounts.append_account, alice)
        self.assert_refused(await self.come("alice", "one"), 400, "M_USER_IN_USE")
        self.assertTrue(await self.is_valid("one"))

    async def test_guests_are_not_let_in(self) -> None:
        self.assert_refused(await self.call("POST", "/register?kind=guest", {}), 403, "M_FORBIDDEN")
