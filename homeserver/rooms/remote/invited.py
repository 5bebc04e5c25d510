"""Other servers ask our people into rooms, and think better of it.

Spec: server-server-api#inviting-to-a-room
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from federation.errors import BadEvent, BadIdentifier, Refused
from federation.event import Event, parse_event
from federation.hashes import check_content_hash
from federation.ids import RoomID, ServerName, UserID, parse_user_id, server_of
from federation.signatures import sign_event
from federation.versions import RoomVersion, find_room_version
from homeserver.accounts.appservices.questions import Questions
from homeserver.policy import Invalid, Invite, NotFound
from homeserver.rooms.acl import check_acl
from homeserver.rooms.membership import RoomBlocked, check_invitable
from homeserver.rooms.outlying import OutlyingRoom
from homeserver.rooms.remote.faults import IncompatibleVersion
from homeserver.rooms.remote.ground import Ground
from homeserver.rooms.remote.outlying import load_outlying, servers_by, set_invitation, set_move
from homeserver.rooms.remote.stripped import MOST_SHOWN, parse_shown, strip_all
from homeserver.storage.accounts import load_active
from homeserver.storage.invites import Bounds, Shown, TooManyOpen
from homeserver.storage.purge import find_blocker

BOUNDS: Final = Bounds(each=200, person=1_000, server=50_000)
"""How many invitations of other servers may be open; who answers theirs has room for others."""
_ENDS: Final = ("leave", "ban")


class Invitation(NamedTuple):
    """What a server sends: where the invitation is to be, the event, and what is shown of the room."""

    room_id: str
    event_id: str
    version: str
    pdu: Mapping[str, Any]
    shown: object


class Invited:
    """Takes invitations of our people into rooms of other servers."""

    def __init__(self, ground: Ground, questions: Questions) -> None:
        self._ground = ground
        self._questions = questions

    async def take(self, origin: ServerName, invitation: Invitation) -> Event:
        """Take an invitation; its event, signed by us.

        Raises: IncompatibleVersion; Invalid (M_INVALID_PARAM) for what is no invitation by a server's own
            people; Refused where the policy or the person wants none, and where too many are open; NotFound when
            there is no such person.
        Spec: server-server-api#put_matrixfederationv2inviteroomideventid
        """
        version = find_room_version(invitation.version)
        if version is None:
            raise IncompatibleVersion(invitation.version)
        event, person = self._parse(origin, version, invitation)
        await self._check_signed([event])
        shown = await self._check_shown(version, event.room_id, invitation.shown)
        await self._check_wanted(event, person, shown)
        signed = sign_event(event, self._ground.server, self._ground.seal.key)
        stripped = strip_all(version, event.room_id, invitation.shown)
        await self._keep(signed, Shown(stripped, (origin,)))
        return signed

    def _parse(self, origin: ServerName, version: RoomVersion, invitation: Invitation) -> tuple[Event, UserID]:
        try:
            event = parse_event(invitation.pdu, version)
            person = parse_user_id(event.state_key or "")
        except (BadEvent, BadIdentifier) as fault:
            raise Invalid("M_INVALID_PARAM", f"That is no invitation: {fault}") from None
        if (event.room_id, event.event_id) != (invitation.room_id, invitation.event_id):
            raise Invalid("M_INVALID_PARAM", "The event is not the one that the path names")
        if event.membership != "invite" or server_of(person) != self._ground.server:
            raise Invalid("M_INVALID_PARAM", "The event invites nobody of this server")
        if event.origin != origin or not check_content_hash(event):
            raise Invalid("M_INVALID_PARAM", "The event is not by somebody of the server that sends it, as it was made")
        return event, person

    async def _check_signed(self, events: list[Event]) -> None:
        faults = await self._ground.outside.find_faults(events)
        if faults:
            raise Invalid("M_INVALID_PARAM", f"An event is not properly signed: {next(iter(faults.values()))}")

    async def _check_shown(self, version: RoomVersion, room_id: RoomID, shown: object) -> list[Event]:
        """What is shown, as events. In the older versions it may be less than that, and then is no more than shown.

        Spec: server-server-api#put_matrixfederationv2inviteroomideventid
        """
        listed = shown if isinstance(shown, list) else []
        try:
            events = parse_shown(version, room_id, listed[:MOST_SHOWN])
        except BadEvent as fault:
            if version.room_id_is_create_hash:
                raise Invalid("M_INVALID_PARAM", f"invite_room_state: {fault}") from None
            return []
        if not version.room_id_is_create_hash:
            faults = await self._ground.outside.find_faults(events)
            return [event for event in events if event.event_id not in faults]
        if not any(event.type == "m.room.create" for event in events):
            raise Invalid("M_INVALID_PARAM", "invite_room_state lacks the room's create event")
        await self._check_signed(events)
        return events

    async def _check_wanted(self, event: Event, person: UserID, shown: list[Event]) -> None:
        ground = self._ground
        await self._questions.summon_user(person)
        stated = {each.key: each for each in shown}
        room = OutlyingRoom(event.room_id, {event.sender: "join"}, stated)
        await ground.policy.check(Invite(by=event.sender, room=room, person=person))
        if not await ground.database.read(load_active, [person]):
            raise NotFound("There is nobody of that ID")
        await check_invitable(ground.database, person)
        if await ground.database.read(find_blocker, event.room_id) is not None:
            raise RoomBlocked

    async def _keep(self, event: Event, shown: Shown) -> None:
        """Let the person know. In a room in which this server has its part, the room itself will tell it."""
        ground = self._ground
        async with ground.world.turns.of(event.room_id):
            room = await ground.rooms.load(event.room_id)
            if ground.lacks(room):
                try:
                    await set_invitation(ground, event, shown, BOUNDS)
                except TooManyOpen:
                    raise Refused("invited", "The person has too many invitations that are open") from None
            elif room is not None:
                check_acl(room, event.origin)

    # what ends an invitation or a knock

    async def heed(self, origin: ServerName, pdu: Mapping[str, Any]) -> None:
        """Take note that somebody of ours is no more invited into a room, or knocks in vain, where this server has no
        part: nobody here can judge by the room's rules, so only the server by which they were invited is believed.

        Raises: RemoteFault; Refused.
        """
        person, room_id = pdu.get("state_key"), pdu.get("room_id")
        if not isinstance(person, str) or not isinstance(room_id, str):
            raise BadEvent("no membership of anybody")
        known = await load_outlying(self._ground.database, UserID(person), room_id)
        if known is None or known.membership.membership not in ("invite", "knock"):
            raise Refused("receive", "the room is not known here")
        event = parse_event(pdu, known.record.version)
        is_trusted = origin in servers_by(known) and origin != self._ground.server
        if event.membership not in _ENDS or event.state_key != person or not is_trusted:
            raise Refused("receive", "the room is not known here")
        faults = await self._ground.outside.find_faults([event])
        if faults:
            raise next(iter(faults.values()))
        async with self._ground.world.turns.of(event.room_id):
            now = await load_outlying(self._ground.database, UserID(person), room_id)
            is_still = now is not None and now.membership.event_nid == known.membership.event_nid
            if is_still and self._ground.lacks(await self._ground.rooms.load(room_id)):
                await set_move(self._ground, event)
