"""What people do, as records, and the question whether they may.

Here live the acts (one frozen record per door), the :class:`Policy` that judges them, the policy of a plain Matrix
homeserver (:class:`OpenPolicy`), and the few kinds of domain exceptions that the edge knows how to answer. The
schools' answer lives in ``homeserver.schools.gate``; the composition root hands one of the two to every package that
opens a door. The packages ask, not the API handlers, so that no way round a handler is a way round the policy.

To add a door: add a record here, ask it where the door is opened, give it a judge in ``schools/gate.py`` (an act
without one is refused there) and a row in the tests of both.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from federation.errors import Refused
from federation.event import Event
from federation.ids import EventID, MxcURI, RoomAlias, RoomID, ServerName, UserID


class NotFound(Exception):
    """There is no such thing, or the asker may not learn of it (404)."""

    def __init__(self, why: str = "Not found", *, errcode: str = "M_NOT_FOUND") -> None:
        super().__init__(why)
        self.why = why
        self.errcode = errcode


class Conflict(Exception):
    """What is asked for contradicts what is already there (409)."""

    def __init__(self, errcode: str, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.errcode = errcode


class Invalid(Exception):
    """What is asked for makes no sense as it was put (400)."""

    def __init__(self, errcode: str, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.errcode = errcode


class Hidden(Refused):
    """The one refusal: not there, not yours and another school's are answered alike.

    Raised by a policy for whatever the asker may not even learn of, and by a door for what does not exist, so that
    both answers are the same by construction. A door whose specified answer to absence is another one (404 for an
    alias) asks :func:`allows` and gives that answer in both cases.

    School: row 41
    """

    def __init__(self) -> None:
        super().__init__("policy", "There is no such thing here, or it is not for you")


class RoomFacts(Protocol):
    """What a policy may ask of a room: its committed state, from memory."""

    @property
    def room_id(self) -> RoomID:
        """The room's ID."""

    def state(self, event_type: str, state_key: str = "", /) -> Event | None:
        """The current state event under that key."""

    def membership(self, user_id: UserID, /) -> str | None:
        """The current membership of that person, None if there never was one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something a person wants to do; `by` is the person, None when nobody has signed in."""

    by: UserID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAct(Act):
    """Something a person wants to do in a room that exists."""

    room: RoomFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRoom(Act):
    """Create a room; the fields are those of the request, `initial_state` as (type, state_key, content).

    `power_levels` is ``power_level_content_override``. The fields are not yet merged with any preset.

    Spec: client-server-api#post_matrixclientv3createroom
    """

    preset: str | None = None
    published: bool = False
    version: str | None = None
    is_direct: bool = False
    invite: Sequence[UserID] = ()
    invite_3pid: int = 0
    alias: str | None = None
    name: str | None = None
    topic: str | None = None
    creation_content: Mapping[str, object] | None = None
    initial_state: Sequence[tuple[str, str, Mapping[str, object]]] = ()
    power_levels: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeRoom(RoomAct):
    """Replace a room by one of another version."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite(RoomAct):
    """Invite a person; asked for an invitation by third-party ID too, with `person` None."""

    person: UserID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(RoomAct):
    """Join a room, invited or not. `waits`: others may be asked about a newcomer; not where a room waits for that."""

    waits: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock(RoomAct):
    """Ask to be let in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave(RoomAct):
    """Leave a room, refuse an invitation or withdraw a knock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expel(RoomAct):
    """Kick, ban or unban a person, or take an invitation back."""

    person: UserID
    how: Literal["kick", "ban", "unban"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetState(RoomAct):
    """Send a state event other than a change of membership; the same door for PUT /state and for a batch."""

    type: str
    state_key: str
    content: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendEvent(RoomAct):
    """Send an event that is not state: a message, an edit, a reaction, a poll.

    `poll` is what the answer to a poll answers, None where that is unknown to the sender.
    """

    type: str
    content: Mapping[str, object]
    poll: Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redact(RoomAct):
    """Redact an event; `target` is None when it is unknown."""

    event_id: EventID
    target: Event | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeRoom(RoomAct):
    """Learn of a room: directory, alias, preview, summary, hierarchy; or read it without being joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRoom(RoomAct):
    """List a room in the room directory, or take it out (`published` False)."""

    published: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAlias(RoomAct):
    """Give a room an alias, or take one away (`removed`)."""

    alias: RoomAlias
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FindPerson(Act):
    """Find a person in the user directory; asked for each hit, the others are left out of the answer."""

    person: UserID


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeProfile(Act):
    """See a person's profile (display name, avatar, other fields)."""

    person: UserID


