"""With whom a server talks: where the list comes from, when it counts, and what happens without one."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from config.settings import Federation, RegionList
from federation.ed25519 import SigningKey
from federation.errors import Refused
from federation.ids import ServerName
from federation.regions import sign_region_list
from federation.transport.agent import Incoming, Outgoing, Unreachable
from homeserver.regions import EVERY_S, Ground, Regions
from homeserver.storage.database import Database
from tests.kit.databases import on_both_databases
from tests.kit.wire import make_folder

US, NORTH, SOUTH = (ServerName(f"{name}.example") for name in ("us", "north", "south"))
KEY, NEXT = (SigningKey(f"a_{n}", bytes([n]) * 32) for n in (1, 2))
DAY = 86_400_000


class WebOfTest:
    """The web: one page, or nobody there."""

    def __init__(self) -> None:
        self.page: Incoming | None = None
        self.asked: list[str] = []

    async def ask(self, request: Outgoing) -> Incoming:
        self.asked.append(request.url)
        if self.page is None:
            raise Unreachable("away")
        return self.page


@on_both_databases
class RegionsOfServer(TestCase):
    """A server whose list is in a file, and whose clock the test moves."""

    db: Database

    def setUp(self) -> None:
        self.folder = make_folder(self)
        self.file = self.folder / "regions.json"
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.web = WebOfTest()
        self.errors: list[str] = []

    def now_ms(self) -> int:
        return int(self.clock.seconds() * 1000)

    def publish(self, version: int, *members: ServerName, key: SigningKey = KEY, **changes: Any) -> bytes:
        draft = {
            "authority": "schools.example",
            "version": version,
            "valid_until_ts": self.now_ms() + 10 * DAY,
            "regions": {member: {"status": "member"} for member in members},
        }
        signed = sign_region_list(json.dumps({**draft, **changes}).encode(), key)
        self.file.write_bytes(signed)
        return signed

    async def begin(
        self, mode: Any = "list", file: Path | None = None, url: str | None = None, key: SigningKey = KEY
    ) -> Regions:
        keys = {key.key_id: key.verify_key.encode()}
        settings = Federation(mode=mode, list=RegionList(file=file or self.file, url=url, authority_keys=keys))
        regions = Regions(
            Ground(
                server=US,
                settings=settings,
                database=self.db,
                outward=self.web,
                now_ms=self.now_ms,
                reactor=self.clock,
            )
        )
        self.addCleanup(regions.stop)
        await regions.begin()
        return regions

    async def test_members_are_talked_with_and_nobody_else(self) -> None:
        self.publish(1, NORTH)
        regions = await self.begin()
        assert [regions.may_talk(server) for server in (US, NORTH, SOUTH)] == [True, True, False]
        assert regions.is_in_force
        with pytest.raises(Refused):
            regions.check(SOUTH)

    async def test_open_is_everybody_and_none_nobody(self) -> None:
        self.publish(1, NORTH)
        for mode, talks in (("open", True), ("none", False)):
            regions = await self.begin(mode)
            assert [regions.may_talk(server) for server in (US, NORTH, SOUTH)] == [True, talks, talks]
            assert regions.is_in_force == talks
            assert regions.find_keys(NORTH) is None
            assert regions.measure() == {}

    async def test_without_a_list_nobody_is_talked_with_and_it_is_said_loudly(self) -> None:
        for content in (None, b"", b"{}"):
            if content is not None:
                self.file.write_bytes(content)
            with self.assertLogs("homeserver.regions", logging.ERROR) as told:
                regions = await self.begin()
            assert "no federation" in told.output[-1]
            assert [regions.may_talk(server) for server in (US, NORTH)] == [True, False]
            assert not regions.is_in_force
            assert regions.measure()["region_list_valid"] == 0.0

    async def test_where_no_list_is_configured_nobody_is_talked_with_and_nothing_is_wrong(self) -> None:
        settings = Federation(mode="list")
        ground = Ground(
            server=US, settings=settings, database=self.db, outward=self.web, now_ms=self.now_ms, reactor=self.clock
        )
        regions = Regions(ground)
        with self.assertNoLogs("homeserver.regions", logging.WARNING):
            await regions.begin()
            await regions.refresh()
        assert not regions.may_talk(NORTH)
        assert self.clock.getDelayedCalls() == []

    async def test_a_list_that_is_not_the_authoritys_changes_nothing(self) -> None:
        self.publish(1, NORTH)
        regions = await self.begin()
        for spoil in (
            lambda: self.publish(2, SOUTH, key=NEXT),
            lambda: self.file.write_bytes(self.publish(2, SOUTH).replace(b'"version":2', b'"version":3')),
            lambda: self.publish(0, SOUTH),
            lambda: self.publish(1, SOUTH),
            lambda: self.publish(2, SOUTH, valid_until_ts=self.now_ms()),
        ):
            spoil()
            with self.assertLogs("homeserver.regions", logging.ERROR):
                await regions.refresh()
            assert [regions.may_talk(server) for server in (NORTH, SOUTH)] == [True, False]
        self.publish(2, SOUTH)
        await regions.refresh()
        assert [regions.may_talk(server) for server in (NORTH, SOUTH)] == [False, True]

    async def test_it_is_looked_at_every_few_minutes(self) -> None:
        self.publish(1, NORTH)
        regions = await self.begin(url="https://schools.example/list")
        self.web.page = Incoming(status=200, headers={}, body=self.publish(2, NORTH, SOUTH))
        self.file.unlink()
        self.clock.advance(EVERY_S)
        await regions.refresh()
        assert regions.may_talk(SOUTH)
        assert self.web.asked == ["https://schools.example/list"] * 3

    async def test_what_is_not_there_is_no_list_and_takes_none_away(self) -> None:
        self.publish(1, NORTH)
        regions = await self.begin(url="https://schools.example/list")
        self.file.unlink()
        for page in (None, Incoming(status=404, headers={}, body=b""), Incoming(status=200, headers={}, body=b"<")):
            self.web.page = page
            await regions.refresh()
            assert regions.may_talk(NORTH)

    async def test_the_list_is_remembered_over_a_restart_and_grows_no_younger(self) -> None:
        self.publish(5, NORTH)
        await self.begin()
        self.publish(4, SOUTH)
        regions = await self.begin()
        assert [regions.may_talk(server) for server in (NORTH, SOUTH)] == [True, False]

    async def test_a_list_expires_while_the_server_runs(self) -> None:
        self.publish(1, NORTH)
        regions = await self.begin()
        assert regions.measure()["region_list_valid_seconds"] == 10 * DAY / 1000
        self.clock.advance(8 * DAY / 1000)
        with self.assertLogs("homeserver.regions", logging.WARNING) as told:
            await regions.refresh()
        assert "expires in 48 hours" in told.output[-1]
        self.clock.advance(2 * DAY / 1000)
        with self.assertLogs("homeserver.regions", logging.ERROR) as told:
            await regions.refresh()
        assert "it has expired" in told.output[-1]
        assert not regions.may_talk(NORTH)
        self.publish(2, NORTH)
        await regions.refresh()
        assert regions.may_talk(NORTH)

    async def test_the_authoritys_next_key_is_learnt_from_its_list_and_lasts_over_a_restart(self) -> None:
        self.publish(1, NORTH, authority_keys={NEXT.key_id: NEXT.verify_key.encode()})
        await self.begin()
        self.publish(2, SOUTH)
        assert not (await self.begin()).may_talk(SOUTH)  # the old key signs no more
        self.publish(2, SOUTH, key=NEXT)
        assert (await self.begin()).may_talk(SOUTH)

    async def test_an_operator_who_names_another_authority_begins_anew(self) -> None:
        self.publish(9, NORTH)
        await self.begin()
        self.publish(1, SOUTH, key=NEXT)
        regions = await self.begin(key=NEXT)
        assert [regions.may_talk(server) for server in (NORTH, SOUTH)] == [False, True]

    async def test_keys_in_the_list_are_known(self) -> None:
        keys = {"ed25519:x": {"key": KEY.verify_key.encode()}}
        self.publish(1, regions={NORTH: {"status": "member", "keys": keys}, SOUTH: {"status": "member"}})
        regions = await self.begin()
        found = regions.find_keys(NORTH)
        assert found is not None
        assert found.verify_keys == {"ed25519:x": KEY.verify_key}
        assert regions.find_keys(SOUTH) is None

    async def test_delegations_are_checked_in_list_mode_only(self) -> None:
        self.publish(1, NORTH)
        elsewhere = ServerName("elsewhere.example")
        regions = await self.begin()
        regions.check_delegation(NORTH, ServerName("matrix.north.example"))
        with pytest.raises(Refused):
            regions.check_delegation(NORTH, elsewhere)
        (await self.begin("open")).check_delegation(NORTH, elsewhere)
