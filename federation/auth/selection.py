"""Which state an event's `auth_events` are taken from, and whether a received event has the right ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from federation.auth.numbers import refused
from federation.event import Event
from federation.ids import EventID, StateKey
from federation.versions import RoomVersion

_CREATE: Final = ("m.room.create", "")
_POWER_LEVELS: Final = ("m.room.power_levels", "")
_JOIN_RULES: Final = ("m.room.join_rules", "")


def auth_types(
    version: RoomVersion, *, type: str, state_key: str | None, sender: str, content: Mapping[str, Any]
) -> tuple[StateKey, ...]:
    """The keys of the state that gives the sender permission to send such an event; no key twice.

    An event's `auth_events` are the events that stand under these keys, as far as there are any.

    Spec: server-server-api#auth-events-selection
    """
    if type == "m.room.create":
        return ()
    keys = [_CREATE, _POWER_LEVELS] if version.create_in_auth_events else [_POWER_LEVELS]
    keys.append(("m.room.member", sender))
    if type == "m.room.member" and state_key is not None:
        if state_key != sender:
            keys.append(("m.room.member", state_key))
        keys += _membership_types(version, content, keys)
    return tuple(keys)


def _membership_types(version: RoomVersion, content: Mapping[str, Any], chosen: Sequence[StateKey]) -> list[StateKey]:
    membership = content.get("membership")
    keys: list[StateKey] = []
    if membership in ("join", "invite", "knock"):
        keys.append(_JOIN_RULES)
    if membership == "invite" and (token := third_party_token(content)) is not None:
        keys.append(("m.room.third_party_invite", token))
    if membership == "join" and version.restricted_join:
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and ("m.room.member", authoriser) not in chosen:
            keys.append(("m.room.member", authoriser))
    return keys


def third_party_token(content: Mapping[str, Any]) -> str | None:
    """The token of the third-party invite that a membership answers, if it names one."""
    answer = content.get("third_party_invite")
    signed = answer.get("signed") if isinstance(answer, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None


def never_rejected(_event_id: EventID) -> bool:
    """For callers whose events were all accepted."""
    return False


def check_auth_events(
    event: Event,
    auth_events: Sequence[Event],
    *,
    create: Event,
    rejected: Callable[[EventID], bool] = never_rejected,
) -> None:
    """Refuse an event whose own auth events are not those that such an event must have.

    This needs no state, so one time is enough. `auth_events` are the events that `event` names, in any order, `create`
    is the room's create event, `rejected` tells which events were rejected on their receipt.

    Raises: Refused; ValueError when the caller passes other events than the event names.
    Spec: server-server-api#checks-performed-on-receipt-of-a-pdu, rooms/v12#authorisation-rules
    """
    if event.type == "m.room.create":
        return  # rule 1 alone decides
    if {found.event_id for found in auth_events} != set(event.auth_events):
        raise ValueError("these are not the event's auth events")
    version = event.version
    # 2. (v12) the room ID is an accepted create event
    if version.room_id_is_create_hash:
        check_room(event, create)
        if rejected(create.event_id):
            raise refused(version, "room", "the room's create event was rejected")
    # 3.1 duplicates
    keys = {(found.type, found.state_key) for found in auth_events}
    if len(keys) != len(event.auth_events):
        raise refused(version, "auth_events.duplicate", "two auth events for one type and state key")
    # 3.2 entries that the selection does not have
    allowed = auth_types(
        version, type=event.type, state_key=event.state_key, sender=event.sender, content=event.content
    )
    if not keys.issubset(allowed):
        raise refused(version, "auth_events.selection", "an auth event that such an event does not need")
    # 3.3 rejected entries
    if any(rejected(event_id) for event_id in event.auth_events):
        raise refused(version, "auth_events.rejected", "an auth event was rejected")
    # 2.4 on the pages of v1 to v11: no create event
    if version.create_in_auth_events and _CREATE not in keys:
        raise refused(version, "auth_events.create", "no create event among the auth events")
    # 3.4 entries from another room
    if any(found.room_id != event.room_id for found in auth_events):
        raise refused(version, "auth_events.room_id", "an auth event of another room")


def check_room(event: Event, create: Event | None) -> None:
    """Refuse an event of a version 12 room unless this is the create event its room ID is made of.

    Raises: Refused.
    Spec: rooms/v12#authorisation-rules
    """
    if create is None or create.type != "m.room.create" or event.room_id != f"!{create.event_id[1:]}":
        raise refused(event.version, "room", "the room ID is not that of the create event")
