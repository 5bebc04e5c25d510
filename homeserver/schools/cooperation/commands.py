"""The commands of cooperation: ``parta cooperation ...``, in the form of `homeserver.commands`, on the `Embassy`.

What is said is what the administrators' API answers; the two sides of a cooperation are told as `we` and `they`.
"""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from federation.ids import RoomID, ServerName, parse_user_id
from homeserver.commands import CommandFailed, Say
from homeserver.schools.commands import Bureau, add_verb, find_organisation, read_file
from homeserver.schools.cooperation.guests import Guests
from homeserver.schools.cooperation.notices import Notices
from homeserver.schools.cooperation.office import CooperationOffice, Terms
from homeserver.schools.rights import COOPERATIVE, Role
from homeserver.storage.schools.cooperation import Cooperation

EXAMPLES: Final = """examples, for a school of north.example and one of south.example:
  parta school list                               in the south: what is the id of their school?
  parta cooperation propose "Школа № 7" --server south.example --with q4x8m2k7v9ta \\
      --kind professional --title "Физики" --until 2027-05-31
  parta cooperation list "Школа № 1"              in the south: what was proposed to us?
  parta cooperation agree "Школа № 1" k2v9x4mq7rta
  parta cooperation open "Школа № 7" k2v9x4mq7rta --name "Физики района"
  parta cooperation show "Школа № 7" k2v9x4mq7rta  the terms, the rooms, and a link to each
  parta cooperation guests "Школа № 7"
  parta cooperation dismiss "Школа № 7" @abc...:south.example
  parta cooperation end "Школа № 1" k2v9x4mq7rta
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embassy:
    """Everything the commands work with: beside the schools' bureau what has to do with other organisations."""

    bureau: Bureau
    office: CooperationOffice
    guests: Guests
    notices: Notices

    async def tell(self, org_id: str, cooperation_id: str, say: Say) -> None:
        """Tell the other side at once, and say so if that cannot be done."""
        known, _ = await self.office.see(self.bureau.region, org_id, cooperation_id)
        if known.told_version < known.version and not await self.notices.tell_of(known):
            say(f"{known.peer_server} could not be told; a running server tries again every minute")

    async def find(self, args: Namespace) -> str:
        """The id of the organisation that was named.

        Raises: CommandFailed.
        """
        return await find_organisation(self.bureau, args.organisation)


def add_commands(parser: ArgumentParser) -> None:
    """Declare the commands under ``parta cooperation``."""
    parser.epilog = EXAMPLES
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    propose = add_verb(verbs, "propose", _propose, "propose a cooperation to another organisation, and agree to it")
    propose.add_argument("--with", dest="peer", required=True, metavar="ID", help="the other organisation's id")
    propose.add_argument("--server", metavar="NAME", help="its region (default: this one)")
    propose.add_argument("--kind", required=True, choices=sorted(COOPERATIVE), help="the purpose")
    propose.add_argument("--title", required=True, help="what people call it")
    propose.add_argument("--until", required=True, metavar="DATE", help="its last day, within three years")
    propose.add_argument("--role", action="append", dest="roles", metavar="ROLE", choices=[*Role],
                         help="who is admitted beside administrators; may be repeated (default: teacher)")  # fmt: skip
    _add_verbs_of_one(verbs)
    add_verb(verbs, "list", _list, "list cooperations, with how far each has come")
    close = add_verb(verbs, "close", _close, "close a room: everybody leaves it")
    close.add_argument("room", metavar="ROOM", help="its id, as `show` has it")
    add_verb(verbs, "guests", _guests, "list who of elsewhere is in our rooms, and whom we have sent away")
    for name, act, text in (
        ("dismiss", _dismiss, "send guests away: out of all our rooms, and not in again"),
        ("readmit", _readmit, "let guests who were sent away come in again"),
    ):
        add_verb(verbs, name, act, text).add_argument("users", nargs="+", metavar="USER")


def _add_verbs_of_one(verbs: Any) -> None:
    for name, act, text in (
        ("agree", _agree, "agree to what another organisation has proposed"),
        ("show", _show, "show the terms of a cooperation, and its rooms with a link to each"),
        ("end", _end, "end a cooperation, or decline it: its people leave its rooms"),
        ("admit", _admit, "let a pupil of ours take part, by a guardian's written consent"),
        ("withdraw", _withdraw, "let a pupil of ours take part no more"),
    ):
        verb = add_verb(verbs, name, act, text)
        verb.add_argument("cooperation", metavar="COOPERATION", help="its id, as `list` has it")
        if name in ("admit", "withdraw"):
            verb.add_argument("user", metavar="USER")
        if name == "admit":
            verb.add_argument(
                "--consent", type=Path, required=True, metavar="FILE", help="of which the SHA-256 is kept"
            )
    opening = add_verb(verbs, "open", _open, "open a room of one or several cooperations of one purpose that we host")
    opening.add_argument("cooperations", nargs="+", metavar="COOPERATION")
    opening.add_argument("--name", required=True)


