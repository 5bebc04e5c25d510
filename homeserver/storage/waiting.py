"""The table of what is no event and waits until another server has taken it: messages to devices, changes of keys.

Spec: server-server-api#edus
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from federation import canonical
from federation.ids import ServerName
from federation.requests import MAX_BODY_DEPTH
from homeserver.storage.changes import EDUsQueued
from homeserver.storage.database import Insert, Txn

MOST_WAITING: Final = 10_000
"""How much waits for a server at most; then the oldest goes."""

_WAIT: Final = Insert("INSERT INTO waiting_edus (server_name, position, at_ms, topic, edu) VALUES (?, ?, ?, ?, ?)")


class WaitingEDU(NamedTuple):
    """What waits for a server, by its place in its queue: an EDU as JSON."""

    position: int
    at_ms: int
    edu: bytes


class EDU(NamedTuple):
    """What is told to servers: its type and content; `topic`: a newer one about that makes this one needless."""

    kind: str
    content: Any
    topic: str | None = None


def encode_edu(kind: str, content: object) -> bytes:
    """An EDU as canonical JSON: it will be part of what is signed.

    Raises: BadJSON for what has no such form.
    """
    return canonical.encode({"content": content, "edu_type": kind}, strict=False, max_depth=MAX_BODY_DEPTH)


def append_edu(txn: Txn, edu: EDU, servers: Iterable[ServerName], at_ms: int) -> None:
    """Let something wait for servers, in place of what it makes needless."""
    raw = encode_edu(edu.kind, edu.content)
    told = sorted(servers)
    if not told:
        return
    if edu.topic is not None:
        txn.many(
            "DELETE FROM waiting_edus WHERE server_name = ? AND topic = ?", [(server, edu.topic) for server in told]
        )
    position = txn.position()
    for server in told:
        txn.append(_WAIT, (server, position, at_ms, edu.topic, raw))
    txn.tell(EDUsQueued(position=position, servers=tuple(told)))


def load_edus(txn: Txn, server: ServerName, most: int) -> Sequence[WaitingEDU]:
    """The oldest that waits for a server, in the order in which it was queued."""
    rows = txn.all(
        "SELECT position, at_ms, edu FROM waiting_edus WHERE server_name = ? ORDER BY position LIMIT ?", (server, most)
    )
    return [WaitingEDU(*row) for row in rows]


def remove_edus(txn: Txn, server: ServerName, positions: Iterable[int]) -> None:
    """Remove what a server has taken."""
    txn.many(
        "DELETE FROM waiting_edus WHERE server_name = ? AND position = ?",
        [(server, position) for position in positions],
    )


def remove_surplus(txn: Txn, server: ServerName) -> None:
    """Remove the oldest of what waits for a server, where it is too much."""
    row = txn.one(
        "SELECT position FROM waiting_edus WHERE server_name = ? ORDER BY position DESC LIMIT 1 OFFSET ?",
        (server, MOST_WAITING),
    )
    if row is not None:
        txn.run("DELETE FROM waiting_edus WHERE server_name = ? AND position <= ?", (server, row[0]))
