"""Every door of the table of routes, tried by outsiders: what is not theirs answers as what was made up."""

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from homeserver.api.route import Route
from homeserver.schools.rights import Kind
from tests.kit.district import DistrictCase
from tests.kit.people import Person

Things = Mapping[str, str]
"""What a request may name, by the parameter of a path."""

DELAYED = "/_matrix/client/unstable/org.matrix.msc4140"

ONES_OWN = re.compile(
    r"/(logout|logout/all|account/deactivate|account/password|refresh|register|initialSync|room_keys/version|create|rendezvous)$"
)
"""Doors that name nobody and nothing of others, or end the session, or answer anew each time."""

PASSING = re.compile(
    r'"(session|next_batch|pos|content_uri|event_id|filter_id|delay_id)":"[^"]*"|"(last_active_ago|age|origin_server_ts|last_seen|last_seen_ts)":\d+'
)
"""Parts of answers that differ each time."""

FIXED = {
    "serverName": "north.example", "eventType": "m.room.name", "stateKey": "", "relType": "m.thread", "type": "org.x",
    "tag": "u.x", "keyName": "org.x", "kind": "room", "roomAlias": "#x:north.example", "protocol": "x",
    "fileName": "x", "version": "1", "sessionId": "x", "receiptType": "m.read", "txnId": "t1",
}  # fmt: skip

NOTHING = {"roomId": "!" + "x" * 43, "eventId": "$" + "x" * 43, "userId": "@xxxxx:north.example", "mediaId": "x" * 32,
           "deviceId": "XXXXXXXXXX", "filterId": "987654", "orgId": "x" * 12, "classId": "x" * 12,
           "delayId": "x" * 24}  # fmt: skip

