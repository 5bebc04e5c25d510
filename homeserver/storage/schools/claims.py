"""What this region has vouched for, and what other regions vouch for."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import astuple

from federation.ids import ServerName, UserID
from homeserver.storage.database import Txn

_GIVEN = "SELECT claim_id, user_id, cooperation_id, org_id, role, audience, valid_until_ms FROM claims_given"
_HELD = "SELECT user_id, cooperation_id, org_id, server, claim_id, role, valid_until_ms, raw FROM claims_held"


class GivenClaim(Struct, frozen=True):
    """A claim of ours: of whom, for which cooperation, to which region."""

    claim_id: str
    user_id: UserID
    cooperation_id: str
    org_id: str
    role: str
    audience: ServerName
    valid_until_ms: int


class HeldClaim(Struct, frozen=True):
    """A claim of another region's; `org_id` is our side of the cooperation, `raw` what was signed."""

    user_id: UserID
    cooperation_id: str
    org_id: str
    server: ServerName
    claim_id: str
    role: str
    valid_until_ms: int
    raw: bytes


def append_given(txn: Txn, claims: Iterable[GivenClaim]) -> None:
    """Remember claims that are about to be given, each in the place of the one before."""
    claims = list(claims)
    txn.many(
        "DELETE FROM claims_given WHERE user_id = ? AND cooperation_id = ? AND org_id = ?",
        [(claim.user_id, claim.cooperation_id, claim.org_id) for claim in claims],
    )
    sql = (
        "INSERT INTO claims_given (claim_id, user_id, cooperation_id, org_id, role, audience, valid_until_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    txn.many(sql, [astuple(claim) for claim in claims])


def load_given(txn: Txn, people: Iterable[UserID]) -> list[GivenClaim]:
    """Load what was vouched for these people and was not taken back."""
    return [GivenClaim(*row) for row in txn.all_in(f"{_GIVEN} WHERE user_id {{in}}", people)]


def load_given_page(txn: Txn, after: str, limit: int) -> list[GivenClaim]:
    """Load a page of all that was vouched for, in the order of the claims' ids."""
    return [
        GivenClaim(*row) for row in txn.all(f"{_GIVEN} WHERE claim_id > ? ORDER BY claim_id LIMIT ?", (after, limit))
    ]


def remove_given(txn: Txn, claim_ids: Iterable[str]) -> None:
    """Forget claims that were taken back."""
    txn.many("DELETE FROM claims_given WHERE claim_id = ?", [(claim_id,) for claim_id in claim_ids])


def remove_given_before(txn: Txn, now_ms: int) -> None:
    """Forget claims that have run out."""
    txn.run("DELETE FROM claims_given WHERE valid_until_ms <= ?", (now_ms,))


def load_held(txn: Txn, user_id: UserID) -> list[HeldClaim]:
    """Load what is vouched for somebody of another region, run out or not."""
    return [HeldClaim(*row) for row in txn.all(f"{_HELD} WHERE user_id = ?", (user_id,))]


def load_held_before(txn: Txn, until_ms: int, after: HeldClaim | None, limit: int) -> list[HeldClaim]:
    """Load the claims that run out before that time, a page from behind `after`, the first ones first."""
    last = (-1, "", "") if after is None else (after.valid_until_ms, after.user_id, after.cooperation_id)
    sql = (
        f"{_HELD} WHERE valid_until_ms < ? AND (valid_until_ms, user_id, cooperation_id) > (?, ?, ?)"
        " ORDER BY valid_until_ms, user_id, cooperation_id LIMIT ?"
    )
    return [HeldClaim(*row) for row in txn.all(sql, (until_ms, *last, limit))]


def load_held_from(txn: Txn, server: ServerName, limit: int) -> list[HeldClaim]:
    """Load claims of one region."""
    return [HeldClaim(*row) for row in txn.all(f"{_HELD} WHERE server = ? LIMIT ?", (server, limit))]


def load_vouching_servers(txn: Txn) -> list[ServerName]:
    """Load the regions that vouch for somebody."""
    return [row[0] for row in txn.all("SELECT DISTINCT server FROM claims_held ORDER BY server")]


def set_held(txn: Txn, claims: Iterable[HeldClaim]) -> None:
    """Keep claims, each in the place of the one before."""
    txn.many(
        "INSERT INTO claims_held (user_id, cooperation_id, org_id, server, claim_id, role, valid_until_ms, raw)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, cooperation_id, org_id) DO UPDATE SET"
        " server = excluded.server, claim_id = excluded.claim_id, role = excluded.role,"
        " valid_until_ms = excluded.valid_until_ms, raw = excluded.raw",
        [astuple(claim) for claim in claims],
    )


def remove_held(txn: Txn, claims: Iterable[HeldClaim]) -> None:
    """Forget these claims, but not those that have come in their place."""
    txn.many(
        "DELETE FROM claims_held WHERE user_id = ? AND cooperation_id = ? AND org_id = ? AND claim_id = ?",
        [(claim.user_id, claim.cooperation_id, claim.org_id, claim.claim_id) for claim in claims],
    )
