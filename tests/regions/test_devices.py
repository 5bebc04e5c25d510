"""Device lists and keys between regions: kept, changed, asked for again, and told as little of as can be."""

from typing import Any

from twisted.internet.task import deferLater

from federation.ids import UserID
from federation.transport.agent import Unreachable
from homeserver.api.server import devices
from homeserver.storage.remotedevices import load_stale
from tests.kit.callers import PASSWORD
from tests.kit.databases import reactor_in_use
from tests.kit.keys import Signer, cross_signing_key, device_keys, one_time_keys
from tests.kit.neighbours import V1, NeighboursCase
from tests.kit.people import Person

DEVICES = "/user/devices/"
KEYS_QUERY = "/user/keys/query"


class DevicesCase(NeighboursCase):
    async def query(self, person: Person, *people: Person, **more: Any) -> Any:
        """What is answered about all devices of those people."""
        body = {"device_keys": {each.user_id: [] for each in people}, **more}
        return await person.ok("POST", "/keys/query", body)

    async def known(self, *people: Person) -> dict[str, Any]:
        """Which keys Alice finds, by person and device."""
        answer = await self.query(self.alice, *people)
        assert answer["failures"] == {}, answer
        found: dict[str, Any] = answer["device_keys"]
        return found

    async def changed(self, person: Person) -> list[str]:
        """Whose devices a sync says have changed."""
        found: list[str] = (await person.sync()).get("device_lists", {}).get("changed", [])
        return found

    def update(self, stream_id: int, *before: int, device_id: str = "NEW", **more: Any) -> dict[str, Any]:
        """A change of Bob's list, as his server tells it."""
        keys = device_keys(self.bob.user_id, device_id)
        told = {"user_id": self.bob.user_id, "device_id": device_id, "stream_id": stream_id, "prev_id": list(before)}
        return {**told, "keys": keys, "device_display_name": "Bob's new one", **more}

    async def stream_id(self) -> int:
        """The stream ID of Bob's list as his server tells it."""
        reply = await self.south.call_signed(self.north.name, self.north.key, "GET", f"{V1}{DEVICES}{self.bob.user_id}")
        number: int = reply.json["stream_id"]
        return number


class Many(DevicesCase):
    async def test_many_people_are_looked_up_some_at_a_time(self) -> None:
        self.patch(devices, "AT_ONCE", 1)
        await self.share()
        await self.publish_keys(self.bob)
        one, other = (f"@{name}:{self.south.name}" for name in ("nobody", "nobody.else"))
        people: dict[str, list[str]] = {one: [], self.bob.user_id: [], other: []}
        reply = await self.south.call_signed(
            self.north.name, self.north.key, "POST", f"{V1}{KEYS_QUERY}", {"device_keys": people}
        )
        assert list(reply.json["device_keys"][self.bob.user_id]) == [self.bob.device_id]
        wanted = {person: {self.bob.device_id: "signed_curve25519"} for person in people}
        reply = await self.south.call_signed(
            self.north.name, self.north.key, "POST", f"{V1}/user/keys/claim", {"one_time_keys": wanted}
        )
        assert reply.status == 200