UNREAD = {
    ("PUT", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/{rendezvousId}"),
    ("POST", "/_matrix/client/v3/account/3pid/email/requestToken"),
    ("POST", "/_matrix/client/v3/account/3pid/msisdn/requestToken"),
    ("GET", "/_matrix/client/v3/keys/changes"),
    ("GET", "/_matrix/client/v3/thirdparty/location"),
    ("GET", "/_matrix/client/v3/thirdparty/user"),
    ("POST", "/_matrix/client/v3/keys/device_signing/upload"),
    ("POST", "/_matrix/client/unstable/keys/device_signing/upload"),
    ("POST", "/_matrix/client/v3/keys/upload"),
    ("POST", "/_matrix/client/v3/user/{userId}/filter"),
    ("PUT", "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"),
}
"""Doors to one's own alone, whose requests are refused as malformed here; at all others somebody gets further."""


OFFICE = {"name": "Школа № 9", "short_name": "Ш9", "title": "6А", "family": "Чужой", "given": "Иван", "role": "teacher",
          "sha256": "a" * 64, "signed_on": "2026-08-25", "people": ["@pupil1:north.example"],
          "organisation": "x" * 12, "kind": "professional", "cooperations": ["x" * 12],
          "until_ms": time.time_ns() // 1_000_000 + 30 * 86_400_000, "user_id": "@pupil1:north.example",
          "csv": "Фамилия;Имя;Роль\nЧужой;Иван;учитель\n"}  # fmt: skip
"""What the office is asked for, by fields of its bodies, which take no others."""


def build_fields(things: Things) -> dict[str, Any]:
    """One body for nearly all doors: each reads the fields that it knows."""
    room, event, person, device = (things[name] for name in ("roomId", "eventId", "userId", "deviceId"))
    session = {"first_message_index": 0, "forwarded_count": 0, "is_verified": False, "session_data": {}}
    return {
        **{"room_id": room, "user_id": person, "search_term": person, "new_version": "12", "reason": "x"},
        **{"invite": [person], "devices": [device], "visibility": "private", "presence": "online", "displayname": "x"},
        **{"typing": True, "timeout": 1000, "m.read": event, "m.fully_read": event, "locked": True, "suspended": True},
        **{"one_time_keys": {person: {device: "x"}}, "device_keys": {person: []}, "messages": {person: {device: {}}}},
        **{"rooms": {room: {"sessions": {}}}, "sessions": {}, **session, "actions": [], "enabled": True},
        **{"type": "m.login.password", "identifier": {"type": "m.id.user", "user": person}, "password": "wrong"},
        **{"kind": None, "app_id": "x", "pushkey": "x", "algorithm": "x", "auth_data": {}, "device_id": device},
        **{"delay_ms": 80_000_000, "content": {}, "action": "send", "sid": "x", "client_secret": "x"},
        "search_categories": {"room_events": {"search_term": "только своих", "filter": {"rooms": [room]}}},
        **{"device_data": {}, "m.relates_to": {"rel_type": "m.thread", "event_id": event}},
    }


def build_body(route: Route, path: str, things: Things) -> dict[str, Any]:
    """The body of a request that names those things."""
    person, device, field = things["userId"], things["deviceId"], path.rpartition("/")[2]
    if path.startswith("/_parta/"):
        names = [] if route.body is None else [field.name for field in msgspec.structs.fields(route.body)]
        return {name: value for name, value in {**OFFICE, "class_id": things["classId"]}.items() if name in names}
    if "/rendezvous/" in path:
        return {"sequence_token": "x", "data": "x"}
    if "/profile/" in path:
        return {field: f"mxc://north.example/{things['mediaId']}" if field == "avatar_url" else "x"}
    if field == "upload" and "signatures" in path:
        return {person: {device: {"user_id": person, "device_id": device, "algorithms": [], "keys": {}}}}
    if field == "sync":
        wanted = {"timeline_limit": 9, "required_state": [["*", "*"]] if "unstable" in path else {}}
        return {"room_subscriptions": {things["roomId"]: wanted}}
    return build_fields(things)


def build_request(route: Route, things: Things) -> tuple[str, str, object]:
    """Method, path and body of a request that names those things."""
    room, device = things["roomId"], things["deviceId"]
    known = {**FIXED, **things, "roomIdOrAlias": room, "ruleId": room, "device_id": device}
    path = re.sub(r"\{(\w+)\}", lambda name: quote(known.get(name[1], "x"), safe=""), route.path)
    rooms = msgspec.json.encode({"room": {"rooms": [things["roomId"]]}}).decode()
    query = {"ts": "1", "dir": "b", "width": "9", "height": "9", "user_id": things["userId"], "username": "x",
             "room_id": things["roomId"], "timeout": "0", "timeout_ms": "0", "version": "1", "token": "x",
             "url": "http://page.example/"}  # fmt: skip
    if route.path.endswith("/sync"):
        query["filter"] = rooms
    body = None if route.method == "GET" else build_body(route, path, things)
    return route.method, f"{path}?{urlencode(query)}", body


class EveryDoor(DistrictCase):
    async def things_of(self, title: str, login: str) -> dict[str, str]:
        """What there is in a class and with somebody of it."""
        person, room = await self.sign_in(login), await self.room(Kind.PUPILS, title)
        event_id = await person.send(room, "только для своих")
        uri = await person.upload(b"x")
        content = {"msgtype": "m.file", "body": "x", "url": uri}
        await person.send_event(room, "m.room.message", content)
        kept = await person.ok("POST", f"/user/{person.user_id}/filter", {"room": {"rooms": [room]}})
        path = f"{DELAYED}/rooms/{quote(room)}/delayed_event/m.room.message/later"
        later = await person.ok("PUT", path, {"delay_ms": 80_000_000, "content": {"body": "x"}})
        return {"delayId": later["delay_id"],
                "roomId": room, "eventId": event_id, "userId": person.user_id, "mediaId": uri.rpartition("/")[2],
                "deviceId": person.device_id, "filterId": kept["filter_id"], "orgId": self.org_id,
                "classId": await self.class_id(title)}  # fmt: skip

    async def answer(self, person: Person, route: Route, things: Things) -> tuple[Any, ...]:
        """What a door answers, with the names of things in place of them."""
        reply = await person.call(*build_request(route, things))
        body = reply.body.decode()
        for name, value in [*self.named, *NOTHING.items()]:
            body = body.replace(value, name)
        headers = {name: value for name, value in reply.headers.items() if name not in {"content-length", "date"}}
        return reply.status, PASSING.sub("", body), headers

    async def compare(self, login: str, there: Things, own: Things) -> None:
        """Try all doors, with some things replaced by one's own."""
        person = await self.sign_in(login)
        bound: dict[Route, Any] = self.factory.edge._bound  # type: ignore[attr-defined]  # what the listener answers
        for route in bound:
            if ONES_OWN.search(route.path) or (own and not all(f"{{{name}}}" in route.path for name in own)):
                continue
            found = await self.answer(person, route, {**there, **own})
            absent = await self.answer(person, route, {**NOTHING, **own})
            assert found == absent, (login, route.method, route.path)
            self.answered.setdefault((route.method, route.path), set()).add(found[0])

    async def test_what_is_not_yours_answers_as_what_is_not_there(self) -> None:
        fifth, ninth = await self.things_of("5А", "pupil1"), await self.things_of("9Б", "pupil3")
        self.named = [(name, things[name]) for things in (fifth, ninth) for name in things if name != "filterId"]
        self.answered: dict[tuple[str, str], set[int]] = {}
        victims = [(await self.sign_in("pupil1"), fifth), (await self.sign_in("pupil3"), ninth)]
        before = [await seen(victim, things["roomId"]) for victim, things in victims]
        for login, there, room in (
            ("pupil4", fifth, ninth["roomId"]),
            ("teacher2", ninth, fifth["roomId"]),
            ("parent3", fifth, await self.room(Kind.PARENTS, "9Б")),
            ("newcomer", fifth, None),
            ("dismissed", ninth, None),
        ):
            await self.compare(login, there, {})
            await self.compare(login, there, {"userId": f"@{login}:north.example"})
            if room:
                await self.compare(login, there, {"roomId": room})
        assert [await seen(victim, things["roomId"]) for victim, things in victims] == before
        unread = {door for door, statuses in self.answered.items() if statuses == {400}}
        assert unread == UNREAD


async def seen(person: Person, room: str) -> list[object]:
    """What somebody has and sees."""
    state = await person.ok("GET", f"/rooms/{quote(room)}/state")
    devices = await person.ok("GET", "/devices")
    return [
        sorted(event["event_id"] for event in state if event["type"] != "m.room.member"),
        sorted(
            (event["state_key"], event["content"]["membership"]) for event in state if event["type"] == "m.room.member"
        ),
        await person.texts(room),
        await person.ok("GET", f"/profile/{quote(person.user_id)}"),
        sorted(device["device_id"] for device in devices["devices"]),
    ]
