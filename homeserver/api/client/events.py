"""The event stream of old, and looking into rooms.

Spec: client-server-api#get_matrixclientv3events
"""

from collections.abc import Iterator

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.render import Asker
from homeserver.sync.events import Events, Peek, Reader

_V3 = "/_matrix/client/v3"


def routes(events: Events) -> tuple[Route, ...]:
    """The endpoints of the event stream."""
    return tuple(_routes(_EventsAPI(events)))


def _routes(api: "_EventsAPI") -> Iterator[Route]:
    for place, handle in (
        ("initialSync", api.begin),
        ("events", api.listen),
        ("events/{eventId}", api.event),
        ("rooms/{roomId}/initialSync", api.room),
    ):
        anchor = f"get{_V3}/{place}".replace("/", "").replace("{", "").replace("}", "").lower()
        spec = f"client-server-api#{anchor}"
        yield Route(method="GET", path=f"{_V3}/{place}", handle=handle, rate="sync", spec=spec)


class _EventsAPI:
    def __init__(self, events: Events) -> None:
        self._stream = events.stream
        self._snapshots = events.snapshots
        self._history = events.history
        self._now_ms = events.now_ms

    async def begin(self, call: Call) -> Reply:
        query = call.query
        return await self._stream.begin(_reader(call), query.int("limit", 20), archived=query.flag("archived"))

    async def listen(self, call: Call) -> Reply:
        query = call.query
        since, timeout_ms = query.str("from"), query.int("timeout", 0)
        room_id, gone = query.str("room_id"), call.gone if timeout_ms else None
        if room_id is None:
            return await self._stream.listen(_reader(call), since, timeout_ms, gone)
        peek = Peek(room_id=room_id, since=since, timeout_ms=timeout_ms)
        return await self._stream.peek(_reader(call), peek, gone)

    async def event(self, call: Call) -> Reply:
        return await self._history.event_anywhere(self._asker(call), call.params["eventId"])

    async def room(self, call: Call) -> Reply:
        return await self._snapshots.see(self._asker(call), call.params["roomId"], call.query.int("limit", 20))

    def _asker(self, call: Call) -> Asker:
        return Asker(user_id=call.caller.user_id, device_id=call.caller.device_id, now_ms=self._now_ms())


def _reader(call: Call) -> Reader:
    return Reader(user_id=call.caller.user_id, device_id=call.caller.device_id)
