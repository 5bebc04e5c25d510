"""Which events authorise an event, and the rules about the auth events it carries."""

import pytest

from federation.auth import auth_types, check_auth_events
from federation.errors import Refused
from federation.versions import ROOM_VERSIONS
from tests.kit.rooms import ALICE, BOB, CAROL, CREATE, JOIN_RULES, POWER_LEVELS, RoomFactory, spoil, versions

MEMBER = "m.room.member"
THIRD_PARTY = "m.room.third_party_invite"


def selected(version, type, content, *, state_key=None, sender=ALICE):
    keys = auth_types(ROOM_VERSIONS[version], type=type, state_key=state_key, sender=sender, content=content)
    assert len(keys) == len(set(keys))
    return set(keys)


def expected(version, *keys):
    return {POWER_LEVELS, (MEMBER, ALICE), *keys} | ({CREATE} if int(version) < 12 else set())


@pytest.mark.parametrize("version", versions())
def test_the_create_event_needs_no_auth_events(version):
    assert selected(version, "m.room.create", {}, state_key="") == set()


@pytest.mark.parametrize("version", versions())
def test_a_message_rests_on_levels_and_sender_and_up_to_version_11_on_the_create_event(version):
    assert selected(version, "m.room.message", {"membership": "join"}) == expected(version)


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("membership", ["join", "invite", "knock"])
def test_who_comes_in_rests_on_the_join_rules_too(version, membership):
    found = selected(version, MEMBER, {"membership": membership}, state_key=BOB)
    assert found == expected(version, JOIN_RULES, (MEMBER, BOB))


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("membership", ["leave", "ban", "dance", None, 1, ["join"]])
def test_who_goes_out_rests_on_the_target(version, membership):
    assert selected(version, MEMBER, {"membership": membership}, state_key=BOB) == expected(version, (MEMBER, BOB))


@pytest.mark.parametrize("version", versions())
def test_a_membership_without_state_key_is_like_a_message(version):
    assert selected(version, MEMBER, {"membership": "join"}) == expected(version)


@pytest.mark.parametrize("version", versions())
def test_an_invite_by_third_party_rests_on_the_third_party_invite_of_its_token(version):
    answer = {"third_party_invite": {"signed": {"token": "t"}}}
    found = selected(version, MEMBER, {"membership": "invite", **answer}, state_key=BOB)
    assert found == expected(version, JOIN_RULES, (MEMBER, BOB), (THIRD_PARTY, "t"))
    found = selected(version, MEMBER, {"membership": "join", **answer}, state_key=BOB)
    assert found == expected(version, JOIN_RULES, (MEMBER, BOB))


@pytest.mark.parametrize("answer", [None, "x", {}, {"signed": 1}, {"signed": {}}, {"signed": {"token": 5}}])
def test_a_malformed_answer_to_a_third_party_selects_nothing(answer):
    found = selected("12", MEMBER, {"membership": "invite", "third_party_invite": answer}, state_key=BOB)
    assert found == expected("12", JOIN_RULES, (MEMBER, BOB))


@pytest.mark.parametrize("version", versions())
def test_a_restricted_join_rests_on_the_member_who_authorises_it_from_version_8_on(version):
    content = {"membership": "join", "join_authorised_via_users_server": CAROL}
    found = selected(version, MEMBER, content, state_key=ALICE)
    assert found == expected(version, JOIN_RULES, *([(MEMBER, CAROL)] if int(version) >= 8 else []))
    content["membership"] = "invite"
    assert selected(version, MEMBER, content, state_key=ALICE) == expected(version, JOIN_RULES)


@pytest.mark.parametrize("authoriser", [ALICE, None, 5, ["@x:y"]])
def test_an_authoriser_named_already_or_malformed_selects_nothing_more(authoriser):
    content = {"membership": "join", "join_authorised_via_users_server": authoriser}
    assert selected("12", MEMBER, content, state_key=ALICE) == expected("12", JOIN_RULES)


# the rules about a received event's auth events


@pytest.fixture(params=versions())
def room(request):
    room = RoomFactory(request.param)
    room.join(BOB)
    return room


