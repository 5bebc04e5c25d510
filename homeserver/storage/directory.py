"""The room directory: aliases, and the rooms that are listed for all to find."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from federation.ids import RoomAlias, RoomID, UserID
from homeserver.storage.changes import AliasesChanged
from homeserver.storage.database import Insert, Txn

_PUBLISHED: Final = Insert(
    "INSERT INTO published (room_nid, members, words, room_type, summary) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (room_nid) DO UPDATE SET members = excluded.members, words = excluded.words,"
    " room_type = excluded.room_type, summary = excluded.summary"
)
_PAGE: Final = (
    "SELECT published.members, published.room_nid, rooms.room_id, published.summary"
    " FROM published JOIN rooms ON rooms.nid = published.room_nid"
)


class Alias(NamedTuple):
    """Where an alias leads, and who made it."""

    room_id: RoomID
    creator: UserID


class Listing(NamedTuple):
    """A published room: `words` are what it is found by, case-folded; `summary` is its entry in client form, JSON."""

    room_nid: int
    members: int
    words: str
    room_type: str | None
    summary: bytes


class Listed(NamedTuple):
    """A published room on a page."""

    members: int
    room_nid: int
    room_id: RoomID
    summary: bytes


def append_alias(txn: Txn, alias: RoomAlias, room_nid: int, creator: UserID, now_ms: int) -> bool:
    """Give a room an alias; False when it is taken."""
    touched = txn.run(
        "INSERT INTO aliases (alias, room_nid, creator, created_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (alias, room_nid, creator, now_ms),
    )
    if touched == 1:
        _tell(txn, room_nid)
    return touched == 1


def remove_alias(txn: Txn, alias: RoomAlias) -> bool:
    """Take an alias away; False when there is none."""
    row = txn.one("DELETE FROM aliases WHERE alias = ? RETURNING room_nid", (alias,))
    if row is not None:
        _tell(txn, int(row[0]))
    return row is not None


def move_aliases(txn: Txn, from_nid: int, to_nid: int) -> None:
    """Let all aliases of a room lead to another."""
    if txn.run("UPDATE aliases SET room_nid = ? WHERE room_nid = ?", (to_nid, from_nid)):
        _tell(txn, from_nid)
        _tell(txn, to_nid)


def _tell(txn: Txn, room_nid: int) -> None:
    txn.tell(AliasesChanged(position=txn.position(), room_nid=room_nid))


def find_alias(txn: Txn, alias: str) -> Alias | None:
    """Where an alias leads."""
    row = txn.one(
        "SELECT rooms.room_id, aliases.creator FROM aliases JOIN rooms ON rooms.nid = aliases.room_nid WHERE alias = ?",
        (alias,),
    )
    return None if row is None else Alias(*row)


def load_aliases(txn: Txn, room_nid: int) -> list[RoomAlias]:
    """The aliases of a room, in alphabetical order."""
    return [alias for (alias,) in txn.all("SELECT alias FROM aliases WHERE room_nid = ? ORDER BY alias", (room_nid,))]


def set_published(txn: Txn, listing: Listing) -> None:
    """List a room, or renew what is listed of it."""
    txn.append(_PUBLISHED, listing)


def remove_published(txn: Txn, room_nid: int) -> None:
    """Take a room out of the list."""
    txn.run("DELETE FROM published WHERE room_nid = ?", (room_nid,))


def is_published(txn: Txn, room_nid: int) -> bool:
    """Whether a room is listed."""
    return txn.one("SELECT 1 FROM published WHERE room_nid = ?", (room_nid,)) is not None


def count_published(txn: Txn) -> int:
    """How many rooms are listed."""
    row = txn.one("SELECT COUNT(*) FROM published")
    return 0 if row is None else int(row[0])


def load_published(
    txn: Txn,
    start: tuple[int, int] | None,
    most: int,
    *,
    words: str = "",
    room_types: Collection[str | None] | None = None,
    backwards: bool = False,
) -> list[Listed]:
    """A page of the listed rooms whose words hold `words`, those with most members first, beyond (members, nid).

    Backwards it is the page that ends before `start`, in reversed order.
    """
    conditions, params = _conditions(words, room_types)
    order, sign = ("ASC", ">") if backwards else ("DESC", "<")
    if start is not None:
        conditions.append(f"(published.members, published.room_nid) {sign} (?, ?)")
        params += start
    where = " AND ".join(conditions) or "TRUE"
    rows = txn.all(
        f"{_PAGE} WHERE {where} ORDER BY published.members {order}, published.room_nid {order} LIMIT ?",
        (*params, most),
    )
    return [Listed(*row) for row in rows]


def _conditions(words: str, room_types: Collection[str | None] | None) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    params: list[object] = []
    if words:
        escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        conditions.append("published.words LIKE ? ESCAPE '\\'")
        params.append(f"%{escaped}%")
    if room_types is not None:
        named: Sequence[str] = [name for name in room_types if name is not None]
        either = [f"published.room_type IN ({', '.join('?' * len(named))})"] if named else []
        either += ["published.room_type IS NULL"] if None in room_types else []
        conditions.append(f"({' OR '.join(either) or 'FALSE'})")
        params += named
    return conditions, params
