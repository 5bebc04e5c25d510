"""The one way in which operators do what only they may: judged by the policy, and written down in the audit log.

A change and its entry are one unit of work; a look at a person's data is answered only once its entry is committed;
what the policy refuses leaves an entry, too. So nothing that an operator does goes without a trace.

To add a deed: name it in `policy.Deed`, say in `schools.rights.OPERATORS` how far it reaches in a region of schools, do
it between `check` and `write` (or `note`, where nothing changes).
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple

from msgspec.structs import replace

from federation.errors import Refused
from federation.ids import UserID
from homeserver.policy import Administer, Policy
from homeserver.storage.audit import AuditEntry, Which, append_audit, load_audit
from homeserver.storage.database import Database, Txn

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_ENTRIES = 500
"""How many entries of the log are read at a time."""


class Operators:
    """Checks and records the deeds of operators."""

    def __init__(self, database: Database, policy: Policy, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._policy = policy
        self._now_ms = now_ms

    async def check(self, act: Administer, **detail: object) -> AuditEntry:
        """The entry of a deed that the policy lets pass, to be written with it; `detail` is what is worth knowing.

        Raises: Refused, once the attempt is in the log.
        """
        entry = self.build_entry(act, **detail)
        try:
            await self._policy.check(act)
        except Refused:
            await self._database.write(append_audit, replace(entry, outcome="refused"))
            raise
        return entry

    def build_entry(self, act: Administer, **detail: object) -> AuditEntry:
        """The entry of a deed, whatever the policy says: for what is done at the console, beside all policies."""
        told = {name: value for name, value in detail.items() if value is not None}
        if act.person is not None and act.room_id is not None:
            told["room_id"] = act.room_id
        subject = act.person or act.room_id or ""
        return AuditEntry(at_ms=self._now_ms(), done_by=act.by or "", deed=act.deed, subject=subject, detail=told)

    async def write(self, noted: AuditEntry | Sequence[AuditEntry], unit: Callable[[Txn, *Ts], T], *args: *Ts) -> T:
        """Do a unit of work and write down its entry, or its entries: all or nothing.

        Raises: what the unit raises.
        """
        return await self._database.write(do_noted, noted, unit, *args)

    async def note(self, entry: AuditEntry) -> None:
        """Write down a look, before it is answered."""
        await self._database.write(append_audit, entry)

    async def load(self, by: UserID, which: Which, limit: int) -> list[AuditEntry]:
        """A page of the log, newest first; that somebody looked is the next entry.

        Raises: Refused.
        """
        entry = await self.check(Administer(by=by, deed="see_audit"))
        found = await self._database.read(load_audit, which, min(limit, MOST_ENTRIES))
        await self.note(entry)
        return found


def do_noted(txn: Txn, noted: AuditEntry | Sequence[AuditEntry], unit: Callable[[Txn, *Ts], T], *args: *Ts) -> T:
    """A unit of work, and what the log says of it."""
    done = unit(txn, *args)
    for entry in (noted,) if isinstance(noted, AuditEntry) else noted:
        append_audit(txn, entry)
    return done
