"""A school to test with: real storage, real rooms, the gate and the office; and a story's people in it.

school = await found_school(db)          # «Школа № 1», an administrator, classes 5А and 9Б
anna = await school.take_in("teacher", class_title="9Б")
await school.office.dismiss(school.boss, school.org_id, anna)
"""

from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path

from federation.ed25519 import SigningKey
from federation.ids import RoomID, ServerName, UserID
from homeserver.media.files import Files
from homeserver.rooms.room import Room
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Seal
from homeserver.schools.books import World
from homeserver.schools.desk import Desk
from homeserver.schools.export.exports import Exports
from homeserver.schools.export.exports import World as ExportsWorld
from homeserver.schools.export.person import Exporter
from homeserver.schools.export.person import World as ExporterWorld
from homeserver.schools.facts import Facts
from homeserver.schools.gate import Gate
from homeserver.schools.office import Applicant, Asker, Document, Office
from homeserver.schools.organisations import Application
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from homeserver.schools.school import School
from homeserver.storage.database import Database
from tests.kit.databases import reactor_in_use

SERVER = ServerName("north.example")
REGION = Asker(user_id=UserID(f"@operator:{SERVER}"), region=True)
OCTOBER_MS = 1_790_800_000_000
"""A day in October 2026."""
YEAR = 2026

GIVEN = ("Анна", "Борис", "Вера", "Глеб", "Дарья", "Егор", "Жанна", "Захар", "Инна", "Кирилл", "Лидия", "Марк")
FAMILIES = ("Ивановы", "Орлов", "Лисина", "Волков", "Зайцева", "Медведев", "Соколова", "Ершов", "Белкина", "Карпов")


class Clock:
    """A clock that a test moves."""

    def __init__(self, now_ms: int = OCTOBER_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class Chance:
    """Bytes that look random and are the same in every run."""

    def __init__(self) -> None:
        self._count = count()

    def __call__(self, size: int) -> bytes:
        seed = next(self._count).to_bytes(8, "big")
        return b"".join(sha256(seed + bytes([block])).digest() for block in range(-(-size // 32)))[:size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The parts of a server that schools live in."""

    db: Database
    rooms: Rooms
    facts: Facts
    gate: Gate
    desk: Desk
    office: Office
    clock: Clock


async def open_region(db: Database) -> Region:
    """The schools' part of a server on that database, after its start."""
    clock, chance = Clock(), Chance()
    seal = Seal(server=SERVER, key=SigningKey("a_1", bytes(32)), now_ms=clock, token_bytes=chance, next_id=db.next_id)
    rooms, facts = Rooms(db, seal), Facts(db, clock)
    db.on_commit = lambda _, changes: facts.heed(changes)
    desk = Desk(db, rooms, facts, World(server=SERVER, now_ms=clock, token_bytes=chance))
    await desk.settle_all()
    return Region(
        db=db,
        rooms=rooms,
        facts=facts,
        gate=Gate(facts, desk.world.service),
        desk=desk,
        office=Office(db, facts, desk),
        clock=clock,
    )


class Story:
    """One school of a region, and its people by what they are."""

    def __init__(self, region: Region, org_id: str) -> None:
        self.region = region
        self.office = region.office
        self.org_id = org_id
        self.boss = REGION
        self._names = count()

    async def take_in(self, role: str, *, class_title: str = "", child: str = "", verified: bool = True) -> UserID:
        """Take somebody in, under a name of no matter."""
        number = next(self._names)
        applicant = Applicant(
            family=FAMILIES[number % len(FAMILIES)],
            given=GIVEN[number % len(GIVEN)],
            role=role,
            class_title=class_title,
            child=child,
            verified=verified,
        )
        return (await self.office.take_in(self.boss, self.org_id, applicant)).user_id

    async def school(self) -> School:
        """The school as it is."""
        return await self.region.desk.load(self.org_id)

    async def class_id(self, title: str) -> str:
        """The id of a class."""
        return next(c.class_id for c in (await self.school()).classes.values() if c.title == title)

    async def room(self, kind: Kind, class_title: str = "", owner: str = "", peer: str = "") -> Room:
        """The live room of that kind."""
        school = await self.school()
        class_id = await self.class_id(class_title) if class_title else ""
        return await self.live(room_keys(school)[RoomKey(kind, class_id, owner, peer)])

    async def live(self, room_id: RoomID) -> Room:
        """A live room."""
        room = await self.region.rooms.load(room_id)
        assert room is not None
        return room


def document(number: int = 1) -> Document:
    """A director's act."""
    return Document(sha256=sha256(str(number).encode()).hexdigest(), signed_on="2026-09-01")


async def found_school(region: Region, name: str = "Школа № 1", *, lowest_grade: int = 5) -> Story:
    """A school with an administrator, who asks from then on, and the classes 5А and 9Б."""
    application = Application(name=f"Средняя {name}", short_name=name, lowest_grade=lowest_grade)
    school = await region.office.found(REGION, application)
    story = Story(region, school.org.org_id)
    boss = await story.take_in("teacher")
    await region.office.appoint(REGION, story.org_id, boss, document(hash(name)))
    story.boss = Asker(user_id=boss)
    for title in ("5А", "9Б"):
        await region.office.open_class(story.boss, story.org_id, title)
    return story


def build_exports(db: Database, region: Region, folder: Path) -> Exports:
    """The exports of a region's office, with files in that folder."""
    exporter = Exporter(
        ExporterWorld(database=db, files=Files(folder / "media", largest=1 << 20), reactor=reactor_in_use())
    )
    return Exports(
        ExportsWorld(
            database=db,
            facts=region.facts,
            exporter=exporter,
            folder=folder / "exports",
            new_id=region.desk.world.new_id,
            now_ms=region.clock,
        )
    )
