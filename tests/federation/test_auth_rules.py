"""The rules about the room itself: its create event, who may take part at all, and its aliases."""

import pytest

from federation.auth import check_auth
from federation.errors import Refused
from federation.versions import find_room_version
from tests.kit.rooms import ALICE, BOB, CREATE, DAVE, RoomFactory, spoil, versions


@pytest.fixture(params=versions())
def room(request):
    return RoomFactory(request.param)


def rule_against_create(room, event):
    with pytest.raises(Refused) as refused:
        check_auth(event, {}.get)
    return refused.value.rule


def test_a_room_begins_with_its_create_event(room):
    check_auth(room.create, {}.get)
    assert rule_against_create(room, spoil(room.create, prev_events=("$x",))) == "auth 1.1"


@pytest.mark.parametrize("version", versions(1, 11))
def test_the_room_id_is_of_the_creators_domain(version):
    room = RoomFactory(version)
    assert rule_against_create(room, spoil(room.create, room_id="!room:two.example")) == "auth 1.2"


def test_in_version_12_the_create_event_names_no_room():
    room = RoomFactory("12")
    raw = room.create.raw.replace(b'"sender"', b'"room_id":"!x:one.example","sender"')
    assert rule_against_create(room, spoil(room.create, raw=raw)) == "auth 1.2"


@pytest.mark.parametrize("named", ["13", "", None, 6, {}, "another"])
def test_the_version_a_room_names_is_its_own(room, named):
    if named == "another":
        named = "5" if room.version.id != "5" else "6"
        assert find_room_version(named) is not None
    content = {**room.create.content, "room_version": named}
    assert rule_against_create(room, spoil(room.create, content=content)) == "auth 1.3"


def test_a_room_that_names_no_version_is_of_version_1(room):
    content = {name: value for name, value in room.create.content.items() if name != "room_version"}
    event = spoil(room.create, content=content)
    if room.version.id == "1":
        check_auth(event, {}.get)
    else:
        assert rule_against_create(room, event) == "auth 1.3"


def test_up_to_version_10_the_create_event_names_a_creator(room):
    content = {name: value for name, value in room.create.content.items() if name != "creator"}
    event = spoil(room.create, content=content)
    if int(room.version.id) <= 10:
        assert rule_against_create(room, event) == "auth 1.4"
    else:
        check_auth(event, {}.get)


@pytest.mark.parametrize("creators", ["@bob:two.example", None, {}, ["bob"], [5], [BOB, "@bob"], [None], [["@a:b"]]])
def test_in_version_12_additional_creators_are_users(room, creators):
    good = spoil(room.create, content={**room.create.content, "additional_creators": [BOB, DAVE]})
    check_auth(good, {}.get)
    bad = spoil(room.create, content={**room.create.content, "additional_creators": creators})
    if room.version.id == "12":
        assert rule_against_create(room, bad) == "auth 1.4"
    else:
        check_auth(bad, {}.get)


def test_nothing_happens_in_a_room_without_create_event(room):
    event = room.build("m.room.message", {}, sender=ALICE)
    state = room.state()
    check_auth(event, state.get)
    check_auth(event, state.get, create=room.create)
    del state[CREATE]
    check_auth(event, state.get, create=room.create)
    assert rule_against_create(room, event) == ("auth 2" if room.version.id == "12" else "auth 2.4")


def test_in_version_12_the_create_event_must_be_that_of_the_room():
    room, other = RoomFactory("12"), RoomFactory("12", create_content={"purpose": "another room"})
    event = room.build("m.room.message", {}, sender=ALICE)
    for create in (other.create, spoil(room.create, type="m.room.name")):
        with pytest.raises(Refused) as refused:
            check_auth(event, room.state().get, create=create)
        assert refused.value.rule == "auth 2"


@pytest.mark.parametrize("federate", [False, True, None, 0, "false"])
@pytest.mark.parametrize("version", versions())
def test_a_room_that_is_not_federated_knows_the_creators_server_only(version, federate):
    room = RoomFactory(version, create_content={"m.federate": federate})
    room.join(DAVE)  # of Alice's server
    rule = "federate" if federate is False else None
    assert room.rule_against(room.build_member(BOB, BOB, "join")) == rule
    if federate is False:
        assert room.rule_against(room.build("m.room.message", {}, sender=BOB)) == "federate"


@pytest.mark.parametrize("version", versions(1, 5))
def test_up_to_version_5_any_server_sets_its_own_aliases(version):
    room = RoomFactory(version)
    own = room.build("m.room.aliases", {"aliases": []}, sender=BOB, state_key="two.example")
    assert room.rule_against(own) is None
    foreign = room.build("m.room.aliases", {"aliases": []}, sender=BOB, state_key="one.example")
    assert room.rule_against(foreign) == "aliases.domain"
    assert room.rule_against(room.build("m.room.aliases", {}, sender=BOB)) == "aliases.state_key"


@pytest.mark.parametrize("version", versions(6))
def test_from_version_6_on_aliases_are_like_any_state(version):
    room = RoomFactory(version)
    event = room.build("m.room.aliases", {"aliases": []}, sender=BOB, state_key="two.example")
    assert room.rule_against(event) == "sender"
    room.join(BOB)
    assert room.rule_against(event) == "level"
    foreign = room.build("m.room.aliases", {"aliases": []}, sender=ALICE, state_key="two.example")
    assert room.rule_against(foreign) is None
