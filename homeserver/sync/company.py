"""Device lists: for whom a device has to ask for keys again, and whom it may forget.

What changed in rooms whose latest events are in memory, their views tell; the rest is read from the tables. Filters are
about events, so they keep nobody from here.

Spec: client-server-api#e2e-extensions-to-sync
"""

from collections.abc import Collection, Iterable

import msgspec

from federation.ids import RoomID
from homeserver.storage.sync import has_stayed
from homeserver.sync.news import News
from homeserver.sync.reading import Found, Plan
from homeserver.sync.views import View


def plan_company(plan: Plan, news: News, joined: Collection[RoomID], told: Collection[RoomID], since: int) -> None:
    """Plan to read what changed since a position in the company of a person who is in the rooms `joined`, but in those
    `told` by views.
    """
    plan.company_since = since
    for room_id, stays in news.moves.items():
        if not has_stayed(stays):
            plan.moves[room_id] = (stays[0].was_joined, room_id in joined)
    plan.company.update(
        room_id for room_id in news.changed if room_id in joined and room_id not in plan.moves and room_id not in told
    )


def encode_lists(plan: Plan, news: News, views: Iterable[View], found: Found) -> list[tuple[bytes, bytes]]:
    """The member of an answer that holds the lists, if there is anything in them."""
    met, lost = set(found.met), set(found.lost)
    for view in views:
        met.update(view.met)
        lost.update(view.lost)
    lost -= found.confidants | {plan.user_id}
    changed = {*news.devices, *(met - {plan.user_id})} - lost
    if not changed and not lost:
        return []
    lists = {"changed": sorted(changed), "left": sorted(lost)}
    return [(b'"device_lists"', msgspec.json.encode(lists))]
