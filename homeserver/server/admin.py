"""The composition of what operators and their tools do."""

from homeserver.accounts.nonces import Nonces
from homeserver.api.admin import register as admin_register
from homeserver.api.route import Route
from homeserver.server.accounts import AccountParts
from homeserver.server.core import Core


def admin_routes(core: Core, people: AccountParts) -> tuple[Route, ...]:
    """The endpoints for operators and their tools."""
    secret = core.world.settings.registration.shared_secret
    nonces = None if secret is None else Nonces(secret, core.mint, core.world.now_ms)
    return admin_register.routes(people.registration, nonces, core.world.server_name)
