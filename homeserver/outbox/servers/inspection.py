"""What operators see of the ways to other servers, and how they have one tried again."""

from typing import NamedTuple, Protocol

from federation.ids import RoomID, ServerName, UserID
from homeserver.operators import Operators
from homeserver.outbox.servers.sending import Sending
from homeserver.policy import Administer, Invalid, NotFound
from homeserver.storage.database import Database, Txn
from homeserver.storage.destinations import (
    DestinationRow,
    Listed,
    count_destinations,
    count_told_rooms,
    find_destination,
    load_destination_rows,
    load_told_rooms,
)


class Calls(Protocol):
    """Knows who is left alone, and hears that a server is there."""

    def heard_from(self, server: ServerName) -> None:
        """It may be tried at once."""


class Found(NamedTuple):
    """A page of destinations, and how many there are in all."""

    rows: list[DestinationRow]
    total: int


class FoundRooms(NamedTuple):
    """A page of rooms, each with the stream position of its last event, and how many there are in all."""

    rows: list[tuple[RoomID, int]]
    total: int


class Destinations:
    """The destinations of this server, for operators."""

    def __init__(self, database: Database, operators: Operators, calls: Calls, sending: Sending) -> None:
        self._database = database
        self._operators = operators
        self._calls = calls
        self._sending = sending

    async def list(self, wanted: Listed) -> Found:
        """A page of all that this server has to do with."""
        return Found(*await self._database.read(_load_page, wanted))

    async def see(self, server: str) -> DestinationRow:
        """One of them.

        Raises: NotFound.
        """
        found = await self._database.read(find_destination, server)
        if found is None:
            raise NotFound("Unknown destination")
        return found

    async def rooms(self, server: str, page: tuple[int, int], *, backwards: bool) -> FoundRooms:
        """A page (from where on, and how many) of the rooms that a destination is in.

        Raises: NotFound.
        """
        await self.see(server)
        return FoundRooms(*await self._database.read(_load_rooms, server, page, backwards))

    async def reset(self, by: UserID, server: str) -> None:
        """Try a destination again now that is left alone after failures.

        Raises: NotFound; Refused; Invalid when it is not left alone.
        """
        entry = await self._operators.check(Administer(by=by, deed="reset_destination"), destination=server)
        found = await self.see(server)
        if not found.failures:
            raise Invalid("M_UNKNOWN", "The retry timing does not need to be reset for this destination.")
        await self._operators.note(entry)
        self._calls.heard_from(ServerName(server))
        self._sending.hurry(ServerName(server))


def _load_page(txn: Txn, wanted: Listed) -> tuple[list[DestinationRow], int]:
    return load_destination_rows(txn, wanted), count_destinations(txn, wanted.part)


def _load_rooms(txn: Txn, server: str, page: tuple[int, int], backwards: bool) -> tuple[list[tuple[RoomID, int]], int]:
    return load_told_rooms(txn, server, *page, backwards), count_told_rooms(txn, server)
