"""The same door pushed by several at once: what may happen once happens once, and no door breaks."""

from collections.abc import Awaitable, Iterable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, gatherResults

from homeserver.schools.rights import Kind
from tests.kit.callers import PASSWORD
from tests.kit.district import OFFICE, DistrictCase
from tests.kit.operators import V1, V2, OperatorCase
from tests.kit.people import V3
from tests.kit.server import ServerCase
from tests.kit.wire import Reply

DELAYED = "/_matrix/client/unstable/org.matrix.msc4140"
TIMES = 8


async def at_once(asking: Iterable[Awaitable[Reply]]) -> list[Reply]:
    """The answers to requests that are made side by side; none of them is a fault of ours."""

    async def wait(one: Awaitable[Reply]) -> Reply:
        return await one

    replies: list[Reply] = await gatherResults([Deferred.fromCoroutine(wait(each)) for each in asking])
    assert all(reply.status < 500 for reply in replies), replies
    return replies


def count_good(replies: Iterable[Reply]) -> int:
    """How many were done."""
    return sum(reply.status == 200 for reply in replies)


class Accounts(ServerCase):
    """Names and ways in."""

    async def test_one_of_many_gets_a_name(self) -> None:
        body = {"username": "anna", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        replies = await at_once(self.call("POST", f"{V3}/register", body) for _ in range(TIMES))
        assert count_good(replies) == 1
        assert {reply.errcode for reply in replies if reply.status != 200} == {"M_USER_IN_USE"}

    async def test_a_refresh_token_begets_one_line_of_sessions(self) -> None:
        await self.register("anna")
        body: dict[str, Any] = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "anna"},
            "password": PASSWORD,
            "refresh_token": True,
        }
        first = (await self.call("POST", f"{V3}/login", body)).json
        body = {"refresh_token": first["refresh_token"]}
        replies = await at_once(self.call("POST", f"{V3}/refresh", body) for _ in range(TIMES))
        good = [reply.json for reply in replies if reply.status == 200]
        assert good
        alive = [
            each
            for each in good
            if (await self.call("GET", f"{V3}/account/whoami", token=each["access_token"])).status == 200
        ]
        assert alive
        last = alive[-1]
        assert (await self.call("POST", f"{V3}/refresh", {"refresh_token": last["refresh_token"]})).status == 200
        assert (await self.call("POST", f"{V3}/refresh", body)).status == 401

    async def test_one_of_many_gets_an_alias(self) -> None:
        anna = await self.register("anna")
        rooms = [await anna.create_room() for _ in range(TIMES)]
        alias = quote("#x:parta.test", safe="")
        replies = await at_once(anna.call("PUT", f"/directory/room/{alias}", {"room_id": room}) for room in rooms)
        assert count_good(replies) == 1

    async def test_a_one_time_key_is_given_once(self) -> None:
        anna, boris = await self.register("anna"), await self.register("boris")
        keys = {f"signed_curve25519:{number}": {"key": "x", "signatures": {}} for number in range(TIMES // 2)}
        await anna.ok("POST", "/keys/upload", {"one_time_keys": keys})
        body = {"one_time_keys": {anna.user_id: {anna.device_id: "signed_curve25519"}}}
        replies = await at_once(boris.call("POST", "/keys/claim", body) for _ in range(TIMES))
        given = [
            key
            for reply in replies
            for key in reply.json["one_time_keys"].get(anna.user_id, {}).get(anna.device_id, ())
        ]
        assert sorted(given) == sorted(keys)

    async def test_a_delayed_event_is_sent_or_cancelled_and_once(self) -> None:
        anna = await self.register("anna")
        room = await anna.create_room()
        path = f"{DELAYED}/rooms/{quote(room)}/delayed_event/m.room.message/"
        for number in range(4):
            content = {"msgtype": "m.text", "body": str(number)}
            answer = await anna.ok("PUT", f"{path}{number}", {"delay_ms": 60_000, "content": content})
            where = f"{DELAYED}/delayed_events/{answer['delay_id']}"
            deeds = ["send", "cancel", "restart", "send", "cancel", "send"][number % 3 :]
            await at_once(anna.call("POST", f"{where}/{deed}") for deed in deeds)
            seen = await anna.ok("GET", where)
            assert (await anna.texts(room)).count(str(number)) == int("event_id" in seen)


class Operators(OperatorCase):
    """What operators give away."""

    async def test_who_is_no_operator_any_more_gets_nothing_more_done_that_was_under_way(self) -> None:
        names = [f"@new{number}:parta.test" for number in range(TIMES)]
        other = await self.register("other")
        await self.make_admin(other)
        asking = [self.head.call("PUT", f"{V2}/users/{name}", {"password": PASSWORD}) for name in names]
        asking.insert(TIMES // 2, other.call("PUT", f"{V2}/users/{self.head.user_id}", {"admin": False}))
        await at_once(asking)
        assert (await self.head.refused("GET", f"{V2}/users/{self.bob.user_id}"))[0] == 403
        assert (await self.head.refused("POST", f"{V1}/users/{self.bob.user_id}/login", {}))[0] == 403


class AtSchool(DistrictCase):
    """Dismissal, and whatever the dismissed have begun."""

    async def test_a_dismissal_in_the_middle_of_a_flood_ends_it(self) -> None:
        teacher, office = await self.sign_in("teacher1"), await self.sign_in("admin1")
        room = await self.room(Kind.PUPILS, "9Б")
        send = f"/rooms/{quote(room)}/send/m.room.message/"
        content = {"msgtype": "m.text", "body": "x"}
        asking = [teacher.call("PUT", f"{send}f{number}", content) for number in range(TIMES)]
        asking.insert(TIMES // 2, office.call("POST", f"{OFFICE}/{self.org_id}/people/{teacher.user_id}/dismiss"))
        await at_once(asking)
        again = await self.sign_in("teacher1")
        for person in (teacher, again):
            assert (await person.call("PUT", f"{send}after", content)).status in (401, 403, 404)
        pupil = await self.sign_in("pupil3")
        said = len(await pupil.texts(room))
        await self.restart()
        assert len(await pupil.texts(room)) == said

    async def test_an_archive_is_not_for_who_was_the_administrator_when_it_was_asked_for(self) -> None:
        office = await self.sign_in("admin1")
        path = f"{OFFICE}/{self.org_id}"
        export_id = (await office.ok("POST", f"{path}/people/@pupil1:north.example/export", {}))["export_id"]
        where = f"{path}/exports/{export_id}"
        before = await office.call("GET", where)
        assert before.status == 200
        dismissed = await office.call("POST", f"{path}/people/{office.user_id}/dismiss")
        again = await self.sign_in("admin1")
        for person in (office, again):
            for door in (where, f"{where}/archive"):
                reply = await person.call("GET", door)
                expected = (401, 403, 404) if dismissed.status == 200 else (200, 202, 404, 409)
                assert reply.status in expected, (door, reply, dismissed)
