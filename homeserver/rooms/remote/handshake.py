"""The handshake by which this server gets into rooms of others, or out of them: an event is proposed, made, and sent.

What is proposed is not believed: of the proposal come only the place of the event in its room, and who is to have let
its sender in. Servers are asked one after the other, until one is of help or too much time has gone by.

Spec: server-server-api#joining-rooms
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote

from federation.errors import BadAnswer, BadEvent, PeerRefused
from federation.event import Event, EventFields, parse_event, parse_template, seal_event
from federation.ids import RoomID, ServerName, UserID, find_server_name, find_server_of
from federation.versions import ROOM_VERSIONS, RoomVersion, find_room_version
from homeserver.rooms.remote.faults import ASKING_FAULTS, IncompatibleVersion, explain
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.resident import AUTHORISER, Move

T = TypeVar("T")

MOST_SERVERS: Final = 10
"""How many servers are asked, at most."""
MAKE_S: Final = 15.0
PATIENCE_MS: Final = 25_000
"""How long servers are gone through; who is being asked then may still answer."""
_V1: Final = "/_matrix/federation/v1"
_VERSIONS: Final = [("ver", version) for version in ROOM_VERSIONS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A change of somebody's own membership that other servers are to help with; `content` is what they show."""

    person: UserID
    room_id: RoomID
    move: Move
    content: Mapping[str, object]


async def make_event(ground: Ground, server: ServerName, wanted: Wanted) -> Event:
    """The event that somebody of ours needs, as a server in the room sees the room, signed.

    Raises: RemoteFault; Refused; IncompatibleVersion.
    Spec: server-server-api#get_matrixfederationv1make_joinroomiduserid
    """
    path = f"{_V1}/make_{wanted.move}/{_quote(wanted.room_id)}/{_quote(wanted.person)}"
    query = [] if wanted.move == "leave" else _VERSIONS
    answer = await ground.peers.ask(server, "GET", path, query=query, timeout_s=MAKE_S)
    version = find_room_version(answer.get("room_version", "1"))
    if version is None:
        raise IncompatibleVersion(answer.get("room_version"))
    return _seal(ground, wanted, version, answer.get("event"))


def _seal(ground: Ground, wanted: Wanted, version: RoomVersion, template: object) -> Event:
    now_ms = ground.seal.now_ms()
    fields = parse_template(template, version, origin_server_ts=now_ms)
    expected = (wanted.room_id, wanted.person, wanted.person, wanted.move)
    if (fields.room_id, fields.sender, fields.state_key, fields.content.get("membership")) != expected:
        raise BadAnswer("the server proposes another event than it was asked for")
    content: dict[str, Any] = {**wanted.content, "membership": wanted.move}
    if wanted.move == "join" and version.restricted_join and AUTHORISER in fields.content:
        content[AUTHORISER] = fields.content[AUTHORISER]
    made = EventFields(
        type="m.room.member",
        sender=wanted.person,
        state_key=wanted.person,
        room_id=wanted.room_id,
        content=content,
        prev_events=fields.prev_events,
        auth_events=fields.auth_events,
        depth=fields.depth,
        origin_server_ts=now_ms,
        opaque=ground.seal.make_opaque(),
        reference_hashes=fields.reference_hashes,
    )
    return seal_event(version, made, server=ground.server, key=ground.seal.key)


async def send_event(
    ground: Ground, server: ServerName, event: Event, *, timeout_s: float, most_bytes: int
) -> dict[str, Any]:
    """Give a server in the room the event; what it answers. One that knows only the older form gets that.

    Raises: RemoteFault; Refused.
    Spec: server-server-api#put_matrixfederationv2send_joinroomideventid
    """
    move = event.membership
    path = f"send_{move}/{_quote(event.room_id)}/{_quote(event.event_id)}"
    body, bounds = event.pdu(), {"timeout_s": timeout_s, "most_bytes": most_bytes}
    if move == "knock":
        return await ground.peers.ask(server, "PUT", f"{_V1}/{path}", body=body, **bounds)  # type: ignore[arg-type]
    try:
        return await ground.peers.ask(server, "PUT", f"/_matrix/federation/v2/{path}", body=body, **bounds)  # type: ignore[arg-type]
    except PeerRefused as refusal:
        if refusal.status not in (404, 405) or refusal.errcode not in ("M_UNRECOGNIZED", "M_UNKNOWN"):
            raise
    return await ground.peers.ask(server, "PUT", f"{_V1}/{path}", body=body, **bounds)  # type: ignore[arg-type]


def read_signed(made: Event, answer: object) -> Event:
    """An event of ours as another server gives it back with its signature.

    Raises: BadAnswer when it is not the same event any more.
    """
    try:
        signed = parse_event(answer, made.version)  # type: ignore[arg-type]  # whatever it is not is a BadEvent
    except BadEvent as fault:
        raise BadAnswer(f"the server gives no event back: {fault}") from None
    if signed.event_id != made.event_id or signed.content != made.content:
        raise BadAnswer("the server gives another event back than it was given")
    return signed


async def try_each(ground: Ground, servers: Iterable[ServerName], go: Callable[[ServerName], Awaitable[T]]) -> T:
    """What comes of the first server that is of help.

    Raises: the fault that tells most, if none is; Hidden without any servers.
    """
    faults: list[Exception] = []
    until_ms = ground.seal.now_ms() + PATIENCE_MS
    for server in servers:
        try:
            return await go(server)
        except ASKING_FAULTS as fault:
            faults.append(fault.with_traceback(None))  # it would hold on to all that the server has answered
        except IncompatibleVersion as fault:
            raise fault from None
        if ground.seal.now_ms() > until_ms:
            break
    try:
        raise explain(faults)
    finally:
        faults.clear()  # else they and this frame would hold on to each other


def choose_servers(ground: Ground, room_id: str, *given: Iterable[str]) -> list[ServerName]:
    """The servers that may know a room, those given first: each once, not ours, at most so many."""
    named = [server for servers in given for server in servers]
    domain = find_server_of(RoomID(room_id))
    found = dict.fromkeys(named if domain is None else [*named, domain])
    return [server for each in found if (server := find_server_name(each)) not in (None, ground.server)][:MOST_SERVERS]


def _quote(text: str) -> str:
    return quote(text, safe="")
