"""What other servers tell of their people: who is typing, who has read what, who is there.

A server speaks of its own people only, and in a room only while that room lets it. Nothing is told of who is not in the
room, or shares none with ours; each door asks the policy.

Spec: server-server-api#typing-notifications, server-server-api#presence, server-server-api#receipts
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Final, cast

import msgspec

from federation.errors import BadAnswer, BadIdentifier, Refused
from federation.ids import EventID, RoomID, ServerName, UserID, fits, parse_user_id, server_of
from federation.requests import parse_spoken_of
from homeserver.ephemeral.presence import LONGEST_STATUS, STATES, Presence, Presences, State
from homeserver.ephemeral.typing import Typing
from homeserver.policy import Ephemeral, Policy, RoomFacts, allows
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.database import Database, Txn
from homeserver.storage.members import load_memberships
from homeserver.storage.receipts import find_target, set_receipt
from homeserver.storage.remotedevices import has_company
from homeserver.storage.rooms import find_room
from homeserver.storage.threads import MAIN, find_thread

TYPES_MS: Final = 60_000
"""How long somebody types after their server has said so."""
MOST_RECEIPTS: Final = 1_000
"""How many receipts one EDU moves; others in it are passed over."""
MOST_ROOMS: Final = 1_000
"""In how many rooms; each has to be looked for."""
MOST_PRESENCES: Final = 1_000


class EphemeralNews:
    """Takes what other servers tell; each method is for one type of EDU."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        load_room: Callable[[str], Awaitable[RoomFacts | None]],
        check_acl: Callable[[RoomFacts, ServerName], None],
        typing: Typing,
        presences: Presences,
    ) -> None:
        self._database = database
        self._policy = policy
        self._load_room = load_room
        self._check_acl = check_acl
        self._typing = typing
        self._presences = presences

    async def take_typing(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """Somebody types, or has stopped.

        Raises: BadAnswer; BadIdentifier; Refused.
        Spec: server-server-api#typing-notifications
        """
        person = parse_spoken_of(origin, content.get("user_id"))
        room_id, is_typing = content.get("room_id"), content.get("typing")
        if not isinstance(room_id, str) or not isinstance(is_typing, bool):
            raise BadAnswer("not a typing notification")
        room = await self._load_room(room_id)
        if room is not None:
            self._check_acl(room, origin)
        if is_typing:
            await self._typing.begin(person, room_id, TYPES_MS)
        else:
            await self._typing.end(person, room_id)

    async def take_receipts(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """People have read rooms.

        Spec: server-server-api#receipts
        """
        found: list[ReceiptMoved] = []
        for room_id, by_kind in islice(content.items(), MOST_ROOMS):
            receipts = by_kind.get("m.read") if isinstance(by_kind, dict) else None
            if isinstance(receipts, dict) and len(found) < MOST_RECEIPTS:
                found += await self._read_room(origin, room_id, receipts)
        if found:
            await self._database.write(_set_receipts, found[:MOST_RECEIPTS])

    async def _read_room(self, origin: ServerName, room_id: str, receipts: Mapping[str, Any]) -> list[ReceiptMoved]:
        """The receipts in a room, of those who are in it; none where the room wants nothing to do with their server."""
        room = await self._load_room(room_id)
        if room is None:
            return []
        try:
            self._check_acl(room, origin)
        except Refused:
            return []
        return [
            receipt
            for receipt in _read_receipts(room.room_id, receipts)
            if server_of(receipt.user_id) == origin
            and room.membership(receipt.user_id) == "join"
            and await allows(self._policy, Ephemeral(by=receipt.user_id, room=room, type="m.receipt"))
        ]

    async def take_presence(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """People are there or not.

        Raises: BadAnswer.
        Spec: server-server-api#presence
        """
        push = content.get("push")
        if not isinstance(push, list) or len(push) > MOST_PRESENCES:
            raise BadAnswer("push is a list, and not too long")
        if not self._presences.enabled:
            return
        heard = {}
        for told in push:
            try:
                person = parse_spoken_of(origin, told.get("user_id") if isinstance(told, dict) else None)
            except (BadIdentifier, Refused):
                continue
            heard[person] = told
        rooms = await self._database.read(_load_rooms, list(heard))
        for person, theirs in rooms.items():
            presence, before = self._read_presence(heard[person]), self._presences.find(person)
            if presence is not None and (presence.state, before.state) != ("offline", "offline"):
                self._presences.hear(person, presence, theirs)

    def _read_presence(self, told: Mapping[str, Any]) -> Presence | None:
        state, status, ago_ms = told.get("presence"), told.get("status_msg"), told.get("last_active_ago")
        if state not in STATES:
            return None
        is_number = type(ago_ms) is int and 0 <= ago_ms < 1 << 53
        return Presence(
            state=cast("State", state),
            status=status[:LONGEST_STATUS] if isinstance(status, str) and status else None,
            active_ms=self._presences.now_ms() - ago_ms if is_number and ago_ms is not None else None,
        )


def _read_receipts(room_id: RoomID, receipts: Mapping[str, Any]) -> Iterator[ReceiptMoved]:
    """Those that are well-formed."""
    for user_id, receipt in receipts.items():
        try:
            person, read = parse_user_id(user_id), msgspec.convert(receipt, _Receipt)
        except (BadIdentifier, msgspec.ValidationError):
            continue
        if read.event_ids and fits(read.event_ids[0]) and (read.data.thread_id is None or fits(read.data.thread_id)):
            yield ReceiptMoved(
                position=0,
                room_id=room_id,
                user_id=person,
                kind="m.read",
                event_id=EventID(read.event_ids[0]),
                upto=None,
                thread_id=read.data.thread_id or None,
                at_ms=read.data.ts,
            )


class _Details(msgspec.Struct):
    ts: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    thread_id: str | None = None


class _Receipt(msgspec.Struct):
    """The shape of one person's receipt."""

    event_ids: list[str]
    data: _Details


def _set_receipts(txn: Txn, receipts: Sequence[ReceiptMoved]) -> None:
    """The unit of an EDU. In a thread, an event has to be known: there could be any number of threads else."""
    nids: dict[RoomID, int] = {}
    for receipt in receipts:
        if receipt.room_id not in nids:
            record = find_room(txn, receipt.room_id)
            if record is None:
                continue
            nids[receipt.room_id] = record.nid
        target = find_target(txn, receipt.room_id, receipt.event_id)
        if target is None:
            if receipt.thread_id not in (None, MAIN):
                continue
        elif receipt.thread_id not in (None, receipt.event_id, find_thread(txn, target.room_nid, target.content)):
            continue
        set_receipt(txn, nids[receipt.room_id], replace(receipt, upto=None if target is None else target.stream))


def _load_rooms(txn: Txn, people: Sequence[UserID]) -> dict[UserID, list[RoomID]]:
    """The rooms of those who share one with ours."""
    return {
        person: [found.room_id for found in load_memberships(txn, person, membership="join")]
        for person in people
        if has_company(txn, person)
    }
