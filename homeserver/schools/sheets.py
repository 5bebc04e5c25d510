"""Sign-in sheets: a login and a fresh password for people who have none or have lost theirs, to be handed out on paper.

The password is shown once and kept only as a hash; with it every session of the person ends.

School: rows 37, 38
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from federation.ids import UserID, localpart_of
from homeserver.accounts.passwords import Passwords
from homeserver.policy import Invalid, NotFound
from homeserver.schools.desk import Desk
from homeserver.schools.facts import Facts
from homeserver.schools.office import Asker, check_may_command
from homeserver.schools.rights import Command, Role
from homeserver.schools.school import School, display_name
from homeserver.storage import devices
from homeserver.storage.accounts import set_password
from homeserver.storage.audit import AuditEntry, append_audit
from homeserver.storage.database import Database, Txn

MOST: Final = 60
"""How many sheets are made at once: a class and its parents, at a tenth of a second each."""
_GROUPS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What somebody needs in order to sign in."""

    user_id: UserID
    name: str
    login: str
    password: str


class Sheets:
    """Makes sign-in sheets."""

    def __init__(self, database: Database, facts: Facts, desk: Desk, passwords: Passwords) -> None:
        self._database = database
        self._facts = facts
        self._desk = desk
        self._passwords = passwords

    async def make(self, asker: Asker, org_id: str, people: Sequence[UserID]) -> list[Sheet]:
        """Give people of an organisation new passwords; those of administrators are the region's to give.

        Raises: NotFound: one of them is not there or not the asker's to give; Invalid: too many at once.
        """
        await check_may_command(self._facts, asker, Command.ENROL, org_id)
        if not 0 < len(people) <= MOST:
            raise Invalid("M_INVALID_PARAM", f"from 1 to {MOST} people at a time")
        school = await self._desk.load(org_id)
        for user_id in people:
            _check_theirs(school, asker, user_id)
        sheets = [
            Sheet(
                user_id=user_id,
                name=display_name(school, user_id),
                login=localpart_of(user_id),
                password=self.make_password(),
            )
            for user_id in dict.fromkeys(people)
        ]
        hashes = {sheet.user_id: await self._passwords.hash(sheet.password) for sheet in sheets}
        entries = [
            AuditEntry(
                org_id=org_id,
                at_ms=self._desk.world.now_ms(),
                done_by=asker.user_id,
                deed="new_password",
                subject=user_id,
            )
            for user_id in hashes
        ]
        await self._database.write(_set_passwords, hashes, entries)
        return sheets

    def make_password(self) -> str:
        """A password that is easy to type and, at 59 bits, hard to guess."""
        return "-".join(self._desk.world.new_id()[:4] for _ in range(_GROUPS))


def _check_theirs(school: School, asker: Asker, user_id: UserID) -> None:
    """Refuse who is not of this school alone, or would be a way to more rights than the asker has."""
    person = school.load_person(user_id)
    roles = school.roles_of(user_id)
    foreign = person.org_id != school.org.org_id or not roles
    if not asker.region and (foreign or any(role.role == Role.ADMINISTRATOR for role in roles)):
        raise NotFound("There is no such person")


def _set_passwords(txn: Txn, hashes: dict[UserID, str], entries: Sequence[AuditEntry]) -> None:
    for user_id, password_hash in hashes.items():
        set_password(txn, user_id, password_hash)
        devices.remove_all_devices(txn, user_id)
    for entry in entries:
        append_audit(txn, entry)
