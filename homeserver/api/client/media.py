"""Upload, authenticated download and thumbnails.

Spec: client-server-api#content-repository
"""

import re
from typing import cast
from urllib.parse import quote

from federation.ids import MxcURI, ServerName, parse_mxc
from homeserver.api.errors import BadParam, MatrixError
from homeserver.api.route import Answer, Call, FileBody, Reply, Route
from homeserver.media.files import TooLarge
from homeserver.media.media import Media, Servable
from homeserver.media.thumbnails import Method

CONTENT_POLICY = (
    "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline';"
    " object-src 'self';"
)
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(\s*;[\x20-\x7e]{0,200})?")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_LARGEST_SIDE = 10_000


def routes(media: Media, *, upload_bytes: int) -> tuple[Route, ...]:
    """The media endpoints of clients; nobody uploads more than `upload_bytes` at once."""
    api = _MediaAPI(media, upload_bytes)
    download = "/_matrix/client/v1/media/download/{serverName}/{mediaId}"
    upload = Route(
        method="POST",
        path="/_matrix/media/v3/upload",
        handle=api.upload,
        rate="upload",
        spec="client-server-api#post_matrixmediav3upload",
        streaming=True,
        body_limit=upload_bytes,
    )
    return (
        upload,
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
        Route(
            method="GET",
            path=download,
            handle=api.download,
            spec="client-server-api#get_matrixclientv1mediadownloadservernamemediaid",
        ),
        Route(
            method="GET",
            path=download + "/{fileName}",
            handle=api.download,
            spec="client-server-api#get_matrixclientv1mediadownloadservernamemediaidfilename",
        ),
        Route(
            method="GET",
            path="/_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}",
            handle=api.thumbnail,
            spec="client-server-api#get_matrixclientv1mediathumbnailservernamemediaid",
        ),
    )


class _MediaAPI:
    def __init__(self, media: Media, upload_bytes: int) -> None:
        self._media = media
        self._upload_bytes = upload_bytes

    async def upload(self, call: Call) -> Reply:
        content_type = call.header("content-type") or "application/octet-stream"
        if not _CONTENT_TYPE.fullmatch(content_type):
            raise BadParam("Content-Type is not a media type")
        length = call.header("content-length")
        try:
            uri = await self._media.upload(
                call.caller.user_id,
                call.content,
                content_type=content_type,
                filename=_checked_filename(call.query.str("filename")),
                size=int(length) if length is not None and length.isdecimal() else None,
            )
        except TooLarge:
            raise _too_large(413, "The file is too large") from None
        return {"content_uri": uri}

    async def config(self, _call: Call) -> Reply:
        return {"m.upload.size": self._upload_bytes}

    async def download(self, call: Call) -> Reply:
        origin, media_id = _which(call)
        found = await self._media.download(call.caller.user_id, origin, media_id)
        return _answer(call, found, _checked_filename(call.params.get("fileName")) or found.filename)

    async def thumbnail(self, call: Call) -> Reply:
        origin, media_id = _which(call)
        width, height = (_side(call, name) for name in ("width", "height"))
        method = cast("Method", call.query.choice("method", ("scale", "crop"), "scale"))
        animated = call.query.flag("animated")
        wanted = (width, height, method)
        try:
            found = await self._media.thumbnail(call.caller.user_id, origin, media_id, wanted, animated=animated)
        except TooLarge:
            raise _too_large(413, "Content is too large to thumbnail") from None
        return _answer(call, found, found.filename)


def _too_large(status: int, why: str) -> MatrixError:
    return MatrixError(status, "M_TOO_LARGE", why)


def _side(call: Call, name: str) -> int:
    side = int(call.query.need(name)) if call.query.need(name).isdecimal() else 0
    if not 0 < side <= _LARGEST_SIDE:
        raise BadParam(f"{name} must be between 1 and {_LARGEST_SIDE}")
    return side


def _which(call: Call) -> tuple[ServerName, str]:
    return parse_mxc(MxcURI(f"mxc://{call.params['serverName']}/{call.params['mediaId']}"))


def _checked_filename(name: str | None) -> str | None:
    """A name without what could end a header or leave a folder; None for an empty one."""
    if name is None:
        return None
    kept = "".join(c for c in name if c.isprintable() and c not in '/\\"')[:255]
    return kept or None


def _disposition(servable: Servable, filename: str | None) -> str:
    kind = "inline" if servable.inline else "attachment"
    if filename is None:
        return kind
    if filename.isascii():
        return f'{kind}; filename="{filename}"'
    return f"{kind}; filename*=utf-8''{quote(filename, safe='')}"


def _answer(call: Call, servable: Servable, filename: str | None) -> Reply:
    etag = f'"{servable.etag}"'
    headers = {
        "Content-Type": servable.content_type,
        "Content-Disposition": _disposition(servable, filename),
        "Content-Security-Policy": CONTENT_POLICY,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=86400",
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }
    if call.header("if-none-match") == etag:
        return Answer(status=304, body=b"", headers=headers)
    size = servable.path.stat().st_size
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
