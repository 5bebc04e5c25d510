"""Bad input at every door of the server's own table: always a Matrix error, never a fault of ours, nothing written.

What is sent is made from the table of routes: for each a good request, of which one thing at a time is spoiled. A route
that needs more than a word for one of its parts is told of in `BODIES` or in `Stage.parts`.
"""

import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import getsource, unwrap
from itertools import count
from sys import modules
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from homeserver.api.route import Route
from homeserver.logs import request_id
from homeserver.storage.audit import append_audit
from tests.kit.callers import PASSWORD
from tests.kit.databases import reactor_in_use
from tests.kit.faults import LoggedFaults
from tests.kit.oddities import (
    BROKEN_BODIES,
    HUGE_VALUE,
    ODD_PARTS,
    ODD_QUERIES,
    ODD_VALUES,
    REFUSED_VALUES,
    UNDECODABLE_PARTS,
    UNDECODABLE_QUERIES,
    encode,
    fill,
    leave_out,
    spoil,
)
from tests.kit.people import Person
from tests.kit.server import ServerCase
from tests.kit.wire import Reply, Wire

IN_A_MONTH_MS = time.time_ns() // 1_000_000 + 30 * 86_400_000
ERRCODES = frozenset(
    """M_BAD_ALIAS M_BAD_JSON M_BAD_STATE M_CANNOT_OVERWRITE_MEDIA M_DUPLICATE_ANNOTATION M_EXCLUSIVE M_FORBIDDEN
    M_GUEST_ACCESS_FORBIDDEN M_INCOMPATIBLE_ROOM_VERSION M_INVALID_PARAM M_INVALID_ROOM_STATE M_INVALID_SIGNATURE
    M_INVALID_USERNAME M_KEY_TOO_LARGE M_LIMIT_EXCEEDED M_MISSING_PARAM M_MISSING_TOKEN M_NOT_FOUND M_NOT_JSON
    M_PROFILE_TOO_LARGE M_ROOM_IN_USE M_THREEPID_AUTH_FAILED M_THREEPID_DENIED M_THREEPID_MEDIUM_NOT_SUPPORTED
    M_THREEPID_NOT_FOUND M_TOO_LARGE M_UNABLE_TO_AUTHORISE_JOIN M_UNABLE_TO_GRANT_JOIN M_UNAUTHORIZED M_UNKNOWN
    M_UNKNOWN_DEVICE M_UNKNOWN_POS M_UNKNOWN_TOKEN M_UNRECOGNIZED M_UNSUPPORTED_ROOM_VERSION
    M_USER_DEACTIVATED M_USER_IN_USE
    M_USER_LOCKED M_USER_SUSPENDED M_WEAK_PASSWORD M_WRONG_ROOM_KEYS_VERSION
    M_CONCURRENT_WRITE""".split()
)
GOOD = "good"
"""Stands for the token of somebody who may ask."""
SECRET = "squeamish ossifrage"
RUINOUS = re.compile(
    r"POST .*/(logout|logout/all|password|deactivate|leave|forget|delete_devices|pushers/set)"
    r"|DELETE .*/(devices|directory/room|room_keys|pushrules|media|rendezvous|registration_tokens)/.*"
    r"|POST .*/(deactivate|reset_password)/\{userId\}|DELETE /_synapse/admin/v[12]/rooms/.*"
)
"""What ends a session or a membership when it is done: then the next request needs another one."""

IDENTIFIER = {"type": "m.id.user", "user": "{name}"}
AUTH = {"type": "m.login.password", "identifier": IDENTIFIER, "password": PASSWORD}
KEY = "A" * 43
SIGNATURES = {"{user}": {"ed25519:{device}": "c2ln"}}


def keys_of(device: str) -> dict[str, Any]:
    """The identity keys of a device."""
    algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
    keys = {f"curve25519:{device}": KEY, f"ed25519:{device}": KEY}
    signatures = {"{user}": {f"ed25519:{device}": "c2ln"}}
    whose = {"user_id": "{user}", "device_id": device}
    return {**whose, "algorithms": algorithms, "keys": keys, "signatures": signatures}


