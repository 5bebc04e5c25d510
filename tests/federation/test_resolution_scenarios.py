"""Conflicts with a name, and what each algorithm makes of them."""

from hashlib import sha1

import pytest

from federation.resolution import resolve
from tests.kit.rooms import ALICE, BOB, CAROL, DAVE, JOIN_RULES, POWER_LEVELS, START_MS, RoomFactory, spoil, versions

TOPIC = ("m.room.topic", "")
ALL, FIRST, LATER, SECOND, REVISED = versions(), ["1"], versions(2), versions(2, 11), ["12"]


def room_of(version, *, levels=None):
    """Alice's room with Bob and Carol, where Bob may do what moderators do."""
    room = RoomFactory(version)
    room.join(BOB, CAROL)
    room.set_levels(users={BOB: 50} if levels is None else levels)
    return room


def resolved(room, *branches, rejected=None):
    """The resolution of states, given as events to stand after or as state maps; the same for every order."""
    sets = [branch if isinstance(branch, dict) else room.ids(branch) for branch in branches]
    more = [] if rejected is None else [rejected]
    state = resolve(room.version, sets, room.events.get, *more)
    assert resolve(room.version, sets[::-1], room.events.get, *more) == state
    return state


def membership(room, state, user):
    return room.events[state["m.room.member", user]].membership


# nothing in conflict


@pytest.mark.parametrize("version", ALL)
def test_one_state_is_its_own_resolution(version):
    room = room_of(version)
    state = room.ids()
    assert resolved(room, state) == resolved(room, state, dict(state)) == state
    assert resolve(room.version, [], room.events.get) == {}


@pytest.mark.parametrize("version", ALL)
def test_what_all_branches_agree_on_stays(version):
    room = room_of(version)
    base = room.head
    one = room.send("m.room.name", {"name": "one"}, sender=ALICE, state_key="", after=base)
    other = room.send("m.room.topic", {"topic": "other"}, sender=BOB, state_key="", after=base)
    state = resolved(room, one, other)
    assert state == room.ids(base) | {one.key: one.event_id, other.key: other.event_id}


@pytest.mark.parametrize("version", ALL)
def test_three_branches_meet(version):
    room = room_of(version)
    base = room.head
    branches = [
        room.member(user, user, "leave", after=base) if user != ALICE else room.set_levels(invite=5, after=base)
        for user in (ALICE, BOB, CAROL)
    ]
    state = resolved(room, *branches)
    assert state == room.ids(base) | {branch.key: branch.event_id for branch in branches}


# a moderator loses power while using it


@pytest.mark.parametrize("version", ALL)
def test_a_ban_beats_what_the_banned_does_at_the_same_time(version):
    room = room_of(version)
    base = room.head
    ban = room.ban(ALICE, BOB, after=base)
    topic = room.send("m.room.topic", {"topic": "Bob was here"}, sender=BOB, state_key="", after=base)
    state = resolved(room, ban, topic)
    assert membership(room, state, BOB) == "ban"
    # version 1 takes a topic that only one side has for unconflicted
    assert (TOPIC in state) == (version == "1")


@pytest.mark.parametrize("version", ALL)
def test_a_ban_beats_the_power_change_of_the_banned(version):
    room = room_of(version)
    base = room.head
    ban = room.ban(ALICE, BOB, after=base)
    power = room.set_levels(BOB, users={DAVE: 50}, after=base)
    state = resolved(room, ban, power)
    assert membership(room, state, BOB) == "ban"
    # in version 1 because Bob, whose membership is in conflict, is not there yet when power levels are looked at
    assert state[POWER_LEVELS] == room.ids(base)[POWER_LEVELS] != power.event_id


@pytest.mark.parametrize("version", ALL)
def test_a_demotion_beats_what_the_demoted_does_at_the_same_time(version):
    room = room_of(version)
    base = room.head
    demotion = room.set_levels(users={BOB: 0}, after=base)
    promotion = room.set_levels(BOB, users={CAROL: 50}, after=base)
    topic = room.send("m.room.topic", {"topic": "Carol was here"}, sender=CAROL, state_key="")
    state = resolved(room, demotion, topic)
    if version == "1":
        first, second = sorted((demotion, promotion), key=lambda e: sha1(e.event_id.encode()).digest(), reverse=True)
        assert state[POWER_LEVELS] == (first if first == demotion else second).event_id
    else:
        assert state[POWER_LEVELS] == demotion.event_id
        assert TOPIC not in state


