"""The rules about memberships, each in all the versions it spans."""

import pytest

from federation.auth import check_auth
from federation.errors import Refused
from federation.ids import UserID
from tests.kit.rooms import ALICE, BOB, CAROL, DAVE, RoomFactory, cosign, spoil, versions


@pytest.fixture(params=versions())
def room(request):
    return RoomFactory(request.param)


def version_of(room):
    return int(room.version.id)


def against(room, sender, target, membership, **more):
    return room.rule_against(room.build_member(sender, target, membership, **more))


# 5.1, 5.8: the shape


@pytest.mark.parametrize("membership", ["dance", "", None, 1, ["join"], {}])
def test_an_unknown_membership_is_refused(room, membership):
    assert against(room, BOB, BOB, "join") is None
    assert against(room, BOB, BOB, membership) == "member.unknown"


def test_a_membership_has_a_state_key_and_a_membership(room):
    for state_key, content in ((None, {"membership": "join"}), (BOB, {"displayname": "Bob"})):
        event = room.build("m.room.member", content, sender=BOB, state_key=state_key)
        assert room.rule_against(event) == "member.shape"


def test_knocking_is_unknown_before_version_7():
    for version in versions(1, 6):
        room = RoomFactory(version)
        room.set_join_rule("knock")
        assert against(room, BOB, BOB, "knock") == "member.unknown"


# 5.2: the authorising server has signed


@pytest.mark.parametrize("membership", ["join", "leave"])
def test_the_server_of_an_authorising_user_has_signed(room, membership):
    if membership == "leave":
        room.join(CAROL)
    event = room.build_member(CAROL, CAROL, membership, content={"join_authorised_via_users_server": BOB})
    assert room.rule_against(cosign(event, "two.example")) is None
    assert room.rule_against(event) == ("member.authoriser.signature" if version_of(room) >= 8 else None)


@pytest.mark.parametrize("authoriser", ["bob", "", None, 5, [], {}])
def test_an_authorising_user_is_a_user(room, authoriser):
    found = against(room, CAROL, CAROL, "join", content={"join_authorised_via_users_server": authoriser})
    assert found == ("member.authoriser.signature" if version_of(room) >= 8 else None)


# 5.3: join


def test_the_creator_enters_first(room):
    room.leave(ALICE)
    room.append(room.build("m.room.join_rules", {"join_rule": "invite"}, sender=ALICE, state_key=""))
    again = room.build_member(ALICE, ALICE, "join")
    assert room.rule_against(again) == "member.join.otherwise"
    first = room.build_member(ALICE, ALICE, "join", after=room.create)
    assert room.rule_against(first, room.create) is None
    # only as the first event after the creation, and only the creator
    assert room.rule_against(spoil(again, prev_events=(room.create.event_id,))) is None
    assert (
        room.rule_against(spoil(again, prev_events=(room.create.event_id, again.event_id))) == "member.join.otherwise"
    )
    other = room.build_member(BOB, BOB, "join", after=room.create)
    assert room.rule_against(other, room.create) == "member.join.otherwise"


def test_up_to_version_10_the_creator_is_the_one_that_is_named(room):
    named = RoomFactory(room.version)
    content = {**named.create.content, "creator": BOB}
    create = spoil(named.create, content=content)
    joins = {user: named.build_member(user, user, "join", after=named.create) for user in (ALICE, BOB)}

    def may_join(user):
        try:
            check_auth(joins[user], {("m.room.create", ""): create}.get)
        except Refused:
            return False
        return True

    old = version_of(room) <= 10
    assert (may_join(ALICE), may_join(BOB)) == (not old, old)


def test_an_additional_creator_waits_for_an_invitation():
    room = RoomFactory("12", create_content={"additional_creators": [BOB]}, join_rule="invite")
    join = room.build_member(BOB, BOB, "join", after=room.create)
    assert room.rule_against(join, room.create) == "member.join.otherwise"


def test_nobody_joins_for_another(room):
    assert against(room, BOB, BOB, "join") is None
    assert against(room, ALICE, BOB, "join") == "member.join.sender"


def test_a_banned_user_may_not_join(room):
    for rule in ("public", "invite"):
        room.set_join_rule(rule)
        room.ban(ALICE, BOB)
        assert against(room, BOB, BOB, "join") == "member.join.banned"
    room.kick(ALICE, BOB)
    room.set_join_rule("public")
    assert against(room, BOB, BOB, "join") is None


def test_to_a_room_by_invitation_one_is_invited(room):
    room.set_join_rule("invite")
    assert against(room, BOB, BOB, "join") == "member.join.otherwise"
    room.invite(ALICE, BOB)
    assert against(room, BOB, BOB, "join") is None
    room.join(BOB)
    assert against(room, BOB, BOB, "join", content={"displayname": "Bob"}) is None
    room.leave(BOB)
    assert against(room, BOB, BOB, "join") == "member.join.otherwise"


