"""POST /user_directory/search."""

from typing import Any

from federation.ids import UserID
from homeserver.accounts import userdirectory
from homeserver.accounts.userdirectory import UserDirectory
from homeserver.policy import FindPerson
from homeserver.storage.names import words_of
from tests.kit.doors import Judge
from tests.kit.people import Person
from tests.kit.server import ServerCase

SEARCH = "/user_directory/search"


class SearchCase(ServerCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.alice = await self.register("alice")

    async def person(self, name: str, shown: str | None = None) -> Person:
        """Somebody who goes by a name."""
        person = await self.register(name)
        if shown is not None:
            await person.ok("PUT", f"/profile/{person.user_id}/displayname", {"displayname": shown})
        return person

    async def meet(self, *others: Person, **room: Any) -> str:
        """A closed room of alice's with these people."""
        place = await self.alice.create_room(**room)
        for other in others:
            await self.alice.invite(place, other)
            await other.join(place)
        return place

    async def find(self, term: str, by: Person | None = None, **more: object) -> list[str]:
        """The localparts of those who are found."""
        answer = await (by or self.alice).ok("POST", SEARCH, {"search_term": term, **more})
        return [found["user_id"][1:].partition(":")[0] for found in answer["results"]]


class Finding(SearchCase):
    async def test_people_are_found_by_the_beginnings_of_their_words(self) -> None:
        others = [await self.person("ivanov", "Анна Ёлкина"), await self.person("i.petrov", "Пётр Аннин")]
        await self.meet(*others)
        for term, found in (
            ("анн", ["ivanov", "i.petrov"]),
            ("АННА", ["ivanov"]),
            ("елк", ["ivanov"]),
            ("Ёлкина анна", ["ivanov"]),
            ("анна сид", []),
            ("лкина", []),
            ("PETROV", ["i.petrov"]),
            ("i.pet", ["i.petrov"]),
            ("i", ["i.petrov", "ivanov"]),
            ("@ivanov:parta.test", ["ivanov"]),
            ("ivanov:par", ["ivanov"]),
            ("%", []),
            ("", []),
        ):
            self.assertEqual(await self.find(term), found, term)

    async def test_what_they_show_is_told(self) -> None:
        bob = await self.person("bob", "Боб")
        await bob.ok("PUT", f"/profile/{bob.user_id}/avatar_url", {"avatar_url": "mxc://parta.test/a"})
        await self.meet(bob, await self.person("bobby"))
        answer = await self.alice.ok("POST", SEARCH, {"search_term": "bob"})
        full = {"user_id": bob.user_id, "display_name": "Боб", "avatar_url": "mxc://parta.test/a"}
        self.assertEqual(answer, {"results": [full, {"user_id": "@bobby:parta.test"}], "limited": False})

    async def test_a_new_name_counts_and_an_old_one_no_more(self) -> None:
        bob = await self.person("bob", "Old Name")
        await self.meet(bob)
        await bob.ok("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": "New Name"})
        self.assertEqual([await self.find(term) for term in ("old", "new", "name")], [[], ["bob"], ["bob"]])
        await bob.ok("DELETE", f"/profile/{bob.user_id}/displayname")
        self.assertEqual([await self.find(term) for term in ("new", "bob")], [[], ["bob"]])

    async def test_who_closed_the_account_is_not_found(self) -> None:
        bob, room = await self.person("bob"), await self.alice.create_room(preset="public_chat")
        await bob.join(room)
        await self.server.people.accounts.deactivate(UserID(bob.user_id), erase=False)
        self.assertEqual(await self.find("bob"), [])


class Reach(SearchCase):
    async def test_strangers_are_not_found(self) -> None:
        bob = await self.person("bob")
        await bob.create_room()
        self.assertEqual(await self.find("bob"), [])
        room = await self.alice.create_room()
        await self.alice.invite(room, bob)
        self.assertEqual(await self.find("bob"), [])
        await bob.join(room)
        self.assertEqual(await self.find("bob"), ["bob"])
        self.assertEqual(await self.find("alice", by=bob), ["alice"])
        await bob.leave(room)
        self.assertEqual(await self.find("bob"), [])

    async def test_who_is_in_an_open_room_is_found_by_all(self) -> None:
        bob = await self.person("bob")
        for kind, field, opened, closed in (
            ("m.room.join_rules", "join_rule", "public", "invite"),
            ("m.room.history_visibility", "history_visibility", "world_readable", "shared"),
        ):
            room = await bob.create_room()
            for value, found in ((opened, ["bob"]), (closed, []), (opened, ["bob"])):
                await bob.set_state(room, kind, {field: value})
                self.assertEqual(await self.find("bob"), found, value)
            await bob.leave(room)
            self.assertEqual(await self.find("bob"), [])

    async def test_a_public_room_is_open_from_its_beginning(self) -> None:
        bob = await self.person("bob")
        await bob.create_room(preset="public_chat")
        self.assertEqual(await self.find("bob"), ["bob"])


class Limits(SearchCase):
    async def test_there_are_no_more_than_were_asked_for(self) -> None:
        names = [f"bob{n}" for n in range(4)]
        await self.meet(*[await self.person(name, "Bob Bobby") for name in names])
        for limit, found, limited in ((0, [], True), (2, names[:2], True), (4, names, False), (9999, names, False)):
            answer = await self.alice.ok("POST", SEARCH, {"search_term": "bob", "limit": limit})
            self.assertEqual((len(answer["results"]), answer["limited"]), (len(found), limited))
        self.assertEqual(sorted(await self.find("bob")), names)

    async def test_many_are_looked_through_page_by_page(self) -> None:
        self.patch(userdirectory, "_AT_ONCE", 2)
        names = [f"bob{n}" for n in range(5)]
        await self.meet(*[await self.person(name) for name in names])
        self.assertEqual(await self.find("bob"), names)

    async def test_bad_searches_are_refused(self) -> None:
        for body in ({}, {"search_term": 1}, {"search_term": "a", "limit": -1}, {"search_term": "a", "limit": "x"}):
            self.assertEqual(await self.alice.refused("POST", SEARCH, body), (400, "M_BAD_JSON"))
        for term in ("x" * 5000, "\u0000", "ё́" * 300, "() - . _"):
            self.assertEqual(await self.find(term), [])

    async def test_whom_the_policy_hides_is_left_out(self) -> None:
        bob, room = await self.person("bob"), await self.meet(await self.person("bobby"))
        await self.alice.invite(room, bob)
        await bob.join(room)
        judge = Judge()
        judge.refused.add((FindPerson, bob.user_id))
        directory = UserDirectory(self.server.core.database, judge)
        found, limited = await directory.search(UserID(self.alice.user_id), "bob", 10)
        self.assertEqual(([match.user_id for match in found], limited), (["@bobby:parta.test"], False))


class FindingOnPostgreSQL(Finding):
    dialect = "postgresql"


class ReachOnPostgreSQL(Reach):
    dialect = "postgresql"


class LimitsOnPostgreSQL(Limits):
    dialect = "postgresql"


def test_words_are_folded() -> None:
    assert words_of("Ёж  ЁЖ, ｗｉｄｅ_Straße") == ["еж", "wide", "strasse"]
    assert words_of("") == words_of("—") == []
    assert len(words_of(" ".join(map(str, range(100))))) == 16
