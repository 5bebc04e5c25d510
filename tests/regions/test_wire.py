"""Two regions on loopback: what they ask each other, and what they refuse."""

import pytest

from federation.errors import BadSignature, PeerRefused, PeerUnreachable
from federation.signatures import sign_json
from tests.kit.region import RegionsCase

VERSION = "/_matrix/federation/v1/version"


class Asking(RegionsCase):
    """Open federation; one region keeps its data in each of the databases."""

    dialects = ("sqlite", "postgresql")

    async def test_a_server_asks_another_and_is_answered(self) -> None:
        answer = await self.north.peers.ask(self.south.name, "GET", VERSION)
        assert answer["server"]["name"] == "Parta"

    async def test_what_another_has_signed_is_known_to_be_theirs(self) -> None:
        signed = sign_json({"a": 1}, self.south.name, self.south.key)
        await self.north.keyring.verify(signed, self.south.name)
        with pytest.raises(BadSignature):
            await self.north.keyring.verify({**signed, "a": 2}, self.south.name)

    async def test_a_server_that_is_away_is_left_alone_until_it_calls_also_over_a_restart(self) -> None:
        await self.south.stop()
        with pytest.raises(PeerUnreachable):
            await self.north.peers.ask(self.south.name, "GET", VERSION)
        await self.north.restart()
        assert self.north.peers.retry_ms(self.south.name) > 0
        await self.south.begin()
        with pytest.raises(PeerUnreachable, match="left alone"):
            await self.north.peers.ask(self.south.name, "GET", VERSION)
        self.north.peers.heard_from(self.south.name)
        await self.north.peers.ask(self.south.name, "GET", VERSION)
        assert self.north.peers.retry_ms(self.south.name) == 0

    async def test_who_is_cut_off_is_not_reached_until_that_is_healed(self) -> None:
        self.cut(self.north)
        for one, other in ((self.north, self.south), (self.south, self.north)):
            with pytest.raises(PeerUnreachable):
                await one.peers.ask(other.name, "GET", VERSION)
        self.heal()
        for one, other in ((self.north, self.south), (self.south, self.north)):
            await one.peers.ask(other.name, "GET", VERSION)

    async def test_an_error_is_told_with_its_code(self) -> None:
        with pytest.raises(PeerRefused) as refused:
            await self.north.peers.ask(self.south.name, "GET", "/_matrix/federation/v1/nothing")
        assert (refused.value.status, refused.value.errcode) == (404, "M_UNRECOGNIZED")
