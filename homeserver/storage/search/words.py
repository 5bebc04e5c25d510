"""The words of a text, and what of an event is text. Pure.

Spec: client-server-api#room_events
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from unicodedata import normalize

from homeserver.storage.relations import find_relation

LONGEST_WORD: Final = 64
MOST_TERMS: Final = 32
"""How many words of what is searched for count."""

KINDS: Final[Mapping[str, int]] = {"m.room.message": 0, "m.room.name": 1, "m.room.topic": 2}
"""The types of events that have text to be found, by the number that the index knows them by."""

_WORD: Final = re.compile("[^\\W_](?:[^\\W_]|[\u0300-\u036f\u00ad])*")
_MARKS: Final = dict.fromkeys([*range(0x300, 0x370), 0xAD])
_FOLDED: Final = {**_MARKS, ord("ё"): "е"}
_IDLE: Final = frozenset(
    # Russian
    "а без более бы был была были было быть в вам вас ведь во вот все всего всех вы где да даже для до его ее ей ему "
    "если есть еще же за и из или им их к как ко когда кто ли либо мне мы на над не него нее нет ни них но ну о об "
    "однако он она они оно от по под при с со так также там те тем то того тоже той только том ты у уже что чтобы эта "
    "эти это этого этой этом я "
    # English
    "a an and are as at be been but by did do does for from had has have he her his i if in is it its my no not of on "
    "or our s she so t than that the their them then there these they this to was we were what when which who will "
    "with you your".split()
)
"""Words that say nothing alone: they are looked for only if no others are."""


def words_in(text: str) -> Iterator[tuple[str, str]]:
    """The words of a text, one after the other: each as it appears, and folded so that case, width, stress marks and
    the two dots of ё make no difference.
    """
    for found in _WORD.finditer(normalize("NFC", text)):
        shown = found[0]
        for word in _fold_known(shown) if len(shown) <= LONGEST_WORD else _fold(shown):
            yield shown, word


def _fold(shown: str) -> tuple[str, ...]:
    """What is left of a word when it is folded; some signs make words of their own then."""
    folded = normalize("NFKC", shown).casefold().translate(_FOLDED)
    return tuple([word[:LONGEST_WORD] for word in _WORD.findall(folded)])


_fold_known: Final = lru_cache(50_000)(_fold)


def terms_of(text: str) -> list[str]:
    """The words to look for when somebody searches for that text, folded, each once."""
    words = dict.fromkeys(word for _, word in words_in(text))
    telling = [word for word in words if word not in _IDLE] or list(words)
    return telling[:MOST_TERMS]


def text_of(event_type: str, content: Mapping[str, Any]) -> str:
    """The text by which an event of that type and content is found; an edit's is what it puts in place of another's.

    Spec: client-server-api#room_events
    """
    match event_type:
        case "m.room.message":
            relation = find_relation(content)
            renewed = content.get("m.new_content") if relation and relation.type == "m.replace" else content
            return _string(renewed, "body")
        case "m.room.name":
            return _string(content, "name")
        case "m.room.topic":
            return "\n".join([_string(content, "topic"), *_plain_topics(content.get("m.topic"))])
    return ""


def _plain_topics(topic: object) -> Sequence[str]:
    """The representations of a topic that are plain text, which is what they are when they do not say.

    Spec: client-server-api#mroomtopic
    """
    shown = topic.get("m.text") if isinstance(topic, dict) else None
    parts = [part for part in shown if isinstance(part, dict)] if isinstance(shown, list) else []
    return [_string(part, "body") for part in parts if part.get("mimetype", "text/plain") == "text/plain"]


def _string(content: object, name: str) -> str:
    value = content.get(name) if isinstance(content, dict) else None
    return value if isinstance(value, str) else ""
