"""The keys of other servers: where they come from, how long they are believed, and who lies about them."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from federation.ed25519 import SigningKey
from federation.errors import BadSignature, PeerUnreachable, Refused
from federation.event import seal_event
from federation.ids import ServerName
from federation.keys import OldKey, ServerKeys, build_server_keys, parse_server_keys
from federation.pdu import Event
from federation.signatures import sign_json
from federation.transport.keyring import (
    AGAIN_MS,
    AT_ONCE,
    AT_ONCE_EACH,
    FEW,
    MOST_WAITING,
    SLICE,
    SOON_MS,
    VERIFYING,
    Archive,
    Keyring,
)
from federation.versions import ROOM_VERSIONS
from tests.kit.databases import reactor_in_use
from tests.kit.pdus import event_fields

US, NORTH, SOUTH, NOTARY = (ServerName(f"{name}.example") for name in ("us", "north", "south", "notary"))
KEY, OTHER, NOTARYS, OURS = (SigningKey(f"a_{n}", bytes([n]) * 32) for n in (1, 2, 3, 4))
NOW = 1_700_000_000_000
HOUR = 3_600_000
DIRECT = "/_matrix/key/v2/server"


def publish(server: ServerName, key: SigningKey, **changes: Any) -> dict[str, Any]:
    """What a server says of its keys."""
    fields = {"old_keys": {}, "valid_until_ms": NOW + HOUR, **changes}
    return build_server_keys(server, [key], **fields)


def read(answer: dict[str, Any], server: ServerName) -> ServerKeys:
    return parse_server_keys(answer, server=server, received_ms=NOW)


class Elsewhere:
    """The other servers: what they answer by name and path, and what they were asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[ServerName, str], Any] = {}
        self.asked: list[ServerName] = []
        self.slow: list[Deferred[None]] | None = None

    async def fetch(self, destination: ServerName, path: str, *, timeout_s: float, most_bytes: int) -> dict[str, Any]:
        self.asked.append(destination)
        if self.slow is not None:
            waiting: Deferred[None] = Deferred()
            self.slow.append(waiting)
            await waiting
        answer = self.answers.get((destination, path.partition("?")[0]))
        if answer is None:
            raise PeerUnreachable("away")
        found: dict[str, Any] = answer
        return found


class Kept:
    """Keys as a database would keep them."""

    def __init__(self) -> None:
        self.rows: dict[ServerName, tuple[bytes, int]] = {}

    async def find(self, server: ServerName) -> tuple[bytes, int] | None:
        return self.rows.get(server)

    async def set(self, keys: ServerKeys, received_ms: int) -> None:
        self.rows[keys.server_name] = keys.raw, received_ms


class KeyringCase(TestCase):
    """A keyring, the servers elsewhere, and a clock that the test moves."""

    def setUp(self) -> None:
        self.now = NOW
        self.elsewhere = Elsewhere()
        self.kept = Kept()
        self.listed: dict[ServerName, ServerKeys] = {}
        self.forbidden: set[ServerName] = set()
        self.keyring = self.build()

    def build(self, *notaries: ServerName) -> Keyring:
        return Keyring(
            Archive(
                ours=lambda: read(publish(US, OURS), US),
                peers=self.elsewhere,
                store=self.kept,
                notaries=notaries,
                find_listed=self.listed.get,
                check=self.check,
                now_ms=lambda: self.now,
                reactor=reactor_in_use(),
                threads=reactor_in_use().getThreadPool(),
            )
        )

    def check(self, server: ServerName) -> None:
        if server in self.forbidden:
            raise Refused("region", "not a member")

    def say(self, answer: dict[str, Any], source: ServerName = NORTH, path: str = DIRECT) -> None:
        self.elsewhere.answers[source, path] = answer

    async def refused(self, value: dict[str, Any], server: ServerName = NORTH) -> None:
        with pytest.raises(BadSignature):
            await self.keyring.verify(value, server)


