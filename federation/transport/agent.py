"""Outward HTTP: names are resolved once, denied addresses are never connected to, and answers are bounded.

The address that was judged is the address that is connected to, so a name that changes between the two opens nothing.
Redirects are answers like any other: whoever wants to follow one makes another request, which is judged again.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from OpenSSL import SSL
from twisted.internet._sslverify import IOpenSSLTrustRoot  # public nowhere else, and there is no other way to add a CA
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHostnameResolver,
    IHostResolution,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from twisted.web.client import (
    URI,
    Agent,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from federation.discovery import Places
from federation.transport.answers import BrokenOff, Download, Listener, Pieces, Pool, TooMuch, Unreachable

__all__ = [
    "BrokenOff",
    "Download",
    "Incoming",
    "Outgoing",
    "Outward",
    "Rules",
    "TooMuch",
    "Unreachable",
    "is_public",
]

T = TypeVar("T")

CONNECT_S: Final = 10.0
CONNECTIONS_PER_HOST: Final = 4
IDLE_S: Final = 45
"""How long a connection is kept that is not used: less long than most servers keep theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request on its way out; `most_bytes` bounds the answer's body, `within_s` the whole.

    With `to`, it goes there by TLS, whatever the host in `url` is.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    most_bytes: int = 1 << 20
    within_s: float = 30.0
    to: Places | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """What came back; header names are in lower case, of a header sent twice the first counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where requests may go and whom they trust."""

    trusted_ca: Path | None = None
    verify_certificates: bool = True
    allow_private_addresses: bool = False


def is_public(host: str) -> bool:
    """Tell whether an IP address is one of the open Internet: not private, loopback, link-local, multicast or reserved.

    IPv4 addresses in an IPv6 one (mapped, 6to4, Teredo, NAT64) count as themselves. What is no address is not public.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ip_address(int(address) & 0xFFFFFFFF))
        if any(each is not None and not is_public(str(each)) for each in inner):
            return False
    return address.is_global and not address.is_multicast


class _Nat64:
    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv6Address) and int(address) >> 32 == 0x0064FF9B0000000000000000


_NAT64: Final = _Nat64()


@implementer(IResolutionReceiver)
class _PublicOnly:
    """Passes on the addresses that may be connected to."""

    def __init__(self, receiver: IResolutionReceiver) -> None:
        self._receiver = receiver

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803 - Twisted's names
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's name
        if is_public(cast("Any", address).host):
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        self._receiver.resolutionComplete()


@implementer(IHostnameResolver)
class _PublicResolver:
    """Resolves names to public addresses only."""

    def __init__(self, resolver: IHostnameResolver) -> None:
        self._resolver = resolver

    def resolveHostName(  # noqa: N802 - Twisted's name and parameters
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's name
        hostName: str,  # noqa: N803 - Twisted's name
        portNumber: int = 0,  # noqa: N803 - Twisted's name
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803 - Twisted's name
        transportSemantics: str = "TCP",  # noqa: N803 - Twisted's name
    ) -> IHostResolution:
        return self._resolver.resolveHostName(
            _PublicOnly(resolutionReceiver), hostName, portNumber, addressTypes, transportSemantics
        )


@implementer(IReactorPluggableNameResolver)
class _GuardedReactor:
    """The reactor, with names that resolve to public addresses only."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.nameResolver = _PublicResolver(reactor.nameResolver)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:  # noqa: N802 - Twisted's name
        raise TypeError("the resolver of outward requests is not replaced")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IOpenSSLTrustRoot)
class _SystemAnd:
    """The system's certificate authorities, and those of a PEM file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def _addCACertsToContext(self, context: SSL.Context) -> None:  # noqa: N802 - the interface's name
        context.set_default_verify_paths()
        if self._file is not None:
            context.load_verify_locations(str(self._file))


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """TLS with whoever answers; for tests on one machine."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803 - Twisted's names
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where a URI is connected to, and over which TLS."""

    def __init__(self, reactor: Any, rules: Rules) -> None:
        self._reactor = reactor if rules.allow_private_addresses else _GuardedReactor(reactor)
        self._verify = rules.verify_certificates
        self._trust = _SystemAnd(rules.trusted_ca)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - Twisted's name
        endpoint = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=CONNECT_S)
        return endpoint if uri.scheme != b"https" else self._secure(uri.host.decode("ascii"), endpoint)

    def endpoint_for_places(self, places: Places) -> IStreamClientEndpoint:
        """Connects to the first of the places where somebody answers, with the certificate that must be shown there."""
        ends = [HostnameEndpoint(self._reactor, host.encode("ascii"), port, CONNECT_S) for host, port in places.places]
        return self._secure(places.certified, _InTurn(ends))

    def _secure(self, host: str, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        return _Secured(endpoint, lambda: self._creator(host))

    def _creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        if not self._verify:
            return _Unverified(host)
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(host, trustRoot=self._trust)
        return creator


@implementer(IStreamClientEndpoint)
class _Secured:
    """Speaks TLS over another endpoint; what that takes is made for a new connection, not for each request."""

    def __init__(self, endpoint: IStreamClientEndpoint, creator: Callable[[], IOpenSSLClientConnectionCreator]) -> None:
        self._endpoint = endpoint
        self._creator = creator

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        connected: Deferred[IProtocol] = wrapClientTLS(self._creator(), self._endpoint).connect(protocolFactory)
        return connected


@implementer(IStreamClientEndpoint)
class _InTurn:
    """Tries one endpoint after the other."""

    def __init__(self, endpoints: Sequence[IStreamClientEndpoint]) -> None:
        self._endpoints = endpoints

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        for endpoint in self._endpoints[:-1]:
            with suppress(ConnectError, DNSLookupError):
                return await endpoint.connect(factory)
        return await self._endpoints[-1].connect(factory)


@implementer(IAgentEndpointFactory)
class _Fixed:
    """The one endpoint of a request."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802 - Twisted's name
        return self._endpoint


