"""Each rule has the number that it has on the page of its room version; the tables are the pages' own."""

import pytest

from federation.auth.numbers import refused, rule_numbers
from federation.versions import ROOM_VERSIONS
from tests.kit.rooms import versions


def _raise(number):
    """The number after a rule before it went away."""
    top, dot, rest = number.partition(".")
    return f"{int(top) - 1}{dot}{rest}"


THIRD_PARTY = ("banned", "signed", "properties", "mxid", "token", "sender", "signature", "otherwise")

V1 = {
    "create": "1",
    "create.prev_events": "1.1",
    "create.room_id": "1.2",
    "create.room_version": "1.3",
    "create.creator": "1.4",
    "create.allow": "1.5",
    "auth_events": "2",
    "auth_events.duplicate": "2.1",
    "auth_events.selection": "2.2",
    "auth_events.rejected": "2.3",
    "auth_events.create": "2.4",
    "auth_events.room_id": "2.5",
    "federate": "3",
    "aliases": "4",
    "aliases.state_key": "4.1",
    "aliases.domain": "4.2",
    "aliases.allow": "4.3",
    "member": "5",
    "member.shape": "5.1",
    "member.join": "5.2",
    "member.join.creator": "5.2.1",
    "member.join.sender": "5.2.2",
    "member.join.banned": "5.2.3",
    "member.join.invited": "5.2.4",
    "member.join.public": "5.2.5",
    "member.join.otherwise": "5.2.6",
    "member.invite": "5.3",
    "member.invite.third_party": "5.3.1",
    **{f"member.invite.third_party.{name}": f"5.3.1.{n}" for n, name in enumerate(THIRD_PARTY, 1)},
    "member.invite.sender": "5.3.2",
    "member.invite.target": "5.3.3",
    "member.invite.level": "5.3.4",
    "member.invite.otherwise": "5.3.5",
    "member.leave": "5.4",
    "member.leave.self": "5.4.1",
    "member.leave.sender": "5.4.2",
    "member.leave.banned": "5.4.3",
    "member.leave.level": "5.4.4",
    "member.leave.otherwise": "5.4.5",
    "member.ban": "5.5",
    "member.ban.sender": "5.5.1",
    "member.ban.level": "5.5.2",
    "member.ban.otherwise": "5.5.3",
    "member.unknown": "5.6",
    "sender": "6",
    "third_party_invite": "7",
    "third_party_invite.level": "7.1",
    "level": "8",
    "state_key": "9",
    "power_levels": "10",
    "power_levels.users": "10.1",
    "power_levels.first": "10.2",
    "power_levels.property": "10.3",
    "power_levels.property.current": "10.3.1",
    "power_levels.property.new": "10.3.2",
    "power_levels.entry_taken": "10.4",
    "power_levels.entry_taken.current": "10.4.1",
    "power_levels.entry_given": "10.5",
    "power_levels.entry_given.new": "10.5.1",
    "power_levels.user_taken": "10.6",
    "power_levels.user_taken.current": "10.6.1",
    "power_levels.user_given": "10.7",
    "power_levels.user_given.new": "10.7.1",
    "power_levels.allow": "10.8",
    "redaction": "11",
    "redaction.level": "11.1",
    "redaction.domain": "11.2",
    "redaction.otherwise": "11.3",
    "allow": "12",
}
V3 = {name: number for name, number in V1.items() if not name.startswith("redaction")} | {"allow": "11"}
# rule 4 is gone
V6 = {
    name: number if number[0] in "123" and number[1:2] in ("", ".") else _raise(number)
    for name, number in V3.items()
    if not name.startswith("aliases")
}
V7 = V6 | {
    "member.knock": "4.6",
    "member.knock.join_rule": "4.6.1",
    "member.knock.sender": "4.6.2",
    "member.knock.membership": "4.6.3",
    "member.knock.otherwise": "4.6.4",
    "member.unknown": "4.7",
}
# rule 4.2 is new
V8 = {
    name: f"4.{int(number[2]) + 1}{number[3:]}" if name.startswith("member.") and name != "member.shape" else number
    for name, number in V7.items()
} | {
    "member.authoriser": "4.2",
    "member.authoriser.signature": "4.2.1",
    "member.join.restricted": "4.3.5",
    "member.join.restricted.member": "4.3.5.1",
    "member.join.restricted.authoriser": "4.3.5.2",
    "member.join.restricted.allow": "4.3.5.3",
    "member.join.public": "4.3.6",
    "member.join.otherwise": "4.3.7",
}
V10 = V8 | {
    "power_levels.properties": "9.1",
    "power_levels.entries": "9.2",
    "power_levels.users": "9.3",
    "power_levels.first": "9.4",
    "power_levels.property": "9.5",
    "power_levels.property.current": "9.5.1",
    "power_levels.property.new": "9.5.2",
    "power_levels.entry_taken": "9.6",
    "power_levels.entry_taken.current": "9.6.1",
    "power_levels.entry_given": "9.7",
    "power_levels.entry_given.new": "9.7.1",
    "power_levels.user_taken": "9.8",
    "power_levels.user_taken.current": "9.8.1",
    "power_levels.user_given": "9.9",
    "power_levels.user_given.new": "9.9.1",
    "power_levels.allow": "9.10",
}
V11 = {name: number for name, number in V10.items() if name != "create.creator"} | {"create.allow": "1.4"}
V12 = {
    "create": "1",
    "create.prev_events": "1.1",
    "create.room_id": "1.2",
    "create.room_version": "1.3",
    "create.additional_creators": "1.4",
    "create.allow": "1.5",
    "room": "2",
    "auth_events": "3",
    "auth_events.duplicate": "3.1",
    "auth_events.selection": "3.2",
    "auth_events.rejected": "3.3",
    "auth_events.room_id": "3.4",  # the page's source says 5, a reader of the page sees 4
    "federate": "4",
    **{name: f"5{number[1:]}" for name, number in V11.items() if name.startswith("member")},
    "sender": "6",
    "third_party_invite": "7",
    "third_party_invite.level": "7.1",
    "level": "8",
    "state_key": "9",
    "power_levels": "10",
    "power_levels.properties": "10.1",
    "power_levels.entries": "10.2",
    "power_levels.users": "10.3",
    "power_levels.creators": "10.4",
    "power_levels.first": "10.5",
    "power_levels.property": "10.6",
    "power_levels.property.current": "10.6.1",
    "power_levels.property.new": "10.6.2",
    "power_levels.entry_taken": "10.7",
    "power_levels.entry_taken.current": "10.7.1",
    "power_levels.entry_given": "10.8",
    "power_levels.entry_given.new": "10.8.1",
    "power_levels.user_taken": "10.9",
    "power_levels.user_taken.current": "10.9.1",
    "power_levels.user_given": "10.10",
    "power_levels.user_given.new": "10.10.1",
    "power_levels.allow": "10.11",  # the page's source says 10 twice
    "allow": "11",
}
PAGES = {
    "1": V1,
    "2": V1,
    "3": V3,
    "4": V3,
    "5": V3,
    "6": V6,
    "7": V7,
    "8": V8,
    "9": V8,
    "10": V10,
    "11": V11,
    "12": V12,
}


