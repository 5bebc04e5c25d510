"""Memberships: joining, inviting, leaving, expelling, knocking and forgetting.

PUT of an `m.room.member` event comes through here as well, so there is one way in and out of a room.

Spec: client-server-api#room-membership
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from federation.errors import Refused
from federation.ids import EventID, RoomID, UserID, server_of
from homeserver.accounts.appservices.questions import NO_SERVICES, Questions
from homeserver.policy import Act, Expel, Hidden, Invalid, Invite, Join, Knock, Leave, Policy, RoomAct, SetState, absent
from homeserver.rooms.beyond import Beyond, Entering, Nowhere
from homeserver.rooms.predecessors import carrying
from homeserver.rooms.restricted import RESTRICTED, find_authoriser, is_let_in, join_rule
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.data import blocks_invitations
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import Origin
from homeserver.storage.members import set_forgotten
from homeserver.storage.notices import find_notice_room
from homeserver.storage.purge import find_blocker

IN_ROOM: Final = ("join", "invite", "knock")
_OUTSIDE: Final = (None, "leave")
_OWN_MATTER: Final[Mapping[str, type[RoomAct]]] = {"join": Join, "knock": Knock, "leave": Leave}
_NOT_FOR_CLIENTS: Final = ("displayname", "avatar_url", "join_authorised_via_users_server")


class Shown(Protocol):
    """What a person shows of themselves in rooms."""

    @property
    def displayname(self) -> str | None:
        """The name they go by."""

    @property
    def avatar_url(self) -> str | None:
        """Where their picture is."""


FindProfile = Callable[[UserID], Awaitable[Shown | None]]


class GuestsForbidden(Refused):
    """Guests may not be in this room.

    Spec: client-server-api#guest-access
    """

    def __init__(self) -> None:
        super().__init__("guest_access", "Guests may not be in this room")


class RoomBlocked(Refused):
    """Nobody here may come into the room: the operator has blocked it."""

    def __init__(self) -> None:
        super().__init__("blocked", "This room has been blocked on this server")


class NoticesStay(Refused):
    """The invitation to the server's notices is not to be refused.

    Spec: client-server-api#server-notices
    """

    def __init__(self) -> None:
        super().__init__("notices", "You cannot reject this invite")


class InvitesBlocked(Refused):
    """The person wants no invitations.

    Spec: client-server-api#invite-permission
    """

    def __init__(self) -> None:
        super().__init__("invite", "This person takes no invitations")


class _NobodyLetsIn(Hidden):
    """Nobody of this server may let the person in; somebody of another server perhaps may."""


async def check_invitable(database: Database, person: UserID) -> None:
    """Refuse an invitation of somebody who wants none.

    Raises: InvitesBlocked.
    """
    if await database.read(blocks_invitations, person):
        raise InvitesBlocked


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of somebody's membership that `by` wants; `content` is what a client wrote beside it.

    `guest`: `by` is a guest of this server. `origin`: what request made the change, where that is to be known again.
    `at_ms` is when, None: now.
    """

    by: UserID
    person: UserID
    membership: str
    reason: str | None = None
    content: Mapping[str, object] | None = None
    guest: bool = False
    origin: Origin | None = None
    at_ms: int | None = None


