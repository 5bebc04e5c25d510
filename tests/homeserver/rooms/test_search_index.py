"""The index follows what is sent, takes in what was there before it, and lets go of what is removed."""

from twisted.internet.defer import Deferred

from homeserver.rooms.search.follower import PAUSE_S, SOON_S, Follower
from homeserver.storage.accounts import NewAccount, append_account
from homeserver.storage.database import Txn
from homeserver.storage.names import load_matches
from homeserver.storage.search import matches
from homeserver.storage.search.index import append_waiting, index_next, index_older, is_behind, remove_from_index
from homeserver.storage.search.stems import stems_of
from homeserver.storage.search.words import terms_of, words_in
from tests.kit.databases import on_both_databases, reactor_in_use
from tests.kit.houses import HouseCase


def count_texts(txn: Txn) -> int:
    return int(txn.all("SELECT COUNT(*) FROM search_texts")[0][0])


def count_marks(txn: Txn) -> int:
    """How many texts the words themselves lead to."""
    if txn.dialect == "sqlite":
        return len(txn.all('SELECT rowid FROM search_fts WHERE search_fts MATCH \'"1_слон" OR "2_слон"\''))
    return len(txn.all("SELECT nid FROM search_texts WHERE stems @@ CAST('1_слон | 2_слон' AS tsquery)"))


def set_progress(txn: Txn, newest: int, oldest: int) -> None:
    txn.run("UPDATE search_progress SET newest = ?, oldest = ?", (newest, oldest))


def find_nid(txn: Txn, event_id: str) -> int:
    return int(txn.all("SELECT nid FROM events WHERE event_id = ?", (event_id,))[0][0])