ONE_TIME_KEYS = {"signed_curve25519:AAAA": {"key": "a2V5", "signatures": SIGNATURES}}
CROSS_KEY = {"user_id": "{user}", "usage": ["master"], "keys": {f"ed25519:{KEY}": KEY}, "signatures": SIGNATURES}
BACKUP = {
    "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
    "auth_data": {"public_key": KEY, "signatures": SIGNATURES},
}
SESSION_KEYS = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": {"x": "y"}}
FILTER = {"types": ["m.*"], "not_types": [], "senders": [], "not_senders": [], "limit": 10}
ROOM_FILTER = {**FILTER, "rooms": ["{room}"], "not_rooms": [], "contains_url": True, "lazy_load_members": True}
MESSAGE = {
    "msgtype": "m.image",
    "body": "hi",
    "format": "org.matrix.custom.html",
    "formatted_body": "<b>hi</b>",
    "url": "mxc://{media}",
    "info": {"mimetype": "image/png", "size": 1, "thumbnail_url": "mxc://{media}"},
    "m.mentions": {"user_ids": ["{user}"], "room": True},
    "m.relates_to": {"rel_type": "m.thread", "event_id": "{event}", "m.in_reply_to": {"event_id": "{event}"}},
    "m.new_content": {"msgtype": "m.text", "body": "hi"},
}
BODIES: Mapping[str, Any] = {
    "msc4388/rendezvous": {"data": "x"},
    "msc4388/rendezvous/{rendezvousId}": {"sequence_token": "x", "data": "x"},
    "/users/{userId}/login": {"valid_until_ms": 1 << 50},
    "/login": {
        "type": "m.login.password",
        "identifier": IDENTIFIER,
        "password": PASSWORD,
        "device_id": "{device}",
        "user": None,
        "medium": None,
        "address": None,
    },
    "/admin/v1/join/{roomIdOrAlias}": {"user_id": "{other}"},
    "/join/{roomIdOrAlias}": {"reason": "x", "third_party_signed": None},
    "/rooms/{roomId}/join": {"reason": "x", "third_party_signed": None},
    "/sync": {
        "pos": None,
        "timeout": 0,
        "set_presence": "online",
        "extensions": {"to_device": {"enabled": True, "limit": 1}, "e2ee": {"enabled": True}},
    },
    "/pushers/set": {"kind": "http", "data": {"url": "https://127.0.0.1:1/_matrix/push/v1/notify", "format": "x"}},
    "/register": {"auth": {"type": "m.login.dummy"}, "username": "{fresh}", "password": PASSWORD},
    "/account/password": {"auth": AUTH, "new_password": PASSWORD, "logout_devices": False},
    "/account/deactivate": {"auth": AUTH, "erase": False},
    "/devices/{deviceId}": {"auth": AUTH, "display_name": "Phone"},
    "/delete_devices": {"auth": AUTH, "devices": ["{device}"]},
    "/displayname": {"displayname": "Alice"},
    "/avatar_url": {"avatar_url": "mxc://{media}"},
    "/profile/{userId}/{keyName}": {"org.parta.field": {"x": 1}},
    "/account_data/{type}": {"a": {"b": [1]}},
    "/tags/{tag}": {"order": 0.5},
    "/filter": {
        "event_fields": ["content.body"],
        "event_format": "client",
        "presence": FILTER,
        "account_data": FILTER,
        "room": {
            "rooms": ["{room}"],
            "not_rooms": [],
            "include_leave": True,
            "timeline": {**ROOM_FILTER, "unread_thread_notifications": True},
            "state": ROOM_FILTER,
            "ephemeral": FILTER,
            "account_data": FILTER,
        },
    },
    "/room_keys/version": BACKUP,
    "/room_keys/version/{version}": {**BACKUP, "version": "1"},
    "/room_keys/keys": {"rooms": {"{room}": {"sessions": {"x": SESSION_KEYS}}}},
    "/room_keys/keys/{roomId}": {"sessions": {"x": SESSION_KEYS}},
    "/room_keys/keys/{roomId}/{sessionId}": SESSION_KEYS,
    "/keys/upload": {
        "device_keys": keys_of("{device}"),
        "one_time_keys": ONE_TIME_KEYS,
        "fallback_keys": ONE_TIME_KEYS,
    },
    "/keys/query": {"device_keys": {"{user}": ["{device}"]}, "timeout": 10},
    "/keys/claim": {"one_time_keys": {"{user}": {"{device}": "signed_curve25519"}}},
    "/keys/device_signing/upload": {
        "auth": AUTH,
        "master_key": CROSS_KEY,
        "self_signing_key": None,
        "user_signing_key": None,
    },
    "/keys/signatures/upload": {"{user}": {"{device}": keys_of("{device}")}},
    "/sendToDevice/{eventType}/{txnId}": {"messages": {"{user}": {"*": {"a": [1]}}}},
    "/createRoom": {
        "visibility": "public",
        "room_alias_name": "{fresh}",
        "name": "Room",
        "topic": "Things",
        "invite": ["{other}"],
        "invite_3pid": [],
        "room_version": "12",
        "creation_content": {"m.federate": False, "type": "m.space", "additional_creators": ["@x:parta.test"]},
        "initial_state": [{"type": "m.room.topic", "state_key": "", "content": {"topic": "x"}}],
        "preset": "public_chat",
        "is_direct": True,
        "power_level_content_override": {"users": {"{other}": 50}, "events": {"m.room.name": 50}, "ban": 50},
    },
    "/invite": {"user_id": "{other}", "reason": "x"},
    "/kick": {"user_id": "{other}", "reason": "x"},
    "/ban": {"user_id": "{other}", "reason": "x"},
    "/unban": {"user_id": "{other}", "reason": "x"},
    "/send/{eventType}/{txnId}": MESSAGE,
    "/state/{eventType}": {"topic": "x", "m.topic": {"m.text": [{"body": "x", "mimetype": "text/plain"}]}},
    "/state/{eventType}/{stateKey}": {"topic": "x"},
    "/directory/room/{roomAlias}": {"room_id": "{room}"},
    "/publicRooms": {
        "limit": 10,
        "since": None,
        "filter": {"generic_search_term": "x", "room_types": [None, "m.space"]},
    },
    "/v3/search": {
        "search_categories": {
            "room_events": {
                "search_term": "x",
                "keys": ["content.body"],
                "filter": {"limit": 5, "rooms": ["{room}"], "types": ["m.room.message"], "contains_url": False},
                "order_by": "recent",
                "event_context": {"before_limit": 1, "after_limit": 1, "include_profile": True},
                "include_state": True,
                "groupings": {"group_by": [{"key": "room_id"}]},
            }
        }
    },
    "/directory/list/room/{roomId}": {"visibility": "public"},
    "/organisations": {
        "name": "Школа № {number}",
        "short_name": "Школа {number}",
        "kind": "school",
        "inn": None,
        "kpp": None,
    },
    "/classes": {"title": "9В", "year": 2026},
    "/people": {"family": "Орлов", "given": "Пётр", "role": "pupil", "class_title": "9Б", "child": ""},
    "/roles": {"role": "teacher", "class_title": "9Б", "child": ""},
    "/cooperations": {
        "organisation": "{neighbour}",
        "kind": "professional",
        "title": "Физики",
        "until_ms": IN_A_MONTH_MS,
        "server": None,
    },
    "/pupils": {"user_id": "{pupil}", "sha256": "ab" * 32},
    "/network_rooms": {"cooperations": ["{cooperation}"], "name": "Физики"},
    "/appoint": {"sha256": "ab" * 32, "signed_on": "2026-09-01"},
    "/move": {"class_id": "{class}"},
    "/sheets": {"people": ["{pupil}"]},
    "/export": {"shown_files": False},
    "/purge_history/{roomId}": {"delete_local_events": False, "purge_up_to_event_id": None, "purge_up_to_ts": 1},
    "/roster": {"csv": "фамилия,имя,роль,класс,ид\nОрлов,Пётр,pupil,9Б,1\n", "leaving": None},
    "/delayed_event/{eventType}/{txnId}": {"delay_ms": 80_000_000, "content": MESSAGE, "state_key": None},
    "/delayed_events/{delayId}": {"action": "restart"},
    "/typing/{userId}": {"typing": True, "timeout": 1000},
    "/receipt/{receiptType}/{eventId}": {"thread_id": "main"},
    "/read_markers": {"m.fully_read": "{event}", "m.read": "{event}", "m.read.private": "{event}"},
    "/presence/{userId}/status": {"presence": "online", "status_msg": "here"},
    "/pushrules/global/{kind}/{ruleId}": {"actions": ["notify", {"set_tweak": "sound", "value": "x"}], "pattern": "x"},
    "/actions": {"actions": ["notify", {"set_tweak": "sound", "value": "x"}]},
    "/enabled": {"enabled": True},
    "/upgrade": {"new_version": "12", "additional_creators": ["{other}"]},
    "/dehydrated_device": {
        "device_id": "DEHYDRATED",
        "device_data": {"algorithm": "x"},
        "device_keys": keys_of("DEHYDRATED"),
        "one_time_keys": None,
        "fallback_keys": None,
    },
    "/dehydrated_device/{device_id}/events": {"next_batch": None},
    "/v2/users/{userId}": {
        "password": None,
        "displayname": "Other",
        "avatar_url": "mxc://{media}",
        "admin": False,
        "locked": False,
        "deactivated": False,
        "user_type": "bot",
    },
    "/reset_password/{userId}": {"new_password": PASSWORD, "logout_devices": False},
    "/users/{userId}/admin": {"admin": False},
    "/suspend/{userId}": {"suspend": False},
    "/v2/users/{userId}/devices": {"device_id": "ADMIN{number}"},
    "/override_ratelimit": {"messages_per_second": 0, "burst_count": 0},
    "/registration_tokens/new": {"token": "t{number}", "uses_allowed": 1, "expiry_time": 1 << 50, "length": 16},
    "/registration_tokens/{token}": {"uses_allowed": 1, "expiry_time": 1 << 50},
    "/rooms/{roomId}/block": {"block": False},
    "/make_room_admin": {"user_id": "{other}"},
    "/admin/v1/rooms/{roomId}": {"new_room_user_id": "{user}", "room_name": "x", "message": "x", "purge": False},
    "/admin/v2/rooms/{roomId}": {"new_room_user_id": "{user}", "room_name": "x", "message": "x", "purge": False},
    "/send_server_notice": {"user_id": "{other}", "content": {"msgtype": "m.text", "body": "x"}},
    "/send_server_notice/{txnId}": {"user_id": "{other}", "content": {"msgtype": "m.text", "body": "x"}},
    "/start_job": {"job_name": "regenerate_directory"},
}
"""Good bodies by the end of the path, as far as a word for each declared field is not enough."""