class Keyrings(KeyringCase):
    """Keys and signed objects."""

    async def test_a_server_is_asked_once_for_its_keys_and_they_are_kept(self) -> None:
        self.say(publish(NORTH, KEY))
        signed = sign_json({"a": 1}, NORTH, KEY)
        await gatherResults([Deferred.fromCoroutine(self.keyring.verify(signed, NORTH)) for _ in range(5)])
        await self.build().verify(signed, NORTH)
        assert self.elsewhere.asked == [NORTH]

    async def test_our_own_are_known(self) -> None:
        await self.keyring.verify(sign_json({"a": 1}, US, OURS), US)
        await self.refused(sign_json({"a": 1}, US, KEY), US)
        assert self.elsewhere.asked == []

    async def test_what_is_not_signed_costs_no_request(self) -> None:
        for value in (
            {},
            {"signatures": {}},
            {"signatures": []},
            {"signatures": {NORTH: 1}},
            sign_json({}, SOUTH, KEY),
        ):
            await self.refused(value)
        assert self.elsewhere.asked == []

    async def test_a_wrong_signature_or_another_servers_is_refused(self) -> None:
        self.say(publish(NORTH, KEY))
        signed = sign_json({"a": 1}, NORTH, KEY)
        await self.keyring.verify(signed, NORTH)
        await self.refused({**signed, "a": 2})
        await self.refused(sign_json({"a": 1}, NORTH, OTHER))
        impostor = SigningKey("a_1", bytes([9]) * 32)
        await self.refused(sign_json({"a": 1}, NORTH, impostor))

    async def test_answers_that_are_not_that_servers_keys_are_none(self) -> None:
        good = publish(NORTH, KEY)
        signed = sign_json({"a": 1}, NORTH, KEY)
        for answer in (
            publish(SOUTH, KEY),
            {},
            {**good, "valid_until_ts": NOW + 2 * HOUR},
            {**good, "signatures": {}},
            {**good, "verify_keys": {KEY.key_id: {"key": OTHER.verify_key.encode()}}},
            {**good, "verify_keys": []},
            publish(NORTH, KEY, valid_until_ms=NOW - 1),
        ):
            self.say(answer)
            self.keyring = self.build()
            await self.refused(signed)
        assert set(self.kept.rows) == {NORTH}  # what has expired is good for old events

    async def test_a_server_is_not_asked_again_too_soon_but_then_it_is(self) -> None:
        self.say(publish(NORTH, KEY))
        newer = sign_json({"a": 1}, NORTH, OTHER)
        for _ in range(3):
            await self.refused(newer)
        assert self.elsewhere.asked == [NORTH]
        self.say(publish(NORTH, OTHER))
        self.now += AGAIN_MS
        await self.keyring.verify(newer, NORTH)
        assert self.elsewhere.asked == [NORTH, NORTH]

    async def test_who_has_begun_to_sign_with_another_key_is_believed_without_waiting(self) -> None:
        older, newer = sign_json({"a": 1}, NORTH, KEY), sign_json({"a": 1}, NORTH, OTHER)
        self.say(publish(NORTH, KEY))
        await self.keyring.verify(older, NORTH)
        self.say(publish(NORTH, OTHER))
        self.now += SOON_MS
        await self.keyring.verify(newer, NORTH)
        self.now += SOON_MS
        for _ in range(3):  # nothing new is said of the key that is gone, so it is asked for once
            await self.refused(older)
            self.now += SOON_MS
        assert self.elsewhere.asked == [NORTH] * 3

    async def test_keys_that_expire_are_asked_for_anew(self) -> None:
        self.say(publish(NORTH, KEY))
        signed = sign_json({"a": 1}, NORTH, KEY)
        await self.keyring.verify(signed, NORTH)
        self.now += HOUR + 1
        self.say(publish(NORTH, KEY, valid_until_ms=self.now + HOUR))
        await self.keyring.verify(signed, NORTH)
        assert len(self.elsewhere.asked) == 2
        self.elsewhere.answers.clear()
        self.now += HOUR + 1
        await self.refused(signed)

    async def test_old_keys_sign_nothing_new(self) -> None:
        self.say(publish(NORTH, KEY, old_keys={OTHER.key_id: OldKey(key=OTHER.verify_key, expired_ms=NOW - HOUR)}))
        await self.refused(sign_json({"a": 1}, NORTH, OTHER))
        assert await self.keyring.find_key(NORTH, OTHER.key_id) is None
        assert await self.keyring.find_key(NORTH, KEY.key_id) == KEY.verify_key

    async def test_the_lists_keys_are_the_only_ones_and_nobody_is_asked(self) -> None:
        self.listed[NORTH] = read(publish(NORTH, KEY), NORTH)
        self.say(publish(NORTH, OTHER))
        await self.keyring.verify(sign_json({"a": 1}, NORTH, KEY), NORTH)
        await self.refused(sign_json({"a": 1}, NORTH, OTHER))
        assert self.elsewhere.asked == []

    async def test_with_whom_we_have_nothing_to_do_we_do_not_ask_for_keys_even_if_they_are_known(self) -> None:
        self.say(publish(NORTH, KEY))
        signed = sign_json({"a": 1}, NORTH, KEY)
        await self.keyring.verify(signed, NORTH)
        self.forbidden.add(NORTH)
        with pytest.raises(Refused):
            await self.keyring.verify(signed, NORTH)
        with pytest.raises(Refused):
            await self.keyring.find_published(NORTH, lambda keys: True)
        assert self.elsewhere.asked == [NORTH]

    async def test_a_flood_of_names_is_asked_for_a_few_at_a_time_and_then_not_at_all(self) -> None:
        self.elsewhere.slow = []
        asking = [
            Deferred.fromCoroutine(self.keyring.find_key(ServerName(f"s{number}.example"), KEY.key_id))
            for number in range(AT_ONCE + MOST_WAITING + 50)
        ]
        assert len(self.elsewhere.asked) == AT_ONCE
        assert sum(each.called for each in asking) == 50
        slow, self.elsewhere.slow = self.elsewhere.slow, None
        for waiting in slow:
            waiting.callback(None)
        assert await gatherResults(asking) == [None] * len(asking)

    async def test_the_slow_servers_of_one_party_delay_no_others(self) -> None:
        self.elsewhere.slow = []
        flood = [
            Deferred.fromCoroutine(self.keyring.find_key(name, KEY.key_id))
            for number in range(MOST_WAITING + 50)
            for name in (ServerName(f"s{number}.evil.example"), ServerName(f"[2001:db8::{number:x}]"))
        ]
        assert len(self.elsewhere.asked) == 2 * AT_ONCE_EACH
        asked, self.elsewhere.slow = self.elsewhere.slow, None
        self.elsewhere.answers[NORTH, DIRECT] = publish(NORTH, KEY)
        assert await self.keyring.find_key(NORTH, KEY.key_id) == KEY.verify_key
        for waiting in asked:
            waiting.callback(None)
        assert await gatherResults(flood) == [None] * len(flood)


