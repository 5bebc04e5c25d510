"""The list of regions: who belongs to a closed federation, signed by its authority.

A list is a JSON object::

    {"authority": "schools.example", "version": 7, "valid_until_ts": 1767225600000,
     "authority_keys": {"ed25519:1": "base64"},
     "regions": {"north.example": {"name": "North", "valid_until_ts": 1767225600000, "status": "member",
                                   "keys": {"ed25519:a": {"key": "base64", "expired_ts": 1767000000000}},
                                   "hosts": ["matrix.host.example"]}},
     "signatures": {"schools.example": {"ed25519:1": "base64"}}}

`authority_keys` are those that may sign the next list. Of a region only `status` (``member`` or ``suspended``) must be
there. With `keys`, no other key of that server is believed; one with `expired_ts` is good for what was signed before.
`hosts` are where it may be delegated to and its files may lie, beside itself, names below it and other members. Members
unknown here are ignored, the signature covers them.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

import msgspec

from federation import canonical
from federation.ed25519 import SigningKey, VerifyKey, is_ed25519_key_id, parse_verify_key
from federation.errors import BadIdentifier, BadJSON, BadKey, BadRegionList, BadSignature, Refused
from federation.ids import ServerName, parse_server_name, split_server_name
from federation.keys import OldKey, ServerKeys
from federation.signatures import sign_json, verify_json

MOST_BYTES: Final = 8 << 20
"""How large a list may be."""
RULE: Final = "region"
"""The rule that a `Refused` of here names."""

Time = Annotated[int, msgspec.Meta(ge=0, le=canonical.MAX_INTEGER)]


class _Key(msgspec.Struct, frozen=True):
    key: str
    expired_ts: Time | None = None


class _Entry(msgspec.Struct, frozen=True):
    status: Literal["member", "suspended"]
    name: str = ""
    valid_until_ts: Time = canonical.MAX_INTEGER
    keys: dict[str, _Key] = {}
    hosts: tuple[str, ...] = ()


class _Signed(msgspec.Struct, frozen=True):
    authority: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    version: Time
    valid_until_ts: Time
    authority_keys: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    regions: dict[str, _Entry]


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the federation. `keys` is None where its server may publish any."""

    server: ServerName
    name: str
    is_suspended: bool
    valid_until_ms: int
    keys: ServerKeys | None
    hosts: frozenset[str]


class RegionList(msgspec.Struct, frozen=True, kw_only=True):
    """A list that was signed by the authority; `authority_keys` may sign the next one.

    `raw` is the list as it came, `content` what of it is signed.
    """

    authority: str
    version: int
    valid_until_ms: int
    authority_keys: Mapping[str, VerifyKey]
    regions: Mapping[ServerName, Region]
    raw: bytes
    content: bytes

    def check(self, server: ServerName, now_ms: int) -> Region:
        """The region of that server, if it may be talked with.

        Raises: Refused when the list has expired, or the server is not on it, no longer, or suspended.
        """
        if now_ms >= self.valid_until_ms:
            raise Refused(RULE, "the list of regions has expired")
        region = self.regions.get(server)
        if region is None or region.is_suspended or now_ms >= region.valid_until_ms:
            raise Refused(RULE, "that server is not a member of this federation")
        return region

    def check_delegation(self, server: ServerName, delegated: ServerName, now_ms: int) -> None:
        """Check that a member may say that it is where the server of that name is.

        Raises: Refused.
        """
        region = self.check(server, now_ms)
        own, host = split_server_name(server)[0], split_server_name(delegated)[0].lower()
        if host == own.lower() or host.endswith("." + own.lower()) or host in region.hosts:
            return
        self.check(delegated, now_ms)


def parse_region_list(raw: bytes, trusted: Mapping[str, VerifyKey] | None) -> RegionList:
    """Read a list and check that it is signed with one of the trusted keys; None for one that was checked before.

    Raises: BadRegionList.
    """
    if len(raw) > MOST_BYTES:
        raise BadRegionList("too large")
    try:
        value = canonical.decode(raw)
        signed = msgspec.convert(value, _Signed)
        if trusted is not None and isinstance(value, dict):
            verify_json(value, signed.authority, trusted)
        return _build_list(signed, raw, value)
    except (BadJSON, BadIdentifier, BadKey, msgspec.ValidationError) as error:
        raise BadRegionList(f"malformed: {error}") from None
    except BadSignature as error:
        raise BadRegionList(f"not signed by the authority: {error}") from None


