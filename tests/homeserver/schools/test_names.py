import pytest

from homeserver.schools.names import BadName, parse_key, parse_part, parse_title


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Иванова", "Иванова"),
        ("  Анна   Мария ", "Анна Мария"),
        ("Римский-Корсаков", "Римский-Корсаков"),
        ("О'Коннор", "О'Коннор"),
        ("Зоя\t", "Зоя"),
        ("и\u0306", "й"),
        ("O’Neill", "O’Neill"),
        ("Мамед оглы", "Мамед оглы"),
    ],
)
def test_a_name_of_letters_is_taken_and_normalized(text: str, name: str) -> None:
    assert parse_part("family", text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "-",
        "<b>Анна</b>",
        "Анна1",
        "Анна\u202eаннА",
        "Ан\u200bна",
        "Анна\x00",
        "Анна\x1b[31m",
        "\ue000",
        "Анна@школа",
        "https://x.ru",
        "Aннa",  # Latin and Russian letters
        "А" * 101,
        "А" * 100_000,
        "😀",
        "Анна, учитель",
        "\ud800",
    ],
)
def test_what_only_looks_like_a_name_is_refused(text: str) -> None:
    with pytest.raises(BadName) as caught:
        parse_part("family", text)
    assert caught.value.field == "family"


def test_only_an_optional_part_may_be_missing() -> None:
    assert parse_part("patronymic", " ", optional=True) == ""
    with pytest.raises(BadName):
        parse_part("given", " ")


@pytest.mark.parametrize("text", ["Средняя школа № 7", "МБОУ «СОШ № 7» (корпус 2)", '"Лицей"', "School 7, North"])
def test_a_title_may_hold_numbers_and_quotes(text: str) -> None:
    assert parse_title("name", text, 100) == text


@pytest.mark.parametrize(
    "text", ["", "«»", "<script>", "Школа\u2066", "Школа\r\x00", "Шкoла № 7", "Ш" * 101, "\u2028Школа"]
)
def test_a_title_without_text_or_with_hidden_text_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        parse_title("name", text, 100)


@pytest.mark.parametrize("text", ["1", "П-2024/17", "ab_c.d", " 7 "])
def test_a_key_is_taken(text: str) -> None:
    assert parse_key(text) == text.strip()


@pytest.mark.parametrize("text", ["", "-1", "a b", "a;b", "<1>", "x" * 65, "1\u200b", "1\n2"])
def test_a_key_of_other_characters_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        parse_key(text)
