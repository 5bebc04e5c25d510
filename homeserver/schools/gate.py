"""The school's policy: finds the facts about an act and asks `rights`. What has no judge here is refused.

A stranger in a place, whether from another class, another school or nobody at all, gets the one refusal `Hidden`;
who belongs there and may not do something is told why.

School: rows 1-5, 25, 41, 49, 51
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from federation.errors import Refused
from federation.ids import RoomID, ServerName, UserID, server_of
from homeserver import policy
from homeserver.policy import Act, Hidden, RoomAct
from homeserver.rooms.polls import is_answer
from homeserver.schools.facts import Facts
from homeserver.schools.rights import (
    CALLERS,
    COOPERATIVE,
    PREVIEWS,
    QUOTA_BYTES,
    SERVERS,
    Action,
    Contact,
    Grant,
    Place,
    Role,
    Standing,
    find_contacts,
    find_guest_standing,
    find_standing,
    may,
    may_administer,
    may_encrypt,
    may_set_state,
)
from homeserver.schools.visitors import Visitors

_STAFF: Final = frozenset({Role.ADMINISTRATOR, Role.TEACHER})


class NotAllowed(Refused):
    """Somebody who belongs there may not do this; the reason is for them to read."""

    def __init__(self, why: str) -> None:
        super().__init__("school", why)


def service_account(server_name: ServerName) -> UserID:
    """The account that founds the school's rooms and is above everybody in them; nobody signs in to it."""
    return UserID(f"@_parta:{server_name}")


class Gate:
    """The `Policy` of a region of schools."""

    def __init__(
        self, facts: Facts, service: UserID, notices: UserID | None = None, visitors: Visitors | None = None
    ) -> None:
        self._visitors = visitors
        self._facts = facts
        self.ask_for_claim: Callable[[UserID, Place], Awaitable[None]] = _ask_nobody
        self._service = service
        self._server = server_of(service)
        self._notices = notices

    async def check(self, act: Act, /) -> None:
        """Let the act pass if the tables of `rights` allow it; reads nothing when the facts are in memory.

        Raises: Refused: Hidden to strangers, NotAllowed to those who belong.
        """
        if isinstance(act, policy.TellServer):
            await _check_server(act)
            return
        if act.by is None:
            raise Hidden
        if act.by == self._service:
            if isinstance(act, policy.LogIn):
                raise Hidden
            return
        await self._check_person(act, act.by, await self._facts.grants(act.by))

    async def _check_person(self, act: Act, by: UserID, grants: tuple[Grant, ...]) -> None:
        if isinstance(act, RoomAct):
            await self._check_in_room(act, by, grants)
        elif isinstance(act, policy.SeeMedia):
            await self._check_media(act, by, grants)
        elif isinstance(act, policy.CreateRoom):
            await self._check_creation(act, by, grants)
        elif isinstance(act, policy.Administer):
            await self._check_deed(act)
        elif type(act) in _CONTACTS:
            await self._check_contact(act, by, grants)
        elif isinstance(act, policy.SetProfile) and await self._is_visitor(by, grants):
            _check_own_name(act)
        else:
            _ALONE.get(type(act), _refuse)(act, grants)

    async def _check_in_room(self, act: RoomAct, by: UserID, grants: tuple[Grant, ...]) -> None:
        place = await self._facts.place(act.room.room_id)
        if place is not None and place.kind in COOPERATIVE:
            if place.host is not None and not _is_of(act.room, place.host):
                raise Hidden  # it was made known as theirs, and is another's
            if server_of(by) != self._server:
                if place.host is not None:
                    await self._check_at_host(act, place)
                    return
                await self._ask_for_newcomer(act, by, place)
        standing = None if place is None else await self._find_standing(act.room.room_id, by, grants, place)
        if place is None or standing is None or not may(standing, Action.ENTER, place.kind):
            if isinstance(act, policy.Leave) and act.room.membership(by) in {"join", "invite", "knock"}:
                return
            if type(act) in _WITH_NOTICES and self._is_for_notices(act, by):
                return
            raise Hidden
        _IN_ROOM.get(type(act), _refuse_in_room)(act, standing, place)

    async def _find_standing(
        self, room_id: RoomID, by: UserID, grants: tuple[Grant, ...], place: Place
    ) -> Standing | None:
        """What somebody is in a place: by their roles, by what their region says, or as an application service's."""
        if place.kind in COOPERATIVE and server_of(by) != self._server:
            return find_guest_standing(by, await self._facts.vouchers(by), place, self._facts.now_ms())
        if grants or self._visitors is None:
            return find_standing(by, grants, place)
        return find_standing(by, grants, place) or await self._visitors.find_standing(by, room_id, place)

    async def _check_at_host(self, act: RoomAct, place: Place) -> None:
        """The host judges who of other regions belongs in its room; of ours they ask nobody in who does not."""
        if isinstance(act, policy.Invite):
            person = act.person
            if person is None or find_standing(person, await self._facts.grants(person), place) is None:
                raise Hidden

    async def _ask_for_newcomer(self, act: RoomAct, by: UserID, place: Place) -> None:
        """Ask somebody's region for them when they want in; whatever else they do counts by what it has said before."""
        if (
            isinstance(act, policy.Join)
            and act.waits
            and await self._find_standing(act.room.room_id, by, (), place) is None
        ):
            await self.ask_for_claim(by, place)

    def _is_for_notices(self, act: RoomAct, by: UserID) -> bool:
        """Whether it is a room in which the server gives notices, to which it has invited the person."""
        create = act.room.state("m.room.create")
        of_server = self._notices is not None and create is not None and create.sender == self._notices
        return of_server and act.room.membership(by) in {"join", "invite"}

    async def _is_visitor(self, by: UserID, grants: tuple[Grant, ...]) -> bool:
        return not grants and self._visitors is not None and await self._visitors.is_one(by)

    async def _check_contact(self, act: Any, by: UserID, grants: tuple[Grant, ...]) -> None:
        others = grants if act.person == by else await self._facts.grants(act.person)
        if _CONTACTS[type(act)] not in find_contacts(by, grants, act.person, others):
            raise Hidden

    async def _check_media(self, act: policy.SeeMedia, by: UserID, grants: tuple[Grant, ...]) -> None:
        if grants and act.uploader == by:
            return
        for room_id in act.rooms:
            place = await self._facts.place(room_id)
            standing = None if place is None else await self._find_standing(room_id, by, grants, place)
            if place is not None and may(standing, Action.ENTER, place.kind):
                return
        for person in act.avatar_of:
            if Contact.SEE in find_contacts(by, grants, person, await self._facts.grants(person)):
                return
        raise Hidden

    async def _check_deed(self, act: policy.Administer) -> None:
        """Refuse an operator what would open a school's rooms, or be a way to people past their school."""
        of_school = act.person is not None and await self._facts.is_known(act.person)
        if not of_school and act.room_id is not None:
            of_school = await self._facts.place(RoomID(act.room_id)) is not None
        if not may_administer(act.deed, of_school=of_school):
            raise NotAllowed("Operators do not do this in a region of schools: see docs/schools.md")

    async def _check_creation(self, act: policy.CreateRoom, by: UserID, grants: tuple[Grant, ...]) -> None:
        if not grants:
            raise Hidden
        _check_direct(act, by)
        person = act.invite[0]
        others = await self._facts.grants(person)
        contacts = find_contacts(by, grants, person, others)
        if not contacts & {Contact.WRITE, Contact.WRITE_SUPERVISED}:
            raise Hidden
        encrypted = any(kind == "m.room.encryption" for kind, _, _ in act.initial_state)
        if encrypted and Role.PUPIL in {grant.role for grant in (*grants, *others)}:
            raise NotAllowed("A direct room with a pupil in it is not encrypted")


