"""What people have reported, for operators to look into and settle.

Each look at a report is in the audit log before it is answered; see `homeserver.operators`.
"""

import msgspec

from federation.ids import UserID
from homeserver.operators import Operators
from homeserver.policy import Administer, NotFound
from homeserver.rooms.rooms import Rooms
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import find_event
from homeserver.storage.reports import (
    Kind,
    NamedReport,
    ReportQuery,
    find_report,
    load_reports,
    set_report_settled,
)


class Reported:
    """Shows reports; that it is an operator who asks is checked before. Methods raise Refused."""

    def __init__(self, rooms: Rooms, database: Database, operators: Operators) -> None:
        self._rooms = rooms
        self._db = database
        self._operators = operators

    async def load(self, by: UserID, query: ReportQuery) -> tuple[list[NamedReport], int]:
        """A page of the reports that wait, and how many wait on all pages."""
        await self._operators.check(Administer(by=by, deed="see_report"))
        return await self._db.read(load_reports, query)

    async def see(self, by: UserID, nid: int, kind: Kind | None = None) -> tuple[NamedReport, msgspec.Raw]:
        """A report that waits, of that kind if one is named, and the event that it is about, as it travels between
        servers (null if there is none).

        Raises: NotFound.
        """
        entry = await self._operators.check(Administer(by=by, deed="see_report"), report=nid)
        found = await self._db.read(_load, nid, kind)
        report = found.report
        room = None if report.room_id is None else await self._rooms.load(report.room_id)
        held = None if room is None else await self._db.read(find_event, room.record, report.event_id or "")
        await self._operators.note(msgspec.structs.replace(entry, subject=report.user_id or report.room_id or ""))
        return found, msgspec.Raw(b"null" if held is None else held.event.raw)

    async def settle(self, by: UserID, nid: int, kind: Kind | None = None) -> None:
        """Note that a report, of that kind if one is named, is settled: it waits no more.

        Raises: NotFound.
        """
        entry = await self._operators.check(Administer(by=by, deed="settle_report"), report=nid)
        await self._operators.write(entry, _settle, nid, kind, self._rooms.seal.now_ms())


def _load(txn: Txn, nid: int, kind: Kind | None) -> NamedReport:
    found = find_report(txn, nid)
    if found is None or kind not in (None, found.report.kind):
        raise NotFound("Report not found")
    return found


def _settle(txn: Txn, nid: int, kind: Kind | None, now_ms: int) -> None:
    _load(txn, nid, kind)
    set_report_settled(txn, nid, now_ms)
