"""The composition of calls."""

from homeserver.api.client import calls
from homeserver.api.route import Route
from homeserver.calls.turn import TurnServers
from homeserver.server.core import Core


def call_routes(core: Core) -> tuple[Route, ...]:
    """The endpoints of the servers that carry calls."""
    world, policy = core.world, core.policy
    turn = TurnServers(world.settings.turn, policy, world.now_ms)
    return calls.routes(turn, policy, world.settings.rtc_transports)