class Memberships:
    """Changes memberships.

    Every method raises Hidden for a room that there is not or that is not for the asker (`join` and `knock` NotFound
    where absence may be told), and Refused where the policy or the room's rules forbid it. Where other servers must be
    asked (`beyond`), they raise RemoteFault as well, and Invalid, NotFound or IncompatibleVersion for what they answer.
    """

    def __init__(
        self,
        rooms: Rooms,
        database: Database,
        policy: Policy,
        find_profile: FindProfile,
        questions: Questions = NO_SERVICES,
    ) -> None:
        self.beyond: Beyond = Nowhere()
        self._questions = questions
        self._rooms = rooms
        self._db = database
        self._policy = policy
        self._find_profile = find_profile

    async def join(
        self, by: UserID, room_id: str, *, reason: str | None = None, guest: bool = False, via: Sequence[str] = ()
    ) -> RoomID:
        """Join a room; for who is joined already nothing happens. `via` are servers that may know the room.

        Spec: client-server-api#post_matrixclientv3roomsroomidjoin
        """
        room = await self._rooms.load(room_id)
        if self.beyond.lacks(room) and await self._enter(self.beyond.join, by, room_id, (reason, via, guest)):
            return RoomID(room_id)
        room = await self._open_to(by, room_id)
        if by in room.head.joined:
            await self._rooms.wait_for(room)
            return room.room_id
        try:
            await self.change(room, Change(by=by, person=by, membership="join", reason=reason, guest=guest))
        except _NobodyLetsIn:
            if len(room.head.servers) < 2:
                raise
            await self._enter(self.beyond.join, by, room_id, (reason, via, guest), anew=True)
        return room.room_id

    async def knock(self, by: UserID, room_id: str, *, reason: str | None = None, via: Sequence[str] = ()) -> RoomID:
        """Ask to be let in.

        Spec: client-server-api#post_matrixclientv3knockroomidoralias
        """
        room = await self._rooms.load(room_id)
        if self.beyond.lacks(room) and await self._enter(self.beyond.knock, by, room_id, (reason, via, False)):
            return RoomID(room_id)
        room = await self._open_to(by, room_id)
        await self.change(room, Change(by=by, person=by, membership="knock", reason=reason))
        return room.room_id

    async def _enter(
        self,
        go: Callable[[Entering], Awaitable[bool]],
        by: UserID,
        room_id: str,
        how: tuple[str | None, Sequence[str], bool],
        *,
        anew: bool = False,
    ) -> bool:
        """Join or knock by way of other servers."""
        reason, via, guest = how
        if guest:
            raise GuestsForbidden
        content = {**await self._shown_of(by), **_said(reason)}
        return await go(Entering(person=by, room_id=RoomID(room_id), via=via, content=content, anew=anew))

    async def invite(self, by: UserID, room_id: str, person: UserID, *, reason: str | None = None) -> None:
        """Invite somebody.

        Spec: client-server-api#post_matrixclientv3roomsroomidinvite
        """
        room = await self._open(room_id)
        await self.change(room, Change(by=by, person=person, membership="invite", reason=reason))

    async def leave(self, by: UserID, room_id: str, *, reason: str | None = None) -> None:
        """Leave a room, refuse an invitation or take back a knock.

        Spec: client-server-api#post_matrixclientv3roomsroomidleave
        """
        room = await self._rooms.load(room_id)
        if self.beyond.lacks(room):
            await self.beyond.leave(by, room_id, _said(reason))
            return
        if room is None or room.membership(by) is None:
            raise Hidden
        await self.change(room, Change(by=by, person=by, membership="leave", reason=reason))

    async def kick(self, by: UserID, room_id: str, person: UserID, *, reason: str | None = None) -> None:
        """Put somebody out who is in the room, invited or knocking.

        Spec: client-server-api#post_matrixclientv3roomsroomidkick
        """
        room = await self._open_joined(by, room_id)
        if room.membership(person) not in IN_ROOM:
            raise Refused("kick", "That person is not in the room")
        await self.change(room, Change(by=by, person=person, membership="leave", reason=reason))

    async def ban(self, by: UserID, room_id: str, person: UserID, *, reason: str | None = None) -> None:
        """Put somebody out and keep them out.

        Spec: client-server-api#post_matrixclientv3roomsroomidban
        """
        room = await self._open(room_id)
        await self.change(room, Change(by=by, person=person, membership="ban", reason=reason))

    async def unban(self, by: UserID, room_id: str, person: UserID, *, reason: str | None = None) -> None:
        """Let somebody in again who was banned.

        Spec: client-server-api#post_matrixclientv3roomsroomidunban
        """
        room = await self._open_joined(by, room_id)
        if room.membership(person) != "ban":
            raise Refused("unban", "That person is not banned")
        await self.change(room, Change(by=by, person=person, membership="leave", reason=reason))

    async def forget(self, by: UserID, room_id: str) -> None:
        """Show a room no more to somebody who has left it.

        Raises: Invalid (M_UNKNOWN) for somebody who has not.
        Spec: client-server-api#post_matrixclientv3roomsroomidforget
        """
        room = await self._rooms.load(room_id)
        if self.beyond.lacks(room):
            known = await self.beyond.find_outlying(by, room_id)
            nid, membership = (0, None) if known is None else (known.record.nid, known.membership.membership)
        else:
            nid, membership = (0, None) if room is None else (room.nid, room.membership(by))
        if membership is None:
            raise Hidden
        if membership in IN_ROOM:
            raise Invalid("M_UNKNOWN", "Leave the room before forgetting it")
        await self._db.write(_forget, by, nid, RoomID(room_id))

    async def check(self, room: Room, wanted: Change) -> None:
        """Ask the policy whether a membership may be changed so, as things are now.

        Raises: Invalid for a membership that there is not.
        """
        before = room.head.find(("m.room.member", wanted.person))
        await self._policy.check(_act(room, wanted, before.membership if before is not None else None))

    async def change(self, room: Room, wanted: Change) -> EventID:
        """Change a membership; what is so already stays as it is, and its event is the answer.

        Raises: Invalid for a membership that there is not.
        """
        before = room.head.find(("m.room.member", wanted.person))
        was = before.membership if before is not None else None
        if wanted.by != wanted.person and wanted.by not in room.head.joined:
            raise Hidden
        act = _act(room, wanted, was)
        await self._policy.check(act)
        if isinstance(act, Leave) and was == "invite" and await self._is_for_notices(wanted.by, room):
            raise NoticesStay
        is_ours = server_of(wanted.person) == self._rooms.seal.server
        if wanted.membership == "invite" and is_ours:
            await self._questions.summon_user(wanted.person)
            await check_invitable(self._db, wanted.person)
        content = await self._build_content(room, wanted, was)
        if wanted.membership == "join" != was and await self._db.read(find_blocker, room.room_id) is not None:
            raise RoomBlocked
        if isinstance(act, Join):
            await self._policy.check(act)  # what let them in before that wait need not do so after it
        if wanted.guest and wanted.membership == "join" and not lets_guests_in(room):
            raise GuestsForbidden
        now = room.head.find(("m.room.member", wanted.person))  # it may have come while this waited
        if now is not None and now.sender == wanted.by and is_same(now.content, content):
            await self._rooms.wait_for(room)
            return now.event_id
        draft = Draft(
            type="m.room.member",
            sender=wanted.by,
            content=content,
            state_key=wanted.person,
            origin=wanted.origin,
            at_ms=wanted.at_ms,
        )
        if wanted.membership == "invite" and not is_ours:
            return await self.beyond.invite(room, draft)
        return await self._commit(room, draft, wanted, was)

    async def _commit(self, room: Room, draft: Draft, wanted: Change, was: str | None) -> EventID:
        comes = wanted.membership == "join" and was != "join"
        try:
            ((held,),) = await self._rooms.commit([(room, [draft])], carrying(wanted.person, room) if comes else ())
            return held.event_id
        except Refused:
            if was in _OUTSIDE and wanted.by == wanted.person:
                raise Hidden from None
            raise

    async def _build_content(self, room: Room, wanted: Change, was: str | None) -> Mapping[str, object]:
        given = dict(wanted.content or {})
        stays = was == wanted.membership == "join"
        if not stays:
            given = {name: value for name, value in given.items() if name not in _NOT_FOR_CLIENTS}
        given.pop("join_authorised_via_users_server", None)
        content = {**given, "membership": wanted.membership}
        content |= _said(wanted.reason)
        if wanted.membership in IN_ROOM and not stays:
            content |= await self._shown_of(wanted.person)
        if wanted.membership == "join" and was not in ("join", "invite") and join_rule(room) in RESTRICTED:
            content["join_authorised_via_users_server"] = await self._find_authoriser(room, wanted.person)
        return content

    async def _is_for_notices(self, person: UserID, room: Room) -> bool:
        return await self._db.read(find_notice_room, person) == room.room_id

    async def _find_authoriser(self, room: Room, person: UserID) -> UserID:
        authoriser = None
        is_let_in_here = self._questions.services.lets_in(person, room.room_id)
        if is_let_in_here or await is_let_in(self._rooms, room, person):
            authoriser = find_authoriser(room, self._rooms.seal.server)
        if authoriser is None:
            raise _NobodyLetsIn
        return authoriser

    async def _shown_of(self, person: UserID) -> dict[str, object]:
        if server_of(person) != self._rooms.seal.server:
            return {}
        profile = await self._find_profile(person)
        return {} if profile is None else shown_fields(profile)

    async def _open(self, room_id: str) -> Room:
        room = await self._rooms.load(room_id)
        if room is None:
            raise Hidden
        return room

    async def _open_to(self, by: UserID, room_id: str) -> Room:
        """The room for somebody who wants in."""
        room = await self._rooms.load(room_id)
        if room is None:
            raise await absent(self._policy, by)
        return room

    async def _open_joined(self, by: UserID, room_id: str) -> Room:
        room = await self._open(room_id)
        if by not in room.joined_members:
            raise Hidden
        return room


