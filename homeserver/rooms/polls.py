"""Polls, as far as a server looks at them: what is a poll, and what is nothing but an answer to it. Pure.

Votes are counted by clients, from all that refers to the poll: in encrypted rooms nobody else could. An answer that
comes too late, or a second one, is sent like any other and not counted.

MSC3381: under its own names, which clients use in the room versions that there are, and those it is accepted with.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from federation.event import Event


class _Names(NamedTuple):
    """What the parts of a poll are called: type and block of its start, the key of an option's ID."""

    start: str
    poll: str
    id: str
    answers: str | None


_UNSTABLE: Final = "org.matrix.msc3381.poll"

RESPONSES: Final[Mapping[str, _Names]] = {
    "m.poll.response": _Names("m.poll.start", "m.poll", "m.id", None),
    f"{_UNSTABLE}.response": _Names(f"{_UNSTABLE}.start", f"{_UNSTABLE}.start", "id", "answers"),
}
"""The types of events that answer a poll."""
_SELECTIONS: Final = "m.selections"


def is_answer(poll: Event, event_type: str, content: Mapping[str, Any]) -> bool:
    """Whether an event of that type and content is an answer to that poll and nothing else: it chooses of the poll's
    options as many as it may, and says nothing in words of its own.
    """
    names = RESPONSES.get(event_type)
    if names is None or poll.type != names.start or poll.is_state:
        return False
    block = _SELECTIONS if names.answers is None else event_type
    if dict(content) != {
        "m.relates_to": {"rel_type": "m.reference", "event_id": poll.event_id},
        block: content.get(block),
    }:
        return False
    chosen = content.get(block)
    if names.answers is not None:
        if not isinstance(chosen, dict) or set(chosen) != {names.answers}:
            return False
        chosen = chosen[names.answers]
    options, most = _options_of(poll, names)
    return isinstance(chosen, list) and len(chosen) <= most and all(isinstance(c, str) and c in options for c in chosen)


def _options_of(poll: Event, names: _Names) -> tuple[frozenset[str], int]:
    """The IDs of a poll's options, and how many may be chosen."""
    block = poll.content.get(names.poll)
    if not isinstance(block, dict):
        return frozenset(), 0
    answers, most = block.get("answers"), block.get("max_selections", 1)
    options = [each.get(names.id) for each in answers if isinstance(each, dict)] if isinstance(answers, list) else []
    return frozenset(each for each in options if isinstance(each, str)), most if type(most) is int else 1
