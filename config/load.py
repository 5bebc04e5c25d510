"""Reading the configuration: a YAML file, overridden by the environment, checked as a whole.

`PARTA_<SECTION>__<KEY>` overrides one key (`PARTA_LIMITS__RATES=false`, deeper ones with more double underscores,
`PARTA_FEDERATION__LIST__FILE`), `PARTA_<KEY>` one that is in no section (`PARTA_SERVER_NAME`). The value is YAML.
Variables without a double underscore that name no key are none of ours.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec.structs import replace

from config.faults import ConfigError, name_key
from config.registrations import load_registrations
from config.settings import TLS, Listener, Settings, SQLite

__all__ = ["ConfigError", "load_settings", "parse_settings"]

_PREFIX = "PARTA_"

P = TypeVar("P", Path, Path | None)


def load_settings(file: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of that file and environment, with all paths absolute.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value is bad, or two do not go together.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{file}: cannot be read: {fault}") from None
    settings = parse_settings(text, environment, folder=file.absolute().parent, name=str(file))
    try:
        load_registrations(settings.application_services)
    except ConfigError as fault:
        raise ConfigError(f"{file}: {fault}") from None
    return settings


def parse_settings(text: str, environment: Mapping[str, str], *, folder: Path, name: str = "configuration") -> Settings:
    """The settings of that YAML text and environment; relative paths start from `folder`.

    Raises:
        ConfigError: as `load_settings`.
    """
    tree = _parse_yaml(text, name)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: must be a mapping of keys to values")
    _override(tree, environment)
    _unfold_services(tree)
    try:
        settings = msgspec.convert(tree, Settings, dec_hook=_decode_path)
    except msgspec.ValidationError as fault:
        raise ConfigError(f"{name}: {name_key(str(fault))}") from None
    _check_together(settings, name)
    return _anchor(settings, folder)


def _parse_yaml(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(fault).split())}") from None


def _override(tree: dict[Any, Any], environment: Mapping[str, str]) -> None:
    """Put the values of the environment into the tree."""
    for variable, text in sorted(environment.items()):
        keys = variable.removeprefix(_PREFIX).lower().split("__")
        if not variable.startswith(_PREFIX) or (len(keys) == 1 and keys[0] not in Settings.__struct_fields__):
            continue
        branch = tree
        for key in keys[:-1]:
            if branch.get(key) is None:
                branch[key] = {}
            branch = branch[key]
            if not isinstance(branch, dict):
                raise ConfigError(f"{variable}: {key} is not a section")
        branch[keys[-1]] = _parse_yaml(text, variable)


def _unfold_services(tree: dict[Any, Any]) -> None:
    """An application service with no more said of it than its file may be that file's name."""
    services = tree.get("application_services")
    if isinstance(services, list):
        tree["application_services"] = [
            {"registration": service} if isinstance(service, str) else service for service in services
        ]


def _decode_path(kind: type, value: object) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"Expected a {kind.__name__.lower()}")
    return Path(value)


def _check_together(settings: Settings, name: str) -> None:
    """Refuse values that are good each by itself, but not together."""
    registration = settings.registration
    if settings.policy != "open":
        if registration.mode == "open":
            raise ConfigError(f"{name}: registration.mode: open registration needs policy: open")
        if registration.guests:
            raise ConfigError(f"{name}: registration.guests: guests need policy: open")
    _check_calls(settings, name)
    for number, contact in enumerate(settings.support.contacts):
        if contact.matrix_id is None and contact.email_address is None:
            raise ConfigError(f"{name}: support.contacts[{number}]: matrix_id or email_address is missing")
    for number, listener in enumerate(settings.listeners):
        if len(set(listener.resources)) < len(listener.resources):
            raise ConfigError(f"{name}: listeners[{number}].resources: one is named twice")


def _check_calls(settings: Settings, name: str) -> None:
    """Refuse servers that carry calls to which nobody could be given access."""
    turn = settings.turn
    if turn.uris and (turn.shared_secret is None) == (turn.username is None or turn.password is None):
        raise ConfigError(f"{name}: turn: give either shared_secret, or username and password")
    for number, transport in enumerate(settings.rtc_transports):
        if not isinstance(transport.get("type"), str):
            raise ConfigError(f"{name}: rtc_transports[{number}].type: missing")


def _anchor(settings: Settings, folder: Path) -> Settings:
    """The same settings with absolute paths: what the server keeps lies in the data directory, the rest by the file."""
    data_dir = folder / settings.data_dir
    database = settings.database
    network, regions = settings.network, settings.federation.list
    return replace(
        settings,
        data_dir=data_dir,
        listeners=tuple(_anchor_listener(listener, folder) for listener in settings.listeners),
        database=replace(database, path=data_dir / database.path) if isinstance(database, SQLite) else database,
        federation=replace(settings.federation, list=replace(regions, file=regions.file and folder / regions.file)),
        network=replace(network, trusted_ca=network.trusted_ca and folder / network.trusted_ca),
        application_services=tuple(
            replace(service, registration=folder / service.registration) for service in settings.application_services
        ),
        media=replace(settings.media, path=data_dir / settings.media.path),
    )


def _anchor_listener(listener: Listener, folder: Path) -> Listener:
    if listener.tls is None:
        return listener
    tls = TLS(certificate=folder / listener.tls.certificate, private_key=folder / listener.tls.private_key)
    return replace(listener, tls=tls)
