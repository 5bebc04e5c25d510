"""The bytes of a room in an answer, and what the client has been told by them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from federation.ids import DeviceID, RoomID, StateKey, UserID
from homeserver.rooms.sight import Seen
from homeserver.storage.events import RoomEvent
from homeserver.storage.sync import MEMBER
from homeserver.sync.encode import encode_state, join_object
from homeserver.sync.filters import NO_FILTER
from homeserver.sync.parts import Parts
from homeserver.sync.sliding.connections import MOST_MEMBERS, Sent
from homeserver.sync.sliding.requests import Dialect
from homeserver.sync.sliding.rooms import AVATAR, Showing, Wish, people_of
from homeserver.sync.views import NAME, View, heroes_of

_encode: Final = msgspec.json.encode
_Members = list[tuple[bytes, bytes]]


class Around(NamedTuple):
    """What is told of a room beside what happened in it. `live` is the position after which events just happened,
    `unread` how much notifies and highlights, None where that is known.
    """

    dialect: Dialect
    device_id: DeviceID
    live: int
    lists: Sequence[str] = ()
    unread: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timeline:
    """The events to show: whether more are missing before them, and whether they were asked for later than others."""

    events: Sequence[Seen]
    limited: bool
    grown: bool = False
    encoded: bytes | None = None


def encode_room(wish: Wish, showing: Showing, around: Around, parts: Parts) -> tuple[bytes | None, Sent]:
    """The room's object, None when there is nothing to tell; and what the client then has been told of it."""
    if wish.membership in ("invite", "knock"):
        shown = None if showing.stripped is None else _encode_outside(wish, showing, around)
        return shown, Sent(wish.membership, wish.stay, 0, wish.upto, wish.config, dm=wish.dm)
    timeline = _choose(wish, showing)
    gap = wish.since is None or (timeline.limited and not timeline.grown)
    state = _choose_state(wish, showing, timeline, gap=gap)
    members = [
        *_encode_summary(wish, showing),
        *_encode_state(state, around.dialect),
        *_encode_timeline(wish, timeline, around, parts),
    ]
    if wish.dm != (wish.sent is not None and wish.since is not None and wish.sent.dm):
        members.append((b'"is_dm"', b"true" if wish.dm else b"false"))
    if around.unread is not None:
        members.append((b'"notification_count"', b"%d" % around.unread[0]))
        members.append((b'"highlight_count"', b"%d" % around.unread[1]))
    sent = _note(wish, timeline, state, gap=gap)
    if wish.since is not None and not members:
        return None, sent
    if showing.stripped is not None and around.dialect.tells_rejections:
        members.append((around.dialect.stripped, showing.stripped))
    return join_object([*members, *_encode_common(wish, showing, around)]), sent


def _encode_outside(wish: Wish, showing: Showing, around: Around) -> bytes:
    stripped = (around.dialect.stripped, showing.stripped or b"[]")
    return join_object([stripped, *_encode_common(wish, showing, around)])


def _encode_common(wish: Wish, showing: Showing, around: Around) -> _Members:
    members = [(b'"membership"', _encode(wish.membership))]
    bump = showing.bump if wish.membership == "join" else wish.stay
    if bump is not None:
        members.append((b'"bump_stamp"', b"%d" % bump))
    if around.lists:
        members.append((b'"lists"', _encode(around.lists)))
    if wish.since is None:
        members.append((b'"initial"', b"true"))
    return members


def _choose(wish: Wish, showing: Showing) -> _Timeline:
    """Of a timeline that grows, what the client does not have."""
    view = showing.view
    if not wish.grows or wish.since is None or wish.sent is None:
        return _Timeline(events=view.events, limited=view.limited, encoded=showing.timeline)
    new = [seen for seen in view.events if seen.held.stream > wish.since]
    if len(new) == len(view.events):
        limited = view.limited and bool(new)
        return _Timeline(events=new, limited=limited, encoded=showing.timeline if limited else None)
    if view.events[0].held.stream >= wish.sent.first:
        return _Timeline(events=new, limited=False)
    return _Timeline(events=view.events, limited=view.limited, grown=True, encoded=showing.timeline)


