"""How an exported room looks in a browser: pages that need nothing but themselves, all that is shown escaped. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final, NamedTuple

from federation.event import Event

_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{font-size:1rem;border-bottom:1px solid #ccc;margin-top:2rem}p{margin:.3rem 0;white-space:pre-wrap}"
    "time,small,.quiet{color:#767676;font-size:.85rem}b{margin:0 .5rem}img{max-width:20rem;max-height:20rem}"
)
_HEAD: Final = (
    '<!DOCTYPE html><html lang="ru"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy"'
    " content=\"default-src 'none'; img-src 'self'; style-src 'unsafe-inline'\">"
)
LABELS: Final[Mapping[str, str]] = {
    "deleted": "удалено · deleted",
    "edited": "изменено · edited",
    "encrypted": "зашифровано · encrypted",
    "join": "вошёл(ла) · joined",
    "leave": "вышел(ла) · left",
    "invite": "приглашён(а) · invited",
    "ban": "исключён(а) · banned",
    "knock": "просится · knocks",
    "rooms": "Комнаты · Rooms",
    "data": "Данные · Data",
    "files": "Файлы · Files",
    "all": "Всё, что хранится об этом человеке · Everything that is kept about this person",
}
"""What the pages say, in Russian and English."""


def begin_page(title: str) -> bytes:
    """The beginning of a page."""
    text = escape(title)
    return f"{_HEAD}<title>{text}</title><style>{_STYLE}</style></head><body><h1>{text}</h1>\n".encode()


END: Final = b"</body></html>\n"


class Listed(NamedTuple):
    """An entry of the index: where it leads, and what it is called."""

    href: str
    title: str


def build_index(title: str, lists: Mapping[str, Sequence[Listed]]) -> Iterator[bytes]:
    """The page that leads to all others; `lists` by label."""
    yield begin_page(title)
    yield f"<p>{LABELS['all']}</p>".encode()
    for label, entries in lists.items():
        yield f"<h2>{LABELS[label]}</h2><ul>".encode()
        for entry in entries:
            yield f'<li><a href="{escape(entry.href)}">{escape(entry.title)}</a></li>\n'.encode()
        yield b"</ul>"
    yield END


class RoomPage:
    """The page of one room, made event by event; `files` leads from addresses of files to where they lie."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._names: dict[str, str] = {}
        self._day = ""

    def show(self, event: Event) -> bytes:
        """An event as it is shown, perhaps as nothing."""
        at = datetime.fromtimestamp(min(max(event.origin_server_ts, 0), 253_402_300_799_000) / 1000, UTC)
        body = self._body(event)
        if not body:
            return b""
        day, head = f"{at:%Y-%m-%d}", ""
        if day != self._day:
            self._day, head = day, f"<h2>{day}</h2>\n"
        name = escape(self._names.get(event.sender, event.sender))
        return f'{head}<p><time>{at:%H:%M:%S}</time> <b title="{escape(event.sender)}">{name}</b>{body}</p>\n'.encode()

    def _body(self, event: Event) -> str:
        content = event.content
        if event.type == "m.room.member":
            return self._member(event)
        if event.state_key is not None or event.type == "m.room.redaction":
            return ""
        if not content:
            return _quiet(LABELS["deleted"])
        if event.type == "m.room.encrypted":
            return _quiet(LABELS["encrypted"])
        if event.type not in ("m.room.message", "m.sticker"):
            return _quiet(event.type)
        return self._message(content)

    def _member(self, event: Event) -> str:
        membership, name = event.membership or "", event.content.get("displayname")
        person = event.state_key or ""
        if isinstance(name, str) and name:
            self._names[person] = name
        return _quiet(f"{self._names.get(person, person)}: {LABELS.get(membership, membership)}")

    def _message(self, content: Mapping[str, Any]) -> str:
        renewed = content.get("m.new_content")
        edited = isinstance(renewed, dict)
        shown: Mapping[str, Any] = renewed if isinstance(renewed, dict) else content
        body = shown.get("body")
        text = escape(body) if isinstance(body, str) else ""
        mark = f" <small>({LABELS['edited']})</small>" if edited else ""
        return self._linked(shown, text) + mark

    def _linked(self, content: Mapping[str, Any], text: str) -> str:
        """The text, as a link where the event has a file that was taken along."""
        held = content.get("file")
        url = held.get("url") if isinstance(held, dict) else content.get("url")
        place = self._files.get(url) if isinstance(url, str) else None
        if place is None:
            return text
        href = escape(f"../{place}")
        if content.get("msgtype") == "m.image":
            return f'<a href="{href}"><img src="{href}" alt="{text}"></a> {text}'
        return f'<a href="{href}">{text or href}</a>'


def _quiet(text: str) -> str:
    return f'<span class="quiet">{escape(text)}</span>'


def file_name(media_id: str, filename: str | None) -> str:
    """Under which name a file is taken along: its own, as far as it is harmless in a path."""
    kept = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in filename or "").strip(". ")
    return f"media/{media_id[:64]}-{kept[-80:]}" if kept else f"media/{media_id[:64]}"
