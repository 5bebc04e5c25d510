"""The composition of what people are told: syncs, pushes, what is unread, and who is there."""

from dataclasses import dataclass

from homeserver.accounts.data import Filters
from homeserver.api.client import (
    filters,
    presence,
    pushers,
    pushrules,
    receipts,
    sliding,
    sync,
    typing,
)
from homeserver.api.route import Route
from homeserver.ephemeral.presence import Presences
from homeserver.ephemeral.receipts import Receipts
from homeserver.ephemeral.typing import Typing
from homeserver.push.counts import Counts
from homeserver.push.notifications import Notifications
from homeserver.push.pushers import Pushers
from homeserver.push.pushing import Pushing
from homeserver.push.pushing import World as PushWorld
from homeserver.push.rulebook import Rulebook
from homeserver.rooms.rooms import Rooms
from homeserver.server.core import Core
from homeserver.sync.answers import Sources
from homeserver.sync.sync import Sync


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncParts:
    """What people are told: syncs, what is unread, and who is there."""

    sync: Sync
    rulebook: Rulebook
    counts: Counts
    pushing: Pushing
    typing: Typing
    receipts: Receipts
    presences: Presences


def build_sync(core: Core, rooms: Rooms) -> SyncParts:
    """Make what tells people what is new."""
    world, database, streams, policy = core.world, core.database, core.streams, core.policy
    reactor, now_ms = world.reactor, world.now_ms
    rulebook = Rulebook(database)
    counts = Counts(database, streams, rulebook, rooms.find)
    typist = Typing(streams, policy, rooms.load, reactor)
    presences = Presences(database, streams, policy, reactor, now_ms, enabled=world.settings.presence)
    sources = Sources(
        database=database,
        policy=policy,
        streams=streams,
        rooms=rooms,
        typing=typist,
        presences=presences,
        notices=counts,
        clock=reactor,
        now_ms=now_ms,
    )
    push_world = PushWorld(
        database=database,
        rooms=rooms,
        rulebook=rulebook,
        counts=counts,
        outward=core.outward,
        clock=reactor,
        now_ms=now_ms,
        token_bytes=world.token_bytes,
        bare=world.settings.policy == "school",
    )
    return SyncParts(
        sync=Sync(sources),
        rulebook=rulebook,
        counts=counts,
        pushing=Pushing(push_world),
        typing=typist,
        receipts=Receipts(database, policy, rooms.load, now_ms),
        presences=presences,
    )


def sync_routes(core: Core, told: SyncParts, stored: Filters) -> tuple[Route, ...]:
    """The endpoints of sync and of what is told in it beside events."""
    return (
        *sync.routes(told.sync, stored),
        *sliding.routes(told.sync.sliding),
        *filters.routes(stored),
        *pushrules.routes(told.rulebook),
        *pushers.routes(Pushers(core.database, core.world.now_ms), Notifications(core.database, told.rulebook)),
        *typing.routes(told.typing),
        *receipts.routes(told.receipts),
        *presence.routes(told.presences),
    )
