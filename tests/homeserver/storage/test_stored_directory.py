"""Aliases and the list of rooms in the tables."""

from functools import partial

from twisted.trial.unittest import TestCase

from federation.ids import RoomAlias, RoomID
from federation.versions import ROOM_VERSIONS
from homeserver.storage.database import Database
from homeserver.storage.directory import (
    Alias,
    Listing,
    append_alias,
    count_published,
    find_alias,
    is_published,
    load_aliases,
    load_published,
    remove_alias,
    remove_published,
    set_published,
)
from homeserver.storage.rooms import RoomRecord, append_room
from tests.kit.databases import on_both_databases
from tests.kit.rooms import ALICE, BOB

ONE, TWO = RoomAlias("#one:parta.test"), RoomAlias("#two:parta.test")


@on_both_databases
class Directory(TestCase):
    db: Database

    async def setUp(self) -> None:
        for nid in range(1, 6):
            record = RoomRecord(nid=nid, room_id=RoomID(f"!{nid}"), version=ROOM_VERSIONS["12"], creator=ALICE)
            await self.db.write(append_room, record)

    async def _list(self, nid: int, members: int, words: str = "", room_type: str | None = None) -> None:
        await self.db.write(set_published, Listing(nid, members, words, room_type, b"{}"))

    async def _page(self, **wanted: object) -> list[int]:
        start, most = wanted.pop("start", None), wanted.pop("most", 99)
        found = await self.db.read(partial(load_published, start=start, most=most, **wanted))  # type: ignore[arg-type]
        return [listed.room_nid for listed in found]

    async def test_an_alias_leads_to_one_room(self) -> None:
        self.assertTrue(await self.db.write(append_alias, ONE, 1, ALICE, 5))
        self.assertFalse(await self.db.write(append_alias, ONE, 2, BOB, 6))
        self.assertEqual(await self.db.read(find_alias, ONE), Alias(RoomID("!1"), ALICE))
        self.assertIsNone(await self.db.read(find_alias, TWO))
        self.assertTrue(await self.db.write(remove_alias, ONE))
        self.assertFalse(await self.db.write(remove_alias, ONE))
        self.assertIsNone(await self.db.read(find_alias, ONE))

    async def test_a_room_has_many_aliases(self) -> None:
        for alias in (TWO, ONE):
            await self.db.write(append_alias, alias, 1, ALICE, 5)
        self.assertEqual(await self.db.read(load_aliases, 1), [ONE, TWO])
        self.assertEqual(await self.db.read(load_aliases, 2), [])

    async def test_a_room_is_listed_until_it_is_taken_out(self) -> None:
        self.assertFalse(await self.db.read(is_published, 1))
        await self._list(1, 3)
        await self._list(1, 4)
        self.assertTrue(await self.db.read(is_published, 1))
        self.assertEqual(await self.db.read(count_published), 1)
        await self.db.write(remove_published, 1)
        self.assertFalse(await self.db.read(is_published, 1))

    async def test_pages_go_both_ways_with_most_members_first(self) -> None:
        for nid, members in [(1, 5), (2, 9), (3, 5), (4, 1), (5, 7)]:
            await self._list(nid, members)
        self.assertEqual(await self._page(), [2, 5, 3, 1, 4])
        self.assertEqual(await self._page(start=(5, 3), most=1), [1])
        self.assertEqual(await self._page(start=(5, 3), backwards=True), [5, 2])
        self.assertEqual(await self._page(start=(1, 4)), [])

    async def test_words_are_searched_as_they_stand(self) -> None:
        for nid, words in [(1, "100% физика"), (2, "1000 lessons"), (3, "a_b"), (4, "axb"), (5, "back\\slash")]:
            await self._list(nid, nid, words)
        for words, expected in [("физ", [1]), ("100%", [1]), ("a_b", [3]), ("\\", [5]), ("100", [2, 1]), ("?", [])]:
            self.assertEqual(await self._page(words=words), expected, words)

    async def test_rooms_of_some_types(self) -> None:
        for nid, room_type in [(1, None), (2, "m.space"), (3, "org.club")]:
            await self._list(nid, nid, "", room_type)
        for types, expected in [
            ([None], [1]),
            (["m.space"], [2]),
            ([None, "org.club"], [3, 1]),
            ([], []),
            (None, [3, 2, 1]),
        ]:
            self.assertEqual(await self._page(room_types=types), expected, types)