def _act(room: Room, wanted: Change, was: str | None) -> Act:
    """The act that a change of membership is, for the policy.

    Raises: Invalid.
    """
    by, person, membership = wanted.by, wanted.person, wanted.membership
    if membership == "join" and was == "join":
        content = wanted.content or {}
        return SetState(by=by, room=room, type="m.room.member", state_key=person, content=content)
    if by == person and membership in _OWN_MATTER:
        return _OWN_MATTER[membership](by=by, room=room)
    if membership == "invite":
        return Invite(by=by, room=room, person=person)
    if membership == "ban":
        return Expel(by=by, room=room, person=person, how="ban")
    if membership == "leave":
        return Expel(by=by, room=room, person=person, how="unban" if was == "ban" else "kick")
    if membership in IN_ROOM:
        raise Refused("membership", "Nobody joins or knocks for somebody else")
    raise Invalid("M_BAD_JSON", "There is no such change of membership")


def _said(reason: str | None) -> dict[str, object]:
    return {} if reason is None else {"reason": reason}


def lets_guests_in(room: Room) -> bool:
    """Whether guests may be in the room.

    Spec: client-server-api#guest-access
    """
    access = room.head.find(("m.room.guest_access", ""))
    return access is not None and access.content.get("guest_access") == "can_join"


def shown_fields(profile: Shown) -> dict[str, object]:
    """What a member event says of a profile."""
    fields = {"displayname": profile.displayname, "avatar_url": profile.avatar_url}
    return {name: value for name, value in fields.items() if value is not None}


def is_same(content: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two contents are the same JSON; True is not 1."""
    return msgspec.json.encode(content, order="sorted") == msgspec.json.encode(other, order="sorted")


def _forget(txn: Txn, user_id: UserID, room_nid: int, room_id: RoomID) -> None:
    if set_forgotten(txn, user_id, room_nid):
        txn.tell(UserDataChanged(position=txn.position(), user_id=user_id, kind="memberships", room_id=room_id))
