"""Reports of what people find inappropriate: events, rooms and people, kept for somebody to look into.

What the reporter may not see is not there: nobody learns from a report what exists.

Spec: client-server-api#reporting-content
"""

from collections.abc import Callable

from federation.errors import BadIdentifier, Refused
from federation.ids import UserID, parse_user_id
from homeserver.policy import NotFound, Policy, SeeProfile, allows
from homeserver.rooms.history import History
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.summaries import Summaries
from homeserver.rooms.view import View, Views
from homeserver.storage.accounts import load_active
from homeserver.storage.database import Database
from homeserver.storage.reports import Report, append_report


class Reports:
    """Takes reports. What is reported must be there for the reporter, or it is NotFound."""

    def __init__(
        self, rooms: Rooms, database: Database, policy: Policy, views: Views, history: History, summaries: Summaries
    ) -> None:
        self._rooms = rooms
        self._db = database
        self._policy = policy
        self._views = views
        self._history = history
        self._summaries = summaries

    @property
    def _now_ms(self) -> Callable[[], int]:
        return self._rooms.seal.now_ms

    async def event(self, by: UserID, room_id: str, event_id: str, reason: str) -> None:
        """Report an event of a room that the reporter is joined to.

        Spec: client-server-api#post_matrixclientv3roomsroomidreporteventid
        """
        try:
            room = await self._views.open_joined(by, room_id)
        except Refused:
            raise _no_event() from None
        seen = await self._history.find(View(room=room, user_id=by), event_id)
        if seen is None:
            raise _no_event()
        held = seen.held
        await self._append(
            Report(
                kind="event",
                reporter=by,
                at_ms=self._now_ms(),
                reason=reason,
                room_id=room.room_id,
                event_id=held.event_id,
                user_id=held.event.sender,
            )
        )

    async def room(self, by: UserID, room_id: str, reason: str) -> None:
        """Report a room that the reporter may learn of.

        Spec: client-server-api#post_matrixclientv3roomsroomidreport
        """
        room = await self._rooms.load(room_id)
        if room is None or not await self._summaries.may_learn(by, room):
            raise NotFound("The room was not found")
        await self._append(Report(kind="room", reporter=by, at_ms=self._now_ms(), reason=reason, room_id=room.room_id))

    async def user(self, by: UserID, user_id: str, reason: str) -> None:
        """Report a person of this server whose profile the reporter may see.

        Spec: client-server-api#post_matrixclientv3usersuseridreport
        """
        try:
            person = parse_user_id(user_id)
        except BadIdentifier:
            raise _no_user() from None
        known = await self._db.read(load_active, [person])
        if not known or not await allows(self._policy, SeeProfile(by=by, person=person)):
            raise _no_user()
        await self._append(Report(kind="user", reporter=by, at_ms=self._now_ms(), reason=reason, user_id=person))

    async def _append(self, report: Report) -> None:
        await self._db.write(append_report, report)


def _no_event() -> NotFound:
    return NotFound("The event was not found or you are not joined to the room")


def _no_user() -> NotFound:
    return NotFound("The user was not found")
