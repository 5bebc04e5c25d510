"""Signatures on JSON objects, and the signatures an event must carry.

Spec: appendices#signing-json, server-server-api#signing-events
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec

from federation import canonical
from federation.ed25519 import SigningKey, VerifyKey, is_ed25519_key_id
from federation.errors import BadIdentifier, BadJSON, BadSignature
from federation.hashes import essential_part
from federation.ids import ServerName, find_server_of, parse_user_id, server_of
from federation.pdu import Event, check_event_size
from federation.unpadded import encode_base64, find_base64

POLICY_KEY_ID: Final = "ed25519:policy_server"
"""What the key of every policy server is called. Spec: server-server-api#validating-policy-server-signatures"""

_AUTHORISER: Final = "join_authorised_via_users_server"

KeyFinder: TypeAlias = Callable[[ServerName, str], VerifyKey | None]
"""Finds the key of a server by key ID; None when it is not known, or was not valid for what is being checked."""

MAX_SIGNATURES: Final = 16
"""How many signatures of one server are verified on one object: verifying is dear, sending is cheap."""


def sign_json(value: Mapping[str, Any], name: str, key: SigningKey) -> dict[str, Any]:
    """A copy of the object with the signature of `name` added; what it has of signatures and `unsigned` stays.

    Raises: BadJSON when the object has no canonical form.
    Spec: appendices#signing-details
    """
    signature = encode_base64(key.sign(_signed_bytes(value)))
    return {**value, "signatures": _merge_signature(value.get("signatures"), name, key.key_id, signature)}


def verify_json(value: Mapping[str, Any], name: str, verify_keys: Mapping[str, VerifyKey]) -> None:
    """Check that `name` has signed the object: with one of these keys at least, and wrongly with none of them.

    Raises: BadSignature.
    Spec: appendices#checking-for-a-signature
    """
    try:
        message = _signed_bytes(value)
    except BadJSON as error:
        raise BadSignature(str(error)) from None
    _check_signatures(message, _signatures_of(value.get("signatures"), name), verify_keys.get)


def servers_that_must_sign(event: Event) -> set[ServerName]:
    """The servers without whose signature the event is dropped.

    That is the sender's server, except for an invite by third party, which anybody may complete who holds the proof of
    the identity server (the authorisation rules look at it); in versions 1 and 2 the server in the event ID; and where
    joins can be restricted the server of the member who let the sender in.

    Raises: BadSignature when the event names a member who cannot exist, so that nobody could have signed.
    Spec: server-server-api#validating-hashes-and-signatures-on-received-events, rooms/v8#authorisation-rules
    """
    servers = set() if _is_third_party_invite(event) else {event.origin}
    domain = find_server_of(event.event_id)
    if domain is not None:
        servers.add(domain)
    if event.version.restricted_join and event.type == "m.room.member" and _AUTHORISER in event.content:
        servers.add(_server_of_authoriser(event.content[_AUTHORISER]))
    return servers


def check_event_signatures(event: Event, find_key: KeyFinder) -> None:
    """Check that every server that must sign the event has done so.

    `find_key` finds only keys that were valid when the event was made; `keys.build_key_finder` makes it.

    Raises: BadSignature.
    Spec: server-server-api#validating-hashes-and-signatures-on-received-events
    """
    message = essential_part(event.version, event.pdu())
    for server in servers_that_must_sign(event):
        _check_signatures(message, event.signatures.get(server, {}), partial(find_key, server))


def check_policy_signature(event: Event, server: ServerName, key: VerifyKey) -> None:
    """Check that the room's policy server recommends the event; `server` and `key` stand in the room's `m.room.policy`.

    Raises: BadSignature.
    Spec: server-server-api#validating-policy-server-signatures
    """
    message = essential_part(event.version, event.pdu())
    _check_signatures(message, event.signatures.get(server, {}), {POLICY_KEY_ID: key}.get)


def sign_event(event: Event, server: ServerName, key: SigningKey) -> Event:
    """The event with the signature of our server added, as for an invite we accept or a join we authorise.

    Raises: EventTooLarge.
    Spec: server-server-api#restricted-rooms, server-server-api#inviting-to-a-room
    """
    signature = key.sign(essential_part(event.version, event.pdu()))
    return add_signature(event, server, key.key_id, encode_base64(signature))


def add_signature(event: Event, server: ServerName, key_id: str, signature: str) -> Event:
    """The event with one more signature, such as a policy server sent us; whether it is good is not checked here.

    Raises: EventTooLarge.
    Spec: server-server-api#asking-for-a-policy-server-signature-on-an-event
    """
    signatures = _merge_signature(event.signatures, server, key_id, signature)
    pdu = {**event.pdu(), "signatures": signatures}
    raw = canonical.encode(pdu, strict=event.version.strict_canonical_json)
    check_event_size(raw)
    return msgspec.structs.replace(event, signatures=signatures, raw=raw)


def _signed_bytes(value: Mapping[str, Any]) -> bytes:
    signed = {member: part for member, part in value.items() if member not in ("signatures", "unsigned")}
    return canonical.encode(signed)


def _merge_signature(signatures: object, name: str, key_id: str, signature: str) -> dict[str, Any]:
    before = signatures if isinstance(signatures, dict) else {}
    return {**before, name: {**_signatures_of(before, name), key_id: signature}}


def _signatures_of(signatures: object, name: str) -> Mapping[str, object]:
    """What `name` has signed with, in an object nobody has looked at yet."""
    by_name = signatures.get(name) if isinstance(signatures, dict) else None
    return by_name if isinstance(by_name, dict) else {}


def _check_signatures(
    message: bytes, signatures: Mapping[str, object], find_key: Callable[[str], VerifyKey | None]
) -> None:
    """The steps of the spec: entries we understand, keys we know, and then each of those signatures must be good."""
    checked = 0
    for key_id, encoded in signatures.items():
        key = find_key(key_id) if is_ed25519_key_id(key_id) else None
        if key is None:
            continue
        signature = find_base64(encoded)
        if signature is None or not key.has_signed(message, signature):
            raise BadSignature(f"the signature with {key_id} is wrong")
        checked += 1
        if checked > MAX_SIGNATURES:
            raise BadSignature("too many signatures")
    if not checked:
        raise BadSignature("no signature with a key we know")


def _is_third_party_invite(event: Event) -> bool:
    return event.membership == "invite" and event.is_state and isinstance(event.content.get("third_party_invite"), dict)


def _server_of_authoriser(user_id: Any) -> ServerName:
    try:
        return server_of(parse_user_id(user_id))
    except BadIdentifier as error:
        raise BadSignature(f"nobody could authorise this join: {error}") from None
