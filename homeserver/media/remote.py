"""Files of other servers: fetched once, when somebody may see them, and kept like ours.

A file is kept once it is on disk whole, with its hash known; who waits for it reads along (`coming`), unless it may be
what is in quarantine: then nobody sees a byte of it before its hash. Each server is bounded in how much it sends, how
slowly, and how many files at a time; where a file is said to lie elsewhere, that is gone to as to any foreign place.

Spec: server-server-api#content-repository
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, urljoin, urlsplit

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from federation.errors import BadAnswer, BadIdentifier, PeerRefused, PeerUnreachable, Refused
from federation.ids import ServerName, parse_server_name
from federation.transport.agent import Download, Outgoing, TooMuch
from federation.transport.peers import Peers
from homeserver.media.coming import Coming
from homeserver.media.files import Files, StoredFile, TooLarge, new_media_id
from homeserver.media.multipart import TwoParts, find_boundary
from homeserver.media.names import Label, read_label
from homeserver.media.world import World
from homeserver.policy import NotFound
from homeserver.storage import media as table
from homeserver.storage.database import Database, Txn
from homeserver.storage.media import MediaRecord
from homeserver.storage.media.keeping import find_kept, is_length_quarantined

SILENCE_S: Final = 30.0
"""How long a server may send nothing of a file."""
HEAD_S: Final = 10.0
"""How long a server may take to answer, beside waiting for a file that somebody is about to upload there."""
LONGEST_MS: Final = 10 * 60 * 1000
"""How long one file may take."""
MOST_OF_ONE: Final = 8
MOST_OF_ALL: Final = 64
"""How many files are fetched side by side from one server, and from all."""
MOST_REDIRECTS: Final = 3
LONGEST_LOCATION: Final = 1 << 14
_OVERHEAD: Final = 1 << 18
"""How many bytes an answer may have beside the file."""
_DIGITS: Final = 15
"""Of how many a length may be that is believed."""
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


class Goes(Protocol):
    """Makes requests outward."""

    async def open(self, request: Outgoing) -> Download:
        """Make a request and hear the head of the answer."""


class NotYetThere(Exception):
    """The other server waits for the file itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who fetches what to where: files of at most so many bytes. `check_host` refuses a place that files of a server
    are not to lie at.
    """

    peers: Peers
    outward: Goes
    check_host: Callable[[ServerName, ServerName], None]
    files: Files
    database: Database
    world: World
    largest: int


class RemoteMedia:
    """Fetches files of other servers."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._running: dict[tuple[ServerName, str], Coming] = {}
        self._busy: Counter[ServerName] = Counter()

    def fetch(self, origin: ServerName, media_id: str, wait_ms: int) -> Coming:
        """Have a file of another server come; it is fetched once for all who want it now, and not if it is kept.

        Who waits for it gets: NotFound; NotYetThere; TooLarge; RemoteFault; StorageUnavailable.
        """
        which = (origin, media_id)
        coming = self._running.get(which)
        if coming is None:
            coming = self._running[which] = Coming(self._place.world.reactor)
            # a Deferred of its own: the first who asks may go away
            fetching = Deferred.fromCoroutine(self._fetch(origin, media_id, wait_ms, coming))
            fetching.addBoth(self._conclude, which)
        return coming

    def _conclude(self, outcome: None | Failure, which: tuple[ServerName, str]) -> None:
        self._running.pop(which).conclude(outcome.value if isinstance(outcome, Failure) else None)

    async def _fetch(self, origin: ServerName, media_id: str, wait_ms: int, coming: Coming) -> None:
        if self._busy[origin] >= MOST_OF_ONE or self._busy.total() >= MOST_OF_ALL:
            raise PeerUnreachable(f"too much is being fetched from {origin}")
        self._busy[origin] += 1
        try:
            if await self._place.database.read(find_kept, origin, media_id) is not None:
                return  # it has come a moment ago, or is in quarantine
            record = await _Fetch(self._place, coming).load(origin, media_id, wait_ms)
            if not await self._place.database.write(_keep, record):
                raise NotFound
        finally:
            self._busy[origin] -= 1
            if not self._busy[origin]:
                del self._busy[origin]


def _keep(txn: Txn, record: MediaRecord) -> bool:
    """Keep a file that is on disk. Whether it may be seen: its content may have been put into quarantine meanwhile."""
    table.append_media(txn, record)
    return table.find_media(txn, record.origin, record.media_id) is not None


