"""The only place where this process learns that something is new: what a commit tells goes to those who listen, here.

Everybody who syncs has a `Feed`: what changed for them, in memory, complete above its floor. It is registered with the
rooms they are in, so an event costs as much as there are feeds in its room, whoever else is a member. Each room that
somebody listens to has a `RoomLog`, its last events and receipts, which all its feeds share. A sync whose token lies
above the floors reads no table to learn what changed.

Two clocks tick: `position`, that of commits, and `serial`, for what is never committed (typing, presence). Both
are in a sync token. A serial starts at the time of the start, so that those of an earlier run are smaller.

`feeds` holds what listens, `streams` how what is new reaches it. What does not live here: what a change means to a
client. To add a kind of change: a record in `storage.changes`, and its taking up in `Streams`.
"""

from homeserver.streams.feeds import Feed, RoomLog, Why, marked_after
from homeserver.streams.streams import Clock, Streams

__all__ = ["Clock", "Feed", "RoomLog", "Streams", "Why", "marked_after"]