@dataclass(frozen=True, slots=True, kw_only=True)
class SetProfile(Act):
    """Set or delete (`value` None) a profile field of `person`."""

    person: UserID
    field: str
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class SeePresence(Act):
    """See whether a person is there."""

    person: UserID


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryKeys(Act):
    """See a person's devices and keys, or claim a one-time key; those refused are left out of the answer."""

    person: UserID


@dataclass(frozen=True, slots=True, kw_only=True)
class SendToDevice(Act):
    """Send a message to a person's devices."""

    person: UserID
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ephemeral(RoomAct):
    """Tell a room of typing or of a receipt; `type` is ``m.typing``, ``m.receipt`` or ``m.fully_read``."""

    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPresence(Act):
    """Tell others that one is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadMedia(Act):
    """Store a file of that type and size (None while unknown), by somebody who has stored `used` bytes so far."""

    content_type: str
    size: int | None
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeMedia(Act):
    """Download a file or its thumbnail.

    `uploader` is None when it came from another server; `rooms` are those whose events refer to it and `avatar_of`
    the people who show it as their avatar, both as far as known here.
    """

    mxc: MxcURI
    uploader: UserID | None
    rooms: Sequence[RoomID] = ()
    avatar_of: Sequence[UserID] = ()


About: TypeAlias = Literal["profile", "devices", "room", "media"]
"""What other servers ask for by themselves, and not for somebody they name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TellServer(Act):
    """Tell another server something; `by` is None, because nobody of it is named.

    `shares_room` finds out whether the server is in a room with whom or what it asks about; for a room, in that room.
    """

    server: ServerName
    about: About
    shares_room: Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookElsewhere(Act):
    """Have another server asked about its rooms: where an alias leads, what it lists, what a space there holds."""

    server: ServerName


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPage(Act):
    """Learn what a page of the web says; `listed`: the operator has put its host on the list of those to ask."""

    address: str
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIn(Act):
    """Begin a session, by whatever kind of login, or carry one on with a refresh token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProveIdentity(Act):
    """Get a token by which another service learns who one is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceCall(Act):
    """Get access to the servers that carry calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetDevice(Act):
    """Make a place where another device of one's own is met, to be signed in or to sign in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskNetworks(Act):
    """Ask the application services that bridge to other networks what they know of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnAbsence(Act):
    """Be told that there is no such room, and not only that there is none for oneself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAccount(Act):
    """Deactivate one's own account."""


Deed: TypeAlias = Literal[
    "see_account", "see_account_data", "create_account", "change_profile", "set_password", "make_operator",
    "unmake_operator", "lock", "unlock", "suspend", "unsuspend", "deactivate", "set_type", "limit", "end_sessions",
    "change_device", "log_in_as", "see_room", "read_room", "block_room", "unblock_room", "delete_room", "admit",
    "make_room_admin", "tidy_room", "see_report", "settle_report", "see_tokens", "make_token", "change_token",
    "remove_token", "notify", "see_audit", "run_job", "reset_destination", "see_media", "quarantine_media",
    "release_media", "protect_media", "remove_media", "purge_history", "redact", "export", "erase",
]  # fmt: skip
"""What only operators do, by the name that the audit log has for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Administer(Act):
    """Do what only operators of the server may, to a person, in a room or to the server; that `by` is one is checked
    before. See `homeserver.operators`.
    """

    deed: Deed
    person: UserID | None = None
    room_id: str | None = None


class Policy(Protocol):
    """The judge of all acts; handed in by the composition root."""

    async def check(self, act: Act, /) -> None:
        """Let the act pass; does not wait when the facts it needs are in memory.

        Raises:
            Refused: It may not be done; :class:`Hidden` where even the reason would tell too much.
        """


class OpenPolicy:
    """The policy of a plain Matrix homeserver: the Matrix rules of the rooms are all there is."""

    async def check(self, act: Act, /) -> None:
        """Let every act pass."""


async def absent(policy: Policy, by: UserID | None) -> Exception:
    """What a door to rooms raises for one that is not there."""
    return NotFound("There is no such room") if await allows(policy, LearnAbsence(by=by)) else Hidden()


async def allows(policy: Policy, act: Act) -> bool:
    """Tell whether the act may be done, for doors that leave out or answer absence where it may not."""
    try:
        await policy.check(act)
    except Refused:
        return False
    return True
