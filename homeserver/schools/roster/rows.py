"""The text of a roster, read row by row: every row becomes a record or a fault with its line.

CSV in UTF-8, with or without byte order mark, separated by semicolons or commas; the first line names the columns in
Russian or English, in any order. Unknown columns are a fault: a misspelt one must not pass in silence.

School: row 28
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from homeserver.policy import Invalid
from homeserver.schools.classes import BadClass, parse_class_title, parse_group_title
from homeserver.schools.names import BadName, parse_key, parse_part
from homeserver.schools.rights import Role

LONGEST: Final = 4 << 20
"""How many characters a roster may have."""
MOST_ROWS: Final = 20_000
MOST_FAULTS: Final = 200
_LONGEST_FIELD: Final = 500

_COLUMNS: Final[Mapping[str, str]] = {
    "фамилия": "family",
    "family": "family",
    "family name": "family",
    "last name": "family",
    "surname": "family",
    "имя": "given",
    "given": "given",
    "given name": "given",
    "first name": "given",
    "отчество": "patronymic",
    "patronymic": "patronymic",
    "middle name": "patronymic",
    "роль": "role",
    "role": "role",
    "класс": "class",
    "классы": "class",
    "class": "class",
    "classes": "class",
    "ид": "key",
    "id": "key",
    "номер": "key",
    "личное дело": "key",
    "key": "key",
    "дети": "children",
    "ребёнок": "children",
    "ребенок": "children",
    "children": "children",
    "child": "children",
}
_ROLES: Final[Mapping[str, Role]] = {
    "ученик": Role.PUPIL,
    "ученица": Role.PUPIL,
    "pupil": Role.PUPIL,
    "student": Role.PUPIL,
    "учитель": Role.TEACHER,
    "педагог": Role.TEACHER,
    "teacher": Role.TEACHER,
    "родитель": Role.PARENT,
    "мать": Role.PARENT,
    "отец": Role.PARENT,
    "parent": Role.PARENT,
    "guardian": Role.PARENT,
}


class BadRoster(Invalid):
    """The text is no roster at all."""

    def __init__(self, why: str) -> None:
        super().__init__("M_INVALID_PARAM", why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong in a line of the roster; the first line is 1."""

    line: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterRow:
    """A person in the roster. `classes` are (grade, letter) pairs; `children` are the keys of a parent's children."""

    line: int
    family: str
    given: str
    patronymic: str
    role: Role
    classes: tuple[tuple[int, str], ...]
    key: str | None
    children: tuple[str, ...]

    @property
    def name(self) -> tuple[str, str, str]:
        """The name to know the person by where there is no key: letters' case and ё do not matter."""
        return fold_name(self.family, self.given, self.patronymic)


def fold_name(*parts: str) -> tuple[str, str, str]:
    """A name to compare by."""
    family, given, patronymic = (part.casefold().replace("ё", "е") for part in parts)
    return family, given, patronymic


def parse_roster(text: str, *, graded: bool) -> tuple[list[RosterRow], list[Fault]]:
    """The rows of a roster and its faults, both in the order of lines; `graded` if its classes have grades.

    Raises: BadRoster: it is too long, has no header, or not the columns that are needed.
    """
    if len(text) > LONGEST:
        raise BadRoster(f"the roster is longer than {LONGEST} characters")
    lines = _read_lines(text.removeprefix("\ufeff"))
    header = next(lines, None)
    if header is None:
        raise BadRoster("the roster is empty")
    columns = _parse_header(header[1])
    rows: list[RosterRow] = []
    faults: list[Fault] = []
    for number, (line, cells) in enumerate(lines):
        if number >= MOST_ROWS:
            raise BadRoster(f"the roster has more than {MOST_ROWS} rows")
        try:
            rows.append(_parse_row(line, columns, cells, graded=graded))
        except (BadName, BadClass, BadRoster) as fault:
            faults.append(Fault(line=line, why=fault.why))
        if len(faults) >= MOST_FAULTS:
            break
    return rows, [*faults, *_repetitions(rows)]


def _read_lines(text: str) -> Iterator[tuple[int, Sequence[str]]]:
    """The rows that are not empty, with the number of their line."""
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    before = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield before + 1, cells
            before = reader.line_num
    except csv.Error as fault:
        raise BadRoster(f"line {before + 1}: {fault}") from None


def _parse_header(cells: Sequence[str]) -> list[str]:
    columns = []
    for cell in cells:
        title = " ".join(cell.casefold().split())
        if title not in _COLUMNS:
            raise BadRoster(f"unknown column: {cell.strip()[:40]!r}; known are {', '.join(_COLUMNS)}")
        columns.append(_COLUMNS[title])
    if len(set(columns)) != len(columns):
        raise BadRoster("a column is there twice")
    missing = {"family", "given", "role"} - set(columns)
    if missing:
        raise BadRoster(f"missing columns: {', '.join(sorted(missing))}")
    return columns


def _parse_row(line: int, columns: Sequence[str], cells: Sequence[str], *, graded: bool) -> RosterRow:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        raise BadRoster("more cells than columns")
    if any(len(cell) > _LONGEST_FIELD for cell in cells):
        raise BadRoster(f"a cell is longer than {_LONGEST_FIELD} characters")
    held = dict(zip(columns, cells, strict=False))
    role = _ROLES.get(held.get("role", "").strip().casefold())
    if role is None:
        raise BadRoster("role: one of ученик, учитель, родитель; administrators are appointed")
    key = held.get("key", "")
    row = RosterRow(
        line=line,
        family=parse_part("family", held.get("family", "")),
        given=parse_part("given", held.get("given", "")),
        patronymic=parse_part("patronymic", held.get("patronymic", ""), optional=True),
        role=role,
        classes=tuple(_parse_class(part, graded=graded) for part in _split(held.get("class", ""))),
        key=parse_key(key) if key.strip() else None,
        children=tuple(parse_key(part) for part in _split(held.get("children", ""))),
    )
    _check_scope(row)
    return row


def _split(cell: str) -> list[str]:
    """The parts of a cell that holds a list."""
    for separator in "|,;":
        cell = cell.replace(separator, "\n")
    return [part.strip() for part in cell.split("\n") if part.strip()]


def _parse_class(title: str, *, graded: bool) -> tuple[int, str]:
    return parse_class_title(title) if graded else (0, parse_group_title(title))


def _check_scope(row: RosterRow) -> None:
    if row.role is Role.PUPIL and len(row.classes) != 1:
        raise BadRoster("a pupil is in one class")
    if row.role is Role.PARENT and (row.classes or not row.children):
        raise BadRoster("a parent has the ids of the children, and no class")
    if row.role is not Role.PARENT and row.children:
        raise BadRoster("only parents have children here")


def _repetitions(rows: Sequence[RosterRow]) -> Iterator[Fault]:
    """Rows of which one cannot tell who is meant: a key twice, or namesakes without keys in one role."""
    keys: dict[str, int] = {}
    names: dict[tuple[Role, tuple[str, str, str]], int] = {}
    for row in rows:
        first = keys.setdefault(row.key, row.line) if row.key is not None else row.line
        if first != row.line:
            yield Fault(line=row.line, why=f"the id is that of line {first}")
        if row.key is None:
            first = names.setdefault((row.role, row.name), row.line)
            if first != row.line:
                yield Fault(line=row.line, why=f"the same name as in line {first}: give both an id")