async def _check_server(act: policy.TellServer) -> None:
    """Refuse another server what it does not need for the rooms that it is in together with people of ours."""
    if act.about not in SERVERS or not await act.shares_room():
        raise Hidden


async def _ask_nobody(by: UserID, place: Place) -> None:
    pass


def _is_of(room: policy.RoomFacts, server: ServerName) -> bool:
    """Whether a room is one of that server's, as far as one can see."""
    create = room.state("m.room.create")
    return create is None or server_of(create.sender) == server


def _check_direct(act: policy.CreateRoom, by: UserID) -> None:
    """Refuse what is not a plain direct room of two.

    Nobody becomes its creator: `additional_creators` would make one who can never be demoted. Clients ask for
    `trusted_private_chat` and for guests wherever two are to talk: they get a room in which the two are equals under
    the school, and no guests.

    School: rows 2, 3, 49
    """
    if act.preset not in {None, "private_chat", "trusted_private_chat"} or act.published:
        raise NotAllowed("Rooms are private: nothing is public")
    if len(act.invite) != 1 or act.invite_3pid or act.invite[0] == by:
        raise NotAllowed("People begin rooms for two: invite exactly one other person")
    if act.creation_content and dict(act.creation_content) != {"m.federate": False}:
        raise NotAllowed("What is in the create event is the school's to say")
    if act.power_levels or act.alias or act.name or act.topic or act.version not in {None, "12"}:
        raise NotAllowed("A room for two has no name, alias or power levels of its own")
    if any(key or kind not in {"m.room.encryption", "m.room.guest_access"} for kind, key, _ in act.initial_state):
        raise NotAllowed("The state of a room is the school's to set")


def _refuse(act: Act, grants: tuple[Grant, ...]) -> None:
    raise Hidden


def _refuse_in_room(act: RoomAct, standing: Standing, place: Place) -> None:
    raise NotAllowed("Who is in a school's room, and how it works, is for the school to say")


def _pass_in_room(act: RoomAct, standing: Standing, place: Place) -> None:
    pass


def _check_leave(act: RoomAct, standing: Standing, place: Place) -> None:
    if not may(standing, Action.LEAVE, place.kind):
        raise NotAllowed("This room goes with the class or the school; nobody leaves it alone")


