"""The composition of accounts: what people sign in with, their sessions, devices and keys."""

from dataclasses import dataclass

from msgspec.structs import asdict

from config.settings import Settings
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.commands import Clerk
from homeserver.accounts.data import ClientConfig
from homeserver.accounts.interactive import Interactive
from homeserver.accounts.login import Logins
from homeserver.accounts.logintokens import LoginTokens
from homeserver.accounts.moderation import Moderation
from homeserver.accounts.openid import OpenIDTokens
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.registration import Registration
from homeserver.accounts.rendezvous import Rendezvous
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.userdirectory import UserDirectory
from homeserver.api.client import (
    account,
    backup,
    capabilities,
    contacts,
    data,
    dehydrated,
    devices,
    fallback,
    keys,
    login,
    loginpage,
    logintokens,
    moderation,
    networks,
    openid,
    profile,
    register,
    rendezvous,
    todevice,
    userdirectory,
)
from homeserver.api.route import Route
from homeserver.devices.backup import Backups
from homeserver.devices.crosssigning import CrossSigning
from homeserver.devices.dehydrated import DehydratedDevices
from homeserver.devices.devices import Devices
from homeserver.devices.keys import Keys
from homeserver.devices.lastseen import LastSeen
from homeserver.devices.todevice import ToDevice
from homeserver.schools.export.exports import Console
from homeserver.server.core import Core
from homeserver.server.erasure import build_erasures, build_sweeper
from homeserver.server.export import build_exporter
from homeserver.server.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountParts:
    """Accounts, their sessions, devices and keys."""

    passwords: Passwords
    sessions: Sessions
    accounts: Accounts
    registration: Registration
    last_seen: LastSeen
    keys: Keys


def build_accounts(core: Core, rooms: RoomParts) -> AccountParts:
    """Make what people sign in with."""
    world, database, policy, now_ms = core.world, core.database, core.policy, core.world.now_ms
    passwords = Passwords(world.settings.passwords, world.reactor, world.token_bytes)
    rules = world.settings.registration
    return AccountParts(
        passwords=passwords,
        sessions=Sessions(database, policy, core.mint, now_ms),
        accounts=Accounts(database, policy, passwords, rooms.propagations, now_ms, core.limits.check),
        registration=Registration(database, passwords, core.mint, rules, world.server_name, now_ms),
        last_seen=LastSeen(database, world.reactor, now_ms),
        keys=Keys(database, policy),
    )


def build_clerk(core: Core, rooms: RoomParts, people: AccountParts) -> Clerk:
    """Make the clerk that does the operator's commands on accounts."""
    return Clerk(
        server_name=core.world.server_name,
        database=core.database,
        operators=core.operators,
        registration=people.registration,
        accounts=people.accounts,
        propagations=rooms.propagations,
        erasures=build_erasures(core, rooms, build_sweeper(core)),
        exports=Console(exporter=build_exporter(core)),
        mint=core.mint,
        now_ms=core.world.now_ms,
    )


def account_routes(core: Core, rooms: RoomParts, people: AccountParts, push_rules: data.Keeper) -> tuple[Route, ...]:
    """The endpoints of accounts, sessions, devices and keys."""
    database, policy, server_name = core.database, core.policy, core.world.server_name
    now_ms = core.world.now_ms
    interactive = Interactive(people.accounts, people.registration, core.mint, server_name, now_ms)
    logins = Logins(database, policy, people.accounts, core.mint)
    tokens = None
    if core.world.settings.login_via_existing_session:
        tokens = LoginTokens(database, policy, core.mint, now_ms)
    return (
        *login.routes(logins, people.sessions, server_name, tokens, core.services.identities),
        *(() if tokens is None else logintokens.routes(tokens, interactive)),
        *loginpage.routes(server_name),
        *fallback.routes(interactive, server_name),
        *register.routes(people.registration, interactive, logins, server_name, core.services.questions.services),
        *account.routes(people.accounts, interactive),
        *contacts.routes(interactive),
        *devices.routes(Devices(database, now_ms, people.last_seen.renew), interactive),
        *profile.routes(rooms.profiles),
        *data.routes(ClientConfig(database), {"m.push_rules": push_rules}),
        *keys.routes(people.keys, CrossSigning(database, policy), interactive),
        *todevice.routes(ToDevice(database, policy, now_ms)),
        *backup.routes(Backups(database)),
        *dehydrated.routes(DehydratedDevices(database, now_ms)),
        *openid.routes(OpenIDTokens(database, policy, core.mint, now_ms), server_name),
        *moderation.routes(Moderation(database, core.operators, server_name, now_ms, people.last_seen.renew)),
        *rendezvous.routes(
            Rendezvous(policy, core.mint, now_ms), core.world.settings.public_base_url or f"https://{server_name}"
        ),
        *networks.routes(core.services.questions, policy),
        *userdirectory.routes(UserDirectory(database, policy)),
        *capabilities.routes(policy, _abilities(core.world.settings)),
    )


def _abilities(settings: Settings) -> capabilities.Abilities:
    return capabilities.Abilities(
        default_version=settings.rooms.default_version,
        login_tokens=settings.login_via_existing_session,
        delayed=asdict(settings.delayed_events),
    )
