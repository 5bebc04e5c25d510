"""Other people's machines on loopback: names that resolve there, a DNS server, web servers that say what they are told.

    class Finding(ElsewhereCase):
        async def test_it_is_there(self) -> None:
            site = await self.open_site("north.test")
            site.answers["/.well-known/matrix/server"] = Said(body=b'{"m.server": "host.test:443"}')

Every name ends in ``.test`` and is 127.0.0.1; `outward` trusts `certifier`. SRV records are in `records`.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.names import dns
from twisted.names.client import Resolver
from twisted.names.error import DNSNameError, DNSServerError
from twisted.names.server import DNSServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from config.settings import TLS
from federation.transport.agent import Outward, Rules
from homeserver.api.credentials import Credentials
from tests.kit.certificates import Authority
from tests.kit.databases import reactor_in_use


@dataclass(kw_only=True)
class Said:
    """An answer; `silent` does not end by itself."""

    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    host: str | None
    authorization: str | None
    body: bytes


class WebSite(Resource):
    """A web server: `answers` by path, 404 for others; `asked` is what came, `open` what of it is not answered to the
    end; `port` where it is.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Said] = {}
        self.asked: list[Asked] = []
        self.open: list[Any] = []
        self.port = 0

    def render(self, request: Any) -> Any:
        """Answer."""
        path = request.path.decode()
        self.asked.append(
            Asked(
                method=request.method.decode(),
                path=request.uri.decode(),
                host=request.getHeader("host"),
                authorization=request.getHeader("authorization"),
                body=request.content.read(),
            )
        )
        said = self.answers.get(path, Said(status=404, body=b"not here"))
        request.setResponseCode(said.status)
        for name, value in said.headers.items():
            request.setHeader(name, value)
        if said.silent:
            request.write(said.body)
            self.open.append(request)
            return NOT_DONE_YET
        return said.body


@implementer(IHostnameResolver)
class _Loopback:
    """Names that end in ``.test`` are this machine; no other name is anywhere."""

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's name
        hostName: str,  # noqa: N803 - Twisted's name
        portNumber: int = 0,  # noqa: N803 - Twisted's name
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803 - Twisted's name
        transportSemantics: str = "TCP",  # noqa: N803 - Twisted's name
    ) -> IHostResolution:
        class Resolution:
            name = hostName

            def cancel(self) -> None:
                pass

        resolution: Any = Resolution()
        resolutionReceiver.resolutionBegan(resolution)
        if hostName.endswith(".test") or hostName == "127.0.0.1":
            resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution  # type: ignore[no-any-return]


@implementer(IReactorPluggableNameResolver)
class _NamedReactor:
    """The reactor, with those names."""

    nameResolver = _Loopback()  # noqa: N815 - Twisted's name

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        raise TypeError("the names of a test are not replaced")

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor_in_use(), name)


class _Zone:
    """Answers DNS queries out of a test's records; a name whose records are None is a server's failure."""

    def __init__(self, records: dict[str, list[tuple[int, int, int, str]] | None], asked: list[str]) -> None:
        self._records = records
        self._asked = asked

    def query(self, query: Any, timeout: object = None) -> "Deferred[Any]":
        name = query.name.name.decode()
        self._asked.append(name)
        if query.type != dns.SRV or name not in self._records:
            return fail(DNSNameError(name))
        found = self._records[name]
        if found is None:
            return fail(DNSServerError(name))
        answers = [
            dns.RRHeader(name, dns.SRV, dns.IN, 600, dns.Record_SRV(priority, weight, port, target, 600))
            for priority, weight, port, target in found
        ]
        return succeed((answers, [], []))


class ElsewhereCase(TestCase):
    """A test with machines elsewhere."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """A certificate authority, a DNS server, and the way outward."""
        self.folder = Path(tempfile.mkdtemp(prefix="parta-elsewhere-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.certifier = Authority(self.folder / "ca.pem")
        self.records: dict[str, list[tuple[int, int, int, str]] | None] = {}
        self.queried: list[str] = []
        zone = DNSServerFactory(clients=[_Zone(self.records, self.queried)])
        zone.noisy = False
        protocol = dns.DNSDatagramProtocol(zone)
        protocol.noisy = False
        port = reactor_in_use().listenUDP(0, protocol, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.resolver = Resolver(servers=[("127.0.0.1", port.getHost().port)], reactor=reactor_in_use())
        self.outward = self.build_outward()

    def build_outward(self, *, allow_private_addresses: bool = True) -> Outward:
        """A way outward that trusts the test's authority."""
        rules = Rules(trusted_ca=self.certifier.file, allow_private_addresses=allow_private_addresses)
        outward = Outward(_NamedReactor(), rules)
        self.addCleanup(outward.close)
        return outward

    async def open_site(self, *subjects: str, days: int = 1) -> WebSite:
        """A web server with a certificate of those names, which may be so many days old."""
        site = WebSite()
        factory = Site(site)
        factory.noisy = False
        site.port = await self.open_port(factory, *subjects, days=days)
        return site

    async def open_port(self, factory: Any, *subjects: str, days: int = 1) -> int:
        """Speak a protocol over TLS, with a certificate of those names; the port."""
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        certificate, key = self.certifier.certify(folder, *subjects, days=days)
        secured = TLSMemoryBIOFactory(Credentials(TLS(certificate=certificate, private_key=key)), False, factory)
        listening = reactor_in_use().listenTCP(0, secured, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port
        return port