STATES: Mapping[str, Any] = {
    "m.room.member": {"membership": "join", "displayname": "A", "avatar_url": "mxc://{media}", "is_direct": True},
    "m.room.power_levels": {
        "users": {"{other}": 50},
        "users_default": 0,
        "events": {"m.room.name": 50},
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "invite": 0,
        "notifications": {"room": 50},
    },
    "m.room.join_rules": {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "{room}"}]},
    "m.room.history_visibility": {"history_visibility": "shared"},
    "m.room.guest_access": {"guest_access": "can_join"},
    "m.room.canonical_alias": {"alias": "{alias}", "alt_aliases": ["{alias}"]},
    "m.room.name": {"name": "x"},
    "m.room.topic": {"topic": "x", "m.topic": {"m.text": [{"body": "x"}]}},
    "m.room.avatar": {"url": "mxc://{media}", "info": {"h": 1}},
    "m.room.pinned_events": {"pinned": ["{event}"]},
    "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_ms": 1},
    "m.room.server_acl": {"allow": ["*"], "deny": ["evil.example"], "allow_ip_literals": False},
    "m.room.tombstone": {"body": "x", "replacement_room": "{room}"},
    "m.room.third_party_invite": {"display_name": "x", "key_validity_url": "x", "public_key": "x"},
    "m.room.create": {"room_version": "12", "creator": "{user}"},
    "m.room.aliases": {"aliases": ["{alias}"]},
    "m.room.redaction": {"redacts": "{event}"},
    "m.space.child": {"via": ["parta.test"], "order": "x", "suggested": True},
    "m.space.parent": {"via": ["parta.test"], "canonical": True},
    "m.room.policy": {"via": "parta.test", "public_key": "x"},
}
QUERY_NAME = re.compile(r'"([a-z][a-z_.]*)"')
QUERIES = frozenset(
    """access_token animated at deactivated dir done_by filter filename format from from_ts full_state height
    include_all_networks kind limit max_depth max_timestamp membership method not_membership not_user_type only org_id
    order_by role class_id search search_term server server_name set_presence since suggested_only thread_id timeout to
    token ts user_id use_state_after username via width
    """.split()
)
"""Names of parameters behind the question mark; a route is asked with those that its module speaks of."""

