"""The one door to media: storing it and giving it to those who may see it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TooLate
from twisted.python.failure import Failure

from federation.errors import Refused, RemoteFault
from federation.ids import MxcURI, ServerName, UserID
from homeserver.media.coming import Coming
from homeserver.media.files import Files, TooLarge, new_media_id
from homeserver.media.names import Label
from homeserver.media.remote import NotYetThere, RemoteMedia
from homeserver.media.thumbnails import CannotThumbnail, Method, Thumbnails, nearest_size
from homeserver.media.world import World
from homeserver.policy import Act, NotFound, Policy, PreviewPage, SeeMedia, TellServer, UploadMedia
from homeserver.storage import media as table
from homeserver.storage.database import Database, StorageUnavailable, Txn
from homeserver.storage.media import MediaRecord, MediaTaken, MediaUse, PendingMedia
from homeserver.storage.remotedevices import is_near

PENDING_MS: Final = 24 * 60 * 60 * 1000
MOST_PENDING: Final = 20
"""How long an address waits for its file, and how many of them one person may have."""

NOTE_USE_MS: Final = 60 * 60 * 1000
"""How often it is noted that a file is still got."""

PICTURES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))


Look: TypeAlias = Callable[[str, UserID | None, MediaUse], Act]
"""Makes the act of whoever wants a file: of its ID, who uploaded it and where it is shown."""


class TooLargeElsewhere(RemoteFault):
    """A file of another server is larger than this server takes or works on."""


class NotYetUploaded(Exception):
    """The address was given out, and its file has not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that somebody brings; `size` is what the sender says, None if nothing."""

    content: BinaryIO
    content_type: str
    filename: str | None
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The thumbnail that somebody would like, in pixels."""

    width: int
    height: int
    method: Method
    animated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable(Label):
    """A file to be sent: where it lies, what to call it, and an `etag` that stands for its bytes."""

    path: Path
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Following(Label):
    """A file to be sent on while it comes from another server."""

    coming: Coming


