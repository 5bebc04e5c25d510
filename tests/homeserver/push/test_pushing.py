"""What gateways are told: of which events, in which form, and what becomes of it when they are away."""

from collections.abc import Sequence
from typing import Any

import msgspec
from twisted.internet.task import deferLater

from federation.errors import RemoteFault
from federation.ids import DeviceID
from federation.transport.agent import Incoming, Outgoing, Unreachable
from homeserver.push.lines import FIRST_DELAY_S, LONGEST_DELAY_S, MOST_WAITING, OLDEST_MS
from homeserver.push.pushers import Pushers
from homeserver.push.pushing import NOTE_S, Pushing, World
from homeserver.storage.accounts import NewAccount, append_account, set_deactivated, set_locked
from homeserver.storage.database import Change
from homeserver.storage.devices import append_device, remove_devices
from homeserver.storage.pushers import Details, PusherKey
from tests.kit.databases import on_both_databases, reactor_in_use
from tests.kit.syncs import SyncCase, Syncer

URL = "https://push.test/_matrix/push/v1/notify"


class Gateway:
    """A gateway in memory: what it was told, and what it answers next; with nothing to answer it takes everything."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.answers: list[Incoming | RemoteFault] = []
        self.is_away = False
        self.rejected: list[object] = []

    async def ask(self, request: Outgoing) -> Incoming:
        assert (request.method, request.url) == ("POST", URL)
        taken = Incoming(status=200, headers={}, body=msgspec.json.encode({"rejected": self.rejected}))
        answer = Unreachable("away") if self.is_away else self.answers.pop(0) if self.answers else taken
        self.told.append(msgspec.json.decode(request.body or b"")["notification"])
        if isinstance(answer, RemoteFault):
            raise answer
        return answer

    def take(self) -> list[dict[str, Any]]:
        """What it was told since the last time."""
        told, self.told = self.told, []
        return told


class PushCase(SyncCase):
    bare = False

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.gateway = Gateway()
        self.chance = b"\0\0"
        await super().setUp()
        for person in (self.alice, self.bob, self.carol, self.dave):
            await self.db.write(append_account, NewAccount(user_id=person.user_id, created_ms=1))
            await self.db.write(append_device, person.user_id, person.device_id, None, 1)
        await self.pushing.resume()
        self.room = await self.alice.create(preset="public_chat", name="Физика")
        for person in (self.bob, self.dave):
            await person.join(self.room)
        await self.push_to(self.bob)

    def restart(self) -> None:
        """Begin anew; `resume` the pushing then."""
        super().restart()
        world = World(
            database=self.db,
            rooms=self.doors.rooms,
            rulebook=self.rulebook,
            counts=self.counts,
            outward=self.gateway,
            clock=self.clock,
            now_ms=self.now_ms,
            token_bytes=lambda size: self.chance[:size],
            bare=self.bare,
        )
        self.pushing = Pushing(world)
        self.pushers = Pushers(self.db, self.now_ms)

    async def start_again(self, *, crash: bool = False) -> None:
        """Stop, or not even that, and begin anew."""
        if not crash:
            await self.pushing.stop()
        self.restart()
        await self.pushing.resume()
        await self.settle()

    def _tell(self, position: int, changes: Sequence[Change]) -> None:
        super()._tell(position, changes)
        self.pushing.heed(position, changes)

    async def push_to(self, who: Syncer, pushkey: str = "key", *, append: bool = True, **more: Any) -> PusherKey:
        """Let somebody be notified."""
        details = Details(app_display_name="App", device_display_name="Phone", lang="ru", data={"url": URL, **more})
        key = PusherKey(who.user_id, "org.test", pushkey)
        await self.pushers.set(key, who.device_id, details, append=append)
        await self.settle()
        return key

    async def settle(self) -> None:
        """Let everything be told that can be."""
        for _ in range(20_000):
            await super().settle()
            if self.pushing.is_idle:
                return
            await deferLater(reactor_in_use(), 0.001)  # let the readers' threads have their turn
        raise AssertionError("there is no end to it")

    async def pass_time(self, seconds: float) -> None:
        """Let the clock run, and what comes of it arrive."""
        self.clock.advance(seconds)
        await self.settle()

    async def heard(self) -> list[dict[str, Any]]:
        """What the gateway was told by now."""
        await self.settle()
        return self.gateway.take()

    async def heard_ids(self) -> list[str | None]:
        """Of which events; None for a number alone."""
        return [notification.get("event_id") for notification in await self.heard()]


@on_both_databases
class Notifying(PushCase):
    async def test_an_event_is_told_whole(self) -> None:
        event_id = await self.alice.say(self.room, "Привет")
        (told,) = await self.heard()
        assert told == {
            "event_id": event_id,
            "room_id": self.room,
            "prio": "low",
            "type": "m.room.message",
            "sender": self.alice.user_id,
            "sender_display_name": "Alice",
            "room_name": "Физика",
            "content": {"msgtype": "m.text", "body": "Привет"},
            "counts": {"unread": 1},
            "devices": [
                {
                    "app_id": "org.test",
                    "pushkey": "key",
                    "pushkey_ts": self.now_ms() // 1000,
                    "data": {},
                    "tweaks": {},
                }
            ],
        }

    async def test_what_the_gateway_asked_to_be_short_is_short(self) -> None:
        await self.push_to(self.bob, format="event_id_only", more="kept")
        event_id = await self.alice.say(self.room)
        (told,) = await self.heard()
        assert set(told) == {"event_id", "room_id", "prio", "counts", "devices"}
        assert (told["event_id"], told["counts"]) == (event_id, {"unread": 1})
        assert told["devices"][0]["data"] == {"format": "event_id_only", "more": "kept"}

    async def test_the_rules_say_what_is_told_and_how(self) -> None:
        await self.alice.send(self.room, "m.room.message", {"msgtype": "m.notice", "body": "x"})
        await self.alice.put(self.room, "m.room.topic", {"topic": "x"})
        assert await self.heard() == []
        mention = {"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": [self.bob.user_id]}}
        await self.alice.send(self.room, "m.room.message", mention)
        (told,) = await self.heard()
        assert (told["prio"], told["devices"][0]["tweaks"]) == ("high", {"sound": "default", "highlight": True})

    async def test_nobody_is_told_what_they_said_themselves_or_without_a_pusher(self) -> None:
        await self.carol.join(self.room)
        await self.bob.say(self.room)
        assert await self.heard() == []
        event_id = await self.carol.say(self.room)
        assert await self.heard_ids() == [event_id]

    async def test_who_comes_is_told_from_then_on_and_who_goes_no_more(self) -> None:
        await self.push_to(self.carol, "carols")
        await self.alice.say(self.room)
        assert [told["devices"][0]["pushkey"] for told in await self.heard()] == ["key"]
        await self.carol.join(self.room)
        await self.alice.say(self.room)
        assert {told["devices"][0]["pushkey"] for told in await self.heard()} == {"key", "carols"}
        await self.bob.leave(self.room)
        await self.alice.say(self.room)
        assert [told["devices"][0]["pushkey"] for told in await self.heard()] == ["carols"]

    async def test_an_invitation_is_told_to_whom_it_is_for(self) -> None:
        room = await self.alice.create()
        await self.alice.invite(room, self.bob)
        (told,) = await self.heard()
        assert (told["type"], told["user_is_target"], told["prio"]) == ("m.room.member", True, "high")

    async def test_who_is_ignored_disturbs_nobody(self) -> None:
        await self.bob.ok(
            "PUT", f"/user/{self.bob.user_id}/account_data/m.ignored_user_list",
            {"ignored_users": {self.alice.user_id: {}}},
        )  # fmt: skip
        await self.alice.say(self.room)
        assert await self.heard() == []
        await self.bob.ok("PUT", f"/user/{self.bob.user_id}/account_data/m.ignored_user_list", {"ignored_users": {}})
        await self.alice.say(self.room)
        assert len(await self.heard()) == 1

    async def test_the_number_goes_over_all_rooms_and_falls_when_one_reads(self) -> None:
        other = await self.alice.create(preset="public_chat")
        await self.bob.join(other)
        said = []
        for number, room in enumerate((self.room, other, self.room), 1):
            said.append(await self.alice.say(room))
            assert [told["counts"] for told in await self.heard()] == [{"unread": number}]
        first, _, last = said
        await self.bob.read(self.room, first)
        (told,) = await self.heard()
        assert told["counts"] == {"unread": 2}
        assert "event_id" not in told
        await self.bob.read(self.room, last)
        assert [told["counts"] for told in await self.heard()] == [{"unread": 1}]
        await self.bob.say(other)
        assert [told["counts"] for told in await self.heard()] == [{"unread": 0}]

    async def test_a_receipt_that_changes_no_number_tells_nothing(self) -> None:
        first, second = await self.alice.say(self.room), await self.alice.say(self.room)
        assert len(await self.heard()) == 2
        await self.bob.read(self.room, second)
        assert len(await self.heard()) == 1
        await self.bob.read(self.room, first, "m.read.private")
        await self.bob.read(self.room, second, "m.read.private")
        assert await self.heard() == []


@on_both_databases
class Ends(PushCase):
    async def say_and_hear(self) -> int:
        """How many are told of a new message."""
        await self.alice.say(self.room)
        return len(await self.heard())

    async def test_the_pusher_of_an_ended_session_is_gone(self) -> None:
        assert await self.say_and_hear() == 1
        await self.db.write(remove_devices, self.bob.user_id, [self.bob.device_id])
        assert await self.say_and_hear() == 0
        assert await self.pushers.show(self.bob.user_id) == []

    async def test_other_devices_of_the_same_person_stay(self) -> None:
        await self.db.write(append_device, self.bob.user_id, DeviceID("TABLET"), None, 1)
        tablet = self.person("bob", "TABLET")
        await self.push_to(tablet, "tablets")
        assert await self.say_and_hear() == 2
        await self.db.write(remove_devices, self.bob.user_id, [self.bob.device_id])
        assert await self.say_and_hear() == 1

    async def test_locked_and_closed_accounts_are_told_nothing(self) -> None:
        await self.db.write(set_locked, self.bob.user_id, 1)
        assert await self.say_and_hear() == 0
        await self.db.write(set_locked, self.bob.user_id, None)
        assert await self.say_and_hear() == 1
        await self.db.write(lambda txn: set_deactivated(txn, self.bob.user_id, 1, erase=False))
        assert await self.say_and_hear() == 0

    async def test_a_rejected_pusher_is_removed(self) -> None:
        other = await self.push_to(self.bob, "other")
        self.gateway.rejected = ["key"]
        assert await self.say_and_hear() == 2
        assert [pusher["pushkey"] for pusher in await self.pushers.show(self.bob.user_id)] == [other.pushkey]
        assert await self.say_and_hear() == 1

    async def test_another_persons_rejected_key_is_no_concern(self) -> None:
        self.gateway.rejected = ["other", 1]
        assert await self.say_and_hear() == 1
        assert await self.say_and_hear() == 1

    async def test_a_key_that_moves_to_another_person_leaves_the_first_unless_appended(self) -> None:
        await self.carol.join(self.room)
        await self.push_to(self.carol, append=True)
        assert await self.say_and_hear() == 2
        await self.push_to(self.carol, append=False)
        assert await self.say_and_hear() == 1
        assert await self.pushers.show(self.bob.user_id) == []


@on_both_databases
class Faults(PushCase):
    async def test_a_gateway_that_is_away_is_asked_again_ever_more_seldom(self) -> None:
        self.gateway.is_away = True
        event_id = await self.alice.say(self.room)
        assert await self.heard_ids() == [event_id]
        delay = FIRST_DELAY_S
        for _ in range(4):
            await self.pass_time(delay - 0.1)
            assert await self.heard_ids() == []
            await self.pass_time(0.2)
            assert await self.heard_ids() == [event_id]
            delay *= 2
        self.gateway.is_away = False
        await self.pass_time(LONGEST_DELAY_S)
        assert await self.heard_ids() == [event_id]
        later = await self.alice.say(self.room)
        assert await self.heard_ids() == [later]

    async def test_chance_shortens_the_wait_by_up_to_a_half(self) -> None:
        self.gateway.is_away, self.chance = True, b"\xff\xff"
        await self.alice.say(self.room)
        await self.heard()
        await self.pass_time(FIRST_DELAY_S / 2)
        assert len(await self.heard()) == 1

    async def test_any_other_answer_than_200_is_a_failure(self) -> None:
        self.gateway.answers = [Incoming(status=status, headers={}, body=b"{}") for status in (302, 400, 500)]
        event_id = await self.alice.say(self.room)
        for _ in range(4):
            assert await self.heard_ids() == [event_id]
            await self.pass_time(LONGEST_DELAY_S)
        assert await self.heard_ids() == []

    async def test_nonsense_with_200_is_taken_for_yes(self) -> None:
        self.gateway.answers = [Incoming(status=200, headers={}, body=b"nonsense")]
        await self.alice.say(self.room)
        await self.pass_time(LONGEST_DELAY_S)
        assert len(await self.heard()) == 1

    async def test_only_the_last_few_wait_and_nothing_that_was_read_redacted_or_left(self) -> None:
        self.gateway.is_away = True
        said = [await self.alice.say(self.room) for _ in range(MOST_WAITING + 3)]
        await self.heard()
        await self.bob.read(self.room, said[-4])
        await self.alice.ok("PUT", f"/rooms/{self.room}/redact/{said[-2]}/r", {})
        self.gateway.is_away = False
        await self.settle()
        self.gateway.take()
        await self.pass_time(LONGEST_DELAY_S)
        assert await self.heard_ids() == [said[-3], said[-1]]

    async def test_who_was_removed_hears_nothing_more_of_the_room(self) -> None:
        self.gateway.is_away = True
        await self.alice.say(self.room)
        await self.heard()
        await self.alice.act("kick", self.room, self.bob)
        self.gateway.is_away = False
        await self.pass_time(LONGEST_DELAY_S)
        assert [told.get("room_id") for told in await self.heard()] == [None]

    async def test_what_is_older_than_a_day_is_not_told(self) -> None:
        self.gateway.is_away = True
        await self.alice.say(self.room)
        await self.heard()
        self.gateway.is_away = False
        self.clock.rightNow += OLDEST_MS / 1000
        await self.pass_time(1)
        assert await self.heard_ids() == [None]


@on_both_databases
class Restarts(PushCase):
    async def test_what_waited_is_told_after_a_restart(self) -> None:
        first = await self.alice.say(self.room)
        assert await self.heard_ids() == [first]
        self.gateway.is_away = True
        waiting = [await self.alice.say(self.room) for _ in range(2)]
        await self.heard()
        await self.pushing.stop()
        self.gateway.is_away = False
        await self.start_again()
        assert await self.heard_ids() == waiting

    async def test_after_a_clean_stop_nothing_is_told_twice(self) -> None:
        await self.alice.say(self.room)
        assert len(await self.heard()) == 1
        await self.start_again()
        assert await self.heard() == []

    async def test_what_was_said_while_nobody_could_tell_is_told_then_and_only_the_last_few(self) -> None:
        await self.pushing.stop()
        said = [await self.alice.say(self.room) for _ in range(MOST_WAITING + 2)]
        await self.start_again(crash=True)
        assert await self.heard_ids() == said[-MOST_WAITING:]
        await self.start_again()
        assert await self.heard() == []

    async def test_an_invitation_that_came_while_nobody_could_tell_is_told_then_if_it_still_stands(self) -> None:
        closed = [await self.alice.create(name=name) for name in ("Химия", "История", "Право")]
        await self.pushing.stop()
        for room in closed:
            await self.alice.invite(room, self.bob)
        await self.bob.join(closed[1])
        await self.alice.call("POST", f"/rooms/{closed[2]}/kick", {"user_id": self.bob.user_id})
        await self.start_again(crash=True)
        (told,) = [told for told in await self.heard() if told.get("type") == "m.room.member"]
        assert (told["room_id"], told["user_is_target"]) == (closed[0], True)
        await self.start_again()
        assert await self.heard() == []

    async def test_what_was_told_and_noted_before_a_crash_is_not_told_again(self) -> None:
        await self.alice.say(self.room)
        assert len(await self.heard()) == 1
        await self.pass_time(NOTE_S)
        await self.start_again(crash=True)
        assert await self.heard() == []

    async def test_a_new_pusher_is_told_nothing_of_before(self) -> None:
        await self.carol.join(self.room)
        await self.alice.say(self.room)
        await self.heard()
        await self.push_to(self.carol, "carols")
        await self.start_again(crash=True)
        assert {told["devices"][0]["pushkey"] for told in await self.heard()} <= {"key"}


@on_both_databases
class Schools(PushCase):
    bare = True

    async def test_nothing_that_is_said_leaves_whatever_the_client_asks(self) -> None:
        await self.alice.say(self.room, "Тайна")
        (told,) = await self.heard()
        assert set(told) == {"event_id", "room_id", "prio", "counts", "devices"}
        assert "Тайна" not in str(told)
        assert "Физика" not in str(told)
