"""The commands: ``parta init``, ``run``, ``check-config``, ``migrate``, ``user``, ``audit``, ``keys``, ``school``, ...

The only place that names the real clock, chance and reactor. What a command needs is imported when it is run, so that
``parta --version`` is there at once.
"""

import gc
import os
import secrets
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from homeserver import VERSION

if TYPE_CHECKING:
    from config.settings import Settings
    from homeserver.commands import Outcome, Request
    from homeserver.server import Server

_CONFIG_VARIABLE = "PARTA_CONFIG"
_EXAMPLES = f"""--config FILE names the configuration and may stand anywhere;
without it ${_CONFIG_VARIABLE} does, or else it is ./parta.yaml.

examples:
  parta init --server-name north.example --data /var/lib/parta
  parta check-config --config /var/lib/parta/parta.yaml
  parta run --config /var/lib/parta/parta.yaml
  parta user create alice --config /var/lib/parta/parta.yaml
  parta demo --data ./data        a region with a demonstration school

Each command explains itself: parta COMMAND --help
"""
_CONFIG = """# Parta's configuration. Every setting with its meaning: config/sample.yaml
server_name: {server_name}
data_dir: .
policy: {policy}
public_base_url: {public_base_url}
listeners:
  - {{port: 8008, bind: [127.0.0.1], resources: [client, school, admin, console]}}
"""