class Media:
    """The files of this server, and those of others as far as `elsewhere` has fetched them."""

    elsewhere: RemoteMedia | None = None

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
        self._waiting: dict[str, list[Deferred[None]]] = {}

    async def upload(self, by: UserID, upload: Upload) -> MxcURI:
        """Store a file; when this returns it is on disk and in the database, for good.

        Raises:
            Refused: That person may not upload such a file.
            TooLarge: It is larger than this server takes.

        Spec: client-server-api#post_matrixmediav3upload
        """
        record = await self._store(by, self._new_id(), upload)
        await self._keep(table.append_media, record)
        return self._uri(record.media_id)

    async def reserve(self, by: UserID) -> tuple[MxcURI, int]:
        """Give out an address whose file is uploaded later, and until when (in ms) it waits for it.

        Raises:
            Refused: That person may not upload.
            MediaFull: That person has too many such addresses already.

        Spec: client-server-api#post_matrixmediav1create
        """
        await self._policy.check(UploadMedia(by=by, content_type="application/octet-stream", size=None))
        now_ms = self._world.now_ms()
        pending = PendingMedia(
            origin=self._server_name,
            media_id=self._new_id(),
            uploader=by,
            expires_ms=now_ms + PENDING_MS,
        )
        await self._database.write(table.append_pending, pending, now_ms, MOST_PENDING)
        return self._uri(pending.media_id), pending.expires_ms

    async def fill(self, by: UserID, origin: ServerName, media_id: str, upload: Upload) -> None:
        """Store the file of an address that was given out before.

        Raises:
            MediaTaken: It has its file.
            NotFound: It was given to nobody, has expired, or has a file of somebody else's: one answer for all.
            Refused: It waits for somebody else's file, or that person may not upload such a file.
            TooLarge: It is larger than this server takes.

        Spec: client-server-api#put_matrixmediav3uploadservernamemediaid
        """
        await self._database.read(_check_given, by, origin, media_id, self._world.now_ms())
        await self._keep(table.fill_pending, await self._store(by, media_id, upload))
        for waiter in self._waiting.pop(media_id, ()):
            waiter.callback(None)

    async def download(
        self, by: UserID | None, origin: ServerName, media_id: str, *, wait_ms: int = 0, allow_remote: bool = True
    ) -> Servable:
        """Give a file to somebody who may see it; one that is not uploaded yet is waited for.

        One of another server is fetched, if it is not here and with `allow_remote`.

        Raises:
            NotFound: There is none, or it is not for that person: one answer for both.
            NotYetUploaded: It has not come in time.
            RemoteFault: The other server does not give it.

        Spec: client-server-api#get_matrixclientv1mediadownloadservernamemediaid
        School: row 54
        """
        look = partial(self._build_look, by, origin)
        return self._servable(await self._load(look, origin, media_id, wait_ms if allow_remote else -1))

    async def follow(
        self, by: UserID | None, origin: ServerName, media_id: str, *, wait_ms: int = 0, allow_remote: bool = True
    ) -> Servable | Following:
        """Give a file as `download` does; one that is long in coming from another server, while it comes.

        Raises: As :meth:`download`.
        """
        look = partial(self._build_look, by, origin)
        wait_ms = wait_ms if allow_remote else -1
        found = await self._database.read(table.find_media, origin, media_id)
        if found is not None:
            return self._servable(await self._admit(look, media_id, found))
        coming = await self._fetch(look, origin, media_id, wait_ms)
        if coming is not None:
            with _fetching():
                label = await coming.begun()
            if label is not None:
                return Following(content_type=label.content_type, filename=label.filename, coming=coming)
        return self._servable(await self._load(look, origin, media_id, wait_ms))

    async def give(self, server: ServerName, media_id: str, *, wait_ms: int = 0) -> Servable:
        """Give one of our files to another server.

        Raises:
            NotFound, NotYetUploaded: As for :meth:`download`.

        Spec: server-server-api#get_matrixfederationv1mediadownloadmediaid
        """
        return self._servable(
            await self._load(partial(self._build_telling, server), self._server_name, media_id, wait_ms)
        )

    async def give_thumbnail(self, server: ServerName, media_id: str, wanted: Wanted, *, wait_ms: int = 0) -> Servable:
        """Give a thumbnail of one of our files to another server.

        Raises: As :meth:`thumbnail`.
        Spec: server-server-api#get_matrixfederationv1mediathumbnailmediaid
        """
        look = partial(self._build_telling, server)
        return await self._thumbnail(await self._load(look, self._server_name, media_id, wait_ms), wanted)

    async def thumbnail(
        self,
        by: UserID | None,
        origin: ServerName,
        media_id: str,
        wanted: Wanted,
        *,
        wait_ms: int = 0,
        allow_remote: bool = True,
    ) -> Servable:
        """Give a picture's thumbnail, or the picture where that is the smaller, to somebody who may see it.

        Raises:
            NotFound, NotYetUploaded: As for :meth:`download`.
            CannotThumbnail: It is no picture that this server reads.
            TooLarge, TooLargeElsewhere: It has too many pixels.

        Spec: client-server-api#thumbnails
        """
        look = partial(self._build_look, by, origin)
        return await self._thumbnail(await self._load(look, origin, media_id, wait_ms if allow_remote else -1), wanted)

    async def _thumbnail(self, record: MediaRecord, wanted: Wanted) -> Servable:
        size = nearest_size(wanted.width, wanted.height, wanted.method)
        if size is None:  # larger than any thumbnail: the picture itself
            if record.content_type not in PICTURES:
                raise CannotThumbnail
            return self._servable(record)
        try:
            made = await self._thumbnails.thumbnail(record.file_id, size, animated=wanted.animated)
        except TooLarge:
            if record.origin == self._server_name:
                raise
            raise TooLargeElsewhere("the picture is too large to thumbnail") from None
        if made.path is None:
            return self._servable(record)
        return Servable(
            path=made.path,
            content_type=made.content_type,
            filename="thumbnail" + made.path.suffix,
            etag=f"{record.sha256[:32]}-{made.path.name.rpartition('-')[0]}",
        )

    async def _store(self, by: UserID, media_id: str, upload: Upload) -> MediaRecord:
        used = await self._database.read(table.used_bytes, by)
        act = UploadMedia(by=by, content_type=upload.content_type, size=upload.size, used=used)
        await self._policy.check(act)
        file_id = self._new_id()
        stored = await self._world.call(self._files.store, file_id, upload.content)
        return MediaRecord(
            origin=self._server_name,
            media_id=media_id,
            uploader=by,
            created_ms=self._world.now_ms(),
            content_type=upload.content_type,
            filename=upload.filename,
            size=stored.size,
            sha256=stored.sha256,
            file_id=file_id,
        )

    async def _keep(self, write: Callable[[Txn, MediaRecord], None], record: MediaRecord) -> None:
        """Commit the record of a file that is on disk; without a record there is no file."""
        try:
            await self._database.write(write, record)
        except MediaTaken:
            await self._world.call(self._files.remove, record.file_id)
            raise

    async def _load(self, look: Look, origin: ServerName, media_id: str, wait_ms: int) -> MediaRecord:
        """A file that `look` says may be seen; with a negative `wait_ms` no other server is asked for it."""
        found = await self._database.read(table.find_media, origin, media_id)
        if found is None and await self._arrives(look, origin, media_id, wait_ms):
            found = await self._database.read(table.find_media, origin, media_id)
        if found is None:
            raise NotFound
        return await self._admit(look, media_id, found)

    async def _admit(self, look: Look, media_id: str, found: tuple[MediaRecord, MediaUse]) -> MediaRecord:
        """A file that is here, if `look` says that it may be seen."""
        record, use = found
        if record.preview_of is None:
            await self._check(look(media_id, record.uploader, use))
        else:
            await self._check(_build_preview(look(media_id, None, use), record.preview_of))
        self._note_use(record)
        return record

    async def _arrives(self, look: Look, origin: ServerName, media_id: str, wait_ms: int) -> bool:
        """Wait for a file that is not here: to be uploaded, or to come from its server. Whether there is one now."""
        if origin == self._server_name:
            return await self._comes(look, media_id, max(wait_ms, 0))
        coming = await self._fetch(look, origin, media_id, wait_ms)
        if coming is None:
            return False
        with _fetching():
            await coming.whole()
        return True

    async def _fetch(self, look: Look, origin: ServerName, media_id: str, wait_ms: int) -> Coming | None:
        """Have another server's file come; None where it is not to be fetched."""
        if self.elsewhere is None or origin == self._server_name or wait_ms < 0:
            return None
        await self._check(look(media_id, None, await self._database.read(table.find_use, origin, media_id)))
        return self.elsewhere.fetch(origin, media_id, wait_ms)

    def _note_use(self, record: MediaRecord) -> None:
        """Note now and then that a file is still got; nobody waits for it, and what is lost is of no consequence."""
        now_ms = self._world.now_ms()
        if now_ms - record.used_ms >= NOTE_USE_MS:
            noted = self._database.write(table.set_used, record.origin, record.media_id, now_ms)
            noted.addErrback(_pass_unavailable)

    async def _comes(self, look: Look, media_id: str, wait_ms: int) -> bool:
        """Wait for the file of an address that was given out; False when it never was.

        Raises: NotYetUploaded.
        """
        turn: Deferred[None] = Deferred()
        self._waiting.setdefault(media_id, []).append(turn)  # first wait, then look: no upload is missed
        try:
            pending = await self._database.read(table.find_pending, self._server_name, media_id, self._world.now_ms())
            if pending is None:
                return False
            use = await self._database.read(table.find_use, self._server_name, media_id)
            await self._check(look(media_id, pending.uploader, use))
            await turn.addTimeout(wait_ms / 1000, self._world.reactor)
        except MediaTaken:
            return True
        except TooLate:
            raise NotYetUploaded from None
        finally:
            waiting = self._waiting.get(media_id, [])
            if turn in waiting:
                waiting.remove(turn)
            if not waiting:
                self._waiting.pop(media_id, None)
        return True

    def _build_look(
        self, by: UserID | None, origin: ServerName, media_id: str, uploader: UserID | None, use: MediaUse
    ) -> Act:
        mxc = MxcURI(f"mxc://{origin}/{media_id}")
        return SeeMedia(by=by, mxc=mxc, uploader=uploader, rooms=use.rooms, avatar_of=use.avatar_of)

    def _build_telling(self, server: ServerName, media_id: str, uploader: UserID | None, use: MediaUse) -> Act:
        async def shares_room() -> bool:
            return await self._database.read(is_near, server, use.rooms, use.avatar_of)

        return TellServer(by=None, server=server, about="media", shares_room=shares_room)

    async def _check(self, act: Act) -> None:
        try:
            await self._policy.check(act)
        except Refused:
            raise NotFound from None

    def _servable(self, record: MediaRecord) -> Servable:
        return Servable(
            path=self._files.path(record.file_id),
            content_type=record.content_type,
            filename=record.filename,
            etag=record.sha256[:32],
        )

    def _new_id(self) -> str:
        return new_media_id(self._world.token_bytes)

    def _uri(self, media_id: str) -> MxcURI:
        return MxcURI(f"mxc://{self._server_name}/{media_id}")


