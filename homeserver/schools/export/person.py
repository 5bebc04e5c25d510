"""What belongs to the export of a person, written page by page: never more than a page of it is in memory."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from twisted.internet.threads import deferToThreadPool

from federation.ids import UserID
from homeserver.media.files import Files
from homeserver.media.references import find_references
from homeserver.rooms.places import BEGINNING
from homeserver.rooms.sight import load_seen
from homeserver.schools.export.pages import END, Listed, RoomPage, begin_page, build_index, file_name
from homeserver.schools.export.sinks import Sink
from homeserver.schools.rights import Kind
from homeserver.storage.database import Database, Txn
from homeserver.storage.erasure import find_next_room
from homeserver.storage.events import Place, RoomEvent, load_page
from homeserver.storage.export import SECTIONS, Upload, find_name, find_upload, load_section, load_uploads
from homeserver.storage.rooms import RoomRecord

T = TypeVar("T")
AT_ONCE: Final = 200
_PRIVATE: Final = frozenset({Kind.DIRECT, Kind.DIRECT_PUPIL, Kind.HELP, None})
"""Rooms that the school is not in: None is any room that is not a school's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What exports need of the outside."""

    database: Database
    files: Files
    reactor: Any


@dataclass(slots=True, kw_only=True)
class Export:
    """The export of one person; `whole` with the rooms that the school is not in, `shown` with others' files."""

    user_id: UserID
    whole: bool
    shown: bool = False
    rooms: int = 0
    messages: int = 0
    uploads: int = 0
    paths: dict[str, str] = field(default_factory=dict)


class Exporter:
    """Writes exports."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._db = world.database

    async def write(self, export: Export, sink: Sink, say: Callable[[str], object]) -> None:
        """Write all of it; `say` hears how far it is.

        Raises: OSError where the disk does not take it; StorageUnavailable.
        """
        try:
            sections = [await self._write_section(export, sink, name) for name in SECTIONS]
            uploads = await self._write_uploads(export, sink)
            rooms = await self._write_rooms(export, sink, say)
            lists = {"rooms": rooms, "data": sections, "files": uploads}
            await self._write_file(sink, "index.html", build_index(export.user_id, lists))
            await self._call(sink.finish)
        except BaseException:
            await self._call(sink.give_up)
            raise

    def _call(self, work: Callable[..., T], *args: object) -> Any:
        return deferToThreadPool(self._world.reactor, self._world.reactor.getThreadPool(), work, *args)

    async def _write_file(self, sink: Sink, name: str, parts: Iterable[bytes]) -> None:
        await self._call(sink.begin, name)
        await self._call(sink.write, b"".join(parts))

    async def _write_section(self, export: Export, sink: Sink, name: str) -> Listed:
        rows = await self._db.read(load_section, name, export.user_id)
        await self._write_file(sink, f"data/{name}.json", [msgspec.json.format(msgspec.json.encode(rows), indent=2)])
        return Listed(f"data/{name}.json", name)

    async def _write_uploads(self, export: Export, sink: Sink) -> list[Listed]:
        listed: list[Listed] = []
        after = ""
        while page := await self._db.read(load_uploads, export.user_id, after, AT_ONCE):
            for upload in page:
                listed += await self._copy(export, sink, upload)
            after = page[-1].media_id
        export.uploads = len(listed)
        return listed

    async def _copy(self, export: Export, sink: Sink, upload: Upload) -> list[Listed]:
        source, name = self._world.files.path(upload.file_id), file_name(upload.media_id, upload.filename)
        if not source.exists():
            return []
        await self._call(sink.copy, name, source)
        export.paths[f"mxc://{upload.origin}/{upload.media_id}"] = name
        return [Listed(name, upload.filename or upload.media_id)]

    # rooms

    async def _write_rooms(self, export: Export, sink: Sink, say: Callable[[str], object]) -> list[Listed]:
        listed = []
        nid = 0
        while (record := await self._db.read(find_next_room, export.user_id, nid)) is not None:
            nid = record.nid
            if not export.whole and record.kind in _PRIVATE:
                continue
            export.rooms += 1
            name = await self._db.read(find_name, record.room_id) or record.room_id
            before = export.messages
            await self._write_events(export, sink, record)
            await self._write_page(export, sink, record, name)
            say(f"{record.room_id}  {export.messages - before} events")
            listed.append(Listed(f"rooms/{export.rooms}.html", name))
        return listed

    async def _write_events(self, export: Export, sink: Sink, record: RoomRecord) -> None:
        """The room's events as JSON, one a line; and the files that they show, if those are wanted."""
        await self._call(sink.begin, f"rooms/{export.rooms}.json")
        shown: dict[str, None] = {}
        place: Place | None = BEGINNING
        while place is not None:
            events, place = await self._db.read(_read_page, record, export.user_id, place)
            export.messages += len(events)
            await self._call(sink.write, b"".join(held.client + b"\n" for held in events))
            if export.shown:
                shown |= {f"mxc://{o}/{m}": None for held in events for o, m in find_references(held.event.raw)}
        for address in shown.keys() - export.paths.keys():
            origin, _, media_id = address.removeprefix("mxc://").partition("/")
            upload = await self._db.read(find_upload, origin, media_id)  # type: ignore[arg-type]  # an origin
            if upload is not None:
                await self._copy(export, sink, upload)

    async def _write_page(self, export: Export, sink: Sink, record: RoomRecord, name: str) -> None:
        await self._call(sink.begin, f"rooms/{export.rooms}.html")
        await self._call(sink.write, begin_page(name))
        page = RoomPage(export.paths)
        place: Place | None = BEGINNING
        while place is not None:
            events, place = await self._db.read(_read_page, record, export.user_id, place)
            await self._call(sink.write, b"".join(page.show(held.event) for held in events))
        await self._call(sink.write, END)


def _read_page(txn: Txn, record: RoomRecord, user_id: UserID, place: Place) -> tuple[Sequence[RoomEvent], Place | None]:
    """Some events that a person may see, or sent, from a place on; and where the next begin."""
    page = load_page(txn, record, place, AT_ONCE, backwards=False)
    visible = {seen.held.nid for seen in load_seen(txn, record, user_id, page)}
    events = [held for held in page if held.nid in visible or held.event.sender == user_id]
    for held in events:
        _ = held.client  # encoded here rather than on the reactor's thread
    return events, page[-1].place if len(page) == AT_ONCE else None