GOOD_QUERIES: Mapping[str, Mapping[str, str]] = {
    "_count$": {"from_ts": "0"},
    "/username_available$": {"username": "n{fresh}"},
    "/available$": {"username": "n{fresh}"},
    "/validity$": {"token": "x"},
    "/fallback/web$": {"session": "{proof}"},
    "/messages$": {"dir": "b"},
    "/events$": {"timeout": "0"},
    "/changes$": {"from": "s0", "to": "s1"},
    "/timestamp_to_event$": {"ts": "1", "dir": "f"},
    "/mutual_rooms$": {"user_id": "@x:parta.test"},
    "/thirdparty/location$": {"alias": "#x:parta.test"},
    "/thirdparty/user$": {"userid": "@x:parta.test"},
    "/room_keys/keys": {"version": "1"},
    "/thumbnail/": {"width": "1", "height": "1"},
    "/preview_url$": {"url": "http%3A%2F%2Fpage.example%2F"},
    "/media/(.*/)?delete$|/purge_media_cache$": {"before_ts": "0"},
}
"""What some routes need behind the question mark, by a pattern of their path."""
LONGEST_WAIT_MS = 1000

PATIENCE_S = 15.0
_fresh = count(1)


@dataclass(kw_only=True)
class Stage:
    """What is there for requests to be about: somebody, at a device, in a room with an event."""

    alice: Person
    other: Person
    facts: dict[str, str]

    def parts(self, route: Route) -> dict[str, str]:
        """A good value for each parameter of the route's path."""
        facts = self.facts
        kind = "m.room.message" if "/send/" in route.path else "m.room.topic"
        return {
            "userId": facts[
                "pupil" if route.path.startswith("/_parta/") else "other" if "/admin/" in route.path else "user"
            ],
            "roomId": facts["room"],
            "roomIdOrAlias": facts["room"],
            "roomAlias": f"#{next(_fresh)}:parta.test" if route.method == "PUT" else facts["alias"],
            "eventId": facts["event"],
            "eventType": kind,
            "stateKey": "",
            "txnId": f"txn{next(_fresh)}",
            "deviceId": facts["other_device" if "/admin/" in route.path else "device"],
            "device_id": "DEHYDRATED",
            "filterId": "1",
            "delayId": facts["delay"],
            "version": facts["version"],
            "type": "org.parta.test",
            "tag": "u.work",
            "keyName": "org.parta.field",
            "serverName": "parta.test",
            "mediaId": facts["media"].partition("/")[2],
            "fileName": "x.txt",
            "orgId": facts["org"],
            "classId": facts["class"],
            "cooperationId": facts["cooperation"],
            "receiptType": "m.read",
            "authType": "m.login.password",
            "kind": "content",
            "scope": "global",
            "ruleId": "x",
            "reportId": "1",
            "rendezvousId": facts["meeting"],
            "token": facts["token"],
        }

    def path(self, route: Route, spoiled: Mapping[str, bytes] | None = None) -> bytes:
        """The route's path with good parts, but for the spoiled ones."""
        parts = self.parts(route)
        given = {name: quote(parts.get(name, "x"), safe="").encode() for name in names_in(route)} | dict(spoiled or {})
        return b"/".join(given[part[1:-1]] if part.startswith("{") else part.encode() for part in route.path.split("/"))

    def body(self, route: Route) -> Any:
        """A good body of the route."""
        known: Mapping[str, Any] = next((body for end, body in BODIES.items() if route.path.endswith(end)), {})
        return self.place(fill(route.body, known))

    def place(self, template: Any) -> Any:
        """Put what is there into the braces of a template."""
        match template:
            case str():
                facts = {**self.facts, "fresh": f"n{next(_fresh)}", "number": str(next(_fresh)), "session": "x"}
                return re.sub(r"\{(\w+)\}", lambda found: facts[found[1]], template)
            case dict():
                return {self.place(key): self.place(value) for key, value in template.items()}
            case list():
                return [self.place(value) for value in template]
        return template


