"""People's push rules: kept, changed, and at hand compiled.

Spec: client-server-api#push-rules-api
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from federation.ids import UserID
from homeserver.push.rules import Edits, RuleSet, show_rules
from homeserver.storage.changes import UserDataChanged
from homeserver.storage.database import Change, Database, Txn
from homeserver.storage.push import find_push_rules, set_push_rules

MOST_KNOWN: Final = 50_000
"""Of how many people the rules are at hand."""
MOST_SETS: Final = 5_000
"""How many different rule sets are kept compiled."""

_decoder: Final = msgspec.json.Decoder(Edits)

DEFAULT: Final = RuleSet(Edits())
"""The rules of whoever changed none."""


class Rulebook:
    """The rules of everybody. What it has at hand it forgets when a commit tells of a change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[UserID, RuleSet] = OrderedDict()
        self._sets: OrderedDict[bytes, RuleSet] = OrderedDict()
        self._changes = 0

    def find(self, user_id: UserID) -> RuleSet | None:
        """The rules of a person, if they are at hand."""
        return self._known.get(user_id)

    async def load(self, user_id: UserID) -> RuleSet:
        """The rules of a person."""
        known = self._known.get(user_id)
        while known is None:
            changes = self._changes
            known = self._compile(await self._database.read(find_push_rules, user_id))
            if changes != self._changes:
                known = None
        self._known[user_id] = known
        self._known.move_to_end(user_id)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return known

    async def show(self, user_id: UserID) -> bytes:
        """All rules of a person as JSON: what GET /pushrules/ gives and what ``m.push_rules`` holds.

        Spec: client-server-api#get_matrixclientv3pushrules
        """
        return msgspec.json.encode({"global": show_rules((await self.load(user_id)).edits, user_id)})

    async def edit(self, user_id: UserID, change: Callable[[Edits], Edits]) -> None:
        """Change a person's rules by one of the functions in `rules`.

        Raises: what the function raises; then nothing is changed.
        """
        await self._database.write(_edit, user_id, change)

    def heed(self, changes: Sequence[Change]) -> None:
        """Forget the rules that a commit has changed."""
        for change in changes:
            if isinstance(change, UserDataChanged) and change.kind == "push_rules":
                self._changes += 1
                self._known.pop(change.user_id, None)

    def _compile(self, stored: bytes | None) -> RuleSet:
        if stored is None:
            return DEFAULT
        compiled = self._sets.get(stored)
        if compiled is None:
            compiled = self._sets[stored] = RuleSet(_decoder.decode(stored))
            if len(self._sets) > MOST_SETS:
                self._sets.popitem(last=False)
        return compiled


def _edit(txn: Txn, user_id: UserID, change: Callable[[Edits], Edits]) -> None:
    """Unit of work."""
    stored = find_push_rules(txn, user_id)
    before = Edits() if stored is None else _decoder.decode(stored)
    after = msgspec.json.encode(change(before))
    if after != (stored or b"{}"):
        set_push_rules(txn, user_id, after)
