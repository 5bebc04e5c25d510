"""What the server is."""

from homeserver import VERSION
from homeserver.api.admin.pages import ROOT
from homeserver.api.route import Call, Reply, Route


def routes() -> tuple[Route, ...]:
    """The endpoint of the version; tools ask it before they have signed in."""

    async def version(call: Call) -> Reply:
        return {"server_version": f"Parta {VERSION}"}

    return (Route(method="GET", path=f"{ROOT}/v1/server_version", handle=version, auth="none", rate="other"),)