@pytest.mark.parametrize("version", LATER)
def test_two_who_ban_each_other_are_judged_by_power(version):
    room = room_of(version, levels={BOB: 50, CAROL: 60})
    base = room.head
    stronger = room.ban(CAROL, BOB, after=base, origin_server_ts=START_MS + 9_000_000)
    with_late_power = room.set_levels(users={BOB: 70}, after=base)
    weaker = room.ban(BOB, CAROL, after=with_late_power)
    # Bob's ban rests on his promotion, which is replayed before Carol's ban, and then Carol may not ban him
    state = resolved(room, stronger, weaker)
    assert (membership(room, state, BOB), membership(room, state, CAROL)) == ("join", "ban")


@pytest.mark.parametrize("version", LATER)
def test_a_ban_beats_the_join_that_does_not_know_it(version):
    room = room_of(version)
    base = room.head
    ban = room.ban(ALICE, DAVE, after=base)
    join = room.join(DAVE, after=base, origin_server_ts=ban.origin_server_ts + 60_000)
    state = resolved(room, ban, join)
    assert membership(room, state, DAVE) == "ban"


@pytest.mark.parametrize("version", LATER)
def test_closing_the_door_beats_the_join_that_does_not_know_it(version):
    room = room_of(version)
    base = room.head
    closed = room.set_join_rule("invite", after=base)
    joined = room.join(DAVE, after=base)
    state = resolved(room, closed, joined)
    assert state[JOIN_RULES] == closed.event_id
    assert ("m.room.member", DAVE) not in state
    # who was invited comes in all the same
    invited = room.invite(ALICE, DAVE, after=base)
    late = room.join(DAVE, after=invited)
    closed = room.set_join_rule("invite", after=invited)
    assert resolved(room, closed, late)["m.room.member", DAVE] == late.event_id


@pytest.mark.parametrize("version", LATER)
def test_an_unban_rests_on_the_ban_and_is_replayed_after_it(version):
    room = room_of(version)
    base = room.head
    room.ban(ALICE, DAVE, after=base)
    unban = room.kick(ALICE, DAVE)
    rejoined = room.join(DAVE)
    name = room.send("m.room.name", {"name": "elsewhere"}, sender=BOB, state_key="", after=base)
    state = resolved(room, rejoined, name)
    assert state["m.room.member", DAVE] == rejoined.event_id
    assert unban.event_id in room.events


# the orders


@pytest.mark.parametrize("version", LATER)
def test_of_two_topics_the_one_that_rests_on_newer_power_levels_wins(version):
    room = room_of(version)
    base = room.head
    newer_levels = room.set_levels(users={DAVE: 1}, after=base)
    newer = room.send("m.room.topic", {"topic": "newer"}, sender=ALICE, state_key="", origin_server_ts=START_MS)
    older = room.send(
        "m.room.topic", {"topic": "older"}, sender=BOB, state_key="", after=base, origin_server_ts=START_MS + 9_000_000
    )
    state = resolved(room, newer, older)
    assert state[POWER_LEVELS] == newer_levels.event_id
    assert state[TOPIC] == newer.event_id


@pytest.mark.parametrize("version", LATER)
def test_of_two_topics_on_one_level_the_later_wins_and_then_the_greater_id(version):
    room = room_of(version)
    base = room.head

    def topic(text, ts):
        return room.send("m.room.topic", {"topic": text}, sender=BOB, state_key="", after=base, origin_server_ts=ts)

    first, second = topic("first", START_MS + 1), topic("second", START_MS + 2)
    assert resolved(room, first, second)[TOPIC] == second.event_id
    twin = topic("twin", START_MS + 2)
    assert resolved(room, twin, second)[TOPIC] == max(twin.event_id, second.event_id)


@pytest.mark.parametrize("version", LATER)
def test_of_two_power_events_of_equal_power_the_earlier_is_replayed_first(version):
    room = room_of(version, levels={BOB: 50, CAROL: 50})
    base = room.head
    early = room.set_join_rule("invite", BOB, after=base, origin_server_ts=START_MS + 1)
    late = room.set_join_rule("knock", CAROL, after=base, origin_server_ts=START_MS + 2)
    assert resolved(room, early, late)[JOIN_RULES] == late.event_id


@pytest.mark.parametrize("version", LATER)
def test_the_more_powerful_is_replayed_first_whatever_the_time(version):
    room = room_of(version)
    base = room.head
    strong = room.set_join_rule("invite", ALICE, after=base, origin_server_ts=START_MS + 2)
    weak = room.set_join_rule("knock", BOB, after=base, origin_server_ts=START_MS + 1)
    assert resolved(room, strong, weak)[JOIN_RULES] == weak.event_id


