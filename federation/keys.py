"""The signing keys a server publishes: read, checked, built, and asked which of them was good when.

Fetching them is for `federation.transport`, keeping them for the storage; a stored `raw` is parsed again like a fresh
answer.

Spec: server-server-api#retrieving-server-keys
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from federation import canonical
from federation.ed25519 import SigningKey, VerifyKey, is_ed25519_key_id, parse_verify_key
from federation.errors import BadIdentifier, BadJSON, BadKey, BadServerKeys, BadSignature
from federation.ids import ServerName, parse_server_name
from federation.pdu import Event
from federation.signatures import KeyFinder, sign_json, verify_json
from federation.versions import RoomVersion

MAX_VALIDITY_MS: Final = 7 * 24 * 60 * 60 * 1000
"""No key is trusted longer than this without asking again. Spec: rooms/v5#signing-key-validity-period"""


class OldKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key its server no longer signs with, and when it stopped."""

    key: VerifyKey
    expired_ms: int


class ServerKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a server published about its keys, signed by itself.

    `valid_until_ms` is what the server said, but no more than seven days after the answer was received. `raw` is the
    answer as canonical JSON with all its signatures, for the storage and for those who ask us as a notary.
    """

    server_name: ServerName
    verify_keys: Mapping[str, VerifyKey]
    old_verify_keys: Mapping[str, OldKey]
    valid_until_ms: int
    raw: bytes


def parse_server_keys(answer: object, *, server: ServerName, received_ms: int) -> ServerKeys:
    """The keys of `server` out of a decoded answer about it, from itself or from a notary.

    Keys of algorithms we do not know are left out.

    Raises: BadServerKeys when it is malformed, about another server, or not signed with one of the keys it publishes.
    Spec: server-server-api#publishing-keys
    """
    if not isinstance(answer, dict) or answer.get("server_name") != server:
        raise BadServerKeys("not the keys of that server")
    verify_keys = {key_id: _parse_key(entry) for key_id, entry in _understood(answer, "verify_keys")}
    old_verify_keys = {key_id: _parse_old_key(entry) for key_id, entry in _understood(answer, "old_verify_keys")}
    valid_until_ms = _parse_time(answer.get("valid_until_ts"))
    try:
        verify_json(answer, server, verify_keys)
        raw = canonical.encode({name: value for name, value in answer.items() if name != "unsigned"})
    except (BadSignature, BadJSON) as error:
        raise BadServerKeys(f"not signed by itself: {error}") from None
    return ServerKeys(
        server_name=server,
        verify_keys=verify_keys,
        old_verify_keys=old_verify_keys,
        valid_until_ms=min(valid_until_ms, received_ms + MAX_VALIDITY_MS),
        raw=raw,
    )


def parse_notary_answer(
    answer: object, *, notary: ServerName, notary_keys: Mapping[str, VerifyKey], received_ms: int
) -> dict[ServerName, ServerKeys]:
    """The keys of other servers that a notary vouches for, by server; entries that are not good are left out.

    When it tells of a server more than once, what is valid longest counts.

    Raises: BadServerKeys when the answer as a whole is malformed.
    Spec: server-server-api#querying-keys-through-another-server
    """
    entries = answer.get("server_keys") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise BadServerKeys("not the answer of a notary")
    found: dict[ServerName, ServerKeys] = {}
    for entry in entries:
        try:
            keys = _parse_vouched(entry, notary, notary_keys, received_ms)
        except (BadServerKeys, BadSignature, BadIdentifier):
            continue
        if keys.server_name not in found or found[keys.server_name].valid_until_ms < keys.valid_until_ms:
            found[keys.server_name] = keys
    return found


def build_server_keys(
    server: ServerName, keys: Sequence[SigningKey], *, old_keys: Mapping[str, OldKey], valid_until_ms: int
) -> dict[str, Any]:
    """Our own answer: what we sign with, what we used to sign with, until when to believe it; signed with each key.

    Spec: server-server-api#get_matrixkeyv2server
    """
    answer: dict[str, Any] = {
        "server_name": server,
        "valid_until_ts": valid_until_ms,
        "verify_keys": {key.key_id: {"key": key.verify_key.encode()} for key in keys},
        "old_verify_keys": {
            key_id: {"key": old.key.encode(), "expired_ts": old.expired_ms} for key_id, old in old_keys.items()
        },
    }
    for key in keys:
        answer = sign_json(answer, server, key)
    return answer


def key_valid_at(keys: ServerKeys, key_id: str, ts_ms: int, version: RoomVersion) -> VerifyKey | None:
    """The key, if it may have signed an event made at `ts_ms` in a room of that version.

    Spec: rooms/v5#signing-key-validity-period, server-server-api#validating-hashes-and-signatures-on-received-events
    """
    key = keys.verify_keys.get(key_id)
    if key is not None:
        return key if ts_ms <= keys.valid_until_ms or not version.enforce_key_validity else None
    old = keys.old_verify_keys.get(key_id)
    return old.key if old is not None and ts_ms <= old.expired_ms else None


def key_valid_now(keys: ServerKeys, key_id: str, now_ms: int) -> VerifyKey | None:
    """The key, if its server may sign requests with it today; old keys may not.

    Spec: server-server-api#publishing-keys
    """
    return keys.verify_keys.get(key_id) if now_ms <= keys.valid_until_ms else None


def build_key_finder(event: Event, find_server_keys: Callable[[ServerName], ServerKeys | None]) -> KeyFinder:
    """What `signatures.check_event_signatures` asks for the keys that were good when the event was made."""

    def find_key(server: ServerName, key_id: str) -> VerifyKey | None:
        keys = find_server_keys(server)
        return None if keys is None else key_valid_at(keys, key_id, event.origin_server_ts, event.version)

    return find_key


def _parse_vouched(
    entry: object, notary: ServerName, notary_keys: Mapping[str, VerifyKey], received_ms: int
) -> ServerKeys:
    if not isinstance(entry, dict):
        raise BadServerKeys("not an object")
    verify_json(entry, notary, notary_keys)
    return parse_server_keys(entry, server=parse_server_name(entry.get("server_name", "")), received_ms=received_ms)


def _understood(answer: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    entries = answer.get(name, {})
    if not isinstance(entries, dict):
        raise BadServerKeys(f"{name} is not an object")
    return [(key_id, entry) for key_id, entry in entries.items() if is_ed25519_key_id(key_id)]


def _parse_key(entry: object) -> VerifyKey:
    try:
        return parse_verify_key(entry.get("key") if isinstance(entry, dict) else None)
    except BadKey as error:
        raise BadServerKeys(str(error)) from None


def _parse_old_key(entry: object) -> OldKey:
    key = _parse_key(entry)
    return OldKey(key=key, expired_ms=_parse_time(entry.get("expired_ts") if isinstance(entry, dict) else None))


def _parse_time(value: object) -> int:
    if type(value) is not int or not 0 <= value <= canonical.MAX_INTEGER:
        raise BadServerKeys("not a time in milliseconds")
    return value