class _Fetch:
    """How one file is fetched, which others see coming."""

    def __init__(self, place: Place, coming: Coming) -> None:
        self._place = place
        self._coming = coming
        self._file_id = new_media_id(place.world.token_bytes)
        self._arriving = place.files.arrive(self._file_id, place.largest)
        self._until_ms = place.world.now_ms() + LONGEST_MS

    async def load(self, origin: ServerName, media_id: str, wait_ms: int) -> MediaRecord:
        """Bring the bytes to disk.

        Raises: NotFound; NotYetThere; TooLarge; RemoteFault; StorageUnavailable.
        """
        world = self._place.world
        try:
            label = await self._copy(origin, media_id, wait_ms)
            stored: StoredFile = await world.call(self._arriving.finish)
        except BaseException:
            await world.call(self._arriving.abandon)
            raise
        return MediaRecord(
            origin=origin,
            media_id=media_id,
            uploader=None,
            created_ms=world.now_ms(),
            content_type=label.content_type,
            filename=label.filename,
            size=stored.size,
            sha256=stored.sha256,
            file_id=self._file_id,
        )

    async def _copy(self, origin: ServerName, media_id: str, wait_ms: int) -> Label:
        """Fetch the bytes; where the server does not know the way, by the older one."""
        name = quote(media_id, safe="")
        try:
            download = await self._open(origin, f"/_matrix/federation/v1/media/download/{name}", wait_ms)
        except PeerRefused as refusal:
            if refusal.errcode != "M_UNRECOGNIZED":
                raise
            download = await self._open(origin, f"/_matrix/media/v3/download/{origin}/{name}", wait_ms, older=True)
            return await self._copy_whole(download)
        found = await self._copy_parts(download)
        return found if isinstance(found, Label) else await self._follow(origin, found)

    async def _open(self, origin: ServerName, path: str, wait_ms: int, *, older: bool = False) -> Download:
        """The server's answer; by the older way it must not ask others for the file.

        Raises: NotFound; NotYetThere; TooLarge; RemoteFault.
        """
        query = [("timeout_ms", str(wait_ms)), *([("allow_remote", "false")] if older else [])]
        try:
            patience_s = max(SILENCE_S, wait_ms / 1000 + HEAD_S)
            return await self._place.peers.open(origin, path, query, patience_s, self._place.largest + _OVERHEAD)
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

    async def _copy_parts(self, download: Download) -> Label | str:
        """Copy the file out of an answer of two parts; where it lies instead, when the answer says so.

        Raises: BadAnswer; RemoteFault.
        """
        label: Label | None = None
        try:
            boundary = find_boundary(download.headers.get("content-type", ""))
            if boundary is None:
                raise BadAnswer("the answer is not of two parts")
            parts = TwoParts(boundary)
            while piece := await self._read(download):
                content = parts.feed(piece)
                if label is None and parts.headers is not None:
                    if "location" in parts.headers:
                        return parts.headers["location"]
                    label = await self._show(parts.headers, download)
                await self._write(content)
            parts.end()
        finally:
            download.close()
        assert label is not None  # the second part has begun, or it would not be at its end
        return label

    async def _follow(self, origin: ServerName, location: str) -> Label:
        """Fetch a file from where the server says it lies.

        Raises: BadAnswer; RemoteFault.
        """
        for _ in range(MOST_REDIRECTS + 1):
            if not location.startswith("https://") or len(location) > LONGEST_LOCATION or not location.isascii():
                raise BadAnswer("the file lies nowhere where it may be fetched from")
            self._check_host(origin, location)
            headers = {"User-Agent": "Parta"}
            request = Outgoing(
                method="GET", url=location, headers=headers, most_bytes=self._place.largest + 1, within_s=SILENCE_S
            )
            download = await self._place.outward.open(request)
            if download.status == 200:
                return await self._copy_whole(download)
            download.close()
            if download.status not in _MOVED or "location" not in download.headers:
                raise BadAnswer(f"the file is not where it is said to be: {download.status}")
            location = urljoin(location, download.headers["location"])
        raise BadAnswer("the file lies behind too many redirects")

    def _check_host(self, origin: ServerName, location: str) -> None:
        try:
            self._place.check_host(origin, parse_server_name(urlsplit(location).netloc))
        except (Refused, BadIdentifier, ValueError) as fault:
            raise BadAnswer(f"the file lies where its server has none: {fault}") from None

    async def _copy_whole(self, download: Download) -> Label:
        """Copy an answer that is the file."""
        try:
            label = await self._show(download.headers, download)
            while piece := await self._read(download):
                await self._write(piece)
        finally:
            download.close()
        return label

    async def _show(self, headers: Mapping[str, str], download: Download) -> Label:
        """Let others read along, unless the file may be what is in quarantine."""
        label = read_label(headers)
        least, most = 0, self._place.largest + _OVERHEAD
        declared = download.headers.get("content-length", "")
        if declared.isdecimal() and len(declared) <= _DIGITS:
            least, most = int(declared) - _OVERHEAD, int(declared)
        if not await self._place.database.read(is_length_quarantined, least, most):
            await self._place.world.call(self._arriving.write, b"")  # so that there is a file to open
            self._coming.show(label, self._arriving)
        return label

    async def _read(self, download: Download) -> bytes:
        if self._place.world.now_ms() > self._until_ms:
            raise PeerUnreachable("the file comes too slowly")
        try:
            return await download.read()
        except TooMuch:
            raise TooLarge from None

    async def _write(self, content: bytes) -> None:
        """Write before more is read: the server sends no faster than the disk takes it."""
        if content:
            await self._place.world.call(self._arriving.write, content)
            self._coming.grow(self._arriving.size)
