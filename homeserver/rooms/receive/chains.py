"""Events without a place: judged by their auth events alone, in the order in which they rest on each other.

Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from federation.auth import PowerLevels, check_auth, check_auth_events
from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID
from homeserver.rooms.groups import POWER_LEVELS
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent, Standing, append_event

MOST_LEVELS: Final = 64

Verdicts = Mapping[EventID, Refused | None]
"""What the rules say of events: None where they allow it."""

Outlier: TypeAlias = tuple[RoomEvent, Standing]
"""An event without a place, and what became of it."""


class Levels:
    """Power levels by the events they are made of, so that many events may be checked with few readings."""

    def __init__(self) -> None:
        self._known: dict[tuple[EventID, EventID | None], PowerLevels] = {}

    def of(self, create: Event, power_levels: Event | None) -> PowerLevels:
        """The power levels by these events."""
        key = (create.event_id, power_levels.event_id if power_levels is not None else None)
        levels = self._known.get(key)
        if levels is None:
            if len(self._known) >= MOST_LEVELS:
                self._known.clear()
            levels = self._known[key] = PowerLevels.of(create.version, create, power_levels)
        return levels


def check_own_auth(
    event: Event, auth: Sequence[Event], *, create: Event, rejected: Callable[[EventID], bool], levels: Levels
) -> None:
    """Refuse an event that its own auth events do not allow.

    Raises: Refused.
    Spec: server-server-api#checks-performed-on-receipt-of-a-pdu, step 4
    """
    check_auth_events(event, auth, create=create, rejected=rejected)
    state = {each.key: each for each in auth}
    check_auth(event, state.get, create=create, levels=levels.of(create, state.get(POWER_LEVELS)))


def judge_all(
    events: Mapping[EventID, Event], before: Mapping[EventID, Event], create: Event, rejected: Iterable[EventID] = ()
) -> dict[EventID, Refused | None]:
    """Judge each event by its auth events, which are among them or `before`; `rejected` were rejected already.

    An event that rests on what is not there, or on itself, is left out.
    """
    gone, levels = set(rejected), Levels()
    verdicts: dict[EventID, Refused | None] = {}
    for event in order_by(events, lambda event: event.auth_events):
        if not all(each in verdicts or each in before for each in event.auth_events):
            continue
        auth = [found for each in event.auth_events if (found := events.get(each) or before.get(each)) is not None]
        verdicts[event.event_id] = refusal = _judge(event, auth, create, gone, levels)
        if refusal is not None:
            gone.add(event.event_id)
    return verdicts


def _judge(
    event: Event, auth: Sequence[Event], create: Event, rejected: set[EventID], levels: Levels
) -> Refused | None:
    try:
        if event.type == "m.room.create":
            check_auth(event, lambda key: None)
            if event.event_id != create.event_id:
                raise Refused("room", "another create event")
        else:
            check_own_auth(event, auth, create=create, rejected=rejected.__contains__, levels=levels)
    except Refused as refusal:
        return refusal
    return None


def order_by(events: Mapping[EventID, Event], before: Callable[[Event], Iterable[EventID]]) -> list[Event]:
    """The events, each after those that `before` names; in their order where that leaves a choice; no cycles."""
    blocked = {event_id: {each for each in before(event) if each in events} for event_id, event in events.items()}
    blocking: dict[EventID, list[EventID]] = {}
    for event_id, others in blocked.items():
        for each in others:
            blocking.setdefault(each, []).append(event_id)
    free = [event_id for event_id, others in blocked.items() if not others]
    order: list[Event] = []
    for event_id in free:  # it grows
        order.append(events[event_id])
        for waiting in blocking.get(event_id, ()):
            blocked[waiting].discard(event_id)
            if not blocked[waiting]:
                free.append(waiting)
    return order


def append_outliers(txn: Txn, outliers: Sequence[Outlier]) -> None:
    """Unit of work: keep events that have no place."""
    for held, standing in outliers:
        append_event(txn, held, None, standing)
