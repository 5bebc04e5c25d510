"""All that a region's server may ask another about something, well-formed: with events that it makes and signs.

    told = await Questions(self.north).find_told(subject, by=self.south)

is what is answered otherwise than about what there is not. `subject` is somebody with a device, a room, an event and a
file; where the asking server speaks of somebody of its own, it is its teacher1.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from homeserver.api.route import Route
from homeserver.rooms.room import Room
from tests.kit.crafting import NOTHING, NOWHERE, craft, craft_create, craft_member, craft_notice, transaction
from tests.kit.region import Region
from tests.kit.wire import Reply

V1: Final = "/_matrix/federation/v1"
CLAIMS: Final = "/_parta/federation/v1/claims"
_MESSAGE: Final = {"msgtype": "m.text", "body": "x"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is asked about; `room` is None for what there is not."""

    user_id: str
    device_id: str = "NONE"
    room: Room | None = None
    event_id: str = NOTHING
    media_id: str = "x" * 32
    org_id: str = "nothing"

    @property
    def room_id(self) -> str:
        return NOWHERE if self.room is None else self.room.room_id


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request, but for its path's and query's form: what the parameters are, and the body."""

    things: dict[str, str]
    body: Any = None


class Questions:
    """What other regions ask that one; `cooperation_id` is of a cooperation that they may name."""

    def __init__(self, asked: Region, cooperation_id: str = "none") -> None:
        self._asked = asked
        self.cooperation_id = cooperation_id

    async def find_told(self, subject: Subject, by: Region) -> set[str]:
        """The doors, unsigned ones included, that tell of this something else than of what there is not."""
        nothing = Subject(user_id=f"@nobody:{self._asked.name}")
        told = set()
        for route in self._asked.server_routes:
            real, unreal = await self._ask_all(route, subject, by), await self._ask_all(route, nothing, by)
            if [(reply.status, reply.body) for reply in real] != [(reply.status, reply.body) for reply in unreal]:
                told.add(f"{route.method} {route.path.removeprefix(V1)}")
        return told

    async def _ask_all(self, route: Route, subject: Subject, by: Region) -> list[Reply]:
        return [await self._ask(route, subject, by, question) for question in self._questions(route, subject, by)]

    async def _ask(self, route: Route, subject: Subject, by: Region, question: Question) -> Reply:
        path = route.path
        for name, value in question.things.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        uri = path + _query(route.path, subject)
        return await self._asked.call_signed(by.name, by.key, route.method, uri, question.body)

    def _questions(self, route: Route, subject: Subject, by: Region) -> Iterator[Question]:
        """What is asked at a door."""
        person = _person(by)
        things = {
            "userId": person if "/make_" in route.path else subject.user_id,
            "roomId": subject.room_id,
            "eventId": subject.event_id,
            "mediaId": subject.media_id,
            "txnId": secrets.token_hex(4),
            "queryType": "client_data",
            "cooperationId": secrets.token_hex(4),
            "serverName": self._asked.name,
        }
        if "/send_" in route.path:
            move = route.path.split("/send_")[1].split("/")[0]
            for more in ({}, {"join_authorised_via_users_server": f"@_parta:{self._asked.name}"}):
                event = craft_member(by, subject.room, person, move, content=more)
                yield Question(things={**things, "eventId": event.event_id}, body=event.pdu())
            yield Question(things=things, body=event.pdu())
        elif "/invite/" in route.path:
            yield _invitation(things, subject.user_id, by, is_old="/v1/" in route.path)
        elif route.path.endswith("/policy/v1/sign"):
            for body in _unsigned(subject.room, by):
                yield Question(things=things, body=body)
        else:
            yield Question(things=things, body=None if route.method == "GET" else self._body(route.path, subject, by))

    def _body(self, path: str, subject: Subject, by: Region) -> Any:
        person, user_id = _person(by), subject.user_id
        bodies = {
            f"{V1}/send/{{txnId}}": _transaction(subject, by),
            f"{V1}/get_missing_events/{{roomId}}": {
                "earliest_events": [],
                "latest_events": [subject.event_id],
                "limit": 9,
            },
            f"{V1}/user/keys/query": {"device_keys": {user_id: []}},
            f"{V1}/user/keys/claim": {"one_time_keys": {user_id: {subject.device_id: "signed_curve25519"}}},
            f"{V1}/exchange_third_party_invite/{{roomId}}": _by_address(subject, person),
            f"{V1}/3pid/onbind": {"mxid": user_id, "medium": "email", "address": "a@b.test", "invites": []},
            "/_matrix/key/v2/query": {"server_keys": {}},
            CLAIMS: {"cooperation": self.cooperation_id, "people": [user_id]},
            f"{CLAIMS}/revoke": {"people": [user_id]},
            "/_parta/federation/v1/cooperations/{cooperationId}": craft_notice(
                "theirs", subject.org_id, kind="network"
            ),
        }
        return bodies.get(path, {})


def _person(by: Region) -> str:
    return f"@teacher1:{by.name}"


def _query(path: str, subject: Subject) -> str:
    """The query string that such a question has."""
    event_id, user_id = quote(subject.event_id, safe=""), quote(subject.user_id, safe="")
    return {
        f"{V1}/state/{{roomId}}": f"?event_id={event_id}",
        f"{V1}/state_ids/{{roomId}}": f"?event_id={event_id}",
        f"{V1}/timestamp_to_event/{{roomId}}": "?ts=1&dir=f",
        f"{V1}/backfill/{{roomId}}": f"?v={event_id}&limit=9",
        f"{V1}/query/profile": f"?user_id={user_id}",
        f"{V1}/query/directory": f"?room_alias={quote('#none:127.0.0.1', safe='')}",
        f"{V1}/media/thumbnail/{{mediaId}}": "?width=1&height=1",
        f"{V1}/make_join/{{roomId}}/{{userId}}": "?ver=12",
        f"{V1}/make_knock/{{roomId}}/{{userId}}": "?ver=11",
    }.get(path, "")


def _transaction(subject: Subject, by: Region) -> dict[str, Any]:
    """Events into the room, and what is told of its people and to the person."""
    person, room = _person(by), subject.room
    events = [
        craft(by, room, sender=person, type="m.room.message", content=_MESSAGE),
        craft(by, room, sender=person, type="m.room.topic", state_key="", content={"topic": "x"}),
        craft(by, room, sender=person, type="m.room.redaction", content={}, redacts=subject.event_id),
        *(craft_member(by, room, person, move) for move in ("join", "knock", "leave")),
        craft(by, room, sender=person, type="m.room.member", state_key=subject.user_id, content={"membership": "ban"}),
        craft(by, None, room_id=subject.room_id, sender=person, type="m.room.message", content=_MESSAGE),
    ]
    read = {"event_ids": [subject.event_id], "data": {"ts": 1}}
    told = {
        "m.typing": {"room_id": subject.room_id, "user_id": person, "typing": True},
        "m.receipt": {subject.room_id: {"m.read": {person: read}}},
        "m.presence": {"push": [{"user_id": person, "presence": "online"}]},
        "m.direct_to_device": {
            "sender": person,
            "type": "m.room_key_request",
            "message_id": secrets.token_hex(4),
            "messages": {subject.user_id: {"*": {"a": 1}}},
        },
    }
    edus = [{"edu_type": kind, "content": content} for kind, content in told.items()]
    return transaction(by, [event.pdu() for event in events], edus)


def _unsigned(room: Room | None, by: Region) -> Iterator[dict[str, Any]]:
    """What a policy server is asked to sign: good and bad."""
    person = _person(by)
    good = craft(by, room, sender=person, type="m.room.message", content=_MESSAGE).pdu()
    yield good
    yield {**good, "content": {"body": "changed"}}
    yield {**good, "signatures": {}}
    yield {**good, "depth": "deep"}
    yield {"room_id": good["room_id"]}
    yield craft(by, room, sender=person, type="m.room.policy", state_key="", content={}).pdu()
    yield craft_member(by, room, person, "join").pdu()
    yield craft(by, room, sender="@teacher1:elsewhere.test", type="m.room.message", content=_MESSAGE).pdu()


def _invitation(things: dict[str, str], user_id: str, by: Region, *, is_old: bool) -> Question:
    """An invitation of somebody into a room of the asking region's."""
    create = craft_create(by)
    content = {"membership": "invite"}
    event = craft(
        by, None, room_id=create.room_id, sender=_person(by), state_key=user_id, type="m.room.member", content=content
    )
    where = {**things, "roomId": event.room_id, "eventId": event.event_id}
    if is_old:
        return Question(things=where, body={**event.pdu(), "unsigned": {"invite_room_state": [create.pdu()]}})
    return Question(
        things=where, body={"room_version": "12", "event": event.pdu(), "invite_room_state": [create.pdu()]}
    )


def _by_address(subject: Subject, person: str) -> dict[str, Any]:
    """An invitation by address that somebody of the asked region is to have made."""
    third = {"display_name": "a...", "signed": {"mxid": person, "token": "t", "signatures": {}}}
    return {
        "type": "m.room.member",
        "room_id": subject.room_id,
        "sender": subject.user_id,
        "state_key": person,
        "content": {"membership": "invite", "third_party_invite": third},
    }
