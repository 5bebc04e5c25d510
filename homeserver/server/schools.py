"""The composition of the schools' offices."""

from homeserver.api.route import Route
from homeserver.api.school import export, organisations
from homeserver.api.school import people as school_people
from homeserver.schools.commands import Bureau
from homeserver.schools.office import Office
from homeserver.schools.roster.imports import Rosters
from homeserver.schools.sheets import Sheets
from homeserver.server.accounts import AccountParts
from homeserver.server.core import Core
from homeserver.server.export import build_exports
from homeserver.server.rooms import RoomParts


def build_bureau(core: Core, rooms: RoomParts, people: AccountParts) -> Bureau:
    """Make the offices of the schools."""
    database, facts, desk = core.database, core.facts, rooms.desk
    return Bureau(
        desk=desk,
        office=Office(database, facts, desk),
        rosters=Rosters(facts, desk),
        sheets=Sheets(database, facts, desk, people.passwords),
        passwords=people.passwords,
        exports=build_exports(core),
    )


def school_routes(bureau: Bureau) -> tuple[Route, ...]:
    """The endpoints of the schools' administration."""
    return (
        *organisations.routes(bureau.office),
        *school_people.routes(bureau.office, bureau.rosters, bureau.sheets),
        *export.routes(bureau.exports),
    )
