"""Every table with rows of a person is known to what erases people."""

from twisted.trial.unittest import TestCase

from homeserver.storage.database import Database
from homeserver.storage.erasure import KEPT, ON_DEVICES, PERSON_TABLES
from tests.homeserver.storage.test_purge import load_columns
from tests.kit.databases import on_both_databases

OF_PEOPLE = {"user_id", "uploader", "reporter", "signer_id"}


@on_both_databases
class Tables(TestCase):
    """The schema against what erasures know of it."""

    db: Database

    async def test_every_table_that_names_people_is_erased_or_kept_for_a_reason(self) -> None:
        columns = await self.db.read(load_columns)
        of_people = {table for table, column in columns if column in OF_PEOPLE}
        handled = {table for table, _ in PERSON_TABLES} | ON_DEVICES
        assert of_people == handled | (of_people & KEPT.keys())
        assert not handled & KEPT.keys()
        assert set(PERSON_TABLES) <= columns
