"""Role claims: what a region says, signed and for a short time, of somebody of its people to one other region.

A claim is a JSON object::

    {"type": "org.parta.role_claim", "claim_id": "k2v9x4mq7rta", "cooperation": "c7h2m9qk4xwv",
     "person": "@w8k2...:south.example", "organisation": "q4x8...", "role": "teacher", "verified": true,
     "purpose": "professional", "audience": "north.example",
     "issued_ts": 1767225600000, "valid_until_ts": 1767232800000,
     "signatures": {"south.example": {"ed25519:a": "base64"}}}

It names no more than the room needs, is good at its audience only, and says nothing once it has run out. What is in it
beside these members makes it none. Whether a role admits anybody anywhere is not known here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from federation import canonical
from federation.ed25519 import SigningKey
from federation.errors import BadClaim, BadIdentifier, BadJSON
from federation.ids import ServerName, UserID, parse_server_name, parse_user_id, server_of
from federation.signatures import sign_json

TYPE: Final = "org.parta.role_claim"
"""What every claim says it is, so that nothing else that a server signs can be taken for one."""
LIFE_MS: Final = 2 * 60 * 60 * 1000
"""For how long a claim is good at most: so long somebody who was dismissed may stay where their region is cut off."""
SKEW_MS: Final = 5 * 60 * 1000
"""How far the clocks of two regions may differ."""
MOST_BYTES: Final = 4096
"""How large a claim may be."""

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=canonical.MAX_INTEGER)]


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["org.parta.role_claim"]
    claim_id: _Word
    cooperation: _Word
    person: _Name
    organisation: _Word
    role: _Word
    verified: bool
    purpose: _Word
    audience: _Name
    issued_ts: _Time
    valid_until_ts: _Time
    signatures: dict[str, dict[str, str]] = {}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody is verified in that role at an organisation, which its region says for one purpose to one region."""

    claim_id: str
    cooperation: str
    person: UserID
    organisation: str
    role: str
    purpose: str
    audience: ServerName
    issued_ms: int
    valid_until_ms: int


def sign_claim(claim: Claim, key: SigningKey) -> dict[str, Any]:
    """The claim as it is sent, signed by the person's server."""
    value = {
        "type": TYPE,
        "claim_id": claim.claim_id,
        "cooperation": claim.cooperation,
        "person": claim.person,
        "organisation": claim.organisation,
        "role": claim.role,
        "verified": True,
        "purpose": claim.purpose,
        "audience": claim.audience,
        "issued_ts": claim.issued_ms,
        "valid_until_ts": claim.valid_until_ms,
    }
    return sign_json(value, server_of(claim.person), key)


def parse_claim(value: Mapping[str, Any]) -> Claim:
    """Read a claim; that its region has signed it is for `Keyring.verify` to tell, of the same object.

    Raises: BadClaim.
    """
    try:
        if len(canonical.encode(value)) > MOST_BYTES:
            raise BadClaim("too large")
        signed = msgspec.convert(value, _Signed)
        claim = Claim(
            claim_id=signed.claim_id,
            cooperation=signed.cooperation,
            person=parse_user_id(signed.person),
            organisation=signed.organisation,
            role=signed.role,
            purpose=signed.purpose,
            audience=parse_server_name(signed.audience),
            issued_ms=signed.issued_ts,
            valid_until_ms=signed.valid_until_ts,
        )
    except (BadJSON, BadIdentifier, msgspec.ValidationError) as error:
        raise BadClaim(f"malformed: {error}") from None
    if signed.verified is not True:
        raise BadClaim("nobody has verified the person")
    return claim


def check_claim(claim: Claim, issuer: ServerName, audience: ServerName, now_ms: int) -> None:
    """Check that a claim of that region's is meant for this one, of its own people, and good now.

    Raises: BadClaim.
    """
    if server_of(claim.person) != issuer:
        raise BadClaim("it is of somebody of another region")
    if claim.audience != audience:
        raise BadClaim("it is meant for another region")
    if claim.issued_ms > now_ms + SKEW_MS:
        raise BadClaim("it is of the future")
    if claim.valid_until_ms - claim.issued_ms > LIFE_MS:
        raise BadClaim("it is good for too long")
    if claim.valid_until_ms <= now_ms:
        raise BadClaim("it has run out")
