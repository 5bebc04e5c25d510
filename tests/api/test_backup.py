"""Backups of message keys: begun, filled, restored, deleted."""

from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlencode

from twisted.internet.defer import Deferred, gatherResults

from homeserver.devices import backup as backups
from homeserver.storage.database import Txn
from tests.kit.databases import on_both_databases
from tests.kit.doors import PASSWORD, Client, DoorsCase
from tests.kit.wire import Reply

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
AUTH_DATA = {"public_key": "abcdefg", "signatures": {"@x:y": {"ed25519:D": "sig"}}}
ROOM, OTHER = "!one:parta.test", "!two:parta.test"


def key(
    name: str = "key", *, first: int = 5, forwarded: int = 1, verified: bool = False, **spoiled: Any
) -> dict[str, Any]:
    """A key for a session."""
    data = {"ephemeral": "e", "ciphertext": name, "mac": "m"}
    worth = {"first_message_index": first, "forwarded_count": forwarded, "is_verified": verified}
    return {**worth, "session_data": data, **spoiled}


def path(place: str, version: str | None = None) -> str:
    where = "/".join(["/room_keys/keys", *(quote(part, safe="") for part in place.split("|") if part)])
    return where if version is None else f"{where}?{urlencode({'version': version})}"


class BackupCase(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice")
        self.bob = await self.register("bob")

    async def create(self, client: Client | None = None, **fields: Any) -> str:
        body = {"algorithm": ALGORITHM, "auth_data": AUTH_DATA, **fields}
        return str((await self.ok("POST", "/room_keys/version", body, client))["version"])

    async def ok(self, method: str, where: str, body: object = None, client: Client | None = None) -> Any:
        reply = await (client or self.alice).call(method, where, body)
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json

    async def refused(self, method: str, where: str, body: object, status: int, errcode: str) -> Reply:
        reply = await self.alice.call(method, where, body)
        self.assert_refused(reply, status, errcode)
        return reply

    async def put(self, place: str, body: object, version: str = "1") -> dict[str, Any]:
        answer: dict[str, Any] = await self.ok("PUT", path(place, version), body)
        self.assertEqual(set(answer), {"count", "etag"})
        return answer

    async def get(self, place: str = "", version: str = "1") -> Any:
        return await self.ok("GET", path(place, version))


@on_both_databases
class Versions(BackupCase):
    async def test_the_latest_is_the_current_one_and_the_others_stay(self) -> None:
        first = await self.create()
        second = await self.create(auth_data={"other": [1.5, {"a": "é"}]})
        self.assertNotEqual(first, second)
        current = await self.ok("GET", "/room_keys/version")
        self.assertEqual(current, {"algorithm": ALGORITHM, "auth_data": {"other": [1.5, {"a": "é"}]}, "count": 0,
                                   "etag": current["etag"], "version": second})  # fmt: skip
        self.assertIsInstance(current["etag"], str)
        self.assertEqual((await self.ok("GET", f"/room_keys/version/{first}"))["auth_data"], AUTH_DATA)

    async def test_where_there_is_none_it_is_not_found(self) -> None:
        for version in ("", "/1", "/0", "/-1", "/01", "/x", "/%D9%A1", "/99999999999999999999"):
            await self.refused("GET", f"/room_keys/version{version}", None, 404, "M_NOT_FOUND")
        for method, place in (("GET", ""), ("GET", ROOM), ("GET", f"{ROOM}|s"), ("DELETE", ""), ("DELETE", ROOM)):
            await self.refused(method, path(place, "1"), None, 404, "M_NOT_FOUND")
        await self.refused("PUT", path("", "1"), {"rooms": {}}, 404, "M_NOT_FOUND")
        await self.refused("DELETE", "/room_keys/version/1", None, 404, "M_NOT_FOUND")

    async def test_one_persons_backups_are_no_others(self) -> None:
        version = await self.create(self.bob)
        for method, where in (("GET", f"/room_keys/version/{version}"), ("DELETE", f"/room_keys/version/{version}"),
                              ("GET", path("", version)), ("DELETE", path("", version))):  # fmt: skip
            await self.refused(method, where, None, 404, "M_NOT_FOUND")
        self.assertEqual((await self.ok("GET", "/room_keys/version", client=self.bob))["version"], version)

    async def test_its_encryption_may_be_described_anew_and_nothing_else_changed(self) -> None:
        version = await self.create()
        where = f"/room_keys/version/{version}"
        for body in (
            {"algorithm": ALGORITHM, "auth_data": {"n": 2}},
            {"algorithm": ALGORITHM, "auth_data": {"n": 2}, "version": version},
        ):
            self.assertEqual(await self.ok("PUT", where, body), {})
            self.assertEqual((await self.ok("GET", where))["auth_data"], {"n": 2})
        good = {"algorithm": ALGORITHM, "auth_data": {}}
        for spoiled, errcode in (
            ({"algorithm": "m.other"}, "M_INVALID_PARAM"),
            ({"version": "2"}, "M_INVALID_PARAM"),
            ({"version": 1}, "M_BAD_JSON"),
            ({"auth_data": []}, "M_BAD_JSON"),
            ({"auth_data": None}, "M_BAD_JSON"),
        ):
            await self.refused("PUT", where, {**good, **spoiled}, 400, errcode)
        await self.refused("PUT", "/room_keys/version/2", good, 404, "M_NOT_FOUND")
        self.assertEqual((await self.ok("GET", where))["auth_data"], {"n": 2})

    async def test_deleting_one_deletes_its_keys_and_may_be_done_again(self) -> None:
        first, second = await self.create(), await self.create()
        await self.put(ROOM, {"sessions": {str(n): key() for n in range(7)}}, second)
        with patch.object(backups, "AT_ONCE", 3):
            self.assertEqual(await self.ok("DELETE", f"/room_keys/version/{second}"), {})
        left = await self.db.read(lambda txn: txn.one("SELECT COUNT(*) FROM backed_up_keys"))
        self.assertEqual(left, (0,))
        self.assertEqual(await self.ok("DELETE", f"/room_keys/version/{second}"), {})
        for where in (f"/room_keys/version/{second}", path("", second)):
            await self.refused("GET", where, None, 404, "M_NOT_FOUND")
        self.assertEqual((await self.ok("GET", "/room_keys/version"))["version"], first)
        self.assertNotIn(await self.create(), (first, second))

    async def test_bodies_have_a_shape_and_a_size(self) -> None:
        good = {"algorithm": ALGORITHM, "auth_data": AUTH_DATA}
        for spoiled, errcode in (
            ({"algorithm": 5}, "M_BAD_JSON"),
            ({"algorithm": ""}, "M_INVALID_PARAM"),
            ({"algorithm": "x" * 256}, "M_INVALID_PARAM"),
            ({"auth_data": "x"}, "M_BAD_JSON"),
            ({"auth_data": {"x": "x" * 65_536}}, "M_TOO_LARGE"),
        ):
            await self.refused("POST", "/room_keys/version", {**good, **spoiled}, 400, errcode)
        for name in good:
            body = {other: value for other, value in good.items() if other != name}
            await self.refused("POST", "/room_keys/version", body, 400, "M_BAD_JSON")
        await self.refused("GET", "/room_keys/version", None, 404, "M_NOT_FOUND")

    async def test_there_are_so_many_and_no_more(self) -> None:
        with patch.object(backups, "MOST_BACKUPS", 2):
            first = await self.create()
            await self.create()
            body = {"algorithm": ALGORITHM, "auth_data": AUTH_DATA}
            await self.refused("POST", "/room_keys/version", body, 400, "M_INVALID_PARAM")
            await self.ok("DELETE", f"/room_keys/version/{first}")
            await self.create()

    async def test_a_token_is_wanted(self) -> None:
        await self.create()
        for method, where in (("GET", "/room_keys/version"), ("GET", path("", "1")), ("DELETE", path("", "1"))):
            self.assert_refused(await self.call(method, where), 401, "M_MISSING_TOKEN")

    async def test_they_go_with_the_account_and_stay_with_the_devices_gone(self) -> None:
        await self.create()
        await self.put(f"{ROOM}|s", key())
        await self.alice.call("POST", "/logout/all")
        self.alice = await self.log_in("alice")
        self.assertEqual((await self.get())["rooms"], {ROOM: {"sessions": {"s": key()}}})
        auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": PASSWORD}
        await self.ok("POST", "/account/deactivate", {"auth": auth})
        for table in ("key_backups", "backed_up_keys"):
            self.assertEqual(await self.db.read(_count, table), 0)


def _count(txn: Txn, table: str) -> int:
    row = txn.one(f"SELECT COUNT(*) FROM {table}")
    return 0 if row is None else int(row[0])


@on_both_databases
class BackedUpKeys(BackupCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.assertEqual(await self.create(), "1")

    async def test_what_was_put_in_any_shape_is_got_in_any_shape(self) -> None:
        await self.put(f"{ROOM}|a/+ é", key("a"))
        await self.put(ROOM, {"sessions": {"b": key("b"), "c": key("c", verified=True)}})
        state = await self.put(
            "", {"rooms": {ROOM: {"sessions": {"d": key("d")}}, OTHER: {"sessions": {"a": key("o")}}}}
        )
        self.assertEqual(state["count"], 5)
        in_room = {"a/+ é": key("a"), "b": key("b"), "c": key("c", verified=True), "d": key("d")}
        self.assertEqual(
            await self.get(), {"rooms": {ROOM: {"sessions": in_room}, OTHER: {"sessions": {"a": key("o")}}}}
        )
        self.assertEqual(await self.get(ROOM), {"sessions": in_room})
        for session, value in in_room.items():
            self.assertEqual(await self.get(f"{ROOM}|{session}"), value)

    async def test_what_is_not_there_is_empty_and_a_session_not_found(self) -> None:
        self.assertEqual(await self.get(), {"rooms": {}})
        self.assertEqual(await self.get(ROOM), {"sessions": {}})
        await self.refused("GET", path(f"{ROOM}|s", "1"), None, 404, "M_NOT_FOUND")

    async def test_of_two_keys_the_better_one_is_kept(self) -> None:
        held = key("held")
        for better in (
            key("new", verified=True, first=9, forwarded=9),
            key("new", first=4, forwarded=9),
            key("new", first=5, forwarded=0),
        ):
            for first, second in ((held, better), (better, held)):
                await self.ok("DELETE", path("", "1"))
                await self.put(f"{ROOM}|s", first)
                await self.put(f"{ROOM}|s", second)
                self.assertEqual(await self.get(f"{ROOM}|s"), better)

    async def test_of_two_equal_keys_the_first_is_kept(self) -> None:
        await self.put(f"{ROOM}|s", key("held"))
        await self.put(f"{ROOM}|s", key("new"))
        self.assertEqual(await self.get(f"{ROOM}|s"), key("held"))

    async def test_the_etag_tells_when_the_keys_have_changed_and_only_then(self) -> None:
        async def state() -> tuple[str, int]:
            backup = await self.ok("GET", "/room_keys/version")
            return backup["etag"], backup["count"]

        etags = [(await state())[0]]
        for method, place, body, changes, count in (
            ("PUT", f"{ROOM}|s", key(), True, 1),
            ("PUT", f"{ROOM}|s", key(), False, 1),
            ("PUT", f"{ROOM}|s", key(first=9), False, 1),
            ("PUT", f"{ROOM}|s", key(first=1), True, 1),
            ("PUT", "", {"rooms": {}}, False, 1),
            ("PUT", "", {"rooms": {ROOM: {"sessions": {"s": key(first=9), "t": key()}}}}, True, 2),
            ("DELETE", f"{ROOM}|none", None, False, 2),
            ("DELETE", f"{OTHER}|s", None, False, 2),
            ("DELETE", OTHER, None, False, 2),
            ("DELETE", f"{ROOM}|s", None, True, 1),
            ("DELETE", "", None, True, 0),
            ("DELETE", "", None, False, 0),
        ):
            answer = await self.ok(method, path(place, "1"), body)
            self.assertEqual(await state(), (answer["etag"], answer["count"]))
            self.assertEqual((answer["etag"] != etags[-1], answer["count"]), (changes, count), (method, place, body))
            etags.append(answer["etag"])
        self.assertEqual(len(set(etags)), 1 + 5)

    async def test_keys_are_removed_one_by_one_by_room_and_all(self) -> None:
        sessions = {"sessions": {"s": key(), "t": key(), "u": key()}}
        await self.put("", {"rooms": {ROOM: sessions, OTHER: sessions}})
        self.assertEqual((await self.ok("DELETE", path(f"{ROOM}|s", "1")))["count"], 5)
        self.assertEqual(set((await self.get(ROOM))["sessions"]), {"t", "u"})
        self.assertEqual((await self.ok("DELETE", path(ROOM, "1")))["count"], 3)
        self.assertEqual(set((await self.get())["rooms"]), {OTHER})
        self.assertEqual((await self.ok("DELETE", path("", "1")))["count"], 0)
        self.assertEqual(await self.get(), {"rooms": {}})

    async def test_keys_are_added_to_the_latest_only_but_read_and_removed_from_all(self) -> None:
        await self.put(f"{ROOM}|s", key())
        await self.create()
        for place, body in (
            ("", {"rooms": {ROOM: {"sessions": {"t": key()}}}}),
            (ROOM, {"sessions": {"t": key()}}),
            (f"{ROOM}|t", key()),
        ):
            refused = await self.refused("PUT", path(place, "1"), body, 403, "M_WRONG_ROOM_KEYS_VERSION")
            self.assertEqual(refused.json["current_version"], "2")
            await self.refused("PUT", path(place, "3"), body, 404, "M_NOT_FOUND")
            await self.refused("PUT", path(place, "x"), body, 404, "M_NOT_FOUND")
        self.assertEqual(await self.get(), {"rooms": {ROOM: {"sessions": {"s": key()}}}})
        self.assertEqual(await self.get(version="2"), {"rooms": {}})
        self.assertEqual((await self.ok("DELETE", path("", "1")))["count"], 0)

    async def test_after_a_deletion_the_one_before_is_the_latest(self) -> None:
        await self.create()
        await self.ok("DELETE", "/room_keys/version/2")
        await self.put(f"{ROOM}|s", key())
        refused = await self.refused("PUT", path(f"{ROOM}|s", "2"), key(), 403, "M_WRONG_ROOM_KEYS_VERSION")
        self.assertEqual(refused.json["current_version"], "1")

    async def test_a_version_is_to_be_named(self) -> None:
        for place, body in (("", {"rooms": {}}), (ROOM, {"sessions": {}}), (f"{ROOM}|s", key())):
            for method in ("PUT", "GET", "DELETE"):
                await self.refused(method, path(place), body if method == "PUT" else None, 400, "M_MISSING_PARAM")

    async def test_thousands_are_added_at_once_and_read_again(self) -> None:
        rooms = {f"!{n}:parta.test": {"sessions": {f"{n}-{m}": key(f"{n}-{m}") for m in range(500)}} for n in range(8)}
        self.assertEqual((await self.put("", {"rooms": rooms}))["count"], 4000)
        again = {room: {"sessions": {**told["sessions"], "new": key()}} for room, told in rooms.items()}
        self.assertEqual((await self.put("", {"rooms": again}))["count"], 4008)
        self.assertEqual((await self.get())["rooms"], again)

    async def test_many_who_add_at_once_lose_nothing(self) -> None:
        places = [f"{ROOM}|{n % 10}" for n in range(30)]
        await gatherResults(
            [Deferred.fromCoroutine(self.put(place, key(str(n), first=100 - n))) for n, place in enumerate(places)]
        )
        found = (await self.get(ROOM))["sessions"]
        self.assertEqual({name: held["session_data"]["ciphertext"] for name, held in found.items()},
                         {str(n): str(20 + n) for n in range(10)})  # fmt: skip
        self.assertEqual((await self.ok("GET", "/room_keys/version"))["count"], 10)

    async def test_there_are_so_many_and_no_more(self) -> None:
        with patch.object(backups, "MOST_KEYS", 2):
            await self.put(ROOM, {"sessions": {"a": key(), "b": key()}})
            await self.refused("PUT", path(f"{ROOM}|c", "1"), key(), 400, "M_TOO_LARGE")
            await self.put(f"{ROOM}|b", key(first=1))
        self.assertEqual(set((await self.get(ROOM))["sessions"]), {"a", "b"})

    async def test_keys_have_a_shape_and_a_size(self) -> None:
        good = key()
        wrong: list[tuple[object, str]] = [
            *(({name: value for name, value in good.items() if name != missing}, "M_BAD_JSON") for missing in good),
            ({**good, "first_message_index": -1}, "M_BAD_JSON"),
            ({**good, "first_message_index": 1.5}, "M_BAD_JSON"),
            ({**good, "first_message_index": 1 << 53}, "M_BAD_JSON"),
            ({**good, "forwarded_count": "1"}, "M_BAD_JSON"),
            ({**good, "is_verified": 1}, "M_BAD_JSON"),
            ({**good, "session_data": "x"}, "M_BAD_JSON"),
            ({**good, "session_data": None}, "M_BAD_JSON"),
            ({**good, "session_data": {"x": "x" * 65_536}}, "M_TOO_LARGE"),
            ([], "M_BAD_JSON"),
        ]
        for body, errcode in wrong:
            await self.refused("PUT", path(f"{ROOM}|s", "1"), body, 400, errcode)
            await self.refused("PUT", path(ROOM, "1"), {"sessions": {"good": good, "s": body}}, 400, errcode)
            rooms = {OTHER: {"sessions": {"good": good}}, ROOM: {"sessions": {"s": body}}}
            await self.refused("PUT", path("", "1"), {"rooms": rooms}, 400, errcode)
        for session in ("x" * 256, "a\0b"):
            await self.refused("PUT", path(f"{ROOM}|{session}", "1"), good, 400, "M_INVALID_PARAM")
        for room in ("one:parta.test", "!", "#a:parta.test", "!" + "x" * 255, "!a\0:b"):
            await self.refused("PUT", path(f"{room}|s", "1"), good, 400, "M_INVALID_PARAM")
        for body in ({}, {"rooms": []}, {"rooms": {ROOM: {}}}, {"rooms": {ROOM: {"sessions": []}}}):
            await self.refused("PUT", path("", "1"), body, 400, "M_BAD_JSON")
        self.assertEqual(await self.get(), {"rooms": {}})

    async def test_what_is_encrypted_comes_back_as_it_was(self) -> None:
        data = b'{"n": 1.50, "big": 123456789012345678901234567890, "\\u0000": "\\ud83d\\ude00"}'
        raw = b'{"first_message_index":0,"forwarded_count":0,"is_verified":true,"session_data": %b}' % data
        reply = await self.alice.call("PUT", path(f"{ROOM}|s", "1"), body=raw)
        self.assertEqual(reply.status, 200, reply.body)
        got = await self.alice.call("GET", path(f"{ROOM}|s", "1"))
        self.assertEqual(got.body, raw.replace(b'"session_data": ', b'"session_data":'))
