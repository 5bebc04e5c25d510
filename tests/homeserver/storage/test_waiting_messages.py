"""Messages that wait for devices: those of other servers have bounds, each server its own."""

from twisted.trial.unittest import TestCase

from federation.ids import DeviceID, ServerName, UserID
from homeserver.storage.accounts import NewAccount, append_account
from homeserver.storage.database import Database
from homeserver.storage.devices import append_device, remove_devices
from homeserver.storage.todevice import ROW_BYTES, Bounds, append_messages, append_messages_of, pending, remove
from tests.kit.databases import on_both_databases

ANNA = UserID("@anna:parta.test")
PHONE, LAPTOP = DeviceID("PHONE"), DeviceID("LAPTOP")
EVIL, WEST = ServerName("evil.test"), ServerName("west.test")
SIZE = ROW_BYTES + 4
MANY = 10**9


@on_both_databases
class Bounded(TestCase):
    db: Database

    async def setUp(self) -> None:
        await self.db.write(append_account, NewAccount(user_id=ANNA, created_ms=1))
        for device in (PHONE, LAPTOP):
            await self.db.write(append_device, ANNA, device, None, 1)

    async def send(self, origin: ServerName, times: int, bounds: Bounds, device: DeviceID = PHONE) -> None:
        for _ in range(times):
            await self.db.write(append_messages_of, origin, [(ANNA, device, origin[:4].encode())], bounds)

    async def waiting(self, device: DeviceID = PHONE) -> list[str]:
        return [each.message.decode() for each in await self.db.read(pending, ANNA, device, MANY, 1000)]

    async def test_a_server_has_its_share_of_each_device_and_no_more(self) -> None:
        bounds = Bounds(each=5 * SIZE, all=MANY, share=0, server=MANY)
        await self.send(EVIL, 20, bounds)
        await self.send(EVIL, 20, bounds, LAPTOP)
        await self.send(WEST, 3, bounds)
        assert sorted(await self.waiting()) == ["evil"] * 6 + ["west"] * 3
        assert await self.waiting(LAPTOP) == ["evil"] * 6

    async def test_who_has_taken_messages_has_room_for_others(self) -> None:
        bounds = Bounds(each=5 * SIZE, all=MANY, share=0, server=MANY)
        await self.send(EVIL, 20, bounds)
        third = (await self.db.read(pending, ANNA, PHONE, MANY, 1000))[2]
        await self.db.write(remove, ANNA, PHONE, third.position)
        await self.send(EVIL, 20, bounds)
        assert await self.waiting() == ["evil"] * 6
        await self.db.write(remove, ANNA, PHONE, MANY)
        await self.send(EVIL, 20, bounds)
        assert await self.waiting() == ["evil"] * 6

    async def test_many_servers_together_are_bounded_and_each_has_a_share_still(self) -> None:
        bounds = Bounds(each=MANY, all=10 * SIZE, share=2 * SIZE, server=MANY)
        for number in range(4):
            await self.send(ServerName(f"s{number}.test"), 20, bounds)
        assert sorted(await self.waiting()) == ["s0.t"] * 11 + ["s1.t"] * 3 + ["s2.t"] * 3 + ["s3.t"] * 3

    async def test_a_server_has_its_share_of_all_devices_together_and_others_theirs(self) -> None:
        bounds = Bounds(each=8 * SIZE, all=MANY, share=2 * SIZE, server=12 * SIZE)
        await self.send(EVIL, 20, bounds)
        await self.send(EVIL, 20, bounds, LAPTOP)
        await self.send(WEST, 5, bounds, LAPTOP)
        await self.db.write(append_messages, [(ANNA, LAPTOP, b"ours")] * 50)
        assert await self.waiting() == ["evil"] * 9
        assert sorted(await self.waiting(LAPTOP)) == ["evil"] * 3 + ["ours"] * 50 + ["west"] * 5

    async def test_of_messages_sent_together_no_more_are_taken(self) -> None:
        bounds = Bounds(each=MANY, all=MANY, share=0, server=SIZE + SIZE // 2)
        await self.db.write(append_messages_of, EVIL, [(ANNA, PHONE, b"evil"), (ANNA, LAPTOP, b"evil")], bounds)
        assert (await self.waiting(), await self.waiting(LAPTOP)) == (["evil"], [])

    async def test_who_takes_messages_gets_more_however_many_wait_for_devices_nobody_uses(self) -> None:
        bounds = Bounds(each=8 * SIZE, all=MANY, share=2 * SIZE, server=8 * SIZE)
        await self.send(WEST, 20, bounds)
        for _ in range(5):
            await self.send(WEST, 2, bounds, LAPTOP)
            assert await self.waiting(LAPTOP) == ["west"] * 2
            await self.db.write(remove, ANNA, LAPTOP, MANY)

    async def test_what_is_taken_or_goes_with_its_device_counts_no_more(self) -> None:
        bounds = Bounds(each=MANY, all=MANY, share=0, server=5 * SIZE)
        for _ in range(3):
            await self.send(EVIL, 20, bounds)
            assert await self.waiting() == ["evil"] * 5
            await self.db.write(remove_devices, ANNA, [PHONE])
            await self.db.write(append_device, ANNA, PHONE, None, 1)
        await self.send(EVIL, 20, bounds)
        third = (await self.db.read(pending, ANNA, PHONE, MANY, 1000))[2]
        await self.db.write(remove, ANNA, PHONE, third.position)
        await self.send(EVIL, 20, bounds, LAPTOP)
        assert (await self.waiting(), await self.waiting(LAPTOP)) == (["evil"] * 2, ["evil"] * 3)
        for device in (PHONE, LAPTOP):
            await self.db.write(remove, ANNA, device, MANY)
        assert await self.db.read(lambda txn: txn.all("SELECT origin FROM messages_of_servers")) == []

    async def test_large_messages_count_for_what_they_are(self) -> None:
        bounds = Bounds(each=5 * SIZE, all=MANY, share=0, server=MANY)
        await self.db.write(append_messages_of, EVIL, [(ANNA, PHONE, b"x" * 6 * SIZE)], bounds)
        assert await self.waiting() == []

    async def test_messages_of_our_own_people_are_none_of_it(self) -> None:
        bounds = Bounds(each=5 * SIZE, all=5 * SIZE, share=0, server=MANY)
        await self.db.write(append_messages, [(ANNA, PHONE, b"ours")] * 50)
        await self.send(EVIL, 20, bounds)
        await self.db.write(append_messages, [(ANNA, PHONE, b"ours")] * 50)
        assert sorted(await self.waiting()) == ["evil"] * 6 + ["ours"] * 100
