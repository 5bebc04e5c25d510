"""The commands of the school: ``parta school ...`` and ``parta demo``.

`add_parsers` adds them to a parser of commands, in the form of `homeserver.commands`: each sets `act` to an async
function of the :class:`Bureau`, the arguments and a way to say lines.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from federation.ids import UserID, parse_user_id
from homeserver.accounts.passwords import Passwords
from homeserver.commands import Act, CommandFailed, Say
from homeserver.schools.demo import PASSWORD, PEOPLE, make_demo
from homeserver.schools.desk import Desk
from homeserver.schools.export.exports import Exports
from homeserver.schools.office import Applicant, Asker, Document, Office, load_class_named
from homeserver.schools.organisations import Application
from homeserver.schools.rights import Role
from homeserver.schools.roster.imports import Rosters, Wish
from homeserver.schools.school import School, display_name
from homeserver.schools.sheets import MOST, Sheets

_EXAMPLES: Final = """examples:
  parta school create --name "Средняя школа № 7" --short-name "Школа № 7"
  parta school class "Школа № 7" 5А 9Б
  parta school add "Школа № 7" --family Соколова --given Марина --role teacher
  parta school appoint "Школа № 7" @abc...:region.example --document order.pdf --signed-on 2026-08-25
  parta school roster "Школа № 7" roster.csv --dry-run
  parta school sheets "Школа № 7" --class 9Б
  parta school promote "Школа № 7" 9Б
  parta school dismiss "Школа № 7" @abc...:region.example
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bureau:
    """Everything the commands work with."""

    desk: Desk
    office: Office
    rosters: Rosters
    sheets: Sheets
    passwords: Passwords
    exports: Exports

    @property
    def region(self) -> Asker:
        """In whose name commands are given: who may run them has the database anyway."""
        return Asker(user_id=self.desk.world.service, region=True)


