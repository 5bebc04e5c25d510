"""What sliding sync tells of a room: its events, its state, who is in it and what it is called."""

from typing import Any

from tests.kit.databases import on_both_databases
from tests.kit.sliding import STABLE, Slider, bodies, stable_window, window
from tests.kit.syncs import SyncCase


def keys(told: Any) -> set[tuple[str, str]]:
    """What of the state is told of a room."""
    return {(event["type"], event["state_key"]) for event in told.get("required_state", ())}


@on_both_databases
class Timelines(SyncCase):
    """The events of rooms."""

    async def test_a_gap_is_told_with_where_to_page_from(self) -> None:
        room = await self.alice.create()
        phone = Slider(self.alice)
        few = {"all": window(0, 9, limit=2)}
        await phone.ask(lists=few)
        for body in "abcd":
            await self.alice.say(room, body)
        told = (await phone.ask(lists=few))["rooms"][room]
        assert [event["content"]["body"] for event in told["timeline"]] == ["c", "d"]
        assert (told["limited"], told["num_live"]) == (True, 2)
        assert await self.alice.bodies(room, **{"from": told["prev_batch"], "limit": 2}) == ["b", "a"]

    async def test_what_just_happened_is_told_from_what_was_before(self) -> None:
        room, other = await self.alice.create(), await self.alice.create()
        await self.alice.say(room, "old")
        await self.alice.say(other, "on top")
        phone = Slider(self.alice)
        top = {"top": window(0, 0, limit=3)}
        first = await phone.ask(lists=top)
        assert first["rooms"][other]["num_live"] == 0
        await self.alice.say(room, "new")
        told = (await phone.ask(lists=top))["rooms"][room]
        assert (told["initial"], told["num_live"], len(told["timeline"])) == (True, 1, 3)

    async def test_no_events_are_told_where_none_are_wanted(self) -> None:
        room = await self.alice.create(name="Quiet")
        phone = Slider(self.alice)
        none = {"all": window(0, 9, limit=0, state=[["m.room.name", ""]])}
        told = (await phone.ask(lists=none))["rooms"][room]
        assert "timeline" not in told
        assert told["limited"] is True
        assert told["prev_batch"].startswith("s")
        await self.alice.say(room, "psst")
        assert not (await phone.ask(lists=none))["rooms"]
        await self.alice.put(room, "m.room.name", {"name": "Loud"})
        told = (await phone.ask(lists=none))["rooms"][room]
        assert (told["name"], keys(told)) == ("Loud", {("m.room.name", "")})

    async def test_messages_of_ignored_people_are_left_out(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        phone = Slider(self.bob)
        await phone.ask(lists={"all": window(0, 9)})
        await self.bob.ignore(self.alice)
        await self.alice.say(room, "unheard")
        await self.bob.say(room, "heard")
        assert bodies(await phone.ask(lists={"all": window(0, 9)}), room) == ["heard"]

    async def test_what_was_said_before_one_joined_stays_hidden_where_it_is(self) -> None:
        hidden = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}}
        room = await self.alice.create(preset="public_chat", initial_state=[hidden])
        await self.alice.say(room, "before")
        await self.bob.join(room)
        await self.alice.say(room, "after")
        assert bodies(await Slider(self.bob).ask(lists={"all": window(0, 9)}), room) == ["after"]

    async def test_who_sends_is_told_their_transaction(self) -> None:
        room = await self.alice.create()
        phone = Slider(self.alice)
        await phone.ask(lists={"all": window(0, 9)})
        await self.alice.say(room, "mine", txn="t1")
        told = (await phone.ask(lists={"all": window(0, 9)}))["rooms"][room]
        assert told["timeline"][0]["unsigned"]["transaction_id"] == "t1"
        assert told["num_live"] == 1

    async def test_activity_is_what_people_say_not_what_they_change(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room)
        phone = Slider(self.alice)
        lists = {"all": window(0, 9)}
        before = (await phone.ask(lists=lists))["rooms"][room]["bump_stamp"]
        await self.alice.put(room, "m.room.topic", {"topic": "x"})
        assert "bump_stamp" not in (await phone.ask(lists=lists))["rooms"][room]
        await self.alice.say(room)
        assert (await phone.ask(lists=lists))["rooms"][room]["bump_stamp"] > before

    async def test_activity_is_the_same_after_a_restart(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room)
        for topic in range(5):
            await self.alice.put(room, "m.room.topic", {"topic": str(topic)})
        lists = {"all": window(0, 9)}
        before = (await Slider(self.alice).ask(lists=lists))["rooms"][room]["bump_stamp"]
        self.restart()
        assert (await Slider(self.alice).ask(lists=lists))["rooms"][room]["bump_stamp"] == before

    async def test_notifications_are_counted_in_the_form_that_has_them(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        phone, lists = Slider(self.bob), {"all": window(0, 9)}
        assert (await phone.ask(lists=lists))["rooms"][room]["notification_count"] == 0
        event_id = await self.alice.say(room)
        told = (await phone.ask(lists=lists))["rooms"][room]
        assert (told["notification_count"], told["highlight_count"]) == (1, 0)
        await self.bob.read(room, event_id)
        told = (await phone.ask(lists=lists))["rooms"][room]
        assert told["notification_count"] == 0
        assert "timeline" not in told
        stable = await Slider(self.bob, STABLE).ask(lists={"all": stable_window(0, 9)})
        assert "notification_count" not in stable["rooms"][room]


@on_both_databases
class State(SyncCase):
    """The state of rooms."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room = await self.alice.create(preset="public_chat", name="Name", topic="Topic")
        for person in (self.bob, self.carol):
            await person.join(self.room)
        await self.alice.put(self.room, "org.example.seat", {"taken": 1}, "a")
        await self.alice.put(self.room, "org.example.seat", {"taken": 2}, "b")
        await self.alice.say(self.room)

    async def state_told(self, state: list[list[str]]) -> set[tuple[str, str]]:
        """What is told of the state, by type and key, from memory and from the tables."""
        found = []
        for _ in range(2):
            answer = await Slider(self.alice).ask(lists={"all": window(0, 0, limit=1, state=state)})
            found.append(keys(answer["rooms"][self.room]))
            self.restart()
        assert found[0] == found[1]
        return found[0]

    async def test_state_is_chosen_by_type_and_key(self) -> None:
        assert await self.state_told([]) == set()
        assert await self.state_told([["m.room.name", ""]]) == {("m.room.name", "")}
        assert await self.state_told([["m.room.name", "x"]]) == set()
        seats = {("org.example.seat", "a"), ("org.example.seat", "b")}
        assert await self.state_told([["org.example.seat", "*"]]) == seats
        assert await self.state_told([["*", "a"]]) == {("org.example.seat", "a")}

    async def test_all_state_is_told_to_who_wants_all(self) -> None:
        everything = await self.state_told([["*", "*"]])
        assert {("m.room.member", person.user_id) for person in (self.alice, self.bob, self.carol)} <= everything
        assert {("m.room.create", ""), ("org.example.seat", "b")} <= everything

    async def test_one_may_want_only_oneself_of_the_members(self) -> None:
        assert await self.state_told([["m.room.member", "$ME"]]) == {("m.room.member", self.alice.user_id)}
        assert await self.state_told([["m.room.member", self.bob.user_id]]) == {("m.room.member", self.bob.user_id)}

    async def test_members_who_matter_come_lazily(self) -> None:
        await self.bob.say(self.room)
        assert await self.state_told([["m.room.member", "$LAZY"]]) == {("m.room.member", self.bob.user_id)}
        found = await self.state_told([["*", "*"], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"]])
        members = {key for kind, key in found if kind == "m.room.member"}
        assert members == {self.alice.user_id, self.bob.user_id}
        assert ("m.room.topic", "") in found
        everybody = await self.state_told([["m.room.member", "*"], ["m.room.member", "$LAZY"]])
        assert len(everybody) == 3

    async def test_a_member_comes_lazily_once(self) -> None:
        phone = Slider(self.alice)
        lazy = {"all": window(0, 0, state=[["m.room.member", "$LAZY"]], limit=1)}
        await phone.ask(lists=lazy)
        await self.bob.say(self.room)
        bob = ("m.room.member", self.bob.user_id)
        assert keys((await phone.ask(lists=lazy))["rooms"][self.room]) == {bob}
        await self.bob.say(self.room)
        assert keys((await phone.ask(lists=lazy))["rooms"][self.room]) == set()
        await self.bob.rename(self.room, "Robert")
        assert keys((await phone.ask(lists=lazy))["rooms"][self.room]) == {bob}

    async def test_every_change_of_members_is_told_where_there_is_no_gap(self) -> None:
        phone = Slider(self.alice)
        lazy = {"all": window(0, 0, state=[["m.room.member", "$LAZY"]], limit=5)}
        await phone.ask(lists=lazy)
        await self.dave.join(self.room)
        await self.carol.leave(self.room)
        told = (await phone.ask(lists=lazy))["rooms"][self.room]
        assert keys(told) == {("m.room.member", person.user_id) for person in (self.carol, self.dave)}
        assert told["joined_count"] == 3

    async def test_a_gap_makes_members_be_told_again(self) -> None:
        phone = Slider(self.alice)
        lazy = {"all": window(0, 0, state=[["m.room.member", "$LAZY"]], limit=1)}
        await self.bob.say(self.room)
        await phone.ask(lists=lazy)
        await self.bob.say(self.room)
        await self.bob.say(self.room)
        told = (await phone.ask(lists=lazy))["rooms"][self.room]
        assert told["limited"] is True
        assert keys(told) == {("m.room.member", self.bob.user_id)}

    async def test_the_stable_form_includes_and_excludes(self) -> None:
        wanted = {"include": [{}], "exclude": [{"type": "m.room.member"}, {"state_key": "a"}]}
        told = (await Slider(self.alice, STABLE).ask(lists={"all": stable_window(0, 0, state=wanted)}))["rooms"]
        found = keys(told[self.room])
        assert not [key for key in found if key[0] == "m.room.member" or key[1] == "a"]
        assert {("m.room.create", ""), ("org.example.seat", "b")} <= found

    async def test_the_stable_form_loads_members_lazily(self) -> None:
        wanted = {"include": [{}, {"type": "m.room.member", "state_key": self.carol.user_id}], "lazy_members": True}
        lists = {"all": stable_window(0, 0, limit=1, state=wanted)}
        found = keys((await Slider(self.alice, STABLE).ask(lists=lists))["rooms"][self.room])
        assert {key for kind, key in found if kind == "m.room.member"} == {self.alice.user_id, self.carol.user_id}
        lists["more"] = stable_window(0, 0, limit=1, state={"include": [{"type": "m.room.member"}]})
        found = keys((await Slider(self.alice, STABLE).ask(lists=lists))["rooms"][self.room])
        assert len([kind for kind, _ in found if kind == "m.room.member"]) == 3


@on_both_databases
class Summaries(SyncCase):
    """Who is in a room, and what it is called."""

    lists = {"all": window(0, 9)}

    async def test_a_room_is_told_with_its_name_and_picture(self) -> None:
        room = await self.alice.create(name="One")
        phone = Slider(self.alice)
        await self.alice.put(room, "m.room.avatar", {"url": "mxc://parta.test/a"})
        told = (await phone.ask(lists=self.lists))["rooms"][room]
        assert (told["name"], told["avatar"]) == ("One", "mxc://parta.test/a")
        assert "heroes" not in told
        await self.alice.say(room)
        told = (await phone.ask(lists=self.lists))["rooms"][room]
        assert not {"name", "avatar", "joined_count"} & set(told)

    async def test_a_name_and_a_picture_that_are_taken_away_are_null(self) -> None:
        room = await self.alice.create(name="One", preset="public_chat")
        await self.bob.join(room)
        await self.alice.put(room, "m.room.avatar", {"url": "mxc://parta.test/a"})
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        await self.alice.put(room, "m.room.avatar", {})
        await self.alice.put(room, "m.room.name", {"name": ""})
        told = (await phone.ask(lists=self.lists))["rooms"][room]
        assert (told["name"], told["avatar"]) == (None, None)
        assert [hero["user_id"] for hero in told["heroes"]] == [self.bob.user_id]

    async def test_a_redacted_name_is_null(self) -> None:
        room = await self.alice.create()
        event_id = await self.alice.put(room, "m.room.name", {"name": "Rude"})
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        await self.alice.redact(room, event_id)
        assert (await phone.ask(lists=self.lists))["rooms"][room]["name"] is None

    async def test_a_room_without_name_is_told_with_whom_to_call_it_by(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        picture = {"membership": "join", "displayname": "Bobby", "avatar_url": "mxc://parta.test/b"}
        await self.bob.put(room, "m.room.member", picture, self.bob.user_id)
        await self.alice.invite(room, self.carol)
        for _ in range(2):
            told = (await Slider(self.alice).ask(lists=self.lists))["rooms"][room]
            heroes = {hero["user_id"]: hero for hero in told["heroes"]}
            assert heroes.keys() == {self.bob.user_id, self.carol.user_id}
            assert heroes[self.bob.user_id]["displayname"] == "Bobby"
            assert heroes[self.bob.user_id]["avatar_url"] == "mxc://parta.test/b"
            assert (told["joined_count"], told["invited_count"]) == (2, 1)
            assert "name" not in told
            self.restart()

    async def test_odd_names_and_pictures_are_none(self) -> None:
        room = await self.alice.create()
        await self.alice.put(room, "m.room.avatar", {"url": {"no": "text"}})
        await self.alice.put(room, "m.room.name", {"name": 5})
        told = (await Slider(self.alice).ask(lists=self.lists))["rooms"][room]
        assert not {"name", "avatar"} & set(told)
