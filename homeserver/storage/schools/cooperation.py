"""Cooperations of organisations, the rooms that they share, and the pupils who take part."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import astuple

from federation.ids import RoomID, ServerName, UserID
from homeserver.storage.database import Txn

_COOPERATION = (
    "SELECT cooperation_id, org_id, peer_server, peer_org_id, hosted, kind, title, roles, until_ms, began_ms,"
    " agreed_by, agreed_ms, ended_by, ended_ms, peer_agreed, peer_ended, version, told_version, peer_version"
    " FROM cooperations"
)
_SET_COOPERATION = (
    "INSERT INTO cooperations (cooperation_id, org_id, peer_server, peer_org_id, hosted, kind, title, roles, until_ms,"
    " began_ms, agreed_by, agreed_ms, ended_by, ended_ms, peer_agreed, peer_ended, version, told_version, peer_version)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (cooperation_id, org_id) DO UPDATE SET agreed_by = excluded.agreed_by,"
    " agreed_ms = excluded.agreed_ms, ended_by = excluded.ended_by, ended_ms = excluded.ended_ms,"
    " peer_agreed = excluded.peer_agreed, peer_ended = excluded.peer_ended, version = excluded.version,"
    " peer_version = excluded.peer_version"
)
_ROOM = "SELECT room_id, cooperation_id, org_id, name, opened_ms, closed_ms FROM cooperation_rooms"
_SET_ROOM = (
    "INSERT INTO cooperation_rooms (room_id, cooperation_id, org_id, name, opened_ms, closed_ms)"
    " VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (room_id, cooperation_id, org_id) DO UPDATE SET name = excluded.name, closed_ms = excluded.closed_ms"
)
_OF_ROOM = "(SELECT cooperation_id, org_id FROM cooperation_rooms WHERE room_id = ? AND closed_ms IS NULL)"
_PEOPLE_ROOMS = (
    "SELECT DISTINCT m.user_id, n.room_id FROM cooperation_rooms n JOIN rooms r ON r.room_id = n.room_id"
    " JOIN memberships m ON m.room_nid = r.nid"
    " WHERE m.user_id {in} AND m.membership IN ('join', 'invite', 'knock')"
)


class Cooperation(Struct, frozen=True, kw_only=True):
    """What two organisations agree on, as one of them (`org_id`, of this region) keeps it.

    The rooms are those of the organisation that proposed it (`is_hosted`: ours). `roles` are joined by commas, and the
    `kind` is the purpose. `agreed_...` and `ended_...` are our side's, `peer_agreed` and `peer_ended` the other's.
    `version` counts what the other is to be told of our side, `peer_version` is the last that it told of its own.
    """

    cooperation_id: str
    org_id: str
    peer_server: ServerName
    peer_org_id: str
    is_hosted: int
    kind: str
    title: str
    roles: str
    until_ms: int
    began_ms: int
    agreed_by: str | None = None
    agreed_ms: int | None = None
    ended_by: str | None = None
    ended_ms: int | None = None
    peer_agreed: int = 0
    peer_ended: int = 0
    version: int = 0
    told_version: int = 0
    peer_version: int = 0

    @property
    def is_agreed(self) -> bool:
        """Whether both have agreed."""
        return self.agreed_ms is not None and bool(self.peer_agreed)

    @property
    def is_ended(self) -> bool:
        """Whether one of the two has ended it, or not wanted it."""
        return self.ended_ms is not None or bool(self.peer_ended)

    def is_in_force(self, now_ms: int) -> bool:
        """Whether it counts at that time."""
        return self.is_agreed and not self.is_ended and now_ms < self.until_ms


class NetworkRoom(Struct, frozen=True, kw_only=True):
    """A room of a cooperation, as one side keeps it."""

    room_id: RoomID
    cooperation_id: str
    org_id: str
    name: str
    opened_ms: int
    closed_ms: int | None = None


class PupilTakesPart(Struct, frozen=True, kw_only=True):
    """A pupil who takes part in a cooperation, by the guardian's consent, which is on paper."""

    cooperation_id: str
    org_id: str
    user_id: UserID
    document_sha256: str
    accepted_by: UserID
    accepted_ms: int


