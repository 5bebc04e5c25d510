"""Finding people by their names.

Spec: client-server-api#user-directory
"""

from collections.abc import Sequence
from typing import Final

from federation.ids import UserID
from homeserver.policy import FindPerson, Policy, allows
from homeserver.storage.database import Database
from homeserver.storage.names import Match, load_matches, words_of
from homeserver.storage.search.stems import stems_of

MOST_FOUND: Final = 50
MOST_LOOKED_AT: Final = 1000
"""How many people one search looks at, whomever the policy lets be found."""
LONGEST_TERM: Final = 255
_AT_ONCE: Final = 100


class UserDirectory:
    """Finds people."""

    def __init__(self, database: Database, policy: Policy) -> None:
        self._database = database
        self._policy = policy

    async def search(self, by: UserID, term: str, limit: int) -> tuple[Sequence[Match], bool]:
        """People whose display name and localpart have words that begin as those of the term do, best matches first;
        and whether there are more of them. If nobody's do, other forms of these words count as well.

        Spec: client-server-api#post_matrixclientv3user_directorysearch
        """
        words = words_of(_strip(term[:LONGEST_TERM]))
        found, limited = await self._find(by, words, limit)
        if not found and words:
            stems = await self._database.read(stems_of, words)
            found, limited = await self._find(by, list(dict.fromkeys(stems[word] for word in words)), limit)
        return found, limited

    async def _find(self, by: UserID, terms: Sequence[str], limit: int) -> tuple[Sequence[Match], bool]:
        words = sorted(terms, key=len, reverse=True)
        most = min(limit, MOST_FOUND)
        found: dict[UserID, Match] = {}
        seen: set[UserID] = set()
        after = ("", "")
        while words and len(found) <= most and len(seen) < MOST_LOOKED_AT:
            matches = await self._database.read(load_matches, by, words, after, _AT_ONCE)
            for match in matches:
                if match.user_id not in seen and await allows(self._policy, FindPerson(by=by, person=match.user_id)):
                    found[match.user_id] = match
                seen.add(match.user_id)
            if len(matches) < _AT_ONCE:
                break
            after = (matches[-1].word, matches[-1].user_id)
        return list(found.values())[:most], len(found) > most


def _strip(term: str) -> str:
    """A user ID without its server; other terms as they are."""
    text = term.strip()
    return text if " " in text else text.removeprefix("@").partition(":")[0]
