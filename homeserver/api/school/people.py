"""The people of an organisation: seen, taken in, verified, moved, dismissed; rosters and sign-in sheets.

School: rows 3, 6, 24, 26, 28
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from federation.ids import UserID, parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.api.school.organisations import ROOT, asker_of
from homeserver.schools.office import Applicant, Asker, Document, Office, RoleWish
from homeserver.schools.roster.imports import Rosters, Wish
from homeserver.schools.school import School, display_name
from homeserver.schools.sheets import MOST, Sheets
from homeserver.storage.schools.people import RoleRecord

_PAGE: Final = 200
_ROSTER_BYTES: Final = 16 << 20


class RosterBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A roster, and how it is to be taken; see `homeserver.schools.roster.imports.Wish`."""

    csv: str
    dry_run: bool = False
    complete: bool = False
    leaving: Annotated[int, Meta(ge=0)] | None = None


class MoveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The class a pupil is moved to."""

    class_id: str


class SheetsBody(Struct, frozen=True, forbid_unknown_fields=True):
    """For whom sign-in sheets are to be made."""

    people: Annotated[list[str], Meta(min_length=1, max_length=MOST)]


def routes(office: Office, rosters: Rosters, sheets: Sheets) -> tuple[Route, ...]:
    """The endpoints of people."""
    api = _PeopleAPI(office, rosters, sheets)
    org = f"{ROOT}/{{orgId}}"
    one = f"{org}/people/{{userId}}"
    return (
        Route(method="GET", path=f"{org}/people", handle=api.list, rate="other"),
        Route(method="POST", path=f"{org}/people", handle=api.take_in, rate="other", body=Applicant),
        Route(method="POST", path=f"{one}/roles", handle=api.give_role, rate="other", body=RoleWish),
        Route(method="POST", path=f"{one}/appoint", handle=api.appoint, rate="other", body=Document),
        Route(method="POST", path=f"{one}/verify", handle=api.act(office.verify), rate="other"),
        Route(method="POST", path=f"{one}/dismiss", handle=api.act(office.dismiss), rate="other"),
        Route(method="POST", path=f"{one}/move", handle=api.move, rate="other", body=MoveBody),
        Route(method="POST", path=f"{org}/sheets", handle=api.make_sheets, rate="login", body=SheetsBody),
        Route(
            method="POST",
            path=f"{org}/roster",
            handle=api.take_roster,
            rate="create",
            body=RosterBody,
            body_limit=_ROSTER_BYTES,
        ),
    )


class _PeopleAPI:
    def __init__(self, office: Office, rosters: Rosters, sheets: Sheets) -> None:
        self._office = office
        self._rosters = rosters
        self._sheets = sheets

    async def list(self, call: Call) -> Reply:
        after, class_id, role = (call.query.str(name, "") for name in ("from", "class_id", "role"))
        school = await self._office.see(asker_of(call), call.params["orgId"])
        found = [
            user_id
            for user_id in sorted(school.people)
            if user_id > after and _is_wanted(school.roles_of(user_id), class_id, role)
        ][: _PAGE + 1]
        page: dict[str, object] = {"people": [_person(school, user_id) for user_id in found[:_PAGE]]}
        if len(found) > _PAGE:
            page["next"] = found[_PAGE - 1]
        return page

    async def take_in(self, call: Call) -> Reply:
        person = await self._office.take_in(asker_of(call), call.params["orgId"], call.body)
        return {"user_id": person.user_id}

    async def give_role(self, call: Call) -> Reply:
        await self._office.give_role(asker_of(call), call.params["orgId"], _user_of(call), call.body)
        return {}

    async def appoint(self, call: Call) -> Reply:
        await self._office.appoint(asker_of(call), call.params["orgId"], _user_of(call), call.body)
        return {}

    async def move(self, call: Call) -> Reply:
        body: MoveBody = call.body
        await self._office.move(asker_of(call), call.params["orgId"], _user_of(call), body.class_id)
        return {}

    def act(
        self, deed: Callable[[Asker, str, UserID], Awaitable[None]]
    ) -> Callable[[Call], Coroutine[Any, Any, Reply]]:
        """An endpoint for a deed that needs nothing but the person."""

        async def handle(call: Call) -> Reply:
            await deed(asker_of(call), call.params["orgId"], _user_of(call))
            return {}

        return handle

    async def make_sheets(self, call: Call) -> Reply:
        body: SheetsBody = call.body
        people = [parse_user_id(text) for text in body.people]
        sheets = await self._sheets.make(asker_of(call), call.params["orgId"], people)
        return {"sheets": [asdict(sheet) for sheet in sheets]}

    async def take_roster(self, call: Call) -> Reply:
        body: RosterBody = call.body
        wish = Wish(dry_run=body.dry_run, complete=body.complete, leaving=body.leaving)
        plan = await self._rosters.take(asker_of(call), call.params["orgId"], body.csv, wish)
        return {
            "done": not (body.dry_run or plan.faults),
            "faults": [asdict(fault) for fault in plan.faults],
            "actions": [
                {"what": action.what, "user_id": action.user_id, "line": action.line} for action in plan.actions
            ],
            "leaving": len(plan.leaving),
        }


def _user_of(call: Call) -> UserID:
    return parse_user_id(call.params["userId"])


def _is_wanted(roles: list[RoleRecord], class_id: str, role: str) -> bool:
    if not class_id and not role:
        return True
    return any(class_id in {"", held.class_id} and role in {"", held.role} for held in roles)


def _person(school: School, user_id: UserID) -> dict[str, object]:
    return {
        "user_id": user_id,
        "name": display_name(school, user_id),
        "roster_key": school.people[user_id].roster_key,
        "roles": [
            {
                "role": role.role,
                "class_id": role.class_id or None,
                "child": role.child_id or None,
                "verified": role.verified_ms is not None,
                "verified_by": role.verified_by,
                "verified_until_ms": role.verified_until_ms,
            }
            for role in school.roles_of(user_id)
        ],
    }
