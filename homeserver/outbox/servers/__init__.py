"""Transactions to other servers: events of ours, and what is no event.

`destination` is what one server is told next and when it is tried again, `parcels` says what a transaction is,
`packing` makes them of what waits in memory or is owed by the tables. `sending` does the rest: it takes what commits
tell, lets it wait for each destination (`audiences` says whom an event concerns), and sends, one transaction at a time
to each. `ephemera` gives it what is told of our people and is not kept; how receipts are told is in `receipts`.
`inspection` shows operators how each destination does.

Nothing is stored for a message and a destination. A destination has a position, and while it is there the events above
that wait in memory. One that is away has nothing in memory: when it is back, what it is owed is read from the tables
room by room, and of a room of which it missed very much only the latest, since it can ask for the rest. What is no
event and must not be lost (messages to devices, changes of keys) has rows until it was taken. Receipts have a position
of the same kind, so how far our people have read since is read from the tables, too.

The ID of a transaction follows from what is in it, so what is sent again after a crash has the ID that it had.

To add a kind of EDU: what is told of people who are there now goes to `Sending.tell`, what must not be lost is written
by `homeserver.storage.waiting` in the unit of work that it tells of.

Spec: server-server-api#transactions
"""

from homeserver.outbox.servers.ephemera import Ephemera
from homeserver.outbox.servers.sending import Sending, World

__all__ = ["Ephemera", "Sending", "World"]
