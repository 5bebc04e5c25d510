"""Organisations and their classes."""

from msgspec import Struct
from msgspec.structs import astuple

from homeserver.storage.database import Txn

_ORGANISATION = (
    "SELECT org_id, kind, name, short_name, settlement, municipality, subject, inn, kpp, lowest_grade,"
    " pupil_chats_from, created_ms FROM organisations"
)
_SET_ORGANISATION = (
    "INSERT INTO organisations (org_id, kind, name, short_name, settlement, municipality, subject, inn, kpp,"
    " lowest_grade, pupil_chats_from, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (org_id) DO UPDATE SET kind = excluded.kind, name = excluded.name,"
    " short_name = excluded.short_name, settlement = excluded.settlement, municipality = excluded.municipality,"
    " subject = excluded.subject, inn = excluded.inn, kpp = excluded.kpp, lowest_grade = excluded.lowest_grade,"
    " pupil_chats_from = excluded.pupil_chats_from"
)
_CLASS = "SELECT class_id, org_id, grade, letter, year, closed_ms FROM classes"
_SET_CLASS = (
    "INSERT INTO classes (class_id, org_id, grade, letter, year, closed_ms) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (class_id) DO UPDATE SET grade = excluded.grade, letter = excluded.letter, year = excluded.year,"
    " closed_ms = excluded.closed_ms"
)


class Organisation(Struct, frozen=True):
    """An organisation as it is registered; the pair of `inn` and `kpp` is its alone where it is known.

    Pupils of one class may write to each other from grade `pupil_chats_from` on, None for never.

    School: rows 9, 10, 12, 21, 31
    """

    org_id: str
    kind: str
    name: str
    short_name: str
    settlement: str
    municipality: str
    subject: str
    inn: str | None
    kpp: str | None
    lowest_grade: int
    pupil_chats_from: int | None
    created_ms: int


class SchoolClass(Struct, frozen=True):
    """A class in a school year, which is named by the calendar year in which it begins.

    Grade 0 is a group without grades; `letter` is then its whole name. School: rows 17, 21
    """

    class_id: str
    org_id: str
    grade: int
    letter: str
    year: int
    closed_ms: int | None = None

    @property
    def title(self) -> str:
        """How it is called: 9Б."""
        return f"{self.grade or ''}{self.letter}"


def find_organisation(txn: Txn, org_id: str) -> Organisation | None:
    """Find an organisation by its id."""
    row = txn.one(f"{_ORGANISATION} WHERE org_id = ?", (org_id,))
    return None if row is None else Organisation(*row)


def find_organisation_by_inn(txn: Txn, inn: str, kpp: str) -> Organisation | None:
    """Find the organisation registered under that pair."""
    row = txn.one(f"{_ORGANISATION} WHERE inn = ? AND kpp = ?", (inn, kpp))
    return None if row is None else Organisation(*row)


def load_organisations(txn: Txn, after: str, limit: int) -> list[Organisation]:
    """Load organisations in the order of their ids, from behind `after`."""
    sql = f"{_ORGANISATION} WHERE org_id > ? ORDER BY org_id LIMIT ?"
    return [Organisation(*row) for row in txn.all(sql, (after, limit))]


def set_organisation(txn: Txn, org: Organisation) -> None:
    """Write an organisation, new or changed."""
    txn.run(_SET_ORGANISATION, astuple(org))


def load_classes(txn: Txn, org_id: str) -> list[SchoolClass]:
    """Load all classes of an organisation, closed ones included."""
    sql = f"{_CLASS} WHERE org_id = ? ORDER BY year, grade, letter"
    return [SchoolClass(*row) for row in txn.all(sql, (org_id,))]


def set_class(txn: Txn, school_class: SchoolClass) -> None:
    """Write a class, new or changed."""
    txn.run(_SET_CLASS, astuple(school_class))
