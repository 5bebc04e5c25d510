"""Registration files of application services, as frozen typed records.

A file is the service's own, in the form of the Matrix specification; that the configuration names it is the operator's
consent. Keys of proposals, which have a dot in them, are left alone; any other that is unknown stops the start.

Spec: application-service-api#registration
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import yaml
from msgspec import Meta, field

from config.faults import ConfigError, name_key
from config.settings import ApplicationService, BaseURL, Record

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Secret = Annotated[str, Meta(min_length=1, pattern=r"^[\x21-\x7e]+$")]
Localpart = Annotated[str, Meta(pattern=r"^[a-z0-9._=/+-]+$", max_length=200)]


class Namespace(Record, frozen=True, kw_only=True):
    """Some user IDs, aliases or room IDs: those that begin as the expression says; `exclusive`: nobody else's."""

    regex: str
    exclusive: bool
    group_id: Any = None


class Namespaces(Record, frozen=True, kw_only=True):
    """What a service is interested in."""

    users: tuple[Namespace, ...] = ()
    aliases: tuple[Namespace, ...] = ()
    rooms: tuple[Namespace, ...] = ()


class Registration(Record, frozen=True, kw_only=True):
    """An application service as its file describes it; `url` None: it is told of nothing.

    `push_ephemeral` and `encrypts` are the names that MSC2409 and MSC3202 gave to what they add; `keeps_devices`
    (MSC4190) is what every service may do here.

    Spec: application-service-api#registration
    """

    id: Name
    url: BaseURL | None
    as_token: Secret
    hs_token: Secret
    sender_localpart: Localpart
    namespaces: Namespaces
    rate_limited: bool | None = None
    receive_ephemeral: bool | None = None
    push_ephemeral: bool | None = field(default=None, name="de.sorunome.msc2409.push_ephemeral")
    encrypts: bool = field(default=False, name="org.matrix.msc3202")
    keeps_devices: bool | None = field(default=None, name="io.element.msc4190")
    protocols: tuple[Name, ...] | None = None
    external_url: str | None = None

    @property
    def ephemeral_keys(self) -> tuple[str, ...]:
        """Under which keys of a transaction the service wants to hear of typing, receipts and presence."""
        if self.receive_ephemeral:
            return ("ephemeral",)
        return ("de.sorunome.msc2409.ephemeral",) if self.push_ephemeral else ()


_DECLARED: Final = frozenset(Registration.__struct_encode_fields__)
_UNIQUE: Final[dict[str, Callable[[Registration], str]]] = {
    "id": lambda found: found.id,
    "sender_localpart": lambda found: found.sender_localpart,
}


def load_registrations(services: Sequence[ApplicationService]) -> tuple[Registration, ...]:
    """The registrations that the configuration names, in its order.

    Raises:
        ConfigError: a file cannot be read, is none, or two do not go together.
    """
    found = tuple(
        _load(service.registration, f"application_services[{number}]: {service.registration}")
        for number, service in enumerate(services)
    )
    for registration, place in zip(found, _places(services), strict=True):
        _check_expressions(registration, place)
    _check_together(found, tuple(_places(services)))
    return found


def _places(services: Sequence[ApplicationService]) -> Iterator[str]:
    for number, service in enumerate(services):
        yield f"application_services[{number}]: {service.registration}"


def _load(file: Path, place: str) -> Registration:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{place}: cannot be read: {fault}") from None
    except yaml.YAMLError as fault:
        raise ConfigError(f"{place}: not YAML: {' '.join(str(fault).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{place}: must be a mapping of keys to values")
    known = {
        key: value for key, value in tree.items() if not isinstance(key, str) or "." not in key or key in _DECLARED
    }
    try:
        return msgspec.convert(known, Registration)
    except msgspec.ValidationError as fault:
        raise ConfigError(f"{place}: {name_key(str(fault))}") from None


def _check_expressions(registration: Registration, place: str) -> None:
    for kind in ("users", "aliases", "rooms"):
        for number, namespace in enumerate(getattr(registration.namespaces, kind)):
            try:
                re.compile(namespace.regex)
            except re.error as fault:
                raise ConfigError(
                    f"{place}: namespaces.{kind}[{number}].regex: not a regular expression: {fault}"
                ) from None


def _check_together(registrations: Sequence[Registration], places: Sequence[str]) -> None:
    """Refuse two services that could be taken for one another."""
    for key, read in _UNIQUE.items():
        taken: dict[str, str] = {}
        for registration, place in zip(registrations, places, strict=True):
            value = read(registration)
            if value in taken:
                raise ConfigError(f"{place}: {key}: {value} is that of {taken[value]}, too")
            taken[value] = place
    tokens: dict[str, str] = {}
    for registration, place in zip(registrations, places, strict=True):
        for key, token in (("as_token", registration.as_token), ("hs_token", registration.hs_token)):
            if token in tokens:
                raise ConfigError(f"{place}: {key}: is that of {tokens[token]}, too")
            tokens[token] = f"{place}: {key}"
