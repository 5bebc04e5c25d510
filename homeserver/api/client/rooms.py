"""All endpoints of rooms."""

from collections.abc import Callable

from homeserver.api.client import (
    aliases,
    create,
    dates,
    delayed,
    directory,
    history,
    membership,
    mutual,
    relations,
    reports,
    search,
    send,
    spaces,
    state,
    upgrade,
)
from homeserver.api.route import Route
from homeserver.rooms.delayed import DelayedEvents
from homeserver.rooms.doors import Doors
from homeserver.streams import Clock


def routes(
    doors: Doors, later: DelayedEvents, now_ms: Callable[[], int], server_name: str, clock: Clock
) -> tuple[Route, ...]:
    """The endpoints of rooms, from creating one to finding it."""
    return (
        *create.routes(doors.creation),
        *membership.routes(doors.memberships, doors.aliases, doors.members),
        *send.routes(doors.sending, later),
        *delayed.routes(later),
        *state.routes(doors.states, doors.settings, later, now_ms, clock),
        *history.routes(doors.history, doors.members, now_ms, clock),
        *aliases.routes(doors.aliases),
        *directory.routes(doors.directory, doors.networks, server_name),
        *upgrade.routes(doors.upgrades),
        *spaces.routes(doors.spaces, doors.summaries),
        *dates.routes(doors.dates),
        *mutual.routes(doors.mutual),
        *reports.routes(doors.reports),
        *relations.routes(doors.relations, now_ms),
        *search.routes(doors.search, now_ms),
    )
