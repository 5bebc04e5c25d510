"""Server discovery as values: names, delegations, SRV records, and how long to believe them."""

import json
from collections import Counter
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.discovery import (
    DEFAULT_MS,
    LONGEST_FAILURE_MS,
    LONGEST_MS,
    SHORTEST_MS,
    Place,
    Record,
    build_places,
    failure_kept_for_ms,
    find_places,
    kept_for_ms,
    order_records,
    parse_delegation,
)
from federation.errors import BadAnswer
from federation.ids import ServerName

NOW = 1_700_000_000_000
records = st.builds(
    Record,
    priority=st.integers(0, 3),
    weight=st.integers(0, 100),
    target=st.sampled_from(["a.example", "b.example", "c.example"]),
    port=st.integers(1, 65535),
)


@pytest.mark.parametrize(
    ("server", "place", "certified"),
    [
        ("192.0.2.1", Place("192.0.2.1", 8448), "192.0.2.1"),
        ("192.0.2.1:443", Place("192.0.2.1", 443), "192.0.2.1"),
        ("[2001:db8::1]", Place("2001:db8::1", 8448), "2001:db8::1"),
        ("[2001:db8::1]:443", Place("2001:db8::1", 443), "2001:db8::1"),
        ("north.example:443", Place("north.example", 443), "north.example"),
    ],
)
def test_addresses_and_ports_say_where_a_server_is(server: str, place: Place, certified: str) -> None:
    found = find_places(ServerName(server))
    assert found is not None
    assert (found.places, found.certified, found.host_header) == ((place,), certified, server)


def test_a_bare_name_says_nothing() -> None:
    assert find_places(ServerName("north.example")) is None


def test_srv_records_say_where_but_the_certificate_must_be_that_of_the_name() -> None:
    found = build_places("north.example", [Record(1, 0, "host.example", 8000), Record(2, 0, "other.example", 8001)])
    assert found.places == (Place("host.example", 8000), Place("other.example", 8001))
    assert (found.certified, found.host_header) == ("north.example", "north.example")
    assert build_places("north.example", []).places == (Place("north.example", 8448),)


def test_a_delegation_is_a_server_name() -> None:
    assert parse_delegation(b'{"m.server": "host.example:443", "more": 1}') == "host.example:443"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"m.server": null}',
        b'{"m.server": 8448}',
        b'{"m.server": ""}',
        b'{"m.server": "host.example/path"}',
        b'{"m.server": "user@host.example"}',
        b'{"m.server": "host.example:port"}',
        b'{"m.server": "a.example", "m.server": "b.example"}',
        b'{"m.server": "[::1"}',
        b"\xff",
    ],
)
def test_what_is_no_delegation_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse_delegation(body)


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner)).map(
    lambda value: json.dumps({"m.server": value}).encode()
))  # fmt: skip
def test_any_body_is_a_delegation_or_refused(body: bytes) -> None:
    try:
        name = parse_delegation(body)
    except BadAnswer:
        return
    assert isinstance(name, str)


@given(st.lists(records, max_size=16), st.floats(0, 1))
def test_records_come_by_priority_and_none_is_lost(found: list[Record], chance: float) -> None:
    ordered = order_records(found, lambda: chance)
    assert Counter(ordered) == Counter(found)
    assert [record.priority for record in ordered] == sorted(record.priority for record in found)


def test_of_records_alike_the_heavy_come_first_more_often() -> None:
    light, heavy = Record(1, 1, "light.example", 1), Record(1, 9, "heavy.example", 1)
    first = Counter(order_records([heavy, light], lambda n=n: n / 1000)[0].target for n in range(1000))
    assert 80 <= first["light.example"] <= 120


def test_too_many_records_are_cut_and_a_service_that_is_not_there_is_left_out() -> None:
    many = [Record(n, 0, "a.example", n) for n in range(100)]
    assert len(order_records(many, lambda: 0.5)) == 16
    assert order_records([Record(0, 0, "", 0)], lambda: 0.5) == []


@pytest.mark.parametrize(
    ("headers", "ms"),
    [
        ({}, DEFAULT_MS),
        ({"cache-control": "max-age=3600"}, 3_600_000),
        ({"cache-control": "public, Max-Age = 3600"}, 3_600_000),
        ({"cache-control": "max-age=99999999"}, LONGEST_MS),
        ({"cache-control": "max-age=0"}, SHORTEST_MS),
        ({"cache-control": "no-store"}, SHORTEST_MS),
        ({"cache-control": "no-cache, max-age=3600"}, SHORTEST_MS),
        ({"expires": formatdate(NOW / 1000 + 7200, usegmt=True)}, 7_200_000),
        ({"expires": formatdate(NOW / 1000 - 7200, usegmt=True)}, SHORTEST_MS),
        ({"expires": "0"}, SHORTEST_MS),
        ({"cache-control": "max-age=3600", "expires": "0"}, 3_600_000),
        ({"cache-control": "private"}, DEFAULT_MS),
    ],
)
def test_an_answer_is_believed_as_long_as_it_says_within_bounds(headers: dict[str, str], ms: int) -> None:
    assert kept_for_ms(headers, NOW) == ms


@given(st.dictionaries(st.sampled_from(["cache-control", "expires"]), st.text()))
def test_whatever_the_headers_say_the_bounds_hold(headers: dict[str, str]) -> None:
    assert SHORTEST_MS <= kept_for_ms(headers, NOW) <= LONGEST_MS


def test_failures_are_believed_longer_each_time_up_to_an_hour() -> None:
    kept = [failure_kept_for_ms(failures) for failures in range(1, 100)]
    assert kept[0] == SHORTEST_MS
    assert kept == sorted(kept)
    assert kept[-1] == LONGEST_FAILURE_MS
