"""Rule 5.4.1: an invite that answers a third-party invite, proved by the signature of whoever vouched for the address.

Comments carry the numbers of the page of version 12.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, product
from typing import Any, Final

from federation import canonical
from federation.auth.case import Case
from federation.auth.levels import object_in
from federation.auth.selection import third_party_token
from federation.ed25519 import VerifyKey, is_ed25519_key_id, parse_verify_key
from federation.errors import BadJSON, BadKey
from federation.unpadded import find_base64

MAX_TRIALS: Final = 64
"""How many pairs of key and signature are tried. An honest invite has a signature or two and as many keys; two events
stuffed with them would cost minutes."""


def check_third_party_invite(case: Case, target: str) -> None:
    """Refuse an invite that does not answer a third-party invite of this room, or not for this user.

    Raises: Refused.
    Spec: rooms/v12#authorisation-rules, server-server-api#verifying-the-invite
    """
    event = case.event
    # 5.4.1.1 banned
    if case.membership_of(target) == "ban":
        raise case.refused("member.invite.third_party.banned", "the user is banned")
    # 5.4.1.2 nothing signed
    signed = object_in(object_in(event.content, "third_party_invite"), "signed")
    if not signed:
        raise case.refused("member.invite.third_party.signed", "nothing signed")
    # 5.4.1.3 without user or token
    token = third_party_token(event.content)
    if token is None or not isinstance(signed.get("mxid"), str):
        raise case.refused("member.invite.third_party.properties", "the signed part has no mxid or token")
    # 5.4.1.4 for somebody else
    if signed["mxid"] != target:
        raise case.refused("member.invite.third_party.mxid", "signed for another user")
    # 5.4.1.5 no such third-party invite
    invite = case.find(("m.room.third_party_invite", token))
    if invite is None:
        raise case.refused("member.invite.third_party.token", "no such third-party invite")
    # 5.4.1.6 by somebody else
    if invite.sender != event.sender:
        raise case.refused("member.invite.third_party.sender", "the third-party invite is another sender's")
    # 5.4.1.7, 5.4.1.8 a signature by one of its keys
    if not _is_signed(signed, _public_keys(invite.content)):
        raise case.refused("member.invite.third_party.otherwise", "no signature by a key of the third-party invite")


def _is_signed(signed: Mapping[str, Any], keys: Iterable[VerifyKey]) -> bool:
    try:
        message = canonical.encode({k: v for k, v in signed.items() if k not in ("signatures", "unsigned")})
    except BadJSON:
        return False
    trials = islice(product(keys, _signatures(signed)), MAX_TRIALS)
    return any(key.has_signed(message, signature) for key, signature in trials)


def _signatures(signed: Mapping[str, Any]) -> Iterator[bytes]:
    """All ed25519 signatures, whoever is said to have made them, in the order of their names."""
    servers = object_in(signed, "signatures")
    for server in sorted(servers):
        by_key = object_in(servers, server)
        for key_id in sorted(by_key):
            signature = find_base64(by_key[key_id]) if is_ed25519_key_id(key_id) else None
            if signature is not None:
                yield signature


def _public_keys(content: Mapping[str, Any]) -> Iterator[VerifyKey]:
    """The key in `public_key`, then those in `public_keys`, in either base64 alphabet; what is no key is left out."""
    listed = content.get("public_keys")
    entries = listed if isinstance(listed, list) else []
    for entry in (content, *entries):
        text = entry.get("public_key") if isinstance(entry, dict) else None
        try:
            yield parse_verify_key(text.translate(_TO_STANDARD) if isinstance(text, str) else None)
        except BadKey:
            continue


_TO_STANDARD: Final = str.maketrans("-_", "+/")
