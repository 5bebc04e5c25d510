"""Invites by third party: proved by a signature with one of the keys that the third-party invite names."""

import pytest

from federation.auth import check_auth
from federation.auth.invites import MAX_TRIALS
from federation.errors import Refused
from federation.signatures import sign_json
from tests.kit.rooms import ALICE, BOB, CAROL, RoomFactory, signing_key, spoil, versions

KEY = signing_key("identity.example")
OTHER = signing_key("elsewhere.example")
PUBLIC = KEY.verify_key.encode()


@pytest.fixture(params=versions())
def room(request):
    room = RoomFactory(request.param, join_rule="invite")
    offer(room)
    return room


def offer(room, *, sender=ALICE, **content):
    content = content or {"display_name": "b...", "key_validity_url": "https://identity.example/", "public_key": PUBLIC}
    return room.send("m.room.third_party_invite", content, sender=sender, state_key="token")


def answer(signed=None, *, key=KEY, **facts):
    signed = {"mxid": BOB, "token": "token", **facts} if signed is None else signed
    return {"third_party_invite": {"display_name": "b...", "signed": sign_json(signed, "identity.example", key)}}


def against(room, content, *, sender=ALICE, target=BOB):
    return room.rule_against(room.build_member(sender, target, "invite", content=content))


def test_an_invite_is_proved_by_the_key_of_the_third_party_invite(room):
    assert against(room, answer()) is None
    assert against(room, answer(key=OTHER)) == "member.invite.third_party.otherwise"


def test_what_is_not_signed_may_be_added_and_what_is_signed_not_changed(room):
    content = answer(note="signed with the rest")
    content["third_party_invite"]["signed"]["unsigned"] = {"age": 1}
    assert against(room, content) is None
    content["third_party_invite"]["signed"]["note"] = "changed"
    assert against(room, content) == "member.invite.third_party.otherwise"


def test_the_keys_may_be_in_a_list(room):
    offer(room, public_keys=[{"public_key": OTHER.verify_key.encode()}, {"public_key": PUBLIC}])
    assert against(room, answer()) is None
    offer(room, public_key=OTHER.verify_key.encode(), public_keys=[{"public_key": PUBLIC}])
    assert against(room, answer()) is None
    assert against(room, answer(key=OTHER)) is None


def test_a_key_may_be_in_the_urlsafe_alphabet(room):
    seeds = (signing_key(f"{n}.example") for n in range(100))
    key = next(key for key in seeds if "/" in key.verify_key.encode() and "+" in key.verify_key.encode())
    offer(room, public_key=key.verify_key.encode().replace("+", "-").replace("/", "_"))
    assert against(room, answer(key=key)) is None


@pytest.mark.parametrize(
    "content",
    [
        {"display_name": "no key"},
        {"public_key": None},
        {"public_key": 5},
        {"public_key": "not base64!"},
        {"public_key": PUBLIC[:-4]},
        {"public_keys": PUBLIC},
        {"public_keys": {"public_key": PUBLIC}},
        {"public_keys": [PUBLIC, None, {}, {"public_key": ""}, {"key": PUBLIC}]},
    ],
)
def test_what_is_no_key_proves_nothing(room, content):
    offer(room, **content)
    assert against(room, answer()) == "member.invite.third_party.otherwise"


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        {},
        "x",
        {"identity.example": None},
        {"identity.example": {"rsa:1": "GOOD"}},
        {"identity.example": {"ed25519:1": "not base64!"}},
        {"identity.example": {"ed25519:1": ""}},
        {"identity.example": {"ed25519:1": 5}},
    ],
)
def test_what_is_no_signature_proves_nothing(room, signatures):
    content = answer()
    signed = content["third_party_invite"]["signed"]
    good = signed["signatures"]["identity.example"][KEY.key_id]
    if isinstance(signatures, dict) and signatures.get("identity.example") == {"rsa:1": "GOOD"}:
        signatures = {"identity.example": {"rsa:1": good}}
    signed["signatures"] = signatures
    assert against(room, content) == "member.invite.third_party.otherwise"
    signed["signatures"] = {"anybody": {"ed25519:any": good}}
    assert against(room, content) is None


def test_numbers_that_cannot_be_signed_prove_nothing():
    room = RoomFactory("1", join_rule="invite")
    offer(room)
    event = room.build_member(ALICE, BOB, "invite", content=answer())
    signed = {**event.content["third_party_invite"]["signed"], "weight": 1.5}
    bad = spoil(event, content={"membership": "invite", "third_party_invite": {"signed": signed}})
    assert room.rule_against(event) is None
    assert room.rule_against(bad) == "member.invite.third_party.otherwise"


def test_a_heap_of_keys_and_signatures_costs_a_bounded_number_of_trials(room):
    bad = signing_key("bad.example").verify_key.encode()
    offer(room, public_keys=[{"public_key": bad}] * (MAX_TRIALS - 1) + [{"public_key": PUBLIC}])
    assert against(room, answer()) is None
    offer(room, public_keys=[{"public_key": bad}] * MAX_TRIALS + [{"public_key": PUBLIC}])
    assert against(room, answer()) == "member.invite.third_party.otherwise"


def test_a_banned_user_is_not_invited_this_way(room):
    room.ban(ALICE, BOB)
    assert against(room, answer()) == "member.invite.third_party.banned"


@pytest.mark.parametrize("given", [None, "x", {}, {"signed": None}, {"signed": {}}, {"signed": "x"}])
def test_an_answer_holds_something_signed(room, given):
    assert against(room, {"third_party_invite": given}) == "member.invite.third_party.signed"


@pytest.mark.parametrize(
    "signed", [{"mxid": BOB}, {"token": "token"}, {"mxid": BOB, "token": 5}, {"mxid": 5, "token": "token"}]
)
def test_the_signed_part_names_user_and_token(room, signed):
    assert against(room, answer(signed)) == "member.invite.third_party.properties"


def test_the_signed_user_is_the_target(room):
    assert against(room, answer(mxid=CAROL)) == "member.invite.third_party.mxid"
    assert against(room, answer(mxid=CAROL), target=CAROL) is None


def test_the_token_is_that_of_a_third_party_invite_of_the_room(room):
    assert against(room, answer(token="another")) == "member.invite.third_party.token"


def test_the_third_party_invite_is_of_the_same_sender(room):
    room.invite(ALICE, CAROL)
    room.join(CAROL)
    assert against(room, answer(), sender=CAROL) == "member.invite.third_party.sender"
    offer(room, sender=CAROL, public_key=PUBLIC)
    assert against(room, answer(), sender=CAROL) is None


def test_the_proof_stands_for_the_senders_presence(room):
    """As the spec has it: rule 5.4.1.7 allows before the sender's membership is looked at."""
    event = room.build_member(ALICE, BOB, "invite", content=answer())
    room.leave(ALICE)
    assert room.rule_against(event) is None
    with pytest.raises(Refused):
        check_auth(spoil(event, content={"membership": "invite"}), room.state().get, create=room.create)