@on_both_databases
class Indexing(HouseCase):
    async def test_what_was_there_before_the_index_is_taken_in_once(self) -> None:
        room = await self.alice.create()
        for n in range(7):
            await self.alice.say(room, f"слон {n}")
        await self.db.write(set_progress, self.db.position, self.db.position + 1)
        self.assertFalse(await self.db.read(is_behind))
        for _ in range(2):
            await self.db.write(index_older)
            self.assertEqual(7, await self.db.read(count_texts))
        await self.db.write(set_progress, 0, 1)
        await self.db.write(index_next)
        self.assertEqual(7, await self.db.read(count_texts))
        self.assertEqual(7, await self.db.read(count_marks))

    async def test_what_came_to_an_older_place_waits_by_name(self) -> None:
        room = await self.alice.create()
        nid = await self.db.read(find_nid, await self.alice.say(room, "слон"))
        await self.db.write(set_progress, self.db.position, 0)
        self.assertFalse(await self.db.read(is_behind))
        await self.db.write(append_waiting, nid)
        await self.db.write(append_waiting, nid)
        self.assertTrue(await self.db.read(is_behind))
        await self.db.write(index_next)
        self.assertEqual(1, await self.db.read(count_marks))
        self.assertFalse(await self.db.read(is_behind))

    async def test_what_is_removed_leaves_no_word_behind(self) -> None:
        room = await self.alice.create()
        event_id = await self.alice.say(room, "слон")
        relation = {"rel_type": "m.replace", "event_id": event_id}
        edit = {"body": "*", "m.new_content": {"body": "слоны"}, "m.relates_to": relation}
        await self.alice.send(room, "m.room.message", edit)
        await self.db.write(index_next)
        self.assertEqual(2, await self.db.read(count_marks))
        nid = await self.db.read(find_nid, event_id)
        await self.db.write(remove_from_index, [nid])
        self.assertEqual((0, 0), (await self.db.read(count_marks), await self.db.read(count_texts)))
        await self.db.write(remove_from_index, [nid])

    async def test_the_newest_come_first_wherever_they_are_and_however_many_there_are(self) -> None:
        """In rooms with many, few and none, by pages of any size: by walks of few texts and by many."""
        self.patch(matches, "_FEWEST", 2)
        self.patch(matches, "_TIMES", 2)
        self.patch(matches, "_MANY_ROOMS", 3)
        rooms = [await self.alice.create() for _ in range(4)]
        said = []
        for n in range(24):
            said.append(await self.alice.say(rooms[0 if n % 3 else n % 2 + 1], f"слон {n}"))
        relation = {"rel_type": "m.replace", "event_id": said[2]}
        edit = {"body": "*", "m.new_content": {"body": "слоны"}, "m.relates_to": relation}
        for _ in range(2):
            await self.alice.send(rooms[0], "m.room.message", edit)
        await self.db.write(index_next)
        grounds = await self.db.read(matches.load_grounds, self.alice.user_id)
        expected = said[:2:-1] + [said[2]] * 3 + said[1::-1]
        stems = [*(await self.db.read(stems_of, ["слон"])).values()]
        for looked_for, wanted_ids in ((stems, expected), ([*stems, "нет"], [])):
            for most in (1, 3, 7, 50):
                found, before = list[str](), matches.FAR
                for _ in range(60):
                    wanted = matches.Wanted(stems=looked_for)
                    page = await self.db.read(matches.load_matches, grounds, wanted, before, most)
                    found += [match.about_id for match in page]
                    before = page[-1].place if page else before
                    if len(page) < most:
                        break
                self.assertEqual(found, wanted_ids, most)
        some = [ground for ground in grounds if ground.record.room_id != rooms[0]]
        wanted = matches.Wanted(stems=stems, senders={self.alice.user_id})
        page = await self.db.read(matches.load_matches, some, wanted, matches.FAR, 50)
        self.assertEqual([match.about_id for match in page], said[21::-3])
        there = await self.db.read(matches.load_matched_rooms, grounds, wanted)
        self.assertEqual(len(there), 3)

    async def test_the_follower_indexes_soon_and_everything(self) -> None:
        room = await self.alice.create()
        for n in range(3):
            await self.alice.say(room, f"слон {n}")
        follower = Follower(self.db, self.clock)
        self.db.on_commit = lambda position, changes: follower.heed(changes)
        follower.start()
        await self.turn(0)
        self.assertEqual(3, await self.db.read(count_marks))
        await self.alice.say(room, "слон новый")
        await self.turn(SOON_S)
        self.assertEqual(4, await self.db.read(count_marks))
        await self.alice.say(room, "слон последний")
        follower.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    async def turn(self, seconds: float) -> None:
        """Let time pass, and the follower do what it does then."""
        self.clock.advance(seconds)
        await self.db.write(lambda txn: None)
        await self.db.write(lambda txn: None)
        done: Deferred[None] = Deferred()
        reactor_in_use().callLater(0, done.callback, None)
        await done
        self.clock.advance(PAUSE_S)
        await self.db.write(lambda txn: None)

    async def test_accounts_older_than_the_index_of_names_get_all_their_words(self) -> None:
        await self.db.write(append_account, NewAccount(user_id=self.alice.user_id, created_ms=0))
        await self.db.write(append_account, NewAccount(user_id=self.bob.user_id, created_ms=0))
        await self.db.write(self.age)
        follower = Follower(self.db, self.clock)
        follower.start()
        await self.turn(0)
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        found = await self.db.read(load_matches, self.bob.user_id, ["журавлева"], ("", ""), 9)
        self.assertEqual([self.alice.user_id], [match.user_id for match in found])

    def age(self, txn: Txn) -> None:
        """Make the accounts look as the migration left them: found by nothing but a localpart."""
        txn.run("DELETE FROM name_words")
        txn.run("INSERT INTO profiles (user_id, displayname) VALUES (?, ?)", (self.alice.user_id, "Анна Журавлёва"))


def test_words_are_folded_and_telling_ones_go_first() -> None:
    assert list(words_in("Ёлка, ЁЛКИ; ｗｉｄｅ за́мок")) == [
        ("Ёлка", "елка"),
        ("ЁЛКИ", "елки"),
        ("ｗｉｄｅ", "wide"),
        ("за\u0301мок", "замок"),
    ]
    assert terms_of("уроки и обед") == ["уроки", "обед"]
    assert terms_of("и не") == ["и", "не"]
    assert terms_of("«😀» — _ ") == []
