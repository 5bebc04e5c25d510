"""One's own account: who one is, the password, the end of it; and third-party identifiers, of which there are none."""

from typing import Any

from homeserver.policy import CloseAccount
from homeserver.storage import accounts
from homeserver.storage import data as stored
from tests.kit.databases import on_both_databases
from tests.kit.doors import PASSWORD, SERVER, Client, DoorsCase, login_body
from tests.kit.wire import Reply

NEW = "a better one, surely"


def proof(user: str = "alice", password: str = PASSWORD, **fields: Any) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **fields}


class Password(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice")
        self.phone = await self.log_in("alice", refresh_token=True)

    async def change(self, client: Client | None = None, **fields: Any) -> Reply:
        body = {"new_password": NEW, **fields}
        asked = client or self.alice
        return await asked.call("POST", "/account/password", body)

    async def assert_password(self, password: str) -> None:
        for tried, status in ((PASSWORD, 403), (NEW, 403)):
            reply = await self.call("POST", "/login", login_body("alice", password=tried))
            self.assertEqual(reply.status, 200 if tried == password else status)

    async def test_whoami_needs_a_session(self) -> None:
        self.assert_refused(await self.call("GET", "/account/whoami"), 401, "M_MISSING_TOKEN")
        for token in ("", "x", "pta_" + "A" * 43, self.alice.token[:-1], self.alice.token.lower()):
            reply = await self.call("GET", "/account/whoami", token=token)
            self.assertEqual(reply.status, 401)

    async def test_a_change_is_asked_to_be_proved_and_then_made(self) -> None:
        asked = await self.change()
        self.assertEqual((asked.status, asked.json["flows"]), (401, [{"stages": ["m.login.password"]}]))
        await self.assert_password(PASSWORD)
        reply = await self.change(auth=proof(session=asked.json["session"]))
        self.assertEqual((reply.status, reply.json), (200, {}))
        await self.assert_password(NEW)

    async def test_a_change_ends_the_other_devices_and_not_this_one(self) -> None:
        await self.assert_lives(self.phone)
        await self.change(auth=proof())
        await self.assert_lives(self.alice)
        await self.assert_ended(self.phone)
        self.assert_refused(
            await self.call("POST", "/refresh", {"refresh_token": self.phone.refresh_token}), 401, "M_UNKNOWN_TOKEN"
        )

    async def test_a_change_may_leave_the_other_devices_alone(self) -> None:
        await self.change(auth=proof(), logout_devices=False)
        await self.assert_lives(self.alice)
        await self.assert_lives(self.phone)
        await self.assert_password(NEW)

    async def test_a_wrong_proof_changes_nothing(self) -> None:
        await self.register("bob", password="bobs own password")
        session = (await self.change()).json["session"]
        for auth in (
            proof(password="wrong", session=session),
            proof("bob", "bobs own password", session=session),
            proof("nobody", session=session),
            proof("@alice:elsewhere.test", session=session),
        ):
            reply = await self.change(auth=auth)
            self.assert_refused(reply, 401, "M_FORBIDDEN")
            self.assertEqual(reply.json["session"], session)
            self.assertNotIn("completed", reply.json)
        for auth, status in (({"type": "m.login.dummy", "session": session}, 401), ({"session": session}, 401)):
            self.assertEqual((await self.change(auth=auth)).status, status)
        for auth in ({"type": "m.login.password"}, proof(identifier=None), proof(identifier={"type": "m.id.user"})):
            self.assertEqual((await self.change(auth=auth)).status, 400)
        await self.assert_password(PASSWORD)

    async def test_a_proof_is_bound_to_its_person_its_operation_and_its_request(self) -> None:
        bob = await self.register("bob")
        session = (await self.change()).json["session"]
        self.assert_refused(await self.change(bob, auth=proof("bob", session=session)), 401, "M_UNKNOWN")
        deactivation = await self.alice.call("POST", "/account/deactivate", {"auth": proof(session=session)})
        self.assert_refused(deactivation, 401, "M_UNKNOWN")
        self.assertEqual((await self.change(auth=proof(session=session))).status, 200)
        self.assertEqual((await self.change(auth={"session": session})).status, 200)
        reply = await self.change(auth={"session": session}, new_password="still another one")
        self.assert_refused(reply, 401, "M_FORBIDDEN")
        await self.assert_password(NEW)

    async def test_the_old_way_to_name_oneself_still_works(self) -> None:
        auth = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
        self.assertEqual((await self.change(auth=auth)).status, 200)

    async def test_without_a_session_the_old_password_is_proof_enough(self) -> None:
        reply = await self.call("POST", "/account/password", {"new_password": NEW, "auth": proof()})
        self.assertEqual(reply.status, 200)
        await self.assert_password(NEW)
        await self.assert_ended(self.alice)
        self.assert_refused(
            await self.call("POST", "/account/password", {"new_password": NEW, "auth": proof("nobody")}),
            401,
            "M_FORBIDDEN",
        )

    async def test_a_locked_account_keeps_its_password(self) -> None:
        await self.db.write(accounts.set_locked, self.alice.user_id, 1)
        self.assert_refused(await self.change(auth=proof()), 401, "M_USER_LOCKED")
        body = {"new_password": NEW, "auth": proof()}
        self.assert_refused(await self.call("POST", "/account/password", body), 401, "M_FORBIDDEN")
        await self.db.write(accounts.set_locked, self.alice.user_id, None)
        await self.assert_password(PASSWORD)

    async def test_a_weak_password_is_refused_before_the_proof(self) -> None:
        for auth in (None, proof()):
            self.assert_refused(await self.change(auth=auth, new_password="alice"), 400, "M_WEAK_PASSWORD")

    async def test_bodies_of_the_wrong_shape_are_refused(self) -> None:
        for body in ({}, {"new_password": 5}, {"new_password": NEW, "logout_devices": "no"}, {"auth": proof()}):
            self.assert_refused(await self.alice.call("POST", "/account/password", body), 400, "M_BAD_JSON")

    async def test_a_composed_letter_is_the_letter(self) -> None:
        """Spec: keyboards differ in how they write й, the person doesn't."""
        await self.change(auth=proof(), new_password="й" * 4 + "пароль")
        decomposed = "\u0438\u0306" * 4 + "пароль"
        self.assertEqual((await self.call("POST", "/login", login_body("alice", password=decomposed))).status, 200)


@on_both_databases
class Deactivation(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        await self.alice.call("PUT", f"/profile/{self.alice.user_id}/displayname", {"displayname": "Alice"})
        await self.alice.call("PUT", f"/user/{self.alice.user_id}/account_data/org.example", {"a": 1})

    async def close(self, **fields: Any) -> Reply:
        return await self.alice.call("POST", "/account/deactivate", {"auth": proof(), **fields})

    async def test_it_is_asked_to_be_proved(self) -> None:
        for body in (None, {}, {"erase": True}):
            reply = await self.alice.call("POST", "/account/deactivate", body)
            self.assertEqual((reply.status, reply.json["flows"]), (401, [{"stages": ["m.login.password"]}]))
        self.assert_refused(await self.close(auth=proof(password="wrong")), 401, "M_FORBIDDEN")
        await self.assert_lives(self.alice)

    async def test_a_closed_account_has_no_session_password_or_profile_and_left_its_rooms(self) -> None:
        reply = await self.close()
        self.assertEqual((reply.status, reply.json), (200, {"id_server_unbind_result": "success"}))
        await self.assert_ended(self.alice)
        self.assert_refused(await self.call("POST", "/login", login_body("alice")), 403, "M_FORBIDDEN")
        self.assert_refused(await self.bob.call("GET", f"/profile/{self.alice.user_id}"), 404, "M_NOT_FOUND")
        self.assertEqual(self.rooms.left, [self.alice.user_id])
        await self.assert_lives(self.bob)

    async def test_what_clients_kept_goes_with_erasure_only(self) -> None:
        carol = await self.register("carol")
        await carol.call("PUT", f"/user/{carol.user_id}/account_data/org.example", {"a": 1})
        await self.close(erase=True)
        await carol.call("POST", "/account/deactivate", {"auth": proof("carol")})
        for client, kept in ((self.alice, None), (carol, b'{"a":1}')):
            found = await self.db.read(stored.find_account_data, client.user_id, "org.example")
            self.assertEqual(found, kept)

    async def test_the_departure_from_the_rooms_survives_a_crash(self) -> None:
        self.rooms.fault = RuntimeError("the lights went out")
        self.assertEqual((await self.close()).status, 500)
        await self.assert_ended(self.alice)
        self.assertEqual(self.rooms.left, [])
        self.rooms.fault = None
        self.build()
        await self.propagations.resume()
        await self.propagations.resume()
        self.assertEqual(self.rooms.left, [self.alice.user_id])

    async def test_the_policy_may_keep_an_account_open(self) -> None:
        self.policy.refused.add(CloseAccount)
        self.assert_refused(await self.close(), 403, "M_FORBIDDEN")
        anonymous = await self.call("POST", "/account/deactivate", {"auth": proof()})
        self.assert_refused(anonymous, 403, "M_FORBIDDEN")
        await self.assert_lives(self.alice)

    async def test_without_a_session_the_password_is_proof_enough(self) -> None:
        reply = await self.call("POST", "/account/deactivate", {"auth": proof()})
        self.assertEqual(reply.status, 200)
        await self.assert_ended(self.alice)

    async def test_bodies_of_the_wrong_shape_are_refused(self) -> None:
        for body in ({"erase": "yes"}, {"auth": 5}, []):
            self.assert_refused(await self.alice.call("POST", "/account/deactivate", body), 400, "M_BAD_JSON")


class Contacts(DoorsCase):
    async def test_there_are_none_and_none_can_be_had(self) -> None:
        alice = await self.register("alice")
        self.assertEqual((await alice.call("GET", "/account/3pid")).json, {"threepids": []})
        for path in ("/account/3pid", "/account/3pid/bind"):
            self.assert_refused(await alice.call("POST", path, {"sid": "x"}), 403, "M_THREEPID_AUTH_FAILED")
            self.assert_refused(await self.call("POST", path, {"sid": "x"}), 401, "M_MISSING_TOKEN")
        for path in ("/account/3pid/delete", "/account/3pid/unbind"):
            reply = await alice.call("POST", path, {"medium": "email", "address": "a@b.c"})
            self.assertEqual((reply.status, reply.json), (200, {"id_server_unbind_result": "no-support"}))

    async def test_adding_one_asks_for_a_proof_first(self) -> None:
        alice = await self.register("alice")
        verified = {"sid": "x", "client_secret": "y"}
        asked = await alice.call("POST", "/account/3pid/add", verified)
        self.assertEqual((asked.status, asked.json["flows"]), (401, [{"stages": ["m.login.password"]}]))
        auth = proof(session=asked.json["session"])
        reply = await alice.call("POST", "/account/3pid/add", {**verified, "auth": auth})
        self.assert_refused(reply, 403, "M_THREEPID_AUTH_FAILED")
        self.assert_refused(await self.call("POST", "/account/3pid/add", verified), 401, "M_MISSING_TOKEN")
        self.assert_refused(await alice.call("POST", "/account/3pid/add", {"sid": "x"}), 400, "M_BAD_JSON")

    async def test_asking_for_a_code_tells_nobody_who_is_here(self) -> None:
        await self.register("alice")
        replies = set()
        for place, status, errcode in (
            ("register", 403, "M_THREEPID_DENIED"),
            ("account/password", 403, "M_THREEPID_DENIED"),
            ("account/3pid", 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"),
        ):
            for medium in ("email", "msisdn"):
                for address in ("alice@parta.test", "nobody@parta.test"):
                    body = {"client_secret": "x", "email": address, "send_attempt": 1}
                    reply = await self.call("POST", f"/{place}/{medium}/requestToken", body)
                    self.assert_refused(reply, status, errcode)
                    replies.add(reply.body)
        self.assertEqual(len(replies), 2)
        self.assertNotIn(SERVER.encode(), b"".join(replies))
