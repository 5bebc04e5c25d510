"""What is new for one person between two tokens: from their feed, or from the tables where that does not reach back."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

import msgspec

from federation.ids import RoomID, UserID
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.keys import load_changed
from homeserver.storage.members import load_memberships
from homeserver.storage.push import has_changed
from homeserver.storage.sync import Stay, load_changed_rooms, load_stays
from homeserver.streams import Feed, marked_after
from homeserver.sync.tokens import SyncToken


class _Membership(msgspec.Struct):
    membership: object = None


_decoder: Final = msgspec.json.Decoder(_Membership)


@dataclass(slots=True, kw_only=True)
class News:
    """What may be new; it is for the answer to find out what of it is wanted.

    `changed` are rooms the person is in, with new events or receipts; `moves` their own changed memberships by room.
    `account_data`, `rules` and `keys` tell whether the person's data, push rules and one-time keys changed, `messages`
    that some may wait for the device. `devices` are people whose keys changed, `presence` people whom to show, `typing`
    rooms in which that changed.
    """

    changed: Collection[RoomID] = ()
    moves: dict[RoomID, list[Stay]] = field(default_factory=dict)
    account_data: bool = False
    messages: bool = False
    rules: bool = False
    keys: bool = False
    devices: Collection[UserID] = ()
    presence: Collection[UserID] = ()
    typing: Collection[RoomID] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is new."""
        return not (
            self.changed
            or self.moves
            or self.account_data
            or self.messages
            or self.rules
            or self.keys
            or self.devices
            or self.presence
            or self.typing
        )


def hear(feed: Feed, since: SyncToken) -> News:
    """What the feed says is new; it must reach back to `since`."""
    news = News(
        changed=list(marked_after(feed.changed, since.position)),
        devices=list(marked_after(feed.devices, since.position)),
        presence=list(marked_after(feed.presence, since.serial)),
        typing=list(marked_after(feed.stirred, since.serial)),
        messages=since.taken < since.position,
    )
    for kind, _room_id in marked_after(feed.own, since.position):
        if kind == "account_data":
            news.account_data = True
        elif kind == "to_device":
            news.messages = True
        elif kind == "push_rules":
            news.rules = True
        elif kind == "one_time_keys":
            news.keys = True
    if feed.moves and feed.moves[-1].stream > since.position:
        _add_moves(news, feed, since.position)
    return news


def _add_moves(news: News, feed: Feed, since: int) -> None:
    for held in feed.moves:
        if held.stream > since:
            news.moves.setdefault(held.event.room_id, []).append(stay_of(held))


def stay_of(held: RoomEvent) -> Stay:
    """The membership that a membership event of somebody's makes."""
    before = None if held.replaced is None else _decoder.decode(held.replaced.content).membership
    event = held.event
    return Stay(event.room_id, held.room_nid, event.membership or "", held.nid, held.stream, before == "join")


def read_news(txn: Txn, user_id: UserID, since: SyncToken, upto: int) -> News:
    """What the tables say is new up to a position, of what they hold."""
    rooms = [found.room_nid for found in load_memberships(txn, user_id, membership="join")]
    news = News(
        changed=load_changed_rooms(txn, user_id, rooms, since.position, upto),
        account_data=True,
        messages=True,
        rules=has_changed(txn, user_id, since.position, upto),
        devices=load_changed(txn, user_id, since.position),
    )
    for stay in load_stays(txn, user_id, since.position, upto):
        news.moves.setdefault(stay.room_id, []).append(stay)
    return news


def add_news(news: News, more: News) -> News:
    """Both together, `more` being the later."""
    moves = {room_id: [*stays] for room_id, stays in news.moves.items()}
    for room_id, stays in more.moves.items():
        known = moves.setdefault(room_id, [])
        known += [stay for stay in stays if not known or stay.stream > known[-1].stream]
    return News(
        changed={*news.changed, *more.changed},
        moves=moves,
        account_data=news.account_data or more.account_data,
        messages=news.messages or more.messages,
        rules=news.rules or more.rules,
        keys=news.keys or more.keys,
        devices={*news.devices, *more.devices},
        presence={*news.presence, *more.presence},
        typing={*news.typing, *more.typing},
    )
