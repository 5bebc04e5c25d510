"""``parta user``: what an operator does with accounts, whatever the policy says to their holders."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass

from federation.ids import ServerName, UserID, localpart_of
from homeserver.accounts.accounts import Accounts, close_account
from homeserver.accounts.login import find_local_user
from homeserver.accounts.passwords import check_strength
from homeserver.accounts.propagation import Propagations
from homeserver.accounts.registration import Newcomer, Registration, build_user_id
from homeserver.accounts.tokens import Mint
from homeserver.commands import CommandFailed, Request
from homeserver.storage.accounts import Account, find_account, load_accounts
from homeserver.storage.database import Database

_PAGE = 1000
_EXAMPLES = """examples:
  parta user create alice --config parta.yaml                     a new account; prints its password
  parta user create head --admin --password-stdin < secret        an operator, with a password of your choice
  parta user list --config parta.yaml
  parta user reset-password alice                                 prints a new password, logs out every device
  parta user deactivate @alice:north.example --erase
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clerk:
    """What the commands work with."""

    server_name: ServerName
    database: Database
    registration: Registration
    accounts: Accounts
    propagations: Propagations
    mint: Mint
    now_ms: Callable[[], int]


def add_commands(parser: ArgumentParser) -> None:
    """Declare the commands."""
    parser.epilog, parser.formatter_class = _EXAMPLES, RawDescriptionHelpFormatter
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    create = commands.add_parser("create", help="make an account")
    create.add_argument("name", help="the user name: small letters, digits and ._=-/+")
    create.add_argument("--admin", action="store_true", help="make it an operator of the region")
    _add_password(create)
    create.set_defaults(operate=create_user)
    listing = commands.add_parser("list", help="list the accounts, one a line")
    listing.add_argument("--all", action="store_true", help="deactivated ones too")
    listing.set_defaults(operate=list_users)
    reset = commands.add_parser("reset-password", help="give an account another password and log out its devices")
    reset.add_argument("user", help="a user name or user ID")
    _add_password(reset)
    reset.set_defaults(operate=reset_password)
    closing = commands.add_parser("deactivate", help="close an account for good; its name is never given again")
    closing.add_argument("user", help="a user name or user ID")
    closing.add_argument("--erase", action="store_true", help="forget what its clients kept here, too")
    closing.set_defaults(operate=deactivate_user)


def _add_password(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input (else one is made up)"
    )


def _choose_password(arguments: Namespace, request: Request, user_id: UserID, clerk: Clerk) -> tuple[str, str]:
    """The password, and what to print of it: only one that was made up is shown.

    Raises:
        Invalid: it is too weak.
    """
    if not arguments.password_stdin:
        password = clerk.mint.secret()[:16]
        return password, f"password: {password}\n"
    password = request.input.removesuffix("\n")
    check_strength(password, localpart_of(user_id))
    return password, ""


async def create_user(arguments: Namespace, request: Request, clerk: Clerk) -> str:
    """Make an account.

    Raises:
        Invalid: nobody may have that name, or the password is too weak.
        Conflict: the name is taken.
    """
    user_id = build_user_id(arguments.name, clerk.server_name)
    password, shown = _choose_password(arguments, request, user_id, clerk)
    newcomer = Newcomer(user_id=user_id, password=password, display_name=arguments.name, admin=arguments.admin)
    await clerk.registration.register(newcomer)
    return f"created {user_id}\n{shown}"


async def list_users(arguments: Namespace, request: Request, clerk: Clerk) -> str:
    """List the accounts."""
    lines = []
    after = ""
    while page := await clerk.database.read(load_accounts, after, _PAGE):
        lines += [_describe(account) for account in page if arguments.all or not account.deactivated]
        after = page[-1].user_id
    return "".join(lines)


def _describe(account: Account) -> str:
    marks = ("admin", "locked", "suspended", "deactivated", "erased")
    kind = [] if account.kind == "user" else [account.kind]
    return " ".join([account.user_id, *kind, *(mark for mark in marks if getattr(account, mark))]) + "\n"


async def reset_password(arguments: Namespace, request: Request, clerk: Clerk) -> str:
    """Give an account another password, and log out its devices.

    Raises:
        CommandFailed: there is no such account.
        Invalid: the password is too weak.
    """
    user_id = await _find(arguments.user, clerk)
    password, shown = _choose_password(arguments, request, user_id, clerk)
    await clerk.accounts.set_password(user_id, password, None, end_others=True)
    return f"changed the password of {user_id}\n{shown}"


async def deactivate_user(arguments: Namespace, request: Request, clerk: Clerk) -> str:
    """Close an account; the person leaves every room.

    Raises:
        CommandFailed: there is no such account.
    """
    user_id = await _find(arguments.user, clerk)
    number = await clerk.database.write(close_account, user_id, clerk.now_ms(), arguments.erase)
    await clerk.propagations.settle(user_id, "departure", number)
    return f"deactivated {user_id}\n"


async def _find(name: str, clerk: Clerk) -> UserID:
    user_id = find_local_user(name, clerk.server_name)
    account = None if user_id is None else await clerk.database.read(find_account, user_id)
    if account is None or account.deactivated or account.kind == "server":
        raise CommandFailed(f"there is no account {name}")
    return account.user_id
