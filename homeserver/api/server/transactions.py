"""What other servers send.

Spec: server-server-api#transactions
"""

from typing import Any, Final

from msgspec import Struct

from homeserver.api.errors import RateLimited
from homeserver.api.route import Call, Reply, Route
from homeserver.api.server.declaring import V1, signed_route
from homeserver.rooms.receive.transactions import MOST_EDUS, MOST_PDUS, TooManyAtOnce, Transactions

BODY_LIMIT: Final = (MOST_PDUS + MOST_EDUS) * 65536 * 2
"""As much as so many events and others of the largest size may be, with what is unsigned in them."""
_BUSY_MS: Final = 1000


class TransactionBody(Struct, frozen=True):
    """A transaction; what its parts must be is looked at one by one."""

    pdus: list[Any]
    edus: list[Any] = []


def routes(transactions: Transactions) -> tuple[Route, ...]:
    """The endpoint of transactions."""

    async def send(call: Call) -> Reply:
        body: TransactionBody = call.body
        try:
            return {"pdus": await transactions.receive(call.origin, call.params["txnId"], body.pdus, body.edus)}
        except TooManyAtOnce:
            raise RateLimited(_BUSY_MS) from None

    return (
        signed_route("PUT", V1 + "/send/{txnId}", send, TransactionBody, rate="transaction", body_limit=BODY_LIMIT),
    )
