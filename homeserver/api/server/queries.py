"""Questions about people and names: profiles, aliases, and who proves by a token to be whom.

Spec: server-server-api#querying-for-information, server-server-api#openid
"""

from federation.ids import parse_user_id
from homeserver.accounts.openid import OpenIDTokens
from homeserver.accounts.remoteprofiles import ProfilesForServers
from homeserver.api.errors import UnknownToken
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1, signed_route
from homeserver.policy import NotFound
from homeserver.rooms.levels import RoomsForServers


def routes(profiles: ProfilesForServers, rooms: RoomsForServers, tokens: OpenIDTokens) -> tuple[Route, ...]:
    """The endpoints of questions."""

    async def profile(call: Call) -> Reply:
        user_id = parse_user_id(call.query.need("user_id"))
        return await profiles.tell(call.origin, user_id, call.query.str("field"))

    async def directory(call: Call) -> Reply:
        found = await rooms.find_alias(call.query.need("room_alias"))
        return {"room_id": found.room_id, "servers": found.servers}

    async def other(call: Call) -> Reply:
        raise NotFound("Not a question that this server knows")

    async def userinfo(call: Call) -> Reply:
        owner = await tokens.find_owner(call.query.need("access_token"))
        if owner is None:
            raise UnknownToken
        return {"sub": owner}

    return (
        signed_route("GET", V1 + "/query/profile", profile),
        signed_route("GET", V1 + "/query/directory", directory),
        signed_route("GET", V1 + "/query/{queryType}", other),
        Route(
            method="GET",
            path=V1 + "/openid/userinfo",
            handle=userinfo,
            auth="none",
            rate="other",
            spec="server-server-api#get_matrixfederationv1openiduserinfo",
        ),
    )
