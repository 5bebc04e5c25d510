"""Transactions to application services.

`interest` knows which room concerns which service, `line` is what one service is told next and when it is tried again,
`parcels` says what a transaction is, `packing` makes and stores it. `deliveries` does the rest: it takes what commits
tell in their order, lets it wait in lines, and sends.

A line holds some events in memory; of a service that falls behind it holds none, and reads them from the stream when
the service takes them again. The transaction that is under way is stored with the position up to which it tells.

Spec: application-service-api#pushing-events
"""

from homeserver.outbox.services.deliveries import Deliveries, World

__all__ = ["Deliveries", "World"]
