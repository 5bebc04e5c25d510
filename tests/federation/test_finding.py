"""Finding servers: real DNS, real TLS, and whatever web servers may answer."""

from typing import Any

import pytest

from federation.discovery import LONGEST_FAILURE_MS, SHORTEST_MS, Place, Places
from federation.errors import Refused
from federation.ids import ServerName
from federation.transport.agent import Incoming, Outgoing, Outward, Unreachable
from federation.transport.discovery import MOST_REDIRECTS, WELL_KNOWN, WELL_KNOWN_BYTES, Discovery, Sources
from federation.transport.resolver import SystemResolver
from tests.kit.databases import reactor_in_use
from tests.kit.elsewhere import ElsewhereCase, Said

NORTH = ServerName("north.test")
HOUR = 3_600_000


class GuardedAt:
    """Goes outward freely but to some hosts, to which it goes as outside tests."""

    def __init__(self, free: Outward, guarded: Outward, hosts: set[str]) -> None:
        self._free, self._guarded, self._hosts = free, guarded, hosts
        self.faults: list[Unreachable] = []

    async def ask(self, request: Outgoing) -> Incoming:
        if not any(f"//{host}:" in request.url for host in self._hosts):
            return await self._free.ask(request)
        try:
            return await self._guarded.ask(request)
        except Unreachable as fault:
            self.faults.append(fault)
            raise


