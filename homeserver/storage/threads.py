"""Which thread of its room an event is in.

Spec: client-server-api#threaded-read-receipts
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from homeserver.storage.database import Txn

MAIN: Final = "main"
"""The thread of whatever is in none."""
MOST_HOPS: Final = 3
"""How many relations are followed to find a thread."""


class Relation(NamedTuple):
    """What an event relates to, and how."""

    type: str
    event_id: str


class _OnlyRelation(msgspec.Struct):
    content: dict[str, Any]


_decoder: Final = msgspec.json.Decoder(_OnlyRelation)


def relation_of(content: Mapping[str, Any]) -> Relation | None:
    """The relation in the content of an event; a reply alone is none.

    Spec: client-server-api#forming-relationships-between-events
    """
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    kind, target = relates_to.get("rel_type"), relates_to.get("event_id")
    return Relation(kind, target) if isinstance(kind, str) and isinstance(target, str) else None


def find_thread(txn: Txn, room_nid: int, content: Mapping[str, Any]) -> str:
    """The root of the thread that an event of that content is in, or `MAIN`."""
    for hop in range(MOST_HOPS):
        relation = relation_of(content)
        if relation is None:
            return MAIN
        if relation.type == "m.thread":
            return relation.event_id
        if hop + 1 < MOST_HOPS:
            row = txn.one("SELECT json FROM events WHERE event_id = ? AND room_nid = ?", (relation.event_id, room_nid))
            if row is None:
                return MAIN
            content = _decoder.decode(row[0]).content
    return MAIN
