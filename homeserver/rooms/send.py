"""Sending: messages and redactions of people who are joined.

Spec: client-server-api#sending-events-to-a-room, client-server-api#redactions
"""

from collections.abc import Mapping

from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID, UserID
from homeserver.policy import Invalid, NotFound, Policy, Redact, SendEvent
from homeserver.rooms.history import History
from homeserver.rooms.polls import RESPONSES
from homeserver.rooms.relating import Relating
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.rooms.transactions import Request, Transactions
from homeserver.rooms.view import View, Views
from homeserver.storage.events import Origin, RoomEvent
from homeserver.storage.relations import find_relation

REDACTION = "m.room.redaction"


class Suspended(Refused):
    """Somebody whose account is suspended redacts nothing of others.

    Spec: client-server-api#account-suspension
    """

    def __init__(self) -> None:
        super().__init__("redact", "You cannot do this while your account is suspended")


class Sending:
    """Sends events that are not state. Every method answers a repeated transaction id with the first event.

    Methods raise Hidden when the sender is not joined or there is no such room, Refused, EventTooLarge and Invalid.
    """

    def __init__(
        self,
        rooms: Rooms,
        views: Views,
        history: History,
        policy: Policy,
        transactions: Transactions,
        relating: Relating,
    ) -> None:
        self._rooms = rooms
        self._relating = relating
        self._views = views
        self._history = history
        self._policy = policy
        self._transactions = transactions

    async def send(
        self,
        origin: Origin,
        room_id: str,
        event_type: str,
        content: Mapping[str, object],
        *,
        at_ms: int | None = None,
    ) -> EventID:
        """Send an event; a redaction is one that names its target in its content. `at_ms` is when, None: now.

        Spec: client-server-api#put_matrixclientv3roomsroomidsendeventtypetxnid
        """
        request = Request(room_id, event_type, origin.txn_id)
        if event_type == REDACTION:
            return await self._transactions.once(
                origin, request, lambda: self._redact(origin, room_id, _target_of(content), content)
            )
        return await self._transactions.once(
            origin, request, lambda: self._send(origin, room_id, event_type, content, at_ms)
        )

    async def redact(
        self, origin: Origin, room_id: str, event_id: str, reason: str | None, *, suspended: bool = False
    ) -> EventID:
        """Redact an event that the sender may see: their own, or, unless they are `suspended`, anybody's with the
        room's power to redact.

        Raises: NotFound when there is none; Suspended.
        Spec: client-server-api#put_matrixclientv3roomsroomidredacteventidtxnid
        """
        content = {} if reason is None else {"reason": reason}
        request = Request(room_id, event_id, origin.txn_id)
        return await self._transactions.once(
            origin, request, lambda: self._redact(origin, room_id, event_id, content, only_own=suspended)
        )

    async def check(self, by: UserID, room_id: str, event_type: str, content: Mapping[str, object]) -> None:
        """Refuse what the policy would not let somebody send now, who is in the room; power is not looked at."""
        if event_type == REDACTION:
            await self._open_redaction(by, room_id, _target_of(content))
        else:
            await self._open(by, room_id, event_type, content)

    async def _open(self, by: UserID, room_id: str, event_type: str, content: Mapping[str, object]) -> Room:
        """The room for somebody who may send that there."""
        room = await self._views.open_joined(by, room_id)
        poll = await self._find_poll(room, by, content) if event_type in RESPONSES else None
        await self._policy.check(SendEvent(by=by, room=room, type=event_type, content=content, poll=poll))
        return room

    async def _send(
        self, origin: Origin, room_id: str, event_type: str, content: Mapping[str, object], at_ms: int | None
    ) -> EventID:
        room = await self._open(origin.user_id, room_id, event_type, content)
        draft = Draft(type=event_type, sender=origin.user_id, content=content, origin=origin, at_ms=at_ms)
        if "m.relates_to" not in content:
            return (await self._rooms.append(room, draft)).event_id
        async with self._relating.checked(room, draft):
            return (await self._rooms.append(room, draft)).event_id

    async def _find_poll(self, room: Room, sender: UserID, content: Mapping[str, object]) -> Event | None:
        """The event that an answer to a poll relates to."""
        relation = find_relation(content)
        seen = await self._history.find(View(room=room, user_id=sender), relation.event_id) if relation else None
        return None if seen is None else seen.held.event

    async def _open_redaction(self, by: UserID, room_id: str, event_id: str) -> tuple[Room, RoomEvent]:
        """The room and the event in it for somebody who may redact that."""
        room = await self._views.open_joined(by, room_id)
        seen = await self._history.find(View(room=room, user_id=by), event_id)
        if seen is None:
            raise NotFound("Event not found")
        target = seen.held
        await self._policy.check(Redact(by=by, room=room, event_id=target.event_id, target=target.event))
        return room, target

    async def _redact(
        self, origin: Origin, room_id: str, event_id: str, content: Mapping[str, object], *, only_own: bool = False
    ) -> EventID:
        room, target = await self._open_redaction(origin.user_id, room_id, event_id)
        if only_own and target.event.sender != origin.user_id:
            raise Suspended
        _check_power(room, origin.user_id, target.event)
        draft = Draft(
            type=REDACTION,
            sender=origin.user_id,
            content={name: value for name, value in content.items() if name != "redacts"},
            redacts=target.event_id,
            target=target,
            origin=origin,
        )
        return (await self._rooms.append(room, draft)).event_id


def _check_power(room: Room, by: UserID, target: Event) -> None:
    """Refuse those to redact what others said who have no power to.

    The rules of rooms let all people of a server redact what its people said: who of them may is for the server.

    Spec: client-server-api#redactions
    """
    levels = room.head.levels
    if by != target.sender and levels.power_of(by) < levels.redact:
        raise Refused("redaction", "the sender may not redact what others sent")


def _target_of(content: Mapping[str, object]) -> str:
    target = content.get("redacts")
    if not isinstance(target, str):
        raise Invalid("M_BAD_JSON", "A redaction names its target in redacts")
    return target
