"""Policy servers that hang, fail or dawdle: they hold up nothing but what they are asked about."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from federation.ed25519 import SigningKey
from federation.errors import BadAnswer, PeerRefused, PeerUnreachable, RemoteFault
from federation.event import Event
from federation.ids import EventID, ServerName
from federation.signatures import POLICY_KEY_ID, sign_event
from homeserver.rooms.receive.advisers import AT_ONCE, FIRST_MS, LONGEST_MS, SLOW_MS, TOGETHER_MS, Advisers
from homeserver.rooms.receive.outside import Outside
from homeserver.rooms.recommending import PolicyServer
from tests.kit.databases import on_both_databases, reactor_in_use
from tests.kit.peer import Keys
from tests.kit.receiving import ReceivingCase, run
from tests.kit.rooms import ALICE, BOB, RoomFactory

KEY = SigningKey("policy_server", b"p" * 32)
GUARD = ServerName("three.example")


class Dawdling:
    """A policy server that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Event | Any, float, Deferred[Any]]] = []

    async def ask(
        self, destination: ServerName, method: str, path: str, *, body: Any, timeout_s: float
    ) -> dict[str, Any]:
        answer: Deferred[dict[str, Any]] = Deferred()
        self.asked.append((body, timeout_s, answer))
        return await answer

    def fail(self, fault: RemoteFault | None = None) -> None:
        """Let all that were asked come to nothing."""
        asked, self.asked = self.asked, []
        for _, _, answer in asked:
            answer.errback(fault or PeerUnreachable("no answer"))


class Asked(SynchronousTestCase):
    """A policy server, events, and a clock that the test moves."""

    def setUp(self) -> None:
        self.now = 1_000_000
        self.guard = Dawdling()
        self.advisers = Advisers(Outside(self.guard, Keys(), run), lambda: self.now)  # type: ignore[arg-type]  # asked only that
        self.used = PolicyServer(GUARD, KEY.verify_key)
        factory = RoomFactory(creator=ALICE)
        self.events = [factory.message(ALICE, str(number)) for number in range(3 * AT_ONCE)]

    def ask(self, number: int = 1) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.advisers.ask_about(self.used, self.events[:number]))

    def recommend(self) -> None:
        """Let all that were asked be signed."""
        by_body = {str(event.pdu()): event for event in self.events}
        asked, self.guard.asked = self.guard.asked, []
        for body, _, answer in asked:
            signed = sign_event(by_body[str(body)], GUARD, KEY)
            answer.callback({GUARD: {POLICY_KEY_ID: signed.signatures[GUARD][POLICY_KEY_ID]}})

    def verdicts(self, asking: "Deferred[Any]") -> list[bool]:
        found: dict[EventID, Any] = self.successResultOf(asking)
        return [found[event.event_id] is None for event in self.events if event.event_id in found]

    def test_events_are_asked_about_side_by_side_a_few_at_a_time(self) -> None:
        asking = self.ask(AT_ONCE + 5)
        assert len(self.guard.asked) == AT_ONCE
        self.recommend()
        assert len(self.guard.asked) == 5
        self.recommend()
        assert self.verdicts(asking) == [True] * (AT_ONCE + 5)

    def test_all_of_them_together_have_one_limit_of_time(self) -> None:
        asking = self.ask(3 * AT_ONCE)
        assert {timeout_s for _, timeout_s, _ in self.guard.asked} == {TOGETHER_MS / 1000}
        self.now += TOGETHER_MS - 1_000
        self.recommend()
        assert {timeout_s for _, timeout_s, _ in self.guard.asked} == {1.0}
        self.now += 1_000
        self.recommend()
        assert self.guard.asked == []
        assert self.verdicts(asking) == [True] * 2 * AT_ONCE + [False] * AT_ONCE

    def test_one_that_did_not_answer_is_left_alone_ever_longer_and_asked_again(self) -> None:
        length_ms = FIRST_MS
        for _ in range(12):
            asking = self.ask(AT_ONCE + 5)
            assert len(self.guard.asked) == AT_ONCE
            self.now += SLOW_MS
            self.guard.fail()
            assert self.guard.asked == []
            assert self.verdicts(asking) == [False] * (AT_ONCE + 5)
            self.now += length_ms - 1
            assert self.verdicts(self.ask()) == [False]
            assert self.guard.asked == []
            self.now += 1
            length_ms = min(2 * length_ms, LONGEST_MS)
        asking = self.ask()
        self.recommend()
        assert self.verdicts(asking) == [True]
        self.ask()
        self.now += SLOW_MS
        self.guard.fail()
        self.now += FIRST_MS
        self.ask()
        assert len(self.guard.asked) == 1

    def test_one_that_answers_or_is_known_at_once_not_to_be_there_is_asked_again(self) -> None:
        for fault, took_ms, is_asked in (
            (PeerRefused(400, "M_FORBIDDEN", "no", {}), 0, True),
            (PeerRefused(502, "M_UNKNOWN", "", {}), 0, True),
            (PeerUnreachable("refused"), SLOW_MS - 1, True),
            (BadAnswer("nonsense"), SLOW_MS, True),
            (PeerRefused(504, "M_UNKNOWN", "", {}), SLOW_MS, False),
        ):
            asking = self.ask()
            self.now += took_ms
            self.guard.fail(fault)
            assert self.verdicts(asking) == [False]
            asking = self.ask()
            assert len(self.guard.asked) == is_asked, fault
            self.guard.fail()
            assert self.verdicts(asking) == [False]


@on_both_databases
class Hanging(ReceivingCase):
    """A room whose policy server does not answer."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()
        content = {"via": GUARD, "public_keys": {"ed25519": KEY.verify_key.encode()}}
        await self.receive(self.factory.send("m.room.policy", content, sender=ALICE, state_key=""))
        self.guard, others = Dawdling(), self.peer.ask

        async def ask(destination: ServerName, method: str, path: str, **more: Any) -> dict[str, Any]:
            if path.endswith("/sign"):
                return await self.guard.ask(destination, method, path, **more)
            return await others(destination, method, path, **more)

        self.patch(self.peer, "ask", ask)

    async def test_what_is_signed_is_taken_while_it_hangs_and_the_rest_is_soft_failed_in_the_end(self) -> None:
        before = self.factory.head
        signed = sign_event(self.factory.message(ALICE, "signed", after=before), GUARD, KEY)
        unsigned = [self.factory.message(BOB, str(number), after=before) for number in range(AT_ONCE)]
        waiting = Deferred.fromCoroutine(self.receive(*unsigned))
        for _ in range(1000):
            if len(self.guard.asked) == len(unsigned):
                break
            await deferLater(reactor_in_use(), 0.001)
        assert await self.receive(signed) == {}
        assert not waiting.called
        self.guard.fail()
        assert (await waiting).keys() == {event.event_id for event in unsigned}
        for event in unsigned:
            room = await self.room()
            assert event.event_id not in {held.event_id for held in room.recent}
