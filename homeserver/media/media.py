"""The one door to media: storing it and giving it to those who may see it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from federation.errors import Refused
from federation.ids import MxcURI, ServerName, UserID
from homeserver.media.files import Files, new_media_id
from homeserver.media.thumbnails import CannotThumbnail, Method, Thumbnails, nearest_size
from homeserver.policy import NotFound, Policy, SeeMedia, UploadMedia
from homeserver.storage import media as table
from homeserver.storage.database import Database
from homeserver.storage.media import MediaRecord, MediaUse

INLINE = frozenset(
    "text/css text/plain text/csv application/json application/ld+json image/jpeg image/gif image/png image/apng"
    " image/webp image/avif video/mp4 video/webm video/ogg video/quicktime audio/mp4 audio/webm audio/aac audio/mpeg"
    " audio/ogg audio/wave audio/wav audio/x-wav audio/x-pn-wav audio/flac audio/x-flac".split()
)
"""Content types that a browser may show in place. Spec: client-server-api#serving-inline-content"""

PICTURES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """A file to be sent: where it lies, what to call it, and an `etag` that stands for its bytes."""

    path: Path
    content_type: str
    filename: str | None
    etag: str

    @property
    def inline(self) -> bool:
        """Whether a browser may show it in place; SVG and HTML never.

        Spec: client-server-api#serving-inline-content
        """
        return self.content_type.partition(";")[0].strip().lower() in INLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the media store needs of the outside: a thread pool with its reactor, the time and chance."""

    reactor: IReactorFromThreads
    threads: ThreadPool
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]


class Media:
    """The files of this server. Remote media come with federation; until then they are not found."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        policy: Policy,
        files: Files,
        thumbnails: Thumbnails,
        world: World,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._policy = policy
        self._files = files
        self._thumbnails = thumbnails
        self._world = world

    async def upload(
        self, by: UserID, content: BinaryIO, *, content_type: str, filename: str | None, size: int | None
    ) -> MxcURI:
        """Store a file; when this returns it is on disk and in the database, for good.

        Raises:
            Refused: That person may not upload such a file.
            TooLarge: It is larger than this server takes.

        Spec: client-server-api#post_matrixmediav3upload
        """
        await self._policy.check(UploadMedia(by=by, content_type=content_type, size=size))
        media_id = new_media_id(self._world.token_bytes)
        stored = await deferToThreadPool(self._world.reactor, self._world.threads, self._files.store, media_id, content)
        record = MediaRecord(
            origin=self._server_name,
            media_id=media_id,
            uploader=by,
            created_ms=self._world.now_ms(),
            content_type=content_type,
            filename=filename,
            size=stored.size,
            sha256=stored.sha256,
        )
        await self._database.write(table.append_media, record)
        return MxcURI(f"mxc://{self._server_name}/{media_id}")

    async def download(self, by: UserID, origin: ServerName, media_id: str) -> Servable:
        """Give a file to somebody who may see it.

        Raises:
            NotFound: There is none, or it is not for that person: one answer for both.

        Spec: client-server-api#get_matrixclientv1mediadownloadservernamemediaid
        School: row 54
        """
        return self._servable(await self._load(by, origin, media_id))

    async def thumbnail(
        self, by: UserID, origin: ServerName, media_id: str, wanted: tuple[int, int, Method], *, animated: bool
    ) -> Servable:
        """Give a picture's thumbnail, or the picture where that is the smaller, to somebody who may see it.

        Raises:
            NotFound: As for :meth:`download`.
            CannotThumbnail: It is no picture that this server reads.
            TooLarge: It has too many pixels.

        Spec: client-server-api#thumbnails
        """
        record = await self._load(by, origin, media_id)
        size = nearest_size(*wanted)
        if size is None:  # larger than any thumbnail: the picture itself
            if record.content_type not in PICTURES:
                raise CannotThumbnail
            return self._servable(record)
        made = await self._thumbnails.thumbnail(media_id, size, animated=animated)
        if made.path is None:
            return self._servable(record)
        return Servable(
            path=made.path,
            content_type=made.content_type,
            filename="thumbnail" + made.path.suffix,
            etag=f"{record.sha256[:32]}-{made.path.name.rpartition('-')[0]}",
        )

    async def _load(self, by: UserID, origin: ServerName, media_id: str) -> MediaRecord:
        found = await self._database.read(table.find_media, origin, media_id)
        if found is None or origin != self._server_name:
            raise NotFound
        record, use = found
        await self._check(by, record, use)
        return record

    async def _check(self, by: UserID, record: MediaRecord, use: MediaUse) -> None:
        mxc = MxcURI(f"mxc://{record.origin}/{record.media_id}")
        act = SeeMedia(by=by, mxc=mxc, uploader=record.uploader, rooms=use.rooms, avatar_of=use.avatar_of)
        try:
            await self._policy.check(act)
        except Refused:
            raise NotFound from None

    def _servable(self, record: MediaRecord) -> Servable:
        return Servable(
            path=self._files.path(record.media_id),
            content_type=record.content_type,
            filename=record.filename,
            etag=record.sha256[:32],
        )
