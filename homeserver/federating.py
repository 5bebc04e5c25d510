"""``parta keys`` and ``parta regions show``: what an operator sees and does of this server among the others.

The keys are files in the data directory, which are looked at whether or not a server runs.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeserver.authority import describe_list, describe_time
from homeserver.commands import Act, Say
from homeserver.regions import Regions
from homeserver.signing import find_next_key, prepare_next_key, read_own_keys

_EXAMPLES = """examples:
  parta keys show                      what this server signs with, and what it signed with before
  parta keys rotate                    make a new key; the next start begins to sign with it
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """What the commands on keys work with."""

    data_dir: Path
    token_bytes: Callable[[int], bytes]


def add_key_commands(parser: ArgumentParser) -> None:
    """Declare the commands under ``parta keys``; `offline` of each is done where it is typed."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, offline, help_text in (
        ("show", show_keys, "show the signing keys, their public halves"),
        ("rotate", rotate_key, "make the key that is signed with after the next start"),
    ):
        commands.add_parser(name, help=help_text, description=help_text).set_defaults(offline=offline)


def add_region_commands(commands: Any, command: Callable[..., None]) -> None:
    """Declare the commands under ``parta regions`` that ask a server."""
    _add(commands, "show", show_regions, "show the list that the server goes by").set_defaults(command=command)
    refresh = "look for a newer list now, and show the one that the server goes by then"
    _add(commands, "refresh", refresh_regions, refresh).set_defaults(command=command)


def _add(commands: Any, name: str, act: Act, help_text: str) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(act=act)
    return parser


def show_keys(arguments: Namespace, say: Say, files: KeyFiles) -> None:
    """Show the keys.

    Raises: BadKeyFile.
    """
    keys, coming = read_own_keys(files.data_dir, files.token_bytes), find_next_key(files.data_dir)
    say(f"signs: {keys.current.key_id} {keys.current.verify_key.encode()}")
    if coming is not None:
        say(f"after the next start: {coming.key_id} {coming.verify_key.encode()}")
    for key_id, old in keys.old.items():
        say(f"until {describe_time(old.expired_ms)}: {key_id} {old.key.encode()}")


def rotate_key(arguments: Namespace, say: Say, files: KeyFiles) -> None:
    """Make a new key.

    Raises: BadKeyFile.
    """
    coming = prepare_next_key(files.data_dir, files.token_bytes)
    say(f"after the next start: {coming.key_id} {coming.verify_key.encode()}")
    say("if the list of regions names this server's keys, have this one added to it before that")


async def show_regions(regions: Regions, arguments: Namespace, say: Say) -> None:
    """Show the list of regions."""
    say(f"federation: {regions.mode}")
    if regions.mode != "list":
        return
    if regions.known is None:
        say("there is no list: nobody is talked with")
        return
    for line in describe_list(regions.known):
        say(line)
    if not regions.is_in_force:
        say("the list has expired: nobody is talked with")


async def refresh_regions(regions: Regions, arguments: Namespace, say: Say) -> None:
    """Look for a newer list, and show what there is then."""
    await regions.refresh()
    await show_regions(regions, arguments, say)
