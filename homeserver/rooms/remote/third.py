"""Invitations by address, once an identity server says whose the address is.

Nobody here is invited by address; but other servers' people are, and rooms may have such invitations.

Spec: server-server-api#third-party-invites
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from twisted.logger import Logger

from federation.errors import BadIdentifier, Refused, RemoteFault
from federation.ids import ServerName, UserID, parse_room_id, parse_user_id, server_of
from homeserver.policy import Invalid, Invite, NotFound
from homeserver.rooms.acl import check_acl
from homeserver.rooms.membership import check_invitable
from homeserver.rooms.outlying import OutlyingRoom
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.inviting import Inviting
from homeserver.rooms.room import Room
from homeserver.rooms.seal import Draft
from homeserver.storage.accounts import load_active

MOST_INVITES: Final = 50
EXCHANGE_S: Final = 30.0
_log: Final = Logger()


class ThirdParty:
    """Makes invitations of what identity servers say."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._inviting = Inviting(ground)

    async def exchange(self, origin: ServerName, room_id: str, wanted: Mapping[str, Any]) -> None:
        """Invite the owner of an address whom somebody of ours invited by that; another server says who it is.

        Raises: NotFound; Invalid; Refused, also where the identity server's signature is not good; RemoteFault.
        Spec: server-server-api#put_matrixfederationv1exchange_third_party_inviteroomid
        """
        room = await self._ground.open(room_id)
        try:
            await self._exchange(origin, room, wanted)
        except (Invalid, BadIdentifier, Refused):
            await self._ground.check_known(origin, room)
            raise

    async def _exchange(self, origin: ServerName, room: Room, wanted: Mapping[str, Any]) -> None:
        check_acl(room, origin)
        draft = _read(room.room_id, wanted)
        person = UserID(draft.state_key or "")
        if server_of(draft.sender) != self._ground.server:
            raise Refused("third party", "The invitation is nobody's of this server")
        await self._ground.policy.check(Invite(by=draft.sender, room=room, person=person))
        if server_of(person) != self._ground.server:
            await self._inviting.invite(room, draft)
            return
        await check_invitable(self._ground.database, person)
        await self._ground.rooms.append(room, draft)

    async def bind(self, user_id: str, invites: Sequence[Mapping[str, Any]]) -> None:
        """An address is now somebody's of ours: let those who invited them by that invite them indeed. Anybody may say
        so, and nobody learns by it whether there is such a person.

        Raises: BadIdentifier.
        Spec: server-server-api#put_matrixfederationv13pidonbind
        """
        person = parse_user_id(user_id)
        if not await self._ground.database.read(load_active, [person]):
            return
        for invite in invites[:MOST_INVITES]:
            try:
                await self._bind_one(person, invite)
            except (Refused, RemoteFault, Invalid, NotFound, BadIdentifier) as fault:
                _log.debug("an invitation by address comes to nothing: {fault}", fault=str(fault))

    async def _bind_one(self, person: UserID, invite: Mapping[str, Any]) -> None:
        room_id, sender = parse_room_id(_text(invite, "room_id")), parse_user_id(_text(invite, "sender"))
        room = OutlyingRoom(room_id, {sender: "join"})
        await self._ground.policy.check(Invite(by=sender, room=room, person=person))
        signed = invite.get("signed")
        content = {"membership": "invite", "third_party_invite": {"display_name": person, "signed": signed}}
        event = {
            "type": "m.room.member",
            "room_id": room_id,
            "sender": sender,
            "state_key": person,
            "content": content,
        }
        server = server_of(sender)
        if server == self._ground.server:
            await self.exchange(server, room_id, event)
            return
        path = f"/_matrix/federation/v1/exchange_third_party_invite/{quote(room_id, safe='')}"
        await self._ground.peers.ask(server, "PUT", path, body=event, timeout_s=EXCHANGE_S)


def _read(room_id: str, wanted: Mapping[str, Any]) -> Draft:
    """The invitation that is wanted.

    Raises: Invalid; BadIdentifier.
    """
    content = wanted.get("content")
    third = content.get("third_party_invite") if isinstance(content, dict) else None
    signed = third.get("signed") if isinstance(third, dict) else None
    person, sender = parse_user_id(_text(wanted, "state_key")), parse_user_id(_text(wanted, "sender"))
    named = (wanted.get("type"), wanted.get("room_id"), isinstance(content, dict) and content.get("membership"))
    if named != ("m.room.member", room_id, "invite") or not isinstance(signed, dict):
        raise Invalid("M_INVALID_PARAM", "That is no invitation by address into the room")
    if not isinstance(third, dict) or not isinstance(third.get("display_name"), str) or signed.get("mxid") != person:
        raise Invalid("M_INVALID_PARAM", "The identity server does not say so of that person")
    kept = {"display_name": third["display_name"], "signed": signed}
    return Draft(
        type="m.room.member",
        sender=sender,
        content={"membership": "invite", "third_party_invite": kept},
        state_key=person,
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise Invalid("M_INVALID_PARAM", f"{name} is a string")
    return value
