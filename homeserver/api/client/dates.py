"""Finding events by when they were sent.

Spec: client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from homeserver.api.errors import MissingParam
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.dates import Dates


def routes(dates: Dates) -> tuple[Route, ...]:
    """The endpoint that finds events by time."""

    async def find(call: Call) -> Reply:
        at_ms = call.query.int("ts")
        if at_ms is None:
            raise MissingParam("ts")
        backwards = call.query.choice("dir", ("f", "b")) == "b"
        found = await dates.find(call.caller.user_id, call.params["roomId"], at_ms, backwards=backwards)
        return {"event_id": found.event_id, "origin_server_ts": found.event.origin_server_ts}

    return (
        Route(
            method="GET",
            path="/_matrix/client/v1/rooms/{roomId}/timestamp_to_event",
            handle=find,
            rate="other",
            spec="client-server-api#get_matrixclientv1roomsroomidtimestamp_to_event",
        ),
    )
