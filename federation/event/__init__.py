"""Events: those of other servers read strictly, our own sealed.

`parse_event` is for what strangers send, `revive_event` for what our own storage kept, `seal_event` for what our people
do; between two servers of which one knows the room and the other signs, an unsealed event travels as a template. The
format every version demands is in `format`, the record itself in `federation.pdu`; other packages take all of it from
here.

To add a field to the format: its check in `format`, its place in `pdu.Event`, its writing in `seal`.

Spec: server-server-api#pdus, rooms/v12#event-format
"""

from federation.event.parse import parse_event, revive_event, revive_stripped
from federation.event.seal import EventFields, seal_event
from federation.event.template import parse_template
from federation.pdu import Event, StrippedState, encode_client_event, stripped_state

__all__ = [
    "Event",
    "EventFields",
    "StrippedState",
    "encode_client_event",
    "parse_event",
    "parse_template",
    "revive_event",
    "revive_stripped",
    "seal_event",
    "stripped_state",
]
