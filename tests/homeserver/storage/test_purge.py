"""Every table with rows of a room is known to what removes rooms."""

from twisted.trial.unittest import TestCase

from homeserver.storage.database import Database, Txn
from homeserver.storage.purge import EVENT_TABLES, KEPT, ROOM_TABLES
from tests.kit.databases import on_both_databases

OF_ROOMS = {"room_nid", "room_id"}
OF_STATE_ONLY = {"memberships", "membership_changes", "state_changes", "gaps"}
"""Tables that name events which a purge of history leaves alone: state, and where history ends."""


def load_columns(txn: Txn) -> set[tuple[str, str]]:
    """The columns of all tables, as (table, column)."""
    if txn.dialect == "postgresql":
        return set(
            txn.all(
                "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t"
                " ON t.table_name = c.table_name WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
            )
        )
    tables = [name for (name,) in txn.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {(table, column) for table in tables for (_, column, *_) in txn.all(f"PRAGMA table_info({table})")}


@on_both_databases
class Tables(TestCase):
    """The schema against what purges know of it."""

    db: Database

    async def test_every_table_that_names_rooms_is_purged_or_kept_for_a_reason(self) -> None:
        columns = await self.db.read(load_columns)
        of_rooms = {table for table, column in columns if column in OF_ROOMS}
        handled = {table.name for table in ROOM_TABLES}
        assert of_rooms == handled | (of_rooms & KEPT.keys())
        assert not handled & KEPT.keys()
        assert all((table.name, table.room) in columns for table in ROOM_TABLES)

    async def test_every_table_that_names_single_events_goes_with_them(self) -> None:
        columns = await self.db.read(load_columns)
        of_events = {table for table, column in columns if column == "event_nid"}
        assert of_events == {*EVENT_TABLES, *OF_STATE_ONLY}
