"""Operators' endpoints of accounts: listed, found, made, changed, closed, and signed in to."""

from collections.abc import Awaitable, Callable

from federation.errors import Refused
from federation.ids import UserID
from homeserver.storage.accounts import set_admin, set_locked, set_suspended
from tests.kit.callers import PASSWORD
from tests.kit.operators import FORBIDDEN, NOT_FOUND, V1, V2, V3, OperatorCase
from tests.kit.people import Person

GOOD = "another horse 7"


class Listing(OperatorCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.bob.ok("PUT", f"/profile/{self.bob.user_id}/displayname", {"displayname": "Орлов Пётр"})
        for name in ("anna", "boris"):
            await self.register(name)

    async def names(self, version: str = V2, **query: object) -> list[str]:
        users = (await self.head.ok("GET", f"{version}/users", **query))["users"]
        return [user["name"].removesuffix(":parta.test") for user in users]

    async def test_all_are_listed_by_name_with_what_is_known_of_them(self) -> None:
        answer = await self.head.ok("GET", f"{V2}/users")
        self.assertEqual(answer["total"], 4)
        self.assertNotIn("next_token", answer)
        bob = next(user for user in answer["users"] if user["name"] == self.bob.user_id)
        self.assertEqual(
            {name: bob[name] for name in ("is_guest", "admin", "deactivated", "locked", "displayname", "user_type")},
            {"is_guest": False, "admin": False, "deactivated": False, "locked": False, "displayname": "Орлов Пётр",
             "user_type": None},
        )  # fmt: skip
        self.assertGreater(bob["creation_ts"], 1_600_000_000_000)
        self.assertEqual(await self.names(), ["@anna", "@bob", "@boris", "@head"])

    async def test_pages_follow_each_other_and_end(self) -> None:
        first = await self.head.ok("GET", f"{V2}/users", limit=3)
        self.assertEqual((len(first["users"]), first["next_token"], first["total"]), (3, "3", 4))
        last = await self.head.ok("GET", f"{V2}/users", limit=3, **{"from": first["next_token"]})
        self.assertEqual([user["name"] for user in last["users"]], [self.head.user_id])
        self.assertNotIn("next_token", last)

    async def test_they_are_found_by_a_part_of_a_name_in_any_case(self) -> None:
        self.assertEqual(await self.names(name="BO"), ["@bob", "@boris"])
        self.assertEqual(await self.names(name="орлов"), ["@bob"])
        self.assertEqual(await self.names(name="%"), [])
        self.assertEqual(await self.names(user_id="@an"), ["@anna"])

    async def test_they_are_sorted_either_way(self) -> None:
        self.assertEqual(await self.names(dir="b"), ["@head", "@boris", "@bob", "@anna"])
        self.assertEqual((await self.names(order_by="admin", dir="b"))[0], "@head")
        self.assertEqual((await self.names(order_by="displayname", dir="b"))[0], "@bob")
        for order in ("creation_ts", "last_seen_ts", "is_guest", "user_type", "deactivated", "shadow_banned",
                      "avatar_url", "name"):  # fmt: skip
            self.assertEqual(len(await self.names(order_by=order)), 4)
        refused = await self.head.refused("GET", f"{V2}/users", order_by="password_hash")
        self.assertEqual(refused, (400, "M_INVALID_PARAM"))

    async def test_some_kinds_are_left_out_or_shown_alone(self) -> None:
        await self.head.ok("PUT", f"{V2}/users/@anna:parta.test", {"user_type": "bot"})
        await self.head.ok("PUT", f"{V2}/users/@boris:parta.test", {"locked": True})
        await self.head.ok("POST", f"{V1}/deactivate/{self.bob.user_id}", {})
        self.assertEqual(await self.names(), ["@anna", "@head"])
        self.assertEqual(await self.names(locked="true"), ["@anna", "@boris", "@head"])
        self.assertEqual(await self.names(deactivated="true"), ["@anna", "@bob", "@head"])
        self.assertEqual(await self.names(V3, deactivated="true"), ["@bob"])
        self.assertEqual(await self.names(V3, deactivated="false"), ["@anna", "@head"])
        self.assertEqual(await self.names(V3), ["@anna", "@bob", "@head"])
        self.assertEqual(await self.names(admins="true"), ["@head"])
        self.assertEqual(await self.names(admins="false"), ["@anna"])
        self.assertEqual(await self.names(not_user_type="bot"), ["@head"])
        self.assertEqual(await self.names(not_user_type=""), ["@anna"])


class ListingOnPostgreSQL(Listing):
    dialect = "postgresql"


class Changing(OperatorCase):
    async def put(self, name: str, **body: object) -> tuple[int, dict[str, object]]:
        reply = await self.head.call("PUT", f"{V2}/users/@{name}:parta.test", body)
        return reply.status, reply.json

    async def test_an_account_is_made_and_then_changed(self) -> None:
        status, made = await self.put("anna", password=GOOD, displayname="Anna", admin=False, threepids=[], x=1)
        self.assertEqual((status, made["displayname"], made["threepids"]), (201, "Anna", []))
        anna = await self.log_in("anna", GOOD)
        status, changed = await self.put("anna", displayname="Анна", avatar_url="mxc://parta.test/a", user_type="bot")
        self.assertEqual((status, changed["displayname"], changed["user_type"]), (200, "Анна", "bot"))
        profile = await anna.ok("GET", f"/profile/{anna.user_id}")
        self.assertEqual(profile, {"displayname": "Анна", "avatar_url": "mxc://parta.test/a"})
        self.assertIsNone((await self.put("anna", displayname="", user_type=None))[1]["displayname"])
        self.assertEqual(
            await self.deeds(subject=anna.user_id),
            [("create_account", anna.user_id), ("change_profile", anna.user_id), ("set_type", anna.user_id),
             ("change_profile", anna.user_id), ("set_type", anna.user_id)],
        )  # fmt: skip

    async def test_a_new_account_may_begin_with_all_there_is(self) -> None:
        body = {
            "password": GOOD,
            "admin": True,
            "locked": False,
            "avatar_url": "mxc://parta.test/a",
            "user_type": "bot",
        }
        self.assertEqual((await self.put("anna", **body))[0], 201)
        anna = await self.log_in("anna", GOOD)
        await anna.ok("GET", f"{V2}/users")
        self.assertEqual(
            [deed for deed, _ in await self.deeds(subject=anna.user_id)], ["create_account", "make_operator"]
        )

    async def test_a_new_name_is_shown_in_rooms(self) -> None:
        room = await self.bob.create_room()
        await self.put("bob", displayname="Robert")
        state = await self.bob.ok("GET", f"/rooms/{room}/state/m.room.member/{self.bob.user_id}")
        self.assertEqual(state["displayname"], "Robert")

    async def test_a_new_password_logs_out_unless_that_is_not_wanted(self) -> None:
        await self.put("bob", password=GOOD, logout_devices=False)
        await self.bob.ok("GET", "/account/whoami")
        await self.log_in("bob", GOOD)
        await self.head.ok("POST", f"{V1}/reset_password/{self.bob.user_id}", {"new_password": "third horse 99"})
        self.assertEqual(await self.bob.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"))
        await self.log_in("bob", "third horse 99")

    async def test_what_is_so_already_is_no_deed(self) -> None:
        await self.put("bob", displayname="bob", admin=False, locked=False, deactivated=False, avatar_url="")
        before = await self.deeds(subject=self.bob.user_id)
        await self.put("bob", displayname="bob", admin=False, locked=False, deactivated=False, avatar_url="")
        self.assertEqual(await self.deeds(subject=self.bob.user_id), before)

    async def test_bad_values_change_nothing(self) -> None:
        for body, errcode in (
            ({"password": "short"}, "M_WEAK_PASSWORD"),
            ({"avatar_url": "http://x"}, "M_INVALID_PARAM"),
            ({"displayname": "x" * 300}, "M_PROFILE_TOO_LARGE"),
            ({"admin": "yes"}, "M_BAD_JSON"),
        ):
            for name in ("bob", "nobody"):
                status, answer = await self.put(name, **body)
                self.assertEqual((status, answer["errcode"]), (400, errcode))
        for name in ("_reserved", "Ünïcode"):
            self.assertEqual((await self.put(name, password=GOOD))[0], 400)
        elsewhere = await self.head.refused("PUT", f"{V2}/users/@bob:other.test", {"password": GOOD})
        self.assertEqual(elsewhere, (400, "M_INVALID_PARAM"))
        self.assertEqual(await self.deeds(), [])

    async def test_powers_are_given_and_taken_but_not_ones_own(self) -> None:
        path = f"{V1}/users/{self.bob.user_id}/admin"
        self.assertEqual(await self.head.ok("GET", path), {"admin": False})
        await self.head.ok("PUT", path, {"admin": True})
        self.assertEqual(await self.bob.ok("GET", path), {"admin": True})
        await self.head.ok("PUT", path, {"admin": False})
        self.assertEqual(await self.bob.refused("GET", path), FORBIDDEN)
        own = await self.head.refused("PUT", f"{V1}/users/{self.head.user_id}/admin", {"admin": False})
        self.assertEqual(own, FORBIDDEN)

    async def test_nobody_closes_or_locks_themselves(self) -> None:
        for body in ({"deactivated": True}, {"locked": True}):
            self.assertEqual((await self.put("head", **body))[0], 403)
        self.assertEqual(await self.head.refused("POST", f"{V1}/deactivate/{self.head.user_id}", {}), FORBIDDEN)


class ChangingOnPostgreSQL(Changing):
    dialect = "postgresql"


class Closing(OperatorCase):
    async def test_a_closed_account_is_out_of_everything_and_stays_closed(self) -> None:
        room = await self.bob.create_room(preset="public_chat")
        await self.head.join(room)
        await self.head.ok("POST", f"{V1}/deactivate/{self.bob.user_id}", {"erase": True})
        self.assertEqual(await self.bob.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"))
        joined = (await self.head.ok("GET", f"/rooms/{room}/joined_members"))["joined"]
        self.assertEqual(set(joined), {self.head.user_id})
        shown = await self.head.ok("GET", f"{V2}/users/{self.bob.user_id}")
        self.assertEqual((shown["deactivated"], shown["erased"], shown["displayname"]), (True, True, None))
        back = await self.head.refused(
            "PUT", f"{V2}/users/{self.bob.user_id}", {"deactivated": False, "password": GOOD}
        )
        self.assertEqual(back, (400, "M_INVALID_PARAM"))
        (entry, *_) = [entry for entry in await self.log() if entry["deed"] == "deactivate"]
        self.assertEqual((entry["done_by"], entry["detail"]), (self.head.user_id, {"erase": True}))

    async def test_closing_by_a_change_of_the_account_is_the_same(self) -> None:
        await self.head.ok("PUT", f"{V2}/users/{self.bob.user_id}", {"deactivated": True})
        self.assertEqual(await self.bob.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"))


class SigningIn(OperatorCase):
    async def as_bob(self, **body: object) -> Person:
        answer = await self.head.ok("POST", f"{V1}/users/{self.bob.user_id}/login", body)
        return Person(server=self, user_id=self.bob.user_id, device_id="", token=answer["access_token"])

    async def test_an_operator_acts_as_somebody_who_sees_it_until_logging_out(self) -> None:
        puppet = await self.as_bob()
        self.assertEqual((await puppet.ok("GET", "/account/whoami"))["user_id"], self.bob.user_id)
        names = [device.get("display_name") for device in (await self.bob.ok("GET", "/devices"))["devices"]]
        self.assertIn(f"Operator {self.head.user_id}", names)
        (entry,) = await self.log(subject=self.bob.user_id)
        self.assertEqual((entry["deed"], entry["outcome"]), ("log_in_as", "done"))
        await puppet.ok("POST", "/logout")
        self.assertEqual(await puppet.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"))
        await self.bob.ok("GET", "/account/whoami")

    async def test_a_token_holds_until_its_time(self) -> None:
        now = self.server.core.world.now_ms()
        past = await self.head.refused("POST", f"{V1}/users/{self.bob.user_id}/login", {"valid_until_ms": now - 1})
        self.assertEqual(past, (400, "M_INVALID_PARAM"))
        puppet = await self.as_bob(valid_until_ms=now + 3_600_000)
        await puppet.ok("GET", "/account/whoami")

    async def test_with_the_powers_of_an_operator_go_the_tokens_made_for_others(self) -> None:
        write, accounts = self.server.core.database.write, self.server.people.accounts
        ends: dict[str, Callable[[UserID], Awaitable[object]]] = {
            "demoted": lambda who: self.head.ok("PUT", f"{V2}/users/{who}", {"admin": False}),
            "locked": lambda who: write(set_locked, who, 1),
            "suspended": lambda who: write(set_suspended, who, 1),
            "closed": lambda who: accounts.deactivate(who, erase=False),
        }
        for how, end in ends.items():
            operator = await self.register(f"{how}-operator")
            await self.make_admin(operator)
            answer = await operator.ok("POST", f"{V1}/users/{self.bob.user_id}/login", {})
            puppet = Person(server=self, user_id=self.bob.user_id, device_id="", token=answer["access_token"])
            await self.head.ok("PUT", f"{V2}/users/{operator.user_id}", {"displayname": "still one"})
            await puppet.ok("GET", "/account/whoami")
            await end(UserID(operator.user_id))
            self.assertEqual(await puppet.refused("GET", "/account/whoami"), (401, "M_UNKNOWN_TOKEN"), how)
            (device,) = (await self.bob.ok("GET", "/devices"))["devices"]
            self.assertEqual(device["device_id"], self.bob.device_id)

    async def test_tokens_of_one_operator_outlive_the_powers_of_another(self) -> None:
        other = await self.register("other")
        await self.make_admin(other)
        puppet = await self.as_bob()
        await self.head.ok("PUT", f"{V2}/users/{other.user_id}", {"admin": False})
        await puppet.ok("GET", "/account/whoami")

    async def test_who_is_no_operator_any_more_makes_no_token_though_it_was_asked_for_before(self) -> None:
        administration = self.server.admin.administration
        await self.server.core.database.write(set_admin, UserID(self.head.user_id), False)
        with self.assertRaises(Refused):
            await administration.log_in_as(UserID(self.head.user_id), UserID(self.bob.user_id), None)
        self.assertEqual(len((await self.bob.ok("GET", "/devices"))["devices"]), 1)

    async def test_nobody_signs_in_as_an_operator_or_as_who_is_not_there(self) -> None:
        other = await self.register("other")
        await self.make_admin(other)
        for who in (other.user_id, self.head.user_id):
            self.assertEqual(await self.head.refused("POST", f"{V1}/users/{who}/login", {}), FORBIDDEN)
        await self.server.people.accounts.deactivate(self.bob.user_id, erase=False)
        for who in (self.bob.user_id, "@none:parta.test"):
            self.assertEqual(await self.head.refused("POST", f"{V1}/users/{who}/login", {}), NOT_FOUND)


class Finding(OperatorCase):
    async def test_a_name_is_free_or_not(self) -> None:
        path = f"{V1}/username_available"
        self.assertEqual(await self.head.ok("GET", path, username="anna"), {"available": True})
        self.assertEqual(await self.head.refused("GET", path, username="bob"), (400, "M_USER_IN_USE"))
        self.assertEqual(await self.head.refused("GET", path, username="B@D"), (400, "M_INVALID_USERNAME"))
        self.assertEqual(await self.head.refused("GET", path), (400, "M_MISSING_PARAM"))

    async def test_nobody_is_known_by_anything_else(self) -> None:
        for path in ("threepid/email/users/x%40y.z", "auth_providers/oidc/users/x"):
            self.assertEqual(await self.head.refused("GET", f"{V1}/{path}"), NOT_FOUND)

    async def test_nobody_takes_part_in_experiments(self) -> None:
        path = f"{V1}/experimental_features/{self.bob.user_id}"
        self.assertEqual(await self.head.ok("GET", path), {"features": {}})
        self.assertEqual(await self.head.refused("PUT", path, {"features": {}}), (405, "M_UNRECOGNIZED"))
        self.assertEqual(await self.bob.refused("GET", path), FORBIDDEN)

    async def test_what_there_is_not_is_not_found(self) -> None:
        for path in (f"{V2}/users/@none:parta.test", f"{V1}/users/@none:parta.test/admin"):
            self.assertEqual(await self.head.refused("GET", path), NOT_FOUND)
        self.assertEqual(await self.head.refused("GET", f"{V2}/users/@_parta:parta.test"), NOT_FOUND)
        body = {"new_password": PASSWORD}
        self.assertEqual(await self.head.refused("POST", f"{V1}/reset_password/@none:parta.test", body), NOT_FOUND)
        self.assertEqual(await self.head.refused("POST", f"{V1}/deactivate/@none:parta.test", {}), NOT_FOUND)

    async def test_shadow_bans_are_not_to_be_had(self) -> None:
        path = f"{V1}/users/{self.bob.user_id}/shadow_ban"
        self.assertEqual(await self.head.refused("POST", path, {}), (404, "M_UNRECOGNIZED"))
