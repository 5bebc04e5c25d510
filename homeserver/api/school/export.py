"""Exports of people: begun, asked after, fetched.

School: row 47
"""

from msgspec import Struct

from federation.ids import parse_user_id
from homeserver.api.route import Answer, Call, FileBody, Reply, Route
from homeserver.api.school.organisations import ROOT, asker_of
from homeserver.schools.export.exports import Exports


class ExportBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the files of others go along that the person was shown."""

    shown_files: bool = False


def routes(exports: Exports) -> tuple[Route, ...]:
    """The endpoints of exports."""
    api = _ExportAPI(exports)
    one = f"{ROOT}/{{orgId}}/exports/{{exportId}}"
    begin = f"{ROOT}/{{orgId}}/people/{{userId}}/export"
    return (
        Route(method="POST", path=begin, handle=api.begin, rate="create", body=ExportBody, body_optional=True),
        Route(method="GET", path=one, handle=api.status, rate="other"),
        Route(method="GET", path=f"{one}/archive", handle=api.fetch, rate="other"),
    )


class _ExportAPI:
    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    async def begin(self, call: Call) -> Reply:
        user_id, body = parse_user_id(call.params["userId"]), call.body
        found = await self._exports.begin(asker_of(call), call.params["orgId"], user_id, shown=body.shown_files)
        return {"export_id": found}

    async def status(self, call: Call) -> Reply:
        job = self._exports.load(asker_of(call), call.params["orgId"], call.params["exportId"])
        return {
            "status": job.status,
            "user_id": job.export.user_id,
            "rooms": job.export.rooms,
            "events": job.export.messages,
            "files": job.export.uploads,
        }

    async def fetch(self, call: Call) -> Reply:
        job = await self._exports.load_complete(asker_of(call), call.params["orgId"], call.params["exportId"])
        headers = {
            "Content-Type": "application/zip",
            "Content-Disposition": 'attachment; filename="export.zip"',
            "Cache-Control": "no-store",
        }
        return Answer(headers=headers, file=FileBody(job.path, 0, job.path.stat().st_size))
