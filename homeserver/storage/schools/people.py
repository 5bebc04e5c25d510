"""People and the roles they have had; and what counts for one person right now."""

from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import astuple

from federation.ids import UserID
from homeserver.storage.database import Txn

_PEOPLE_OF = (
    "SELECT user_id, org_id, family, given, patronymic, roster_key, created_ms FROM people"
    " WHERE org_id = ? OR user_id IN (SELECT user_id FROM roles WHERE org_id = ?)"
)
_SET_PERSON = (
    "INSERT INTO people (user_id, org_id, family, given, patronymic, roster_key, created_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET org_id = excluded.org_id,"
    " family = excluded.family, given = excluded.given, patronymic = excluded.patronymic,"
    " roster_key = excluded.roster_key"
)
_ROLE = (
    "SELECT role_id, user_id, org_id, role, class_id, child_id, source, began_ms, verified_ms, verified_by,"
    " verified_until_ms, ended_ms, ended_by FROM roles"
)
_SET_ROLE = (
    "INSERT INTO roles (role_id, user_id, org_id, role, class_id, child_id, source, began_ms, verified_ms,"
    " verified_by, verified_until_ms, ended_ms, ended_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (role_id) DO UPDATE SET verified_ms = excluded.verified_ms, verified_by = excluded.verified_by,"
    " verified_until_ms = excluded.verified_until_ms, ended_ms = excluded.ended_ms, ended_by = excluded.ended_by"
)
_APPEND_APPOINTMENT = (
    "INSERT INTO appointments (document_sha256, org_id, user_id, signed_on, accepted_by, accepted_ms)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (document_sha256) DO NOTHING"
)


class Person(Struct, frozen=True):
    """Somebody's record at the organisation that keeps it; `roster_key` is how its journal knows the person."""

    user_id: UserID
    org_id: str
    family: str
    given: str
    patronymic: str
    roster_key: str | None
    created_ms: int

    @property
    def name(self) -> str:
        """The full name: family name, given name, patronymic."""
        return " ".join(part for part in (self.family, self.given, self.patronymic) if part)


class RoleRecord(Struct, frozen=True):
    """A role with its scope, its verification (by whom, until when) and its end.

    `class_id` and `child_id` are empty where the role has no such scope. `source` is office or roster.

    School: rows 6, 26, decided 2 and 3
    """

    role_id: str
    user_id: UserID
    org_id: str
    role: str
    class_id: str
    child_id: str
    source: str
    began_ms: int
    verified_ms: int | None = None
    verified_by: str | None = None
    verified_until_ms: int | None = None
    ended_ms: int | None = None
    ended_by: str | None = None


class GrantRow(NamedTuple):
    """A current, verified role of a person: `class_id` is a parent's child's class, and `grade` that class's."""

    role: str
    org_id: str
    class_id: str
    child_id: str
    until_ms: int
    grade: int
    pupil_chats_from: int | None


class Appointment(Struct, frozen=True):
    """A document of the director by which somebody is administrator. School: row 6"""

    document_sha256: str
    org_id: str
    user_id: UserID
    signed_on: str
    accepted_by: UserID
    accepted_ms: int


def load_people(txn: Txn, org_id: str) -> list[Person]:
    """Load everybody whose record the organisation keeps, or who has or had a role there."""
    return [Person(*row) for row in txn.all(_PEOPLE_OF, (org_id, org_id))]


def load_current_roles(txn: Txn, org_id: str) -> list[RoleRecord]:
    """Load all roles of an organisation that have not ended."""
    sql = f"{_ROLE} WHERE org_id = ? AND ended_ms IS NULL"
    return [RoleRecord(*row) for row in txn.all(sql, (org_id,))]


def load_grants(txn: Txn, user_id: UserID) -> list[GrantRow]:
    """Load what counts for one person: verified roles, a parent's only while the child is in a class there.

    School: row 4
    """
    sql = (
        "SELECT r.role, r.org_id, COALESCE(child.class_id, r.class_id), r.child_id, r.verified_until_ms,"
        " COALESCE(c.grade, 0), o.pupil_chats_from"
        " FROM roles r JOIN organisations o ON o.org_id = r.org_id"
        " LEFT JOIN roles child ON r.child_id <> '' AND child.user_id = r.child_id AND child.org_id = r.org_id"
        " AND child.role = 'pupil' AND child.ended_ms IS NULL"
        " LEFT JOIN classes c ON c.class_id = COALESCE(child.class_id, r.class_id)"
        " WHERE r.user_id = ? AND r.ended_ms IS NULL AND r.verified_until_ms IS NOT NULL"
        " AND (r.child_id = '' OR child.class_id IS NOT NULL)"
    )
    return [GrantRow(*row) for row in txn.all(sql, (user_id,))]


def has_person(txn: Txn, user_id: UserID) -> bool:
    """Tell whether an organisation keeps a record of that person."""
    return txn.one("SELECT 1 FROM people WHERE user_id = ?", (user_id,)) is not None


def set_person(txn: Txn, person: Person) -> None:
    """Write a person's record, new or changed."""
    txn.run(_SET_PERSON, astuple(person))


def set_role(txn: Txn, role: RoleRecord) -> None:
    """Write a role, new or changed in its verification or by its end."""
    txn.run(_SET_ROLE, astuple(role))


def append_appointment(txn: Txn, appointment: Appointment) -> bool:
    """Keep by which document somebody was appointed; False, and nothing is kept, when it has served before."""
    return txn.run(_APPEND_APPOINTMENT, astuple(appointment)) == 1
