"""What the gate remembers is never older than what it was told."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from federation.ids import RoomID, UserID
from homeserver.schools.facts import Facts
from homeserver.schools.rights import Kind
from homeserver.schools.rounds import EVERY_S, Rounds
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database
from tests.kit.databases import give_sqlite
from tests.kit.schools import SERVER, found_school, open_region

YEAR_MS = 365 * 24 * 3600 * 1000


class Remembering(TestCase):
    """The facts of a school."""

    db: Database

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        give_sqlite(self)
        self.region = await open_region(self.db)
        self.story = await found_school(self.region)
        self.pupil = await self.story.take_in("pupil", class_title="9Б")
        self.facts = Facts(self.db, self.region.clock, most_kept=3)

    def is_remembered(self, user_id: UserID) -> bool:
        step = self.facts.grants(user_id)
        try:
            step.send(None)
        except StopIteration:
            return True
        step.close()
        return False

    async def test_what_was_read_once_is_remembered_until_it_changes(self) -> None:
        assert not self.is_remembered(self.pupil)
        assert len(await self.facts.grants(self.pupil)) == 1
        assert self.is_remembered(self.pupil)
        self.facts.heed([SchoolChanged(position=1, people=frozenset({self.pupil}), rooms=frozenset())])
        assert not self.is_remembered(self.pupil)

    async def test_what_was_being_read_when_it_changed_is_read_again(self) -> None:
        reading = Deferred.fromCoroutine(self.facts.grants(self.pupil))
        change = SchoolChanged(position=1, people=frozenset({self.pupil}), rooms=frozenset())
        self.facts.heed([change])
        assert not self.is_remembered(self.pupil)
        assert len(await reading) == 1
        assert self.is_remembered(self.pupil)

    async def test_while_something_is_written_about_somebody_nobody_is_told_what_was_before(self) -> None:
        boss = self.story.boss.user_id
        await self.facts.grants(self.pupil)
        await self.facts.grants(boss)
        with self.facts.holding({self.pupil}), self.facts.holding({self.pupil, UserID("@x:y")}):
            asked = Deferred.fromCoroutine(self.facts.grants(self.pupil))
            assert not asked.called
            assert self.is_remembered(boss)
        assert len(await asked) == 1
        assert self.is_remembered(self.pupil)

    async def test_only_so_many_are_remembered(self) -> None:
        strangers = [UserID(f"@x{number}:{SERVER}") for number in range(3)]
        await self.facts.grants(self.pupil)
        for stranger in strangers:
            assert await self.facts.grants(stranger) == ()
        assert not self.is_remembered(self.pupil)
        assert all(self.is_remembered(stranger) for stranger in strangers)

    async def test_a_room_that_is_none_of_a_schools_is_remembered_as_such(self) -> None:
        assert await self.facts.place(RoomID("!nowhere")) is None
        with pytest.raises(StopIteration):
            self.facts.place(RoomID("!nowhere")).send(None)

    async def test_the_rounds_take_out_who_is_no_longer_verified(self) -> None:
        room = await self.story.room(Kind.PUPILS, "9Б")
        clock = Clock()
        rounds = Rounds(self.region.desk, clock)
        rounds.start()
        self.addCleanup(rounds.stop)
        assert room.membership(self.pupil) == "join"
        self.region.clock.now_ms += YEAR_MS
        clock.advance(EVERY_S)
        await self.region.desk.settle(self.story.org_id)  # waits for its turn behind the round
        assert room.membership(self.pupil) == "leave"
        rounds.stop()
        rounds.stop()
        assert not clock.getDelayedCalls()

    async def test_a_round_without_database_is_no_end_of_rounds(self) -> None:
        clock = Clock()
        rounds = Rounds(self.region.desk, clock)
        rounds.start()
        self.addCleanup(rounds.stop)
        await self.db.close()
        with self.assertLogs("homeserver.schools.rounds", "WARNING"):
            clock.advance(EVERY_S)
            with pytest.raises(Exception, match="closed"):
                await self.region.desk.settle_all()
        clock.advance(EVERY_S)
        assert len(clock.getDelayedCalls()) == 1
