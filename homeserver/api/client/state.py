"""The state of rooms.

Spec: client-server-api#getting-events-for-a-room
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from federation.transport.tasks import in_slices
from homeserver.api.client.appservice import find_time
from homeserver.api.client.delayed import find_delay, schedule
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.delayed import DelayedEvents
from homeserver.rooms.render import Asker, render
from homeserver.rooms.state import Settings, States
from homeserver.storage.delayed import Later
from homeserver.streams import Clock

_STATE = "/_matrix/client/v3/rooms/{roomId}/state"
_ANCHOR = "matrixclientv3roomsroomidstate"


def routes(
    states: States, settings: Settings, delayed: DelayedEvents, now_ms: Callable[[], int], clock: Clock
) -> tuple[Route, ...]:
    """The endpoints of state."""
    return tuple(_routes(_StateAPI(states, settings, delayed, now_ms, clock)))


def _routes(api: "_StateAPI") -> Iterator[Route]:
    yield Route(method="GET", path=_STATE, handle=api.all, rate="other", spec=f"client-server-api#get_{_ANCHOR}")
    one = f"{_ANCHOR}eventtypestatekey"
    for path in (f"{_STATE}/{{eventType}}", f"{_STATE}/{{eventType}}/{{stateKey}}"):
        yield Route(method="GET", path=path, handle=api.one, rate="other", spec=f"client-server-api#get_{one}")
        yield Route(
            method="PUT",
            path=path,
            handle=api.put,
            rate="other",
            spec=f"client-server-api#put_{one}",
            body=dict[str, Any],
        )


class _StateAPI:
    def __init__(
        self, states: States, settings: Settings, delayed: DelayedEvents, now_ms: Callable[[], int], clock: Clock
    ) -> None:
        self._states = states
        self._delayed = delayed
        self._settings = settings
        self._now_ms = now_ms
        self._clock = clock

    async def all(self, call: Call) -> Reply:
        asker = self._asker(call)
        state = await self._states.all(asker.user_id, call.params["roomId"])
        return b"[" + b",".join(await in_slices(self._clock, lambda held: render(held, asker), state)) + b"]"

    async def one(self, call: Call) -> Reply:
        whole = call.query.choice("format", ("content", "event"), "content") == "event"
        asker = self._asker(call)
        key = _key(call)
        held = await self._states.one(asker.user_id, call.params["roomId"], *key)
        return render(held, asker) if whole else msgspec.json.encode(held.event.content)

    async def put(self, call: Call) -> Reply:
        caller, delay_ms = call.caller, find_delay(call)
        if delay_ms is not None:
            event_type, state_key = _key(call)
            later = Later(type=event_type, content=call.body, state_key=state_key)
            return await schedule(self._delayed, call, later, delay_ms)
        guest = caller.kind == "guest"
        event_id = await self._settings.put(
            caller.user_id, call.params["roomId"], _key(call), call.body, guest=guest, at_ms=find_time(call)
        )
        return {"event_id": event_id}

    def _asker(self, call: Call) -> Asker:
        return Asker(user_id=call.caller.user_id, device_id=call.caller.device_id, now_ms=self._now_ms())


def _key(call: Call) -> tuple[str, str]:
    return call.params["eventType"], call.params.get("stateKey", "")
