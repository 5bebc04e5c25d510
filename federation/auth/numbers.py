"""Which number each rule has on which page.

The rules of a version form a list of lists; a version that lacks a rule moves up all that follow. So a rule is known by
a name, a path through the outline below, and its number is counted from the version's switches.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TypeAlias

from federation.errors import Refused
from federation.versions import RoomVersion

Outline: TypeAlias = Sequence["str | tuple[str, Outline]"]


def refused(version: RoomVersion, rule: str, why: str, kind: type[Refused] = Refused) -> Refused:
    """The refusal by the rule of that name, carrying its number in that version."""
    return kind(f"auth {rule_numbers(version)[rule]}", why)


@cache
def rule_numbers(version: RoomVersion) -> Mapping[str, str]:
    """Name -> number, for all rules of a version: `{"member.join.banned": "5.3.3", ...}`.

    Spec: rooms/v12#authorisation-rules
    """
    return dict(_number(_outline(version), "", ""))


def _number(outline: Outline, path: str, prefix: str) -> Iterator[tuple[str, str]]:
    for position, item in enumerate(outline, 1):
        name, children = (item, ()) if isinstance(item, str) else item
        yield f"{path}{name}", f"{prefix}{position}"
        yield from _number(children, f"{path}{name}.", f"{prefix}{position}.")


def _when(there: bool, *items: "str | tuple[str, Outline]") -> Outline:
    return items if there else ()


def _outline(version: RoomVersion) -> Outline:
    return (
        ("create", _create(version)),
        *_when(version.room_id_is_create_hash, "room"),
        ("auth_events", _auth_events(version)),
        "federate",
        *_when(version.aliases_special_auth, ("aliases", ("state_key", "domain", "allow"))),
        ("member", _member(version)),
        "sender",
        ("third_party_invite", ("level",)),
        "level",
        "state_key",
        ("power_levels", _power_levels(version)),
        *_when(version.redaction_auth_by_server, ("redaction", ("level", "domain", "otherwise"))),
        "allow",
    )


def _create(version: RoomVersion) -> Outline:
    return (
        "prev_events",
        "room_id",
        "room_version",
        *_when(not version.implicit_creator, "creator"),
        *_when(version.creators_are_supreme, "additional_creators"),
        "allow",
    )


def _auth_events(version: RoomVersion) -> Outline:
    return ("duplicate", "selection", "rejected", *_when(version.create_in_auth_events, "create"), "room_id")


def _member(version: RoomVersion) -> Outline:
    return (
        "shape",
        *_when(version.restricted_join, ("authoriser", ("signature",))),
        ("join", _join(version)),
        ("invite", (("third_party", _THIRD_PARTY), "sender", "target", "level", "otherwise")),
        ("leave", ("self", "sender", "banned", "level", "otherwise")),
        ("ban", ("sender", "level", "otherwise")),
        *_when(version.knock, ("knock", ("join_rule", "sender", "membership", "otherwise"))),
        "unknown",
    )


def _join(version: RoomVersion) -> Outline:
    return (
        "creator",
        "sender",
        "banned",
        "invited",
        *_when(version.restricted_join, ("restricted", ("member", "authoriser", "allow"))),
        "public",
        "otherwise",
    )


_THIRD_PARTY = ("banned", "signed", "properties", "mxid", "token", "sender", "signature", "otherwise")


def _power_levels(version: RoomVersion) -> Outline:
    return (
        *_when(version.integer_power_levels, "properties", "entries"),
        "users",
        *_when(version.creators_are_supreme, "creators"),
        "first",
        ("property", ("current", "new")),
        ("entry_taken", ("current",)),
        ("entry_given", ("new",)),
        ("user_taken", ("current",)),
        ("user_given", ("new",)),
        "allow",
    )
