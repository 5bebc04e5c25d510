"""How long messages are kept, told to clients.

Spec: MSC1763
"""

from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.retention import Rules


def routes(rules: Rules | None) -> tuple[Route, ...]:
    """The endpoint of the server's own rules."""

    async def show(call: Call) -> Reply:
        return build_configuration(rules)

    path = "/_matrix/client/unstable/org.matrix.msc1763/retention/configuration"
    return (Route(method="GET", path=path, handle=show, rate="other"),)


def build_configuration(rules: Rules | None) -> dict[str, object]:
    """What the server does where a room says nothing, and what rooms may say; empty where all is kept for ever."""
    if rules is None:
        return {"policies": {}, "limits": {}}
    policy = {} if rules.default_ms is None else {"max_lifetime": rules.default_ms}
    bounds = {"min": rules.shortest_ms, "max": rules.longest_ms}
    limits = {name: value for name, value in bounds.items() if value is not None}
    return {"policies": {"*": policy}, "limits": {"max_lifetime": limits} if limits else {}}