def test_a_room_without_join_rules_is_joined_by_invitation(room):
    for bare in (RoomFactory(room.version, join_rule=None), RoomFactory(room.version)):
        if bare.head.type == "m.room.join_rules":
            bare.send("m.room.join_rules", {}, sender=ALICE, state_key="")
        assert against(bare, BOB, BOB, "join") == "member.join.otherwise"
        bare.invite(ALICE, BOB)
        assert against(bare, BOB, BOB, "join") is None


@pytest.mark.parametrize("rule", ["private", "dance", None, 1, [], {}])
def test_by_an_unknown_join_rule_nobody_comes_in(room, rule):
    room.send("m.room.join_rules", {"join_rule": rule}, sender=ALICE, state_key="")
    room.invite(ALICE, BOB)
    assert against(room, BOB, BOB, "join") == "member.join.otherwise"


@pytest.mark.parametrize(("rule", "since"), [("knock", 7), ("restricted", 8), ("knock_restricted", 10)])
def test_newer_join_rules_let_the_invited_in_from_their_version_on(room, rule, since):
    room.set_join_rule(rule)
    restricted = rule != "knock" and version_of(room) >= since
    uninvited = "member.join.restricted.authoriser" if restricted else "member.join.otherwise"
    assert against(room, BOB, BOB, "join") == uninvited
    room.invite(ALICE, BOB)
    invited = against(room, BOB, BOB, "join")
    assert invited == (None if version_of(room) >= since else "member.join.otherwise")
    if invited is None:
        room.join(BOB)
        assert against(room, BOB, BOB, "join", content={"displayname": "Bob"}) is None


@pytest.mark.parametrize(("rule", "since"), [("restricted", 8), ("knock_restricted", 10)])
def test_a_joined_member_who_may_invite_authorises_a_restricted_join(room, rule, since):
    room.join(BOB)
    room.set_join_rule(rule)

    def join_by(authoriser):
        event = room.build_member(CAROL, CAROL, "join", content={"join_authorised_via_users_server": authoriser})
        return room.rule_against(cosign(event, authoriser.partition(":")[2]))

    if version_of(room) < since:
        assert join_by(BOB) == "member.join.otherwise"
        return
    assert join_by(BOB) is None
    assert join_by(DAVE) == "member.join.restricted.authoriser"  # not a member
    room.set_levels(invite=10)
    assert join_by(BOB) == "member.join.restricted.authoriser"  # may not invite
    assert join_by(ALICE) is None
    room.set_levels(users={BOB: 10})
    assert join_by(BOB) is None
    room.leave(BOB)
    assert join_by(BOB) == "member.join.restricted.authoriser"  # no longer there
    room.ban(ALICE, CAROL)
    assert join_by(ALICE) == "member.join.banned"


# 5.4: invite


def test_only_members_invite(room):
    assert against(room, ALICE, CAROL, "invite") is None
    assert against(room, BOB, CAROL, "invite") == "member.invite.sender"


def test_nobody_is_invited_who_is_there_or_banned(room):
    room.join(BOB)
    assert against(room, ALICE, BOB, "invite") == "member.invite.target"
    room.leave(BOB)
    assert against(room, ALICE, BOB, "invite") is None
    room.invite(ALICE, BOB)
    assert against(room, ALICE, BOB, "invite") is None
    room.ban(ALICE, BOB)
    assert against(room, ALICE, BOB, "invite") == "member.invite.target"


def test_inviting_needs_the_invite_level(room):
    room.join(BOB)
    assert against(room, BOB, CAROL, "invite") is None
    room.set_levels(invite=10)
    assert against(room, BOB, CAROL, "invite") == "member.invite.otherwise"
    room.set_levels(users={BOB: 10})
    assert against(room, BOB, CAROL, "invite") is None


# 5.5: leave


def test_one_leaves_a_room_one_is_in_or_invited_to(room):
    assert against(room, BOB, BOB, "leave") == "member.leave.self"
    room.invite(ALICE, BOB)
    assert against(room, BOB, BOB, "leave") is None
    room.join(BOB)
    assert against(room, BOB, BOB, "leave") is None
    room.leave(BOB)
    assert against(room, BOB, BOB, "leave") == "member.leave.self"
    room.ban(ALICE, BOB)
    assert against(room, BOB, BOB, "leave") == "member.leave.self"


def test_from_version_7_on_one_takes_back_a_knock(room):
    room.set_join_rule("knock")
    room.append(room.build_member(BOB, BOB, "knock"))
    assert against(room, BOB, BOB, "leave") == (None if version_of(room) >= 7 else "member.leave.self")


