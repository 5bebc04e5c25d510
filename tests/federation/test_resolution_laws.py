"""What holds for every history: order never matters, agreement stays, and the result is the one the spec's text gives.

Histories are drawn at random: people act, some acts are refused, branches open wherever an act does not follow the
last one. The states to resolve are those after a few events, and now and then what a server holds that has seen half.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.auth import PowerLevels, check_auth
from federation.errors import Refused
from federation.resolution import resolve
from tests.kit.rooms import ALICE, BOB, CAROL, DAVE, START_MS, RoomFactory

PEOPLE = (ALICE, BOB, CAROL, DAVE)
CREATE, POWER_LEVELS = ("m.room.create", ""), ("m.room.power_levels", "")
VERSIONS = ("1", "2", "6", "10", "11", "12")

PEOPLE_INDEX = st.integers(0, len(PEOPLE) - 1)
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "ban", "invite", "levels", "rules", "topic", "name"]),
        PEOPLE_INDEX,
        PEOPLE_INDEX,
        st.integers(0, 100),
        st.integers(0, 6),
    ),
    min_size=4,
    max_size=24,
)


def act(room, kind, sender, target, number, after):
    place = {"after": after, "origin_server_ts": START_MS + number // 10}
    if kind in ("join", "leave", "ban", "invite"):
        return room.member(sender, sender if kind == "join" else target, kind, **place)
    if kind == "levels":
        return room.set_levels(sender, users={target: number}, events={"m.room.topic": number % 60}, **place)
    if kind == "rules":
        return room.set_join_rule(("public", "invite", "knock")[number % 3], sender, **place)
    return room.send(f"m.room.{kind}", {"n": number}, sender=sender, state_key="", **place)


def history(version, acts):
    """A room and all its events after the first handful, some of which stand on others than the last."""
    room = RoomFactory(version)
    room.join(BOB, CAROL)
    room.set_levels(users={BOB: 50})
    events = [room.head]
    for kind, sender, target, number, back in acts:
        after = events[-1 - back % len(events)] if back > 2 else events[-1]
        try:
            events.append(act(room, kind, PEOPLE[sender], PEOPLE[target], number, after))
        except Refused:
            continue
    return room, events


def states(room, events, places, lies):
    """States after some events; a lie puts an older event of the room in the place of one in a state."""
    sets = [room.ids(events[place % len(events)]) for place in places]
    for which, instead in lies:
        older = events[instead % len(events)]
        sets[which % len(sets)][older.key] = older.event_id
    return sets


CASES = {
    "version": st.sampled_from(VERSIONS),
    "acts": ACTS,
    "places": st.lists(st.integers(0, 30), min_size=2, max_size=4),
    "lies": st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=3),
    "seed": st.integers(0, 2**16),
}
calm = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@calm
@given(**CASES)
def test_the_order_of_sets_and_of_their_entries_never_matters(version, acts, places, lies, seed):
    room, events = history(version, acts)
    sets = states(room, events, places, lies)
    result = resolve(room.version, sets, room.events.get)
    shuffle = random.Random(seed).shuffle
    mixed = []
    for state in sets:
        entries = list(state.items())
        shuffle(entries)
        mixed.append(dict(entries))
    shuffle(mixed)
    assert resolve(room.version, mixed, room.events.get) == result
    assert resolve(room.version, [*mixed, mixed[0]], room.events.get) == result


@calm
@given(**CASES)
def test_agreement_stays_and_a_resolution_resolves_to_itself(version, acts, places, lies, seed):
    room, events = history(version, acts)
    sets = states(room, events, places, lies)
    result = resolve(room.version, sets, room.events.get)
    for key in set.intersection(*(set(state.items()) for state in sets)):
        assert result[key[0]] == key[1]
    for state in (result, *sets):
        assert resolve(room.version, [state] * (1 + seed % 3), room.events.get) == state
    assert all(room.events[event_id].key == key for key, event_id in result.items())


@calm
@given(**CASES)
def test_the_result_is_the_one_the_text_of_the_spec_gives(version, acts, places, lies, seed):
    room, events = history("2" if version == "1" else version, acts)
    sets = states(room, events, places, lies)
    ids = [event.event_id for event in events]
    rejected = {ids[seed % len(ids)]} if seed % 3 == 0 else set()
    found = resolve(room.version, sets, room.events.get, rejected.__contains__)
    assert found == by_the_book(room, sets, rejected)


# the algorithm once more, with no regard for speed


def by_the_book(room, sets, rejected):
    """Spec: rooms/v2#state-resolution, rooms/v12#state-resolution."""
    events, revised = room.events, room.version.state_resolution == 21

    def chain(event_id):
        found = set()
        for cited in events[event_id].auth_events:
            found |= {cited} | chain(cited)
        return found

    chains = {event_id: chain(event_id) for event_id in events}
    keys = {key for state in sets for key in state}
    unconflicted = {key: sets[0][key] for key in keys if len({state.get(key) for state in sets}) == 1}
    conflicted = {state[key] for state in sets for key in state if key not in unconflicted}
    if not conflicted:
        return unconflicted
    full = [set().union(*(chains[event_id] for event_id in state.values())) for state in sets]
    conflict = conflicted | (set.union(*full) - set.intersection(*full))
    if revised:
        conflict |= {
            event_id
            for event_id in events
            if any(event_id in chains[end] for end in conflicted) and chains[event_id] & conflicted
        }

    def is_power_event(event):
        removal = event.membership in ("leave", "ban") and event.sender != event.state_key
        return event.type in ("m.room.power_levels", "m.room.join_rules") or removal

    powers = {event_id for event_id in conflict if is_power_event(events[event_id])}
    powers |= {cited for event_id in powers for cited in chains[event_id] if cited in conflict}

    def cited_levels(event_id):
        return next((e for e in events[event_id].auth_events if events[e].key == POWER_LEVELS), None)

    def power_rank(event_id):
        levels = cited_levels(event_id)
        view = PowerLevels.of(room.version, room.create, levels and events[levels])
        event = events[event_id]
        return -view.power_of(event.sender), event.origin_server_ts, event_id

    first = []
    while len(first) < len(powers):
        waiting = powers.difference(first)
        first.append(min((e for e in waiting if not chains[e] & waiting), key=power_rank))

    def replay(order, state):
        for event_id in order:
            event = events[event_id]

            def find(key, event=event):
                if key in state:
                    return events[state[key]]
                found = (events[e] for e in event.auth_events if events[e].key == key and e not in rejected)
                return next(found, None)

            try:
                check_auth(event, find, create=room.create if revised else None)
            except Refused:
                continue
            state[event.key] = event_id

    state = {} if revised else dict(unconflicted)
    replay(first, state)

    mainline = []
    levels = state.get(POWER_LEVELS)
    while levels is not None:
        mainline.append(levels)
        levels = cited_levels(levels)

    def mainline_rank(event_id):
        levels = cited_levels(event_id)
        while levels is not None and levels not in mainline:
            levels = cited_levels(levels)
        place = float("inf") if levels is None else mainline.index(levels)
        return -place, events[event_id].origin_server_ts, event_id

    replay(sorted(conflict - powers, key=mainline_rank), state)
    return state | unconflicted


@pytest.mark.parametrize("version", VERSIONS)
def test_the_drawn_histories_are_of_some_interest(version):
    """The laws above would hold idly if no branches met; by the same drawing many do, and some lose an event."""
    chance = random.Random(42)
    kinds = ["join", "leave", "ban", "invite", "levels", "rules", "topic", "name"]
    met = lost = 0
    for _ in range(60):
        people = [chance.randrange(4) for _ in range(40)]
        acts = [
            (chance.choice(kinds), people[n], people[-n], chance.randrange(101), chance.randrange(7)) for n in range(20)
        ]
        room, events = history(version, acts)
        sets = states(room, events, [chance.randrange(30) for _ in range(3)], [])
        result = resolve(room.version, sets, room.events.get)
        met += result not in sets
        lost += not result.keys() >= set().union(*sets)
    assert met >= 10
    assert lost >= (0 if version == "1" else 3)
