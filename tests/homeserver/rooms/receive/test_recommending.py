"""Policy servers: asking the room's before anything of ours is sent, and being one for a room."""

from dataclasses import replace
from typing import Any

import pytest

from federation.ed25519 import SigningKey
from federation.errors import BadEvent, PeerRefused, Refused
from federation.event import Event
from federation.ids import ServerName, server_of
from federation.signatures import POLICY_KEY_ID, check_policy_signature, sign_event
from homeserver.policy import NotFound, SendEvent
from homeserver.rooms.receive.recommender import Recommender
from homeserver.rooms.recommending import NotRecommended, build_policy_content, is_protected
from homeserver.rooms.rooms import Rooms
from homeserver.rooms.seal import Draft
from tests.kit.databases import on_both_databases
from tests.kit.receiving import SERVER, US, ReceivingCase
from tests.kit.rooms import ALICE, BOB

KEY = SigningKey("policy_server", b"p" * 32)
OTHER_KEY = SigningKey("policy_server", b"q" * 32)
TWO = server_of(BOB)


def content_of(server: str, key: SigningKey) -> dict[str, Any]:
    """The content of an `m.room.policy` event."""
    return {"via": server, "public_keys": {"ed25519": key.verify_key.encode()}}


@on_both_databases
class Asking(ReceivingCase):
    """The policy server is at Bob's."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()
        self.asked: list[Event] = []
        self.set_policy(content_of(TWO, KEY))
        await self.receive(self.policy_event)
        self.signs: SigningKey | None = KEY
        self.rooms.ask_to_sign = self.ask

    def set_policy(self, content: dict[str, Any]) -> None:
        self.policy_event = self.factory.send("m.room.policy", content, sender=ALICE, state_key="")

    async def ask(self, server: ServerName, event: Event) -> dict[str, Any]:
        """What the policy server answers, with the key that it has."""
        self.asked.append(event)
        if self.signs is None:
            raise PeerRefused(400, "M_FORBIDDEN", "not this", {})
        return {server: {POLICY_KEY_ID: sign_event(event, server, self.signs).signatures[server][POLICY_KEY_ID]}}

    async def test_what_we_send_carries_its_signature_also_in_storage(self) -> None:
        said = await self.say()
        check_policy_signature(said, TWO, KEY.verify_key)
        assert set(said.signatures) == {SERVER, TWO}
        held = (await self.reloaded()).find_recent(said.event_id)
        assert held is not None
        check_policy_signature(held.event, TWO, KEY.verify_key)

    async def test_state_and_several_events_at_once_are_asked_for_each(self) -> None:
        room = await self.room()
        drafts = [Draft(type="m.room.message", sender=US, content={"body": str(n)}) for n in range(3)]
        ((*held,),) = await self.rooms.commit([(room, drafts)])
        assert [each.event_id for each in held] == [event.event_id for event in self.asked]
        for each in held:
            check_policy_signature(each.event, TWO, KEY.verify_key)

    async def test_what_it_refuses_is_not_sent_and_the_next_is(self) -> None:
        room = await self.room()
        before = (await self.shown(), room.head)
        self.signs = None
        with pytest.raises(NotRecommended) as refusal:
            await self.say("spam")
        assert refusal.value.answer is not None
        assert refusal.value.answer.errcode == "M_FORBIDDEN"
        assert (await self.shown(), room.head) == before
        self.signs = KEY
        assert (await self.say("not spam")).event_id in await self.shown()

    async def test_nobody_is_kept_in_the_room_by_it(self) -> None:
        self.signs = None
        left = await self.put("m.room.member", {"membership": "leave"}, US)
        assert (await self.room()).membership(US) == "leave"
        assert set(left.signatures) == {SERVER}

    async def test_a_signature_of_another_key_is_none(self) -> None:
        self.signs = OTHER_KEY
        with pytest.raises(NotRecommended) as refusal:
            await self.say()
        assert refusal.value.answer is None

    async def test_nobody_can_be_asked_without_federation(self) -> None:
        self.rooms.ask_to_sign = None
        with pytest.raises(NotRecommended):
            await self.say()

    async def test_the_room_may_go_on_while_it_is_asked(self) -> None:
        theirs = self.factory.build("m.room.message", {}, sender=BOB)
        theirs = self.factory.append(sign_event(theirs, TWO, KEY))

        async def ask(server: ServerName, event: Event) -> dict[str, Any]:
            if not self.asked:
                await self.receive(theirs)
            return await self.ask(server, event)

        self.rooms.ask_to_sign = ask
        said = await self.say()
        assert said.prev_events == (theirs.event_id,)
        assert len(self.asked) == 2
        assert await self.shown() == [*(await self.shown())[:-2], theirs.event_id, said.event_id]

    async def test_it_is_asked_no_more_when_the_room_names_none(self) -> None:
        self.signs = None
        emptied = self.factory.send("m.room.policy", {}, sender=ALICE, state_key="")
        assert await self.receive(emptied) == {}
        assert (await self.say("free")).event_id in await self.shown()
        assert self.asked == []


@on_both_databases
class Being(ReceivingCase):
    """The policy server is ours."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()
        self.own(KEY)
        policy = self.factory.send("m.room.policy", content_of(SERVER, KEY), sender=ALICE, state_key="")
        assert await self.receive(policy) == {}

    def own(self, key: SigningKey | None) -> None:
        """Let that be what we recommend with."""
        self.seal = type(self.seal)(
            **{name: getattr(self.seal, name) for name in ("server", "key", "now_ms", "token_bytes", "next_id")},
            policy_key=key,
        )
        self.rooms = Rooms(self.db, self.seal)
        self.world = replace(self.world, rooms=self.rooms)
        self.receiver = type(self.receiver)(self.world)
        self.recommender = Recommender(self.world)

    def message(self, **more: Any) -> Event:
        return self.factory.build("m.room.message", {"body": "hi"}, sender=BOB, **more)

    async def refused(self, event: Event, origin: ServerName = TWO) -> Exception:
        with pytest.raises((Refused, BadEvent, NotFound)) as refusal:
            await self.recommender.sign(origin, event.pdu())
        return refusal.value

    async def test_the_content_that_names_us_protects_the_room(self) -> None:
        assert build_policy_content(self.seal) == content_of(SERVER, KEY)
        assert is_protected(self.seal, (await self.room()).head)

    async def test_our_own_events_carry_our_recommendation(self) -> None:
        said = await self.say()
        check_policy_signature(said, SERVER, KEY.verify_key)
        assert len(said.signatures[SERVER]) == 2

    async def test_an_event_of_another_server_is_signed_and_only_our_signature_given(self) -> None:
        event = self.message()
        answer = await self.recommender.sign(TWO, event.pdu())
        assert set(answer[SERVER]) == {"ed25519:policy_server"}
        pdu = event.pdu()
        pdu["signatures"] |= answer
        assert await self.receive(self.factory.append(event)) == {}

    async def test_what_nobody_has_signed_for_or_is_not_whole_is_not_recommended(self) -> None:
        event = self.message()
        pdu = event.pdu()
        for spoiled in (
            {**pdu, "signatures": {}},
            {**pdu, "content": {"body": "other"}},
            {**pdu, "sender": str(ALICE)},
            {**pdu, "depth": "deep"},
        ):
            with pytest.raises((Refused, BadEvent)):
                await self.recommender.sign(TWO, spoiled)
        await self.recommender.sign(TWO, pdu)

    async def test_what_our_policy_forbids_is_not_recommended(self) -> None:
        self.policy.refuse(SendEvent)
        assert isinstance(await self.refused(self.message()), Refused)

    async def test_the_event_that_names_the_policy_server_is_nobodys_to_ask_for(self) -> None:
        event = self.factory.build("m.room.policy", {}, sender=ALICE, state_key="")
        assert isinstance(await self.refused(event, server_of(ALICE)), Refused)
        other = self.factory.build("m.room.policy", {}, sender=ALICE, state_key="x")
        assert SERVER in await self.recommender.sign(server_of(ALICE), other.pdu())

    async def test_servers_that_are_not_in_the_room_or_shut_out_are_refused(self) -> None:
        assert isinstance(await self.refused(self.message(), ServerName("far.example")), NotFound)
        acl = self.factory.send("m.room.server_acl", {"allow": ["*"], "deny": [TWO]}, sender=ALICE, state_key="")
        assert await self.receive(acl) == {}
        refusal = await self.refused(self.message())
        assert isinstance(refusal, Refused)
        assert refusal.rule == "acl"

    async def test_no_room_that_names_another_key_or_server_is_protected(self) -> None:
        self.own(OTHER_KEY)
        assert isinstance(await self.refused(self.message()), NotFound)
        with pytest.raises(NotRecommended):
            await self.say()
        self.own(None)
        assert isinstance(await self.refused(self.message()), NotFound)
