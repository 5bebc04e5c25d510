"""Reading one page of the web: what it says, and its image as a file of this server."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from config.settings import Previews as PreviewSettings
from federation.errors import RemoteFault
from federation.ids import ServerName
from homeserver.media.files import Files, TooLarge, new_media_id
from homeserver.media.previews.addresses import join_address
from homeserver.media.previews.web import Found, Web
from homeserver.media.processes import Processes
from homeserver.media.world import World
from homeserver.storage.media import MediaRecord

EMBED_BYTES: Final = 1 << 18
_PAGES: Final = "text/html, application/xhtml+xml;q=0.9, image/*;q=0.5"
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_PICTURES: Final = "image/webp, image/png, image/jpeg, image/gif"

T = TypeVar("T")


class _Said(msgspec.Struct):
    """What the process that reads pages prints."""

    og: dict[str, str] = {}
    image: str | None = None
    oembed: str | None = None


class _Measured(msgspec.Struct):
    """What the process that looks at pictures prints."""

    content_type: str
    width: int
    height: int


class _Embed(msgspec.Struct):
    """What of an answer in the form of oEmbed is of use here."""

    thumbnail_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a page says, in the form of the answer, and the file of its image."""

    answer: Mapping[str, object] = field(default_factory=dict)
    image: MediaRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads pages; what they consist of is looked at by processes of their own."""

    server_name: ServerName
    web: Web
    processes: Processes
    files: Files
    world: World
    settings: PreviewSettings

    async def read(self, address: str) -> Reading:
        """Read a page, or a picture that lies at an address itself.

        Raises:
            RemoteFault: There is nothing that could be read.
        """
        found = await self.web.get(address, accept=_PAGES, most_bytes=self.settings.page_bytes)
        if found.content_type.startswith("image/"):
            return await self._with_picture({}, found, address)
        if found.content_type not in _HTML:
            return Reading()
        words = [found.address, found.charset, self.settings.languages[0] if self.settings.languages else ""]
        said = _decode(await self.processes.run("previews.page", words, found.body), _Said) or _Said()
        image = said.image or await self._find_embedded(said.oembed, found.address)
        try:
            picture = await self._get(image, found.address, _PICTURES, self.settings.image_bytes)
        except RemoteFault:
            return Reading(answer=said.og)
        return await self._with_picture(said.og, picture, address)

    async def _get(self, link: str | None, page: str, accept: str, most_bytes: int) -> Found:
        address = None if link is None else join_address(page, link)
        if address is None:
            raise RemoteFault("no address")
        return await self.web.get(address, accept=accept, most_bytes=most_bytes)

    async def _find_embedded(self, oembed: str | None, page: str) -> str | None:
        """The picture of a page that describes itself elsewhere, by oEmbed."""
        try:
            found = await self._get(oembed, page, "application/json", EMBED_BYTES)
        except RemoteFault:
            return None
        embed = _decode(found.body, _Embed)
        return None if embed is None else embed.thumbnail_url

    async def _with_picture(self, og: Mapping[str, str], found: Found, page: str) -> Reading:
        """The answer with that picture in it, if it is one that clients are given."""
        measured = _decode(await self.processes.run("previews.picture", [], found.body), _Measured)
        if measured is None:
            return Reading(answer=og)
        file_id, media_id = (new_media_id(self.world.token_bytes) for _ in range(2))
        try:
            stored = await self.world.call(self.files.store, file_id, io.BytesIO(found.body))
        except TooLarge:
            return Reading(answer=og)
        record = MediaRecord(
            origin=self.server_name,
            media_id=media_id,
            uploader=None,
            created_ms=self.world.now_ms(),
            content_type=measured.content_type,
            filename=None,
            size=stored.size,
            sha256=stored.sha256,
            file_id=file_id,
            preview_of=page,
        )
        answer = {
            **og,
            "og:image": f"mxc://{self.server_name}/{media_id}",
            "og:image:type": measured.content_type,
            "og:image:width": measured.width,
            "og:image:height": measured.height,
            "matrix:image:size": stored.size,
        }
        return Reading(answer=answer, image=record)


def _decode(raw: bytes | None, kind: type[T]) -> T | None:
    """What a process printed or a page answered; None for what is no such thing."""
    try:
        return None if raw is None else msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError):
        return None
