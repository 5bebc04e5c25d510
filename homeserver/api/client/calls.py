"""The servers that carry calls: TURN for calls of two, transports of MatrixRTC for more.

Spec: client-server-api#voice-over-ip, MSC4143
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from homeserver.api.route import Call, Reply, Route
from homeserver.calls.turn import TurnServers
from homeserver.policy import PlaceCall, Policy


def routes(turn: TurnServers, policy: Policy, transports: Sequence[Mapping[str, object]]) -> tuple[Route, ...]:
    """The endpoints of calls; that of transports only where there are some."""

    async def see_turn(call: Call) -> Reply:
        access = await turn.find_access(call.caller.user_id)
        return {} if access is None else asdict(access)

    async def see_transports(call: Call) -> Reply:
        await policy.check(PlaceCall(by=call.caller.user_id))
        return {"rtc_transports": transports}

    found = Route(
        method="GET",
        path="/_matrix/client/v3/voip/turnServer",
        handle=see_turn,
        rate="other",
        spec="client-server-api#get_matrixclientv3voipturnserver",
    )
    if not transports:
        return (found,)
    path = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
    return (found, Route(method="GET", path=path, handle=see_transports, rate="other", spec="MSC4143"))
