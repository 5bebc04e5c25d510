"""``parta user`` and ``parta audit``: what operators do with accounts at the console, whatever the policy says."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from federation.ids import ServerName, UserID, localpart_of
from homeserver.accounts.accounts import Accounts, close_account
from homeserver.accounts.erasure import Erasures
from homeserver.accounts.exports import ExportsToDisk, take_out
from homeserver.accounts.login import find_local_user
from homeserver.accounts.passwords import check_strength
from homeserver.accounts.propagation import Propagations
from homeserver.accounts.registration import Newcomer, Registration, build_user_id, enter
from homeserver.accounts.tokens import Mint
from homeserver.commands import Act, CommandFailed, Say
from homeserver.operators import MOST_ENTRIES, Operators
from homeserver.policy import Administer, Deed
from homeserver.storage.accounts import Account, find_account, load_accounts
from homeserver.storage.audit import AuditEntry, Which, load_audit
from homeserver.storage.database import Database

_PAGE = 1000
_EXAMPLES = """examples:
  parta user create alice                                         a new account; prints its password
  parta user create head --admin --password-stdin < secret        an operator, with a password of your choice
  parta user list --config /var/lib/parta/parta.yaml
  parta user reset-password alice                                 prints a new password, logs out every device
  parta user deactivate @alice:north.example --erase
  parta user export @alice:north.example --to /var/lib/parta/alice.zip
  parta user erase @alice:north.example                           redacts all that they said, too
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clerk:
    """What the commands work with."""

    server_name: ServerName
    database: Database
    operators: Operators
    registration: Registration
    accounts: Accounts
    propagations: Propagations
    erasures: Erasures
    exports: ExportsToDisk
    mint: Mint
    now_ms: Callable[[], int]

    def build_entry(self, deed: Deed, user_id: UserID, **detail: object) -> AuditEntry:
        """What the log says of a command: it was given in the server's own name, at the console."""
        act = Administer(by=UserID(f"@_parta:{self.server_name}"), deed=deed, person=user_id)
        return self.operators.build_entry(act, **detail)


def add_audit(parser: ArgumentParser) -> None:
    """Declare the command that shows the audit log."""
    parser.set_defaults(act=show_audit)
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="so many entries (default: 50)")
    parser.add_argument("--before", type=int, metavar="ENTRY", help="those before that entry")
    parser.add_argument("--by", metavar="USER", help="what that person did")
    parser.add_argument("--subject", metavar="ID", help="what was done to that person or room")


async def show_audit(clerk: Clerk, arguments: Namespace, say: Say) -> None:
    """Show what operators and schools did, newest first."""
    which = Which(before=arguments.before, done_by=arguments.by, subject=arguments.subject)
    for entry in await clerk.database.read(load_audit, which, max(1, min(arguments.limit, MOST_ENTRIES))):
        at = datetime.fromtimestamp(entry.at_ms / 1000, UTC).isoformat(timespec="seconds")
        outcome = "" if entry.outcome == "done" else f" ({entry.outcome})"
        say(f"{entry.entry}  {at}  {entry.done_by}  {entry.deed}{outcome}  {entry.subject}  {dict(entry.detail) or ''}")


