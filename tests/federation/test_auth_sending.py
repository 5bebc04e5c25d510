"""The rules about events that are no memberships: the sender is there and has the level, and may redact."""

import pytest

from federation.auth import PowerLevels, check_auth, may_redact
from tests.kit.rooms import ALICE, BOB, CAROL, DAVE, POWER_LEVELS, RoomFactory, spoil, versions


@pytest.fixture(params=versions())
def room(request):
    return RoomFactory(request.param)


def test_only_members_send(room):
    event = room.build("m.room.message", {}, sender=BOB)
    assert room.rule_against(event) == "sender"
    for act in (lambda: room.invite(ALICE, BOB), lambda: room.join(BOB), lambda: room.leave(BOB)):
        act()
        joined = room.state()["m.room.member", BOB].membership == "join"
        assert room.rule_against(event) == (None if joined else "sender")
    room.ban(ALICE, BOB)
    assert room.rule_against(event) == "sender"


def test_the_required_level_is_that_of_the_type_or_the_default(room):
    room.join(BOB)
    message, state = (
        room.build(type, {}, sender=BOB, state_key=key)
        for type, key in (("m.room.message", None), ("m.room.topic", ""))
    )
    assert (room.rule_against(message), room.rule_against(state)) == (None, "level")
    room.set_levels(events={"m.room.topic": 0})
    assert (room.rule_against(message), room.rule_against(state)) == (None, None)
    room.set_levels(events={"m.room.message": 1})
    assert (room.rule_against(message), room.rule_against(state)) == ("level", None)
    room.set_levels(users={BOB: 1})
    assert (room.rule_against(message), room.rule_against(state)) == (None, None)


def test_the_type_counts_for_messages_and_state_alike(room):
    room.join(BOB)
    room.set_levels(events_default=10, state_default=20, users={BOB: 10})
    assert room.rule_against(room.build("a.b", {}, sender=BOB)) is None
    assert room.rule_against(room.build("a.b", {}, sender=BOB, state_key="")) == "level"


def test_a_state_key_that_is_a_user_is_the_sender(room):
    room.join(BOB)
    room.set_levels(state_default=0)
    assert room.rule_against(room.build("a.b", {}, sender=BOB, state_key=BOB)) is None
    assert room.rule_against(room.build("a.b", {}, sender=BOB, state_key="bob")) is None
    assert room.rule_against(room.build("a.b", {}, sender=BOB, state_key=CAROL)) == "state_key"
    assert room.rule_against(room.build("a.b", {}, sender=BOB, state_key="@")) == "state_key"


def test_a_third_party_invite_needs_the_invite_level_alone(room):
    room.join(BOB)
    event = room.build("m.room.third_party_invite", {}, sender=BOB, state_key="token")
    assert room.rule_against(event) is None  # although state needs 50
    room.set_levels(invite=1)
    assert room.rule_against(event) == "third_party_invite.level"
    room.set_levels(users={BOB: 1})
    assert room.rule_against(event) is None


def test_levels_kept_by_the_caller_give_the_same_answer(room):
    room.join(BOB)
    levels = PowerLevels.of(room.version, room.create, room.state()[POWER_LEVELS])
    check_auth(room.build("m.room.message", {}, sender=BOB), room.state().get, create=room.create, levels=levels)


# redactions


@pytest.mark.parametrize("version", versions(1, 2))
def test_in_versions_1_and_2_the_rules_say_who_redacts(version):
    room = RoomFactory(version)
    room.join(BOB, DAVE)
    by_alice, by_bob = room.message(ALICE), room.message(BOB)
    redact = {"type": "m.room.redaction", "content": {}}
    assert room.rule_against(room.build(**redact, sender=BOB, redacts=by_bob.event_id)) is None
    assert room.rule_against(room.build(**redact, sender=DAVE, redacts=by_alice.event_id)) is None  # of one server
    foreign = room.build(**redact, sender=BOB, redacts=by_alice.event_id)
    assert room.rule_against(foreign) == "redaction.otherwise"
    assert room.rule_against(room.build(**redact, sender=BOB)) == "redaction.otherwise"
    room.set_levels(users={BOB: 50})
    assert room.rule_against(foreign) is None


@pytest.mark.parametrize("version", versions(3))
def test_from_version_3_on_a_redaction_is_an_event_like_others(version):
    room = RoomFactory(version)
    room.join(BOB)
    redaction = room.build("m.room.redaction", {}, sender=BOB, redacts=room.message(ALICE).event_id)
    assert room.rule_against(redaction) is None
    room.set_levels(events={"m.room.redaction": 1})
    assert room.rule_against(redaction) == "level"


def test_a_redaction_takes_effect_by_level_or_by_server(room):
    room.join(BOB, DAVE)
    by_alice = room.message(ALICE)
    levels = PowerLevels.of(room.version, room.create, room.state()[POWER_LEVELS])
    powerful, neighbour, foreign = (
        room.build("m.room.redaction", {}, sender=sender, redacts=by_alice.event_id) for sender in (ALICE, DAVE, BOB)
    )
    assert may_redact(powerful, by_alice, levels)
    assert may_redact(neighbour, by_alice, levels)
    assert not may_redact(foreign, by_alice, levels)
    for power in (49, 50):
        changed = room.set_levels(users={BOB: power})
        levels = PowerLevels.of(room.version, room.create, changed)
        assert may_redact(foreign, by_alice, levels) == (power == 50)


def test_a_redaction_reaches_its_target_only_and_no_other_room(room):
    message, other = room.message(ALICE), room.message(ALICE)
    levels = PowerLevels.of(room.version, room.create, room.state()[POWER_LEVELS])
    redaction = room.build("m.room.redaction", {}, sender=ALICE, redacts=message.event_id)
    assert may_redact(redaction, message, levels)
    assert not may_redact(redaction, other, levels)
    assert not may_redact(redaction, spoil(message, room_id="!elsewhere:one.example"), levels)
