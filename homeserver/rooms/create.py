"""Creating rooms: from a request to the events that a room begins with, all of them in one commit.

Spec: client-server-api#post_matrixclientv3createroom
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct
from twisted.logger import Logger

from federation.errors import Refused, RemoteFault
from federation.ids import RoomAlias, UserID, parse_room_alias, parse_user_id, server_of
from federation.versions import RoomVersion, find_room_version
from homeserver.accounts.appservices.questions import NO_SERVICES, Questions
from homeserver.policy import Conflict, CreateRoom, Invalid, NotFound, Policy
from homeserver.rooms.aliases import CANONICAL_ALIAS, aliases_in
from homeserver.rooms.beyond import Beyond, Nowhere, UnsupportedVersion, seal_invitation
from homeserver.rooms.membership import FindProfile, InvitesBlocked, check_invitable, shown_fields
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from homeserver.rooms.writing import Work
from homeserver.storage.database import Database, Txn
from homeserver.storage.directory import append_alias, find_alias

_log: Final = Logger()

Preset = Literal["private_chat", "public_chat", "trusted_private_chat"]

MOST_INVITED: Final = 100
MOST_STATE: Final = 200
PATIENCE_MS: Final = 25_000
"""How long people of other servers are asked in although one of those has failed."""
_PRESETS: Final[Mapping[str, tuple[str, str]]] = {
    "private_chat": ("invite", "can_join"),
    "trusted_private_chat": ("invite", "can_join"),
    "public_chat": ("public", "forbidden"),
}
"""Join rule and guest access; the history visibility is always shared."""
_TOMBSTONE_LEVEL: Final = 150


class StateEvent(Struct, frozen=True):
    """A state event that a new room begins with."""

    type: str
    content: dict[str, Any]
    state_key: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What it is about."""
        return self.type, self.state_key