def names_in(route: Route) -> list[str]:
    """The parameters of a route's path."""
    return re.findall(r"\{(\w+)\}", route.path)


def queries_of(route: Route) -> list[str]:
    """The parameters behind the question mark that the route's module speaks of."""
    handle = getattr(route.handle, "func", route.handle)
    source = getsource(modules[unwrap(handle).__module__])
    return sorted(QUERIES & set(QUERY_NAME.findall(source)))


def query_of(route: Route, facts: Mapping[str, str], odd: bytes = b"") -> bytes:
    """What the route needs behind the question mark, and something odd instead of or beside it."""
    good = next((query for pattern, query in GOOD_QUERIES.items() if re.search(pattern, route.path)), {})
    kept = [f"{name}={value.format(**facts, fresh=next(_fresh))}".encode() for name, value in good.items()]
    parts = ([odd] if odd else []) + [part for part in kept if part.partition(b"=")[0] != odd.partition(b"=")[0]]
    return b"?" + b"&".join(parts) if parts else b""


class BadInput(ServerCase):
    """Every route, with everything that can be wrong."""

    timeout = 240
    most_refused = 10  # of so many good requests one may be refused
    configuration = {"registration": {"mode": "open", "shared_secret": SECRET}}

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        gathered = self.server._gather_routes(self.settings)
        routes = [route for routes in gathered.values() for route in routes]
        self.routes = sorted(routes, key=lambda route: route.path.endswith(("/promote", "/dismiss")))
        self.watch_writes()
        self.wrong: list[str] = []
        self.asked = 0
        self.faults = LoggedFaults(self)
        self.operator = await self.register_operator()
        self.school = await self.found_school()
        self.stage = await self.set_the_stage()

    def watch_writes(self) -> None:
        """Note which requests wrote something; what the server does by itself is no matter."""
        self.written: set[str] = set()
        self.number = ""
        database, edge = self.server.core.database, self.factory.edge
        write, next_request_id = database.write, edge.next_request_id

        def note_write(work: Any, *args: Any) -> Deferred[Any]:
            if work is append_audit:  # that an operator was refused is written down
                return write(work, *args)
            number = request_id.get()

            def note(value: Any) -> Any:
                self.written.add(number)
                return value

            return write(work, *args).addCallback(note)

        def note_number() -> str:
            self.number = next_request_id()
            return self.number

        database.write = note_write  # type: ignore[assignment, method-assign]
        edge.next_request_id = note_number  # type: ignore[method-assign]

    async def register_operator(self) -> Person:
        nonce = (await self.call("GET", "/_synapse/admin/v1/register")).json["nonce"]
        words = {"nonce": nonce, "username": "head", "password": PASSWORD, "admin": "admin"}
        mac = hmac.new(SECRET.encode(), "\0".join(words.values()).encode(), "sha1").hexdigest()
        body = {**words, "admin": True, "mac": mac}
        return self._person(await self.call("POST", "/_synapse/admin/v1/register", body))

    async def found_school(self) -> dict[str, str]:
        """A school with a class and a pupil, which has proposed something to its neighbour."""
        root = "/_parta/school/v1/organisations"
        org = (await self.operator.ok("POST", root, {"name": "Школа № 1", "short_name": "Ш1"}))["org_id"]
        opened = await self.operator.ok("POST", f"{root}/{org}/classes", {"title": "9Б"})
        pupil = {"family": "Орлов", "given": "Пётр", "role": "pupil", "class_title": "9Б"}
        taken = await self.operator.ok("POST", f"{root}/{org}/people", pupil)
        neighbour = (await self.operator.ok("POST", root, {"name": "Школа № 2", "short_name": "Ш2"}))["org_id"]
        terms = {"organisation": neighbour, "kind": "network", "title": "Хор", "until_ms": IN_A_MONTH_MS}
        proposed = await self.operator.ok("POST", f"{root}/{org}/cooperations", terms)
        return {
            "org": org,
            "class": opened["class_id"],
            "pupil": taken["user_id"],
            "neighbour": neighbour,
            "cooperation": proposed["cooperation_id"],
        }

    async def set_the_stage(self) -> Stage:
        """Somebody new, with something of everything."""
        alice, other = await self.bring("alice"), await self.bring("other")
        room, alias = await self.open_room(alice)
        media = (await alice.upload(b"hello")).removeprefix("mxc://")
        await alice.ok("POST", f"/user/{quote(alice.user_id)}/filter", {"room": {}})
        for path, body in (
            *self.profile_of(alice, media),
            ("/pushrules/global/content/x", {"actions": ["notify"], "pattern": "x"}),
            (f"/user/{alice.user_id}/account_data/org.parta.test", {"a": 1}),
            (f"/user/{alice.user_id}/rooms/{quote(room)}/account_data/org.parta.test", {"a": 1}),
        ):
            await alice.ok("PUT", path, body)
        version = (await alice.ok("POST", "/room_keys/version", BACKUP))["version"]
        later = f"/_matrix/client/unstable/org.matrix.msc4140/rooms/{quote(room)}/delayed_event/m.room.message/x"
        meet = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
        tokens = "/_synapse/admin/v1/registration_tokens/new"
        facts = {
            "meeting": (await alice.ok("POST", meet, {"data": "x"}))["id"],
            "delay": (await alice.ok("PUT", later, {"delay_ms": 80_000_000, "content": MESSAGE}))["delay_id"],
            "user": alice.user_id,
            "name": alice.user_id[1:].partition(":")[0],
            "device": alice.device_id,
            "other_device": other.device_id,
            "token": (await self.operator.call("POST", tokens, {})).json.get("token", "x"),  # none at a school
            "other": other.user_id,
            "room": room,
            "event": await alice.send(room, "hi"),
            "alias": alias,
            "version": version,
            "media": media,
            "proof": (await alice.call("POST", "/account/password", {"new_password": PASSWORD})).json["session"],
            **self.school,
        }
        return Stage(alice=alice, other=other, facts=facts)

    async def bring(self, name: str) -> Person:
        return await self.register(f"{name}{next(_fresh)}")

    async def open_room(self, alice: Person) -> tuple[str, str]:
        """A room of hers, and its alias."""
        name = f"r{next(_fresh)}"
        room = await alice.create_room(preset="public_chat", room_alias_name=name, topic="Things")
        return room, f"#{name}:parta.test"

    def profile_of(self, alice: Person, media: str) -> Iterator[tuple[str, dict[str, object]]]:
        """What she sets of her profile."""
        yield f"/profile/{alice.user_id}/displayname", {"displayname": "Alice"}
        yield f"/profile/{alice.user_id}/avatar_url", {"avatar_url": f"mxc://{media}"}
        yield f"/profile/{alice.user_id}/org.parta.field", {"org.parta.field": 1}

    async def send(
        self,
        route: Route,
        path: bytes,
        body: bytes | None = None,
        *,
        token: str | None = GOOD,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a request whose path may be any bytes."""
        sent = {"Host": "parta.test", **(headers or {})}
        if token is not None:
            sent["Authorization"] = "Bearer " + (self.whose(route).token if token == GOOD else token)
        if body is None and route.method != "GET":
            body = b"" if route.body is None else encode(self.stage.body(route))
        if body is not None:
            sent["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items()).encode()
        wire = Wire(self.factory)
        waiting = wire.reply()
        wire.send(b"%s %s HTTP/1.1\r\n%s\r\n%s" % (route.method.encode(), path, head, body or b""))
        try:
            reply = await waiting.addTimeout(PATIENCE_S, reactor_in_use())
        except TimeoutError:
            raise AssertionError(f"no answer to {route.method} {path!r} {body!r}") from None
        await deferLater(reactor_in_use(), 0)  # the server is still writing it
        wire.hang_up()
        self.asked += 1
        return reply

    def whose(self, route: Route) -> Person:
        """Who may ask at that door."""
        is_office = route.path.startswith("/_parta/") or "/admin/" in route.path
        return self.operator if is_office else self.stage.alice

    async def each(self, routes: Iterable[Route]) -> AsyncIterator[Route]:
        """The routes one by one; before each the stage is looked after."""
        for route in routes:
            joined = await self.stage.alice.call("GET", "/joined_rooms")
            if joined.status != 200 or self.stage.facts["room"] not in joined.json["joined_rooms"]:
                self.stage = await self.set_the_stage()
            yield route

    async def expect(self, route: Route, what: str, path: bytes, body: bytes | None = None, **more: Any) -> Reply:
        """Make a request: the answer is one of ours, and if it is a refusal nothing was written.

        `status` and `errcodes` are what the answer must have.
        """
        status, errcodes = more.pop("status", None), more.pop("errcodes", None)
        self.number = ""
        reply = await self.send(route, path, body, **more)
        problem = find_problem(reply)
        if problem is None and reply.status >= 400 and self.number in self.written:
            problem = "something was written"
        is_lost = reply.status == 401 and "flows" not in reply.json and route.auth in ("user", "admin")
        if problem is None and is_lost and "token" not in more:
            problem = "the session was lost"
        if problem is None and status is not None and reply.status not in status:
            problem = f"the status is not in {status}"
        if problem is None and errcodes is not None and reply.json.get("errcode") not in errcodes:
            problem = f"the errcode is not in {errcodes}"
        if problem is not None:
            asked = f"{route.method} {path[:200].decode('latin-1')}"
            self.wrong.append(f"{asked} ({what}): {problem}: {reply.status} {reply.body[:200]!r}")
        if reply.status < 300 and RUINOUS.fullmatch(f"{route.method} {route.path}"):
            self.stage = await self.set_the_stage()
        return reply

    def conclude(self, least: int) -> None:
        """Nothing was wrong, and enough was asked."""
        assert not self.wrong, "\n".join([f"{len(self.wrong)} wrong:", *self.wrong[:60]])
        self.faults.check()
        assert not self.flushLoggedErrors()
        assert self.asked >= least, self.asked

    def with_body(self) -> Iterator[Route]:
        """The routes that read a JSON body."""
        return (route for route in self.routes if route.body is not None)

    async def test_a_good_request_is_not_refused_for_its_form(self) -> None:
        """What the others spoil is good: a request is refused, if at all, for what it wants."""
        refusals = {}
        async for route in self.each(self.routes):
            reply = await self.expect(route, "good", self.stage.path(route) + query_of(route, self.stage.facts))
            if reply.status in (400, 404, 405, 413):
                refusals[f"{route.method} {route.path}"] = (reply.status, reply.body.decode()[:300])
        assert len(refusals) < len(self.routes) // self.most_refused, json.dumps(refusals, indent=1, ensure_ascii=False)
        self.conclude(len(self.routes))

    async def test_a_body_that_is_not_a_json_object_is_refused(self) -> None:
        async for route in self.each(self.with_body()):
            path = self.stage.path(route)
            for what, body in BROKEN_BODIES.items():
                if len(body) <= route.body_limit:
                    await self.expect(route, what, path, body, status={400}, errcodes={"M_NOT_JSON", "M_BAD_JSON"})
            if not route.body_optional:
                await self.expect(route, "no body", path, b"", status={400}, errcodes={"M_NOT_JSON"})
            too_long = encode({"x": "x" * route.body_limit})
            await self.expect(route, "too long", path, too_long, status={413}, errcodes={"M_TOO_LARGE"})
        self.conclude(1000)

    async def test_a_field_of_a_wrong_kind_is_refused_or_ignored(self) -> None:
        async for route in self.each(self.with_body()):
            for what, body in spoil(self.stage.body(route), ODD_VALUES):
                await self.expect(route, what, self.stage.path(route), body)
            for what, body in leave_out(self.stage.body(route)):
                await self.expect(route, what, self.stage.path(route), body)
        self.conclude(1000)

    async def test_a_value_that_may_stand_nowhere_is_refused_wherever_it_stands(self) -> None:
        async for route in self.each(self.with_body()):
            path = self.stage.path(route)
            for what, body in spoil(self.stage.body(route), REFUSED_VALUES):
                await self.expect(route, what, path, body, status={400}, errcodes={"M_NOT_JSON", "M_BAD_JSON"})
        self.conclude(500)

    async def test_a_huge_string_breaks_nothing(self) -> None:
        async for route in self.each(self.with_body()):
            for what, body in spoil(self.stage.body(route), {"huge": HUGE_VALUE}):
                await self.expect(route, what, self.stage.path(route), body)
        self.conclude(100)

    async def test_state_of_a_wrong_kind_is_refused_or_can_be_read(self) -> None:
        """Odd state of every kind; then every door that reads the room."""
        (put,) = (r for r in self.routes if r.method == "PUT" and r.path.endswith("/state/{eventType}/{stateKey}"))
        readers = [r for r in self.routes if r.method == "GET" and r.path.endswith(("/sync", "/state", "/publicRooms"))]
        for kind, template in STATES.items():
            content = self.stage.place(template)
            key = self.stage.alice.user_id if kind == "m.room.member" else ""
            bodies = [*spoil(content, {**ODD_VALUES, **REFUSED_VALUES}), *leave_out(content), ("nothing", b"{}")]
            for what, body in bodies:
                parts = {"eventType": kind.encode(), "stateKey": quote(key).encode()}
                await self.expect(put, f"{kind} {what}", self.stage.path(put, parts), body)
            for reader in readers:
                await self.expect(reader, f"after odd {kind}", self.stage.path(reader), status={200})
        self.conclude(1000)

    async def test_a_bad_part_of_a_path_is_refused_or_found_nowhere(self) -> None:
        async for route in self.each(self.routes):
            for name in names_in(route):
                for part in ODD_PARTS:
                    await self.expect(route, f"{name} {part[:40]!r}", self.stage.path(route, {name: part}))
                for part in UNDECODABLE_PARTS:
                    await self.expect(
                        route, f"{name} {part!r}", self.stage.path(route, {name: part}), status={400, 404}
                    )
        self.conclude(1000)

    async def test_a_bad_parameter_is_refused_or_ignored(self) -> None:
        async for route in self.each(self.routes):
            path = self.stage.path(route)
            for name in queries_of(route):
                for value in (*(ODD_QUERIES if route.method == "GET" else ()), *UNDECODABLE_QUERIES):
                    waits = name == "timeout" and value.isdigit() and int(value) > LONGEST_WAIT_MS
                    if not waits:
                        query = query_of(route, self.stage.facts, name.encode() + b"=" + value)
                        await self.expect(route, f"{name}", path + query)
            for query in (b"?", b"?&&", b"?=", b"?x", b"?%FF=1", b"?limit=1&limit=x", b"??", b"?" + b"a=b&" * 500):
                await self.expect(route, "an odd query", path + query)
        self.conclude(1000)

    async def test_nobody_comes_in_without_a_good_token(self) -> None:
        async for route in self.each(self.routes):
            path, token = self.stage.path(route), self.whose(route).token
            if route.auth in ("user", "admin", "region"):
                missing: Any = {"status": {401}, "errcodes": {"M_MISSING_TOKEN"}}
                await self.expect(route, "no token", path, token=None, **missing)
                in_query = path + b"?access_token=" + token.encode()
                await self.expect(route, "a token in the query", in_query, token=None, **missing)
                for scheme in ("Basic ", "", "Bearer", "Bearer "):
                    header = {"Authorization": scheme + (token if scheme == "" else "")}
                    await self.expect(route, f"scheme {scheme!r}", path, token=None, headers=header, **missing)
            if route.auth != "none":
                for bad in ("x", token + "x", token[:-1], token.upper(), "\xff", "x" * 5000, "%00", "syt_a_b_c"):
                    await self.expect(
                        route, f"token {bad[:20]!r}", path, token=bad, status={401}, errcodes={"M_UNKNOWN_TOKEN"}
                    )
        self.conclude(500)

    async def test_nobody_changes_what_is_somebody_elses(self) -> None:
        """A user ID in the path of a request that writes is one's own, or the request is refused."""
        other, far = self.stage.other.user_id, "@x:elsewhere.example"
        async for route in self.each(self.routes):
            is_own = self.whose(route) is self.stage.alice and not route.path.endswith("/report")
            if "userId" in names_in(route) and route.method != "GET" and is_own:
                for person in (other, far, "@nobody:parta.test", "@alice:parta.test.evil.example"):
                    path = self.stage.path(route, {"userId": quote(person).encode()})
                    await self.expect(route, f"for {person}", path, status={400, 403, 404})
        self.conclude(20)

    async def test_a_path_that_leads_nowhere_is_unrecognized(self) -> None:
        async for route in self.each(self.routes):
            path = self.stage.path(route)
            for wrong in (path + b"/x/y/z", b"/" + path, b"/_matrix/client/v99" + path, path.replace(b"/v", b"/w", 1)):
                if wrong != path:
                    await self.expect(route, "a wrong path", wrong, status={404, 405}, errcodes={"M_UNRECOGNIZED"})
        self.conclude(300)


class BadInputAtSchool(BadInput):
    """The same where the school's rules are asked at every door: by a teacher, in the room of a class."""

    configuration = {"policy": "school", "registration": {"mode": "closed", "shared_secret": SECRET}}
    most_refused = 3  # of so many good requests one may be refused

    async def bring(self, name: str) -> Person:
        root = f"/_parta/school/v1/organisations/{self.school['org']}"
        teacher = {"family": "Орлова", "given": "Анна", "role": "teacher", "class_title": "9Б"}
        user_id = (await self.operator.ok("POST", f"{root}/people", teacher))["user_id"]
        (sheet,) = (await self.operator.ok("POST", f"{root}/sheets", {"people": [user_id]}))["sheets"]
        identifier = {"type": "m.id.user", "user": sheet["login"]}
        login = {"type": "m.login.password", "identifier": identifier, "password": sheet["password"]}
        return self._person(await self.call("POST", "/_matrix/client/v3/login", login))

    async def open_room(self, alice: Person) -> tuple[str, str]:
        for room in (await alice.ok("GET", "/joined_rooms"))["joined_rooms"]:
            if (await alice.call("PUT", f"/rooms/{quote(room)}/send/m.room.message/x", MESSAGE)).status == 200:
                return room, "#none:parta.test"
        raise AssertionError("a teacher may write nowhere")

    def profile_of(self, alice: Person, media: str) -> Iterator[tuple[str, dict[str, object]]]:
        yield f"/profile/{alice.user_id}/avatar_url", {"avatar_url": f"mxc://{media}"}


def find_problem(reply: Reply) -> str | None:
    """What is wrong with an answer, whatever was asked."""
    if reply.status >= 500:
        return "a fault of ours"
    if reply.status < 400 or reply.headers.get("content-type") == "text/html; charset=utf-8":
        return None
    try:
        body = reply.json
    except Exception:  # noqa: BLE001 - whatever it is, it is no JSON
        return "an error that is not JSON"
    if reply.status == 401 and isinstance(body, dict) and "flows" in body and "session" in body:
        return None if body.get("errcode", "M_FORBIDDEN") in ERRCODES else "an unknown errcode"
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        return "not a Matrix error"
    return None if body.get("errcode") in ERRCODES else "an unknown errcode"
