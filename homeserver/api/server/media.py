"""Our files, for other servers.

Spec: server-server-api#content-repository
"""

from collections.abc import Callable

from homeserver.api.client.media import awaited, disposition, patience, read_wanted
from homeserver.api.errors import MatrixError
from homeserver.api.route import Answer, Call, FileBody, Reply, Route
from homeserver.api.server.declaring import V1, signed_route
from homeserver.media.files import TooLarge
from homeserver.media.media import Media, Servable
from homeserver.policy import NotFound


def routes(media: Media, token_bytes: Callable[[int], bytes]) -> tuple[Route, ...]:
    """The endpoints of files."""

    async def download(call: Call) -> Reply:
        with awaited():
            found = await media.give(call.origin, call.params["mediaId"], wait_ms=patience(call))
        return _answer(found, token_bytes(16).hex())

    async def thumbnail(call: Call) -> Reply:
        wanted = read_wanted(call)
        try:
            with awaited():
                found = await media.give_thumbnail(call.origin, call.params["mediaId"], wanted, wait_ms=patience(call))
        except TooLarge:
            raise MatrixError(413, "M_TOO_LARGE", "Content is too large to thumbnail") from None
        return _answer(found, token_bytes(16).hex())

    return (
        signed_route("GET", V1 + "/media/download/{mediaId}", download),
        signed_route("GET", V1 + "/media/thumbnail/{mediaId}", thumbnail),
    )


def _answer(servable: Servable, boundary: str) -> Reply:
    """Two parts: what is to be said of the file, which is nothing, and the file."""
    try:
        size = servable.path.stat().st_size
    except FileNotFoundError:  # taken away meanwhile
        raise NotFound from None
    shown = disposition(servable, servable.filename)
    before = (
        f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
        f"--{boundary}\r\nContent-Type: {servable.content_type}\r\nContent-Disposition: {shown}\r\n\r\n"
    )
    file = FileBody(servable.path, 0, size, before.encode("latin-1"), f"\r\n--{boundary}--\r\n".encode("ascii"))
    return Answer(headers={"Content-Type": f"multipart/mixed; boundary={boundary}"}, file=file)