def _check_state(act: policy.SetState, standing: Standing, place: Place) -> None:
    if act.state_key or not may_set_state(standing, act.type, place.kind):
        raise NotAllowed(f"{act.type} is not yours to set in this room")


def _check_send(act: policy.SendEvent, standing: Standing, place: Place) -> None:
    """Refuse what is not a message of somebody who may speak there: an edit or a reaction speaks, too. Others may
    answer a poll, if that is all they say.

    School: rows 51, 53, decided 1
    """
    if not may(standing, Action.POST, place.kind):
        if may(standing, Action.ANSWER, place.kind) and act.poll and is_answer(act.poll, act.type, act.content):
            return
        raise NotAllowed("Only some may write in this room")
    if act.type == "m.room.encrypted" and not may_encrypt(place.kind):
        raise NotAllowed("This room is not encrypted: the school must be able to read it")
    if act.type == "m.room.redaction" or act.type.startswith("org.parta."):
        raise NotAllowed(f"{act.type} is not sent like a message")


def _check_redaction(act: policy.Redact, standing: Standing, place: Place) -> None:
    if act.target is None:
        raise NotAllowed("Nobody redacts what is not known here")
    if not may(standing, Action.RETRACT if act.target.sender == act.by else Action.MODERATE, place.kind):
        raise NotAllowed("This is not yours to redact")
    if act.target.is_state:
        raise NotAllowed("The state of a room is the school's to set")


def _check_ephemeral(act: policy.Ephemeral, standing: Standing, place: Place) -> None:
    if act.type == "m.typing" and not may(standing, Action.POST, place.kind):
        raise NotAllowed("Only some may write in this room")


def _check_profile(act: policy.SetProfile, grants: tuple[Grant, ...]) -> None:
    """Names are the school's; a picture is for staff to choose, who answer for it. School: rows 27, 42, 44"""
    if act.person != act.by:
        raise Hidden
    if act.field != "avatar_url" or not any(grant.role in _STAFF for grant in grants):
        raise NotAllowed("The school keeps this part of the profile")


def _check_own_name(act: policy.SetProfile) -> None:
    """An application service says what those are called and look like whom it acts for."""
    if act.person != act.by or act.field not in {"displayname", "avatar_url"}:
        raise Hidden


def _check_belongs(act: Act, grants: tuple[Grant, ...]) -> None:
    if not grants:
        raise Hidden


def _check_call(act: policy.PlaceCall, grants: tuple[Grant, ...]) -> None:
    _check_belongs(act, grants)
    if not any(grant.role in CALLERS for grant in grants):
        raise NotAllowed("Pupils do not call from here")


def _check_upload(act: policy.UploadMedia, grants: tuple[Grant, ...]) -> None:
    _check_belongs(act, grants)
    if act.used + (act.size or 0) > max(QUOTA_BYTES[grant.role] for grant in grants):
        raise NotAllowed("Your files take all the space there is for them")


def _check_preview(act: policy.PreviewPage, grants: tuple[Grant, ...]) -> None:
    _check_belongs(act, grants)
    if not act.listed or not any(grant.role in PREVIEWS for grant in grants):
        raise NotAllowed("There are no previews of this page")


def _pass_alone(act: Act, grants: tuple[Grant, ...]) -> None:
    pass


def _check_account(act: Act, grants: tuple[Grant, ...]) -> None:
    raise NotAllowed("The account is the school's to close: ask the office")


_WITH_NOTICES: Final = frozenset({policy.SeeRoom, policy.Join, policy.Ephemeral})
"""What people do in their room for notices of the server: read, mark as read, and nothing else."""

_RoomJudge: TypeAlias = Callable[[Any, Standing, Place], None]
_Judge: TypeAlias = Callable[[Any, tuple[Grant, ...]], None]

_IN_ROOM: Mapping[type[Act], _RoomJudge] = {
    policy.SeeRoom: _pass_in_room,
    policy.Join: _pass_in_room,
    policy.Leave: _check_leave,
    policy.SetState: _check_state,
    policy.SendEvent: _check_send,
    policy.Redact: _check_redaction,
    policy.Ephemeral: _check_ephemeral,
}
"""What those who belong in a place may do there; acts that are not listed, such as Invite and Expel, nobody."""

_CONTACTS: Mapping[type[Act], Contact] = {
    policy.FindPerson: Contact.FIND,
    policy.SeeProfile: Contact.SEE,
    policy.SeePresence: Contact.PRESENCE,
    policy.QueryKeys: Contact.DEVICES,
    policy.SendToDevice: Contact.DEVICES,
}

_ALONE: Mapping[type[Act], _Judge] = {
    policy.SetProfile: _check_profile,
    policy.SetPresence: _check_belongs,
    policy.UploadMedia: _check_upload,
    policy.PreviewPage: _check_preview,
    policy.LogIn: _pass_alone,
    policy.MeetDevice: _check_belongs,
    policy.PlaceCall: _check_call,
    policy.CloseAccount: _check_account,
}
