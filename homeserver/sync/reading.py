"""What an answer must read from the tables, gathered first and then read in one go."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from federation.ids import DeviceID, RoomID, UserID
from homeserver.rooms.bundles import load_bundled
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.company import load_company, load_company_at, load_stirred
from homeserver.storage.data import AccountData, blocks_invitations, find_account_data, load_account_data
from homeserver.storage.database import Txn
from homeserver.storage.events import load_events
from homeserver.storage.keys import count_one_time_keys, load_unused_fallback_types
from homeserver.storage.receipts import load_receipts
from homeserver.storage.rooms import RoomRecord, load_rooms
from homeserver.storage.sync import (
    Stay,
    has_waiting,
    load_confidants,
    load_departures,
    load_waiting,
)
from homeserver.sync.encode import join_object
from homeserver.sync.stored import view_left, view_stored
from homeserver.sync.stripped import read_stripped
from homeserver.sync.views import Ask, View

MOST_MESSAGES: Final = 100
"""How many messages to a device one answer holds."""
MOST_RECEIPTS: Final = 1000
"""How many receipts of a room one answer holds at most: the latest, and the person's own."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to read for one person on one device, as of `upto`.

    `asks` are rooms they are in, `left` those they left by these stays, `outside` stays as invited or knocking.
    `departures` asks for all of the last two (for left rooms by `left_ask`). `data_since` and `messages_since` are
    positions, None where nothing is asked; `data_rooms` are rooms whose account data is wanted whole, `receipts` rooms
    by the position since which. `doubtful` are people who may share no encrypted room with them any more. `company` are
    rooms they were in since `company_since` where others came or went; `moves` those where they did so themselves:
    whether they were in it then, and are now.
    """

    user_id: UserID
    device_id: DeviceID
    upto: int
    asks: list[Ask] = field(default_factory=list)
    left: list[tuple[Ask, Sequence[Stay]]] = field(default_factory=list)
    outside: list[Stay] = field(default_factory=list)
    departures: bool = False
    left_ask: Ask | None = None
    data_since: int | None = None
    data_rooms: set[RoomID] = field(default_factory=set)
    messages_since: int | None = None
    receipts: dict[int, list[RoomID]] = field(default_factory=dict)
    keys: bool = False
    doubtful: set[UserID] = field(default_factory=set)
    company_since: int = 0
    company: set[RoomID] = field(default_factory=set)
    moves: dict[RoomID, tuple[bool, bool]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be read."""
        return not (
            self.asks
            or self.left
            or self.outside
            or self.departures
            or self.receipts
            or self.data_rooms
            or self.keys
            or self.doubtful
            or self.company
            or self.moves
            or self.data_since is not None
            or self.messages_since is not None
        )


@dataclass(slots=True, kw_only=True)
class Found:
    """What was read. `outside` are the stripped states of rooms, with their section and the sender of the invitation.

    `messages` are those for the device with their positions; `received` tells that others are there that it has had
    already. `keys` are members of the answer about its keys.
    """

    views: dict[RoomID, View] = field(default_factory=dict)
    left: dict[RoomID, View] = field(default_factory=dict)
    outside: dict[RoomID, tuple[str, UserID, bytes]] = field(default_factory=dict)
    data: Sequence[AccountData] = ()
    messages: Sequence[tuple[int, bytes]] = ()
    received: bool = False
    receipts: dict[RoomID, list[ReceiptMoved]] = field(default_factory=dict)
    keys: bytes = b""
    met: set[UserID] = field(default_factory=set)
    lost: set[UserID] = field(default_factory=set)
    confidants: set[UserID] = field(default_factory=set)


def read_plan(txn: Txn, plan: Plan) -> Found:
    """Read all of it, in a reading thread."""
    found = Found()
    left, outside = list(plan.left), list(plan.outside)
    if plan.departures:
        _plan_departures(txn, plan, left, outside)
    _read_views(txn, plan, left, found)
    _read_outside(txn, plan, outside, found)
    found.data = _read_data(txn, plan)
    if plan.messages_since is not None:
        since = plan.messages_since
        found.messages = load_waiting(txn, plan.user_id, plan.device_id, (since, plan.upto), MOST_MESSAGES)
        found.received = has_waiting(txn, plan.user_id, plan.device_id, since)
    for since, room_ids in plan.receipts.items():
        _read_receipts(txn, plan, room_ids, since, found)
    if plan.keys:
        found.keys = read_keys(txn, plan.user_id, plan.device_id)
    if plan.company or plan.moves:
        _read_company(txn, plan, found)
    doubtful = plan.doubtful | found.lost
    if doubtful:
        found.confidants = load_confidants(txn, plan.user_id, doubtful)
    return found


def _read_company(txn: Txn, plan: Plan, found: Found) -> None:
    """Read with whom the person shares an encrypted room by now, and with whom perhaps no more."""
    rooms = load_rooms(txn, [*plan.company, *plan.moves])
    since, upto = plan.company_since, plan.upto
    known = [rooms[room_id].nid for room_id in plan.company if room_id in rooms]
    for room_nid in load_stirred(txn, known, since, upto):
        company = load_company(txn, room_nid, plan.user_id, since, upto)
        found.met |= company.met
        found.lost |= company.lost
    for room_id, (was_in, is_in) in plan.moves.items():
        if was_in and room_id in rooms:
            found.lost |= load_company_at(txn, rooms[room_id].nid, since)
        if is_in and room_id in rooms:
            found.met |= load_company_at(txn, rooms[room_id].nid, upto)


