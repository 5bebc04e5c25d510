"""What clients keep: account data, of rooms too, tags, and filters."""

from typing import Any

from homeserver.storage import data as stored
from tests.kit.databases import on_both_databases
from tests.kit.doors import SERVER, DoorsCase
from tests.kit.wire import Reply

ROOM = "!room:parta.test"
ROOM12 = "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"


@on_both_databases
class AccountData(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        self.path = f"/user/{self.alice.user_id}"

    def places(self) -> tuple[str, ...]:
        return (self.path, f"{self.path}/rooms/{ROOM}", f"{self.path}/rooms/{ROOM12}")

    async def test_what_was_set_is_given_back_each_in_its_place(self) -> None:
        for number, place in enumerate(self.places()):
            path = f"{place}/account_data/org.example.x"
            self.assert_refused(await self.alice.call("GET", path), 404, "M_NOT_FOUND")
            self.assertEqual((await self.alice.call("PUT", path, {"n": number})).json, {})
        for number, place in enumerate(self.places()):
            reply = await self.alice.call("GET", f"{place}/account_data/org.example.x")
            self.assertEqual(reply.json, {"n": number})
        self.assertEqual(self.news("account_data"), [self.alice.user_id] * 3)

    async def test_each_change_has_its_place_in_the_stream(self) -> None:
        positions = []
        for value in (1, 2):
            await self.alice.call("PUT", f"{self.path}/account_data/a", {"v": value})
            positions.append(self.db.position)
        await self.alice.call("PUT", f"{self.path}/rooms/{ROOM}/account_data/b", {})
        late = await self.db.read(lambda txn: stored.load_account_data(txn, self.alice.user_id, since=0, upto=10**9))
        self.assertEqual([(one.room_id, one.type, one.content) for one in late],
                         [(None, "a", b'{"v":2}'), (ROOM, "b", b"{}")])  # fmt: skip
        some = await self.db.read(
            lambda txn: stored.load_account_data(txn, self.alice.user_id, since=positions[0], upto=positions[1])
        )
        self.assertEqual([one.type for one in some], ["a"])

    async def test_odd_types_and_contents_come_back_as_they_went(self) -> None:
        for kind, content in (
            ("%2F", {"a/b": 1}),
            ("тип", {"ы": ["😀", 1.5, None, 2**70]}),
            ("a%20b", {}),
            ("m.tag", {}),
        ):
            path = f"{self.path}/account_data/{kind}"
            body = None
            if kind == "тип":
                path, body = (
                    f"{self.path}/account_data/%D1%82%D0%B8%D0%BF",
                    '{"ы":["😀",1.5,null,1180591620717411303424]}',
                )
            sent = await self.alice.call("PUT", path, None if body else content, body=body.encode() if body else None)
            self.assertEqual(sent.status, 200, sent.body)
            got = await self.alice.call("GET", path)
            if body:
                self.assertEqual(got.body.decode(), body)
            else:
                self.assertEqual(got.json, content)

    async def test_bodies_that_are_no_objects_are_refused(self) -> None:
        for place in self.places():
            path = f"{place}/account_data/x"
            for raw, errcode in ((b"[]", "M_BAD_JSON"), (b"null", "M_BAD_JSON"), (b"5", "M_BAD_JSON"),
                                 (b"", "M_NOT_JSON"), (b"{", "M_NOT_JSON"), (b'{"a":NaN}', "M_NOT_JSON"),
                                 (b'{"a":"\xff"}', "M_NOT_JSON")):  # fmt: skip
                self.assert_refused(await self.alice.call("PUT", path, body=raw), 400, errcode)
            reply = await self.alice.call("PUT", path, {"a": "x" * (1 << 18)})
            self.assert_refused(reply, 413, "M_TOO_LARGE")
            self.assert_refused(await self.alice.call("GET", path), 404, "M_NOT_FOUND")

    async def test_types_that_the_server_sets_are_not_for_clients(self) -> None:
        for place in self.places():
            for kind in ("m.fully_read", "m.push_rules"):
                path = f"{place}/account_data/{kind}"
                self.assert_refused(await self.alice.call("PUT", path, {"a": 1}), 405, "M_BAD_JSON")
        reply = await self.alice.call("GET", f"{self.path}/account_data/m.push_rules")
        self.assertEqual(reply.json, {"global": {}})

    async def test_types_are_not_endless(self) -> None:
        path = f"{self.path}/account_data/{'x' * 256}"
        self.assert_refused(await self.alice.call("PUT", path, {}), 400, "M_INVALID_PARAM")

    async def test_nobody_else_sees_or_sets_it(self) -> None:
        for place in self.places():
            path = f"{place}/account_data/x"
            await self.alice.call("PUT", path, {"secret": 1})
            for reply in (await self.bob.call("GET", path), await self.bob.call("PUT", path, {"a": 1}),
                          await self.bob.call("GET", f"{place}/account_data/none"),
                          await self.bob.call("GET", f"{place}/account_data/m.push_rules")):  # fmt: skip
                self.assert_refused(reply, 403, "M_FORBIDDEN")
            self.assert_refused(await self.call("GET", path), 401, "M_MISSING_TOKEN")
            self.assertEqual((await self.alice.call("GET", path)).json, {"secret": 1})
        for person in ("@nobody:parta.test", "nonsense", "%00"):
            self.assert_refused(await self.bob.call("PUT", f"/user/{person}/account_data/x", {}), 403, "M_FORBIDDEN")

    async def test_a_room_is_named_by_a_room_id(self) -> None:
        for room in ("room", "%23alias:parta.test", "@alice:parta.test", "!"):
            for method in ("GET", "PUT"):
                path = f"{self.path}/rooms/{room}/account_data/x"
                self.assert_refused(await self.alice.call(method, path, {}), 400, "M_INVALID_PARAM")


class Tags(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        self.path = f"/user/{self.alice.user_id}/rooms/{ROOM}/tags"

    async def put(self, name: str, tag: object = None) -> Reply:
        return await self.alice.call("PUT", f"{self.path}/{name}", tag)

    async def tags(self) -> Any:
        return (await self.alice.call("GET", self.path)).json["tags"]

    async def test_tags_come_and_go_one_by_one(self) -> None:
        self.assertEqual(await self.tags(), {})
        tags = {"m.favourite": {"order": 0.25}, "u.Work": {}, "org.example": {"order": 1, "color": "red"}}
        for name, tag in tags.items():
            self.assertEqual((await self.put(name, tag)).json, {})
        self.assertEqual((await self.put("u.bare")).status, 200)
        self.assertEqual(await self.tags(), {**tags, "u.bare": {}})
        for _ in range(2):
            self.assertEqual((await self.alice.call("DELETE", f"{self.path}/u.bare")).json, {})
        self.assertEqual(await self.tags(), tags)
        data = await self.alice.call("GET", f"/user/{self.alice.user_id}/rooms/{ROOM}/account_data/m.tag")
        self.assertEqual(data.json, {"tags": tags})
        self.assertEqual(len(self.news("account_data")), 5)

    async def test_what_is_no_tag_is_refused(self) -> None:
        for tag in ({"order": "0.5"}, {"order": 1.5}, {"order": -1}, {"order": True}, {"order": []}):
            self.assert_refused(await self.put("u.a", tag), 400, "M_INVALID_PARAM")
        self.assert_refused(await self.put("u.a", []), 400, "M_BAD_JSON")
        self.assert_refused(await self.put("u." + "a" * 254, {}), 400, "M_INVALID_PARAM")
        self.assertEqual((await self.put("u." + "a" * 253, {})).status, 200)

    async def test_a_room_has_so_many_tags_and_no_more(self) -> None:
        path = f"/user/{self.alice.user_id}/rooms/{ROOM}/account_data/m.tag"
        await self.alice.call("PUT", path, {"tags": {f"u.{n}": {} for n in range(100)}})
        self.assert_refused(await self.put("u.more", {}), 400, "M_INVALID_PARAM")
        self.assertEqual((await self.put("u.5", {"order": 0})).status, 200)

    async def test_tags_in_a_shape_of_the_clients_own_are_none(self) -> None:
        path = f"/user/{self.alice.user_id}/rooms/{ROOM}/account_data/m.tag"
        for content in ({}, {"tags": []}, {"tags": "x"}, {"tags": None}):
            await self.alice.call("PUT", path, content)
            self.assertEqual(await self.tags(), {})
        await self.put("u.a", {})
        self.assertEqual(await self.tags(), {"u.a": {}})

    async def test_tags_are_nobody_elses_business(self) -> None:
        await self.put("u.a", {})
        for method, path in (("GET", self.path), ("PUT", f"{self.path}/u.b"), ("DELETE", f"{self.path}/u.a")):
            self.assert_refused(await self.bob.call(method, path, {}), 403, "M_FORBIDDEN")
            self.assert_refused(await self.call(method, path, {}), 401, "M_MISSING_TOKEN")
        self.assertEqual(await self.tags(), {"u.a": {}})
        bad = f"/user/{self.alice.user_id}/rooms/nonsense/tags"
        for method, path in (("GET", bad), ("PUT", f"{bad}/a"), ("DELETE", f"{bad}/a")):
            self.assert_refused(await self.alice.call(method, path, {}), 400, "M_INVALID_PARAM")


@on_both_databases
class Filters(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")
        self.path = f"/user/{self.alice.user_id}/filter"

    async def test_a_filter_is_given_back_as_it_was(self) -> None:
        definition = {"room": {"timeline": {"limit": 10, "types": ["m.room.*"]}}, "event_fields": ["content.body"],
                      "org.example": {"a": 1}}  # fmt: skip
        reply = await self.alice.call("POST", self.path, definition)
        filter_id = reply.json["filter_id"]
        self.assertIsInstance(filter_id, str)
        self.assertFalse(filter_id.startswith("{"))
        self.assertEqual((await self.alice.call("GET", f"{self.path}/{filter_id}")).json, definition)

    async def test_the_same_filter_has_the_same_id(self) -> None:
        bodies = (
            {},
            {"room": {"state": {"limit": 1}}, "presence": {}},
            {"presence": {}, "room": {"state": {"limit": 1}}},
        )
        ids = [(await self.alice.call("POST", self.path, body)).json["filter_id"] for body in (*bodies, {})]
        self.assertEqual(ids, ["0", "1", "1", "0"])

    async def test_what_is_no_filter_is_refused(self) -> None:
        for body in (
            {"room": []},
            {"room": {"timeline": {"limit": "10"}}},
            {"room": {"rooms": "all"}},
            {"event_format": "xml"},
            {"event_fields": "type"},
            {"presence": {"types": [5]}},
            [],
        ):
            self.assert_refused(await self.alice.call("POST", self.path, body), 400, "M_BAD_JSON")
        large = {"room": {"rooms": [f"!{n}:parta.test" for n in range(5000)]}}
        self.assert_refused(await self.alice.call("POST", self.path, large), 413, "M_TOO_LARGE")

    async def test_ids_that_are_none_and_others_filters_are_refused(self) -> None:
        await self.bob.call("POST", f"/user/{self.bob.user_id}/filter", {})
        for filter_id in ("0", "1", "-1", "x", "%00", "9" * 30, "%D9%A3", "1.0", "%7B%7D"):
            self.assert_refused(await self.alice.call("GET", f"{self.path}/{filter_id}"), 404, "M_NOT_FOUND")
        for method, path in (("POST", self.path), ("GET", f"{self.path}/0")):
            self.assert_refused(await self.bob.call(method, path, {}), 403, "M_FORBIDDEN")
            self.assert_refused(await self.call(method, path, {}), 401, "M_MISSING_TOKEN")
        self.assert_refused(await self.bob.call("POST", f"/user/@nobody:{SERVER}/filter", {}), 403, "M_FORBIDDEN")
