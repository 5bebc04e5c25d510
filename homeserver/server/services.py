"""The composition of application services: which there are, whom they act for, and the way to them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import asdict, replace

from config.settings import Settings
from federation.ids import parse_server_name
from federation.transport.agent import Outward, Rules
from homeserver.accounts.appservices.identities import Identities
from homeserver.accounts.appservices.questions import Questions
from homeserver.accounts.appservices.registry import build_services
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParts:
    """Application services. The operator names their addresses, which may be private ones: `outward` is for them."""

    identities: Identities
    questions: Questions
    outward: Outward


def build_service_parts(
    settings: Settings, database: Database, reactor: Any, now_ms: Callable[[], int]
) -> ServiceParts:
    """Make what knows the application services of the configuration.

    Raises: ConfigError.
    """
    is_school, server_name = settings.policy == "school", parse_server_name(settings.server_name)
    services = build_services(settings.application_services, server_name, is_school=is_school)
    outward = Outward(reactor, Rules(**asdict(replace(settings.network, allow_private_addresses=True))))
    return ServiceParts(
        identities=Identities(database, services, now_ms, only_own=is_school),
        questions=Questions(services, database, outward),
        outward=outward,
    )
