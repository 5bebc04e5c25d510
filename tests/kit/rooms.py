"""Rooms made of thin air: valid signed histories in any room version, of which a test spoils one fact.

`RoomFactory("9").join("@bob:two.example")` is a joined event, sealed by its sender's server, with the right auth
events and a known state before and after it. Whatever `send` appends has passed the rules; `build` only builds. A
branch begins with `after=`, and two branches meet with `after=[one, other]`.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec

from federation.auth import auth_types, check_auth, check_auth_events
from federation.auth.numbers import rule_numbers
from federation.ed25519 import SigningKey
from federation.errors import Refused
from federation.event import Event, EventFields, seal_event
from federation.hashes import reference_hash
from federation.ids import EventID, RoomID, ServerName, StateKey, UserID, server_of
from federation.resolution import resolve
from federation.signatures import sign_event
from federation.versions import ROOM_VERSIONS, RoomVersion

ALICE, BOB, CAROL, DAVE = (UserID(f"@{name}.example") for name in ("alice:one", "bob:two", "carol:three", "dave:one"))

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")

START_MS = 1_700_000_000_000


def versions(first: int = 1, last: int = 12) -> list[str]:
    """The names of the room versions from `first` to `last`, for parametrizing tests of what spans them."""
    return [str(number) for number in range(first, last + 1)]


@cache
def signing_key(server: str) -> SigningKey:
    """The key of a server: always the same for the same name."""
    return SigningKey("a_1", sha256(server.encode()).digest())


class RoomFactory:
    """A room of Alice's, and all that happens in it. Time moves on by a second with each event."""

    def __init__(
        self,
        version: str | RoomVersion = "12",
        *,
        creator: UserID = ALICE,
        join_rule: str | None = "public",
        power_levels: Mapping[str, Any] | None = None,
        create_content: Mapping[str, Any] | None = None,
    ) -> None:
        """`join_rule=None` leaves the room without join rules; `power_levels={}` leaves it without power levels."""
        self.version = ROOM_VERSIONS[version] if isinstance(version, str) else version
        self.creator = creator
        self.events: dict[EventID, Event] = {}
        self._states: dict[EventID, dict[StateKey, Event]] = {}
        self._count = 0
        self.head: Event | None = None
        self.room_id: RoomID | None = None
        if not self.version.room_id_is_create_hash:
            self.room_id = RoomID(f"!room:{server_of(creator)}")
        content = {"room_version": self.version.id, **(create_content or {})}
        if not self.version.implicit_creator:
            content.setdefault("creator", creator)
        self.create = self.send("m.room.create", content, sender=creator, state_key="")
        self.room_id = self.create.room_id
        self.join(creator)
        if power_levels is None:
            power_levels = {"users": {} if self.version.creators_are_supreme else {creator: 100}}
        if power_levels:
            self.send(*POWER_LEVELS[:1], power_levels, sender=creator, state_key="")
        if join_rule is not None:
            self.set_join_rule(join_rule)

    # what is there

    def state(self, after: Event | Sequence[Event] | None = None) -> dict[StateKey, Event]:
        """The state after an event, after several (resolved), or now."""
        events = self._places(after)
        if len(events) > 1:
            sets = [self.ids(event) for event in events]
            resolved = resolve(self.version, sets, self.events.get)
            return {key: self.events[event_id] for key, event_id in resolved.items()}
        return dict(self._states[events[0].event_id]) if events else {}

    def ids(self, after: Event | Sequence[Event] | None = None) -> dict[StateKey, EventID]:
        """The same state as resolution takes it."""
        return {key: event.event_id for key, event in self.state(after).items()}

    def _places(self, after: Event | Sequence[Event] | None) -> list[Event]:
        if after is None:
            return [] if self.head is None else [self.head]
        return [after] if isinstance(after, Event) else list(after)

    # what may come

    def build(
        self,
        type: str,
        content: Mapping[str, Any],
        *,
        sender: UserID,
        state_key: str | None = None,
        after: Event | Sequence[Event] | None = None,
        **fields: Any,
    ) -> Event:
        """An event sealed by its sender's server, not appended or checked; `fields` are those of `EventFields`."""
        places, state = self._places(after), self.state(after)
        keys = auth_types(self.version, type=type, state_key=state_key, sender=sender, content=content)
        self._count += 1
        given: dict[str, Any] = {
            "type": type,
            "sender": sender,
            "room_id": self.room_id,
            "content": content,
            "state_key": state_key,
            "prev_events": tuple(event.event_id for event in places),
            "auth_events": tuple(state[key].event_id for key in keys if key in state),
            "depth": max((event.depth for event in places), default=0) + 1,
            "origin_server_ts": START_MS + 1000 * self._count,
            **fields,
        }
        if self.version.event_ids == "sent":
            given.setdefault("opaque", f"e{self._count}")
            given["reference_hashes"] = {
                event_id: reference_hash(self.version, self.events[event_id].pdu())
                for event_id in (*given["prev_events"], *given["auth_events"])
            }
        server = server_of(sender)
        return seal_event(self.version, EventFields(**given), server=server, key=signing_key(server))

    def check(self, event: Event, after: Event | Sequence[Event] | None = None) -> None:
        """Refuse an event by its auth events and by the state it meets.

        Raises: Refused.
        """
        create = event if self.head is None else self.create
        check_auth_events(event, [self.events[event_id] for event_id in event.auth_events], create=create)
        check_auth(event, self.state(after).get, create=None if self.head is None else create)

    def rule_against(self, event: Event, after: Event | Sequence[Event] | None = None) -> str | None:
        """The name, as in `federation.auth.numbers`, of the rule that refuses the event; None when it is allowed."""
        try:
            self.check(event, after)
        except Refused as refusal:
            names = {f"auth {number}": name for name, number in rule_numbers(self.version).items()}
            return names[refusal.rule]
        return None

    def append(self, event: Event, after: Event | Sequence[Event] | None = None) -> Event:
        """Take an event into the history, allowed or not; it becomes the head."""
        state = self.state(after)
        if event.is_state:
            state[event.key] = event
        self.events[event.event_id] = event
        self._states[event.event_id] = state
        self.head = event
        return event

    def send(self, type: str, content: Mapping[str, Any], *, sender: UserID, **more: Any) -> Event:
        """Build, check and append.

        Raises: Refused.
        """
        event = self.build(type, content, sender=sender, **more)
        self.check(event, more.get("after"))
        return self.append(event, more.get("after"))

    # what people do

    def message(self, sender: UserID, body: str = "hi", **more: Any) -> Event:
        return self.send("m.room.message", {"msgtype": "m.text", "body": body}, sender=sender, **more)

    def build_member(self, sender: UserID, target: UserID, membership: Any, **more: Any) -> Event:
        """A membership, not appended and not checked; keyword `content` is added to it."""
        content = {"membership": membership, **more.pop("content", {})}
        return self.build("m.room.member", content, sender=sender, state_key=target, **more)

    def member(self, sender: UserID, target: UserID, membership: str, **more: Any) -> Event:
        content = {"membership": membership, **more.pop("content", {})}
        return self.send("m.room.member", content, sender=sender, state_key=target, **more)

    def join(self, *users: UserID, **more: Any) -> Event:
        """Let the users join one after the other; returns the last join."""
        for user in users:
            event = self.member(user, user, "join", **more)
        return event

    def invite(self, sender: UserID, target: UserID, **more: Any) -> Event:
        return self.member(sender, target, "invite", **more)

    def leave(self, user: UserID, **more: Any) -> Event:
        return self.member(user, user, "leave", **more)

    def kick(self, sender: UserID, target: UserID, **more: Any) -> Event:
        return self.member(sender, target, "leave", **more)

    def ban(self, sender: UserID, target: UserID, **more: Any) -> Event:
        return self.member(sender, target, "ban", **more)

    def set_join_rule(self, rule: str, sender: UserID | None = None, **more: Any) -> Event:
        return self.send("m.room.join_rules", {"join_rule": rule}, sender=sender or self.creator, state_key="", **more)

    def set_levels(self, sender: UserID | None = None, **more: Any) -> Event:
        """Change power levels: `users` and `events` are merged into what is there, other names set."""
        return self._levels(sender, more, append=True)

    def build_levels(self, sender: UserID | None = None, **more: Any) -> Event:
        """The same, not appended and not checked."""
        return self._levels(sender, more, append=False)

    def _levels(self, sender: UserID | None, more: dict[str, Any], *, append: bool) -> Event:
        place = {name: more.pop(name) for name in ("after", "origin_server_ts") if name in more}
        current = self.state(place.get("after")).get(POWER_LEVELS)
        content: dict[str, Any] = dict(current.content) if current else {}
        for name, value in more.items():
            content[name] = {**content.get(name, {}), **value} if isinstance(value, dict) else value
        make = self.send if append else self.build
        return make("m.room.power_levels", content, sender=sender or self.creator, state_key="", **place)


def spoil(event: Event, **facts: Any) -> Event:
    """A copy in which some facts are others, as no honest server would seal it; its ID stays."""
    return msgspec.structs.replace(event, **facts)


def cosign(event: Event, server: str) -> Event:
    """The event signed by one more server."""
    return sign_event(event, ServerName(server), signing_key(server))