class Finding(ElsewhereCase):
    """A server north.test, whose web server answers what the test says."""

    async def setUp(self) -> None:
        await super().setUp()
        self.now = 1_700_000_000_000
        self.site = await self.open_site("north.test")
        self.discovery = self.build()

    def build(self, **changes: Any) -> Discovery:
        sources = {
            "outward": self.outward,
            "resolver": self.resolver,
            "now_ms": lambda: self.now,
            "chance": lambda: 0.5,
            "well_known_port": self.site.port,
        }
        return Discovery(Sources(**{**sources, **changes}))

    def delegate(self, body: bytes, **more: Any) -> None:
        self.site.answers[WELL_KNOWN] = Said(body=body, **more)

    async def find(self, server: str = NORTH) -> Places:
        return await self.discovery.find(ServerName(server))

    async def ask(self, places: Places, outward: Outward | None = None) -> Incoming:
        scheme = "https" if ":" in places.host_header else "matrix"
        headers = {"Host": places.host_header}
        url = f"{scheme}://{places.host_header}/path"
        return await (outward or self.outward).ask(Outgoing(method="GET", url=url, headers=headers, to=places))

    async def test_a_name_with_a_port_is_asked_there_and_nowhere_else(self) -> None:
        places = await self.find(f"north.test:{self.site.port}")
        assert (await self.ask(places)).status == 404
        assert [(asked.path, asked.host) for asked in self.site.asked] == [("/path", f"north.test:{self.site.port}")]
        assert self.queried == []

    async def test_a_delegation_with_a_port_is_followed_with_that_name_and_certificate(self) -> None:
        host = await self.open_site("host.test")
        self.delegate(f'{{"m.server": "host.test:{host.port}"}}'.encode())
        places = await self.find()
        assert places == Places(
            host_header=f"host.test:{host.port}", certified="host.test", places=(Place("host.test", host.port),)
        )
        assert (await self.ask(places)).status == 404
        assert [asked.host for asked in host.asked] == [f"host.test:{host.port}"]
        assert self.queried == []

    async def test_a_delegation_to_somebody_with_another_certificate_leads_nowhere(self) -> None:
        host = await self.open_site("other.test", "north.test")
        self.delegate(f'{{"m.server": "host.test:{host.port}"}}'.encode())
        with pytest.raises(Unreachable):
            await self.ask(await self.find())
        assert host.asked == []

    async def test_a_delegated_name_is_looked_up_in_the_dns(self) -> None:
        host = await self.open_site("host.test")
        self.delegate(b'{"m.server": "host.test"}')
        self.records["_matrix-fed._tcp.host.test"] = [(1, 0, host.port, "machine.test")]
        places = await self.find()
        assert places.places == (Place("machine.test", host.port),)
        assert (await self.ask(places)).status == 404
        assert [asked.host for asked in host.asked] == ["host.test"]

    async def test_without_a_delegation_the_dns_says_where_and_the_name_must_be_certified(self) -> None:
        impostor, host = await self.open_site("machine.test"), await self.open_site("north.test")
        self.records["_matrix-fed._tcp.north.test"] = [(2, 0, host.port, "machine.test"), (1, 0, 1, "gone.test")]
        self.records["_matrix._tcp.north.test"] = [(1, 0, impostor.port, "machine.test")]
        places = await self.find()
        assert places.places == (Place("gone.test", 1), Place("machine.test", host.port))
        assert (await self.ask(places)).status == 404  # nobody answers at the first
        assert [asked.host for asked in host.asked] == ["north.test"]
        self.records["_matrix-fed._tcp.north.test"] = [(1, 0, impostor.port, "machine.test")]
        with pytest.raises(Unreachable):
            await self.ask(await self.build().find(NORTH), self.build_outward())
        assert impostor.asked == []

    async def test_the_old_service_name_is_asked_for_after_the_new_one(self) -> None:
        self.records["_matrix._tcp.north.test"] = [(1, 0, 8000, "machine.test")]
        assert (await self.find()).places == (Place("machine.test", 8000),)
        assert self.queried == ["_matrix-fed._tcp.north.test", "_matrix._tcp.north.test"]

    async def test_with_nothing_said_it_is_port_8448_of_the_name(self) -> None:
        assert (await self.find()).places == (Place("north.test", 8448),)

    async def test_a_dns_server_that_fails_takes_nothing_away(self) -> None:
        for service in ("_matrix-fed._tcp", "_matrix._tcp"):
            self.records[f"{service}.north.test"] = None
        assert (await self.find()).places == (Place("north.test", 8448),)

    async def test_what_is_no_delegation_is_as_if_there_were_none(self) -> None:
        self.records["_matrix-fed._tcp.north.test"] = [(1, 0, 8000, "machine.test")]
        for said in (
            Said(body=b"[]"),
            Said(body=b'{"m.server": "host.test/path"}'),
            Said(body=b'{"m.server": "host.test"}', status=500),
            Said(body=b'{"m.server": "host.test", "more": "' + b"x" * WELL_KNOWN_BYTES + b'"}'),
        ):
            self.site.answers[WELL_KNOWN] = said
            assert (await self.build().find(NORTH)).places == (Place("machine.test", 8000),)

    async def test_redirects_are_followed_but_not_in_circles_nor_for_ever_nor_in_the_clear(self) -> None:
        base = f"https://north.test:{self.site.port}"
        self.site.answers["/end"] = Said(body=b'{"m.server": "host.test:1"}')
        for number in range(MOST_REDIRECTS):
            self.site.answers[f"/{number}"] = Said(status=302, headers={"Location": f"/{number + 1}"})
        self.site.answers[f"/{MOST_REDIRECTS}"] = Said(status=308, headers={"Location": f"{base}/end"})
        for location, found in (
            ("/end", True),
            (f"{base}/end", True),
            ("/2", True),
            ("/0", False),
            (WELL_KNOWN, False),
            (f"http://north.test:{self.site.port}/end", False),
            ("file:///etc/passwd", False),
            (f"https://me@north.test:{self.site.port}/end", False),
            ("https://[::1/", False),
            ("", False),
        ):
            self.site.answers[WELL_KNOWN] = Said(status=301, headers={"Location": location})
            places = await self.build().find(NORTH)
            assert (places.places == (Place("host.test", 1),)) == found, location

    async def test_a_redirect_to_a_private_address_is_not_followed(self) -> None:
        inside = await self.open_site("inside.test", "127.0.0.1")
        inside.answers["/secret"] = Said(body=b'{"m.server": "host.test:1"}')
        for host in ("inside.test", "127.0.0.1"):
            outward = GuardedAt(
                self.outward, self.build_outward(allow_private_addresses=False), {"inside.test", "127.0.0.1"}
            )
            url = f"https://{host}:{inside.port}/secret"
            self.site.answers[WELL_KNOWN] = Said(status=302, headers={"Location": url})
            assert (await self.build(outward=outward).find(NORTH)).places == (Place("north.test", 8448),)
            assert len(outward.faults) == 1
        assert inside.asked == []

    async def test_an_answer_is_believed_as_long_as_it_says_also_when_many_ask(self) -> None:
        self.delegate(b'{"m.server": "host.test:1"}', headers={"Cache-Control": "max-age=3600"})
        await self.find()
        self.now += HOUR - 1
        await self.find()
        assert len(self.site.asked) == 1
        self.now += 1
        await self.find()
        assert len(self.site.asked) == 2

    async def test_that_there_is_none_is_believed_longer_each_time(self) -> None:
        spans = []
        for _ in range(9):
            await self.find()
            asked, begun = len(self.site.asked), self.now
            while len(self.site.asked) == asked:
                self.now += SHORTEST_MS
                await self.find()
            spans.append(self.now - begun)
        assert spans[:3] == [SHORTEST_MS, 2 * SHORTEST_MS, 4 * SHORTEST_MS]
        assert spans[-1] == LONGEST_FAILURE_MS

    async def test_records_are_believed_as_long_as_they_live(self) -> None:
        self.records["_matrix-fed._tcp.north.test"] = [(1, 0, 8000, "machine.test")]
        self.delegate(b'{"m.server": "north.test"}')
        await self.find()
        self.now += 599_000
        await self.find()
        assert len(self.queried) == 1
        self.now += 1_000
        await self.find()
        assert len(self.queried) == 2

    async def test_a_server_that_was_not_there_is_looked_for_anew(self) -> None:
        self.delegate(b'{"m.server": "host.test:1"}')
        await self.find()
        self.delegate(b'{"m.server": "host.test:2"}')
        assert (await self.find()).places == (Place("host.test", 1),)
        self.discovery.forget(NORTH)
        assert (await self.find()).places == (Place("host.test", 2),)

    async def test_a_delegation_that_is_not_allowed_is_refused(self) -> None:
        def check(server: ServerName, delegated: ServerName) -> None:
            if delegated != "host.test:1":
                raise Refused("region", f"{server} may not be {delegated}")

        discovery = self.build(check_delegation=check)
        self.delegate(b'{"m.server": "host.test:1"}', headers={"Cache-Control": "no-store"})
        await discovery.find(NORTH)
        self.delegate(b'{"m.server": "evil.test:1"}')
        self.now += SHORTEST_MS
        with pytest.raises(Refused):
            await discovery.find(NORTH)

    async def test_an_expired_certificate_is_none(self) -> None:
        expired = await self.open_site("late.test", days=-1)
        with pytest.raises(Unreachable):
            await self.ask(await self.find(f"late.test:{expired.port}"))
        assert expired.asked == []

    async def test_connections_are_kept_by_name_and_port(self) -> None:
        one, other = await self.open_site("one.test", "two.test"), await self.open_site("one.test", "two.test")
        for _ in range(2):
            for name, site in (("one.test", one), ("two.test", one), ("one.test", other)):
                await self.ask(await self.find(f"{name}:{site.port}"))
        assert [asked.host.partition(":")[0] for asked in one.asked if asked.host] == ["one.test", "two.test"] * 2
        assert len(other.asked) == 2


class SystemResolvers(ElsewhereCase):
    """The servers that the system names."""

    async def test_they_are_read_and_read_again(self) -> None:
        file = self.folder / "resolv.conf"
        resolver = SystemResolver(reactor_in_use(), file)
        assert resolver._servers() == [("127.0.0.1", 53)]
        file.write_text("# comment\nnameserver 192.0.2.1\nsearch test\nnameserver 2001:db8::1\nnameserver\n")
        assert resolver._servers() == [("192.0.2.1", 53), ("2001:db8::1", 53)]