def _build(row: tuple[object, ...]) -> Cooperation:
    return Cooperation(**dict(zip(Cooperation.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


def find_cooperation(txn: Txn, cooperation_id: str, org_id: str) -> Cooperation | None:
    """Find one side's record of a cooperation."""
    row = txn.one(f"{_COOPERATION} WHERE cooperation_id = ? AND org_id = ?", (cooperation_id, org_id))
    return None if row is None else _build(row)


def find_cooperation_with(txn: Txn, cooperation_id: str, server: ServerName) -> Cooperation | None:
    """Find the record of a cooperation of ours with an organisation of that region."""
    row = txn.one(f"{_COOPERATION} WHERE cooperation_id = ? AND peer_server = ?", (cooperation_id, server))
    return None if row is None else _build(row)


def load_cooperations(txn: Txn, org_id: str, after: str, limit: int) -> list[Cooperation]:
    """Load a page of an organisation's cooperations, in the order of their ids."""
    sql = f"{_COOPERATION} WHERE org_id = ? AND cooperation_id > ? ORDER BY cooperation_id LIMIT ?"
    return [_build(row) for row in txn.all(sql, (org_id, after, limit))]


def load_untold(txn: Txn, limit: int, after: tuple[str, str] = ("", "")) -> list[Cooperation]:
    """Load cooperations of which the other side does not know all about ours yet, a page from behind one on: its id
    and our organisation.
    """
    sql = (
        f"{_COOPERATION} WHERE told_version < version AND (cooperation_id, org_id) > (?, ?)"
        " ORDER BY cooperation_id, org_id LIMIT ?"
    )
    return [_build(row) for row in txn.all(sql, (*after, limit))]


def count_proposals(txn: Txn, server: ServerName) -> int:
    """Count what organisations of that region have proposed and nobody here has agreed to or ended."""
    sql = (
        "SELECT COUNT(*) FROM cooperations"
        " WHERE peer_server = ? AND hosted = 0 AND agreed_ms IS NULL AND ended_ms IS NULL AND peer_ended = 0"
    )
    row = txn.one(sql, (server,))
    return 0 if row is None else int(row[0])


def set_cooperation(txn: Txn, cooperation: Cooperation) -> None:
    """Write one side's record, new or changed; its terms stay as they are."""
    txn.run(_SET_COOPERATION, astuple(cooperation))


def bump_version(txn: Txn, cooperation_id: str, org_id: str) -> None:
    """Note that there is something new on our side that the other is to be told."""
    sql = "UPDATE cooperations SET version = version + 1 WHERE cooperation_id = ? AND org_id = ?"
    txn.run(sql, (cooperation_id, org_id))


def set_told(txn: Txn, told: Cooperation) -> None:
    """Note that the other side has taken what it was told of ours."""
    txn.run(
        "UPDATE cooperations SET told_version = ? WHERE cooperation_id = ? AND org_id = ? AND told_version < ?",
        (told.version, told.cooperation_id, told.org_id, told.version),
    )


def load_network_rooms(txn: Txn, cooperation: Cooperation) -> list[NetworkRoom]:
    """Load the rooms of a cooperation that are open."""
    sql = f"{_ROOM} WHERE cooperation_id = ? AND org_id = ? AND closed_ms IS NULL ORDER BY room_id"
    rows = txn.all(sql, (cooperation.cooperation_id, cooperation.org_id))
    return [NetworkRoom(**dict(zip(NetworkRoom.__struct_fields__, row, strict=True))) for row in rows]


def find_organisation_of_room(txn: Txn, room_id: RoomID) -> str:
    """Find whose room of a cooperation it is, or was; the host's if both are of this region, '' for nobody's."""
    sql = (
        "SELECT n.org_id FROM cooperation_rooms n JOIN cooperations c"
        " ON c.cooperation_id = n.cooperation_id AND c.org_id = n.org_id"
        " WHERE n.room_id = ? ORDER BY c.hosted DESC, n.org_id LIMIT 1"
    )
    row = txn.one(sql, (room_id,))
    return "" if row is None else str(row[0])


def set_network_room(txn: Txn, room: NetworkRoom) -> None:
    """Write which cooperation a room is of, or that it is so no longer."""
    txn.run(_SET_ROOM, astuple(room))


def load_cooperations_of_room(txn: Txn, room_id: RoomID) -> list[Cooperation]:
    """Load the cooperations that a room is of, as all sides here keep them, whether or not they are in force."""
    sql = f"{_COOPERATION} WHERE (cooperation_id, org_id) IN {_OF_ROOM} ORDER BY cooperation_id, org_id"
    return [_build(row) for row in txn.all(sql, (room_id,))]


def load_rooms_page(txn: Txn, after: str, limit: int) -> list[RoomID]:
    """Load rooms of cooperations, open or closed, a page in the order of their ids."""
    sql = "SELECT DISTINCT room_id FROM cooperation_rooms WHERE room_id > ? ORDER BY room_id LIMIT ?"
    return [row[0] for row in txn.all(sql, (after, limit))]


def load_rooms_with(txn: Txn, people: Iterable[UserID]) -> dict[UserID, set[RoomID]]:
    """Load in which rooms of cooperations these people are, invited or knocking; who is in none is left out."""
    found: dict[UserID, set[RoomID]] = {}
    for user_id, room_id in txn.all_in(_PEOPLE_ROOMS, people):
        found.setdefault(user_id, set()).add(room_id)
    return found


def load_pupils(txn: Txn, cooperation: Cooperation) -> frozenset[UserID]:
    """Load the pupils of ours who take part in a cooperation."""
    sql = "SELECT user_id FROM cooperating_pupils WHERE cooperation_id = ? AND org_id = ?"
    return frozenset(row[0] for row in txn.all(sql, (cooperation.cooperation_id, cooperation.org_id)))


def append_pupil(txn: Txn, pupil: PupilTakesPart) -> None:
    """Let a pupil take part; one who does already stays so by the first consent."""
    txn.run(
        "INSERT INTO cooperating_pupils (cooperation_id, org_id, user_id, document_sha256, accepted_by, accepted_ms)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cooperation_id, org_id, user_id) DO NOTHING",
        astuple(pupil),
    )


def remove_pupil(txn: Txn, cooperation: Cooperation, user_id: UserID) -> None:
    """Let a pupil take part no more."""
    txn.run(
        "DELETE FROM cooperating_pupils WHERE cooperation_id = ? AND org_id = ? AND user_id = ?",
        (cooperation.cooperation_id, cooperation.org_id, user_id),
    )