@pytest.mark.parametrize("version", versions())
def test_rules_are_numbered_as_on_the_page_of_the_version(version):
    assert rule_numbers(ROOM_VERSIONS[version]) == PAGES[version]


def test_a_few_numbers_read_from_the_pages_one_by_one():
    found = {version: rule_numbers(ROOM_VERSIONS[version])["member.join.banned"] for version in versions()}
    assert found == dict.fromkeys(versions(1, 5), "5.2.3") | dict.fromkeys(versions(6, 7), "4.2.3") | dict.fromkeys(
        versions(8, 11), "4.3.3"
    ) | {"12": "5.3.3"}
    assert rule_numbers(ROOM_VERSIONS["7"])["member.knock.sender"] == "4.6.2"
    assert rule_numbers(ROOM_VERSIONS["8"])["member.knock.sender"] == "4.7.2"
    assert rule_numbers(ROOM_VERSIONS["9"])["member.leave.otherwise"] == "4.5.5"
    assert rule_numbers(ROOM_VERSIONS["9"])["power_levels.user_given.new"] == "9.7.1"


def test_a_refusal_carries_the_number_and_the_reason():
    refusal = refused(ROOM_VERSIONS["6"], "member.join.banned", "the user is banned")
    assert (refusal.rule, refusal.why) == ("auth 4.2.3", "the user is banned")
