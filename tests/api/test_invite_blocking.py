"""Ignoring people, and wanting no invitations."""

from typing import Any

from tests.kit.people import Person
from tests.kit.server import ServerCase

BLOCKED = (403, "M_INVITE_BLOCKED")


class Unwanted(ServerCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.alice, self.bob, self.carol = [await self.register(name) for name in ("alice", "bob", "carol")]

    async def set_data(self, person: Person, kind: str, content: object) -> None:
        await person.ok("PUT", f"/user/{person.user_id}/account_data/{kind}", content)

    async def block(self, person: Person, *, blocked: bool = True) -> None:
        content = {"default_action": "block"} if blocked else {}
        await self.set_data(person, "m.invite_permission_config", content)

    async def invited(self, person: Person, **query: object) -> set[str]:
        """Where a sync shows invitations."""
        return set((await person.sync(**query)).get("rooms", {}).get("invite", {}))


class Blocking(Unwanted):
    async def test_who_wants_no_invitations_gets_none_by_any_door(self) -> None:
        room = await self.alice.create_room()
        await self.block(self.bob)
        user, member = {"user_id": self.bob.user_id}, {"membership": "invite"}
        doors: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", f"/rooms/{room}/invite", user),
            ("PUT", f"/rooms/{room}/state/m.room.member/{self.bob.user_id}", member),
            ("POST", "/createRoom", {"invite": [self.carol.user_id, self.bob.user_id]}),
            ("POST", "/createRoom", {"invite": [self.bob.user_id], "is_direct": True}),
        ]
        for door in doors:
            self.assertEqual(await self.alice.refused(*door), BLOCKED)
        self.assertEqual(await self.invited(self.bob), set())
        self.assertEqual(await self.invited(self.carol), set(), "nothing was done by half")
        await self.block(self.bob, blocked=False)
        for door in doors:
            await self.alice.ok(*door)
        self.assertEqual(len(await self.invited(self.bob)), 3)

    async def test_earlier_invitations_are_shown_no_more(self) -> None:
        room = await self.alice.create_room()
        await self.alice.invite(room, self.bob)
        self.assertEqual(await self.invited(self.bob), {room})
        await self.block(self.bob)
        self.bob.since = None
        self.assertEqual(await self.invited(self.bob), set())
        await self.bob.join(room)
        self.assertIn(room, (await self.bob.sync())["rooms"]["join"])

    async def test_what_blocks_nothing_lets_pass(self) -> None:
        for content in ({}, {"default_action": "allow"}, {"default_action": ["block"]}, {"block": True}):
            await self.set_data(self.bob, "m.invite_permission_config", content)
            await self.alice.create_room(invite=[self.bob.user_id])

    async def test_other_memberships_are_not_invitations(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        await self.block(self.bob)
        await self.bob.join(room)
        await self.alice.ok("POST", f"/rooms/{room}/kick", {"user_id": self.bob.user_id})


class BlockingOnPostgreSQL(Blocking):
    dialect = "postgresql"


class Ignoring(Unwanted):
    async def ignore(self, person: Person, *others: Person) -> None:
        content = {"ignored_users": {other.user_id: {} for other in others}}
        await self.set_data(person, "m.ignored_user_list", content)

    async def test_invitations_of_ignored_people_are_not_shown(self) -> None:
        await self.ignore(self.bob, self.alice)
        await self.bob.sync()
        rooms = [await person.create_room(invite=[self.bob.user_id]) for person in (self.alice, self.carol)]
        self.assertEqual(await self.invited(self.bob), {rooms[1]})
        self.bob.since = None
        self.assertEqual(await self.invited(self.bob), {rooms[1]})
        await self.ignore(self.bob)
        self.bob.since = None
        self.assertEqual(await self.invited(self.bob), set(rooms))

    async def test_messages_of_ignored_people_are_left_out_at_once_and_their_state_is_not(self) -> None:
        room = await self.alice.create_room(invite=[self.bob.user_id, self.carol.user_id])
        for person in (self.bob, self.carol):
            await person.join(room)
        await self.bob.sync()
        await self.ignore(self.bob, self.alice)
        await self.bob.sync()
        await self.alice.send(room, "nonsense")
        await self.alice.set_state(room, "m.room.name", {"name": "7Б"})
        await self.carol.send(room, "sense")
        events = (await self.bob.sync())["rooms"]["join"][room]["timeline"]["events"]
        self.assertEqual([event["type"] for event in events], ["m.room.name", "m.room.message"])
        await self.ignore(self.bob)
        await self.alice.send(room, "sorry")
        events = (await self.bob.sync())["rooms"]["join"][room]["timeline"]["events"]
        self.assertEqual([event["content"]["body"] for event in events], ["sorry"])