def read_keys(txn: Txn, user_id: UserID, device_id: DeviceID) -> bytes:
    """The members of an answer that tell how many one-time keys a device has left.

    Spec: client-server-api#e2e-extensions-to-sync
    """
    counts = {"signed_curve25519": 0, **count_one_time_keys(txn, user_id, device_id)}
    unused = load_unused_fallback_types(txn, user_id, device_id)
    members = {b'"device_one_time_keys_count"': counts, b'"device_unused_fallback_key_types"': unused}
    return join_object((name, msgspec.json.encode(value)) for name, value in members.items())[1:-1]


class Unwanted(NamedTuple):
    """Whose messages and invitations somebody does not want, and whether they want no `invitations` at all."""

    people: frozenset[str] = frozenset()
    invitations: bool = False


def read_unwanted(txn: Txn, user_id: UserID) -> Unwanted:
    """What somebody does not want.

    Spec: client-server-api#ignoring-users, client-server-api#invite-permission
    """
    content = find_account_data(txn, user_id, "m.ignored_user_list")
    ignored = msgspec.json.decode(content).get("ignored_users") if content is not None else None
    people = frozenset(ignored) if isinstance(ignored, dict) else frozenset()
    return Unwanted(people, blocks_invitations(txn, user_id))


def _read_data(txn: Txn, plan: Plan) -> list[AccountData]:
    data: list[AccountData] = []
    if plan.data_since is not None:
        data += load_account_data(txn, plan.user_id, since=plan.data_since, upto=plan.upto)
    if plan.data_rooms and plan.data_since != 0:
        older = load_account_data(txn, plan.user_id, since=0, upto=plan.data_since or plan.upto)
        data += [each for each in older if each.room_id in plan.data_rooms]
    return data


def _plan_departures(txn: Txn, plan: Plan, left: list[tuple[Ask, Sequence[Stay]]], outside: list[Stay]) -> None:
    for stays in load_departures(txn, plan.user_id, plan.upto, left=plan.left_ask is not None):
        if stays[-1].membership in ("invite", "knock"):
            outside.append(stays[-1])
        elif plan.left_ask is not None:
            left.append((_ask_left(plan.left_ask, stays), stays))


def _ask_left(ask: Ask, stays: Sequence[Stay]) -> Ask:
    """The same of a room that the person has left, up to their leaving."""
    return Ask(
        room_id=stays[0].room_id,
        user_id=ask.user_id,
        filter=ask.filter,
        since=None,
        upto=stays[0].stream,
        whole=True,
        left=True,
        state_after=ask.state_after,
        ignored=ask.ignored,
    )


def _read_views(txn: Txn, plan: Plan, left: Iterable[tuple[Ask, Sequence[Stay]]], found: Found) -> None:
    left = list(left)
    rooms = load_rooms(txn, [*(ask.room_id for ask in plan.asks), *(ask.room_id for ask, _ in left)])
    for ask in plan.asks:
        if ask.room_id not in rooms:
            continue  # it was purged meanwhile
        view = found.views[ask.room_id] = view_stored(txn, rooms[ask.room_id], ask)
        _bundle(txn, rooms[ask.room_id], ask, view)
        _encode_ahead(view)
    for ask, stays in left:
        if ask.filter.has_room(ask.room_id):
            if ask.room_id not in rooms:
                found.left[ask.room_id] = View(limited=True, end=stays[-1].stream)
                continue
            view = found.left[ask.room_id] = view_left(txn, rooms[ask.room_id], ask, stays)
            _bundle(txn, rooms[ask.room_id], ask, view)
            _encode_ahead(view)


def _bundle(txn: Txn, room: RoomRecord, ask: Ask, view: View) -> None:
    """Bundle what relates to the events of a timeline that has a gap before it.

    Spec: client-server-api#aggregations-of-child-events
    """
    if view.limited:
        view.events = load_bundled(txn, room, ask.user_id, view.events)


def _encode_ahead(view: View) -> None:
    """Encode events here rather than on the reactor's thread."""
    for seen in view.events:
        _ = seen.held.client
    for held in (*view.state, *view.members):
        _ = held.client


def _read_outside(txn: Txn, plan: Plan, outside: Iterable[Stay], found: Found) -> None:
    stays = list(outside)
    rooms = load_rooms(txn, [stay.room_id for stay in stays])
    for stay in stays:
        room = rooms.get(stay.room_id)
        if room is None:
            continue  # it was purged meanwhile
        member = load_events(txn, room, [stay.event_nid])[stay.event_nid]
        stripped = read_stripped(txn, room, stay.stream, member)
        found.outside[stay.room_id] = (stay.membership, member.event.sender, stripped)


def _read_receipts(txn: Txn, plan: Plan, room_ids: Sequence[RoomID], since: int, found: Found) -> None:
    nids = [room.nid for room in load_rooms(txn, room_ids).values()]
    for moved in load_receipts(txn, plan.user_id, nids, (since, plan.upto)):
        found.receipts.setdefault(moved.room_id, []).append(moved)
    for room_id, receipts in found.receipts.items():
        if len(receipts) > MOST_RECEIPTS:
            own = [moved for moved in receipts[:-MOST_RECEIPTS] if moved.user_id == plan.user_id]
            found.receipts[room_id] = own + receipts[-MOST_RECEIPTS:]
