"""When devices were last seen: noted for every request, written seldom and together."""

from typing import Any

from twisted.internet.defer import Deferred, fail

from federation.ids import DeviceID, UserID
from homeserver.devices.lastseen import AT_ONCE, EVERY_MS
from homeserver.storage.database import StorageUnavailable
from tests.kit.databases import on_both_databases
from tests.kit.doors import DoorsCase


@on_both_databases
class LastSeen(DoorsCase):
    async def setUp(self) -> None:
        super().setUp()
        self.alice = await self.register("alice", device_id="PHONE")
        self.writes = 0
        self.really_write = self.db.write
        self.patch(self.db, "write", self.write)

    def write(self, *args: Any) -> Deferred[Any]:
        self.writes += 1
        self.written = self.really_write(*args)
        return self.written

    async def seen(self) -> tuple[int | None, str | None]:
        device = await self.devices.see(self.alice.user_id, self.alice.device_id)
        return device.last_seen_ms, device.last_seen_ip

    async def test_many_sightings_are_one_write(self) -> None:
        for number in range(100):
            self.last_seen.note(self.alice.user_id, self.alice.device_id, f"10.0.0.{number}")
        self.assertEqual((self.writes, await self.seen()), (0, (None, None)))
        await self.last_seen.write()
        await self.last_seen.write()
        self.assertEqual((self.writes, await self.seen()), (1, (self.now_ms(), "10.0.0.99")))

    async def test_what_is_not_written_yet_is_shown(self) -> None:
        stored = await self.devices.load(self.alice.user_id)
        self.assertEqual(self.last_seen.renew(self.alice.user_id, stored), stored)
        self.last_seen.note(self.alice.user_id, self.alice.device_id, "10.0.0.1")
        (device,) = self.last_seen.renew(self.alice.user_id, stored)
        self.assertEqual((device.last_seen_ms, device.last_seen_ip), (self.now_ms(), "10.0.0.1"))
        (other,) = self.last_seen.renew(UserID("@bob:parta.test"), stored)
        self.assertEqual((other.last_seen_ms, other.last_seen_ip), (None, None))

    async def test_it_writes_by_itself_every_few_minutes_and_at_the_end(self) -> None:
        self.last_seen.start()
        self.last_seen.note(self.alice.user_id, self.alice.device_id, "10.0.0.1")
        first = self.now_ms()
        self.clock.advance(EVERY_MS / 1000 - 1)
        self.assertEqual(self.writes, 0)
        self.clock.advance(1)
        self.assertEqual(self.writes, 1)
        await self.written
        self.assertEqual(await self.seen(), (first, "10.0.0.1"))
        self.last_seen.note(self.alice.user_id, self.alice.device_id, "10.0.0.2")
        await self.last_seen.stop()
        await self.last_seen.stop()
        self.assertEqual(await self.seen(), (self.now_ms(), "10.0.0.2"))
        self.clock.advance(10 * EVERY_MS / 1000)
        self.assertEqual(self.writes, 2)

    async def test_very_many_are_written_some_at_a_time(self) -> None:
        for number in range(2 * AT_ONCE):
            self.last_seen.note(self.alice.user_id, DeviceID(f"D{number}"), "10.0.0.1")
        self.last_seen.note(self.alice.user_id, self.alice.device_id, "10.0.0.1")
        await self.last_seen.write()
        self.assertEqual((self.writes, await self.seen()), (3, (self.now_ms(), "10.0.0.1")))

    async def test_devices_that_are_gone_are_no_fault(self) -> None:
        self.last_seen.note(self.alice.user_id, self.alice.device_id, "10.0.0.1")
        await self.alice.call("POST", "/logout")
        await self.last_seen.write()

    async def test_what_could_not_be_written_is_written_with_what_comes_next(self) -> None:
        self.last_seen.note(self.alice.user_id, self.alice.device_id, "10.0.0.1")
        self.patch(self.db, "write", lambda *_: fail(StorageUnavailable("full")))
        await self.last_seen.stop()
        self.patch(self.db, "write", self.write)
        await self.last_seen.stop()
        self.assertEqual(await self.seen(), (self.now_ms(), "10.0.0.1"))
