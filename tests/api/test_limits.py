"""How often one may ask."""

import pytest

from homeserver.api import limits
from homeserver.api.errors import RateLimited
from homeserver.api.limits import RATES, RateLimits, address_key


class Watch:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


def spend(rates: RateLimits, kind: str, key: str) -> int:
    """How many requests pass until one is refused."""
    for passed in range(10_000):
        try:
            rates.check(kind, key)
        except RateLimited:
            return passed
    return 10_000


def test_a_burst_passes_and_then_one_for_each_interval() -> None:
    watch = Watch()
    rates = RateLimits(enabled=True, now_ms=watch)
    assert spend(rates, "message", "@a:b") == RATES["message"].burst
    watch.now += 100
    assert spend(rates, "message", "@a:b") == 1
    watch.now += 1_000_000
    assert spend(rates, "message", "@a:b") == RATES["message"].burst


def test_the_refusal_says_when_to_come_back() -> None:
    watch = Watch()
    rates = RateLimits(enabled=True, now_ms=watch)
    spend(rates, "create", "@a:b")
    with pytest.raises(RateLimited) as caught:
        rates.check("create", "@a:b")
    after = caught.value.extra["retry_after_ms"]
    assert isinstance(after, int)
    assert caught.value.headers == {"Retry-After": "3"}
    watch.now += after - 2
    with pytest.raises(RateLimited):
        rates.check("create", "@a:b")
    watch.now += 2
    rates.check("create", "@a:b")


def test_people_and_classes_do_not_share_a_bucket() -> None:
    rates = RateLimits(enabled=True, now_ms=Watch())
    spend(rates, "message", "@a:b")
    rates.check("message", "@b:b")
    rates.check("join", "@a:b")


def test_switched_off_nothing_is_refused() -> None:
    assert spend(RateLimits(enabled=False, now_ms=Watch()), "create", "@a:b") == 10_000


def test_an_unknown_class_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        RateLimits(enabled=True, now_ms=Watch()).check("mesage", "@a:b")


def test_memory_is_bounded_and_who_goes_on_asking_stays_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_GENERATION", 50)
    rates = RateLimits(enabled=True, now_ms=Watch())
    spend(rates, "create", "@a:b")
    for number in range(49):
        rates.check("create", f"@{number}:b")
    rates.check("create", "@next:b")
    assert spend(rates, "create", "@a:b") == 0
    for number in range(500):
        rates.check("create", f"@{number}:c")
        assert len(rates._young) + len(rates._old) <= 100
    assert spend(rates, "create", "@a:b") > 0


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "20010db800000000"),
        ("2001:db8:0:0:ffff::2", "20010db800000000"),
        ("2001:db8:0:1::1", "20010db800000001"),
        ("fe80::1%eth0", "fe80000000000000"),
        ("::1", "0"),
        ("not:an:address", "not:an:address"),
        ("-", "-"),
    ],
)
def test_an_address_counts_as_the_network_one_client_has(ip: str, key: str) -> None:
    assert address_key(ip) == key
