"""Keys between regions: published, rotated, and vouched for by a third."""

import json
import secrets
from typing import Any

import pytest

from federation.errors import BadSignature
from federation.event import seal_event
from federation.ids import RoomID, UserID
from federation.keys import parse_notary_answer, parse_server_keys
from federation.signatures import sign_json
from federation.versions import ROOM_VERSIONS
from homeserver.signing import NEXT_FILE, prepare_next_key
from tests.kit.pdus import event_fields
from tests.kit.region import DAY_MS, Region, RegionsCase, now_ms

SERVER = "/_matrix/key/v2/server"
QUERY = "/_matrix/key/v2/query"


class Keys(RegionsCase):
    """North and south, and what they publish."""

    async def rotate(self, region: Region) -> None:
        """Make a new key, and begin anew with it."""
        prepare_next_key(region.settings.data_dir, secrets.token_bytes)
        await region.restart()

    def build_event(self, region: Region, ts_ms: int) -> Any:
        """An event of a person of that region, made at that time."""
        version = ROOM_VERSIONS["12"]
        fields = event_fields(
            version,
            sender=UserID(f"@bob:{region.name}"),
            room_id=RoomID("!" + "r" * 43),
            origin_server_ts=ts_ms,
        )
        return seal_event(version, fields, server=region.name, key=region.key)

    async def test_our_keys_are_published_signed_by_themselves_and_for_a_day(self) -> None:
        reply = await self.north.call_as_server("GET", SERVER)
        keys = parse_server_keys(reply.json, server=self.north.name, received_ms=now_ms())
        assert keys.verify_keys == {self.north.key.key_id: self.north.key.verify_key}
        assert now_ms() + DAY_MS - 60_000 < keys.valid_until_ms <= now_ms() + DAY_MS
        self.north.late_ms = DAY_MS // 2
        later = (await self.north.call_as_server("GET", SERVER)).json
        assert later["valid_until_ts"] >= reply.json["valid_until_ts"] + DAY_MS // 2

    async def test_older_servers_ask_for_our_keys_by_name_or_behind_a_slash(self) -> None:
        for name in ("", "/", "/ed25519:auto"):
            keys = parse_server_keys(
                (await self.north.call_as_server("GET", SERVER + name)).json,
                server=self.north.name,
                received_ms=now_ms(),
            )
            assert keys.verify_keys == {self.north.key.key_id: self.north.key.verify_key}, name
        assert (await self.north.call_as_server("GET", SERVER + "/a/b")).status == 404

    async def test_a_new_key_signs_after_the_next_start_and_the_old_one_is_good_for_what_was_before(self) -> None:
        old_key = self.south.key
        before = self.build_event(self.south, now_ms())
        await self.rotate(self.south)
        assert self.south.key.key_id != old_key.key_id
        assert not (self.south.settings.data_dir / NEXT_FILE).exists()
        after = self.build_event(self.south, now_ms())
        assert await self.north.keyring.check_events([before, after]) == {}
        await self.north.keyring.verify(sign_json({}, self.south.name, self.south.key), self.south.name)
        with pytest.raises(BadSignature):
            await self.north.keyring.verify(sign_json({}, self.south.name, old_key), self.south.name)
        published = (await self.south.call_as_server("GET", SERVER)).json
        assert set(published["old_verify_keys"]) == {old_key.key_id}
        await self.south.restart()
        assert (await self.south.call_as_server("GET", SERVER)).json["old_verify_keys"] == published["old_verify_keys"]

    async def test_an_old_key_is_good_for_nothing_that_was_made_later(self) -> None:
        late = self.build_event(self.south, now_ms() + 60_000)
        await self.rotate(self.south)
        assert set(await self.north.keyring.check_events([late])) == {late.event_id}

    async def test_we_vouch_for_the_keys_of_another_also_when_it_is_away(self) -> None:
        for is_away in (False, True):
            if is_away:
                await self.south.stop()
            wanted = json.dumps({"server_keys": {self.south.name: {}, "127.0.0.1:1": {}, "no name": {}}}).encode()
            for reply in (
                await self.north.call_as_server("GET", f"{QUERY}/{self.south.name}"),
                await self.north.call_as_server("POST", QUERY, body=wanted),
            ):
                found = parse_notary_answer(
                    reply.json,
                    notary=self.north.name,
                    notary_keys={self.north.key.key_id: self.north.key.verify_key},
                    received_ms=now_ms(),
                )
                assert set(found) == {self.south.name}

    async def test_keys_that_are_valid_long_enough_are_wanted(self) -> None:
        first = (await self.north.call_as_server("GET", f"{QUERY}/{self.south.name}")).json["server_keys"][0]
        self.south.late_ms = self.north.late_ms = DAY_MS // 2
        for until_ms, is_newer in ((first["valid_until_ts"], False), (first["valid_until_ts"] + 1, True)):
            path = f"{QUERY}/{self.south.name}?minimum_valid_until_ts={until_ms}"
            (found,) = (await self.north.call_as_server("GET", path)).json["server_keys"]
            assert (found["valid_until_ts"] > first["valid_until_ts"]) == is_newer

    async def test_we_are_asked_for_our_own_as_for_anybodys(self) -> None:
        (found,) = (await self.north.call_as_server("GET", f"{QUERY}/{self.north.name}")).json["server_keys"]
        assert found == (await self.north.call_as_server("GET", SERVER)).json

    async def test_nothing_is_said_of_nobody(self) -> None:
        for reply in (
            await self.north.call_as_server("GET", f"{QUERY}/127.0.0.1:1"),
            await self.north.call_as_server("POST", QUERY, body=b'{"server_keys": {}}'),
        ):
            assert (reply.status, reply.json) == (200, {"server_keys": []})
        assert (await self.north.call_as_server("POST", QUERY, body=b"{}")).status == 400

    async def test_a_third_region_believes_a_notary_about_one_that_is_away(self) -> None:
        event = self.build_event(self.south, now_ms())
        await self.north.keyring.verify(sign_json({}, self.south.name, self.south.key), self.south.name)
        await self.south.stop()
        west = self.make_region("west", federation={"mode": "open", "notaries": [self.north.name]})
        east = self.make_region("east")
        for region in (west, east):
            await region.begin()
        assert await west.keyring.check_events([event]) == {}
        assert set(await east.keyring.check_events([event])) == {event.event_id}


