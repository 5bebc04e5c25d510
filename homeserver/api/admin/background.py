"""Work in the background: what runs, whether it may, and what is to be done once more."""

from collections.abc import Callable

from msgspec import Struct

from homeserver.api.admin.pages import admin_route
from homeserver.api.route import Call, Reply, Route
from homeserver.rooms.jobs import Jobs


class Enabled(Struct, frozen=True):
    """Whether jobs may run."""

    enabled: bool


class JobBody(Struct, frozen=True):
    """Which job."""

    job_name: str


def routes(jobs: Jobs, now_ms: Callable[[], int]) -> tuple[Route, ...]:
    """The endpoints of background work."""

    async def status(call: Call) -> Reply:
        current = jobs.current
        if current is None:
            return {"enabled": jobs.enabled, "current_updates": {}}
        spent = max(now_ms() - current.began_ms, 1)
        shown = {
            "name": current.name,
            "total_item_count": current.items,
            "total_duration_ms": float(spent),
            "average_items_per_ms": current.items / spent,
        }
        return {"enabled": jobs.enabled, "current_updates": {"master": shown}}

    async def see_enabled(call: Call) -> Reply:
        return {"enabled": jobs.enabled}

    async def set_enabled(call: Call) -> Reply:
        await jobs.set_enabled(call.caller.user_id, call.body.enabled)
        return {"enabled": jobs.enabled}

    async def start(call: Call) -> Reply:
        await jobs.start(call.caller.user_id, call.body.job_name)
        return {}

    root = "v1/background_updates"
    return (
        admin_route("GET", f"{root}/status", status),
        admin_route("GET", f"{root}/enabled", see_enabled),
        admin_route("POST", f"{root}/enabled", set_enabled, Enabled),
        admin_route("POST", f"{root}/start_job", start, JobBody),
    )