class Notaries(KeyringCase):
    """Servers that vouch for others."""

    def setUp(self) -> None:
        super().setUp()
        self.keyring = self.build(NOTARY)
        self.path = f"/_matrix/key/v2/query/{NORTH}"
        self.signed = sign_json({"a": 1}, NORTH, KEY)

    async def test_one_is_asked_when_the_server_does_not_answer(self) -> None:
        self.say(publish(NOTARY, NOTARYS), NOTARY)
        vouched = sign_json(publish(NORTH, KEY), NOTARY, NOTARYS)
        self.say({"server_keys": [vouched]}, NOTARY, self.path)
        await self.keyring.verify(self.signed, NORTH)
        assert self.elsewhere.asked == [NORTH, NOTARY, NOTARY]
        await self.build().verify(self.signed, NORTH)
        assert len(self.elsewhere.asked) == 3

    async def test_what_it_has_not_signed_or_is_not_the_servers_own_is_refused(self) -> None:
        self.say(publish(NOTARY, NOTARYS), NOTARY)

        def vouch(keys: dict[str, Any]) -> dict[str, Any]:
            return sign_json(keys, NOTARY, NOTARYS)

        for answer in (
            {"server_keys": [publish(NORTH, KEY)]},
            {"server_keys": [sign_json(publish(NORTH, KEY), NOTARY, OTHER)]},
            {"server_keys": [vouch(publish(SOUTH, KEY))]},
            {"server_keys": [vouch({**publish(NORTH, OTHER), "server_name": NORTH, "signatures": {}})]},
            {"server_keys": [vouch(publish(NORTH, OTHER))]},
            {"server_keys": [1, {}, []]},
            {"server_keys": {}},
            {},
        ):
            self.say(answer, NOTARY, self.path)
            self.kept.rows.pop(NORTH, None)
            self.keyring = self.build(NOTARY)
            await self.refused(self.signed)

    async def test_two_notaries_do_not_wait_for_each_other(self) -> None:
        self.keyring = self.build(NOTARY, SOUTH)
        for notary in (NOTARY, SOUTH):
            self.say({"server_keys": []}, notary, self.path)
        await self.refused(self.signed)


