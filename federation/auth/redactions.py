"""Who may redact what, once the redaction and its target are both there."""

from federation.auth.levels import PowerLevels
from federation.event import Event
from federation.ids import EventID, find_server_of, server_of


def may_redact(redaction: Event, target: Event, levels: PowerLevels) -> bool:
    """Whether an accepted redaction takes effect on the event it names; `levels` are those before the redaction.

    One room, and power to redact or the same server as the target's sender (up to v2, where the rules decided already:
    as the target's event ID).

    Spec: rooms/v3#handling-redactions, rooms/v1#authorisation-rules
    """
    if redaction.redacts != target.event_id or redaction.room_id != target.room_id:
        return False
    if levels.power_of(redaction.sender) >= levels.redact:
        return True
    if redaction.version.redaction_auth_by_server:
        return of_one_origin(redaction.event_id, target.event_id)
    return server_of(redaction.sender) == server_of(target.sender)


def of_one_origin(event_id: EventID, other_id: EventID | None) -> bool:
    """Whether two event IDs of versions 1 and 2 name the same domain."""
    return other_id is not None and find_server_of(event_id) == find_server_of(other_id)