def test_only_members_remove_others(room):
    room.join(BOB)
    assert against(room, ALICE, BOB, "leave") is None
    assert against(room, CAROL, BOB, "leave") == "member.leave.sender"


def test_removing_needs_the_kick_level_and_more_power_than_the_target(room):
    room.join(BOB, CAROL)
    assert against(room, BOB, CAROL, "leave") == "member.leave.otherwise"
    room.set_levels(users={BOB: 50})
    assert against(room, BOB, CAROL, "leave") is None
    room.set_levels(users={CAROL: 50})
    assert against(room, BOB, CAROL, "leave") == "member.leave.otherwise"
    room.set_levels(users={CAROL: 49}, kick=51)
    assert against(room, BOB, CAROL, "leave") == "member.leave.otherwise"
    assert against(room, ALICE, CAROL, "leave") is None


def test_lifting_a_ban_needs_the_ban_level_too(room):
    room.join(BOB)
    room.set_levels(users={BOB: 50})
    room.ban(ALICE, CAROL)
    assert against(room, BOB, CAROL, "leave") is None
    room.set_levels(ban=51)
    assert against(room, BOB, CAROL, "leave") == "member.leave.banned"
    room.set_levels(ban=50, kick=51)
    assert against(room, BOB, CAROL, "leave") == "member.leave.otherwise"


# 5.6: ban


def test_only_members_ban(room):
    assert against(room, ALICE, CAROL, "ban") is None
    assert against(room, BOB, CAROL, "ban") == "member.ban.sender"


def test_banning_needs_the_ban_level_and_more_power_than_the_target(room):
    room.join(BOB, CAROL)
    assert against(room, BOB, CAROL, "ban") == "member.ban.otherwise"
    room.set_levels(users={BOB: 50})
    assert against(room, BOB, CAROL, "ban") is None
    assert against(room, BOB, BOB, "ban") == "member.ban.otherwise"
    room.set_levels(users={CAROL: 50})
    assert against(room, BOB, CAROL, "ban") == "member.ban.otherwise"
    room.set_levels(users={CAROL: 49}, ban=51)
    assert against(room, BOB, CAROL, "ban") == "member.ban.otherwise"
    assert against(room, ALICE, CAROL, "ban") is None


def test_in_version_12_nobody_removes_or_bans_a_creator():
    room = RoomFactory("12", create_content={"additional_creators": [BOB]})
    room.join(BOB, CAROL)
    room.set_levels(users={CAROL: 2**53 - 1})
    for creator in (ALICE, BOB):
        assert against(room, CAROL, creator, "leave") == "member.leave.otherwise"
        assert against(room, CAROL, creator, "ban") == "member.ban.otherwise"
    assert against(room, ALICE, BOB, "ban") == "member.ban.otherwise"
    assert against(room, BOB, CAROL, "ban") is None


# 5.7: knock


@pytest.fixture(params=versions(7))
def knocked(request):
    room = RoomFactory(request.param)
    room.set_join_rule("knock")
    return room


@pytest.mark.parametrize("rule", ["public", "invite", "restricted", "private", "knock", "knock_restricted", None])
def test_one_knocks_where_the_join_rule_says_so(knocked, rule):
    knocked.send("m.room.join_rules", {"join_rule": rule}, sender=ALICE, state_key="")
    allowed = rule == "knock" or (rule == "knock_restricted" and version_of(knocked) >= 10)
    assert against(knocked, BOB, BOB, "knock") == (None if allowed else "member.knock.join_rule")


def test_nobody_knocks_for_another(knocked):
    assert against(knocked, BOB, BOB, "knock") is None
    assert against(knocked, ALICE, BOB, "knock") == "member.knock.sender"


def test_one_knocks_from_outside(knocked):
    knocked.member(BOB, BOB, "knock")
    assert against(knocked, BOB, BOB, "knock") is None
    knocked.invite(ALICE, BOB)
    assert against(knocked, BOB, BOB, "knock") == "member.knock.otherwise"
    knocked.join(BOB)
    assert against(knocked, BOB, BOB, "knock") == "member.knock.otherwise"
    knocked.leave(BOB)
    assert against(knocked, BOB, BOB, "knock") is None
    knocked.ban(ALICE, BOB)
    assert against(knocked, BOB, BOB, "knock") == "member.knock.otherwise"


def test_a_knock_is_no_way_in(knocked):
    knocked.member(BOB, BOB, "knock")
    assert against(knocked, BOB, BOB, "join") == "member.join.otherwise"
    assert knocked.rule_against(knocked.build("m.room.message", {}, sender=BOB)) == "sender"


def test_a_historical_user_is_a_user_like_others(room):
    odd = UserID("@Ünü Süäl!:two.example")
    room.join(odd)
    assert room.rule_against(room.build("m.room.message", {}, sender=odd)) is None
