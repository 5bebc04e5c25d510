"""What a deed leaves in the books: every row it writes, computed beforehand, written in one unit of work.

School: rows 1, 6, 24
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from federation.ids import ServerName, UserID
from homeserver.policy import Conflict
from homeserver.schools.deeds import Pen
from homeserver.schools.gate import service_account
from homeserver.schools.school import School, changes_between, display_name, touched_by
from homeserver.storage import devices, profiles
from homeserver.storage.accounts import NewAccount, append_account
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Txn
from homeserver.storage.schools.ledger import Ledger, set_ledger
from homeserver.storage.schools.people import Appointment, append_appointment

_ID_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the schools need of the outside: our name, the time and chance."""

    server: ServerName
    now_ms: Callable[[], int]
    token_bytes: Callable[[int], bytes]

    def new_id(self) -> str:
        """An id that says nothing and is not met twice."""
        return "".join(_ID_LETTERS[byte % len(_ID_LETTERS)] for byte in self.token_bytes(_ID_LENGTH))

    def new_user_id(self) -> UserID:
        """A user ID by which nobody is known. School: row 42"""
        return UserID(f"@{self.new_id()}:{self.server}")

    @property
    def service(self) -> UserID:
        """The account in whose name the school acts in its rooms."""
        return service_account(self.server)

    def pen(self, by: UserID, source: str = "office") -> Pen:
        """Somebody's hand, now."""
        return Pen(by=by, now_ms=self.now_ms(), new_id=self.new_id, source=source)


class Entry(NamedTuple):
    """What the audit log says: which deed, to which person, class or organisation, and what else is worth knowing."""

    deed: str
    subject: str
    detail: Mapping[str, object]


def unchanged(school: School, pen: Pen) -> School:
    """The change of a deed that leaves the school's records as they are."""
    return school


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something to be done to a school: the change, its entries in the audit log, and what belongs to it.

    `passwords` are the hashes of new accounts; `source` is office or roster.
    """

    change: Callable[[School, Pen], School] = unchanged
    entries: Sequence[Entry] = ()
    source: str = "office"
    appointment: Appointment | None = None
    passwords: Mapping[UserID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A deed as it is written: records, accounts to open, names to show, sessions to end, what to forget."""

    ledger: Ledger
    opened: Sequence[NewAccount]
    names: Mapping[UserID, str]
    gone: Sequence[UserID]
    entries: Sequence[AuditEntry]
    appointment: Appointment | None
    changed: SchoolChanged

    def write(self, txn: Txn) -> None:
        """Write it all; part of the unit that also writes the events of rooms.

        Raises: Conflict: a user ID or a document is taken.
        """
        for account in self.opened:
            if not append_account(txn, account):
                raise Conflict("M_USER_IN_USE", "This user ID is taken")
        set_ledger(txn, self.ledger)
        if self.appointment is not None and not append_appointment(txn, self.appointment):
            raise Conflict("M_INVALID_PARAM", "This document has served before")
        for user_id, name in self.names.items():
            profile = profiles.find_profile(txn, user_id) or profiles.ProfileRow()
            profiles.set_profile(txn, user_id, replace(profile, displayname=name))
        for user_id in self.gone:
            devices.remove_all_devices(txn, user_id)
        for entry in self.entries:
            append_audit(txn, entry)
        txn.tell(replace(self.changed, position=txn.position()))


def build_step(before: School | None, after: School, deed: Deed, pen: Pen) -> Step:
    """What is to be written when a deed turns `before`, which is None for a new school, into `after`."""
    ledger = changes_between(before, after)
    known = {} if before is None else before.people
    left = {role.user_id for role in ledger.roles if role.ended_ms is not None}
    return Step(
        ledger=ledger,
        opened=[
            NewAccount(user_id=person.user_id, created_ms=pen.now_ms, password_hash=deed.passwords.get(person.user_id))
            for person in ledger.people
            if person.user_id not in known
        ],
        names={person.user_id: display_name(after, person.user_id) for person in ledger.people},
        gone=sorted(user_id for user_id in left if not after.roles_of(user_id)),
        entries=[
            AuditEntry(
                org_id=after.org.org_id,
                at_ms=pen.now_ms,
                done_by=pen.by,
                deed=entry.deed,
                subject=entry.subject,
                detail=entry.detail,
            )
            for entry in deed.entries
        ],
        appointment=deed.appointment,
        changed=SchoolChanged(
            position=0,
            people=touched_by(ledger, after),
            rooms=frozenset(room.room_id for room in ledger.rooms),
        ),
    )
