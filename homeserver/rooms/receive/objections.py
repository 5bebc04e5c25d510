"""Why an event that the rules allow is not for our people: the policy of this server, or the room's policy server.

Such an event is soft-failed. The policy is asked as for somebody of ours who would do the same.

Spec: server-server-api#policy-servers, server-server-api#soft-failure
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from federation.errors import BadSignature, Refused
from federation.event import Event
from federation.ids import EventID, UserID
from federation.signatures import check_policy_signature
from federation.transport.tasks import side_by_side
from homeserver.policy import Act, Expel, Invite, Join, Knock, Leave, Redact, SendEvent, SetState, allows
from homeserver.rooms.head import Head
from homeserver.rooms.polls import RESPONSES
from homeserver.rooms.receive.advisers import Advisers, Verdicts
from homeserver.rooms.receive.intake import World
from homeserver.rooms.recommending import (
    POLICY,
    NotRecommended,
    PolicyServer,
    find_policy_server,
    is_protected,
    needs_recommending,
)
from homeserver.rooms.room import Room
from homeserver.storage.received import find_by_id
from homeserver.storage.relations import find_relation


class Advice(NamedTuple):
    """What the policy server that a state event names has said."""

    by: EventID | None
    verdicts: Verdicts


NO_ADVICE: Final = Advice(None, {})


class Objections:
    """Finds what speaks against events."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seal = world.rooms.seal
        self.advisers = Advisers(world.outside, self._seal.now_ms)

    async def ask(self, room: Room, events: Sequence[Event], known: Advice = NO_ADVICE) -> Advice:
        """What the room's policy server says of events that it has not signed, with what it said before."""
        named, used = room.shown.state.get(POLICY), self._find_used(room.shown)
        if named is None or used is None or used.server == self._seal.server:
            return NO_ADVICE
        verdicts = known.verdicts if known.by == named.event_id else {}
        asked = [event for event in events if event.event_id not in verdicts and not _is_recommended(event, used)]
        return Advice(named.event_id, {**verdicts, **await self.advisers.ask_about(used, asked)})

    async def meet(self, room: Room, events: Iterable[Event]) -> None:
        """Let the policy learn what it must ask others of those who join, before the room has to wait for that."""
        acts = [build_act(room, event) for event in events if event.membership == "join"]
        await side_by_side(allows(self._world.policy, act) for act in acts)

    async def find(
        self, room: Room, event: Event, advice: Advice = NO_ADVICE, others: Iterable[Event] = ()
    ) -> Refused | None:
        """Why the event is to be soft-failed, None if nothing speaks against it; `others` came with it."""
        act = await find_act(self._world, room, event, others)
        try:
            await self._world.policy.check(replace(act, waits=False) if isinstance(act, Join) else act)
            await self._check_recommended(room, event, advice)
        except Refused as refusal:
            return refusal
        return None

    async def _check_recommended(self, room: Room, event: Event, advice: Advice) -> None:
        """Refuse what the room's policy server does not recommend, also because it cannot be asked.

        Spec: server-server-api#validating-policy-server-signatures
        """
        used = self._find_used(room.shown)
        if used is None or _is_recommended(event, used):
            return
        if used.server == self._seal.server:
            raise NotRecommended("the room names a key of ours that is none")
        verdict = (await self.ask(room, [event], advice)).verdicts[event.event_id]
        if verdict is not None:
            raise verdict

    def _find_used(self, head: Head) -> PolicyServer | None:
        """The policy server that events of others need the signature of; not ours, which judges as our policy does."""
        used = find_policy_server(head)
        return None if used is None or is_protected(self._seal, head) else used


def _is_recommended(event: Event, used: PolicyServer) -> bool:
    if not needs_recommending(event):
        return True
    try:
        check_policy_signature(event, *used)
    except BadSignature:
        return False
    return True


async def find_act(world: World, room: Room, event: Event, others: Iterable[Event] = ()) -> Act:
    """What the sender of an event does, to what: the event that it is about is among `others`, or known here."""
    about = _about(event)
    if about is None:
        return build_act(room, event)
    held = room.find_recent(about)
    target = held.event if held is not None else next((each for each in others if each.event_id == about), None)
    if target is None:
        found = (await world.database.read(find_by_id, room.record, [about])).get(about)
        target = None if found is None else found.event
    return build_act(room, event, target)


def _about(event: Event) -> EventID | None:
    """What somebody redacts, or the poll that somebody answers."""
    if event.type not in RESPONSES:
        return event.redacts
    relation = find_relation(event.content)
    return None if relation is None else EventID(relation.event_id)


def build_act(room: Room, event: Event, about: Event | None = None) -> Act:
    """What the sender of an event does; `about` is what is redacted or answered, None if that is unknown."""
    by = event.sender
    if event.type == "m.room.member" and event.state_key is not None:
        return _build_move(room, event, by)
    if event.state_key is not None:
        return SetState(by=by, room=room, type=event.type, state_key=event.state_key, content=event.content)
    if event.redacts is not None:
        return Redact(by=by, room=room, event_id=event.redacts, target=about)
    return SendEvent(by=by, room=room, type=event.type, content=event.content, poll=about)


def _build_move(room: Room, event: Event, by: UserID) -> Act:
    person, membership = UserID(event.state_key or ""), event.membership
    if membership == "invite":
        return Invite(by=by, room=room, person=person)
    if person != by:
        if membership == "ban":
            return Expel(by=by, room=room, person=person, how="ban")
        how: Literal["unban", "kick"] = "unban" if room.membership(person) == "ban" else "kick"
        return Expel(by=by, room=room, person=person, how=how)
    if membership == "join":
        return Join(by=by, room=room)
    return Knock(by=by, room=room) if membership == "knock" else Leave(by=by, room=room)
