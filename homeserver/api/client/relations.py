"""What relates to events, and the threads of a room.

Spec: client-server-api#relationships-api, client-server-api#querying-threads-in-a-room
"""

from collections.abc import Callable
from typing import Final

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.places import parse_token
from homeserver.rooms.relations import DEPTH, Family, Relations, ThreadsAsk
from homeserver.rooms.render import Asker
from homeserver.storage.events import Place

_ROOM: Final = "/_matrix/client/v1/rooms/{roomId}"
_SPEC: Final = "client-server-api#get_matrixclientv1roomsroomid"
_DEFAULT_LIMIT: Final = 20


def routes(relations: Relations, now_ms: Callable[[], int]) -> tuple[Route, ...]:
    """The endpoints of relations and threads."""
    api = _RelationsAPI(relations, now_ms)
    children = "relations/{eventId}"
    return (
        *(
            Route(method="GET", path=f"{_ROOM}/{path}", handle=api.children, spec=_SPEC + anchor)
            for path, anchor in (
                (children, "relationseventid"),
                (f"{children}/{{relType}}", "relationseventidreltype"),
                (f"{children}/{{relType}}/{{eventType}}", "relationseventidreltypeeventtype"),
            )
        ),
        Route(method="GET", path=f"{_ROOM}/threads", handle=api.threads, rate="other", spec=f"{_SPEC}threads"),
    )


class _RelationsAPI:
    def __init__(self, relations: Relations, now_ms: Callable[[], int]) -> None:
        self._relations = relations
        self._now_ms = now_ms

    async def children(self, call: Call) -> Reply:
        params, query = call.params, call.query
        recurse = None if query.str("recurse") is None else query.flag("recurse")
        family = Family(
            event_id=params["eventId"],
            rel_type=params.get("relType"),
            type=params.get("eventType"),
            depth=DEPTH if recurse else 1,
            backwards=query.choice("dir", ("b", "f"), "b") == "b",
            start=_token(call, "from"),
            stop=_token(call, "to"),
            limit=query.int("limit", _DEFAULT_LIMIT, least=1),
        )
        answer = await self._relations.children(self._asker(call), params["roomId"], family)
        return answer if recurse is None else {**answer, "recursion_depth": family.depth}

    async def threads(self, call: Call) -> Reply:
        query = call.query
        ask = ThreadsAsk(
            participated=query.choice("include", ("all", "participated"), "all") == "participated",
            start=_token(call, "from"),
            limit=query.int("limit", _DEFAULT_LIMIT, least=1),
        )
        return await self._relations.threads(self._asker(call), call.params["roomId"], ask)

    def _asker(self, call: Call) -> Asker:
        return Asker(user_id=call.caller.user_id, device_id=call.caller.device_id, now_ms=self._now_ms())


def _token(call: Call, name: str) -> Place | int | None:
    text = call.query.str(name)
    return None if text is None else parse_token(text)
