"""The policy servers of rooms, as they are asked: several events side by side, with one limit of time for all of them,
and none for a while after a server let us wait in vain. So one that hangs holds up no room.

Spec: server-server-api#asking-for-a-policy-server-signature-on-an-event
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from federation.errors import PeerRefused, PeerUnreachable
from federation.event import Event
from federation.ids import EventID, ServerName
from federation.transport.tasks import side_by_side
from homeserver.rooms.receive.outside import SIGN_S, Outside
from homeserver.rooms.recommending import NotRecommended, PolicyServer, ask_for

AT_ONCE: Final = 10
"""About how many events a policy server is asked side by side."""
TOGETHER_MS: Final = 10_000
"""How long it may take over all that came at once; what it has not signed by then is not recommended."""
SLOW_MS: Final = 2_000
"""Who lets us wait for so long in vain is left alone; who is just not there may be back at any time."""
FIRST_MS: Final = 5_000
LONGEST_MS: Final = 300_000
"""For how long such a one is left alone, at first and at most; twice as long each time."""
MOST_SILENT: Final = 1_000

Verdicts = Mapping[EventID, NotRecommended | None]
"""Of events that a policy server was asked about: None where it recommends them."""


class _Silence(NamedTuple):
    """How often in a row a policy server let us wait in vain, and until when it is left alone."""

    failures: int
    until_ms: int


class Advisers:
    """Asks policy servers."""

    def __init__(self, outside: Outside, now_ms: Callable[[], int]) -> None:
        self._outside = outside
        self._now_ms = now_ms
        self._silent: OrderedDict[ServerName, _Silence] = OrderedDict()

    async def ask(self, server: ServerName, event: Event, until_ms: int | None = None) -> dict[str, Any]:
        """What a policy server says of an event, if it says so until then.

        Raises: RemoteFault; Refused.
        """
        now_ms, silence = self._now_ms(), self._silent.get(server)
        left_ms = TOGETHER_MS if until_ms is None else until_ms - now_ms
        if silence is not None and now_ms < silence.until_ms:
            raise PeerUnreachable(f"{server} does not answer")
        if left_ms <= 0:
            raise PeerUnreachable(f"{server} takes too long")
        try:
            answer = await self._outside.ask_to_sign(server, event, min(SIGN_S, left_ms / 1000))
        except (PeerUnreachable, PeerRefused):
            if self._now_ms() - now_ms >= SLOW_MS:
                self._fail(server, silence)
            raise
        self._silent.pop(server, None)
        return answer

    async def ask_about(self, used: PolicyServer, events: Sequence[Event]) -> Verdicts:
        """Ask about some events."""
        ask = partial(self.ask, until_ms=self._now_ms() + TOGETHER_MS)

        async def judge(event: Event) -> NotRecommended | None:
            try:
                await ask_for(ask, used, event)
            except NotRecommended as refusal:
                return refusal
            return None

        verdicts = await side_by_side([judge(event) for event in events], at_once=AT_ONCE)
        return {event.event_id: verdict for event, verdict in zip(events, verdicts, strict=True)}

    def _fail(self, server: ServerName, began: _Silence | None) -> None:
        """Leave it alone; once for all who asked at the same time."""
        if self._silent.get(server) is not began:
            return
        failures = 0 if began is None else began.failures
        length_ms = min(FIRST_MS << min(failures, 10), LONGEST_MS)
        self._silent[server] = _Silence(failures + 1, self._now_ms() + length_ms)
        self._silent.move_to_end(server)
        if len(self._silent) > MOST_SILENT:
            self._silent.popitem(last=False)
