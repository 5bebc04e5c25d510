"""Profiles: see them, set one's own."""

from typing import Any

from homeserver.accounts.profile import Profile
from homeserver.policy import SeeProfile, SetProfile
from tests.kit.databases import on_both_databases
from tests.kit.doors import SERVER, DoorsCase
from tests.kit.wire import Reply

AVATAR = "mxc://parta.test/avatar"


@on_both_databases
class OwnProfile(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        self.path = f"/profile/{self.alice.user_id}"

    async def put(self, name: str, value: object, **more: Any) -> Reply:
        return await self.alice.call("PUT", f"{self.path}/{name}", more.pop("body", {name: value}))

    async def see(self, name: str = "") -> Any:
        reply = await self.bob.call("GET", self.path + (f"/{name}" if name else ""))
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json

    async def test_a_new_profile_is_empty(self) -> None:
        self.assertEqual(await self.see(), {})
        for name in ("displayname", "avatar_url", "m.tz", "org.example.job"):
            self.assert_refused(await self.bob.call("GET", f"{self.path}/{name}"), 404, "M_NOT_FOUND")

    async def test_every_field_is_set_seen_and_removed_by_itself(self) -> None:
        fields = {
            "displayname": "Алиса",
            "avatar_url": AVATAR,
            "m.tz": "Asia/Omsk",
            "org.example.job": {"a": [1, None]},
        }
        for name, value in fields.items():
            self.assertEqual((await self.put(name, value)).json, {})
            self.assertEqual(await self.see(name), {name: value})
        self.assertEqual(await self.see(), fields)
        for name in tuple(fields):
            del fields[name]
            for _ in range(2):
                self.assertEqual((await self.alice.call("DELETE", f"{self.path}/{name}")).json, {})
            self.assertEqual(await self.see(), fields)

    async def test_a_field_of_ones_own_may_hold_any_json(self) -> None:
        for value in (None, True, 0, -1.5, 2**60, "", [], {}, [[{"a": None}]]):
            await self.put("org.example.any", value)
            self.assertEqual(await self.see("org.example.any"), {"org.example.any": value})

    async def test_the_server_finds_what_rooms_show(self) -> None:
        self.assertIsNone(await self.profiles.find(self.alice.user_id))
        await self.put("displayname", "Alice")
        await self.put("avatar_url", AVATAR)
        self.assertEqual(
            await self.profiles.find(self.alice.user_id), Profile(displayname="Alice", avatar_url=AVATAR, fields={})
        )

    async def test_an_empty_name_or_avatar_is_none(self) -> None:
        for name, value in (("displayname", "Alice"), ("avatar_url", AVATAR)):
            await self.put(name, value)
            await self.put(name, "")
            self.assertNotIn(name, await self.see())

    async def test_rooms_learn_of_names_and_avatars_that_changed_and_of_nothing_else(self) -> None:
        await self.put("displayname", "Alice")
        await self.put("displayname", "Alice")
        self.assertEqual(self.rooms.shown, [self.alice.user_id])
        await self.put("m.tz", "Asia/Omsk")
        await self.put("org.example.job", "teacher")
        await self.alice.call("DELETE", f"{self.path}/avatar_url")
        self.assertEqual(len(self.rooms.shown), 1)
        await self.put("avatar_url", AVATAR)
        await self.alice.call("DELETE", f"{self.path}/avatar_url")
        self.assertEqual(len(self.rooms.shown), 3)
        self.assertEqual(self.news("profile"), [self.alice.user_id] * 5)

    async def test_a_change_the_rooms_have_not_learned_of_is_told_after_a_start_or_when_set_again(self) -> None:
        self.rooms.fault = RuntimeError("the lights went out")
        self.assertEqual((await self.put("displayname", "Alice")).status, 500)
        self.rooms.fault = None
        self.assertEqual(await self.see(), {"displayname": "Alice"})
        self.build()
        await self.propagations.resume()
        self.assertEqual(self.rooms.shown, [self.alice.user_id])
        self.rooms.fault = RuntimeError("again")
        await self.put("displayname", "Alicia")
        self.rooms.fault = None
        await self.put("displayname", "Alicia")
        await self.propagations.resume()
        self.assertEqual(len(self.rooms.shown), 2)

    async def test_values_that_are_not_of_the_field_are_refused(self) -> None:
        for name, value, errcode in (
            ("displayname", 5, "M_BAD_JSON"),
            ("displayname", None, "M_BAD_JSON"),
            ("displayname", {"a": 1}, "M_BAD_JSON"),
            ("displayname", "x" * 257, "M_PROFILE_TOO_LARGE"),
            ("avatar_url", None, "M_BAD_JSON"),
            ("avatar_url", "https://example.org/a.png", "M_INVALID_PARAM"),
            ("avatar_url", "mxc://parta.test/../secret", "M_INVALID_PARAM"),
            ("avatar_url", "mxc://parta.test/" + "a" * 1000, "M_PROFILE_TOO_LARGE"),
            ("m.tz", 5, "M_BAD_JSON"),
            ("org.example.job", "x" * 65536, "M_PROFILE_TOO_LARGE"),
        ):
            self.assert_refused(await self.put(name, value), 400, errcode)
        for body, errcode in (
            ({}, "M_MISSING_PARAM"),
            ({"avatar_url": AVATAR}, "M_MISSING_PARAM"),
            ({"displayname": "a", "other": 1}, "M_BAD_JSON"),
            ([], "M_BAD_JSON"),
        ):
            self.assert_refused(await self.put("displayname", None, body=body), 400, errcode)
        self.assert_refused(await self.alice.call("PUT", f"{self.path}/displayname", body=b"{"), 400, "M_NOT_JSON")
        self.assertEqual(await self.see(), {})

    async def test_the_whole_stays_under_its_size(self) -> None:
        for name in ("org.example.a", "org.example.b", "org.example.c", "org.example.d"):
            reply = await self.put(name, "x" * 20_000)
        self.assert_refused(reply, 400, "M_PROFILE_TOO_LARGE")
        self.assertEqual(set(await self.see()), {"org.example.a", "org.example.b", "org.example.c"})
        self.assertEqual((await self.put("org.example.c", "small")).status, 200)
        self.assertEqual((await self.put("org.example.d", "x" * 20_000)).status, 200)

    async def test_names_of_fields_have_a_grammar(self) -> None:
        for name, errcode in (
            ("Display", "M_INVALID_PARAM"),
            ("displayName", "M_INVALID_PARAM"),
            ("other", "M_INVALID_PARAM"),
            ("org..example", "M_INVALID_PARAM"),
            (".a.b", "M_INVALID_PARAM"),
            ("org.example.%D1%8B", "M_INVALID_PARAM"),
            ("org.example.%00", "M_INVALID_PARAM"),
            ("org." + "a" * 252, "M_KEY_TOO_LARGE"),
        ):
            for method in ("GET", "PUT", "DELETE"):
                reply = await self.alice.call(method, f"{self.path}/{name}", {name: 1} if method == "PUT" else None)
                self.assert_refused(reply, 400, errcode)
        self.assertEqual((await self.put("org." + "a" * 251, 1)).status, 200)

    async def test_nobody_sets_anothers_profile(self) -> None:
        await self.put("displayname", "Alice")
        for person in (self.alice.user_id, f"@nobody:{SERVER}", "@alice:elsewhere.test"):
            path = f"/profile/{person}/displayname"
            self.assert_refused(await self.bob.call("PUT", path, {"displayname": "x"}), 403, "M_FORBIDDEN")
            self.assert_refused(await self.bob.call("DELETE", path), 403, "M_FORBIDDEN")
            self.assert_refused(await self.call("PUT", path, {"displayname": "x"}), 401, "M_MISSING_TOKEN")
        self.assertEqual(await self.see(), {"displayname": "Alice"})

    async def test_bad_user_ids_are_called_so(self) -> None:
        for person in ("alice", "@alice", "@:", "%20", "@al%00ice:parta.test"):
            self.assert_refused(await self.bob.call("GET", f"/profile/{person}"), 400, "M_INVALID_PARAM")

    async def test_unknown_and_foreign_people_have_no_profile(self) -> None:
        for person in (f"@nobody:{SERVER}", "@alice:elsewhere.test"):
            self.assert_refused(await self.bob.call("GET", f"/profile/{person}"), 404, "M_NOT_FOUND")

    async def test_the_policy_decides_who_sees_and_sets_what(self) -> None:
        await self.put("displayname", "Alice")
        self.policy.refused = {SeeProfile, (SetProfile, self.alice.user_id)}
        known = await self.bob.call("GET", self.path)
        unknown = await self.bob.call("GET", f"/profile/@nobody:{SERVER}")
        self.assert_refused(known, 403, "M_FORBIDDEN")
        self.assertEqual(known.body, unknown.body)
        self.assertEqual((await self.bob.call("GET", f"{self.path}/displayname")).body, known.body)
        self.assertEqual((await self.bob.call("GET", f"{self.path}/avatar_url")).body, known.body)
        self.assert_refused(await self.put("displayname", "Boss"), 403, "M_FORBIDDEN")
        self.assert_refused(await self.alice.call("DELETE", f"{self.path}/displayname"), 403, "M_FORBIDDEN")
        self.policy.refused.clear()
        self.assertEqual(await self.see(), {"displayname": "Alice"})

    async def test_who_has_not_signed_in_is_asked_about_too(self) -> None:
        await self.call("GET", self.path)
        asked = [act for act in self.policy.asked if isinstance(act, SeeProfile)]
        self.assertEqual(asked, [SeeProfile(by=None, person=self.alice.user_id)])

    async def test_a_guest_sets_a_name_and_nothing_else(self) -> None:
        guest = self.client(await self.call("POST", "/register?kind=guest", {}))
        path = f"/profile/{guest.user_id}"
        self.assertEqual((await guest.call("PUT", f"{path}/displayname", {"displayname": "Guest"})).status, 200)
        self.assertEqual((await guest.call("DELETE", f"{path}/displayname")).status, 200)
        for name, value in (("avatar_url", AVATAR), ("m.tz", "Asia/Omsk")):
            reply = await guest.call("PUT", f"{path}/{name}", {name: value})
            self.assert_refused(reply, 403, "M_GUEST_ACCESS_FORBIDDEN")