class _Failed(Exception):
    """The command was not done; the message is one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0 if it was done, 1 if not, 2 if it was not understood."""
    config, typed = _take_config(list(sys.argv[1:] if argv is None else argv))
    arguments = _build_parser(typed[0] if typed else "").parse_args(typed)
    try:
        arguments.command(Path(config), arguments, typed)
    except _Failed as failure:
        print(f"parta: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _take_config(argv: list[str]) -> tuple[str, list[str]]:
    """The configuration file, and the rest of what was typed."""
    parser = ArgumentParser("parta", add_help=False, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", default=os.environ.get(_CONFIG_VARIABLE, "parta.yaml"))
    taken, rest = parser.parse_known_args(argv)
    return taken.config, rest


def _build_parser(chosen: str) -> ArgumentParser:
    """The command line, with the details of the chosen command only: the others' modules need not be imported."""
    parser = ArgumentParser("parta", description="Parta, a Matrix homeserver for schools.", epilog=_EXAMPLES,
                            formatter_class=RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--version", action="version", version=f"parta {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_init(commands)
    for name, command, help_text in (
        ("run", _run, "answer requests in the foreground, until SIGTERM"),
        ("check-config", _check_config, "say whether the configuration can be used"),
        ("migrate", _migrate, "bring the database up to this version"),
    ):
        _add(commands, name, command, help_text, f"parta {name} --config /var/lib/parta/parta.yaml")
    user = _add(commands, "user", _operate, "accounts: make one, list them, give another password, deactivate")
    if chosen == "user":
        from homeserver.accounts.commands import add_commands

        add_commands(user)
    audit = _add(commands, "audit", _operate, "what operators and schools did, newest first", "parta audit --limit 20")
    if chosen == "audit":
        from homeserver.accounts.commands import add_audit

        add_audit(audit)
    _add_federation(commands, chosen)
    cooperation = _add(commands, "cooperation", _operate, "what schools agree on with others: rooms, guests")
    if chosen == "cooperation":
        from homeserver.schools.cooperation.commands import add_commands as add_cooperation

        add_cooperation(cooperation)
    if chosen in ("school", "demo"):
        from homeserver.schools.commands import add_parsers

        add_parsers(commands)
        commands.choices["school"].set_defaults(command=_operate)
        demo = _add_data(commands.choices["demo"], "data")
        demo.formatter_class = RawDescriptionHelpFormatter
        demo.epilog = "example:\n  parta demo --data ./data && parta run --config ./data/parta.yaml"
        demo.set_defaults(command=_demo)
    else:
        commands.add_parser("school", help="schools, their classes and people")
        commands.add_parser("demo", help="a region with a demonstration school: make it, or show its logins")
    return parser


def _add_federation(commands: Any, chosen: str) -> None:
    """The commands on this server among the others, and those of the authority that says who the others are."""
    keys = _add(commands, "keys", _act_on_keys, "what this server signs with: show it, make a new key")
    if chosen == "keys":
        from homeserver.federating import add_key_commands

        add_key_commands(keys)
    regions = _add(commands, "regions", _operate, "the list of regions: make, sign and check one, show the server's")
    if chosen == "regions":
        from homeserver import authority
        from homeserver.federating import add_region_commands

        regions.epilog = authority.EXAMPLES
        below = regions.add_subparsers(metavar="COMMAND", required=True)
        authority.add_commands(below, _act_as_authority)
        add_region_commands(below, _operate)


def _add(commands: Any, name: str, command: Callable[..., None], help_text: str, example: str = "") -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text, formatter_class=RawDescriptionHelpFormatter
    )
    if example:
        parser.epilog = f"example:\n  {example}"
    parser.set_defaults(command=command)
    return parser


def _add_data(parser: ArgumentParser, folder: str) -> ArgumentParser:
    parser.add_argument("--data", type=Path, default=Path(folder), metavar="DIR",
                        help=f"the folder of the configuration and all data (default: {folder})")  # fmt: skip
    return parser


def _add_init(commands: Any) -> None:
    help_text = "begin a region: configuration, keys, service account, first operator"
    example = "parta init --server-name north.example --data /var/lib/parta --operator head"
    init = _add_data(_add(commands, "init", _init, help_text, example), ".")
    init.add_argument("--server-name", required=True, help="the region's name on the wire; it cannot be changed later")
    init.add_argument("--operator", default="operator", metavar="NAME", help="the first operator (default: operator)")
    init.add_argument("--policy", choices=("school", "open"), default="school", help="open: a plain Matrix homeserver")


# commands


def _check_config(config: Path, arguments: Namespace, typed: list[str]) -> None:
    settings = _load(config)
    ports = ", ".join(str(listener.port) for listener in settings.listeners) or "none"
    print(f"{config} is good: {settings.server_name}, policy {settings.policy}, ports {ports}")


def _migrate(config: Path, arguments: Namespace, typed: list[str]) -> None:
    from homeserver.storage.database import CannotOpen, migrate_database

    settings = _load(config)
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        labels = migrate_database(settings.database, settings.data_dir, _now_ms)
    except (CannotOpen, OSError) as fault:
        raise _Failed(str(fault)) from None
    print("\n".join(f"applied {label}" for label in labels) or "the database is up to date")


def _run(config: Path, arguments: Namespace, typed: list[str]) -> None:
    from homeserver.logs import start_logging

    settings = _load(config)
    start_logging(settings.log.level, settings.log.format)
    server = _build(settings)

    async def start() -> None:
        await server.start(lambda request: _carry_out(server, request))
        _spare_garbage_collector()

    _turn(server, start, forever=True)


def _spare_garbage_collector() -> None:
    """Never look again at what a start has made, and look for cycles seldom: requests leave none.

    Everybody waits while the collector looks, so it looks at some ten thousand young objects at a time, and at all that
    there are only after twenty million more have come.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 3, 700)


def _operate(config: Path, arguments: Namespace, typed: list[str]) -> None:
    from homeserver.commands import Request

    try:
        files = {str(path): path.read_bytes() for path in vars(arguments).values() if isinstance(path, Path)}
    except OSError as fault:
        raise _Failed(f"{fault.filename}: {fault.strerror}") from None
    piped = getattr(arguments, "password_stdin", False)
    _say(_do(_load(config), Request(typed, files, sys.stdin.readline().rstrip("\n") if piped else None)))


def _act_on_keys(config: Path, arguments: Namespace, typed: list[str]) -> None:
    from homeserver.federating import KeyFiles
    from homeserver.signing import BadKeyFile

    try:
        arguments.offline(arguments, print, KeyFiles(data_dir=_load(config).data_dir, token_bytes=secrets.token_bytes))
    except BadKeyFile as fault:
        raise _Failed(str(fault)) from None


def _act_as_authority(config: Path, arguments: Namespace, typed: list[str]) -> None:
    from homeserver.authority import Desk
    from homeserver.commands import CommandFailed

    desk = Desk(token_bytes=secrets.token_bytes, find_configured=lambda: _load(config).federation.list.authority_keys)
    try:
        arguments.offline(arguments, print, desk)
    except CommandFailed as failure:
        raise _Failed(str(failure)) from None


def _init(config: Path, arguments: Namespace, typed: list[str]) -> None:
    from homeserver.commands import Request

    file = arguments.data / "parta.yaml"
    if file.exists():
        raise _Failed(f"{file}: is there already")
    _write_config(file, arguments.server_name, arguments.policy, f"https://{arguments.server_name}")
    outcome = _do(_load(file), Request(["user", "create", arguments.operator, "--admin"]))
    print(f"configuration: {file}")
    _say(outcome)


def _demo(config: Path, arguments: Namespace, typed: list[str]) -> None:
    from homeserver.commands import Request

    file = arguments.data / "parta.yaml"
    if not file.exists():
        print(f"making {file}")
        _write_config(file, "demo.localhost", "school", "http://127.0.0.1:8008")
    settings = _load(file)
    _say(_do(settings, Request(["demo"])))
    for listener in settings.listeners:
        print(f"homeserver: http://{listener.bind[0]}:{listener.port}  ({settings.server_name})")


# what they do it with


def _load(config: Path) -> "Settings":
    from config.load import ConfigError, load_settings

    try:
        return load_settings(config, os.environ)
    except ConfigError as fault:
        raise _Failed(str(fault)) from None


def _write_config(file: Path, server_name: str, policy: str, public_base_url: str) -> None:
    """Write a configuration that can be loaded, or none."""
    from config.load import ConfigError, parse_settings

    text = _CONFIG.format(server_name=server_name, policy=policy, public_base_url=public_base_url)
    try:
        parse_settings(text, {}, folder=file.parent)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except (ConfigError, OSError) as fault:
        raise _Failed(str(fault)) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _build(settings: "Settings") -> "Server":
    from twisted.internet import reactor

    from homeserver.server import build_server
    from homeserver.signing import BadKeyFile
    from homeserver.storage.database import CannotOpen

    try:
        return build_server(settings, reactor, _now_ms, secrets.token_bytes)
    except (CannotOpen, BadKeyFile, OSError) as fault:
        raise _Failed(str(fault)) from None


def _turn(server: "Server", begin: Callable[[], Awaitable[None]], *, forever: bool = False) -> None:
    """Turn the reactor: `begin`, and go on until that is done or (`forever`) until a signal; then stop the server."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    failures: list[Failure] = []

    def end(result: object) -> None:
        if isinstance(result, Failure):
            failures.append(result)
        if failures or not forever:
            reactor.stop()

    def stop() -> Deferred[None]:
        return Deferred.fromCoroutine(server.stop())

    any_reactor: Any = reactor
    any_reactor.addSystemEventTrigger("before", "shutdown", stop)
    any_reactor.callWhenRunning(lambda: Deferred.fromCoroutine(_await(begin)).addBoth(end))
    any_reactor.run()
    for failure in failures:
        _raise(failure.value)


async def _await(begin: Callable[[], Awaitable[None]]) -> None:
    await begin()


def _raise(fault: BaseException | None) -> None:
    from homeserver.api.listeners import CannotListen
    from homeserver.storage.database import StorageUnavailable

    if isinstance(fault, CannotListen | StorageUnavailable):
        raise _Failed(str(fault)) from None
    if fault is not None:
        raise fault


def _do(settings: "Settings", request: "Request") -> "Outcome":
    """Let the running server do it, or do it here."""
    from homeserver.control import ask

    outcome = ask(settings.data_dir, request)
    if outcome is not None:
        return outcome
    outcomes = []
    server = _build(settings)

    async def act() -> None:
        await server.prepare()
        outcomes.append(await _carry_out(server, request))

    _turn(server, act)
    return outcomes[0]


async def _carry_out(server: "Server", request: "Request") -> "Outcome":
    """Do a command in this server."""
    from homeserver.api.errors import find_matrix_error
    from homeserver.commands import CommandFailed, Outcome

    lines: list[str] = []
    arguments = _build_parser(request.argv[0]).parse_args(request.argv)
    arguments.password = request.password
    with TemporaryDirectory() as folder:
        _place_files(arguments, request.files, Path(folder))
        try:
            await arguments.act(_find_part(server, request.argv[0]), arguments, lines.append)
        except CommandFailed as failure:
            return Outcome(lines, str(failure))
        except Exception as fault:
            error = find_matrix_error(fault)
            if error is None:
                raise
            return Outcome(lines, error.error)
    return Outcome(lines)


def _find_part(server: "Server", command: str) -> object:
    """What a command works with."""
    clerk = server.clerk
    parts = {"user": clerk, "audit": clerk, "regions": server.region.regions, "cooperation": server.embassy}
    return parts.get(command, server.bureau)


def _place_files(arguments: Namespace, files: dict[str, bytes], folder: Path) -> None:
    """Let the arguments that name files name copies of what they held where the command was typed."""
    for number, (name, value) in enumerate(vars(arguments).items()):
        content = files.get(str(value)) if isinstance(value, Path) else None
        if content is not None:
            copy = folder / f"{number}-{value.name}"
            copy.write_bytes(content)
            setattr(arguments, name, copy)


def _say(outcome: "Outcome") -> None:
    for line in outcome.lines:
        print(line)
    if outcome.failure is not None:
        raise _Failed(outcome.failure)


if __name__ == "__main__":
    sys.exit(main())
