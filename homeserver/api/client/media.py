"""Upload, authenticated download and thumbnails.

Spec: client-server-api#content-repository
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import quote

from federation.ids import MxcURI, ServerName, parse_mxc
from homeserver.api.errors import BadParam, MatrixError, RateLimited
from homeserver.api.route import Answer, Call, FileBody, Reply, Route
from homeserver.media.files import TooLarge
from homeserver.media.media import Following, Media, NotYetUploaded, Servable, Upload, Wanted
from homeserver.media.names import Label, clean_filename, is_content_type
from homeserver.media.previews.previews import Previews, PreviewsBusy
from homeserver.media.thumbnails import Method
from homeserver.policy import NotFound
from homeserver.storage.media import MediaFull, MediaTaken

CONTENT_POLICY = (
    "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline';"
    " object-src 'self';"
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_LARGEST_SIDE = 10_000
_WAIT_MS, _LONGEST_WAIT_MS = 20_000, 60_000
_PENDING_RETRY_MS, _BUSY_RETRY_MS = 60_000, 5_000


def routes(media: Media, previews: Previews, *, upload_bytes: int, legacy_paths: bool) -> tuple[Route, ...]:
    """The media endpoints of clients; nobody uploads more than `upload_bytes` at once.

    `legacy_paths`: also the downloads that ask for no access token, which were replaced in Matrix 1.11.
    """
    api = _MediaAPI(media, upload_bytes)
    return (
        *_upload_routes(api, upload_bytes),
        *_download_routes(api),
        *_preview_routes(_PreviewAPI(previews)),
        *(_legacy_routes(api) if legacy_paths else ()),
    )


def _upload_routes(api: "_MediaAPI", upload_bytes: int) -> tuple[Route, ...]:
    return (
        Route(
            method="POST",
            path="/_matrix/media/v3/upload",
            handle=api.upload,
            rate="upload",
            spec="client-server-api#post_matrixmediav3upload",
            streaming=True,
            body_limit=upload_bytes,
        ),
        Route(
            method="POST",
            path="/_matrix/media/v1/create",
            handle=api.create,
            rate="upload",
            spec="client-server-api#post_matrixmediav1create",
        ),
        Route(
            method="PUT",
            path="/_matrix/media/v3/upload/{serverName}/{mediaId}",
            handle=api.fill,
            rate="upload",
            spec="client-server-api#put_matrixmediav3uploadservernamemediaid",
            streaming=True,
            body_limit=upload_bytes,
        ),
        Route(
            method="GET",
            path="/_matrix/client/v1/media/config",
            handle=api.config,
            spec="client-server-api#get_matrixclientv1mediaconfig",
        ),
        Route(
            method="GET",
            path="/_matrix/media/v3/config",
            handle=api.config,
            spec="client-server-api#get_matrixmediav3config",
        ),
    )


def _download_routes(api: "_MediaAPI") -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/_matrix/client/v1/media/download/{serverName}/{mediaId}",
            handle=api.download,
            rate="download",
            spec="client-server-api#get_matrixclientv1mediadownloadservernamemediaid",
        ),
        Route(
            method="GET",
            path="/_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}",
            handle=api.download,
            rate="download",
            spec="client-server-api#get_matrixclientv1mediadownloadservernamemediaidfilename",
        ),
        Route(
            method="GET",
            path="/_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}",
            handle=api.thumbnail,
            rate="download",
            spec="client-server-api#get_matrixclientv1mediathumbnailservernamemediaid",
        ),
    )


def _preview_routes(api: "_PreviewAPI") -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/_matrix/client/v1/media/preview_url",
            handle=api.preview,
            rate="preview",
            spec="client-server-api#get_matrixclientv1mediapreview_url",
        ),
        Route(
            method="GET",
            path="/_matrix/media/v3/preview_url",
            handle=api.preview,
            rate="preview",
            spec="client-server-api#get_matrixmediav3preview_url",
        ),
    )


def _legacy_routes(api: "_MediaAPI") -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/_matrix/media/v3/download/{serverName}/{mediaId}",
            handle=api.download,
            auth="none",
            rate="download",
            spec="client-server-api#get_matrixmediav3downloadservernamemediaid",
        ),
        Route(
            method="GET",
            path="/_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}",
            handle=api.download,
            auth="none",
            rate="download",
            spec="client-server-api#get_matrixmediav3downloadservernamemediaidfilename",
        ),
        Route(
            method="GET",
            path="/_matrix/media/v3/thumbnail/{serverName}/{mediaId}",
            handle=api.thumbnail,
            auth="none",
            rate="download",
            spec="client-server-api#get_matrixmediav3thumbnailservernamemediaid",
        ),
    )


class _MediaAPI:
    def __init__(self, media: Media, upload_bytes: int) -> None:
        self._media = media
        self._upload_bytes = upload_bytes

    async def upload(self, call: Call) -> Reply:
        try:
            return {"content_uri": await self._media.upload(call.caller.user_id, _read_upload(call))}
        except TooLarge:
            raise _too_large("The file is too large") from None

    async def create(self, call: Call) -> Reply:
        try:
            uri, expires_ms = await self._media.reserve(call.caller.user_id)
        except MediaFull:
            raise RateLimited(_PENDING_RETRY_MS) from None
        return {"content_uri": uri, "unused_expires_at": expires_ms}

    async def fill(self, call: Call) -> Reply:
        origin, media_id = _which(call)
        try:
            await self._media.fill(call.caller.user_id, origin, media_id, _read_upload(call))
        except TooLarge:
            raise _too_large("The file is too large") from None
        except MediaTaken:
            raise MatrixError(409, "M_CANNOT_OVERWRITE_MEDIA", "Media already uploaded") from None
        return {}

    async def config(self, _call: Call) -> Reply:
        return {"m.upload.size": self._upload_bytes}

    async def download(self, call: Call) -> Reply:
        origin, media_id = _which(call)
        in_parts = call.takes_flow and call.header("range") is None
        give = self._media.follow if in_parts else self._media.download
        with awaited():
            found = await give(
                call.asker,
                origin,
                media_id,
                wait_ms=patience(call),
                allow_remote=call.query.flag("allow_remote", default=True),
            )
        filename = clean_filename(call.params.get("fileName")) or found.filename
        if isinstance(found, Following):
            return Answer(headers=_headers(found, filename), flow=found.coming)
        return _answer(call, found, filename)

    async def thumbnail(self, call: Call) -> Reply:
        origin, media_id = _which(call)
        wanted, wait_ms = read_wanted(call), patience(call)
        allow_remote = call.query.flag("allow_remote", default=True)
        try:
            with awaited():
                found = await self._media.thumbnail(
                    call.asker, origin, media_id, wanted, wait_ms=wait_ms, allow_remote=allow_remote
                )
        except TooLarge:
            raise _too_large("Content is too large to thumbnail") from None
        return _answer(call, found, found.filename)


class _PreviewAPI:
    def __init__(self, previews: Previews) -> None:
        self._previews = previews

    async def preview(self, call: Call) -> Reply:
        at_ms = None if call.query.str("ts") is None else call.query.int("ts", 0)
        try:
            return await self._previews.preview(call.caller.user_id, call.query.need("url"), at_ms)
        except PreviewsBusy:
            raise RateLimited(_BUSY_RETRY_MS) from None


def _read_upload(call: Call) -> Upload:
    content_type = call.header("content-type") or "application/octet-stream"
    if not is_content_type(content_type):
        raise BadParam("Content-Type is not a media type")
    length = call.header("content-length")
    return Upload(
        content=call.content,
        content_type=content_type,
        filename=clean_filename(call.query.str("filename")),
        size=int(length) if length is not None and length.isdecimal() else None,
    )


@contextmanager
def awaited() -> Iterator[None]:
    """Answers that a file has not come in time."""
    try:
        yield
    except NotYetUploaded:
        raise MatrixError(504, "M_NOT_YET_UPLOADED", "Content has not yet been uploaded") from None


def patience(call: Call) -> int:
    """How long a file that is not there yet is waited for, in ms."""
    return min(call.query.int("timeout_ms", _WAIT_MS), _LONGEST_WAIT_MS)


def read_wanted(call: Call) -> Wanted:
    """The thumbnail that is wanted.

    Raises: BadParam.
    """
    return Wanted(
        width=_side(call, "width"),
        height=_side(call, "height"),
        method=cast("Method", call.query.choice("method", ("scale", "crop"), "scale")),
        animated=call.query.flag("animated"),
    )


def _too_large(why: str) -> MatrixError:
    return MatrixError(413, "M_TOO_LARGE", why)


def _side(call: Call, name: str) -> int:
    side = int(call.query.need(name)) if call.query.need(name).isdecimal() else 0
    if not 0 < side <= _LARGEST_SIDE:
        raise BadParam(f"{name} must be between 1 and {_LARGEST_SIDE}")
    return side


def _which(call: Call) -> tuple[ServerName, str]:
    return parse_mxc(MxcURI(f"mxc://{call.params['serverName']}/{call.params['mediaId']}"))


def disposition(label: Label, filename: str | None) -> str:
    """How a file is to be shown, and what it is called."""
    kind = "inline" if label.inline else "attachment"
    if filename is None:
        return kind
    if filename.isascii():
        return f'{kind}; filename="{filename}"'
    return f"{kind}; filename*=utf-8''{quote(filename, safe='')}"


def _headers(label: Label, filename: str | None) -> dict[str, str]:
    return {
        "Content-Type": label.content_type,
        "Content-Disposition": disposition(label, filename),
        "Content-Security-Policy": CONTENT_POLICY,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=86400",
    }


def _answer(call: Call, servable: Servable, filename: str | None) -> Reply:
    etag = f'"{servable.etag}"'
    headers = {**_headers(servable, filename), "Accept-Ranges": "bytes", "ETag": etag}
    if call.header("if-none-match") == etag:
        return Answer(status=304, body=b"", headers=headers)
    try:
        size = servable.path.stat().st_size
    except FileNotFoundError:  # taken away meanwhile
        raise NotFound from None
    wanted = call.header("range")
    if wanted is None or call.header("if-range") not in (None, etag):
        return Answer(headers=headers, file=FileBody(servable.path, 0, size))
    part = find_range(wanted, size)
    if part is None:
        return Answer(headers=headers, file=FileBody(servable.path, 0, size))
    start, length = part
    if length <= 0:
        raise MatrixError(416, "M_UNKNOWN", "No such range", headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    return Answer(status=206, headers=headers, file=FileBody(servable.path, start, length))


def find_range(header: str, size: int) -> tuple[int, int] | None:
    """Read a Range header for a file of `size` bytes as (start, length).

    None means that it asks for nothing we serve in part (several ranges, another unit), so that the whole is sent;
    a length of 0 or less that no byte of the file is in it.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        return size - length, length
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return None
    return start, end - start + 1
