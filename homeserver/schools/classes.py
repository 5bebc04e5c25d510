"""Classes and the school year: what a class is called, which year it is, when the year ends, what comes next.

School: rows 17, 21, 31, decided 2
"""

import re
from datetime import UTC, date, datetime

from msgspec.structs import replace

from homeserver.policy import Conflict, Invalid
from homeserver.schools.names import BadName, parse_title
from homeserver.storage.schools.organisations import SchoolClass

HIGHEST_GRADE = 11
NEW_YEAR_MONTH = 6
"""From June on, what is verified counts for the coming school year too: the lessons of this one are over."""

_LOOK_ALIKE = str.maketrans("ABCEHKMOPTXY", "АВСЕНКМОРТХУ")
"""Latin letters that nobody can tell from Russian ones: 9B and 9В are the same class."""
_TITLE = re.compile(r"([1-9][0-9]?)\s*[-\u2013 ]?\s*[\"«„]?([А-ЯЁA-Z]?)[\"»“]?")


class BadClass(Invalid):
    """No class can be called so."""

    def __init__(self, why: str) -> None:
        super().__init__("M_INVALID_PARAM", why)


def parse_class_title(text: str) -> tuple[int, str]:
    """Grade and letter of a class: `9Б`, `9 б`, `9-Б`, `9 «Б»`; the grades are 1 to 11.

    Raises: BadClass.
    """
    found = _TITLE.fullmatch(text.strip().upper()) if len(text) <= 20 else None
    if found is None or int(found[1]) > HIGHEST_GRADE:
        raise BadClass("a class is a grade from 1 to 11 and a letter: 9Б")
    return int(found[1]), found[2].translate(_LOOK_ALIKE)


def parse_group_title(text: str) -> str:
    """The name of a study group without grades, which does not look like a class of a grade.

    Raises: BadClass.
    """
    try:
        title = parse_title("class", text, 60)
    except BadName as fault:
        raise BadClass(fault.why) from None
    if title[0].isdigit():
        raise BadClass("the name of a group does not begin with a number")
    return title


def school_year(now_ms: int) -> int:
    """The calendar year in which the school year began that goes on now; it changes on 1 September (UTC)."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return now.year if now.month >= 9 else now.year - 1


def year_end_ms(now_ms: int) -> int:
    """Until when somebody verified now counts as verified: the end of 31 August, of next year's from June on."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    return end_of_year_ms(now.year if now.month >= NEW_YEAR_MONTH else now.year - 1)


def end_of_year_ms(year: int) -> int:
    """When the school year ends that begins in that calendar year: with the end of 31 August (UTC)."""
    return int(datetime(year + 1, 9, 1, tzinfo=UTC).timestamp() * 1000)


def parse_day(text: str) -> str:
    """A day as ISO 8601 writes it: 2026-08-31.

    Raises: Invalid.
    """
    try:
        if len(text) != 10:
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Invalid("M_INVALID_PARAM", "a day is written 2026-08-31") from None


def next_year(school_class: SchoolClass, now_ms: int) -> SchoolClass:
    """The class in the next school year: one grade up, or closed after the last grade.

    Raises: Conflict: it is closed, or is already ahead of the calendar.
    """
    if school_class.closed_ms is not None:
        raise Conflict("M_INVALID_PARAM", "the class has left school")
    if school_class.year > school_year(now_ms):
        raise Conflict("M_INVALID_PARAM", f"{school_class.title} is already of the school year {school_class.year}")
    if school_class.grade == HIGHEST_GRADE:
        return replace(school_class, closed_ms=now_ms)
    grade = school_class.grade + 1 if school_class.grade else 0
    return replace(school_class, grade=grade, year=school_class.year + 1)
