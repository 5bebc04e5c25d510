"""Events that are signed rightly and are not right: each is refused, and what was there stays as it was."""

from typing import Any
from urllib.parse import quote

from federation.event import Event
from federation.ids import EventID, UserID
from homeserver.storage.events import Standing
from homeserver.storage.received import find_known
from tests.kit.hostile import HostileCase, id_of
from tests.kit.rooms import POWER_LEVELS, RoomFactory

MADE_UP = EventID("$" + "x" * 43)
TOO_LARGE = 2**53


class Case(HostileCase):
    async def standing(self, event_id: str) -> Standing | None:
        """What became of an event."""
        known = await self.database.read(find_known, [EventID(event_id)])
        return known[EventID(event_id)].standing if known else None

    def build(self, kind: str, content: Any, key: str | None = None, *, by: UserID | None = None, **more: Any) -> Event:
        """An event of mallory's that is not checked."""
        return self.factory.build(kind, content, sender=by or self.mallory, state_key=key, **more)


class Forgery(Case):
    """Power and membership that nobody gave."""

    async def test_power_is_not_taken(self) -> None:
        content: Any
        for content in ({"users": {self.mallory: 100}}, {"users": {self.mallory: "100"}}, {"users_default": 100}, {}):
            await self.expect_refused(self.build("m.room.power_levels", content, ""))
        given = self.factory.set_levels(users={self.mallory: 50})
        assert await self.tell(given, by=self.west) == {}
        await self.expect_refused(self.build("m.room.power_levels", {"users": {self.mallory: 51}}, ""))
        assert (await self.room()).state(*POWER_LEVELS) == given

    async def test_memberships_of_others_are_not_made(self) -> None:
        ours = UserID(self.us.user_id)
        odd: Any
        for odd in ("join", "leave", "ban", "invite", "knock", "", "x", None, 5, [], {}):
            await self.expect_refused(self.factory.build_member(self.mallory, ours, odd))
        await self.expect_refused(self.factory.build_member(self.mallory, self.alice, "ban"))
        for key in ("", "nobody", "@", "@x", "@x:", f"{self.mallory} ", "@\0:x", "x" * 256):
            async with self.unharmed():
                await self.tell(
                    self.sign(self.factory.build_member(self.mallory, self.mallory, "leave"), state_key=key)
                )

    async def test_who_is_banned_stays_out_and_may_not_speak(self) -> None:
        ban = self.factory.ban(self.alice, self.mallory)
        assert await self.tell(ban, by=self.west) == {}
        for event in (
            self.build("m.room.message", {"body": "x"}),
            self.factory.build_member(self.mallory, self.mallory, "join"),
            self.factory.build_member(self.mallory, self.mallory, "leave"),
            self.factory.build_member(self.eve, self.mallory, "leave"),
        ):
            await self.expect_refused(event)

    async def test_a_closed_room_stays_closed(self) -> None:
        assert await self.tell(self.factory.set_join_rule("invite"), by=self.west) == {}
        content: dict[str, Any]
        for content in ({}, {"join_authorised_via_users_server": self.alice}, {"third_party_invite": {"signed": {}}}):
            await self.expect_refused(self.factory.build_member(self.eve, self.eve, "join", content=content))
        await self.expect_refused(self.build("m.room.join_rules", {"join_rule": "public"}, ""))

    async def test_a_second_creation_is_not_taken(self) -> None:
        create = self.factory.create
        changed = {**create.content, "additional_creators": [self.mallory]}
        head = self.factory.head
        assert head is not None
        for fields in ({}, {"sender": self.mallory}, {"prev_events": [head.event_id]}, {"content": changed}):
            async with self.unharmed():
                await self.tell(self.sign(create, room_id=self.room_id, **fields))
                await self.tell(self.sign(create, **fields))
        topic = self.build("m.room.topic", {}, "")
        async with self.unharmed():
            await self.tell(self.sign(topic, type="m.room.create", content=changed))

    async def test_what_belongs_to_another_is_not_set(self) -> None:
        await self.expect_refused(self.build("m.widget", {}, self.us.user_id, by=self.mallory))
        mine = self.factory.send("m.room.message", {"body": "x"}, sender=self.mallory)
        assert await self.tell(mine) == {}

    async def test_anothers_message_is_not_redacted_and_ones_own_is(self) -> None:
        theirs, mine = self.factory.message(self.alice, "theirs"), self.factory.message(self.mallory, "mine")
        assert await self.tell(theirs, mine, by=self.west) == {}
        ours = await self.say()
        for target in (theirs, ours, self.factory.create, mine):
            redaction = self.factory.send("m.room.redaction", {"redacts": target.event_id}, sender=self.mallory)
            assert await self.tell(redaction) == {}
        recent = {held.event_id: held.event.content for held in (await self.reloaded()).recent}
        assert recent[theirs.event_id]["body"] == "theirs"
        assert recent[ours.event_id]["body"] == "ours"
        assert recent[mine.event_id] == {}
        await self.us.send(self.room_id, "still here")
        self.assert_no_errors()


