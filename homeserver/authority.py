"""``parta regions key|sign|verify``: what the authority of a federation does, on any machine, without a server.

Its key is one line in a file, like a region's signing key; the list is a JSON file, see `federation.regions`.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from federation.ed25519 import SigningKey, generate_signing_key, parse_signing_key
from federation.errors import BadKey, BadRegionList
from federation.regions import MOST_BYTES, RegionList, parse_authority_keys, parse_region_list, sign_region_list
from homeserver.commands import CommandFailed, Say

EXAMPLES: Final = """examples:
  parta regions key --out authority.key                        a key for the authority; prints its public half
  parta regions sign draft.json --key authority.key --out regions.json
  parta regions verify regions.json --authority-key ed25519:a1b2c3=BASE64
  parta regions show --config /var/lib/parta/parta.yaml        what the server of that configuration goes by
  parta regions refresh                                        look for a newer list now
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the authority works with: chance, and the keys that the configuration at hand names."""

    token_bytes: Callable[[int], bytes]
    find_configured: Callable[[], Mapping[str, str]]


def add_commands(commands: Any, run: Callable[..., None]) -> None:
    """Declare the commands under ``parta regions`` that need no server; `run` carries one out where it is typed."""
    key = commands.add_parser("key", help="make a key for the authority, the first one or the next")
    key.add_argument("--out", required=True, metavar="FILE", help="where to keep it; nobody else may read that file")
    sign = commands.add_parser("sign", help="sign a list of regions")
    sign.add_argument(
        "draft", metavar="LIST", help="the list; what it was signed with before stays if it is still good"
    )
    sign.add_argument("--key", required=True, metavar="FILE", help="a key of the authority")
    sign.add_argument("--out", metavar="FILE", help="where to put the signed list (default: print it)")
    verify = commands.add_parser("verify", help="check a signed list and say what is in it")
    verify.add_argument("list", metavar="LIST")
    verify.add_argument("--authority-key", action="append", metavar="ID=BASE64", default=[],
                        help="a public key of the authority (default: those of the configuration)")  # fmt: skip
    for parser, act in ((key, make_key), (sign, sign_list), (verify, verify_list)):
        parser.set_defaults(command=run, offline=act)


def make_key(arguments: Namespace, say: Say, desk: Desk) -> None:
    """Make a key and keep it in a new file.

    Raises: CommandFailed.
    """
    key = generate_signing_key(desk.token_bytes(3).hex(), desk.token_bytes(32))
    try:
        with os.fdopen(os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(key.encode() + "\n")
    except OSError as fault:
        raise CommandFailed(f"{arguments.out}: {fault.strerror}") from None
    say(f'authority_keys: {{"{key.key_id}": "{key.verify_key.encode()}"}}')


def sign_list(arguments: Namespace, say: Say, desk: Desk) -> None:
    """Sign a list.

    Raises: CommandFailed.
    """
    try:
        signed = sign_region_list(_read(arguments.draft), _read_key(arguments.key))
    except BadRegionList as fault:
        raise CommandFailed(f"{arguments.draft}: {fault}") from None
    if arguments.out is None:
        say(signed.decode())
        return
    try:
        draft = Path(arguments.out + ".new")
        draft.write_bytes(signed + b"\n")
        draft.replace(arguments.out)
    except OSError as fault:
        raise CommandFailed(f"{arguments.out}: {fault.strerror}") from None


def verify_list(arguments: Namespace, say: Say, desk: Desk) -> None:
    """Check a list and say what is in it.

    Raises: CommandFailed.
    """
    named = dict(text.partition("=")[::2] for text in arguments.authority_key)
    try:
        listed = parse_region_list(_read(arguments.list), parse_authority_keys(named or desk.find_configured()))
    except (BadRegionList, BadKey) as fault:
        raise CommandFailed(f"{arguments.list}: {fault}") from None
    for line in describe_list(listed):
        say(line)


def describe_list(listed: RegionList) -> list[str]:
    """The list as lines for a person."""
    lines = [f"version {listed.version} of {listed.authority}, valid until {describe_time(listed.valid_until_ms)}"]
    lines += [f"signs the next: {key_id} {key.encode()}" for key_id, key in sorted(listed.authority_keys.items())]
    for server, region in sorted(listed.regions.items()):
        status = "suspended" if region.is_suspended else "member"
        keys = "" if region.keys is None else f" keys {', '.join(sorted(region.keys.verify_keys))}"
        lines.append(f"{server} {status}{keys} {region.name}".rstrip())
    return lines


def describe_time(ms: int) -> str:
    """A moment for a person; those that no calendar has are as they are."""
    try:
        return datetime.fromtimestamp(ms // 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as source:
            return source.read(MOST_BYTES + 1)
    except OSError as fault:
        raise CommandFailed(f"{file}: {fault.strerror}") from None


def _read_key(file: str) -> SigningKey:
    try:
        return parse_signing_key(_read(file).decode("ascii"))
    except (BadKey, UnicodeDecodeError) as fault:
        raise CommandFailed(f"{file}: {fault}") from None
