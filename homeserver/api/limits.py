"""How often one person or address may ask: token buckets by class, in bounded memory.

A bucket is one number: the time at which it would be empty again. Nothing is swept: buckets live in two generations,
and when the younger is full, the older is forgotten with whoever has not asked since.

Spec: client-server-api#rate-limiting
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from homeserver.api.errors import RateLimited
from homeserver.storage.overrides import RateOverride

_GENERATION = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many requests at once, and then one more in every so many milliseconds."""

    burst: int
    every_ms: float


RATES: Final = {
    # By person; by address where nobody has signed in. A whole school may share one address.
    "login": Rate(burst=300, every_ms=100),
    "password": Rate(burst=10, every_ms=6_000),  # passwords tried for one account from one address
    "account": Rate(burst=200, every_ms=10_000),  # passwords tried for one account from anywhere
    "token": Rate(burst=10, every_ms=30_000),  # tokens that let a person in elsewhere
    "register": Rate(burst=60, every_ms=1_000),
    "message": Rate(burst=60, every_ms=100),
    "create": Rate(burst=20, every_ms=2_000),
    "join": Rate(burst=30, every_ms=1_000),
    "invite": Rate(burst=60, every_ms=500),
    "search": Rate(burst=30, every_ms=500),
    "upload": Rate(burst=60, every_ms=500),
    "download": Rate(burst=400, every_ms=20),
    "preview": Rate(burst=30, every_ms=1_000),
    "keys": Rate(burst=120, every_ms=100),
    "sync": Rate(burst=100, every_ms=100),
    "ephemeral": Rate(burst=60, every_ms=100),
    "transaction": Rate(burst=200, every_ms=20),  # what another server sends, by server
    "region": Rate(burst=400, every_ms=20),  # what another server asks, by server
    "other": Rate(burst=200, every_ms=50),
}
"""The classes a route may name."""
_GUESSING: Final = frozenset({"login", "password", "account", "register"})


def address_key(ip: str) -> str:
    """What of an address counts as one client: all of IPv4, the network (/64) of IPv6."""
    if ":" not in ip:
        return ip
    try:
        address = IPv6Address(ip.partition("%")[0])
    except ValueError:
        return ip
    return str(address.ipv4_mapped) if address.ipv4_mapped else f"{int(address) >> 64:x}"


class RateLimits:
    """All buckets of this process; with `enabled` false nothing is ever refused."""

    def __init__(self, *, enabled: bool, now_ms: Callable[[], int]) -> None:
        self._enabled = enabled
        self._now_ms = now_ms
        self._young: dict[tuple[str, str], float] = {}
        self._old: dict[tuple[str, str], float] = {}
        self._overrides: dict[str, Rate | None] = {}

    def override(self, key: str, rate: RateOverride | None) -> None:
        """Let another rate hold for that person, whatever they ask; None: that of everybody.

        How often passwords are tried is limited all the same.
        """
        if rate is None:
            self._overrides.pop(key, None)
        elif rate.per_second == 0:
            self._overrides[key] = None
        else:
            self._overrides[key] = Rate(burst=max(rate.burst, 1), every_ms=1000 / rate.per_second)

    def check(self, kind: str, key: str) -> None:
        """Take one request of that class out of the bucket of that person or address.

        Raises:
            RateLimited: the bucket is empty; nothing is taken then.
        """
        if not self._enabled:
            return
        rate: Rate | None = RATES[kind]
        if key in self._overrides and kind not in _GUESSING:
            rate = self._overrides[key]
        if rate is None:
            return
        now = self._now_ms()
        bucket = (kind, key)
        full_at = max(self._young.get(bucket) or self._old.get(bucket, 0.0), now)
        wait_ms = full_at - now - (rate.burst - 1) * rate.every_ms
        if wait_ms > 0:
            raise RateLimited(int(wait_ms) + 1)
        if len(self._young) >= _GENERATION:
            self._old, self._young = self._young, {}
        self._young[bucket] = full_at + rate.every_ms
