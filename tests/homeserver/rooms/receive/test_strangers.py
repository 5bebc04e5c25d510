"""Refused events of servers that are not in the room: nothing is kept of them, unless the room goes on from them."""

from federation.event import Event
from federation.ids import EventID, UserID
from homeserver.storage.events import Standing
from homeserver.storage.received import find_known
from tests.kit.databases import on_both_databases
from tests.kit.receiving import ReceivingCase
from tests.kit.rooms import BOB, CAROL

STRANGER = UserID("@stranger:four.example")


@on_both_databases
class Strangers(ReceivingCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.adopt()

    def build(self, sender: UserID = STRANGER, **more: object) -> Event:
        """A message of somebody who is not in the room."""
        event = self.factory.build("m.room.message", {"body": "x"}, sender=sender, **more)  # type: ignore[arg-type]
        self.factory.events[event.event_id] = event
        self.factory._states[event.event_id] = self.factory.state()
        return event

    async def standing(self, event: Event) -> Standing | None:
        known = await self.db.read(find_known, [event.event_id])
        return known[event.event_id].standing if known else None

    async def count(self) -> int:
        """How many events are kept."""
        row = await self.db.read(lambda txn: txn.one("SELECT COUNT(*) FROM events"))
        assert row is not None
        return int(row[0])

    async def test_nothing_is_kept_of_what_a_stranger_says_however_it_hangs_together(self) -> None:
        before = await self.count()
        first = self.build()
        second = self.build(prev_events=(first.event_id,))
        third = self.build(prev_events=(first.event_id, second.event_id), auth_events=(first.event_id,))
        refused = await self.receive(first, second, third)
        assert refused.keys() == {event.event_id for event in (first, second, third)}
        assert (await self.receive(third, first)).keys() == {third.event_id, first.event_id}
        assert await self.count() == before
        await self.assert_as_stored()

    async def test_what_somebody_of_the_room_says_is_remembered_as_refused(self) -> None:
        topic = self.factory.build("m.room.topic", {"topic": "mine"}, sender=BOB, state_key="")
        assert (await self.receive(topic, self.build())).keys() >= {topic.event_id}
        assert await self.standing(topic) is Standing.REJECTED

    async def test_what_somebody_of_the_room_goes_on_from_is_remembered_with_all_before_it(self) -> None:
        head = self.factory.head
        assert head is not None
        first = self.build()
        second = self.build(prev_events=(first.event_id,))
        beside = self.build(prev_events=(first.event_id,))
        message = self.factory.build("m.room.message", {}, sender=CAROL, prev_events=(second.event_id, head.event_id))
        refused = await self.receive(message, beside, second, first)
        assert refused.keys() == {event.event_id for event in (first, second, beside)}
        assert [await self.standing(each) for each in (first, second, beside, message)] == [
            Standing.REJECTED, Standing.REJECTED, None, Standing.ACCEPTED
        ]  # fmt: skip
        await self.assert_as_stored()

    async def test_a_stranger_comes_in_and_speaks_as_before(self) -> None:
        first = self.build()
        join = self.factory.join(STRANGER)
        message = self.factory.message(STRANGER)
        assert (await self.receive(first, join, message)).keys() == {first.event_id}
        assert [await self.standing(each) for each in (first, join, message)] == [None, *[Standing.ACCEPTED] * 2]

    async def test_what_was_refused_is_taken_once_the_room_goes_on_from_it(self) -> None:
        first = self.build()
        await self.receive(first)
        assert await self.standing(first) is None
        unknown = (EventID(first.event_id),)
        message = self.factory.build("m.room.message", {}, sender=CAROL, prev_events=unknown)
        self.factory.append(message, [first])
        assert await self.receive(message) == {}
        assert await self.standing(first) is Standing.REJECTED

    def fakes(self, many: int) -> list[Event]:
        """Joins of people who never came, each as it should be by what it says that it rests on."""
        people = [UserID(f"@nobody{number}:four.example") for number in range(many)]
        fakes = [self.factory.build_member(person, person, "join") for person in people]
        self.factory.events.update({event.event_id: event for event in fakes})
        return fakes

    async def test_nothing_is_kept_of_what_a_refused_event_is_said_to_rest_on(self) -> None:
        fakes, before = self.fakes(20), await self.count()
        event = self.build()
        event = self.build(auth_events=(*event.auth_events, fakes[-1].event_id))
        more = [fake.pdu() for fake in fakes]
        self.peer.lies["event_auth"] = lambda true: {"auth_chain": [*true["auth_chain"], *more]}
        assert (await self.receive(event)).keys() == {event.event_id}
        assert self.peer.asked["event_auth"] > 0
        assert await self.count() == before
        await self.assert_as_stored()

    async def test_nothing_is_kept_of_the_state_that_is_said_to_be_before_a_refused_event(self) -> None:
        fakes, before = self.fakes(60), await self.count()
        event = self.build(prev_events=(EventID("$" + "x" * 43),))
        more = [fake.pdu() for fake in fakes]
        true = self.peer.chain(list(self.factory.state().values()))
        state = [each.pdu() for each in self.factory.state().values()]
        told = {"pdus": [*state, *more], "auth_chain": [each.pdu() for each in true]}
        ids = {"pdu_ids": [each.event_id for each in fakes], "auth_chain_ids": []}
        for name, lie in (("get_missing_events", {"events": []}), ("state_ids", ids), ("state", told)):
            self.peer.lies[name] = lambda true, lie=lie: lie
            self.patch(self.peer, f"_{name}", lambda *_: {})
        assert (await self.receive(event)).keys() == {event.event_id}
        assert self.peer.asked["state"] > 0
        assert await self.count() == before
        row = await self.db.read(lambda txn: txn.one("SELECT COUNT(*) FROM state_groups"))
        assert await self.receive(event)
        assert await self.db.read(lambda txn: txn.one("SELECT COUNT(*) FROM state_groups")) == row
        await self.assert_as_stored()

    async def test_a_stranger_who_came_in_unseen_is_heard(self) -> None:
        join = self.factory.join(STRANGER)
        message = self.factory.message(STRANGER)
        assert await self.receive(message) == {}
        assert [await self.standing(each) for each in (join, message)] == [Standing.ACCEPTED] * 2
        await self.assert_as_stored()