class References(Case):
    """Events that rest on, or follow, what is not there, not good, or elsewhere."""

    async def test_auth_events_that_there_are_not(self) -> None:
        good = self.build("m.room.message", {"body": "x"})
        await self.expect_refused(self.build("m.room.message", {"body": "y"}, auth_events=(*good.auth_events, MADE_UP)))
        await self.expect_refused(self.build("m.room.message", {"body": "y"}, auth_events=(MADE_UP,)))
        assert await self.tell(good) == {}

    async def test_auth_events_that_were_rejected(self) -> None:
        levels = self.build("m.room.power_levels", {"users": {self.mallory: 100}}, "")
        await self.expect_refused(levels)
        auth = self.build("m.room.topic", {"topic": "x"}, "").auth_events
        kept = tuple(each for each in auth if self.factory.events[each].type != "m.room.power_levels")
        for prev in ((self.factory.head.event_id,), (levels.event_id,)):  # type: ignore[union-attr]  # there is one
            await self.expect_refused(
                self.build("m.room.topic", {"topic": "x"}, "", auth_events=(*kept, levels.event_id), prev_events=prev)
            )

    async def test_auth_events_of_another_room(self) -> None:
        other = RoomFactory(self.version, creator=self.mallory)
        other.set_levels(users={self.eve: 100})
        for each in other.events.values():
            self.factory.events[each.event_id] = each  # evil answers with them
        theirs = other.build("m.room.topic", {"topic": "x"}, sender=self.mallory, state_key="").auth_events
        await self.expect_refused(self.build("m.room.topic", {"topic": "x"}, "", auth_events=theirs))

    async def test_an_event_that_follows_one_of_another_room_is_not_taken_and_tells_nothing_of_that(self) -> None:
        assert self.factory.head is not None
        head = self.factory.head.event_id
        closed = await self.us.create_room(preset="private_chat")
        theirs = EventID(await self.us.send(closed, "ours alone"))
        for prev in ((theirs,), (theirs, head)):
            event = self.build("m.room.message", {"body": "x"}, prev_events=prev)
            await self.expect_refused(event)
            for name in ("state", "state_ids"):
                asked = f"{name}/{quote(self.room_id, safe='')}?event_id={quote(event.event_id, safe='')}"
                assert (await self.ask(asked)).status == 404
        assert await self.tell(self.build("m.room.message", {"body": "x"}, prev_events=(head,))) == {}

    async def test_auth_events_that_do_not_belong_there_or_come_twice(self) -> None:
        message = self.factory.message(self.mallory)
        assert await self.tell(message) == {}
        auth = self.build("m.room.message", {}).auth_events
        for wrong in ((*auth, message.event_id), (*auth, auth[0]), (), auth[:1], auth * 6):
            async with self.unharmed():
                await self.tell(self.sign(self.build("m.room.message", {"n": len(wrong)}), auth_events=list(wrong)))

    async def test_an_event_that_follows_nothing_or_itself_or_what_is_not_there(self) -> None:
        await self.expect_refused(self.build("m.room.message", {"body": "x"}, prev_events=()))
        await self.expect_refused(self.build("m.room.message", {"body": "x"}, prev_events=(MADE_UP,)))
        unknown = tuple(EventID("$" + str(number).rjust(43, "y")) for number in range(20))
        await self.expect_refused(self.build("m.room.message", {"body": "x"}, prev_events=unknown))
        prev: Any
        for prev in (unknown * 2, [self.factory.create.event_id] * 2, [[]], [None], "x", {}):
            async with self.unharmed():
                await self.tell(self.sign(self.build("m.room.message", {"body": "x"}), prev_events=prev))

    async def test_two_rooms_events_in_one_transaction_do_not_mix(self) -> None:
        other = RoomFactory(self.version, creator=self.mallory)
        other.message(self.mallory)
        async with self.unharmed():
            await self.tell(*other.events.values())
        async with self.unharmed():
            prev = (other.head.event_id,)  # type: ignore[union-attr]  # there is one
            await self.tell(self.build("m.room.message", {"body": "x"}, prev_events=prev))