class Lists(DevicesCase):
    async def test_keys_of_another_region_are_found_without_the_name_of_the_device(self) -> None:
        await self.share()
        await self.bob.ok("PUT", f"/devices/{self.bob.device_id}", {"display_name": "Bob's phone"})
        keys = await self.publish_keys(self.bob)
        assert await self.known(self.bob) == {self.bob.user_id: {self.bob.device_id: keys}}
        reply = await self.ask(self.south, "GET", f"{DEVICES}{self.alice.user_id}")
        assert (reply.status, reply.json["devices"]) == (200, [])
        assert (
            b"phone"
            not in (
                await self.south.call_signed(self.north.name, self.north.key, "GET", f"{V1}{DEVICES}{self.bob.user_id}")
            ).body
        )

    async def test_a_list_is_asked_for_once_while_a_room_is_shared(self) -> None:
        await self.share()
        await self.publish_keys(self.bob)
        line = self.overhear(self.north)
        first = await self.known(self.bob)
        assert line.count(DEVICES) == 1
        assert await self.known(self.bob) == first
        assert len(line.asked) == 1

    async def test_whoever_shares_no_room_is_asked_for_each_time(self) -> None:
        keys = await self.publish_keys(self.bob)
        line = self.overhear(self.north)
        for number in (1, 2):
            assert await self.known(self.bob) == {self.bob.user_id: {self.bob.device_id: keys}}
            assert (line.count(DEVICES), line.count(KEYS_QUERY)) == (0, number)

    async def test_a_change_that_follows_is_taken_and_told(self) -> None:
        await self.share(initial_state=[ENCRYPTED])
        await self.publish_keys(self.bob)
        await self.known(self.bob)
        last = await self.stream_id()
        await self.alice.sync()
        line = self.overhear(self.north)
        await self.tell(self.south, "m.device_list_update", self.update(last + 10, last))
        assert await self.changed(self.alice) == [self.bob.user_id]
        assert set((await self.known(self.bob))[self.bob.user_id]) == {self.bob.device_id, "NEW"}
        gone = self.update(last + 20, last + 10, deleted=True)
        await self.tell(self.south, "m.device_list_update", gone, self.update(last + 5, last), gone)
        assert await self.changed(self.alice) == [self.bob.user_id]
        assert set((await self.known(self.bob))[self.bob.user_id]) == {self.bob.device_id}
        assert await self.changed(self.alice) == []
        assert line.count(DEVICES) == 0

    async def test_a_gap_is_filled_by_asking_once_however_many_changes_come(self) -> None:
        await self.share(initial_state=[ENCRYPTED])
        await self.publish_keys(self.bob)
        await self.known(self.bob)
        await self.alice.sync()
        line = self.overhear(self.north)
        last = await self.stream_id()
        updates = [self.update(last + 2 * number, last + 2 * number - 1) for number in range(1, 301)]
        await self.tell(self.south, "m.device_list_update", *updates)
        assert set((await self.known(self.bob))[self.bob.user_id]) == {self.bob.device_id}
        assert 1 <= line.count(DEVICES) <= 5
        assert await self.changed(self.alice) == []  # it was no other list after all

    async def test_a_gap_while_the_other_region_is_away_is_told_and_filled_later(self) -> None:
        await self.share(initial_state=[ENCRYPTED])
        old = await self.publish_keys(self.bob)
        await self.known(self.bob)
        last = await self.stream_id()
        await self.alice.sync()
        line = self.overhear(self.north)
        line.answers[DEVICES] = Unreachable("away")
        await self.tell(self.south, "m.device_list_update", self.update(last + 10, last + 5))
        answer = await self.query(self.alice, self.bob)
        assert set(answer["failures"]) == {self.south.name}
        assert answer["device_keys"] == {self.bob.user_id: {self.bob.device_id: old}}
        assert (await self.alice.sync(timeout=10_000))["device_lists"]["changed"] == [self.bob.user_id]
        line.answers.clear()
        await self.north.restart()
        self.north.peers.heard_from(self.south.name)
        assert set((await self.known(self.bob))[self.bob.user_id]) == {self.bob.device_id}

    async def test_who_left_and_came_back_is_asked_for_again(self) -> None:
        room_id = await self.share()
        await self.publish_keys(self.bob)
        await self.known(self.bob)
        await self.bob.leave(room_id)
        await self.hears(room_id, self.bob, "leave")
        tablet = await self.south.log_in("bob")
        await self.publish_keys(tablet)
        await self.enter(self.bob, room_id)
        assert set((await self.known(self.bob))[self.bob.user_id]) == {self.bob.device_id, tablet.device_id}

    async def test_lists_of_those_who_are_in_no_room_with_ours_are_dropped(self) -> None:
        room_id = await self.share()
        await self.publish_keys(self.bob)
        await self.known(self.bob)
        lists = self.north.running.remote.lists
        database = self.north.running.core.database
        await lists.sweep()
        count = "SELECT COUNT(*) FROM remote_devices"
        assert await database.read(lambda txn: txn.one(count)) == (1,)
        await self.alice.leave(room_id)
        await lists.sweep()
        assert await database.read(lambda txn: txn.one(count)) == (0,)

    async def test_of_strangers_nothing_is_kept_or_told(self) -> None:
        await self.alice.sync()
        await self.tell(self.south, "m.device_list_update", self.update(1))
        assert await self.changed(self.alice) == []
        database = self.north.running.core.database
        assert await database.read(lambda txn: txn.all("SELECT user_id FROM key_changes")) == []


ENCRYPTED = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