def rule_against(room, event, auth_events=None, **more):
    """As `RoomFactory.rule_against`, of the event's own auth events only, which may be of another room."""
    known = room.events | {other.event_id: other for other in auth_events or ()}
    try:
        found = [known[event_id] for event_id in event.auth_events]
        check_auth_events(event, found, **{"create": room.create, **more})
    except Refused as refusal:
        return refusal.rule
    return None


def number(room, before_12, in_12):
    return f"auth {in_12 if room.version.id == '12' else before_12}"


def test_an_event_with_the_selected_auth_events_passes(room):
    assert rule_against(room, room.build("m.room.message", {}, sender=BOB)) is None


def test_a_selected_event_may_be_left_out_but_for_the_create_event(room):
    event = room.build("m.room.message", {}, sender=BOB)
    create = room.create.event_id
    levels = room.state()[POWER_LEVELS].event_id
    without = spoil(event, auth_events=tuple(e for e in event.auth_events if e != levels))
    assert rule_against(room, without) is None
    without = spoil(event, auth_events=tuple(e for e in event.auth_events if e != create))
    assert rule_against(room, without) == (None if room.version.id == "12" else "auth 2.4")


def test_no_type_and_state_key_stands_twice(room):
    first = room.state()[POWER_LEVELS]
    room.set_levels(invite=1)
    event = room.build("m.room.message", {}, sender=BOB)
    assert rule_against(room, event) is None
    twice = spoil(event, auth_events=(*event.auth_events, first.event_id))
    assert rule_against(room, twice) == number(room, "2.1", "3.1")
    twice = spoil(event, auth_events=(*event.auth_events, event.auth_events[0]))
    assert rule_against(room, twice) == number(room, "2.1", "3.1")


def test_an_event_that_is_not_selected_has_no_place(room):
    event = room.build("m.room.message", {}, sender=BOB)
    rules = room.state()[JOIN_RULES].event_id
    assert rule_against(room, spoil(event, auth_events=(*event.auth_events, rules))) == number(room, "2.2", "3.2")
    message = room.message(BOB).event_id
    assert rule_against(room, spoil(event, auth_events=(*event.auth_events, message))) == number(room, "2.2", "3.2")


def test_from_version_12_on_the_create_event_has_no_place_either(room):
    event = room.build("m.room.message", {}, sender=BOB)
    ids = dict.fromkeys((*event.auth_events, room.create.event_id))
    found = rule_against(room, spoil(event, auth_events=tuple(ids)))
    assert found == ("auth 3.2" if room.version.id == "12" else None)


def test_a_rejected_auth_event_spoils_the_event(room):
    event = room.build("m.room.message", {}, sender=BOB)
    rejected = event.auth_events[-1]
    assert rule_against(room, event, rejected=set().__contains__) is None
    assert rule_against(room, event, rejected={rejected}.__contains__) == number(room, "2.3", "3.3")


def test_auth_events_are_of_the_same_room(room):
    other = RoomFactory(room.version, create_content={"purpose": "another room"})
    event = room.build("m.room.message", {}, sender=BOB)
    foreign = spoil(other.state()[POWER_LEVELS], room_id="!elsewhere:one.example")
    ids = tuple(e for e in event.auth_events if e != room.state()[POWER_LEVELS].event_id)
    found = rule_against(room, spoil(event, auth_events=(*ids, foreign.event_id)), [foreign])
    assert found == number(room, "2.5", "3.4")


def test_the_create_event_itself_is_not_asked(room):
    assert rule_against(room, room.create) is None


def test_the_caller_brings_the_events_that_are_named(room):
    event = room.build("m.room.message", {}, sender=BOB)
    with pytest.raises(ValueError, match="auth events"):
        check_auth_events(event, [], create=room.create)


def test_in_version_12_the_room_id_is_that_of_an_accepted_create_event():
    room, other = RoomFactory("12"), RoomFactory("12", create_content={"purpose": "another room"})
    event = room.build("m.room.message", {}, sender=ALICE)
    assert rule_against(room, event) is None
    assert rule_against(room, event, create=other.create) == "auth 2"
    assert rule_against(room, event, rejected={room.create.event_id}.__contains__) == "auth 2"
