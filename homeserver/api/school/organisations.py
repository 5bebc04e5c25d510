"""Organisations, their classes and their audit log.

School: rows 8, 16, 17, 31
"""

from typing import Final

import msgspec
from msgspec import Struct

from homeserver.api.route import Call, Reply, Route
from homeserver.schools.office import Asker, Office
from homeserver.schools.organisations import Application
from homeserver.storage.schools.organisations import Organisation, SchoolClass

ROOT: Final = "/_parta/school/v1/organisations"
_PAGE: Final = 100


class ClassBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A class to be opened; without a year in the present school year."""

    title: str
    year: int | None = None


def asker_of(call: Call) -> Asker:
    """Who asks the office; an operator of the server asks for the region."""
    return Asker(user_id=call.caller.user_id, region=call.caller.admin)


def routes(office: Office) -> tuple[Route, ...]:
    """The endpoints of organisations."""
    api = _OrganisationsAPI(office)
    one = f"{ROOT}/{{orgId}}"
    return (
        Route(method="GET", path=ROOT, handle=api.list, rate="other"),
        Route(method="POST", path=ROOT, handle=api.found, rate="create", body=Application),
        Route(method="GET", path=one, handle=api.see, rate="other"),
        Route(method="POST", path=f"{one}/classes", handle=api.open_class, rate="create", body=ClassBody),
        Route(method="POST", path=f"{one}/classes/{{classId}}/promote", handle=api.promote, rate="other"),
        Route(method="GET", path=f"{one}/audit", handle=api.audit, rate="other"),
    )


class _OrganisationsAPI:
    def __init__(self, office: Office) -> None:
        self._office = office

    async def list(self, call: Call) -> Reply:
        found = await self._office.organisations(asker_of(call), call.query.str("from", ""))
        page: dict[str, object] = {"organisations": [_organisation(org) for org in found]}
        if len(found) == _PAGE:
            page["next"] = found[-1].org_id
        return page

    async def found(self, call: Call) -> Reply:
        school = await self._office.found(asker_of(call), call.body)
        return _organisation(school.org)

    async def see(self, call: Call) -> Reply:
        school = await self._office.see(asker_of(call), call.params["orgId"])
        classes = sorted(school.classes.values(), key=lambda entry: (entry.year, entry.grade, entry.letter))
        return {**_organisation(school.org), "classes": [build_class(entry) for entry in classes]}

    async def open_class(self, call: Call) -> Reply:
        body: ClassBody = call.body
        return build_class(await self._office.open_class(asker_of(call), call.params["orgId"], body.title, body.year))

    async def promote(self, call: Call) -> Reply:
        asker, org_id, class_id = asker_of(call), call.params["orgId"], call.params["classId"]
        return build_class(await self._office.promote(asker, org_id, class_id))

    async def audit(self, call: Call) -> Reply:
        limit = call.query.int("limit", _PAGE, least=1)
        entries = await self._office.audit(
            asker_of(call), call.params["orgId"], call.query.int("from"), min(limit, _PAGE)
        )
        page: dict[str, object] = {"entries": [msgspec.structs.asdict(entry) for entry in entries]}
        if len(entries) == min(limit, _PAGE):
            page["next"] = entries[-1].entry
        return page


def _organisation(org: Organisation) -> dict[str, object]:
    return msgspec.structs.asdict(org)


def build_class(entry: SchoolClass) -> dict[str, object]:
    """A class as it is told of."""
    return {
        "class_id": entry.class_id,
        "title": entry.title,
        "grade": entry.grade,
        "year": entry.year,
        "closed": entry.closed_ms is not None,
    }