class Announced(RegionsCase):
    """A server that is not where its name says."""

    configuration = {"federation": {"mode": "open", "delegate": "matrix.north.test:443"}}

    async def test_it_says_where_it_is_wherever_it_is_asked(self) -> None:
        path = "/.well-known/matrix/server"
        for reply in (await self.north.call("GET", path), await self.north.call_as_server("GET", path)):
            assert (reply.status, reply.json) == (200, {"m.server": "matrix.north.test:443"})


class ListedKeys(RegionsCase):
    """A list that names the keys of a region."""

    mode = "list"

    async def test_only_these_are_believed(self) -> None:
        members: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        listed = {self.south.key.key_id: {"key": self.south.key.verify_key.encode()}}
        members[self.south.name]["keys"] = listed
        self.publish(self.build_list(regions=members))
        await self.refresh()
        await self.north.keyring.verify(sign_json({}, self.south.name, self.south.key), self.south.name)
        prepare_next_key(self.south.settings.data_dir, secrets.token_bytes)
        await self.south.restart()
        with pytest.raises(BadSignature):
            await self.north.keyring.verify(sign_json({}, self.south.name, self.south.key), self.south.name)
        listed[self.south.key.key_id] = {"key": self.south.key.verify_key.encode()}
        self.publish(self.build_list(regions=members))
        await self.refresh()
        await self.north.keyring.verify(sign_json({}, self.south.name, self.south.key), self.south.name)