def _build_preview(look: Act, page: str) -> Act:
    """Who may see a preview's picture: whoever may have previews of the page. Other servers may not.

    Raises: NotFound.
    """
    if isinstance(look, TellServer):
        raise NotFound
    return PreviewPage(by=look.by, address=page, listed=True)


@contextmanager
def _fetching() -> Iterator[None]:
    """Says what went wrong with a file of another server as for one of ours."""
    try:
        yield
    except NotYetThere:
        raise NotYetUploaded from None
    except TooLarge:
        raise TooLargeElsewhere("the file is larger than this server takes") from None


def _pass_unavailable(failure: Failure) -> None:
    failure.trap(StorageUnavailable)  # type: ignore[no-untyped-call]  # Twisted's


def _check_given(txn: Txn, by: UserID, origin: ServerName, media_id: str, now_ms: int) -> None:
    """Refuse a file for an address that does not wait for one of that person's; see :meth:`Media.fill`."""
    is_theirs = by == table.find_holder(txn, origin, media_id, now_ms)
    try:
        waits = table.find_pending(txn, origin, media_id, now_ms) is not None
    except MediaTaken:
        if is_theirs:
            raise
        waits = False
    if not waits:
        raise NotFound("No file is waited for at this address")
    if not is_theirs:
        raise Refused("media", "This address was not given to you")
