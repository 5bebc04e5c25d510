"""Spaces, and summaries of rooms.

Spec: client-server-api#spaces, client-server-api#room-previews
"""

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.afar import MOST_VIA
from homeserver.rooms.spaces import Spaces, begin_walk
from homeserver.rooms.summaries import Summaries

_V1 = "/_matrix/client/v1"
_PROPOSED = "/_matrix/client/unstable/im.nheko.summary"
_RENAMED = ("room_version", "encryption")


def routes(spaces: Spaces, summaries: Summaries) -> tuple[Route, ...]:
    """The endpoints that show rooms and what they hold to who is not in; the summary's also under the two names that
    it had as a proposal.
    """

    async def hierarchy(call: Call) -> Reply:
        query = call.query
        walk = begin_walk(
            call.caller.user_id,
            call.params["roomId"],
            suggested_only=query.flag("suggested_only"),
            max_depth=query.int("max_depth"),
        )
        return await spaces.hierarchy(walk, query.str("from"), query.int("limit", least=1))

    async def summary(call: Call) -> dict[str, object]:
        via = call.query.list("via")[:MOST_VIA]
        return await summaries.summary(call.caller.user_id, call.params["roomIdOrAlias"], via)

    async def summary_proposed(call: Call) -> Reply:
        shown = await summary(call)
        return shown | {f"im.nheko.summary.{name}": shown[name] for name in _RENAMED if name in shown}

    def proposed(path: str) -> Route:
        return Route(method="GET", path=f"{_PROPOSED}{path}", handle=summary_proposed, rate="other", spec="MSC3266")

    return (
        Route(
            method="GET",
            path=f"{_V1}/rooms/{{roomId}}/hierarchy",
            handle=hierarchy,
            rate="search",
            spec="client-server-api#get_matrixclientv1roomsroomidhierarchy",
        ),
        Route(
            method="GET",
            path=f"{_V1}/room_summary/{{roomIdOrAlias}}",
            handle=summary,
            rate="other",
            spec="client-server-api#get_matrixclientv1room_summaryroomidoralias",
        ),
        proposed("/summary/{roomIdOrAlias}"),
        proposed("/rooms/{roomIdOrAlias}/summary"),
    )
