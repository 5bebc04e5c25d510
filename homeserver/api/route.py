"""Endpoints as declarations, what their functions get and give, and the table that finds them.

A request path is split once and walked through a tree of its segments: a dictionary look-up each, no pattern is
tried. Percent-decoding happens where there is a percent sign, and after the splitting, so that an encoded slash is
part of a parameter.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from homeserver.api.errors import MatrixError, MissingToken, Unrecognized, WrongMethod
from homeserver.api.query import Query, decode_component

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from federation.ids import DeviceID, ServerName, UserID
    from homeserver.accounts.sessions import Session
    from homeserver.api.connection import EdgeRequest

Auth: TypeAlias = Literal["none", "optional", "user", "admin", "region"]

JSON_LIMIT = 1 << 20
"""How many bytes a JSON body may have unless its route says otherwise."""


class FileBody(Struct, frozen=True):
    """A part of a file on disk, to be sent as it is: read as fast as the receiver takes it.

    `before` and `after` it that is sent, too.
    """

    path: Path
    start: int
    length: int
    before: bytes = b""
    after: bytes = b""


class Flow(Protocol):
    """A file that is still being written."""

    def open(self) -> BinaryIO:
        """What is there of it."""

    async def more(self, have: int) -> int:
        """How many bytes are there, once these are more than `have`; `have` itself at the end.

        Raises: what went wrong: the file will never be whole.
        """


class Answer(Struct, frozen=True):
    """What goes back: `body` is encoded as JSON unless it is bytes, which go out as they are.

    The content type is application/json unless `headers` names another. With a `file` or a `flow`, `body` is not looked
    at. A `flow` is sent as it comes, and broken off where it breaks; only where the call takes one.
    """

    status: int = 200
    body: object = b"{}"
    headers: Mapping[str, str] = {}
    file: FileBody | None = None
    flow: Flow | None = None


class Call:
    """One request, as its endpoint sees it.

    `params` are the decoded parts of the path, `body` is what the route's `body` type promises (None without one),
    `raw` its bytes. `session` is never None behind auth "user" and "admin": `caller` is it. Behind auth "region",
    `origin` is the server that has signed the request. A streaming route has the body as `content`, a readable file,
    on disk when large.
    """

    __slots__ = ("_origin", "body", "ip", "params", "query", "raw", "request", "request_id", "session")

    def __init__(self, request: "EdgeRequest", params: Mapping[str, str], query: Query) -> None:
        self.request = request
        self.params = params
        self.query = query
        self.ip: str = request.ip
        self.request_id: str = request.request_id
        self.session: Session | None = None
        self._origin: ServerName | None = None
        self.body: Any = None
        self.raw = b""

    @property
    def caller(self) -> "Session":
        """Whose request it is.

        Raises:
            MatrixError: nobody has signed in.
        """
        if self.session is None:
            raise MissingToken
        return self.session

    @property
    def asker(self) -> "UserID | None":
        """Who asks; None where nobody needs to sign in and nobody has."""
        return None if self.session is None else self.session.user_id

    @property
    def origin(self) -> "ServerName":
        """The other server whose request it is; on a route with auth "region" only."""
        assert self._origin is not None
        return self._origin

    @origin.setter
    def origin(self, server: "ServerName") -> None:
        self._origin = server

    @property
    def device(self) -> "DeviceID":
        """The device that asks.

        Raises:
            MatrixError: nobody has signed in, or an application service acts without a device.
        """
        device_id = self.caller.device_id
        if not device_id:
            raise MatrixError(400, "M_MISSING_PARAM", "This needs a device: name one in device_id")
        return device_id

    @property
    def gone(self) -> "Deferred[None]":
        """Fires when waiting has no sense any more: the client has hung up, or the server is about to stop.

        What waits should then answer with what it has; the answer still reaches a client that is there. It never
        fires after the answer.
        """
        return self.request.gone()

    @property
    def content(self) -> BinaryIO:
        """The body as a readable file, on a streaming route."""
        content = self.request.content
        assert content is not None
        return content

    @property
    def takes_flow(self) -> bool:
        """Whether an answer may be of unknown length, and it can be told when it is broken off."""
        return self.request.method == b"GET" and self.request.clientproto == b"HTTP/1.1"

    def header(self, name: str) -> str | None:
        """The value of a request header, None if it was not sent."""
        return self.request.getHeader(name)


Reply: TypeAlias = Answer | Struct | Mapping[str, Any] | bytes
Endpoint: TypeAlias = Callable[[Call], Coroutine[Any, Any, Reply]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """The declaration of one endpoint.

    `path` has its parameters in braces, one to a segment. `rate` is a class of `limits.RATES`, None for unlimited.
    `body` is the type the JSON body must have, None if no body is read; with `body_optional` an empty one counts as
    ``{}``. A `streaming` route gets its body as a file. No body may be longer than `body_limit` bytes.
    """

    method: str
    path: str
    handle: Endpoint
    auth: Auth = "user"
    rate: str | None = None
    spec: str = ""
    body: Any = None
    body_optional: bool = False
    body_limit: int = JSON_LIMIT
    streaming: bool = False


class Match(NamedTuple):
    """A route and the parameters the path gave it, in the order of its names."""

    route: Route
    names: tuple[str, ...]
    values: tuple[bytes, ...]

    def params(self) -> dict[str, str]:
        """The parameters by name, decoded.

        Raises:
            BadParam: one is not UTF-8.
        """
        return {name: decode_component(value) for name, value in zip(self.names, self.values, strict=True)}


class _Node:
    """What may follow after some segments of a path."""

    __slots__ = ("depth", "methods", "parameter", "words")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.words: dict[bytes, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[bytes, tuple[Route, tuple[str, ...]]] = {}

    def grow(self, segment: str) -> "_Node":
        """The node behind that segment of a declared path."""
        if segment.startswith("{"):
            self.parameter = self.parameter or _Node(self.depth + 1)
            return self.parameter
        return self.words.setdefault(segment.encode(), _Node(self.depth + 1))


class Router:
    """The table of all routes of one listener.

    ``/_matrix/client/r0/`` and ``/_matrix/media/r0/`` answer as v3, which they were renamed to.

    Spec: client-server-api#api-versions
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node(1)
        for route in routes:
            self._add(route)
        for api in (b"client", b"media"):
            node = self._root.words.get(b"_matrix", self._root).words.get(api)
            if node is not None and b"v3" in node.words:
                node.words.setdefault(b"r0", node.words[b"v3"])

    def _add(self, route: Route) -> None:
        node = self._root
        names = []
        for segment in route.path.split("/")[1:]:
            node = node.grow(segment)
            if segment.startswith("{"):
                names.append(segment[1:-1])
        method = route.method.encode()
        if method in node.methods:
            raise ValueError(f"declared twice: {route.method} {route.path}")
        node.methods[method] = (route, tuple(names))

    def match(self, method: bytes, path: bytes) -> Match:
        """The route for that request; HEAD is GET without the body.

        Raises:
            MatrixError: no such path (404), or not with that method (405).
        """
        segments = path.split(b"/")
        found = self._walk(b"GET" if method == b"HEAD" else method, self._root, segments, ())
        if found is None:
            raise WrongMethod if self._walk(None, self._root, segments, ()) else Unrecognized
        return found

    def _walk(
        self, method: bytes | None, node: _Node, segments: list[bytes], values: tuple[bytes, ...]
    ) -> Match | None:
        """The route with that method (or any) at the end of the path below a node; words go before parameters."""
        for at in range(node.depth, len(segments)):
            segment = segments[at]
            word = node.words.get(unquote_to_bytes(segment) if b"%" in segment else segment)
            if node.parameter is None:
                if word is None:
                    return None
                node = word
                continue
            if word is not None:
                found = self._walk(method, word, segments, values)
                if found is not None:
                    return found
            node = node.parameter
            values = (*values, segment)
        entry = node.methods.get(method) if method is not None else next(iter(node.methods.values()), None)
        return None if entry is None else Match(entry[0], entry[1], values)