@pytest.mark.parametrize("version", REVISED)
def test_a_creator_is_replayed_before_every_level(version):
    room = room_of(version, levels={BOB: 2**53 - 1})
    base = room.head
    creator = room.set_join_rule("invite", ALICE, after=base, origin_server_ts=START_MS + 2)
    admin = room.set_join_rule("knock", BOB, after=base, origin_server_ts=START_MS + 1)
    assert resolved(room, creator, admin)[JOIN_RULES] == admin.event_id


@pytest.mark.parametrize("version", LATER)
def test_a_room_without_power_levels_is_ordered_by_time(version):
    room = RoomFactory(version, power_levels={})
    base = room.head
    late = room.send("m.room.topic", {}, sender=ALICE, state_key="", after=base, origin_server_ts=START_MS + 2)
    early = room.send("m.room.topic", {}, sender=ALICE, state_key="", after=base, origin_server_ts=START_MS + 1)
    assert resolved(room, late, early)[TOPIC] == late.event_id
    strong = room.set_join_rule("invite", after=base)
    assert resolved(room, strong, early)[JOIN_RULES] == strong.event_id


# the problems of MSC4297


def problem_a(version):
    """Alice set the join rules twice and left; one side has the first ones again, from a partial synchronisation."""
    room = room_of(version)
    outdated = room.set_join_rule("invite")
    current = room.set_join_rule("public")
    room.leave(ALICE)
    state = room.ids()
    return room, outdated, current, state, state | {JOIN_RULES: outdated.event_id}


@pytest.mark.parametrize("version", FIRST)
def test_problem_a_in_version_1_goes_back_to_the_outdated_join_rules(version):
    room, outdated, _, state, wrong = problem_a(version)
    assert resolved(room, state, wrong) == wrong
    assert wrong[JOIN_RULES] == outdated.event_id


@pytest.mark.parametrize("version", SECOND)
def test_problem_a_in_version_2_loses_the_join_rules(version):
    room, _, _, state, wrong = problem_a(version)
    found = resolved(room, state, wrong)
    assert JOIN_RULES not in found
    assert found == {key: event_id for key, event_id in state.items() if key != JOIN_RULES}


@pytest.mark.parametrize("version", REVISED)
def test_problem_a_in_version_2_1_keeps_the_current_join_rules(version):
    room, _, current, state, wrong = problem_a(version)
    assert resolved(room, state, wrong) == state
    assert state[JOIN_RULES] == current.event_id


def problem_b(version):
    """Alice promotes Bob, Bob promotes Carol, whose topic both sides know; one side has the first levels again."""
    room = RoomFactory(version)
    room.join(BOB, CAROL)
    outdated = room.state()[POWER_LEVELS]
    room.set_levels(users={BOB: 100})
    current = room.set_levels(BOB, users={CAROL: 50})
    room.send("m.room.topic", {"topic": "Carol's"}, sender=CAROL, state_key="")
    state = room.ids()
    return room, outdated, current, state, state | {POWER_LEVELS: outdated.event_id}


@pytest.mark.parametrize("version", FIRST + SECOND)
def test_problem_b_before_version_2_1_goes_back_to_the_outdated_power_levels(version):
    room, outdated, _, state, wrong = problem_b(version)
    assert resolved(room, state, wrong) == wrong
    assert wrong[POWER_LEVELS] == outdated.event_id


@pytest.mark.parametrize("version", REVISED)
def test_problem_b_in_version_2_1_keeps_the_current_power_levels(version):
    room, _, current, state, wrong = problem_b(version)
    assert resolved(room, state, wrong) == state
    assert state[POWER_LEVELS] == current.event_id


@pytest.mark.parametrize("version", LATER)
def test_a_power_event_is_replayed_after_those_it_rests_on_by_way_of_others(version):
    """As in problem B the newest power levels rest on the oldest by way of those between, which version 2 does not
    replay. Ordered by power alone, Alice's newest would come before Bob's oldest, which would then be put over them."""
    room = room_of(version)
    oldest = room.set_levels(BOB, events={"odd": 1})
    room.set_levels(ALICE, events={"odd": 2})
    newest = room.set_levels(ALICE, events={"odd": 3})
    room.send("m.room.topic", {"topic": "rests on the newest"}, sender=BOB, state_key="")
    state = room.ids()
    found = resolved(room, state, state | {POWER_LEVELS: oldest.event_id})
    assert found == state
    assert state[POWER_LEVELS] == newest.event_id


# rejected events


