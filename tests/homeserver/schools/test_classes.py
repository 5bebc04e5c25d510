from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from homeserver.policy import Conflict, Invalid
from homeserver.schools.classes import (
    BadClass,
    next_year,
    parse_class_title,
    parse_day,
    parse_group_title,
    school_year,
    year_end_ms,
)
from homeserver.schools.organisations import Application, build_organisation
from homeserver.storage.schools.organisations import SchoolClass

NINTH = SchoolClass(class_id="c", org_id="o", grade=9, letter="Б", year=2026)


def ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "grade", "letter"),
    [
        ("9Б", 9, "Б"),
        ("9 б", 9, "Б"),
        ("9-Б", 9, "Б"),
        ("11 «А»", 11, "А"),
        ("1", 1, ""),
        (" 10ё ", 10, "Ё"),
        ("9B", 9, "В"),  # a Latin B is the В that it looks like
        ("5D", 5, "D"),
    ],
)
def test_a_class_title_is_read_in_all_its_spellings(text: str, grade: int, letter: str) -> None:
    assert parse_class_title(text) == (grade, letter)


@pytest.mark.parametrize("text", ["", "0А", "12А", "А9", "99", "9АБ", "9\u202eА", "девять", "-5А", "９Б", "9Б" * 99])
def test_what_is_no_grade_and_letter_is_refused(text: str) -> None:
    with pytest.raises(BadClass):
        parse_class_title(text)


def test_a_group_is_not_called_like_a_class() -> None:
    assert parse_group_title("Акварель, младшие") == "Акварель, младшие"
    for text in ("5А", "", "<b>", "Ш" * 61):
        with pytest.raises(BadClass):
            parse_group_title(text)


def test_the_school_year_begins_in_september() -> None:
    assert school_year(ms(2026, 8, 31)) == 2025
    assert school_year(ms(2026, 9, 1)) == 2026
    assert school_year(ms(2027, 5, 1)) == 2026


@pytest.mark.parametrize(
    ("verified", "until"),
    [((2026, 9, 1), 2027), ((2026, 12, 31), 2027), ((2027, 5, 31), 2027), ((2027, 6, 1), 2028), ((2027, 8, 31), 2028)],
)
def test_a_verification_lasts_to_the_end_of_august(verified: tuple[int, int, int], until: int) -> None:
    assert year_end_ms(ms(*verified)) == ms(until, 9, 1)


def test_a_class_goes_up_by_one_grade_a_year() -> None:
    promoted = next_year(NINTH, ms(2027, 6, 15))
    assert (promoted.title, promoted.year, promoted.class_id) == ("10Б", 2027, "c")


def test_a_class_is_not_promoted_twice_in_one_year() -> None:
    promoted = next_year(NINTH, ms(2027, 6, 15))
    with pytest.raises(Conflict):
        next_year(promoted, ms(2027, 6, 15))
    assert next_year(promoted, ms(2028, 6, 15)).title == "11Б"


def test_the_last_grade_leaves_school_and_is_promoted_no_more() -> None:
    left = next_year(replace(NINTH, grade=11), ms(2027, 6, 15))
    assert left.closed_ms == ms(2027, 6, 15)
    assert left.title == "11Б"
    with pytest.raises(Conflict):
        next_year(left, ms(2028, 6, 15))


def test_a_group_goes_on_under_its_name() -> None:
    group = SchoolClass(class_id="c", org_id="o", grade=0, letter="Акварель", year=2026)
    promoted = next_year(group, ms(2027, 6, 15))
    assert (promoted.title, promoted.year) == ("Акварель", 2027)


def test_a_day_is_one_of_the_calendar() -> None:
    assert parse_day("2026-02-28") == "2026-02-28"
    for text in ("2026-02-30", "28.02.2026", "", "2026-2-8", "20260228", "2026-02-28T00:00"):
        with pytest.raises(Invalid):
            parse_day(text)


GOOD = Application(name="Средняя школа № 7", short_name="Школа № 7", inn="7700000016", kpp="770001001")


def test_an_organisation_is_registered_with_checked_fields() -> None:
    org = build_organisation(GOOD, org_id="o", now_ms=1)
    assert (org.inn, org.kpp, org.lowest_grade, org.pupil_chats_from) == ("7700000016", "770001001", 5, None)


def test_an_organisation_may_leave_out_its_tax_numbers() -> None:
    assert build_organisation(Application(name="Школа", short_name="Ш"), org_id="o", now_ms=1).inn is None


@pytest.mark.parametrize(
    "spoiled",
    [
        {"name": ""},
        {"name": "Ш" * 501},
        {"short_name": "<b>Ш</b>"},
        {"short_name": "Ш" * 101},
        {"kind": "casino"},
        {"inn": "7700000017"},  # wrong control digit
        {"inn": "770000001600"},  # a person's
        {"inn": "７７00000016"},
        {"inn": None},
        {"kpp": None},
        {"kpp": "77000100"},
        {"kpp": "7700 1001"},
        {"kpp": "77000100\u0661"},
        {"settlement": "\u202e"},
        {"lowest_grade": 0},
        {"lowest_grade": 12},
        {"pupil_chats_from": 12},
    ],
)
def test_an_organisation_with_a_wrong_field_is_refused(spoiled: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        build_organisation(replace(GOOD, **spoiled), org_id="o", now_ms=1)
