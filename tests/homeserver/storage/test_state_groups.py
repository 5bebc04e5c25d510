"""State groups: any past state is what it was."""

from collections.abc import Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from federation.event import Event
from federation.ids import StateKey, server_of
from homeserver.rooms.head import first_head
from homeserver.storage.database import Database, Txn
from homeserver.storage.events import RoomEvent, append_event
from homeserver.storage.rooms import RoomRecord, append_room
from homeserver.storage.state import (
    GroupRow,
    StateChange,
    append_group,
    append_state_change,
    find_in_groups,
    find_state,
    load_group,
    load_key_events,
    load_present,
    load_state,
    load_state_changes,
    set_fork,
)
from tests.kit.databases import on_both_databases
from tests.kit.rooms import ALICE, BOB, RoomFactory


class History:
    """A room's events with their groups, as the live room would make them."""

    def __init__(self) -> None:
        self.factory = RoomFactory()
        create = self.factory.create
        self.record = RoomRecord(nid=1, room_id=create.room_id, version=create.version, creator=ALICE)
        self.events: list[RoomEvent] = []
        self.groups: dict[int, GroupRow] = {}
        self.states: dict[int, Mapping[StateKey, int]] = {}
        self.head, group = first_head(self._hold(create, group=1))
        self._keep(group)
        for event in list(self.factory.events.values())[1:]:
            self.add(event)

    def _hold(self, event: Event, group: int) -> RoomEvent:
        held = RoomEvent(event, nid=len(self.events) + 100, room_nid=1, group=group, stream=len(self.events) + 1)
        self.events.append(held)
        return held

    def _keep(self, group: GroupRow) -> None:
        self.groups[group.nid] = group
        self.states[group.nid] = {key: held.nid for key, held in self.head.state.items()}

    def add(self, event: Event) -> RoomEvent:
        if event.state_key is None:
            held = self._hold(event, self.head.group)
            self.head = self.head.after_message(held)
            return held
        held = self._hold(event, len(self.groups) + 1)
        replaced = self.head.state.get(event.key)
        held.replaced = replaced.as_replaced() if replaced else None
        self.head, group = self.head.after_state(held)
        self._keep(group)
        return held

    def set(self, key: str, value: int) -> RoomEvent:
        return self.add(self.factory.send("org.note", {"value": value}, sender=ALICE, state_key=key))

    def write(self, txn: Txn) -> None:
        append_room(txn, self.record)
        for group in self.groups.values():
            append_group(txn, 1, group)
        for held in self.events:
            append_event(txn, held, held.stream)