class Events(KeyringCase):
    """Signatures of events."""

    def build_event(self, number: int = 0, key: SigningKey = KEY, version: str = "12") -> Event:
        rules = ROOM_VERSIONS[version]
        fields = event_fields(rules, sender=f"@alice:{NORTH}", content={"n": number}, origin_server_ts=NOW)
        return seal_event(rules, fields, server=NORTH, key=key)

    async def test_few_or_many_events_are_checked_and_each_fault_is_named(self) -> None:
        self.say(publish(NORTH, KEY))
        wrong = [self.build_event(-1, SigningKey("a_1", bytes([7]) * 32)), self.build_event(-2, OTHER)]
        for good in (0, FEW - 2, FEW - 1, 3 * SLICE, VERIFYING * SLICE + 1):
            events = [self.build_event(number) for number in range(good)]
            faults = await self.keyring.check_events([wrong[0], *events, wrong[1]])
            assert set(faults) == {event.event_id for event in wrong}
            assert all(isinstance(fault, BadSignature) for fault in faults.values())
        assert self.elsewhere.asked == [NORTH]

    async def test_an_event_is_judged_by_the_key_of_its_time(self) -> None:
        event = self.build_event(1, OTHER)
        for expired_ms, good in ((NOW, True), (NOW - 1, False)):
            old = {OTHER.key_id: OldKey(key=OTHER.verify_key, expired_ms=expired_ms)}
            self.say(publish(NORTH, KEY, old_keys=old))
            self.kept.rows.clear()
            assert (await self.build().check_events([event]) == {}) == good

    async def test_only_newer_rooms_ask_whether_the_key_was_valid_then(self) -> None:
        self.say(publish(NORTH, KEY, valid_until_ms=NOW - 1))
        old, new = self.build_event(version="4"), self.build_event(version="5")
        assert set(await self.keyring.check_events([old, new])) == {new.event_id}

    async def test_of_who_cannot_be_asked_or_must_not_be_every_event_is_refused(self) -> None:
        event = self.build_event()
        assert set(await self.keyring.check_events([event])) == {event.event_id}
        self.say(publish(NORTH, KEY))
        self.forbidden.add(NORTH)
        assert set(await self.build().check_events([event])) == {event.event_id}
        self.forbidden.clear()
        assert await self.build().check_events([event]) == {}

    async def test_nothing_is_asked_for_nothing(self) -> None:
        assert await self.keyring.check_events([]) == {}
        assert self.elsewhere.asked == []