@pytest.mark.parametrize("version", LATER)
def test_a_rejected_auth_event_supports_nothing(version):
    room = room_of(version, levels={})
    base = room.head
    power = room.set_levels(users={BOB: 50}, after=base)
    room.send("m.room.name", {"name": "Bob's"}, sender=BOB, state_key="")
    topic = room.send("m.room.topic", {"topic": "Bob's"}, sender=BOB, state_key="")
    # states as a lying server gives them: without the power levels that the topic, and in both the name, rest on
    lie = {key: event_id for key, event_id in room.ids(topic).items() if key != POWER_LEVELS}
    truth = {key: event_id for key, event_id in lie.items() if key != TOPIC}
    assert resolved(room, lie, truth)[TOPIC] == topic.event_id
    assert TOPIC not in resolved(room, lie, truth, rejected={power.event_id}.__contains__)


@pytest.mark.parametrize("version", REVISED)
def test_in_a_room_whose_create_event_was_rejected_nothing_is_allowed(version):
    room = room_of(version)
    base = room.head
    one = room.set_levels(users={DAVE: 1}, after=base)
    other = room.set_levels(users={DAVE: 2}, after=base)
    assert resolved(room, one, other)[POWER_LEVELS] in (one.event_id, other.event_id)
    found = resolved(room, one, other, rejected={room.create.event_id}.__contains__)
    assert POWER_LEVELS not in found


# version 1


@pytest.mark.parametrize(("shallow_first", "expected"), [(True, "deep"), (False, "deep")])
def test_in_version_1_the_deepest_topic_wins_that_is_allowed(shallow_first, expected):
    room = room_of("1")
    base = room.head
    shallow = room.send("m.room.topic", {"topic": "shallow"}, sender=BOB, state_key="", after=base)
    room.message(BOB, after=base)
    deep = room.send("m.room.topic", {"topic": "deep"}, sender=BOB, state_key="")
    branches = (shallow, deep) if shallow_first else (deep, shallow)
    assert room.events[resolved(room, *branches)[TOPIC]].content["topic"] == expected
    # the deepest is not allowed where its sender was banned
    ban = room.ban(ALICE, BOB, after=shallow)
    by_alice = room.send("m.room.topic", {"topic": "Alice's"}, sender=ALICE, state_key="", after=ban)
    room.message(BOB, after=deep)
    deepest = room.send("m.room.topic", {"topic": "deepest"}, sender=BOB, state_key="")
    assert deepest.depth > by_alice.depth
    assert resolved(room, by_alice, deepest)[TOPIC] == by_alice.event_id


def test_in_version_1_topics_of_one_depth_are_chosen_by_the_lowest_hash():
    room = room_of("1")
    base = room.head
    topics = [room.send("m.room.topic", {"n": n}, sender=BOB, state_key="", after=base) for n in range(5)]
    lowest = min(topics, key=lambda event: sha1(event.event_id.encode()).digest())
    assert resolved(room, *topics)[TOPIC] == lowest.event_id


def test_in_version_1_a_topic_that_nobody_may_set_is_gone():
    room = room_of("1")
    base = room.head
    topics = [room.send("m.room.topic", {"n": n}, sender=BOB, state_key="", after=base) for n in range(2)]
    demoted = [room.set_levels(users={BOB: 0}, after=topic) for topic in topics]
    sets = [{**room.ids(topic), POWER_LEVELS: demoted[0].event_id} for topic in topics]
    assert TOPIC not in resolved(room, *sets)


def test_in_version_1_the_row_of_members_ends_at_the_first_that_is_refused():
    room = room_of("1")
    base = room.head
    ban = room.ban(ALICE, CAROL, after=base)
    room.message(CAROL, after=base)
    renamed = room.join(CAROL, content={"displayname": "C"})
    assert renamed.depth > ban.depth
    assert resolved(room, ban, renamed)["m.room.member", CAROL] == ban.event_id
    # and goes on while each is allowed where the one before stands
    one = room.join(CAROL, content={"displayname": "one"}, after=base)
    room.message(CAROL, after=base)
    other = room.join(CAROL, content={"displayname": "other"})
    assert resolved(room, one, other)["m.room.member", CAROL] == other.event_id


def test_in_version_1_without_a_create_event_nothing_in_conflict_is_allowed():
    room = room_of("1")
    base = room.head
    topics = [room.send("m.room.topic", {"n": n}, sender=BOB, state_key="", after=base) for n in range(2)]
    twin = spoil(room.create, event_id="$twin:one.example")
    room.events[twin.event_id] = twin
    sets = [room.ids(topics[0]), room.ids(topics[1]) | {("m.room.create", ""): twin.event_id}]
    found = resolved(room, *sets)
    assert TOPIC not in found
    lowest = min((room.create, twin), key=lambda event: sha1(event.event_id.encode()).digest())
    assert found["m.room.create", ""] == lowest.event_id
