"""The composition of what operators and their tools do."""

from dataclasses import dataclass

from federation.versions import ROOM_VERSIONS
from homeserver.accounts.administration import Administration
from homeserver.accounts.erasure import Erasures
from homeserver.accounts.invitations import Invitations
from homeserver.accounts.moderation import Moderation
from homeserver.accounts.nonces import Nonces
from homeserver.accounts.overrides import Overrides
from homeserver.accounts.possessions import Possessions
from homeserver.api.admin import (
    audit,
    background,
    deletions,
    devices,
    erasure,
    notices,
    possessions,
    purge,
    reports,
    rooms,
    tokens,
    users,
    version,
)
from homeserver.api.admin import register as admin_register
from homeserver.api.route import Route
from homeserver.rooms.administration import RoomAdministration
from homeserver.rooms.inspection import AllSummaries, Inspection
from homeserver.rooms.jobs import Jobs
from homeserver.rooms.notices import Notices
from homeserver.rooms.purging import Purges
from homeserver.rooms.reported import Reported
from homeserver.rooms.spaces import Spaces
from homeserver.rooms.transactions import Transactions
from homeserver.server.accounts import AccountParts
from homeserver.server.core import Core
from homeserver.server.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """What operators do: with accounts, with what people have, with rooms, and to tell people something."""

    administration: Administration
    possessions: Possessions
    overrides: Overrides
    invitations: Invitations
    moderation: Moderation
    inspection: Inspection
    rooms: RoomAdministration
    reported: Reported
    notices: Notices
    jobs: Jobs

    async def prepare(self) -> None:
        """Let hold what was said before this start, and go on with what a stop has ended."""
        await self.notices.prepare()
        await self.overrides.resume()
        self.jobs.resume()


def build_admin(core: Core, rooms: RoomParts, people: AccountParts, purges: Purges) -> AdminParts:
    """Make what operators work with."""
    database, operators, server_name = core.database, core.operators, core.world.server_name
    now_ms, doors = core.world.now_ms, rooms.doors
    live, version_id = doors.rooms, core.world.settings.rooms.default_version
    every_room = Spaces(live, AllSummaries(live, core.policy, doors.aliases))
    return AdminParts(
        administration=Administration(
            server_name=server_name,
            database=database,
            operators=operators,
            registration=people.registration,
            passwords=people.passwords,
            propagations=rooms.propagations,
            mint=core.mint,
            now_ms=now_ms,
        ),
        possessions=Possessions(database, operators, server_name, now_ms),
        overrides=Overrides(database, operators, core.limits.override),
        invitations=Invitations(database, operators, core.mint, now_ms),
        moderation=Moderation(database, operators, server_name, now_ms, people.last_seen.renew),
        inspection=Inspection(live, database, operators, every_room),
        rooms=RoomAdministration(
            rooms=live,
            database=database,
            operators=operators,
            memberships=doors.memberships,
            aliases=doors.aliases,
            purges=purges,
        ),
        reported=Reported(live, database, operators),
        notices=Notices(live, database, operators, Transactions(database), ROOM_VERSIONS[version_id], core.world.voice),
        jobs=Jobs(live, database, operators),
    )


def admin_routes(core: Core, people: AccountParts, admin: AdminParts, erasures: Erasures) -> tuple[Route, ...]:
    """The endpoints for operators and their tools."""
    secret = core.world.settings.registration.shared_secret
    nonces = None if secret is None else Nonces(secret, core.mint, core.world.now_ms)
    server_name, now_ms = core.world.server_name, core.world.now_ms
    return (
        *version.routes(),
        *admin_register.routes(people.registration, nonces, server_name),
        *users.routes(admin.administration, people.registration),
        *possessions.routes(admin.possessions, admin.overrides, admin.moderation),
        *devices.routes(admin.possessions),
        *tokens.routes(admin.invitations),
        *rooms.routes(admin.inspection, admin.rooms, server_name, now_ms),
        *deletions.routes(admin.rooms),
        *purge.routes(admin.rooms.purges, core.operators),
        *reports.routes(admin.reported),
        *notices.routes(admin.notices),
        *background.routes(admin.jobs, now_ms),
        *audit.routes(core.operators),
        *erasure.routes(erasures, core.operators),
    )
