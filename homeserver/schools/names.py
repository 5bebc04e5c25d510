"""Names of people and things as schools may write them: normalized, readable, and nothing but a name.

What could pretend to be something else in a client is refused: markup, control and formatting characters (among them
those that turn the direction of text), and words that mix scripts to look like another word.

School: rows 8, 9, 12, 27, 44
"""

import re
import unicodedata

from homeserver.policy import Invalid

LONGEST_PART = 100
_PART = re.compile(r"[^\W\d_]+(?:[-' .\u2019\u02bc]+[^\W\d_]+)*\.?")
_KEY = re.compile(r"[0-9A-Za-zА-Яа-яЁё][0-9A-Za-zА-Яа-яЁё._/-]{0,63}")
_WORD = re.compile(r"[^\W\d_]+")
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


class BadName(Invalid):
    """What was given is no name; `field` says which one."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__("M_INVALID_PARAM", f"{field}: {why}")
        self.field = field


def parse_part(field: str, text: str, *, optional: bool = False) -> str:
    """A family name, a given name or a patronymic: letters of one script a word, hyphens, apostrophes, dots.

    Raises: BadName.
    """
    part = _normalized(field, text, LONGEST_PART)
    if not part and optional:
        return ""
    if _PART.fullmatch(part) is None:
        raise BadName(field, "a name has letters, hyphens and apostrophes only")
    _check_one_script(field, part)
    return part


def parse_title(field: str, text: str, longest: int) -> str:
    """A name of an organisation, a place or a group: any characters that can be seen, but no markup.

    Raises: BadName.
    """
    title = _normalized(field, text, longest)
    if not any(char.isalnum() for char in title):
        raise BadName(field, "there is nothing to read")
    _check_one_script(field, title)
    return title


def parse_key(text: str) -> str:
    """The key by which a journal knows a person: letters, digits and what joins them.

    Raises: BadName.
    """
    key = text.strip()
    if _KEY.fullmatch(key) is None:
        raise BadName("key", "1 to 64 letters, digits, dots, dashes, slashes")
    return key


def _normalized(field: str, text: str, longest: int) -> str:
    if len(text) > longest * 4:
        raise BadName(field, f"longer than {longest} characters")
    if any(char in "<>" or (unicodedata.category(char) in _UNSEEN and char not in "\t\n\r") for char in text):
        raise BadName(field, "a character that names do not have")
    folded = " ".join(unicodedata.normalize("NFC", text).split())
    if len(folded) > longest:
        raise BadName(field, f"longer than {longest} characters")
    return folded


def _check_one_script(field: str, text: str) -> None:
    for word in _WORD.findall(text):
        if len({unicodedata.name(char, "?").partition(" ")[0] for char in word}) > 1:
            raise BadName(field, f"letters of different alphabets in one word: {word}")
