"""Organisations: what is asked of their fields when they are registered.

School: rows 9, 10, 12, 21, 31, 32
"""

import re
from typing import Final

from msgspec import Struct

from homeserver.policy import Invalid
from homeserver.schools.classes import HIGHEST_GRADE
from homeserver.schools.names import parse_title
from homeserver.storage.schools.organisations import Organisation

KINDS: Final = frozenset({"school", "college", "extra", "arts", "sports", "kindergarten"})
GRADED: Final = frozenset({"school"})
"""Kinds of organisations whose classes are grades; the others have study groups."""

LOWEST_GRADE: Final = 5
_INN = re.compile(r"[0-9]{10}")
_KPP = re.compile(r"[0-9]{4}[0-9A-Z]{2}[0-9]{3}")
_INN_WEIGHTS: Final = (2, 4, 10, 3, 5, 9, 4, 6, 8)


class Application(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an organisation says of itself when it is registered.

    `lowest_grade` below 5 is the organisation's own decision (row 32); `pupil_chats_from` opens direct rooms between
    pupils of one class from that grade on.
    """

    name: str
    short_name: str
    kind: str = "school"
    settlement: str = ""
    municipality: str = ""
    subject: str = ""
    inn: str | None = None
    kpp: str | None = None
    lowest_grade: int = LOWEST_GRADE
    pupil_chats_from: int | None = None


def build_organisation(application: Application, *, org_id: str, now_ms: int) -> Organisation:
    """The record of an organisation whose fields are all as they should be.

    Raises: Invalid (BadName for names).
    """
    if application.kind not in KINDS:
        raise Invalid("M_INVALID_PARAM", f"kind: one of {', '.join(sorted(KINDS))}")
    inn, kpp = _parse_tax_numbers(application.inn, application.kpp)
    grades = range(1, HIGHEST_GRADE + 1)
    if application.lowest_grade not in grades or application.pupil_chats_from not in {None, *grades}:
        raise Invalid("M_INVALID_PARAM", f"grades are 1 to {HIGHEST_GRADE}")
    return Organisation(
        org_id=org_id,
        kind=application.kind,
        name=parse_title("name", application.name, 500),
        short_name=parse_title("short_name", application.short_name, 100),
        settlement=_parse_place("settlement", application.settlement),
        municipality=_parse_place("municipality", application.municipality),
        subject=_parse_place("subject", application.subject),
        inn=inn,
        kpp=kpp,
        lowest_grade=application.lowest_grade,
        pupil_chats_from=application.pupil_chats_from,
        created_ms=now_ms,
    )


def _parse_place(field: str, text: str) -> str:
    return parse_title(field, text, 100) if text else ""


def _parse_tax_numbers(inn: str | None, kpp: str | None) -> tuple[str | None, str | None]:
    """Check the pair: both or none, ten digits with their control digit, and nine characters."""
    if inn is None and kpp is None:
        return None, None
    if inn is None or kpp is None:
        raise Invalid("M_INVALID_PARAM", "inn and kpp are given together")
    if _INN.fullmatch(inn) is None or _control_digit(inn) != int(inn[9]):
        raise Invalid("M_INVALID_PARAM", "inn: the 10 digits of an organisation, the last one being their check")
    if _KPP.fullmatch(kpp) is None:
        raise Invalid("M_INVALID_PARAM", "kpp: 9 characters")
    return inn, kpp


def _control_digit(inn: str) -> int:
    return sum(weight * int(digit) for weight, digit in zip(_INN_WEIGHTS, inn, strict=False)) % 11 % 10