class Depths(Case):
    """Depths that are no depths."""

    async def test_the_greatest_depth_does_not_keep_us_from_speaking_nor_others(self) -> None:
        deepest = self.factory.append(self.build("m.room.message", {"body": "deep"}, depth=2**53 - 1))
        assert await self.tell(deepest) == {}
        ours = await self.say()
        assert ours.depth == 2**53 - 1
        after = self.factory.message(self.alice, depth=2**53 - 1)
        assert await self.tell(after, by=self.west) == {}
        assert (await self.reloaded()).recent[-1].event_id == after.event_id

    async def test_no_number_and_one_too_large_are_no_depth_nor_time(self) -> None:
        good = self.build("m.room.message", {"body": "x"})
        odd: Any
        for name in ("depth", "origin_server_ts"):
            for odd in (TOO_LARGE, 2**63, 2**70, -1, -TOO_LARGE, 1.5, "1", True, [], {}):
                async with self.unharmed():
                    pdu = good.pdu() | {name: odd}
                    reply = await self.send([pdu])
                    assert reply.status in (200, 400), (name, odd, reply)


class Equivocation(Case):
    """Two truths for two servers."""

    async def test_an_event_that_contradicts_itself_is_two_events_that_add_up_the_same_in_any_order(self) -> None:
        given = self.factory.set_levels(users={self.mallory: 50})
        assert await self.tell(given, by=self.west) == {}
        one, two = (self.factory.build("m.room.topic", {"topic": text}, sender=self.mallory, state_key="", after=given)
                    for text in ("one", "two"))  # fmt: skip
        for each in (one, two):
            self.factory.append(each, given)
        assert await self.tell(one) == {}
        assert await self.tell(two, by=self.west) == {}
        expected = self.factory.state([one, two])[("m.room.topic", "")]
        assert (await self.room()).state("m.room.topic") == expected
        assert (await self.reloaded()).state("m.room.topic") == expected

    async def test_a_signature_for_one_content_is_not_one_for_another(self) -> None:
        told = self.build("m.room.topic", {"topic": "told"}, "", by=self.alice)
        pdu = {**told.pdu(), "content": {"topic": "else"}}
        pdu["hashes"] = self.sign(told, content={"topic": "else"})["hashes"]  # a good hash, and so another event
        async with self.unharmed():
            refused = await self.tell(pdu)
            assert id_of(self.factory, pdu) in refused


class OldVersions(Case):
    """Rooms in which whoever makes an event gives it its ID."""

    version = "2"

    async def test_another_event_under_an_id_that_is_taken_is_not_taken_for_it(self) -> None:
        message = self.factory.message(self.mallory, "first")
        assert await self.tell(message) == {}
        async with self.unharmed():
            await self.tell(self.sign(message, content={"body": "second"}))
            await self.tell(self.sign(message, content={"body": "second"}), by=self.west)

    async def test_an_id_of_anothers_server_is_not_given(self) -> None:
        said = self.factory.message(self.alice, "theirs")
        for name in (f"$mine:{self.west.name}", f"$mine:{self.north.name}", said.event_id):
            async with self.unharmed():
                await self.tell(self.sign(self.build("m.room.message", {"body": "x"}), event_id=name))
        assert await self.tell(said, by=self.west) == {}

    async def test_an_id_of_another_room_is_not_taken_into_this(self) -> None:
        message = self.factory.message(self.mallory, "here")
        assert await self.tell(message) == {}
        here = self.factory
        await self.begin_room(self.version, **{})
        async with self.unharmed():
            pdu = self.sign(self.build("m.room.message", {"body": "there"}), event_id=message.event_id)
            await self.tell(pdu)
        assert here.room_id is not None

    async def test_numbers_beyond_what_tables_hold_are_not_taken(self) -> None:
        good = self.build("m.room.message", {"body": "x"})
        for name in ("depth", "origin_server_ts"):
            for odd in (TOO_LARGE, 2**63, 2**70, -(2**63) - 1):
                async with self.unharmed():
                    reply = await self.send([good.pdu() | {name: odd}])
                    assert reply.status in (200, 400), (name, odd, reply)
        assert await self.tell(good) == {}
