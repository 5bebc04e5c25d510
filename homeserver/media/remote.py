"""Files of other servers: fetched once, when somebody may see them, and kept like ours.

A file is on disk whole and with its hash known before anybody gets it. Each server is bounded in how much it sends, how
slowly, and how many files at a time; where a file is said to lie elsewhere, that is gone to as to any foreign place.

Spec: server-server-api#content-repository
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, urljoin

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from federation.errors import BadAnswer, PeerRefused, PeerUnreachable, Refused
from federation.ids import ServerName
from federation.transport.agent import Download, Outgoing
from federation.transport.peers import Peers
from homeserver.media.files import Arriving, Files, StoredFile, TooLarge, new_media_id
from homeserver.media.multipart import TwoParts, find_boundary
from homeserver.media.names import find_filename, read_content_type
from homeserver.media.world import World
from homeserver.policy import NotFound
from homeserver.storage import media as table
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRecord

SILENCE_S: Final = 30.0
"""How long a server may send nothing of a file."""
LONGEST_MS: Final = 10 * 60 * 1000
"""How long one file may take."""
MOST_OF_ONE: Final = 8
MOST_OF_ALL: Final = 64
"""How many files are fetched side by side from one server, and from all."""
MOST_REDIRECTS: Final = 3
BLOCK: Final = 1 << 18
_OVERHEAD: Final = 1 << 18
"""How many bytes an answer may have beside the file."""
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


class Goes(Protocol):
    """Makes requests outward."""

    async def open(self, request: Outgoing) -> Download:
        """Make a request and hear the head of the answer."""


class NotYetThere(Exception):
    """The other server waits for the file itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who fetches what to where: files of at most so many bytes."""

    peers: Peers
    outward: Goes
    files: Files
    database: Database
    world: World
    largest: int


@dataclass(slots=True)
class _Kind:
    """What is said of a file."""

    content_type: str | None
    disposition: str | None


class RemoteMedia:
    """Fetches files of other servers."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._running: dict[tuple[ServerName, str], list[Deferred[None]]] = {}
        self._busy: Counter[ServerName] = Counter()

    async def fetch(self, origin: ServerName, media_id: str, wait_ms: int) -> None:
        """Have a file of another server here; it is fetched once for all who want it now.

        Raises: NotFound; NotYetThere; TooLarge; RemoteFault.
        """
        waiter: Deferred[None] = Deferred()
        waiting = self._running.setdefault((origin, media_id), [])
        waiting.append(waiter)
        if len(waiting) == 1:
            # a Deferred of its own: the first who asks may go away
            fetching = Deferred.fromCoroutine(self._fetch(origin, media_id, wait_ms))
            fetching.addBoth(self._conclude, (origin, media_id))
        await waiter

    def _conclude(self, outcome: None | Failure, which: tuple[ServerName, str]) -> None:
        for waiter in self._running.pop(which):
            waiter.callback(outcome)

    async def _fetch(self, origin: ServerName, media_id: str, wait_ms: int) -> None:
        if self._busy[origin] >= MOST_OF_ONE or self._busy.total() >= MOST_OF_ALL:
            raise PeerUnreachable(f"too much is being fetched from {origin}")
        self._busy[origin] += 1
        try:
            record = await self._load(origin, media_id, wait_ms)
            await self._place.database.write(table.append_media, record)
        finally:
            self._busy[origin] -= 1
            if not self._busy[origin]:
                del self._busy[origin]

    async def _load(self, origin: ServerName, media_id: str, wait_ms: int) -> MediaRecord:
        """Bring the bytes to disk."""
        place = self._place
        file_id = new_media_id(place.world.token_bytes)
        arriving = place.files.arrive(file_id, place.largest)
        try:
            kind = await self._copy(origin, media_id, wait_ms, arriving)
            stored: StoredFile = await place.world.call(arriving.finish)
        except BaseException:
            await place.world.call(arriving.abandon)
            raise
        return MediaRecord(
            origin=origin,
            media_id=media_id,
            uploader=None,
            created_ms=place.world.now_ms(),
            content_type=read_content_type(kind.content_type),
            filename=find_filename(kind.disposition),
            size=stored.size,
            sha256=stored.sha256,
            file_id=file_id,
        )

    async def _copy(self, origin: ServerName, media_id: str, wait_ms: int, arriving: Arriving) -> _Kind:
        """Fetch the bytes; where the server does not know the way, by the older one."""
        until_ms = self._place.world.now_ms() + LONGEST_MS
        name = quote(media_id, safe="")
        try:
            download = await self._open(origin, f"/_matrix/federation/v1/media/download/{name}", wait_ms)
        except PeerRefused as refusal:
            if refusal.errcode != "M_UNRECOGNIZED":
                raise
            download = await self._open(origin, f"/_matrix/media/v3/download/{origin}/{name}", wait_ms, older=True)
            return await self._copy_whole(download, arriving, until_ms)
        boundary = find_boundary(download.headers.get("content-type", ""))
        try:
            if boundary is None:
                raise BadAnswer("the answer is not of two parts")
            parts = TwoParts(boundary)
            await self._copy_parts(download, parts, arriving, until_ms)
        finally:
            download.close()
        headers = parts.headers or {}
        if "location" in headers:
            return await self._follow(headers["location"], arriving, until_ms)
        return _Kind(headers.get("content-type"), headers.get("content-disposition"))

    async def _copy_whole(self, download: Download, arriving: Arriving, until_ms: int) -> _Kind:
        try:
            while piece := await self._read(download, until_ms):
                await self._write(arriving, piece)
        finally:
            download.close()
        return _Kind(download.headers.get("content-type"), download.headers.get("content-disposition"))

    async def _copy_parts(self, download: Download, parts: TwoParts, arriving: Arriving, until_ms: int) -> None:
        while piece := await self._read(download, until_ms):
            content = parts.feed(piece)
            if content and "location" not in (parts.headers or {}):
                await self._write(arriving, content)
        parts.end()

    async def _open(self, origin: ServerName, path: str, wait_ms: int, *, older: bool = False) -> Download:
        """The server's answer; by the older way it must not ask others for the file.

        Raises: NotFound; NotYetThere; TooLarge; RemoteFault.
        """
        query = [("timeout_ms", str(wait_ms)), *([("allow_remote", "false")] if older else [])]
        try:
            return await self._place.peers.open(origin, path, query, SILENCE_S, self._place.largest + _OVERHEAD)
        except Refused:
            raise NotFound from None
        except PeerRefused as refusal:
            if refusal.errcode == "M_NOT_YET_UPLOADED":
                raise NotYetThere from None
            if refusal.errcode == "M_TOO_LARGE":
                raise TooLarge from None
            if refusal.status in (403, 404) and (older or refusal.errcode != "M_UNRECOGNIZED"):
                raise NotFound from None
            raise

    async def _follow(self, location: str, arriving: Arriving, until_ms: int) -> _Kind:
        """Fetch a file from where the server says it lies.

        Raises: BadAnswer; RemoteFault.
        """
        for _ in range(MOST_REDIRECTS + 1):
            if not location.startswith("https://") or len(location) > BLOCK or not location.isascii():
                raise BadAnswer("the file lies nowhere where it may be fetched from")
            headers = {"User-Agent": "Parta"}
            request = Outgoing(
                method="GET", url=location, headers=headers, most_bytes=self._place.largest + 1, within_s=SILENCE_S
            )
            download = await self._place.outward.open(request)
            if download.status == 200:
                return await self._copy_whole(download, arriving, until_ms)
            download.close()
            if download.status not in _MOVED or "location" not in download.headers:
                raise BadAnswer(f"the file is not where it is said to be: {download.status}")
            location = urljoin(location, download.headers["location"])
        raise BadAnswer("the file lies behind too many redirects")

    async def _read(self, download: Download, until_ms: int) -> bytes:
        if self._place.world.now_ms() > until_ms:
            raise PeerUnreachable("the file comes too slowly")
        return await download.read()

    async def _write(self, arriving: Arriving, content: bytes) -> None:
        if arriving.take(content) >= BLOCK:
            await self._place.world.call(arriving.write)
