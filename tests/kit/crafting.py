"""Events as a region's server can make them whatever its own school would let happen: it has its key, and signs.

said = craft(self.south, room, sender=teacher, type="m.room.message", content={...})
await send_events(self.south, self.north, said)
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from federation.auth import auth_types
from federation.event import Event, EventFields, seal_event
from federation.ids import EventID, RoomID, UserID
from federation.versions import ROOM_VERSIONS
from homeserver.rooms.head import Head
from homeserver.rooms.room import Room
from tests.kit.region import DAY_MS, Region, now_ms
from tests.kit.wire import Reply

NOWHERE: Final = RoomID("!" + "x" * 43)
NOTHING: Final = EventID("$" + "x" * 43)


def craft(by: Region, room: Room | None, *, at: Head | None = None, **fields: Any) -> Event:
    """An event that follows what a room holds, or held in `at`; of a room that there is not where it is None.

    `fields` are those of `EventFields`: a sender, a type and a content at least.
    """
    version = ROOM_VERSIONS["12"] if room is None else room.version
    head = at or (None if room is None else room.head)
    sender, state_key = UserID(fields["sender"]), fields.get("state_key")
    keys = auth_types(version, type=fields["type"], state_key=state_key, sender=sender, content=fields["content"])
    given = {
        "room_id": NOWHERE if room is None else room.room_id,
        "prev_events": (NOTHING,) if head is None else tuple(held.event_id for held in head.extremities),
        "auth_events": () if head is None else tuple(head.state[key].event_id for key in keys if key in head.state),
        "depth": 9 if head is None else max(held.event.depth for held in head.extremities) + 1,
        "origin_server_ts": now_ms(),
        **fields,
    }
    return seal_event(version, EventFields(**given), server=by.name, key=by.key)


def craft_member(by: Region, room: Room | None, person: str, membership: str, **more: Any) -> Event:
    """Somebody's own membership; keyword `content` is added to it."""
    content = {"membership": membership, **more.pop("content", {})}
    return craft(by, room, sender=person, state_key=person, type="m.room.member", content=content, **more)


def craft_create(by: Region) -> Event:
    """The create event of a room that somebody of that region's makes."""
    fields = EventFields(
        type="m.room.create",
        sender=UserID(f"@teacher1:{by.name}"),
        state_key="",
        room_id=None,
        content={"room_version": "12"},
        prev_events=(),
        auth_events=(),
        depth=1,
        origin_server_ts=now_ms(),
    )
    return seal_event(ROOM_VERSIONS["12"], fields, server=by.name, key=by.key)


async def send_events(by: Region, to: Region, *events: Event, edus: Sequence[Mapping[str, Any]] = ()) -> Reply:
    """A transaction of a region's."""
    body = transaction(by, [event.pdu() for event in events], edus)
    path = f"/_matrix/federation/v1/send/{secrets.token_hex(8)}"
    return await to.call_signed(by.name, by.key, "PUT", path, body)


def transaction(by: Region, pdus: Sequence[Any], edus: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The body of a transaction."""
    return {"origin": by.name, "origin_server_ts": now_ms(), "pdus": list(pdus), "edus": list(edus)}


def craft_notice(theirs: str, ours: str, *, kind: str) -> dict[str, Any]:
    """What a region says of a cooperation between an organisation of its own and one of ours, to which it agrees."""
    return {
        "organisation": theirs,
        "to": ours,
        "kind": kind,
        "title": "x",
        "roles": ["teacher"],
        "until_ts": now_ms() + DAY_MS,
        "hosts": True,
        "agreed": True,
        "ended": False,
        "version": 1,
    }
