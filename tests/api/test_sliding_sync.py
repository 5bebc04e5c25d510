"""Sliding sync as clients use it: which rooms are told of, and what of them."""

from urllib.parse import quote

from homeserver.policy import SeeRoom
from homeserver.sync.sliding import connections
from tests.kit.databases import on_both_databases
from tests.kit.sliding import STABLE, Slider, bodies, stable_window, window
from tests.kit.syncs import SyncCase

NAME = [["m.room.name", ""]]
DOZEN = [f"room {number}" for number in range(12)]


def keys(told: object) -> set[tuple[str, str]]:
    """What of the state an answer tells of a room."""
    assert isinstance(told, dict)
    return {(event["type"], event["state_key"]) for event in told.get("required_state", ())}


@on_both_databases
class Lists(SyncCase):
    """Which rooms lists hold."""

    async def test_the_rooms_of_the_latest_activity_come_first(self) -> None:
        rooms = [await self.alice.create(name=name) for name in DOZEN]
        await self.alice.say(rooms[3])
        answer = await Slider(self.alice).ask(lists={"top": window(0, 2)})
        assert set(answer["rooms"]) == {rooms[3], rooms[11], rooms[10]}
        assert answer["lists"] == {"top": {"count": 12}}

    async def test_receipts_are_no_activity(self) -> None:
        first, second = await self.alice.create(), await self.alice.create()
        phone = Slider(self.alice)
        await phone.ask(lists={"top": window(0, 0)})
        await self.alice.read(first, (await self.alice.say(first)))
        event_id = await self.alice.say(second)
        await self.alice.read(first, await self.alice.say(first))
        await self.alice.read(second, event_id)
        assert set((await Slider(self.alice).ask(lists={"top": window(0, 0)}))["rooms"]) == {first}

    async def test_a_longer_range_brings_only_the_rooms_that_are_new(self) -> None:
        rooms = [await self.alice.create(name=name) for name in DOZEN]
        phone = Slider(self.alice)
        await phone.ask(lists={"all": window(0, 2)})
        answer = await phone.ask(lists={"all": window(0, 4)})
        assert set(answer["rooms"]) == {rooms[7], rooms[8]}
        assert all(told["initial"] for told in answer["rooms"].values())
        answer = await phone.ask(lists={"all": window(0, 11)})
        assert len(answer["rooms"]) == 7

    async def test_several_ranges_make_one_list(self) -> None:
        rooms = [await self.alice.create(name=name) for name in DOZEN][::-1]
        several = {**window(0, 0), "ranges": [[0, 0], [5, 6], [50, 60]]}
        answer = await Slider(self.alice).ask(lists={"all": several})
        assert set(answer["rooms"]) == {rooms[0], rooms[5], rooms[6]}

    async def test_a_stable_list_without_range_holds_everything(self) -> None:
        for name in DOZEN:
            await self.alice.create(name=name)
        everything = {"timeline_limit": 1, "required_state": {}}
        assert len((await Slider(self.alice, STABLE).ask(lists={"all": everything}))["rooms"]) == 12

    async def test_rooms_say_which_lists_hold_them(self) -> None:
        room = await self.alice.create()
        body = {"lists": {"a": stable_window(0, 1), "b": stable_window(0, 1), "c": stable_window(5, 6)}}
        assert (await Slider(self.alice, STABLE).ask(**body))["rooms"][room]["lists"] == ["a", "b"]

    async def test_direct_chats_are_told_apart(self) -> None:
        room, other = await self.alice.create(), await self.alice.create()
        await self.alice.set_data("m.direct", {self.bob.user_id: [room]})
        lists = {"dm": window(0, 9, is_dm=True), "rest": window(0, 9, is_dm=False)}
        answer = await Slider(self.alice).ask(lists=lists)
        assert [answer["rooms"][each]["lists"] for each in (room, other)] == [["dm"], ["rest"]]
        assert answer["rooms"][room]["is_dm"] is True
        assert "is_dm" not in answer["rooms"][other]

    async def test_a_room_that_becomes_a_direct_chat_says_so(self) -> None:
        room = await self.alice.create()
        phone = Slider(self.alice)
        await phone.ask(lists={"all": window(0, 9)})
        await self.alice.set_data("m.direct", {self.bob.user_id: [room]})
        assert (await phone.ask(lists={"all": window(0, 9)}))["rooms"][room]["is_dm"] is True
        await self.alice.set_data("m.direct", {})
        assert (await phone.ask(lists={"all": window(0, 9)}))["rooms"][room]["is_dm"] is False

    async def test_encrypted_rooms_are_told_apart(self) -> None:
        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        secret, plain = await self.alice.create(initial_state=[encryption]), await self.alice.create()
        for at in range(2):
            lists = {"secret": window(0, 9, is_encrypted=True), "plain": window(0, 9, is_encrypted=False)}
            answer = await Slider(self.alice).ask(lists=lists)
            assert [answer["rooms"][each]["lists"] for each in (secret, plain)] == [["secret"], ["plain"]], at
            self.restart()

    async def test_a_room_changes_lists_when_it_is_encrypted(self) -> None:
        room = await self.alice.create()
        phone = Slider(self.alice)
        lists = {"secret": window(0, 9, is_encrypted=True), "plain": window(0, 9, is_encrypted=False)}
        await phone.ask(lists=lists)
        await self.alice.put(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
        answer = await phone.ask(lists=lists)
        assert answer["rooms"][room]["lists"] == ["secret"]
        assert answer["lists"] == {"secret": {"count": 1}, "plain": {"count": 0}}

    async def test_spaces_are_told_apart_by_their_type(self) -> None:
        space, room = await self.alice.create(creation_content={"type": "m.space"}), await self.alice.create()
        for at in range(2):
            lists = {
                "spaces": window(0, 9, room_types=["m.space"]),
                "plain": window(0, 9, room_types=[None]),
                "rest": window(0, 9, not_room_types=["m.space"]),
                "none": window(0, 9, room_types=["m.space"], not_room_types=["m.space"]),
            }
            answer = await Slider(self.alice).ask(lists=lists)
            assert answer["rooms"][space]["lists"] == ["spaces"], at
            assert answer["rooms"][room]["lists"] == ["plain", "rest"], at
            self.restart()

    async def test_a_space_lists_the_rooms_it_names(self) -> None:
        space = await self.alice.create(creation_content={"type": "m.space"})
        inside, outside, removed = [await self.alice.create() for _ in range(3)]
        await self.alice.put(space, "m.space.child", {"via": ["parta.test"]}, inside)
        await self.alice.put(space, "m.space.child", {}, removed)
        lists = {"space": window(0, 9, spaces=[space]), "unknown": window(0, 9, spaces=["!none:parta.test"])}
        answer = await Slider(self.alice).ask(lists=lists)
        assert set(answer["rooms"]) == {inside}
        phone = Slider(self.alice)
        await phone.ask(lists=lists)
        await self.alice.put(space, "m.space.child", {"via": ["parta.test"]}, outside)
        assert set((await phone.ask(lists=lists))["rooms"]) == {outside}

    async def test_a_space_one_is_not_in_lists_nothing(self) -> None:
        space = await self.alice.create(creation_content={"type": "m.space"}, preset="public_chat")
        room = await self.alice.create(preset="public_chat")
        await self.alice.put(space, "m.space.child", {"via": ["parta.test"]}, room)
        await self.bob.join(room)
        lists = {"space": window(0, 9, spaces=[space])}
        assert not (await Slider(self.bob).ask(lists=lists))["rooms"]
        await self.bob.join(space)
        assert set((await Slider(self.bob).ask(lists=lists))["rooms"]) == {room}

    async def test_tags_choose_rooms(self) -> None:
        loved, hated, both, other = [await self.alice.create() for _ in range(4)]
        for room, tag in ((loved, "m.favourite"), (hated, "m.lowpriority"), (both, "m.favourite"), (both, "u.b")):
            await self.alice.ok("PUT", f"/user/{self.alice.user_id}/rooms/{quote(room)}/tags/{tag}", {})
        lists = {"some": window(0, 9, tags=["m.favourite", "u.x"]), "rest": window(0, 9, not_tags=["m.lowpriority"])}
        answer = await Slider(self.alice).ask(
            lists={**lists, "b": window(0, 9, tags=["u.b"], not_tags=["m.favourite"])}
        )
        assert answer["lists"] == {"some": {"count": 2}, "rest": {"count": 3}, "b": {"count": 0}}
        assert hated not in answer["rooms"]
        assert answer["rooms"][other]["lists"] == ["rest"]

    async def test_invitations_are_told_apart(self) -> None:
        room, own = await self.alice.create(name="Come"), await self.bob.create()
        await self.alice.invite(room, self.bob)
        lists = {"in": window(0, 9, is_invite=True), "rest": window(0, 9, is_invite=False)}
        answer = await Slider(self.bob).ask(lists=lists)
        assert [answer["rooms"][each]["lists"] for each in (room, own)] == [["in"], ["rest"]]


@on_both_databases
class Membership(SyncCase):
    """Rooms that one is asked into, or has left."""

    lists = {"all": window(0, 99, state=[["m.room.member", "$ME"]])}
    stable = {"all": stable_window(0, 99)}

    async def test_an_invitation_shows_only_what_it_carries(self) -> None:
        room = await self.alice.create(name="Come")
        await self.alice.put(room, "org.example.secret", {})
        await self.alice.say(room, "before")
        await self.alice.invite(room, self.bob)
        told = (await Slider(self.bob).ask(lists=self.lists))["rooms"][room]
        assert set(told) == {"invite_state", "membership", "bump_stamp", "lists", "initial"}
        assert told["membership"] == "invite"
        kinds = {event["type"] for event in told["invite_state"]}
        assert {"m.room.name", "m.room.member"} <= kinds
        assert "org.example.secret" not in kinds
        stable = (await Slider(self.bob, STABLE).ask(lists=self.stable))["rooms"][room]
        assert stable["stripped_state"] == told["invite_state"]

    async def test_an_invitation_is_told_once(self) -> None:
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        room = await self.alice.create()
        await self.alice.invite(room, self.bob)
        assert room in (await phone.ask(lists=self.lists))["rooms"]
        await self.alice.say(room)
        assert not (await phone.ask(lists=self.lists))["rooms"]

    async def test_invitations_of_ignored_people_are_not_told(self) -> None:
        await self.bob.ignore(self.alice)
        room, other = await self.alice.create(), await self.carol.create()
        await self.alice.invite(room, self.bob)
        await self.carol.invite(other, self.bob)
        answer = await Slider(self.bob).ask(
            lists=self.lists, room_subscriptions={room: {"timeline_limit": 1, "required_state": []}}
        )
        assert set(answer["rooms"]) == {other}
        assert answer["lists"]["all"]["count"] == 1

    async def test_a_knock_is_shown_to_who_knocks(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.alice.put(room, "m.room.join_rules", {"join_rule": "knock"})
        await self.bob.ok("POST", f"/knock/{quote(room)}", {})
        told = (await Slider(self.bob, STABLE).ask(lists=self.stable))["rooms"][room]
        assert told["membership"] == "knock"
        assert told["stripped_state"]

    async def test_who_accepts_sees_the_room_from_then_on(self) -> None:
        room = await self.alice.create(name="Come")
        await self.alice.invite(room, self.bob)
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        await self.bob.join(room)
        told = (await phone.ask(lists=self.lists))["rooms"][room]
        assert (told["initial"], told["membership"], told["name"]) == (True, "join", "Come")
        assert told["joined_count"] == 2

    async def test_who_is_put_out_is_told_even_at_first(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        assert (await self.alice.act("kick", room, self.bob, reason="out")).status == 200
        await self.alice.say(room, "he is gone")
        for told in (
            (await phone.ask(lists=self.lists))["rooms"][room],
            (await Slider(self.bob).ask(lists=self.lists))["rooms"][room],
        ):
            assert told["membership"] == "leave"
            assert told["timeline"][-1]["content"]["reason"] == "out"
            assert "he is gone" not in str(told)
            assert keys(told) == {("m.room.member", self.bob.user_id)}
            assert "joined_count" not in told

    async def test_who_left_is_told_where_the_room_was_shown_and_not_elsewhere(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        await self.bob.leave(room)
        answer = await phone.ask(lists=self.lists)
        assert answer["rooms"][room]["membership"] == "leave"
        assert not (await phone.ask(lists=self.lists))["rooms"]
        fresh = await Slider(self.bob).ask(lists=self.lists)
        assert not fresh["rooms"]
        assert fresh["lists"]["all"]["count"] == 0

    async def test_who_was_banned_without_having_joined_is_not_told(self) -> None:
        room = await self.alice.create(preset="public_chat")
        assert (await self.alice.act("ban", room, self.bob)).status == 200
        assert not (await Slider(self.bob).ask(lists=self.lists))["rooms"]

    async def test_a_rejected_invitation_shows_nothing_of_the_room(self) -> None:
        room = await self.alice.create(name="Come")
        await self.alice.invite(room, self.bob)
        phone = Slider(self.bob, STABLE)
        await phone.ask(lists=self.stable)
        await self.bob.leave(room)
        await self.alice.put(room, "m.room.name", {"name": "After"})
        told = (await phone.ask(lists=self.stable))["rooms"][room]
        assert told["membership"] == "leave"
        assert [event["type"] for event in told["stripped_state"]] == ["m.room.member"]
        assert "After" not in str(told)
        assert "name" not in told

    async def test_a_forgotten_room_is_gone(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        await self.bob.leave(room)
        await self.bob.ok("POST", f"/rooms/{quote(room)}/forget", {})
        assert (await phone.ask(lists=self.lists))["rooms"][room]["membership"] == "leave"
        gone = {room: {"timeline_limit": 1, "required_state": []}}
        answer = await phone.ask(lists=self.lists, room_subscriptions=gone)
        assert (answer["rooms"], answer["lists"]["all"]["count"]) == ({}, 0)

    async def test_of_a_room_that_is_closed_to_who_left_it_only_that_is_told(self) -> None:
        room = await self.alice.create(preset="public_chat", name="Inside")
        await self.bob.join(room)
        phone = Slider(self.bob)
        everything = {"all": window(0, 9, state=[["*", "*"]])}
        await phone.ask(lists=everything)
        await self.alice.say(room, "for members")
        assert (await self.alice.act("kick", room, self.bob)).status == 200
        self.policy.refuse(SeeRoom)
        for told in (
            (await phone.ask(lists=everything))["rooms"][room],
            (await Slider(self.bob).ask(lists=everything))["rooms"][room],
        ):
            assert keys(told) == {("m.room.member", self.bob.user_id)}
            assert [event["state_key"] for event in told["timeline"]] == [self.bob.user_id]
            assert "Inside" not in str(told)

    async def test_who_comes_back_is_told_everything_anew(self) -> None:
        room = await self.alice.create(preset="public_chat", name="Inside")
        await self.bob.join(room)
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        await self.bob.leave(room)
        await self.alice.say(room, "meanwhile")
        await self.bob.join(room)
        told = (await phone.ask(lists=self.lists))["rooms"][room]
        assert (told["initial"], told["name"], told["membership"]) == (True, "Inside", "join")


@on_both_databases
class Subscriptions(SyncCase):
    """Rooms that are asked for by name."""

    wanted = {"timeline_limit": 5, "required_state": NAME}

    async def test_a_room_is_told_of_by_its_name(self) -> None:
        room, _ = await self.alice.create(name="This"), await self.alice.create(name="Other")
        answer = await Slider(self.alice).ask(room_subscriptions={room: self.wanted})
        assert set(answer["rooms"]) == {room}
        assert "lists" not in answer["rooms"][room]
        assert keys(answer["rooms"][room]) == {("m.room.name", "")}

    async def test_rooms_of_others_and_of_nobody_are_passed_over_alike(self) -> None:
        room = await self.alice.create(preset="public_chat", name="This")
        subscriptions = {room: self.wanted, "!none:parta.test": self.wanted, "no room": self.wanted}
        assert (await Slider(self.bob).ask(room_subscriptions=subscriptions))["rooms"] == {}

    async def test_all_that_is_wanted_of_a_room_is_put_together(self) -> None:
        room = await self.alice.create(name="This", topic="That")
        await self.alice.say(room, "one")
        await self.alice.say(room, "two")
        lists = {"all": window(0, 9, limit=1, state=[["m.room.topic", ""]])}
        told = (await Slider(self.alice).ask(lists=lists, room_subscriptions={room: self.wanted}))["rooms"][room]
        assert keys(told) == {("m.room.name", ""), ("m.room.topic", "")}
        assert len(told["timeline"]) == 5

    async def test_more_events_are_told_at_once_when_more_are_wanted(self) -> None:
        room = await self.alice.create()
        for body in "abcde":
            await self.alice.say(room, body)
        phone = Slider(self.alice)
        few = {"all": window(0, 9, limit=1)}
        answer = await phone.ask(lists=few)
        assert (bodies(answer, room), answer["rooms"][room]["limited"]) == (["e"], True)
        answer = await phone.ask(lists=few, room_subscriptions={room: {**self.wanted, "timeline_limit": 3}})
        assert bodies(answer, room) == ["c", "d", "e"]
        assert answer["rooms"][room]["unstable_expanded_timeline"] is True
        assert "initial" not in answer["rooms"][room]
        assert answer["rooms"][room]["num_live"] == 0
        assert not (await phone.ask(lists=few))["rooms"]
        again = await phone.ask(lists=few, room_subscriptions={room: {**self.wanted, "timeline_limit": 3}})
        assert bodies(again, room) == []

    async def test_more_state_is_told_at_once_when_more_is_wanted(self) -> None:
        room = await self.alice.create(name="This", topic="That")
        phone = Slider(self.alice)
        await phone.ask(room_subscriptions={room: self.wanted})
        both = {**self.wanted, "required_state": [*NAME, ["m.room.topic", ""]]}
        told = (await phone.ask(room_subscriptions={room: both}))["rooms"][room]
        assert keys(told) == {("m.room.topic", "")}
        assert "timeline" not in told

    async def test_state_that_changed_while_it_was_not_wanted_is_told_when_it_is(self) -> None:
        room = await self.alice.create(name="This", topic="That")
        phone = Slider(self.alice)
        both = {**self.wanted, "required_state": [*NAME, ["m.room.topic", ""]]}
        await phone.ask(room_subscriptions={room: both})
        await phone.ask(room_subscriptions={room: self.wanted})
        await self.alice.put(room, "m.room.topic", {"topic": "New"})
        assert keys((await phone.ask(room_subscriptions={room: self.wanted}))["rooms"][room]) == set()
        told = (await phone.ask(room_subscriptions={room: both}))["rooms"][room]
        assert [event["content"]["topic"] for event in told["required_state"]] == ["New"]

    async def test_a_room_out_of_sight_catches_up_when_it_is_back(self) -> None:
        room, other = await self.alice.create(name="This"), await self.alice.create()
        phone = Slider(self.alice)
        await phone.ask(room_subscriptions={room: self.wanted, other: self.wanted})
        await self.alice.say(room, "unseen")
        assert not (await phone.ask(room_subscriptions={other: self.wanted}))["rooms"]
        await self.alice.say(other, "seen")
        await phone.ask(room_subscriptions={other: self.wanted})
        answer = await phone.ask(room_subscriptions={room: self.wanted, other: self.wanted})
        assert set(answer["rooms"]) == {room}
        assert bodies(answer, room) == ["unseen"]
        assert "initial" not in answer["rooms"][room]


@on_both_databases
class Connections(SyncCase):
    """What a connection is told, and for how long."""

    lists = {"all": window(0, 9)}

    async def test_a_request_made_again_is_answered_again(self) -> None:
        room = await self.alice.create()
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        await self.alice.say(room, "lost")
        first, second = await phone.look(lists=self.lists), await phone.look(lists=self.lists)
        assert bodies(first, room) == bodies(second, room) == ["lost"]
        await self.alice.say(room, "more")
        assert bodies(await phone.ask(lists=self.lists), room) == ["lost", "more"]
        assert not (await phone.ask(lists=self.lists))["rooms"]

    async def test_what_was_answered_twice_goes_on_from_the_answer_that_is_used(self) -> None:
        room = await self.alice.create()
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        await self.alice.say(room, "a")
        first = await phone.look(lists=self.lists)
        await self.alice.say(room, "b")
        await phone.look(lists=self.lists)
        phone.take_up(first)
        assert bodies(await phone.ask(lists=self.lists), room) == ["b"]

    async def test_an_answer_before_the_last_cannot_be_asked_from(self) -> None:
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        old = phone.pos
        await phone.ask(lists=self.lists)
        await phone.ask(lists=self.lists)
        phone.pos = old
        assert await phone.refused(lists=self.lists) == (400, "M_UNKNOWN_POS")

    async def test_a_connection_expires_with_the_server(self) -> None:
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        self.restart()
        assert await phone.refused(lists=self.lists) == (400, "M_UNKNOWN_POS")
        phone.pos = None
        await phone.ask(lists=self.lists)
        await phone.ask(lists=self.lists)

    async def test_nobody_goes_on_from_an_answer_of_others(self) -> None:
        room = await self.alice.create()
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        await self.alice.say(room, "secret")
        for other in (self.bob, self.person("alice", "TABLET")):
            await Slider(other).ask(lists=self.lists)
            assert await Slider(other, pos=phone.pos).refused(lists=self.lists) == (400, "M_UNKNOWN_POS")
        assert await Slider(self.alice, conn_id="x", pos=phone.pos).refused() == (400, "M_UNKNOWN_POS")
        assert await Slider(self.alice, STABLE, pos=phone.pos).refused() == (400, "M_UNKNOWN_POS")
        for made_up in ("", "0", "s1_2_3", "x" * 5000):
            assert await Slider(self.alice, STABLE, pos=made_up).refused() == (400, "M_UNKNOWN_POS")

    async def test_connections_of_one_device_do_not_mind_each_other(self) -> None:
        room = await self.alice.create()
        one, two = Slider(self.alice, conn_id="one"), Slider(self.alice, conn_id="two")
        await one.ask(lists=self.lists)
        await two.ask(lists=self.lists)
        await self.alice.say(room, "hi")
        assert bodies(await one.ask(lists=self.lists), room) == ["hi"]
        assert bodies(await two.ask(lists=self.lists), room) == ["hi"]

    async def test_a_device_has_so_many_connections_and_no_more(self) -> None:
        many = [Slider(self.alice, conn_id=str(number)) for number in range(connections.MOST_OF_DEVICE + 1)]
        for each in many:
            await each.ask(lists=self.lists)
        assert await many[0].refused(lists=self.lists) == (400, "M_UNKNOWN_POS")
        await many[1].ask(lists=self.lists)

    async def test_all_connections_together_are_told_of_so_many_rooms(self) -> None:
        self.patch(connections, "MOST_ROOMS", 6)
        for _ in range(4):
            await self.alice.create()
        one, two = Slider(self.alice, conn_id="one"), Slider(self.alice, conn_id="two")
        await one.ask(lists=self.lists)
        await two.ask(lists=self.lists)
        assert await one.refused(lists=self.lists) == (400, "M_UNKNOWN_POS")
        assert not (await two.ask(lists=self.lists))["rooms"]

    async def test_history_is_paged_from_an_answer_on(self) -> None:
        room = await self.alice.create()
        await self.alice.say(room, "a")
        phone = Slider(self.alice)
        answer = await phone.ask(lists={"all": window(0, 9, limit=1)})
        await self.alice.say(room, "b")
        since = f"/rooms/{quote(room)}/messages"
        told = answer["rooms"][room]
        before = await self.alice.ok("GET", since, dir="b", **{"from": told["prev_batch"]})
        assert before["chunk"][0]["event_id"] != told["timeline"][0]["event_id"]
        after = await self.alice.ok("GET", since, dir="f", **{"from": answer["pos"]})
        assert [event["content"].get("body") for event in after["chunk"]] == ["b"]

    async def test_a_request_is_given_its_name_back(self) -> None:
        assert (await Slider(self.alice).ask(txn_id="mine"))["txn_id"] == "mine"
        assert "txn_id" not in await Slider(self.alice).ask()


@on_both_databases
class Waiting(SyncCase):
    """Requests that wait for news."""

    lists = {"all": window(0, 0)}

    async def test_news_wake_who_waits(self) -> None:
        room = await self.alice.create(preset="public_chat")
        await self.bob.join(room)
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        waits = phone.wait(lists=self.lists)
        await self.settle()
        assert not waits.called
        await self.alice.say(room, "wake up")
        assert bodies(await waits, room) == ["wake up"]
        assert phone.rooms[room].timeline[-1]["content"]["body"] == "wake up"

    async def test_what_is_not_looked_at_wakes_nobody(self) -> None:
        room, seen = await self.alice.create(), await self.alice.create()
        phone = Slider(self.alice)
        wanted = {"room_subscriptions": {seen: {"timeline_limit": 1, "required_state": []}}}
        await phone.ask(**wanted)
        waits = phone.wait(**wanted)
        await self.settle()
        await self.alice.say(room, "elsewhere")
        await self.settle()
        assert not waits.called
        await self.alice.say(seen, "here")
        assert set((await waits)["rooms"]) == {seen}

    async def test_when_the_time_is_over_the_answer_is_empty(self) -> None:
        phone = Slider(self.alice)
        await phone.ask(lists=self.lists)
        waits = phone.wait(10_000, lists=self.lists)
        await self.settle()
        self.clock.advance(10)
        answer = await waits
        assert (answer["rooms"], answer["extensions"], answer["lists"]) == ({}, {}, {"all": {"count": 0}})

    async def test_the_first_request_does_not_wait(self) -> None:
        for path in (STABLE, None):
            phone = Slider(self.alice, path) if path is not None else Slider(self.alice)
            assert (await phone.ask(timeout=30_000))["rooms"] == {}

    async def test_a_new_room_wakes_who_waits(self) -> None:
        phone = Slider(self.bob)
        await phone.ask(lists=self.lists)
        waits = phone.wait(lists=self.lists)
        await self.settle()
        room = await self.alice.create(invite=[self.bob.user_id])
        assert (await waits)["rooms"][room]["membership"] == "invite"
