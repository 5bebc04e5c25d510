"""Logging in, carrying a session on, logging out."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from config.settings import Passwords as Cost
from homeserver.accounts.accounts import WrongPassword
from homeserver.accounts.login import DeviceWish
from homeserver.policy import LogIn
from homeserver.storage import accounts
from tests.kit.databases import on_both_databases
from tests.kit.doors import PASSWORD, SERVER, Client, DoorsCase, login_body


class Login(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice")

    async def test_the_flows_are_those_that_work(self) -> None:
        reply = await self.call("GET", "/login")
        self.assertEqual(reply.json, {"flows": [{"type": "m.login.password"}]})

    async def test_a_password_opens_a_session_on_a_new_device(self) -> None:
        reply = await self.call("POST", "/login", login_body("alice", initial_device_display_name="Phone"))
        self.assertEqual(set(reply.json), {"user_id", "access_token", "device_id", "home_server"})
        self.assertEqual((reply.json["user_id"], reply.json["home_server"]), (f"@alice:{SERVER}", SERVER))
        phone = self.client(reply)
        whoami = await phone.call("GET", "/account/whoami")
        self.assertEqual(whoami.json, {"user_id": phone.user_id, "device_id": phone.device_id})
        device = await phone.call("GET", f"/devices/{phone.device_id}")
        self.assertEqual((device.json["device_id"], device.json["display_name"]), (phone.device_id, "Phone"))
        await self.assert_lives(self.alice)

    async def test_a_person_may_be_named_in_every_way(self) -> None:
        ways: list[dict[str, Any]] = [
            {"identifier": {"type": "m.id.user", "user": "alice"}},
            {"identifier": {"type": "m.id.user", "user": f"@alice:{SERVER}"}},
            {"identifier": {"type": "m.id.user", "user": "ALICE"}},
            {"user": "alice"},
            {"user": f"@Alice:{SERVER}"},
        ]
        for way in ways:
            reply = await self.call("POST", "/login", {"type": "m.login.password", "password": PASSWORD, **way})
            self.assertEqual(self.client(reply).user_id, self.alice.user_id)

    async def test_wrong_unknown_foreign_and_impossible_people_are_answered_alike(self) -> None:
        refusals = [await self.call("POST", "/login", login_body("alice", password="wrong"))]
        for user in ("nobody", "@alice:elsewhere.test", "@alice", "", "@:", "a" * 300, "ал иса", "\0"):
            refusals.append(await self.call("POST", "/login", login_body(user)))
        for identifier in (
            {"type": "m.id.thirdparty", "medium": "email", "address": "alice@example.org"},
            {"type": "m.id.phone", "country": "RU", "phone": "9001234567"},
        ):
            refusals.append(await self.call("POST", "/login", login_body("", identifier=identifier)))
        old = {"type": "m.login.password", "medium": "email", "address": "alice@example.org", "password": PASSWORD}
        refusals.append(await self.call("POST", "/login", old))
        for reply in refusals:
            self.assert_refused(reply, 403, "M_FORBIDDEN")
            self.assertEqual(reply.body, refusals[0].body)

    async def test_the_device_is_the_one_asked_for_and_its_former_tokens_end(self) -> None:
        first = await self.log_in("alice", device_id="TABLET", initial_device_display_name="Tablet")
        await self.assert_lives(first)
        second = await self.log_in("alice", device_id="TABLET", initial_device_display_name="Other")
        self.assertEqual((first.device_id, second.device_id), ("TABLET", "TABLET"))
        await self.assert_ended(first)
        device = await second.call("GET", "/devices/TABLET")
        self.assertEqual(device.json["display_name"], "Tablet")

    async def test_two_people_may_have_devices_of_the_same_id(self) -> None:
        await self.register("bob")
        for name in ("alice", "bob"):
            await self.assert_lives(await self.log_in(name, device_id="SAME"))

    async def test_a_device_id_nobody_can_type_is_refused(self) -> None:
        for device_id in ("x" * 256, "a\0b", "a\nb", "\u202eabc"):
            reply = await self.call("POST", "/login", login_body("alice", device_id=device_id))
            self.assert_refused(reply, 400, "M_INVALID_PARAM")

    async def test_a_body_that_makes_no_sense_is_refused(self) -> None:
        cases: list[tuple[object, int, str]] = [
            ({}, 400, "M_BAD_JSON"),
            ([], 400, "M_BAD_JSON"),
            ({"type": 1}, 400, "M_BAD_JSON"),
            ({"type": "m.login.password"}, 400, "M_MISSING_PARAM"),
            ({"type": "m.login.password", "password": PASSWORD}, 400, "M_MISSING_PARAM"),
            ({"type": "m.login.token", "token": "x"}, 400, "M_UNKNOWN"),
            (login_body("alice", password=5), 400, "M_BAD_JSON"),
            (login_body("alice", device_id=["x"]), 400, "M_BAD_JSON"),
            (login_body("alice", refresh_token="true"), 400, "M_BAD_JSON"),
            (login_body("alice", identifier="alice"), 400, "M_BAD_JSON"),
            (login_body("alice", identifier={"type": "m.id.passport"}), 400, "M_UNKNOWN"),
            (login_body("alice", identifier={"type": "m.id.user", "user": 5}), 400, "M_BAD_JSON"),
        ]
        for body, status, errcode in cases:
            self.assert_refused(await self.call("POST", "/login", body), status, errcode)
        for raw in (b"", b"{", b'{"type": "\xff"}'):
            self.assert_refused(await self.call("POST", "/login", body=raw), 400, "M_NOT_JSON")

    async def test_unknown_fields_change_nothing(self) -> None:
        await self.assert_lives(await self.log_in("alice", color="blue", session={"a": []}))

    async def test_a_password_that_is_long_or_not_latin_is_only_wrong(self) -> None:
        for password in ("x" * 100_000, "пароль", "\0", "\ud7ff😀", ""):
            reply = await self.call("POST", "/login", login_body("alice", password=password))
            self.assert_refused(reply, 403, "M_FORBIDDEN")

    async def test_the_policy_decides_who_is_let_in(self) -> None:
        self.policy.refused.add((LogIn, self.alice.user_id))
        before = await self.alice.call("GET", "/devices")
        self.assert_refused(await self.call("POST", "/login", login_body("alice")), 403, "M_FORBIDDEN")
        self.assertEqual((await self.alice.call("GET", "/devices")).body, before.body)

    async def test_a_locked_account_is_told_so_only_to_who_has_the_password(self) -> None:
        await self.db.write(accounts.set_locked, self.alice.user_id, self.now_ms())
        reply = await self.call("POST", "/login", login_body("alice"))
        self.assert_refused(reply, 401, "M_USER_LOCKED")
        self.assertIs(reply.json["soft_logout"], True)
        self.assert_refused(
            await self.call("POST", "/login", login_body("alice", password="wrong")), 403, "M_FORBIDDEN"
        )
        self.assert_refused(await self.alice.call("GET", "/devices"), 401, "M_USER_LOCKED")
        await self.db.write(accounts.set_locked, self.alice.user_id, None)
        await self.assert_lives(self.alice)

    async def test_a_login_brings_the_hash_to_the_cost_that_is_configured_now(self) -> None:
        async def kept() -> str:
            account = await self.db.read(accounts.find_account, self.alice.user_id)
            assert account is not None
            assert account.password_hash is not None
            return account.password_hash

        before = await kept()
        self.cost = Cost(time_cost=2, memory_kib=8)
        self.build()
        for _ in range(2):
            await self.assert_lives(await self.log_in("alice"))
            self.assertIn("t=2", await kept())
        self.assertIn("t=1", before)

    async def test_a_password_that_was_changed_meanwhile_opens_nothing(self) -> None:
        account = await self.db.read(accounts.find_account, self.alice.user_id)
        assert account is not None
        await self.accounts.set_password(self.alice.user_id, "a better one, surely", None, end_others=False)
        with pytest.raises(WrongPassword):
            await self.logins.begin(self.alice.user_id, DeviceWish(), account.password_hash)

    async def test_what_is_kept_of_tokens_and_passwords_does_not_show_them(self) -> None:
        phone = await self.log_in("alice", refresh_token=True)
        kept = await self.db.read(
            lambda txn: [
                txn.all("SELECT token_hash FROM access_tokens"),
                txn.all("SELECT token_hash FROM refresh_tokens"),
                txn.all("SELECT password_hash FROM users"),
            ]
        )
        for secret in (phone.token, phone.refresh_token or "", PASSWORD):
            self.assertNotIn(secret.encode(), repr(kept).encode())
        self.assertTrue(kept[2][0][0].startswith("$argon2id$"))


class Guessing(DoorsCase):
    rates = True

    async def test_passwords_of_an_account_are_not_tried_without_end(self) -> None:
        await self.register("alice")
        await self.register("bob")
        for _ in range(10):
            reply = await self.call("POST", "/login", login_body("alice", password="wrong"))
            self.assert_refused(reply, 403, "M_FORBIDDEN")
        for password in ("wrong", PASSWORD):
            reply = await self.call("POST", "/login", login_body("alice", password=password))
            self.assert_refused(reply, 429, "M_LIMIT_EXCEEDED")
        await self.log_in("bob")
        self.client(await self.call("POST", "/login", login_body("alice"), ip="10.0.0.2"))
        self.advance(minutes=2)
        await self.log_in("alice")

    async def test_names_that_nobody_has_are_limited_alike(self) -> None:
        for _ in range(10):
            self.assert_refused(await self.call("POST", "/login", login_body("nobody")), 403, "M_FORBIDDEN")
        self.assert_refused(await self.call("POST", "/login", login_body("nobody")), 429, "M_LIMIT_EXCEEDED")


@on_both_databases
class Refresh(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.register("alice")
        self.phone = await self.log_in("alice", refresh_token=True, device_id="PHONE")

    async def refresh(self, token: str | None) -> Any:
        return await self.call("POST", "/refresh", {"refresh_token": token})

    async def carry_on(self, client: Client) -> Client:
        reply = await self.refresh(client.refresh_token)
        self.assertEqual(reply.status, 200, reply.body)
        given = reply.json
        return Client(
            case=self,
            user_id=client.user_id,
            token=given["access_token"],
            device_id=client.device_id,
            refresh_token=given["refresh_token"],
        )

    async def test_only_who_can_use_one_is_given_a_refresh_token(self) -> None:
        reply = await self.call("POST", "/login", login_body("alice", refresh_token=False))
        self.assertNotIn("refresh_token", reply.json)
        self.assertNotIn("expires_in_ms", reply.json)
        reply = await self.call("POST", "/login", login_body("alice", refresh_token=True))
        self.assertEqual(reply.json["expires_in_ms"], 3_600_000)

    async def test_a_session_without_refresh_token_does_not_expire(self) -> None:
        desk = await self.log_in("alice")
        self.advance(days=3000)
        await self.assert_lives(desk)

    async def test_an_expired_token_is_a_soft_logout_and_can_be_refreshed(self) -> None:
        await self.assert_lives(self.phone)
        self.advance(minutes=60)
        await self.assert_ended(self.phone, soft=True)
        fresh = await self.carry_on(self.phone)
        whoami = await fresh.call("GET", "/account/whoami")
        self.assertEqual(whoami.json["device_id"], "PHONE")

    async def test_the_old_tokens_hold_until_a_new_one_is_used(self) -> None:
        fresh = await self.carry_on(self.phone)
        await self.assert_lives(self.phone)
        again = await self.carry_on(self.phone)
        await self.assert_lives(again)
        await self.assert_ended(self.phone)
        await self.assert_ended(fresh)
        self.assert_refused(await self.refresh(self.phone.refresh_token), 401, "M_UNKNOWN_TOKEN")
        self.assert_refused(await self.refresh(fresh.refresh_token), 401, "M_UNKNOWN_TOKEN")
        await self.assert_lives(again)

    async def test_asking_again_and_again_leaves_one_pair_that_was_not_received(self) -> None:
        for _ in range(5):
            last = await self.carry_on(self.phone)
        count = await self.db.read(lambda txn: txn.one("SELECT COUNT(*) FROM refresh_tokens"))
        self.assertEqual(count, (2,))
        await self.assert_lives(self.phone)
        await self.assert_lives(last)
        await self.assert_ended(self.phone)

    async def test_using_the_new_refresh_token_revokes_the_old_one_too(self) -> None:
        second = await self.carry_on(self.phone)
        third = await self.carry_on(second)
        self.assert_refused(await self.refresh(self.phone.refresh_token), 401, "M_UNKNOWN_TOKEN")
        await self.assert_ended(self.phone)
        await self.assert_lives(third)

    async def test_a_long_chain_leaves_no_tokens_behind(self) -> None:
        client = self.phone
        for _ in range(5):
            client = await self.carry_on(client)
            await self.assert_lives(client)
        count = await self.db.read(
            lambda txn: txn.one(
                "SELECT (SELECT COUNT(*) FROM access_tokens WHERE device_id = 'PHONE'),"
                " (SELECT COUNT(*) FROM refresh_tokens)"
            )
        )
        self.assertEqual(count, (1, 1))

    async def test_the_old_token_is_revoked_across_a_restart(self) -> None:
        fresh = await self.carry_on(self.phone)
        self.build()
        await self.assert_lives(fresh)
        await self.assert_ended(self.phone)

    async def test_an_old_refresh_token_is_a_soft_logout(self) -> None:
        self.advance(days=121)
        reply = await self.refresh(self.phone.refresh_token)
        self.assert_refused(reply, 401, "M_UNKNOWN_TOKEN")
        self.assertIs(reply.json["soft_logout"], True)

    async def test_what_is_no_refresh_token_is_refused(self) -> None:
        for token in ("", "x", self.phone.token, "\0", "ы" * 10_000):
            reply = await self.refresh(token)
            self.assert_refused(reply, 401, "M_UNKNOWN_TOKEN")
            self.assertIs(reply.json["soft_logout"], False)
        for body in ({}, {"refresh_token": 5}, {"refresh_token": None}):
            self.assert_refused(await self.call("POST", "/refresh", body), 400, "M_BAD_JSON")
        self.assert_refused(await self.refresh(self.phone.refresh_token[:-1]), 401, "M_UNKNOWN_TOKEN")

    async def test_a_refresh_token_is_no_access_token(self) -> None:
        self.phone.token = self.phone.refresh_token or ""
        await self.assert_ended(self.phone)

    async def test_logging_out_ends_the_refresh_token(self) -> None:
        await self.phone.call("POST", "/logout")
        self.assert_refused(await self.refresh(self.phone.refresh_token), 401, "M_UNKNOWN_TOKEN")

    async def test_the_policy_and_a_lock_end_the_carrying_on(self) -> None:
        self.policy.refused.add(LogIn)
        self.assert_refused(await self.refresh(self.phone.refresh_token), 403, "M_FORBIDDEN")
        self.policy.refused.clear()
        await self.db.write(accounts.set_locked, self.phone.user_id, 1)
        self.assert_refused(await self.refresh(self.phone.refresh_token), 401, "M_USER_LOCKED")
        await self.db.write(accounts.set_locked, self.phone.user_id, None)
        await self.assert_lives(await self.carry_on(self.phone))


class Logout(DoorsCase):
    async def test_logging_out_ends_this_device_and_no_other(self) -> None:
        alice = await self.register("alice")
        phone = await self.log_in("alice")
        await self.assert_lives(phone)
        reply = await phone.call("POST", "/logout")
        self.assertEqual((reply.status, reply.json), (200, {}))
        await self.assert_ended(phone)
        listed = (await alice.call("GET", "/devices")).json["devices"]
        self.assertEqual([device["device_id"] for device in listed], [alice.device_id])
        self.assert_refused(await phone.call("POST", "/logout"), 401, "M_UNKNOWN_TOKEN")

    async def test_logging_out_everywhere_ends_every_device_of_the_person_only(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        phone = await self.log_in("alice", refresh_token=True)
        for client in (alice, phone, bob):
            await self.assert_lives(client)
        self.assertEqual((await phone.call("POST", "/logout/all", {"any": "body"})).json, {})
        await self.assert_ended(alice)
        await self.assert_ended(phone)
        await self.assert_lives(bob)
        self.assertEqual((await (await self.log_in("alice")).call("GET", "/devices")).json["devices"].__len__(), 1)

    async def test_without_a_token_nothing_ends(self) -> None:
        for path in ("/logout", "/logout/all"):
            self.assert_refused(await self.call("POST", path), 401, "M_MISSING_TOKEN")
            self.assert_refused(await self.call("POST", path, token="pta_x"), 401, "M_UNKNOWN_TOKEN")

    async def test_a_locked_account_may_still_log_out(self) -> None:
        alice = await self.register("alice")
        await self.db.write(accounts.set_locked, alice.user_id, 1)
        self.assertEqual((await alice.call("POST", "/logout")).status, 200)
        await self.assert_ended(alice)

    async def test_many_at_once_log_out_once_each(self) -> None:
        await self.register("alice")
        clients = [await self.log_in("alice") for _ in range(5)]

        replies = await gatherResults(
            [Deferred.fromCoroutine(client.call("POST", "/logout")) for client in clients for _ in range(2)]
        )
        self.assertLessEqual({reply.status for reply in replies}, {200, 401})
        for client in clients:
            await self.assert_ended(client)
