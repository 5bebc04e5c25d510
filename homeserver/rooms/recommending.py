"""Policy servers: who recommends a room's events, and how events of ours come to be recommended before they are sent.

Where this server is the room's policy server, it signs its own events as it makes them; another is asked.

Spec: server-server-api#policy-servers
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from federation.ed25519 import VerifyKey, parse_verify_key
from federation.errors import BadKey, BadSignature, PeerRefused, Refused, RemoteFault
from federation.event import Event
from federation.ids import ServerName, find_server_name
from federation.signatures import POLICY_KEY_ID, add_signature, check_policy_signature, sign_event
from homeserver.rooms.head import Head
from homeserver.rooms.seal import Seal

POLICY: Final = ("m.room.policy", "")

AskToSign: TypeAlias = Callable[[ServerName, Event], Awaitable[dict[str, Any]]]
"""Asks a policy server for its signature; its answer. Raises: RemoteFault; Refused."""


class PolicyServer(NamedTuple):
    """A room's policy server, and the key that its recommendations are signed with."""

    server: ServerName
    key: VerifyKey


class NotRecommended(Refused):
    """The room's policy server does not recommend an event; `answer` is what it answered, if it did."""

    def __init__(self, why: str, answer: PeerRefused | None = None) -> None:
        super().__init__("policy server", why)
        self.answer = answer


def find_policy_server(head: Head) -> PolicyServer | None:
    """The policy server that a room uses.

    Spec: server-server-api#determining-if-a-policy-server-is-enabled-in-a-room
    """
    event = head.find(POLICY)
    if event is None:
        return None
    server, keys = find_server_name(event.content.get("via")), event.content.get("public_keys")
    if server is None or server not in head.servers or not isinstance(keys, dict):
        return None
    try:
        return PolicyServer(server, parse_verify_key(keys.get("ed25519")))
    except BadKey:
        return None


def needs_recommending(event: Event) -> bool:
    """Whether a policy server is asked about such an event at all."""
    return (event.type, event.state_key) != POLICY


def is_departure(event: Event) -> bool:
    """Whether somebody leaves: nobody may be kept in a room, neither by a policy server nor by its absence."""
    return event.membership == "leave" and event.sender == event.state_key


def build_policy_content(seal: Seal) -> Mapping[str, object]:
    """The content of `m.room.policy` in a room whose policy server this one is."""
    if seal.policy_key is None:
        raise ValueError("this server is nobody's policy server")
    return {"via": seal.server, "public_keys": {"ed25519": seal.policy_key.verify_key.encode()}}


def is_protected(seal: Seal, head: Head) -> bool:
    """Whether this server is the room's policy server, by the key that it has."""
    used = find_policy_server(head)
    return used is not None and used.server == seal.server and _is_own(seal, used)


def recommend_own(seal: Seal, head: Head, event: Event) -> Event:
    """An event that this server makes, with its recommendation where that is for itself to give.

    Raises: EventTooLarge.
    """
    if seal.policy_key is None or head.state.get(POLICY) is None or not needs_recommending(event):
        return event
    return sign_event(event, seal.server, seal.policy_key) if is_protected(seal, head) else event


def find_asked(seal: Seal, head: Head) -> PolicyServer | None:
    """The policy server that must be asked before an event of ours is sent in the room."""
    if head.state.get(POLICY) is None:
        return None
    used = find_policy_server(head)
    return None if used is None or (used.server == seal.server and _is_own(seal, used)) else used


async def ask_for(ask: AskToSign | None, used: PolicyServer, event: Event) -> Event:
    """The event with the policy server's signature.

    Raises: NotRecommended.
    Spec: server-server-api#asking-for-a-policy-server-signature-on-an-event
    """
    if ask is None:
        raise NotRecommended("the room's policy server cannot be asked")
    try:
        signature = _signature_in(await ask(used.server, event), used.server)
        signed = add_signature(event, used.server, POLICY_KEY_ID, signature)
        check_policy_signature(signed, *used)
    except PeerRefused as refusal:
        raise NotRecommended(f"the room's policy server does not recommend it: {refusal}", refusal) from None
    except (RemoteFault, Refused) as fault:
        raise NotRecommended(f"the room's policy server does not recommend it: {fault}") from None
    return signed


def _is_own(seal: Seal, used: PolicyServer) -> bool:
    return seal.policy_key is not None and seal.policy_key.verify_key == used.key


def _signature_in(answer: dict[str, Any], server: ServerName) -> str:
    by_server = answer.get(server)
    signature = by_server.get(POLICY_KEY_ID) if isinstance(by_server, dict) else None
    if not isinstance(signature, str):
        raise BadSignature("no signature")
    return signature
