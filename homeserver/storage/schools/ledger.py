"""One organisation's records together: read as one snapshot, written where they changed."""

from collections.abc import Sequence

from msgspec import Struct

from homeserver.storage.database import Txn
from homeserver.storage.schools.organisations import (
    Organisation,
    SchoolClass,
    find_organisation,
    load_classes,
    set_class,
    set_organisation,
)
from homeserver.storage.schools.people import (
    Person,
    RoleRecord,
    load_current_roles,
    load_people,
    set_person,
    set_role,
)
from homeserver.storage.schools.rooms import SchoolRoom, load_open_rooms, set_school_room


class Ledger(Struct, frozen=True, kw_only=True):
    """Records of one organisation: all that are current, or those to be written. `org` is None when it is unchanged."""

    org: Organisation | None = None
    classes: Sequence[SchoolClass] = ()
    people: Sequence[Person] = ()
    roles: Sequence[RoleRecord] = ()
    rooms: Sequence[SchoolRoom] = ()


def find_ledger(txn: Txn, org_id: str) -> Ledger | None:
    """Find all current records of an organisation."""
    org = find_organisation(txn, org_id)
    if org is None:
        return None
    return Ledger(
        org=org,
        classes=load_classes(txn, org_id),
        people=load_people(txn, org_id),
        roles=load_current_roles(txn, org_id),
        rooms=load_open_rooms(txn, org_id),
    )


def set_ledger(txn: Txn, changed: Ledger) -> None:
    """Write records, new or changed; roles that end go before those that begin."""
    if changed.org is not None:
        set_organisation(txn, changed.org)
    for school_class in changed.classes:
        set_class(txn, school_class)
    for person in changed.people:
        set_person(txn, person)
    for role in sorted(changed.roles, key=lambda role: role.ended_ms is None):
        set_role(txn, role)
    for room in sorted(changed.rooms, key=lambda room: room.closed_ms is None):
        set_school_room(txn, room)
