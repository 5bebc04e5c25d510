"""Reports: listed, looked into and settled; those of events and people, and in our own form those of rooms, too."""

from typing import Any

from homeserver.api.admin.pages import Page, admin_route, is_backwards, next_of, page_of
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.reported import Reported
from homeserver.storage.reports import NamedReport, ReportQuery

_KINDS = ("event", "room", "user")
_DIGITS = 15


def routes(reported: Reported) -> tuple[Route, ...]:
    """The endpoints of reports."""
    api, one, of_person = _ReportsAPI(reported), "v1/event_reports/{reportId}", "v1/user_reports/{reportId}"
    ours = Route(method="GET", path="/_parta/admin/v1/reports", handle=api.list_kind, auth="admin", rate="other")
    return (
        admin_route("GET", "v1/event_reports", api.list),
        admin_route("GET", one, api.see),
        admin_route("DELETE", one, api.settle),
        admin_route("GET", "v1/user_reports", api.list_of_people),
        admin_route("GET", of_person, api.see_of_person),
        admin_route("DELETE", of_person, api.settle_of_person),
        ours,
    )


class _ReportsAPI:
    def __init__(self, reported: Reported) -> None:
        self._reported = reported

    async def list(self, call: Call) -> Reply:
        page = page_of(call)
        query = ReportQuery(
            reporter=call.query.str("user_id"),
            room_id=call.query.str("room_id"),
            about=call.query.str("sender_user_id"),
            forwards=not is_backwards(call, "b"),
            start=page.start,
            limit=page.limit,
        )
        return await self._list(call, query, page, "event_reports")

    async def list_of_people(self, call: Call) -> Reply:
        page = page_of(call)
        query = ReportQuery(
            kind="user",
            reporter=call.query.str("user_id"),
            about=call.query.str("target_user_id"),
            forwards=not is_backwards(call, "b"),
            start=page.start,
            limit=page.limit,
        )
        return await self._list(call, query, page, "user_reports")

    async def list_kind(self, call: Call) -> Reply:
        page = page_of(call)
        kind = call.query.choice("kind", _KINDS, "user")
        query = ReportQuery(kind=kind, start=page.start, limit=page.limit)  # type: ignore[arg-type]  # one of _KINDS
        return await self._list(call, query, page, "reports")

    async def _list(self, call: Call, query: ReportQuery, page: Page, name: str) -> Reply:
        found, total = await self._reported.load(call.caller.user_id, query)
        show = _show_of_person if name == "user_reports" else _show
        answer: dict[str, object] = {name: [show(report) for report in found], "total": total}
        following = next_of(page, len(found), total)
        return answer if following is None else answer | {"next_token": following}

    async def see(self, call: Call) -> Reply:
        found, event = await self._reported.see(call.caller.user_id, _number_of(call))
        return _show(found) | {"event_json": event}

    async def see_of_person(self, call: Call) -> Reply:
        found, _ = await self._reported.see(call.caller.user_id, _number_of(call), "user")
        return _show_of_person(found)

    async def settle(self, call: Call) -> Reply:
        await self._reported.settle(call.caller.user_id, _number_of(call))
        return {}

    async def settle_of_person(self, call: Call) -> Reply:
        await self._reported.settle(call.caller.user_id, _number_of(call), "user")
        return {}


def _number_of(call: Call) -> int:
    text = call.params["reportId"]
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise MatrixError(400, "M_INVALID_PARAM", "The report_id parameter must be a string representing a number")
    return int(text)


def _show(found: NamedReport) -> dict[str, Any]:
    report = found.report
    return {
        "id": report.nid,
        "received_ts": report.at_ms,
        "room_id": report.room_id,
        "event_id": report.event_id,
        "user_id": report.reporter,
        "reason": report.reason,
        "score": None,
        "sender": report.user_id,
        "name": found.name,
        "canonical_alias": found.canonical_alias,
    }


def _show_of_person(found: NamedReport) -> dict[str, Any]:
    report = found.report
    return {
        "id": report.nid,
        "received_ts": report.at_ms,
        "target_user_id": report.user_id,
        "user_id": report.reporter,
        "reason": report.reason,
    }