def _choose_state(wish: Wish, showing: Showing, timeline: _Timeline, *, gap: bool) -> dict[StateKey, RoomEvent | None]:
    """The state to send, None for what is no more."""
    config, state = wish.config, showing.state
    chosen: dict[StateKey, RoomEvent | None] = {}
    changed: Collection[StateKey] = ()
    if showing.changed is None:
        chosen.update(config.select(state))
    else:
        changed = showing.changed
        chosen.update((key, state.get(key)) for key in changed if config.wants(key))
        if wish.sent is not None and wish.sent.config is not config:
            before = wish.sent.config
            chosen.update((key, held) for key, held in config.select(state).items() if not before.wants(key))
    if config.lazy:
        known = frozenset() if gap or wish.sent is None else wish.sent.members
        for person in people_of(timeline.events):
            held = state.get((MEMBER, person))
            if held is not None and held.nid not in known:
                chosen[MEMBER, person] = held
        if not gap:
            chosen.update((key, state.get(key)) for key in changed if key[0] == MEMBER)
    return chosen


def _note(wish: Wish, timeline: _Timeline, state: dict[StateKey, RoomEvent | None], *, gap: bool) -> Sent:
    """What the client has been told."""
    sent = wish.sent
    members = frozenset[int]() if gap or sent is None else sent.members
    if wish.config.lazy:
        new = {held.nid for key, held in state.items() if held is not None and key[0] == MEMBER}
        if not new <= members:
            members = frozenset(new) if len(members) + len(new) > MOST_MEMBERS else members | new
    first = 0 if wish.since is None or sent is None else sent.first
    if timeline.limited or (wish.since is None and wish.config.limit == 0):
        first = timeline.events[0].held.stream if timeline.events else wish.upto + 1
    elif timeline.grown:
        first = 0
    return Sent(wish.membership, wish.stay, first, wish.upto, wish.config, members, wish.dm)


def _encode_summary(wish: Wish, showing: Showing) -> _Members:
    """Who is in the room, and what it is called."""
    members: _Members = []
    state, changed, counted = showing.state, showing.changed, showing.view.counted
    name = state.content("m.room.name", "name")
    for member, key, value in (
        (b'"name"', NAME, name),
        (b'"avatar"', AVATAR, state.content("m.room.avatar", "url")),
    ):
        if (value is not None) if changed is None else (key in changed):
            members.append((member, _encode(value)))
    if counted is not None and not (wish.grows and showing.changed is not None and not _is_counted(showing.changed)):
        members.append((b'"joined_count"', b"%d" % counted.joined))
        members.append((b'"invited_count"', b"%d" % counted.invited))
        if name is None:
            heroes = [_hero(user_id, showing) for user_id in heroes_of(counted, wish.user_id)]
            members.append((b'"heroes"', _encode(heroes)))
    return members


def _is_counted(changed: Collection[StateKey]) -> bool:
    return any(key[0] == MEMBER or key == NAME for key in changed)


def _hero(user_id: UserID, showing: Showing) -> dict[str, str]:
    hero = {"user_id": str(user_id)}
    held = showing.state.get((MEMBER, user_id))
    for field in ("displayname", "avatar_url") if held is not None else ():
        value = held.event.content.get(field) if held is not None else None
        if isinstance(value, str):
            hero[field] = value
    return hero


def _encode_state(state: dict[StateKey, RoomEvent | None], dialect: Dialect) -> _Members:
    shown = [encode_state(held, NO_FILTER) for held in state.values() if held is not None]
    if dialect.stubs:
        gone = [key for key, held in state.items() if held is None]
        shown += [_encode({"type": kind, "state_key": state_key}) for kind, state_key in gone]
    return [(b'"required_state"', b"[" + b",".join(shown) + b"]")] if shown else []


def _encode_timeline(wish: Wish, timeline: _Timeline, around: Around, parts: Parts) -> _Members:
    if wish.config.limit == 0:
        silent = [(b'"limited"', b"true"), (b'"prev_batch"', b'"s%d"' % wish.upto)]
        return silent if wish.since is None else []
    if not timeline.events and not timeline.limited:
        return []
    encoded = timeline.encoded
    if encoded is None:
        view = View(events=timeline.events, limited=timeline.limited, end=wish.upto)
        encoded = parts.encode(view, wish.ask, around.device_id).timeline
    live = sum(seen.held.stream > around.live for seen in timeline.events)
    members = [(b'"timeline"', _inner(encoded)), (b'"num_live"', b"%d" % live)]
    if timeline.grown:
        members.append((around.dialect.expanded, b"true"))
    return members


def _inner(encoded: bytes) -> bytes:
    """What stands behind `{"events":` in the timeline of a sync, its end aside: the events, and the members `limited`
    and `prev_batch` that follow them there are members of the room here.
    """
    return encoded[len(b'{"events":') : -1]


def encode_rooms(rooms: dict[RoomID, bytes]) -> bytes:
    """All rooms of an answer."""
    return join_object((_encode(room_id), shown) for room_id, shown in rooms.items())