@implementer(IBodyProducer)
class _Bytes:
    """A body that is there whole."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802 - Twisted's name
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """All has been written at once."""

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """All has been written at once."""

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """All has been written at once."""


_NO_WAY: Final = (ConnectError, ConnectingCancelledError, DNSLookupError)
_FAULTS: Final = (*_NO_WAY, ResponseFailed, RequestTransmissionFailed, SSL.Error, ValueError)


class Outward:
    """Makes requests to elsewhere, over connections that are kept for the next one."""

    def __init__(self, reactor: Any, rules: Rules) -> None:
        self._reactor = reactor
        self._pool = Pool(reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS_PER_HOST
        self._pool.cachedConnectionTimeout = IDLE_S
        self._pool.retryAutomatically = False
        self._endpoints = _Endpoints(reactor, rules)
        self._agent = self._agent_over(self._endpoints)
        self._under_way: set[Deferred[Any]] = set()
        self._is_closed = False

    async def ask(self, request: Outgoing) -> Incoming:
        """Make a request and hear the whole answer.

        Raises:
            Unreachable: It could not be made, was not answered in time, or went to an address that is denied.
            TooMuch: The answer is longer than is listened to.
        """
        return await self._within(request, self._ask(request))

    async def open(self, request: Outgoing) -> Download:
        """Make a request and hear the head of the answer; its body comes when it is read.

        `within_s` bounds the time to the head, and then each silence.

        Raises:
            Unreachable: as `ask`.
        """
        response = await self._within(request, self._begin(request))
        pieces = Pieces(self._reactor, request.most_bytes, request.within_s)
        response.deliverBody(pieces)
        return Download(response.code, _headers_of(response), pieces)

    async def _within(self, request: Outgoing, asking: Coroutine[Any, Any, T]) -> T:
        if self._is_closed:
            asking.close()
            raise Unreachable("no more requests are made")
        asked = Deferred.fromCoroutine(asking)
        self._under_way.add(asked)
        try:
            return await asked.addTimeout(request.within_s, self._reactor)
        except (TooLate, CancelledError):
            raise Unreachable(f"no answer within {request.within_s} s") from None
        finally:
            self._under_way.discard(asked)

    async def _ask(self, request: Outgoing) -> Incoming:
        response = await self._begin(request)
        listener = Listener(request.most_bytes)
        response.deliverBody(listener)
        return Incoming(status=response.code, headers=_headers_of(response), body=await listener.heard)

    async def _begin(self, request: Outgoing) -> IResponse:
        """The head of the answer."""
        headers = Headers({name: [value] for name, value in request.headers.items()})
        body = None if request.body is None else _Bytes(request.body)
        try:
            url, method = request.url.encode("ascii"), request.method.encode("ascii")
            return await self._agent_for(request.to).request(method, url, headers, body)
        except (ResponseNeverReceived, RequestTransmissionFailed) as fault:
            raise BrokenOff(f"{type(fault).__name__}: {fault}") from fault
        except _FAULTS as fault:
            raise Unreachable(f"{type(fault).__name__}: {fault}") from fault

    def _agent_for(self, places: Places | None) -> Agent:
        """The agent that connects there; its connections are kept with all others."""
        if places is None:
            return self._agent
        return self._agent_over(_Fixed(self._endpoints.endpoint_for_places(places)))

    def _agent_over(self, endpoints: IAgentEndpointFactory) -> Agent:
        agent: Agent = Agent.usingEndpointFactory(self._reactor, endpoints, pool=self._pool)
        return agent

    def close(self) -> Deferred[None]:
        """Make no more requests, give up those that are under way, and let go of the connections that are kept."""
        self._is_closed = True
        for asked in tuple(self._under_way):
            asked.cancel()
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


def _headers_of(response: IResponse) -> dict[str, str]:
    named = {name.decode("latin-1").lower(): values[0] for name, values in response.headers.getAllRawHeaders()}
    return {name: value.decode("latin-1") for name, value in named.items()}