class NewRoom(Struct, frozen=True, kw_only=True):
    """The request for a room.

    Spec: client-server-api#post_matrixclientv3createroom
    """

    visibility: Literal["public", "private"] = "private"
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: Annotated[tuple[str, ...], Meta(max_length=MOST_INVITED)] = ()
    invite_3pid: Annotated[tuple[dict[str, Any], ...], Meta(max_length=MOST_INVITED)] = ()
    room_version: str | None = None
    creation_content: dict[str, Any] = {}
    initial_state: Annotated[tuple[StateEvent, ...], Meta(max_length=MOST_STATE)] = ()
    preset: Preset | None = None
    is_direct: bool = False
    power_level_content_override: dict[str, Any] = {}

    @property
    def template(self) -> Preset:
        """The preset that counts."""
        return self.preset or ("public_chat" if self.visibility == "public" else "private_chat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request that makes sense: who asks, the room's version, alias and the people to invite."""

    by: UserID
    version: RoomVersion
    alias: RoomAlias | None
    invited: Sequence[UserID]
    wanted: NewRoom


Begin: TypeAlias = Callable[[CreateRoom], Awaitable[Room]]


class Creation:
    """Creates rooms; with `begin`, whoever it belongs to makes the room that an act the policy let pass asks for."""

    def __init__(  # noqa: PLR0913 - what rooms are made with
        self,
        rooms: Rooms,
        database: Database,
        policy: Policy,
        find_profile: FindProfile,
        default_version: str,
        *,
        begin: Begin | None = None,
        questions: Questions = NO_SERVICES,
    ) -> None:
        self.beyond: Beyond = Nowhere()
        self._questions = questions
        self._rooms = rooms
        self._db = database
        self._policy = policy
        self._find_profile = find_profile
        self._default = default_version
        self._begin = begin

    async def create(self, by: UserID, wanted: NewRoom) -> Room:
        """A new room as it was asked for.

        Raises: Invalid: M_UNSUPPORTED_ROOM_VERSION, M_INVALID_ROOM_STATE, M_INVALID_PARAM or M_BAD_JSON; Conflict
            (M_ROOM_IN_USE) when the alias is taken; Refused; EventTooLarge; BadIdentifier. There is no room then,
            but where another server has not let somebody in because of its version, or invitations are not wanted.
        Spec: client-server-api#post_matrixclientv3createroom
        """
        plan = self._plan(by, wanted)
        act = _act(plan)
        await self._policy.check(act)
        for person in filter(self._is_ours, plan.invited):
            await self._questions.summon_user(person)
            await check_invitable(self._db, person)
        if self._begin is not None:
            return await self._begin(act)
        if plan.alias is not None and await self._db.read(find_alias, plan.alias) is not None:
            raise _taken()
        shown = {person: await self._shown_of(person) for person in (by, *plan.invited)}
        invitations = list(build_invitations(plan, shown))
        drafts = [*build_drafts(plan, shown), *(draft for draft in invitations if self._is_ours(draft.state_key))]
        elsewhere = [draft for draft in invitations if not self._is_ours(draft.state_key)]
        try:
            room = await self._rooms.create(
                plan.version,
                drafts,
                published=wanted.visibility == "public",
                also=lambda room: self._also(plan, room, elsewhere),
            )
        except Refused as refusal:
            raise Invalid("M_INVALID_ROOM_STATE", f"The room cannot begin like this: {refusal.why}") from None
        await self._invite(room, elsewhere)
        return room

    def _is_ours(self, person: str | None) -> bool:
        return server_of(UserID(person or "")) == self._rooms.seal.server

    async def _invite(self, room: Room, invitations: Sequence[Draft]) -> None:
        """Ask people of other servers in, each of them, whatever becomes of the others, unless that takes too long.

        The room is there, and who made it has to learn its ID: whom a server does not let in, or cannot be asked, may
        be invited again.

        Raises: UnsupportedVersion, InvitesBlocked: for these the endpoint has an answer of their own.
        Spec: client-server-api#post_matrixclientv3createroom
        """
        faults: list[Exception] = []
        until_ms = self._rooms.seal.now_ms() + PATIENCE_MS
        for draft in invitations:
            if faults and self._rooms.seal.now_ms() > until_ms:
                break
            try:
                await self.beyond.invite(room, draft)
            except (RemoteFault, Refused, NotFound, Invalid) as fault:
                _log.info("{person} is not invited: {fault}", person=draft.state_key, fault=str(fault))
                faults.append(fault)
        told = next((each for each in faults if isinstance(each, (UnsupportedVersion, InvitesBlocked))), None)
        if told is not None:
            raise told

    def _plan(self, by: UserID, wanted: NewRoom) -> Plan:
        version = find_room_version(wanted.room_version or self._default)
        if version is None or not version.stable:
            raise Invalid("M_UNSUPPORTED_ROOM_VERSION", "This server makes no rooms of that version")
        if wanted.invite_3pid:
            raise Refused("invite_3pid", "Invitations by address are not available here")
        invited = list(dict.fromkeys(parse_user_id(person) for person in wanted.invite))
        if not all(map(self._is_ours, invited)) and isinstance(self.beyond, Nowhere):
            raise Refused("federation", "People of other servers cannot be invited here")
        if any(event.type in ("m.room.create", "m.room.member") for event in wanted.initial_state):
            raise Invalid("M_INVALID_ROOM_STATE", "Memberships and the create event are not initial state")
        alias = self._alias(by, wanted)
        _check_canonical(wanted, alias)
        return Plan(by=by, version=version, alias=alias, invited=invited, wanted=wanted)

    def _alias(self, by: UserID, wanted: NewRoom) -> RoomAlias | None:
        localpart = wanted.room_alias_name
        if localpart is None:
            return None
        if not localpart or ":" in localpart:
            raise Invalid("M_INVALID_PARAM", "room_alias_name is what stands between # and :")
        alias = parse_room_alias(f"#{localpart}:{self._rooms.seal.server}")
        self._questions.services.check_alias(alias, by)
        return alias

    async def _shown_of(self, person: UserID) -> Mapping[str, object]:
        if not self._is_ours(person):
            return {}
        profile = await self._find_profile(person)
        return {} if profile is None else shown_fields(profile)

    def _also(self, plan: Plan, room: Room, elsewhere: Sequence[Draft]) -> Sequence[Work]:
        """What is written with a room that may begin; so may who is of another server be asked in.

        Raises: Refused.
        """
        for draft in elsewhere:
            seal_invitation(self._rooms.seal, room, draft)
        if plan.alias is None:
            return ()
        return [partial(_take_alias, plan.alias, room.nid, plan.by, self._rooms.seal.now_ms())]


def build_drafts(plan: Plan, shown: Mapping[UserID, Mapping[str, object]]) -> Iterator[Draft]:
    """The events of a new room; `shown` is what people show of themselves in their member events.

    Spec: client-server-api#post_matrixclientv3createroom
    """
    by, wanted = plan.by, plan.wanted

    def state(event_type: str, content: Mapping[str, object], state_key: str = "") -> Draft:
        return Draft(type=event_type, sender=by, content=content, state_key=state_key)

    # 1. the create event, 2. the creator joins
    yield state("m.room.create", build_create_content(plan))
    yield state("m.room.member", {**shown[by], "membership": "join"}, by)
    # 3. power levels
    yield state("m.room.power_levels", build_power_levels(plan))
    # 4. the canonical alias
    if plan.alias is not None:
        yield state(CANONICAL_ALIAS, {"alias": plan.alias})
    # 5. what the preset says, unless the initial state says otherwise
    given = {event.key for event in wanted.initial_state}
    for event_type, content in _preset_state(wanted.template):
        if (event_type, "") not in given:
            yield state(event_type, content)
    # 6. the initial state in its order, but for what is overwritten at once
    last = {("m.room.name", ""): wanted.name, ("m.room.topic", ""): wanted.topic}
    for event in wanted.initial_state:
        if last.get(event.key) is None:
            yield state(event.type, event.content, event.state_key)
    # 7. name and topic
    if wanted.name is not None:
        yield state("m.room.name", {"name": wanted.name})
    if wanted.topic is not None:
        yield state("m.room.topic", _topic(wanted.topic))


def build_invitations(plan: Plan, shown: Mapping[UserID, Mapping[str, object]]) -> Iterator[Draft]:
    """The last of the events of a new room: step 8."""
    direct = {"is_direct": True} if plan.wanted.is_direct else {}
    for person in plan.invited:
        content = {**shown[person], **direct, "membership": "invite"}
        yield Draft(type="m.room.member", sender=plan.by, content=content, state_key=person)


def build_create_content(plan: Plan) -> Mapping[str, object]:
    """The content of the create event.

    Spec: client-server-api#mroomcreate
    """
    content = {**plan.wanted.creation_content, "room_version": plan.version.id}
    if plan.version.implicit_creator:
        content.pop("creator", None)
    else:
        content["creator"] = plan.by
    if plan.version.creators_are_supreme and plan.wanted.template == "trusted_private_chat":
        named = content.get("additional_creators", [])
        if not isinstance(named, list):
            raise Invalid("M_INVALID_ROOM_STATE", "additional_creators is a list")
        content["additional_creators"] = [*named, *(person for person in plan.invited if person not in named)]
    return content


def build_power_levels(plan: Plan) -> Mapping[str, object]:
    """The content of the first power levels event: the creator's are above all, or 100 before version 12.

    Spec: client-server-api#mroompower_levels, client-server-api#post_matrixclientv3createroom
    """
    supreme = plan.version.creators_are_supreme
    mighty = [plan.by, *(plan.invited if plan.wanted.template == "trusted_private_chat" else ())]
    content: dict[str, Any] = {
        "users": {} if supreme else dict.fromkeys(mighty, 100),
        "users_default": 0,
        "events": {
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.encryption": 100,
            "m.room.history_visibility": 100,
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": _TOMBSTONE_LEVEL if supreme else 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 0,
        **plan.wanted.power_level_content_override,
    }
    if supreme:
        lift_tombstone(content)
    return content


def lift_tombstone(content: dict[str, Any]) -> None:
    """From version 12 on the tombstone's level is said, and above that of other state."""
    events, default = content["events"], content["state_default"]
    if isinstance(events, dict) and "m.room.tombstone" not in events and type(default) is int:
        content["events"] = {**events, "m.room.tombstone": max(_TOMBSTONE_LEVEL, default + 1)}


def _preset_state(template: Preset) -> Iterator[tuple[str, Mapping[str, object]]]:
    join_rule, guest_access = _PRESETS[template]
    yield "m.room.join_rules", {"join_rule": join_rule}
    yield "m.room.history_visibility", {"history_visibility": "shared"}
    yield "m.room.guest_access", {"guest_access": guest_access}


def _topic(text: str) -> Mapping[str, object]:
    return {"topic": text, "m.topic": {"m.text": [{"body": text}]}}


def _check_canonical(wanted: NewRoom, alias: RoomAlias | None) -> None:
    """No alias but the new one can lead to a room that is not there yet."""
    for event in wanted.initial_state:
        if event.key == (CANONICAL_ALIAS, "") and any(named != alias for named in aliases_in(event.content)):
            raise Invalid("M_BAD_ALIAS", "No such alias leads to this room")


def _act(plan: Plan) -> CreateRoom:
    wanted = plan.wanted
    return CreateRoom(
        by=plan.by,
        preset=wanted.preset,
        published=wanted.visibility == "public",
        version=wanted.room_version,
        is_direct=wanted.is_direct,
        invite=plan.invited,
        invite_3pid=len(wanted.invite_3pid),
        alias=plan.alias,
        name=wanted.name,
        topic=wanted.topic,
        creation_content=wanted.creation_content,
        initial_state=[(event.type, event.state_key, event.content) for event in wanted.initial_state],
        power_levels=wanted.power_level_content_override,
    )


def _take_alias(alias: RoomAlias, room_nid: int, by: UserID, now_ms: int, txn: Txn) -> None:
    if not append_alias(txn, alias, room_nid, by, now_ms):
        raise _taken()


def _taken() -> Conflict:
    return Conflict("M_ROOM_IN_USE", "That alias is taken")
