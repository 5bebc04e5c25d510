from twisted.trial.unittest import TestCase

from homeserver.schools.rights import Kind
from homeserver.storage.database import Database
from tests.kit.databases import on_both_databases
from tests.kit.schools import found_school, open_region


@on_both_databases
class Offices(TestCase):
    """What the office does reaches the rooms."""

    db: Database

    async def test_a_verified_pupil_is_in_the_rooms_of_the_class_and_of_the_school(self) -> None:
        story = await found_school(await open_region(self.db))
        pupil = await story.take_in("pupil", class_title="9Б")
        for kind in (Kind.SCHOOL, Kind.CHANNEL):
            assert (await story.room(kind)).membership(pupil) == "join"
        for kind in (Kind.CLASS, Kind.PUPILS):
            assert (await story.room(kind, "9Б")).membership(pupil) == "join"
            assert (await story.room(kind, "5А")).membership(pupil) is None
        assert (await story.room(Kind.PARENTS, "9Б")).membership(pupil) is None
        assert (await story.room(Kind.STAFF)).membership(pupil) is None
