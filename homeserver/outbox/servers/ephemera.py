"""What other servers are told of our people and is not kept: who is typing, who has read what, who is there. (How far
they have read is told once more to a server that was away: see `packing`.)

A server is told of what goes on in the rooms that it is in; of who is there only where the operator's policy lets
presence leave the region.

Spec: server-server-api#typing-notifications, server-server-api#receipts, server-server-api#presence
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from federation.ids import RoomID, ServerName, UserID, server_of
from federation.transport.tasks import Tasks
from homeserver.ephemeral.presence import Presences
from homeserver.ephemeral.typing import Typing
from homeserver.outbox.servers.audiences import others_in
from homeserver.outbox.servers.receipts import build_receipts
from homeserver.outbox.servers.sending import Sending
from homeserver.rooms.rooms import Rooms
from homeserver.storage.changes import EventAdded, ReceiptMoved
from homeserver.storage.database import Change, Database, StorageUnavailable
from homeserver.storage.outbox import load_servers_near

TYPING_AGAIN_S: Final = 30.0
"""How often it is said again that somebody goes on typing."""
PRESENT_AGAIN_S: Final = 25 * 60.0
"""How often it is said again that somebody is still there."""

_log = Logger()


class Ephemera:
    """Tells other servers; everything is called on the reactor's thread."""

    def __init__(
        self, sending: Sending, rooms: Rooms, database: Database, typing: Typing, presences: Presences, clock: Any
    ) -> None:
        self.tells_presence = True
        self._sending = sending
        self._rooms = rooms
        self._database = database
        self._typing = typing
        self._presences = presences
        self._clock = clock
        self._server = rooms.seal.server
        self._types: dict[RoomID, frozenset[UserID]] = {}
        self._present: set[UserID] = set()
        self._timers: dict[Callable[[], None], Any] = {}
        self._tasks = Tasks(_report)

    # what is new

    def heed(self, changes: Sequence[Change]) -> None:
        """Take note of what a commit tells: public receipts of ours are told, and of who is there that they are, where
        they join.
        """
        for change in changes:
            if isinstance(change, ReceiptMoved) and change.kind == "m.read" and self._is_ours(change.user_id):
                self._tasks.run(self._tell_receipt(change))
            elif isinstance(change, EventAdded):
                event = change.event.event
                if event.membership == "join" and event.state_key in self._present:
                    self._tasks.run(self._tell_presence(UserID(event.state_key)))

    def stir(self, room_id: RoomID) -> None:
        """Typing changed in a room."""
        now = frozenset(user_id for user_id in self._typing.users(room_id) if self._is_ours(user_id))
        before = self._types.pop(room_id, frozenset())
        if now:
            self._types[room_id] = now
            self._again(self._type_again, TYPING_AGAIN_S)
        for user_id in sorted(now ^ before):
            self._tell_typing(room_id, user_id, is_typing=user_id in now)

    def show(self, user_id: UserID) -> None:
        """Somebody's presence changed."""
        if not self.tells_presence or not self._is_ours(user_id):
            return
        if self._presences.find(user_id).state == "offline":
            self._present.discard(user_id)
        else:
            self._present.add(user_id)
            self._again(self._show_again, PRESENT_AGAIN_S)
        self._tasks.run(self._tell_presence(user_id))

    @property
    def is_idle(self) -> bool:
        """Whether all that was to be told has been given to the outbox."""
        return self._tasks.is_idle

    def stop(self) -> None:
        """Tell nobody any more."""
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._tasks.cancel()

    # telling

    def _is_ours(self, user_id: UserID) -> bool:
        return server_of(user_id) == self._server

    def _others_in(self, room_id: RoomID) -> Sequence[ServerName]:
        room = self._rooms.find(room_id)
        return () if room is None else others_in(room, self._server)

    def _tell_typing(self, room_id: RoomID, user_id: UserID, *, is_typing: bool) -> None:
        servers = self._others_in(room_id)
        if servers:
            content = {"room_id": room_id, "user_id": user_id, "typing": is_typing}
            self._sending.tell("m.typing", content, servers, (room_id, user_id))

    async def _tell_receipt(self, moved: ReceiptMoved) -> None:
        room = await self._rooms.load(moved.room_id)
        servers = () if room is None else others_in(room, self._server)
        if not servers:
            return
        (content,) = build_receipts([moved])
        self._sending.tell("m.receipt", content, servers, (moved.room_id, moved.user_id, moved.thread_id))

    async def _tell_presence(self, user_id: UserID) -> None:
        servers = await self._database.read(load_servers_near, user_id)
        if servers:
            shown = self._presences.find(user_id).content(self._presences.now_ms())
            content = {"user_id": user_id, "last_active_ago": 0, **shown}
            self._sending.tell("m.presence", {"push": [content]}, servers, user_id)

    # again

    def _type_again(self) -> None:
        for room_id, users in self._types.items():
            for user_id in sorted(users):
                self._tell_typing(room_id, user_id, is_typing=True)
        if self._types:
            self._again(self._type_again, TYPING_AGAIN_S)

    def _show_again(self) -> None:
        for user_id in sorted(self._present):
            self._tasks.run(self._tell_presence(user_id))
        if self._present:
            self._again(self._show_again, PRESENT_AGAIN_S)

    def _again(self, call: Callable[[], None], delay_s: float) -> None:
        timer = self._timers.get(call)
        if timer is None or not timer.active():
            self._timers[call] = self._clock.callLater(delay_s, call)


def _report(failure: Failure) -> None:
    if not isinstance(failure.value, StorageUnavailable):
        _log.failure("telling other servers failed", failure)
