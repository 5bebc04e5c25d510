"""How often people may ask, where an operator has said so."""

from typing import NamedTuple

from federation.ids import UserID
from homeserver.storage.database import Txn


class RateOverride(NamedTuple):
    """So many requests a second and so many at once; with nothing a second the person is not limited."""

    per_second: int
    burst: int


def load_overrides(txn: Txn) -> dict[UserID, RateOverride]:
    """Everybody for whom something else holds than for the rest."""
    rows = txn.all("SELECT user_id, per_second, burst FROM rate_overrides")
    return {UserID(user_id): RateOverride(per_second, burst) for user_id, per_second, burst in rows}


def set_override(txn: Txn, user_id: UserID, override: RateOverride | None) -> None:
    """Say how often somebody may ask; None: as everybody."""
    if override is None:
        txn.run("DELETE FROM rate_overrides WHERE user_id = ?", (user_id,))
        return
    txn.run(
        "INSERT INTO rate_overrides (user_id, per_second, burst) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET per_second = excluded.per_second, burst = excluded.burst",
        (user_id, *override),
    )
