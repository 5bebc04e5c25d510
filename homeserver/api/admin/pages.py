"""What the endpoints of operators share: how one is declared, who it is about, and which page of a list is meant.

The forms are those of Synapse's documented administration API, so that existing tools and panels work.
"""

from typing import Any, Final, NamedTuple

from federation.ids import UserID, parse_user_id
from homeserver.api.route import Call, Endpoint, Route

ROOT: Final = "/_synapse/admin"
MOST: Final = 1000
"""How many things a page has at most, whatever is asked for."""
_FARTHEST: Final = 2**53


class Page(NamedTuple):
    """From which place on, and how many."""

    start: int
    limit: int


def admin_route(method: str, path: str, handle: Endpoint, body: Any = None, **more: Any) -> Route:
    """An endpoint for operators; everybody else is refused before anything is looked at."""
    return Route(method=method, path=f"{ROOT}/{path}", handle=handle, auth="admin", rate="other", body=body, **more)


def page_of(call: Call) -> Page:
    """The page that a request asks for.

    Raises: BadParam.
    """
    start = call.query.int("from", 0)
    return Page(min(start, _FARTHEST), min(call.query.int("limit", 100), MOST))


def next_of(page: Page, shown: int, total: int) -> int | None:
    """Where the next page begins, None if there is none."""
    following = page.start + shown
    return following if shown and following < total else None


def is_backwards(call: Call, default: str = "f") -> bool:
    """Whether a list is to be shown from its end.

    Raises: BadParam.
    """
    return call.query.choice("dir", ("f", "b"), default) == "b"


def maybe_flag(call: Call, name: str) -> bool | None:
    """True or false as given under that name, None where it is not there.

    Raises: BadParam.
    """
    return None if call.query.str(name) is None else call.query.flag(name)


def person_of(call: Call) -> UserID:
    """Whom a request is about.

    Raises: BadIdentifier.
    """
    return parse_user_id(call.params["userId"])