def parse_authority_keys(keys: Mapping[str, str]) -> dict[str, VerifyKey]:
    """The authority's public keys by key ID.

    Raises: BadKey.
    """
    for key_id in keys:
        if not is_ed25519_key_id(key_id):
            raise BadKey(f"{key_id} is no ed25519 key ID")
    return {key_id: parse_verify_key(key) for key_id, key in keys.items()}


def sign_region_list(draft: bytes, key: SigningKey) -> bytes:
    """The list with the signature of an authority's key added; where it names no keys for the next list, this one.

    Raises: BadRegionList for what would not be accepted.
    """
    try:
        value = canonical.decode(draft)
        if not isinstance(value, dict):
            raise BadRegionList("malformed: not an object")
        value.setdefault("authority_keys", {key.key_id: key.verify_key.encode()})
        signed = sign_json(_with_good_signatures(value), str(value.get("authority")), key)
    except BadJSON as error:
        raise BadRegionList(f"malformed: {error}") from None
    raw = canonical.encode(signed)
    parse_region_list(raw, {key.key_id: key.verify_key})
    return raw


def check_succession(known: RegionList | None, new: RegionList, now_ms: int) -> bool:
    """Whether the new list takes the place of the known one; not if it is the same.

    Raises: BadRegionList when it is older, another one of the same version, or has expired.
    """
    if known is not None and known.version == new.version:
        if known.content != new.content:
            raise BadRegionList(f"there are two lists of version {new.version}")
        return False
    if known is not None and new.version < known.version:
        raise BadRegionList(f"version {new.version} is older than version {known.version}, which is known")
    if now_ms >= new.valid_until_ms:
        raise BadRegionList("expired")
    return True


def _with_good_signatures(value: dict[str, Any]) -> dict[str, Any]:
    """The list with those signatures that are of just this list, so that two keys may sign one after the other."""
    bare = {name: part for name, part in value.items() if name != "signatures"}
    name, signatures, keys = str(value.get("authority")), value.get("signatures"), value["authority_keys"]
    by_name = signatures.get(name) if isinstance(signatures, dict) else None
    good = {}
    for key_id, signature in by_name.items() if isinstance(by_name, dict) and isinstance(keys, dict) else ():
        one = {**bare, "signatures": {name: {key_id: signature}}}
        with suppress(BadSignature, BadKey):
            verify_json(one, name, {key_id: parse_verify_key(keys.get(key_id))})
            good[key_id] = signature
    return {**bare, "signatures": {name: good}} if good else bare


def _build_list(signed: _Signed, raw: bytes, value: Any) -> RegionList:
    regions = {}
    for name, entry in signed.regions.items():
        server = parse_server_name(name)
        until_ms = min(entry.valid_until_ts, signed.valid_until_ts)
        regions[server] = Region(
            server=server,
            name=entry.name,
            is_suspended=entry.status == "suspended",
            valid_until_ms=entry.valid_until_ts,
            keys=_build_keys(server, entry.keys, until_ms) if entry.keys else None,
            hosts=frozenset(host.lower() for host in entry.hosts),
        )
    return RegionList(
        authority=signed.authority,
        version=signed.version,
        valid_until_ms=signed.valid_until_ts,
        authority_keys=parse_authority_keys(signed.authority_keys),
        regions=regions,
        raw=raw,
        content=canonical.encode({name: part for name, part in value.items() if name != "signatures"}),
    )


def _build_keys(server: ServerName, keys: Mapping[str, _Key], until_ms: int) -> ServerKeys:
    """The keys as if the server had published them; nobody else is told of them, so `raw` is empty."""
    parsed = parse_authority_keys({key_id: key.key for key_id, key in keys.items()})
    return ServerKeys(
        server_name=server,
        verify_keys={key_id: parsed[key_id] for key_id, key in keys.items() if key.expired_ts is None},
        old_verify_keys={
            key_id: OldKey(key=parsed[key_id], expired_ms=key.expired_ts)
            for key_id, key in keys.items()
            if key.expired_ts is not None
        },
        valid_until_ms=until_ms,
        raw=b"",
    )
