"""Receiving: how events of other servers come into a room.

`receiver` is the door for events, checked in the order the spec has it; `transactions` brings them there, and does each
transaction once. One room takes in one thing at a time, rooms side by side. Within a room `intake` goes from events to
rows: what is known is read (`facts`), what came before and is missing is fetched (`gaps`, `told`, `chains`), states are
found or added up (`merging`), and each event is judged and placed on the live room (`placing`), many of them in one
commit. `adopt` makes a room of what another server gave of it; `returning` finds out that ours are in a room again;
`parting` tells other servers that they are out of one, or that we are. `objections` are what speaks against events that
the rules allow: our policy, or the room's policy server, which `advisers` asks; `recommender` is this server as one.
`outside` is all that is asked of other servers, and how what they say is inspected.

What becomes of an event: dropped (bad form or signature), rejected (kept so that others may refer to it, never in the
state), soft-failed (kept, part of states after it, shown to nobody, nothing of ours follows it), or accepted.

What does not live here: the rules themselves (`federation`), rows (`rooms.writing`, `storage.received`), the wire
(`federation.transport`).

To add a check: its place in `placing.judge` if it needs nothing but states, else in `intake` before that, with a test
that spoils one fact of a valid event.

Spec: server-server-api#checks-performed-on-receipt-of-a-pdu
"""