@on_both_databases
class Groups(TestCase):
    db: Database

    async def _write(self, history: History) -> None:
        await self.db.write(history.write)

    async def _nids(self, history: History, group: int) -> dict[StateKey, int]:
        state = await self.db.read(load_state, history.record, group)
        return {key: held.nid for key, held in state.items()}

    async def test_every_past_state_is_what_it_was(self) -> None:
        history = History()
        for number in range(120):
            history.set(str(number % 37), number)
        await self._write(history)
        for group, state in history.states.items():
            self.assertEqual(await self._nids(history, group), state)
        wholes = [group for group in history.groups.values() if group.base is None]
        self.assertGreater(len(wholes), 2)
        self.assertLess(len(wholes), 15)

    async def test_one_key_is_found_in_many_groups_at_once(self) -> None:
        history = History()
        for number in range(60):
            history.set("a" if number % 3 else "b", number)
        await self._write(history)
        of_a, of_b = [await self.db.read(load_key_events, 1, ("org.note", key)) for key in ("a", "b")]
        found = await self.db.read(find_in_groups, list(history.states), of_a, of_b)
        for group, state in history.states.items():
            self.assertEqual(found[group], (state.get(("org.note", "a")), state.get(("org.note", "b"))))

    async def test_some_keys_of_a_state_are_read_alone(self) -> None:
        history = History()
        for number in range(60):
            history.set(str(number % 5), number)
        await self._write(history)
        for group, state in list(history.states.items())[::7]:
            found = await self.db.read(find_state, history.record, group, "org.note", ["1", "3", "absent"])
            expected = {state[key] for key in (("org.note", "1"), ("org.note", "3")) if key in state}
            self.assertEqual({held.nid for held in found}, expected)

    async def test_a_state_group_that_there_is_not_is_an_error(self) -> None:
        await self._write(History())
        await self.assertFailure(self.db.read(load_group, 999), LookupError)

    async def test_a_room_begins_again_with_its_last_event(self) -> None:
        history = History()
        history.set("a", 1)
        last = history.add(history.factory.message(ALICE))
        await self._write(history)
        present = await self.db.read(load_present, history.record, 100)
        self.assertEqual([held.nid for held in present.extremities], [last.nid])
        self.assertEqual([held.nid for held in present.recent], [held.nid for held in history.events])
        self.assertEqual(present.recent_floor, 0)
        self.assertEqual({key: held.nid for key, held in present.state.items()}, history.states[last.group])

    async def test_recent_events_are_complete_above_their_floor(self) -> None:
        history = History()
        for number in range(10):
            history.add(history.factory.message(ALICE, str(number)))
        await self._write(history)
        present = await self.db.read(load_present, history.record, 4)
        self.assertEqual([held.nid for held in present.recent], [held.nid for held in history.events[-4:]])
        self.assertEqual(present.recent_floor, history.events[-5].stream)

    async def test_a_fork_says_what_the_present_is_until_the_next_event(self) -> None:
        history = History()
        one = history.add(history.factory.message(ALICE, "one"))
        two = history.add(history.factory.message(ALICE, "two"))
        earlier = history.events[2].group
        await self._write(history)
        await self.db.write(set_fork, 1, two.stream, earlier, [one, two])
        present = await self.db.read(load_present, history.record, 100)
        self.assertEqual({held.nid for held in present.extremities}, {one.nid, two.nid})
        self.assertEqual({key: held.nid for key, held in present.state.items()}, history.states[earlier])
        merged = history.add(history.factory.message(ALICE, "three"))
        await self.db.write(append_event, merged, merged.stream)
        present = await self.db.read(load_present, history.record, 100)
        self.assertEqual([held.nid for held in present.extremities], [merged.nid])

    async def test_changes_of_the_state_are_read_between_two_positions(self) -> None:
        changes = [StateChange(position, ("t", str(position)), position * 10) for position in (3, 5, 8)]
        for change in (*changes, StateChange(9, ("t", "3"), None)):
            await self.db.write(append_state_change, 1, change)
        self.assertEqual(await self.db.read(load_state_changes, 1, 3, 8), changes[1:])
        self.assertEqual(await self.db.read(load_state_changes, 1, 8, 9), [StateChange(9, ("t", "3"), None)])
        self.assertEqual(await self.db.read(load_state_changes, 2, 0, 99), [])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 40), min_size=1, max_size=80))
def test_a_delta_over_its_base_is_the_state(keys: list[int]) -> None:
    history = History()
    for value, key in enumerate(keys):
        history.set(str(key), value)
    by_nid = {held.nid: held for held in history.events}
    for nid, group in history.groups.items():
        base = () if group.base is None else history.groups[group.base].event_nids
        assert group.base is None or history.groups[group.base].base is None
        folded = {by_nid[each].event.key: each for each in (*base, *group.event_nids)}
        assert folded == history.states[nid]


def test_members_and_servers_follow_the_state() -> None:
    history = History()
    history.add(history.factory.join(BOB))
    assert set(history.head.joined) == {ALICE, BOB}
    assert dict(history.head.servers) == {server_of(ALICE): 1, server_of(BOB): 1}
    history.add(history.factory.join(BOB, content={"displayname": "B"}))
    assert history.head.joined[BOB].event.content["displayname"] == "B"
    assert dict(history.head.servers) == {server_of(ALICE): 1, server_of(BOB): 1}
    history.add(history.factory.leave(BOB))
    assert set(history.head.joined) == {ALICE}
    assert dict(history.head.servers) == {server_of(ALICE): 1}
    assert history.head.state[("m.room.member", BOB)].event.membership == "leave"
