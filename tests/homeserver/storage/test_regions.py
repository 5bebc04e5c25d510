"""The tables of other servers: their keys, how they do, and the list of those we talk with."""

from twisted.trial.unittest import TestCase

from federation.ed25519 import SigningKey
from federation.ids import ServerName
from federation.keys import build_server_keys, parse_server_keys
from federation.transport.peers import Standing
from homeserver.storage.database import Database
from homeserver.storage.destinations import StoredDestinations
from homeserver.storage.regions import StoredList, find_region_list, set_region_list
from homeserver.storage.serverkeys import StoredKeys, remove_oldest_keys
from tests.kit.databases import on_both_databases

NORTH, SOUTH = ServerName("north.example"), ServerName("south.example")
NOW = 1_700_000_000_000


@on_both_databases
class RegionTables(TestCase):
    """What is kept is found again."""

    db: Database

    async def test_the_newest_keys_of_a_server_are_kept(self) -> None:
        store = StoredKeys(self.db)
        assert await store.find(NORTH) is None
        for number in (1, 2):
            key = SigningKey("a_1", bytes([number]) * 32)
            answer = build_server_keys(NORTH, [key], old_keys={}, valid_until_ms=NOW + number)
            keys = parse_server_keys(answer, server=NORTH, received_ms=NOW)
            await store.set(keys, NOW + number)
            assert await store.find(NORTH) == (keys.raw, NOW + number)
        assert await store.find(SOUTH) is None

    async def test_of_very_many_servers_the_newest_keys_are_kept(self) -> None:
        store = StoredKeys(self.db)
        for number in range(5):
            server = ServerName(f"s{number}.example")
            answer = build_server_keys(server, [SigningKey("a_1", bytes(32))], old_keys={}, valid_until_ms=NOW)
            await store.set(parse_server_keys(answer, server=server, received_ms=NOW), NOW + number)
        assert await self.db.write(remove_oldest_keys, 5) == 0
        assert await self.db.write(remove_oldest_keys, 2) == 3
        kept = [await store.find(ServerName(f"s{number}.example")) is not None for number in range(5)]
        assert kept == [False, False, False, True, True]

    async def test_the_standing_of_a_server_is_kept_until_it_is_well(self) -> None:
        store = StoredDestinations(self.db)
        assert await store.load() == {}
        await store.set(NORTH, Standing(1, NOW))
        await store.set(SOUTH, Standing(3, NOW + 5))
        await store.set(NORTH, Standing(2, NOW + 9))
        assert await store.load() == {NORTH: Standing(2, NOW + 9), SOUTH: Standing(3, NOW + 5)}
        await store.set(NORTH, None)
        await store.set(NORTH, None)
        assert await store.load() == {SOUTH: Standing(3, NOW + 5)}

    async def test_one_list_is_kept(self) -> None:
        assert await self.db.read(find_region_list) is None
        for version in (1, 2):
            kept = StoredList(version, b"{}", b"list %d" % version)
            await self.db.write(set_region_list, kept)
            assert await self.db.read(find_region_list) == kept
