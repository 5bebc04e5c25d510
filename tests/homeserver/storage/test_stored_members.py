"""Memberships in the tables."""

from twisted.trial.unittest import TestCase

from homeserver.storage.database import Database
from homeserver.storage.events import RoomEvent
from homeserver.storage.members import find_membership, load_memberships, set_forgotten, set_membership
from homeserver.storage.rooms import RoomRecord, append_room
from tests.kit.databases import on_both_databases
from tests.kit.rooms import ALICE, BOB, RoomFactory


@on_both_databases
class Memberships(TestCase):
    db: Database

    async def setUp(self) -> None:
        self.factory = RoomFactory()
        create = self.factory.create
        record = RoomRecord(nid=1, room_id=create.room_id, version=create.version, creator=ALICE)
        await self.db.write(append_room, record)
        self._nid = 0

    async def _set(self, event: object, *, ours: bool = True) -> None:
        self._nid += 1
        held = RoomEvent(event, nid=self._nid, room_nid=1, group=1)  # type: ignore[arg-type]  # the factory's event
        await self.db.write(lambda txn: set_membership(txn, held, self._nid, ours=ours))

    async def _membership(self) -> str | None:
        found = await self.db.read(find_membership, BOB, 1)
        return None if found is None else found.membership

    async def test_the_last_membership_is_the_one_that_counts(self) -> None:
        self.assertIsNone(await self._membership())
        await self._set(self.factory.join(BOB))
        self.assertEqual(await self._membership(), "join")
        await self._set(self.factory.leave(BOB))
        self.assertEqual(await self._membership(), "leave")

    async def test_every_change_of_our_own_people_is_kept_and_of_others_the_last(self) -> None:
        await self._set(self.factory.join(BOB))
        await self._set(self.factory.leave(BOB))
        sql = "SELECT membership, stream FROM membership_changes WHERE user_id = ? ORDER BY stream"
        self.assertEqual(await self.db.read(lambda txn: txn.all(sql, (BOB,))), [("join", 1), ("leave", 2)])
        await self._set(self.factory.join(BOB), ours=False)
        self.assertEqual(len(await self.db.read(lambda txn: txn.all(sql, (BOB,)))), 2)
        self.assertEqual(await self._membership(), "join")

    async def test_only_a_room_that_was_left_can_be_forgotten(self) -> None:
        await self._set(self.factory.join(BOB))
        self.assertFalse(await self.db.write(set_forgotten, BOB, 1))
        self.assertEqual(len(await self.db.read(load_memberships, BOB)), 1)
        await self._set(self.factory.leave(BOB))
        self.assertEqual(len(await self.db.read(load_memberships, BOB)), 1)
        self.assertTrue(await self.db.write(set_forgotten, BOB, 1))
        self.assertEqual(await self.db.read(load_memberships, BOB), [])
        self.assertFalse(await self.db.write(set_forgotten, ALICE, 1))

    async def test_who_comes_again_has_not_forgotten(self) -> None:
        await self._set(self.factory.join(BOB))
        await self._set(self.factory.leave(BOB))
        await self.db.write(set_forgotten, BOB, 1)
        await self._set(self.factory.join(BOB))
        (held,) = await self.db.read(load_memberships, BOB)
        self.assertEqual((held.membership, held.forgotten, held.room_id), ("join", False, self.factory.room_id))

    async def test_rooms_of_one_membership(self) -> None:
        await self._set(self.factory.join(BOB))
        self.assertEqual(len(await self.db.read(load_memberships, BOB, "join")), 1)
        self.assertEqual(await self.db.read(load_memberships, BOB, "invite"), [])
