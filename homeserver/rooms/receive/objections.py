"""Why an event that the rules allow is not for our people: the policy of this server, or the room's policy server.

Such an event is soft-failed. The policy is asked as for somebody of ours who would do the same.

Spec: server-server-api#policy-servers, server-server-api#soft-failure
"""

from typing import Any, Final, Literal, NamedTuple

from federation.ed25519 import VerifyKey, parse_verify_key
from federation.errors import BadEvent, BadIdentifier, BadKey, BadSignature, Refused, RemoteFault
from federation.event import Event
from federation.ids import ServerName, UserID, parse_server_name
from federation.signatures import POLICY_KEY_ID, add_signature, check_policy_signature
from homeserver.policy import Act, Expel, Invite, Join, Knock, Leave, Policy, Redact, SendEvent, SetState
from homeserver.rooms.receive.outside import Outside
from homeserver.rooms.room import Room

POLICY: Final = "m.room.policy"


class PolicyServer(NamedTuple):
    """A room's policy server, and the key that its recommendations are signed with."""

    server: ServerName
    key: VerifyKey


def find_policy_server(room: Room) -> PolicyServer | None:
    """The policy server that a room uses now.

    Spec: server-server-api#determining-if-a-policy-server-is-enabled-in-a-room
    """
    event = room.state(POLICY)
    if event is None:
        return None
    via, keys = event.content.get("via"), event.content.get("public_keys")
    try:
        server = parse_server_name(via) if isinstance(via, str) else None
        key = parse_verify_key(keys.get("ed25519")) if isinstance(keys, dict) else None
    except (BadIdentifier, BadKey):
        return None
    if server is None or key is None or server not in room.shown.servers:
        return None
    return PolicyServer(server, key)


class Objections:
    """Finds what speaks against events."""

    def __init__(self, policy: Policy, outside: Outside) -> None:
        self._policy = policy
        self._outside = outside

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
        policy_server = find_policy_server(room)
        if policy_server is None or (event.type, event.state_key) == (POLICY, ""):
            return
        try:
            check_policy_signature(event, *policy_server)
        except BadSignature:
            await self._ask(policy_server, event)

    async def _ask(self, policy_server: PolicyServer, event: Event) -> None:
        server, key = policy_server
        try:
            answer = await self._outside.ask_to_sign(server, event)
            signature = _signature_in(answer, server)
            check_policy_signature(add_signature(event, server, POLICY_KEY_ID, signature), server, key)
        except (RemoteFault, BadEvent) as fault:
            raise Refused("policy server", f"the room's policy server does not recommend it: {fault}") from None


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


def _signature_in(answer: dict[str, Any], server: ServerName) -> str:
    by_server = answer.get(server)
    signature = by_server.get(POLICY_KEY_ID) if isinstance(by_server, dict) else None
    if not isinstance(signature, str):
        raise BadSignature("no signature")
    return signature
