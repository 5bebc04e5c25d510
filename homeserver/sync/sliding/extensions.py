"""What is told beside rooms: messages to the device, its keys, account data, receipts, and who is typing.

Each extension says first what is to be read for it, then what there is to tell; only what is new is worth an answer.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from federation.ids import RoomID, UserID
from homeserver.ephemeral.typing import Typing
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.sync import MEMBER
from homeserver.streams import Feed
from homeserver.sync.company import encode_lists, plan_company
from homeserver.sync.encode import encode_data, encode_receipts, encode_typing, join_object
from homeserver.sync.news import News
from homeserver.sync.reading import MOST_MESSAGES, Found, Plan
from homeserver.sync.sliding.connections import Told
from homeserver.sync.sliding.requests import Extensions, Reach
from homeserver.sync.sliding.scopes import Scope
from homeserver.sync.tokens import SyncToken
from homeserver.sync.views import ENCRYPTION

_encode: Final = msgspec.json.encode


@dataclass(slots=True, kw_only=True)
class Extra:
    """The extensions of one answer in the making. `plan` takes what is to be read, `keys` are the known members about
    the device's keys.
    """

    wanted: Extensions
    feed: Feed
    told: Told
    upto: SyncToken
    news: News
    scope: Scope
    plan: Plan
    keys: bytes
    typing: frozenset[RoomID] = frozenset()
    receipts: frozenset[RoomID] = frozenset()
    data: frozenset[RoomID] = frozenset()
    moved: dict[RoomID, list[ReceiptMoved]] = field(default_factory=dict)
    typists: frozenset[RoomID] = frozenset()
    has_news: bool = False

    def prepare(self) -> None:
        """Say what is to be read."""
        plan = self.plan
        if self.wanted.to_device is not None:
            since = self.wanted.to_device.since or 0
            if since < max(self.feed.floor, self.feed.own.get(("to_device", None), 0)):
                plan.messages_since = since
        if self.wanted.e2ee:
            plan.keys = not self.keys
            if self.told.token is not None:
                plan_company(plan, self.news, self.feed.rooms, self._calm_rooms(), self.told.position)
        self._plan_data(plan)
        self._plan_receipts(plan)

    def _calm_rooms(self) -> set[RoomID]:
        """Rooms in which, as memory tells, nobody came or went."""
        since = self.told.position
        calm = set()
        for room_id in self.news.changed:
            log = self.feed.rooms.get(room_id)
            if log is not None and since >= log.floor:
                window = log.since(since, self.upto.position)
                if not any(held.type in (MEMBER, ENCRYPTION[0]) for held in window):
                    calm.add(room_id)
        return calm

    def _reach(self, reach: Reach | None) -> frozenset[RoomID]:
        return frozenset() if reach is None else self.scope.reached(reach)

    def _plan_data(self, plan: Plan) -> None:
        if self.wanted.account_data is None:
            return
        self.data = self._reach(self.wanted.account_data)
        if not self.told.globals:
            plan.data_since = 0
        elif self.news.account_data:
            plan.data_since = self.told.position
        plan.data_rooms.update(self.data - (self.told.data or frozenset()))

    def _plan_receipts(self, plan: Plan) -> None:
        """Receipts that moved in rooms which the client has; of new ones see :meth:`needs_receipts`."""
        if self.wanted.receipts is None:
            return
        self.receipts = self._reach(self.wanted.receipts) & self.feed.rooms.keys()
        known = self.told.receipts or frozenset()
        changed = set(self.news.changed)
        for room_id in self.receipts:
            if room_id in known and room_id not in changed:
                continue
            if room_id in known:
                since = self.told.position
            elif self.told.receipts is not None and room_id in self.told.rooms:
                since = self.told.rooms[room_id].upto
            else:
                continue
            self._plan_moved(plan, room_id, since)

    def _plan_moved(self, plan: Plan, room_id: RoomID, since: int) -> None:
        log, user_id = self.feed.rooms[room_id], self.feed.user_id
        if since < log.receipts_floor:
            plan.receipts.setdefault(since, []).append(room_id)
            return
        moved = [each for each in log.receipts_since(since) if each.kind == "m.read" or each.user_id == user_id]
        if moved:
            self.moved[room_id] = moved

    def needs_receipts(self) -> frozenset[RoomID]:
        """The rooms of whose shown events the receipts are to be told, because none were."""
        if self.told.receipts is None:
            return self.receipts
        return frozenset(each for each in self.receipts if each not in self.told.rooms)

    # telling

    async def encode(self, found: Found, typing: Typing, rules: Callable[[UserID], Awaitable[bytes]]) -> bytes:
        """The object of all extensions; `has_news` then says whether anything of it is news."""
        members = [
            *self._show_messages(found),
            *self._show_keys(found),
            *await self._show_data(found, rules),
            *self._show_receipts(found),
            *self._show_typing(typing),
        ]
        return join_object(members)

    def _show_messages(self, found: Found) -> Iterable[tuple[bytes, bytes]]:
        wanted = self.wanted.to_device
        if wanted is None:
            return
        limit = max(1, min(wanted.limit, MOST_MESSAGES))
        messages = found.messages[:limit]
        more = len(found.messages) > limit or len(messages) == MOST_MESSAGES
        members = [(b'"next_batch"', b'"%d"' % (messages[-1][0] if more else self.upto.position))]
        if messages:
            self.has_news = True
            members.append((b'"events"', b"[" + b",".join([message for _, message in messages]) + b"]"))
        yield b'"to_device"', join_object(members)

    def _show_keys(self, found: Found) -> Iterable[tuple[bytes, bytes]]:
        if not self.wanted.e2ee:
            return
        lists = encode_lists(self.plan, self.news, (), found) if self.told.token is not None else []
        self.has_news = self.has_news or bool(lists) or self.news.keys
        shown = b",".join([name + b":" + value for name, value in lists] + [self.keys or found.keys])
        yield b'"e2ee"', b"{" + shown + b"}"

    async def _show_data(
        self, found: Found, rules: Callable[[UserID], Awaitable[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        if self.wanted.account_data is None:
            return ()
        shared = [encode_data(data.type, data.content) for data in found.data if data.room_id is None]
        if not self.told.globals or self.news.rules:
            shared.append(encode_data("m.push_rules", await rules(self.feed.user_id)))
        rooms: dict[RoomID, list[bytes]] = {}
        for data in found.data:
            if data.room_id is not None and data.room_id in self.data:
                rooms.setdefault(data.room_id, []).append(encode_data(data.type, data.content))
        if not shared and not rooms:
            return ()
        self.has_news = True
        members = [
            (b'"global"', b"[" + b",".join(shared) + b"]"),
            (b'"rooms"', join_object((_encode(each), b"[" + b",".join(some) + b"]") for each, some in rooms.items())),
        ]
        return [(b'"account_data"', join_object(members))]

    def _show_receipts(self, found: Found) -> Iterable[tuple[bytes, bytes]]:
        moved: Mapping[RoomID, Sequence[ReceiptMoved]] = {**self.moved, **found.receipts}
        shown = {room_id: encode_receipts(some) for room_id, some in moved.items() if some}
        if self.wanted.receipts is not None and shown:
            self.has_news = True
            yield b'"receipts"', _rooms_object(shown)

    def _show_typing(self, typing: Typing) -> Iterable[tuple[bytes, bytes]]:
        wanted = self.wanted.typing
        if wanted is None:
            self.typists = self.told.typists
            return
        self.typing = self._reach(wanted) & self.feed.rooms.keys()
        known, stirred, before = self.told.typing or frozenset(), set(self.news.typing), self.told.typists
        shown: dict[RoomID, bytes] = {}
        now = set(before)
        for room_id in self.typing:
            users = typing.users(room_id)
            if (users and (room_id not in known or room_id in stirred)) or (not users and room_id in before):
                shown[room_id] = encode_typing(users)
                (now.add if users else now.discard)(room_id)
        self.typists = frozenset(now)
        if shown:
            self.has_news = True
            yield _encode(wanted.name), _rooms_object(shown)


def _rooms_object(shown: Mapping[RoomID, bytes]) -> bytes:
    rooms = join_object((_encode(room_id), event) for room_id, event in shown.items())
    return b'{"rooms":' + rooms + b"}"