def add_commands(parser: ArgumentParser) -> None:
    """Declare the commands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    create = _add(commands, "create", create_user, "make an account")
    create.add_argument("name", help="the user name: small letters, digits and ._=-/+")
    create.add_argument("--admin", action="store_true", help="make it an operator of the region")
    _add_password(create)
    listing = _add(commands, "list", list_users, "list the accounts, one a line")
    listing.add_argument("--all", action="store_true", help="deactivated ones too")
    reset = _add(commands, "reset-password", reset_password, "give another password and log out every device")
    reset.add_argument("user", help="a user name or user ID")
    _add_password(reset)
    closing = _add(commands, "deactivate", deactivate_user, "close an account for good; its name is never given again")
    closing.add_argument("user", help="a user name or user ID")
    closing.add_argument("--erase", action="store_true", help="forget all that is the person's own, their files too")
    export = _add(commands, "export", export_user, "take out all that there is of a person, to hand over to them")
    export.add_argument("user", help="a user name or user ID")
    export.add_argument("--to", required=True, metavar="PATH", help="an archive (*.zip) or a folder to be made")
    export.add_argument("--shown-files", action="store_true", help="with the files of others that they were shown")
    erasing = _add(commands, "erase", erase_user, "erase a person for good: account, files, and all that they said")
    erasing.add_argument("user", help="a user name or user ID")
    erasing.add_argument(
        "--reported", action="store_true", help="even while reports about the person wait to be settled"
    )


def _add(commands: Any, name: str, act: Act, help_text: str) -> ArgumentParser:
    parser: ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    parser.set_defaults(act=act)
    return parser


def _add_password(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input (else one is made up)"
    )


def _choose_password(clerk: Clerk, arguments: Namespace, user_id: UserID) -> str:
    """The password that was piped in, or one that is made up.

    Raises: Invalid: it is too weak.
    """
    password: str = clerk.mint.secret()[:16] if arguments.password is None else arguments.password
    check_strength(password, localpart_of(user_id))
    return password


def _say_password(arguments: Namespace, password: str, say: Say) -> None:
    """Show a password that nobody knows yet."""
    if arguments.password is None:
        say(f"password: {password}")


async def create_user(clerk: Clerk, arguments: Namespace, say: Say) -> None:
    """Make an account.

    Raises: Invalid: nobody may have that name, or the password is too weak. Conflict: the name is taken.
    """
    user_id = build_user_id(arguments.name, clerk.server_name)
    await clerk.registration.check_free(user_id)
    password = _choose_password(clerk, arguments, user_id)
    newcomer = Newcomer(user_id=user_id, password=password, display_name=arguments.name, admin=arguments.admin)
    account = await clerk.registration.build_account(newcomer)
    entry = clerk.build_entry("create_account", user_id, admin=arguments.admin or None)
    await clerk.operators.write(entry, enter, account, newcomer, None)
    say(f"created {user_id}")
    _say_password(arguments, password, say)


async def list_users(clerk: Clerk, arguments: Namespace, say: Say) -> None:
    """List the accounts."""
    after = ""
    while page := await clerk.database.read(load_accounts, after, _PAGE):
        for account in page:
            if arguments.all or not account.deactivated:
                say(_describe(account))
        after = page[-1].user_id


def _describe(account: Account) -> str:
    marks = ("admin", "locked", "suspended", "deactivated", "erased")
    kind = [] if account.kind == "user" else [account.kind]
    return " ".join([account.user_id, *kind, *(mark for mark in marks if getattr(account, mark))])


async def reset_password(clerk: Clerk, arguments: Namespace, say: Say) -> None:
    """Give an account another password, and log out its devices.

    Raises: CommandFailed: there is no such account. Invalid: the password is too weak.
    """
    user_id = await _find(clerk, arguments.user)
    password = _choose_password(clerk, arguments, user_id)
    await clerk.operators.note(clerk.build_entry("set_password", user_id))
    await clerk.accounts.set_password(user_id, password, None, end_others=True)
    say(f"changed the password of {user_id}")
    _say_password(arguments, password, say)


async def deactivate_user(clerk: Clerk, arguments: Namespace, say: Say) -> None:
    """Close an account; the person leaves every room.

    Raises: CommandFailed: there is no such account.
    """
    user_id = await _find(clerk, arguments.user)
    entry = clerk.build_entry("deactivate", user_id, erase=arguments.erase or None)
    number = await clerk.operators.write(entry, close_account, user_id, clerk.now_ms(), arguments.erase)
    await clerk.propagations.settle(user_id, "departure", number)
    if arguments.erase:
        await clerk.erasures.finish()
    say(f"deactivated {user_id}")


async def export_user(clerk: Clerk, arguments: Namespace, say: Say) -> None:
    """Take out all that there is of a person, for them.

    Raises: CommandFailed: there is no such account, or it cannot be written there.
    """
    user_id = await _find(clerk, arguments.user, closed=True)
    detail = {"whole": True, "shown": arguments.shown_files}
    done_by = f"@_parta:{clerk.server_name}"
    entry = AuditEntry(at_ms=clerk.now_ms(), done_by=done_by, deed="export", subject=user_id, detail=detail)
    await take_out(clerk.database, clerk.exports, entry, arguments.to, say)


async def erase_user(clerk: Clerk, arguments: Namespace, say: Say) -> None:
    """Erase a person, also one whose account is closed already.

    Raises: CommandFailed: there is no such account. Conflict: reports about them wait.
    """
    user_id = await _find(clerk, arguments.user, closed=True)
    await clerk.erasures.erase(user_id, clerk.build_entry("erase", user_id), reported=arguments.reported)
    say(f"erased {user_id}")


async def _find(clerk: Clerk, name: str, *, closed: bool = False) -> UserID:
    user_id = find_local_user(name, clerk.server_name)
    account = None if user_id is None else await clerk.database.read(find_account, user_id)
    if account is None or (account.deactivated and not closed) or account.kind == "server":
        raise CommandFailed(f"there is no account {name}")
    return account.user_id