class CrossSigning(DevicesCase):
    async def test_cross_signing_keys_are_found_changed_and_signed(self) -> None:
        await self.share(initial_state=[ENCRYPTED])
        await self.publish_keys(self.bob)
        master, signing = Signer("bob master"), Signer("bob self")
        user_id = self.bob.user_id
        uploaded = {
            "master_key": cross_signing_key(user_id, "master", master),
            "self_signing_key": cross_signing_key(user_id, "self_signing", signing, by=master),
        }
        who = {"type": "m.id.user", "user": "bob"}
        auth = {"type": "m.login.password", "password": PASSWORD, "identifier": who}
        await self.bob.ok("POST", "/keys/device_signing/upload", {**uploaded, "auth": auth})
        found = await self.query(self.alice, self.bob)
        assert found["self_signing_keys"] == {user_id: uploaded["self_signing_key"]}
        assert set(found["master_keys"][user_id]["keys"].values()) == {master.public}
        assert "user_signing_keys" not in found or found["user_signing_keys"] == {}
        await self.alice.sync()
        other, second = Signer("bob master 2"), Signer("bob self 2")
        told = {
            "user_id": user_id,
            "master_key": cross_signing_key(user_id, "master", other),
            "self_signing_key": cross_signing_key(user_id, "self_signing", second, by=master),
        }
        await self.tell(self.south, "m.signing_key_update", told)
        assert await self.changed(self.alice) == [user_id]
        found = await self.query(self.alice, self.bob)
        assert set(found["master_keys"][user_id]["keys"].values()) == {other.public}
        assert found["self_signing_keys"] == {}  # the new master has not signed it
        told["self_signing_key"] = cross_signing_key(user_id, "self_signing", second, by=other)
        await self.tell(self.south, "m.signing_key_update", told, told)
        found = await self.query(self.alice, self.bob)
        assert found["self_signing_keys"] == {user_id: told["self_signing_key"]}


class Claims(DevicesCase):
    async def test_a_one_time_key_is_claimed_across_regions_once(self) -> None:
        await self.publish_keys(self.bob)
        await self.bob.ok("POST", "/keys/upload", {"one_time_keys": one_time_keys("A", "B")})
        wanted = {"one_time_keys": {self.bob.user_id: {self.bob.device_id: "signed_curve25519", "NONE": "x"}}}
        given = []
        for _ in range(3):
            answer = await self.alice.ok("POST", "/keys/claim", wanted)
            assert answer["failures"] == {}
            given += [name for key in answer["one_time_keys"].get(self.bob.user_id, {}).values() for name in key]
        assert given == ["signed_curve25519:A", "signed_curve25519:B"]

    async def test_a_region_that_is_away_is_a_failure_and_holds_nobody_up(self) -> None:
        await self.publish_keys(self.alice)
        self.cut(self.north)
        body = {"device_keys": {self.alice.user_id: [], self.bob.user_id: []}, "timeout": 2000}
        found = await self.alice.ok("POST", "/keys/query", body)
        assert set(found["failures"]) == {self.south.name}
        assert set(found["device_keys"]) == {self.alice.user_id}
        wanted = {"one_time_keys": {self.bob.user_id: {self.bob.device_id: "signed_curve25519"}}, "timeout": 2000}
        claimed = await self.alice.ok("POST", "/keys/claim", wanted)
        assert (claimed["one_time_keys"], set(claimed["failures"])) == ({}, {self.south.name})


class Together(DevicesCase):
    """What one region really sends, as the other takes it."""

    async def until_changed(self, person: Person) -> list[str]:
        """Whose devices have changed, as soon as a sync says so."""
        for _ in range(20):
            changed: list[str] = (await person.sync(timeout=5_000)).get("device_lists", {}).get("changed", [])
            if changed:
                return changed
        raise AssertionError("nobody's devices have changed")

    async def rest(self) -> None:
        """Wait until the north knows Bob's devices, the south has told all that it can, and there is nothing to ask."""
        await self.known(self.bob)
        database = self.north.running.core.database
        for _ in range(4_000):
            if self.south.running.sending.is_idle and not await database.read(load_stale, UserID(""), 1):
                return
            await deferLater(reactor_in_use(), 0.005)  # another connection: nothing here could tell us
        raise AssertionError("there is no end of it")

    async def test_new_devices_are_told_and_their_list_is_not_asked_for_again(self) -> None:
        await self.share(initial_state=[ENCRYPTED])
        await self.alice.sync()
        await self.publish_keys(self.bob)
        assert await self.until_changed(self.alice) == [self.bob.user_id]
        await self.rest()
        line = self.overhear(self.north)
        tablet = await self.south.log_in("bob")
        await self.publish_keys(tablet)
        while set((await self.known(self.bob))[self.bob.user_id]) != {self.bob.device_id, tablet.device_id}:
            assert await self.until_changed(self.alice) == [self.bob.user_id]
        assert line.count(DEVICES) == 0

    async def test_new_cross_signing_keys_leave_no_gap_in_the_list_of_devices(self) -> None:
        await self.share(initial_state=[ENCRYPTED])
        await self.alice.sync()
        await self.publish_keys(self.bob)
        assert await self.until_changed(self.alice) == [self.bob.user_id]
        await self.rest()
        before, line = await self.stream_id(), self.overhear(self.north)
        for number in range(2):  # for the first time, and in place of the ones before
            master = Signer(f"bob master {number}")
            await self.replace_master(self.bob, master)
            while True:
                found = (await self.query(self.alice, self.bob))["master_keys"].get(self.bob.user_id, {"keys": {}})
                if set(found["keys"].values()) == {master.public}:
                    break
                assert await self.until_changed(self.alice) == [self.bob.user_id]
        assert await self.stream_id() == before
        tablet = await self.south.log_in("bob")
        await self.publish_keys(tablet)
        while set((await self.known(self.bob))[self.bob.user_id]) != {self.bob.device_id, tablet.device_id}:
            assert await self.until_changed(self.alice) == [self.bob.user_id]
        assert line.count(DEVICES) == 0

    async def replace_master(self, person: Person, master: Signer) -> None:
        """Let somebody have a new master key."""
        who = {"type": "m.id.user", "user": person.user_id}
        auth = {"type": "m.login.password", "password": PASSWORD, "identifier": who}
        key = cross_signing_key(person.user_id, "master", master)
        await person.ok("POST", "/keys/device_signing/upload", {"master_key": key, "auth": auth})

    async def test_messages_go_from_device_to_device_both_ways(self) -> None:
        await self.share()
        for sender, receiver in ((self.alice, self.bob), (self.bob, self.alice)):
            await receiver.sync()
            messages = {receiver.user_id: {receiver.device_id: {"a": sender.user_id}}}
            await sender.ok("PUT", "/sendToDevice/m.secret/1", {"messages": messages})
            got: list[Any] = []
            for _ in range(20):
                got += (await receiver.sync(timeout=5_000)).get("to_device", {}).get("events", [])
                if got:
                    break
            assert got == [{"type": "m.secret", "sender": sender.user_id, "content": {"a": sender.user_id}}]


