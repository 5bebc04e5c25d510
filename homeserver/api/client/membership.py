"""Coming into rooms and going out of them.

Spec: client-server-api#room-membership
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from federation.errors import Refused
from federation.ids import RoomID, UserID, parse_user_id
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.aliases import Aliases, Target
from homeserver.rooms.members import Members
from homeserver.rooms.membership import Memberships

_V3 = "/_matrix/client/v3"
_ROOM = f"{_V3}/rooms/{{roomId}}"


class Reason(Struct, frozen=True):
    """A body that may say why."""

    reason: str | None = None


class Joining(Reason, frozen=True):
    """The body of a join."""

    third_party_signed: dict[str, Any] | None = None


class Person(Reason, frozen=True, kw_only=True):
    """A body that names somebody."""

    user_id: str

    @property
    def person(self) -> UserID:
        """Who is meant.

        Raises: BadIdentifier.
        """
        return parse_user_id(self.user_id)


class Invitation(Reason, frozen=True, kw_only=True):
    """A body that invites a user, or the holder of an address."""

    user_id: str | None = None
    medium: str | None = None
    address: str | None = None

    @property
    def person(self) -> UserID:
        """Who is meant.

        Raises: Refused for an address; BadIdentifier; MatrixError when nobody is named.
        """
        if self.user_id is not None:
            return parse_user_id(self.user_id)
        if self.address is not None:
            raise Refused("invite_3pid", "Invitations by address are not available here")
        raise MatrixError(400, "M_MISSING_PARAM", "There is no user_id")


def routes(memberships: Memberships, aliases: Aliases, members: Members) -> tuple[Route, ...]:
    """The endpoints of memberships."""
    return tuple(_routes(_MembershipAPI(memberships, aliases, members)))


def _routes(api: "_MembershipAPI") -> Iterator[Route]:
    for path, handle in (("join/{roomIdOrAlias}", api.join), ("rooms/{roomId}/join", api.join)):
        yield _post(path, handle, rate="join", body=Joining, body_optional=True)
    yield _post("knock/{roomIdOrAlias}", api.knock, rate="join", body=Reason, body_optional=True)
    yield _post("rooms/{roomId}/leave", api.leave, rate="join", body=Reason, body_optional=True)
    yield _post("rooms/{roomId}/forget", api.forget, rate="join")
    yield _post("rooms/{roomId}/invite", api.invite, rate="invite", body=Invitation)
    for name, handle in (("kick", api.kick), ("ban", api.ban), ("unban", api.unban)):
        yield _post(f"rooms/{{roomId}}/{name}", handle, rate="other", body=Person)
    yield Route(
        method="GET",
        path=f"{_V3}/joined_rooms",
        handle=api.joined_rooms,
        rate="other",
        spec="client-server-api#get_matrixclientv3joined_rooms",
    )


def _post(path: str, handle: Any, **more: Any) -> Route:
    anchor = f"post{_V3}/{path}".replace("/", "").replace("{", "").replace("}", "").lower()
    return Route(method="POST", path=f"{_V3}/{path}", handle=handle, spec=f"client-server-api#{anchor}", **more)


class _MembershipAPI:
    def __init__(self, memberships: Memberships, aliases: Aliases, members: Members) -> None:
        self._memberships = memberships
        self._aliases = aliases
        self._members = members

    async def join(self, call: Call) -> Reply:
        caller, body = call.caller, call.body
        if body.third_party_signed is not None:
            raise Refused("invite_3pid", "Invitations by address are not available here")
        target = await self._find_room(call)
        guest, via = caller.kind == "guest", [*_via(call), *target.servers]
        return {
            "room_id": await self._memberships.join(
                caller.user_id, target.room_id, reason=body.reason, guest=guest, via=via
            )
        }

    async def knock(self, call: Call) -> Reply:
        target, by = await self._find_room(call), call.caller.user_id
        via = [*_via(call), *target.servers]
        return {"room_id": await self._memberships.knock(by, target.room_id, reason=call.body.reason, via=via)}

    async def leave(self, call: Call) -> Reply:
        await self._memberships.leave(call.caller.user_id, call.params["roomId"], reason=call.body.reason)
        return {}

    async def forget(self, call: Call) -> Reply:
        await self._memberships.forget(call.caller.user_id, call.params["roomId"])
        return {}

    async def invite(self, call: Call) -> Reply:
        return await self._act_on(self._memberships.invite, call)

    async def kick(self, call: Call) -> Reply:
        return await self._act_on(self._memberships.kick, call)

    async def ban(self, call: Call) -> Reply:
        return await self._act_on(self._memberships.ban, call)

    async def unban(self, call: Call) -> Reply:
        return await self._act_on(self._memberships.unban, call)

    async def joined_rooms(self, call: Call) -> Reply:
        return {"joined_rooms": await self._members.joined_rooms(call.caller.user_id)}

    async def _act_on(self, act: Any, call: Call) -> Reply:
        await act(call.caller.user_id, call.params["roomId"], call.body.person, reason=call.body.reason)
        return {}

    async def _find_room(self, call: Call) -> Target:
        room_id = call.params.get("roomId")
        if room_id is not None:
            return Target(RoomID(room_id), [])
        return await self._aliases.resolve(call.params["roomIdOrAlias"], call.caller.user_id)


def _via(call: Call) -> list[str]:
    """The servers that the client names, also by the parameter's older name."""
    return [*call.query.list("via"), *call.query.list("server_name")]
