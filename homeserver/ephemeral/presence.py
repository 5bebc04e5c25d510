"""Who is there: in memory only, and only of those who sync.

Simple on purpose: somebody who syncs is there, until they say otherwise or have not synced for a while. A change is
told to those with whom they share a room; being active goes on without being told.

Spec: client-server-api#presence
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import msgspec
from twisted.internet.interfaces import IDelayedCall

from federation.ids import RoomID, UserID
from homeserver.policy import Invalid, NotFound, Policy, SeePresence, SetPresence, allows
from homeserver.storage.database import Database
from homeserver.storage.sync import share_room
from homeserver.streams import Clock, Streams

State: TypeAlias = Literal["online", "unavailable", "offline"]

STATES: Final[tuple[State, ...]] = ("online", "unavailable", "offline")
LINGERS_MS: Final = 60_000
"""How long somebody counts as there after the end of their last sync."""
HEARD_MS: Final = 45 * 60 * 1000
"""How long somebody of another server counts as there after that has said so; servers say it again before."""
SWEEP_S: Final = 15
LONGEST_STATUS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Somebody's presence; `active_ms` is when they last did something, None when that was never seen."""

    state: State = "offline"
    status: str | None = None
    active_ms: int | None = None

    def content(self, now_ms: int) -> dict[str, object]:
        """What is shown of it."""
        shown: dict[str, object] = {"presence": self.state}
        if self.active_ms is not None:
            shown["last_active_ago"] = max(0, now_ms - self.active_ms)
        if self.state == "online":
            shown["currently_active"] = True
        if self.status is not None:
            shown["status_msg"] = self.status
        return shown


ABSENT: Final = Presence()


class Presences:
    """The presence of everybody who is there or has said something about it. Switched off, nobody ever is."""

    def __init__(
        self,
        database: Database,
        streams: Streams,
        policy: Policy,
        clock: Clock,
        now_ms: Callable[[], int],
        *,
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self._database = database
        self._streams = streams
        self._policy = policy
        self._clock = clock
        self.now_ms = now_ms
        self._known: dict[UserID, Presence] = {}
        self._heard: dict[UserID, frozenset[RoomID]] = {}
        self._leaves_ms: dict[UserID, int] = {}
        self._sweep: IDelayedCall | None = None

    def attend(self, user_id: UserID, state: State, timeout_ms: int) -> None:
        """Somebody syncs, and will wait at most so long; with state offline that does not count."""
        if not self.enabled or state == "offline":
            return
        now_ms = self.now_ms()
        self._expect(user_id, now_ms + timeout_ms)
        known = self._known.get(user_id, ABSENT)
        if known.state != state:
            self._change(user_id, replace(known, state=state, active_ms=now_ms))

    async def set(self, by: UserID, state: State, status: str | None) -> None:
        """Somebody says whether they are there, and what they are doing.

        Raises:
            Refused: they may not tell anybody.
            Invalid: the message is too long.

        Spec: client-server-api#put_matrixclientv3presenceuseridstatus
        """
        await self._policy.check(SetPresence(by=by))
        if status is not None and len(status) > LONGEST_STATUS:
            raise Invalid("M_INVALID_PARAM", f"A status has at most {LONGEST_STATUS} characters")
        if self.enabled:
            now_ms = self.now_ms()
            self._expect(by, now_ms)
            self._change(by, Presence(state=state, status=status or None, active_ms=now_ms))

    async def see(self, by: UserID, person: UserID) -> dict[str, object]:
        """What is shown of somebody's presence to whom they share a room with.

        Raises:
            NotFound: they share none, there is no such person, it may not be seen, or presence is switched off.

        Spec: client-server-api#get_matrixclientv3presenceuseridstatus
        """
        known = self.enabled and (by == person or await self._database.read(share_room, by, person))
        if not known or not await self.may_see(by, person):
            raise NotFound("There is no presence of that person for you")
        return self.find(person).content(self.now_ms())

    async def may_see(self, by: UserID, person: UserID) -> bool:
        """Whether somebody who shares a room with that person may see their presence."""
        return by == person or await allows(self._policy, SeePresence(by=by, person=person))

    def find(self, user_id: UserID) -> Presence:
        """The presence of anybody."""
        return self._known.get(user_id, ABSENT)

    def event(self, user_id: UserID) -> bytes:
        """The event that tells of somebody's presence."""
        content = self.find(user_id).content(self.now_ms())
        return msgspec.json.encode({"type": "m.presence", "sender": user_id, "content": content})

    def hear(self, user_id: UserID, presence: Presence, rooms: Sequence[RoomID]) -> None:
        """Somebody of another server is there or not, as that says; they count as there for so long."""
        if not self.enabled:
            return
        if presence.state != "offline":
            self._expect(user_id, self.now_ms() + HEARD_MS)
        self._heard[user_id] = frozenset(rooms)
        self._change(user_id, presence, rooms)

    def heard_in(self, rooms: Iterable[RoomID]) -> list[UserID]:
        """People of other servers who are there, and were in one of those rooms when that was said."""
        some = frozenset(rooms)
        return [user_id for user_id, theirs in self._heard.items() if not some.isdisjoint(theirs)]

    def close(self) -> None:
        """Nobody is waited for any more."""
        if self._sweep is not None and self._sweep.active():
            self._sweep.cancel()

    def _expect(self, user_id: UserID, until_ms: int) -> None:
        """They count as there until then, and a while longer."""
        self._leaves_ms[user_id] = until_ms + LINGERS_MS
        if self._sweep is None:
            self._sweep = self._clock.callLater(SWEEP_S, self._sweep_absent)

    def _change(self, user_id: UserID, presence: Presence, rooms: Sequence[RoomID] = ()) -> None:
        if presence.state == "offline" and presence.status is None:
            self._known.pop(user_id, None)
            self._heard.pop(user_id, None)
        else:
            self._known[user_id] = presence
        self._streams.show_presence(user_id, rooms)

    def _sweep_absent(self) -> None:
        self._sweep = None
        now_ms = self.now_ms()
        gone = [user_id for user_id, leaves_ms in self._leaves_ms.items() if leaves_ms <= now_ms]
        for user_id in gone:
            del self._leaves_ms[user_id]
            known = self._known.get(user_id)
            if known is not None and known.state != "offline":
                rooms = self._heard.get(user_id, ())
                self._change(user_id, replace(known, state="offline", status=None), tuple(rooms))
        if self._leaves_ms:
            self._sweep = self._clock.callLater(SWEEP_S, self._sweep_absent)