class Lies(DevicesCase):
    """What another server answers is its own people's, well-formed and not too much, or it is not heard."""

    async def test_keys_of_others_in_an_answer_are_not_heard(self) -> None:
        line = self.overhear(self.north)
        carol = f"@carol:{self.south.name}"
        forged = device_keys(self.alice.user_id, "FORGED")
        line.answers[KEYS_QUERY] = {
            "device_keys": {
                self.alice.user_id: {"FORGED": forged},
                carol: {"X": device_keys(carol, "X")},
                self.bob.user_id: {"A": device_keys(self.bob.user_id, "B"), "C": forged, "D": 5, "E": None},
            },
            "master_keys": {self.bob.user_id: cross_signing_key(carol, "master", Signer("m")), carol: 3},
        }
        found = await self.query(self.alice, self.bob, self.alice)
        assert found["device_keys"] == {self.bob.user_id: {}, self.alice.user_id: {}}
        assert (found["master_keys"], found["failures"]) == ({}, {})

    async def test_a_list_of_too_many_devices_is_a_failure(self) -> None:
        await self.share()
        line = self.overhear(self.north)
        user_id = self.bob.user_id
        devices = [{"device_id": f"D{n}", "keys": device_keys(user_id, f"D{n}")} for n in range(1001)]
        for answer in (
            {"user_id": user_id, "stream_id": 1, "devices": devices},
            {"user_id": self.alice.user_id, "stream_id": 1, "devices": []},
            {"user_id": user_id, "stream_id": -1, "devices": []},
            {"user_id": user_id, "stream_id": 1 << 60, "devices": []},
            {"user_id": user_id, "stream_id": 1, "devices": {}},
            {},
        ):
            line.answers[DEVICES] = answer
            found = await self.query(self.alice, self.bob)
            assert set(found["failures"]) == {self.south.name}, answer

    async def test_a_server_speaks_of_its_own_people_only(self) -> None:
        await self.share()
        await self.publish_keys(self.alice)
        await self.alice.sync()
        for changes in ({"user_id": self.alice.user_id}, {"user_id": f"@x:{self.north.name}"}, {"user_id": 3}):
            await self.tell(self.south, "m.device_list_update", {**self.update(5), **changes})
            await self.tell(self.south, "m.signing_key_update", {**changes, "master_key": {}})
        wrong: Any = [{"stream_id": "1"}, {"stream_id": 1 << 62}, {"prev_id": [1.5]}, {"prev_id": 3}, {"device_id": 1}]
        for spoiled in wrong:
            await self.tell(self.south, "m.device_list_update", {**self.update(5), **spoiled})
        assert await self.changed(self.alice) == []

    async def test_ten_thousand_changes_are_borne(self) -> None:
        await self.share()
        await self.publish_keys(self.bob)
        await self.known(self.bob)
        last = await self.stream_id()
        await self.tell(
            self.south, "m.device_list_update", *[self.update(last + n + 1, last + n) for n in range(10_000)]
        )
        assert set((await self.known(self.bob))[self.bob.user_id]) == {self.bob.device_id, "NEW"}
