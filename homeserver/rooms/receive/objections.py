"""Why an event that the rules allow is not for our people: the policy of this server, or the room's policy server.

Such an event is soft-failed. The policy is asked as for somebody of ours who would do the same.

Spec: server-server-api#policy-servers, server-server-api#soft-failure
"""

from typing import Literal

from federation.errors import BadSignature, Refused
from federation.event import Event
from federation.ids import UserID
from federation.signatures import check_policy_signature
from homeserver.policy import Act, Expel, Invite, Join, Knock, Leave, Policy, Redact, SendEvent, SetState
from homeserver.rooms.receive.outside import Outside
from homeserver.rooms.recommending import (
    NotRecommended,
    ask_for,
    find_policy_server,
    is_protected,
    needs_recommending,
)
from homeserver.rooms.room import Room
from homeserver.rooms.seal import Seal


class Objections:
    """Finds what speaks against events."""

    def __init__(self, policy: Policy, outside: Outside, seal: Seal) -> None:
        self._policy = policy
        self._outside = outside
        self._seal = seal

    async def find(self, room: Room, event: Event) -> Refused | None:
        """Why the event is to be soft-failed, None if nothing speaks against it."""
        try:
            await self._policy.check(build_act(room, event))
            await self._check_recommended(room, event)
        except Refused as refusal:
            return refusal
        return None

    async def _check_recommended(self, room: Room, event: Event) -> None:
        """Refuse what the room's policy server does not recommend.

        Spec: server-server-api#validating-policy-server-signatures
        """
        used = find_policy_server(room.shown)
        if used is None or not needs_recommending(event) or is_protected(self._seal, room.shown):
            return
        try:
            check_policy_signature(event, *used)
        except BadSignature:
            if used.server == self._seal.server:
                raise NotRecommended("the room names a key of ours that is none") from None
            await ask_for(self._outside.ask_to_sign, used, event)


def build_act(room: Room, event: Event) -> Act:
    """What the sender of an event does."""
    by = event.sender
    if event.type == "m.room.member" and event.state_key is not None:
        return _build_move(room, event, by)
    if event.state_key is not None:
        return SetState(by=by, room=room, type=event.type, state_key=event.state_key, content=event.content)
    if event.redacts is not None:
        held = room.find_recent(event.redacts)
        return Redact(by=by, room=room, event_id=event.redacts, target=None if held is None else held.event)
    return SendEvent(by=by, room=room, type=event.type, content=event.content)


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