def add_parsers(commands: Any) -> None:
    """Add ``school`` and ``demo`` to the subcommands of a parser (what `add_subparsers` gave)."""
    demo = commands.add_parser("demo", help="make a demonstration school and print its logins")
    demo.set_defaults(act=_demo)
    school: ArgumentParser = commands.add_parser(
        "school",
        help="organisations, classes and people",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    verbs = school.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_organisation_verbs(verbs)
    _add_person_verbs(verbs)


def _add_organisation_verbs(verbs: Any) -> None:
    create = add_verb(verbs, "create", _create, "register an organisation and make its rooms", named=False)
    create.add_argument("--name", required=True)
    create.add_argument("--short-name", required=True)
    create.add_argument("--kind", default="school")
    create.add_argument("--settlement", default="")
    create.add_argument("--inn")
    create.add_argument("--kpp")
    create.add_argument("--lowest-grade", type=int, default=5)
    add_verb(verbs, "list", _list, "list organisations", named=False)
    add_verb(verbs, "class", _class, "open classes").add_argument("titles", nargs="+", metavar="CLASS")
    add_verb(verbs, "promote", _promote, "take classes into the next school year").add_argument(
        "titles", nargs="+", metavar="CLASS"
    )
    add_verb(verbs, "people", _people, "list people and their roles")
    add_verb(verbs, "audit", _audit, "show what was done, newest first").add_argument("--limit", type=int, default=50)
    add_verb(verbs, "settle", _settle, "put the rooms right where they disagree with the lists")


def _add_person_verbs(verbs: Any) -> None:
    add = add_verb(verbs, "add", _add, "take somebody in")
    add.add_argument("--family", required=True)
    add.add_argument("--given", required=True)
    add.add_argument("--patronymic", default="")
    add.add_argument("--role", required=True, choices=["teacher", "pupil", "parent", "editor"])
    add.add_argument("--class", dest="class_title", default="", metavar="CLASS")
    add.add_argument("--child", default="", metavar="USER")
    add.add_argument("--unverified", action="store_true", help="let them wait until somebody verifies them")
    roster = add_verb(verbs, "roster", _roster, "take in people from a CSV file")
    roster.add_argument("file", type=Path)
    roster.add_argument("--dry-run", action="store_true", help="only say what would be done")
    roster.add_argument("--complete", action="store_true", help="who is not in the file leaves")
    roster.add_argument("--leaving", type=int, help="how many may leave, if more than a few")
    appoint = add_verb(verbs, "appoint", _appoint, "make somebody administrator by the director's act")
    appoint.add_argument("user")
    appoint.add_argument("--document", type=Path, required=True)
    appoint.add_argument("--signed-on", required=True, metavar="DATE")
    add_verb(verbs, "verify", _verify, "verify people").add_argument("users", nargs="+", metavar="USER")
    add_verb(verbs, "dismiss", _dismiss, "end all that people are there").add_argument(
        "users", nargs="+", metavar="USER"
    )
    move = add_verb(verbs, "move", _move, "move a pupil to another class")
    move.add_argument("user")
    move.add_argument("title", metavar="CLASS")
    sheets = add_verb(verbs, "sheets", _sheets, "make fresh passwords and print sign-in sheets")
    sheets.add_argument("users", nargs="*", metavar="USER")
    sheets.add_argument("--class", dest="class_title", metavar="CLASS", help="for the pupils of a class")


def add_verb(verbs: Any, name: str, act: Act, text: str, *, named: bool = True) -> ArgumentParser:
    """Declare a command, which begins with the organisation that it is about (`named`)."""
    parser: ArgumentParser = verbs.add_parser(name, help=text, description=text)
    if named:
        parser.add_argument("organisation", metavar="ORGANISATION", help="its id, or its short name")
    parser.set_defaults(act=act)
    return parser


async def _demo(bureau: Bureau, args: Namespace, say: Say) -> None:
    await make_demo(bureau.office, bureau.desk, bureau.passwords)
    say(f"{'login':<10} {'password':<14} {'name':<28} who")
    for person in PEOPLE:
        say(f"{person.login:<10} {PASSWORD:<14} {person.name:<28} {person.note}")


async def _create(bureau: Bureau, args: Namespace, say: Say) -> None:
    school = await bureau.office.found(
        bureau.region,
        Application(
            name=args.name,
            short_name=args.short_name,
            kind=args.kind,
            settlement=args.settlement,
            inn=args.inn,
            kpp=args.kpp,
            lowest_grade=args.lowest_grade,
        ),
    )
    say(school.org.org_id)


async def _list(bureau: Bureau, args: Namespace, say: Say) -> None:
    after = ""
    while page := await bureau.office.organisations(bureau.region, after):
        for org in page:
            say(f"{org.org_id}  {org.short_name}")
        after = page[-1].org_id


async def _class(bureau: Bureau, args: Namespace, say: Say) -> None:
    org_id = await find_organisation(bureau, args.organisation)
    for title in args.titles:
        opened = await bureau.office.open_class(bureau.region, org_id, title)
        say(f"{opened.class_id}  {opened.title}")


async def _promote(bureau: Bureau, args: Namespace, say: Say) -> None:
    school = await _load(bureau, args.organisation)
    for school_class in [load_class_named(school, title) for title in args.titles]:
        promoted = await bureau.office.promote(bureau.region, school.org.org_id, school_class.class_id)
        say(f"{school_class.title} -> {'left school' if promoted.closed_ms else promoted.title}")


async def _people(bureau: Bureau, args: Namespace, say: Say) -> None:
    school = await _load(bureau, args.organisation)
    for name, user_id in sorted((display_name(school, user_id), user_id) for user_id in school.people):
        roles = [
            role.role
            + (f" {school.classes[role.class_id].title}" if role.class_id else "")
            + ("" if role.verified_ms else " (unverified)")
            for role in school.roles_of(user_id)
        ]
        say(f"{user_id}  {name}  {', '.join(roles) or '-'}")


async def _audit(bureau: Bureau, args: Namespace, say: Say) -> None:
    org_id = await find_organisation(bureau, args.organisation)
    for entry in await bureau.office.audit(bureau.region, org_id, None, args.limit):
        at = datetime.fromtimestamp(entry.at_ms / 1000, UTC).isoformat(timespec="seconds")
        say(f"{entry.entry}  {at}  {entry.done_by}  {entry.deed}  {entry.subject}  {dict(entry.detail) or ''}")


async def _settle(bureau: Bureau, args: Namespace, say: Say) -> None:
    await bureau.desk.settle(await find_organisation(bureau, args.organisation))


async def _add(bureau: Bureau, args: Namespace, say: Say) -> None:
    applicant = Applicant(
        family=args.family,
        given=args.given,
        patronymic=args.patronymic,
        role=args.role,
        class_title=args.class_title,
        child=args.child,
        verified=not args.unverified,
    )
    org_id = await find_organisation(bureau, args.organisation)
    say((await bureau.office.take_in(bureau.region, org_id, applicant)).user_id)


async def _roster(bureau: Bureau, args: Namespace, say: Say) -> None:
    wish = Wish(dry_run=args.dry_run, complete=args.complete, leaving=args.leaving)
    org_id = await find_organisation(bureau, args.organisation)
    plan = await bureau.rosters.take(bureau.region, org_id, _read_text(args.file), wish)
    for action in plan.actions:
        say(f"line {action.line}: {action.what} {action.user_id}")
    for fault in plan.faults:
        say(f"line {fault.line}: {fault.why}")
    if plan.faults:
        raise CommandFailed(f"{len(plan.faults)} faults; nothing was done")
    say(f"{len(plan.actions)} actions{', none of them done' if args.dry_run else ''}")


async def _appoint(bureau: Bureau, args: Namespace, say: Say) -> None:
    document = Document(sha256=sha256(read_file(args.document)).hexdigest(), signed_on=args.signed_on)
    org_id = await find_organisation(bureau, args.organisation)
    await bureau.office.appoint(bureau.region, org_id, parse_user_id(args.user), document)


async def _verify(bureau: Bureau, args: Namespace, say: Say) -> None:
    org_id = await find_organisation(bureau, args.organisation)
    for user in args.users:
        await bureau.office.verify(bureau.region, org_id, parse_user_id(user))


async def _dismiss(bureau: Bureau, args: Namespace, say: Say) -> None:
    org_id = await find_organisation(bureau, args.organisation)
    for user in args.users:
        await bureau.office.dismiss(bureau.region, org_id, parse_user_id(user))


async def _move(bureau: Bureau, args: Namespace, say: Say) -> None:
    school = await _load(bureau, args.organisation)
    class_id = load_class_named(school, args.title).class_id
    await bureau.office.move(bureau.region, school.org.org_id, parse_user_id(args.user), class_id)


async def _sheets(bureau: Bureau, args: Namespace, say: Say) -> None:
    school = await _load(bureau, args.organisation)
    people: list[UserID] = [parse_user_id(user) for user in args.users]
    if args.class_title:
        class_id = load_class_named(school, args.class_title).class_id
        pupils = [role for role in school.current_roles() if role.role == Role.PUPIL]
        people += [role.user_id for role in pupils if role.class_id == class_id]
    for start in range(0, len(people), MOST):
        for sheet in await bureau.sheets.make(bureau.region, school.org.org_id, people[start : start + MOST]):
            say(f"{sheet.name}  {sheet.login}  {sheet.password}")


async def _load(bureau: Bureau, organisation: str) -> School:
    return await bureau.office.see(bureau.region, await find_organisation(bureau, organisation))


async def find_organisation(bureau: Bureau, organisation: str) -> str:
    """The id of the organisation that was named by its id or, where only one has it, by its short name.

    Raises: CommandFailed.
    """
    named, after = [], ""
    while page := await bureau.office.organisations(bureau.region, after):
        named += [org.org_id for org in page if organisation in {org.org_id, org.short_name}]
        after = page[-1].org_id
    if len(named) != 1:
        raise CommandFailed(f"{'no' if not named else 'more than one'} organisation is called {organisation}")
    return named[0]


def read_file(path: Path) -> bytes:
    """What is in a file.

    Raises: CommandFailed.
    """
    try:
        return path.read_bytes()
    except OSError as fault:
        raise CommandFailed(f"{path}: {fault.strerror}") from None


def _read_text(path: Path) -> str:
    try:
        return read_file(path).decode("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed(f"{path}: not UTF-8") from None