async def _propose(embassy: Embassy, args: Namespace, say: Say) -> None:
    terms = Terms(
        organisation=args.peer,
        kind=args.kind,
        title=args.title,
        until_ms=_parse_day(args.until),
        server=args.server,
        roles=tuple(args.roles or [Role.TEACHER.value]),
    )
    org_id = await embassy.find(args)
    proposed = await embassy.office.propose(embassy.bureau.region, org_id, terms)
    say(proposed.cooperation_id)
    await embassy.tell(org_id, proposed.cooperation_id, say)


async def _agree(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id = await embassy.find(args)
    await embassy.office.accept(embassy.bureau.region, org_id, args.cooperation)
    await embassy.tell(org_id, args.cooperation, say)


async def _end(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id = await embassy.find(args)
    await embassy.office.end(embassy.bureau.region, org_id, args.cooperation)
    await embassy.tell(org_id, args.cooperation, say)


async def _list(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id, after = await embassy.find(args), ""
    while page := await embassy.office.list(embassy.bureau.region, org_id, after):
        for each, rooms in page:
            state, day = _describe_state(each, embassy.bureau.desk.world.now_ms()), _describe_day(each.until_ms)
            peer = f"{each.peer_org_id} of {each.peer_server}"
            say(f"{each.cooperation_id}  {state}  {each.kind}  until {day}  {peer}  rooms: {len(rooms)}  {each.title}")
        after = page[-1][0].cooperation_id


async def _show(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id = await embassy.find(args)
    found, rooms = await embassy.office.see(embassy.bureau.region, org_id, args.cooperation)
    world = embassy.bureau.desk.world
    say(f"{found.title}: {_describe_state(found, world.now_ms())}")
    say(f"with: {found.peer_org_id} of {found.peer_server}")
    say(f"kind: {found.kind}, for administrators and: {found.roles}")
    say(f"until: {_describe_day(found.until_ms)}")
    say(f"rooms are: {'ours' if found.is_hosted else 'theirs'}")
    if found.told_version < found.version:
        say("they could not yet be told of our last word; it is tried again every minute")
    host = world.server if found.is_hosted else found.peer_server
    for room in rooms:
        say(f"room: {room.room_id}  {room.name}  {_build_link(room.room_id, host)}")


async def _open(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id = await embassy.find(args)
    room_id = await embassy.office.open_room(embassy.bureau.region, org_id, args.cooperations, args.name)
    say(f"{room_id}  {_build_link(room_id, embassy.bureau.desk.world.server)}")
    for cooperation_id in args.cooperations:
        await embassy.tell(org_id, cooperation_id, say)


async def _close(embassy: Embassy, args: Namespace, say: Say) -> None:
    await embassy.office.close_room(embassy.bureau.region, await embassy.find(args), args.room)


async def _guests(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id, after = await embassy.find(args), ""
    while True:
        page, dismissed = await embassy.guests.list(embassy.bureau.region, org_id, after)
        for guest in page:
            say(f"{guest.user_id}  {guest.role or 'of this region'}  in {', '.join(guest.rooms)}")
        if not page:
            break
        after = page[-1].user_id
    for user_id in sorted(dismissed):
        say(f"{user_id}  sent away")


async def _dismiss(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id = await embassy.find(args)
    for user in args.users:
        await embassy.guests.dismiss(embassy.bureau.region, org_id, parse_user_id(user))


async def _readmit(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id = await embassy.find(args)
    for user in args.users:
        await embassy.guests.readmit(embassy.bureau.region, org_id, parse_user_id(user))


async def _admit(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id, consent = await embassy.find(args), sha256(read_file(args.consent)).hexdigest()
    pupil = parse_user_id(args.user)
    await embassy.office.let_pupil_take_part(embassy.bureau.region, org_id, args.cooperation, pupil, consent)


async def _withdraw(embassy: Embassy, args: Namespace, say: Say) -> None:
    org_id = await embassy.find(args)
    await embassy.office.take_pupil_out(embassy.bureau.region, org_id, args.cooperation, parse_user_id(args.user))


def _parse_day(text: str) -> int:
    """The end of that day.

    Raises: CommandFailed.
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return int((day + timedelta(days=1)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise CommandFailed(f"--until: {text} is no date like 2027-05-31") from None


def _describe_day(until_ms: int) -> str:
    return datetime.fromtimestamp((until_ms - 1) / 1000, UTC).date().isoformat()


def _describe_state(cooperation: Cooperation, now_ms: int) -> str:
    if cooperation.is_ended:
        return "ended"
    if cooperation.until_ms <= now_ms:
        return "over"
    if cooperation.is_agreed:
        return "in force"
    return "waits for us" if cooperation.agreed_ms is None else "waits for them"


def _build_link(room_id: RoomID, host: ServerName) -> str:
    """A link by which clients join a room.

    Spec: appendices#matrix-uri-scheme
    """
    return f"matrix:roomid/{quote(room_id.removeprefix('!'), safe=':')}?action=join&via={quote(host, safe=':')}"
