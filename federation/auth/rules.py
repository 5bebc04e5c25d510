"""The authorisation rules in the order of the spec: the create event, then all others by the state they meet.

Comments carry the numbers of the page of version 12.
"""

from federation.auth.case import Case, FindState
from federation.auth.levels import PowerLevels
from federation.auth.membership import check_member
from federation.auth.numbers import refused
from federation.auth.powers import check_power_levels
from federation.auth.redactions import of_one_origin
from federation.auth.selection import check_room
from federation.errors import BadIdentifier
from federation.event import Event
from federation.ids import find_server_of, parse_user_id, server_of
from federation.versions import find_room_version


def check_auth(
    event: Event, state: FindState, *, create: Event | None = None, levels: PowerLevels | None = None
) -> None:
    """Refuse an event that the rules of its room version do not allow in this state.

    `state` finds the auth-relevant state by key; other keys are never asked for. `create` is the room's create event:
    needed where the state may lack it, taken from the state otherwise. `levels` is `PowerLevels.of(version, create, p)`
    with the power levels event `p` of this very state; a caller who checks many events keeps it. Signatures are not
    looked at here, except those of a third-party invite; `federation.signatures` does that before.

    Raises: Refused, with the rule's number on the page of the event's version.
    Spec: server-server-api#authorisation-rules, rooms/v12#authorisation-rules
    """
    # 1. m.room.create
    if event.type == "m.room.create":
        _check_create(event)
        return
    case = Case(event, state, _find_create(event, state, create), levels)
    # 4. m.federate
    if case.create.content.get("m.federate") is False and server_of(event.sender) != server_of(case.create.sender):
        raise case.refused("federate", "the room is for the creator's server only")
    # 4. on the pages of v1 to v5: m.room.aliases
    if event.type == "m.room.aliases" and event.version.aliases_special_auth:
        _check_aliases(case)
        return
    # 5. m.room.member
    if event.type == "m.room.member":
        check_member(case)
        return
    # 6. the sender is joined
    if case.membership_of(event.sender) != "join":
        raise case.refused("sender", "the sender is not joined")
    _check_level(case)


def _find_create(event: Event, state: FindState, create: Event | None) -> Event:
    found = create or state(("m.room.create", ""))
    # 2. the room ID names the create event
    if event.version.room_id_is_create_hash:
        check_room(event, found)
    if found is None:
        raise refused(event.version, "auth_events.create", "the room has no create event")
    return found


def _check_create(event: Event) -> None:
    version = event.version
    # 1.1 it has previous events
    if event.prev_events:
        raise refused(version, "create.prev_events", "a room begins with its create event")
    # 1.2 it has a room ID (before v12: one of another domain than the sender's)
    if version.room_id_is_create_hash:
        if "room_id" in event.pdu():
            raise refused(version, "create.room_id", "the create event makes the room ID and has none")
    elif find_server_of(event.room_id) != server_of(event.sender):
        raise refused(version, "create.room_id", "the room ID is not of the sender's domain")
    # 1.3 an unknown room version; also another one than the event was read by
    if find_room_version(event.content.get("room_version", "1")) is not version:
        raise refused(version, "create.room_version", "not the version of this room")
    # 1.4 on the pages of v1 to v10: no creator
    if not version.implicit_creator and "creator" not in event.content:
        raise refused(version, "create.creator", "no creator")
    # 1.4 additional creators are users
    if version.creators_are_supreme and not _are_users(event.content.get("additional_creators", [])):
        raise refused(version, "create.additional_creators", "additional creators are a list of user IDs")


def _are_users(value: object) -> bool:
    try:
        return isinstance(value, list) and all(parse_user_id(user) for user in value)
    except BadIdentifier:
        return False


def _check_aliases(case: Case) -> None:
    event = case.event
    # 4.1 no state key
    if event.state_key is None:
        raise case.refused("aliases.state_key", "no state key")
    # 4.2 the sender's domain is not the state key
    if server_of(event.sender) != event.state_key:
        raise case.refused("aliases.domain", "aliases of another server")


def _check_level(case: Case) -> None:
    event, levels = case.event, case.levels
    power = levels.power_of(event.sender)
    # 7. m.room.third_party_invite
    if event.type == "m.room.third_party_invite":
        # 7.1 the invite level alone decides
        if power < levels.invite:
            raise case.refused("third_party_invite.level", "the sender may not invite")
        return
    # 8. the required power level
    if levels.level_for_event(event.type, is_state=event.state_key is not None) > power:
        raise case.refused("level", "the sender may not send events of this type")
    # 9. a state key that is a user
    if event.state_key is not None and event.state_key[:1] == "@" and event.state_key != event.sender:
        raise case.refused("state_key", "the state key is another user")
    # 10. m.room.power_levels
    if event.type == "m.room.power_levels":
        check_power_levels(case)
    # 11. on the pages of v1 and v2: m.room.redaction
    elif (
        event.type == "m.room.redaction"
        and event.version.redaction_auth_by_server
        # 11.1 the redact level, 11.2 the same domain
        and power < levels.redact
        and not of_one_origin(event.event_id, event.redacts)
    ):
        # 11.3
        raise case.refused("redaction.otherwise", "the sender may not redact the events of others")
