"""Rule 5: who may enter, be asked in, leave, be sent away, be shut out, and knock.

Comments carry the numbers of the page of version 12.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from federation.auth.case import Case
from federation.auth.invites import check_third_party_invite
from federation.errors import BadIdentifier
from federation.ids import parse_user_id, server_of


def check_member(case: Case) -> None:
    """Refuse a membership that the state does not allow.

    Raises: Refused.
    Spec: rooms/v12#authorisation-rules
    """
    event = case.event
    # 5.1 the shape
    if event.state_key is None or "membership" not in event.content:
        raise case.malformed("member.shape", "no state key or no membership")
    # 5.2 the server that let a restricted join in has signed
    if event.version.restricted_join and "join_authorised_via_users_server" in event.content:
        _check_authoriser_signed(case)
    check = _CHECKS.get(event.membership or "")
    # 5.8 an unknown membership
    if check is None or (event.membership == "knock" and not event.version.knock):
        raise case.malformed("member.unknown", "the membership is unknown")
    check(case, event.state_key)


def _check_authoriser_signed(case: Case) -> None:
    try:
        server = server_of(parse_user_id(case.event.content["join_authorised_via_users_server"]))
    except BadIdentifier:
        raise case.refused("member.authoriser.signature", "the authorising user is no user") from None
    # 5.2.1 that each signature is a true one is seen to on the event's receipt
    if not case.event.signatures.get(server):
        raise case.refused("member.authoriser.signature", "the authorising user's server has not signed")


def _check_join(case: Case, target: str) -> None:
    event = case.event
    # 5.3.1 the creator's first join
    if event.prev_events == (case.create.event_id,) and target == _creator(case):
        return
    # 5.3.2 for somebody else
    if event.sender != target:
        raise case.refused("member.join.sender", "nobody joins for another")
    membership = case.membership_of(target)
    # 5.3.3 banned
    if membership == "ban":
        raise case.refused("member.join.banned", "the user is banned")
    rule, version = case.join_rule, event.version
    # 5.3.4 by invitation
    if rule == "invite" or (rule == "knock" and version.knock):
        if membership in ("invite", "join"):
            return
    # 5.3.5 by invitation or by authority of a member who may invite
    elif _is_restricted(case, rule):
        # 5.3.5.1 invited, or joined already
        if membership not in ("join", "invite"):
            _check_authoriser(case)
        return
    # 5.3.6 free to all
    elif rule == "public":
        return
    # 5.3.7
    raise case.refused("member.join.otherwise", "the join rule does not let the user in")


def _creator(case: Case) -> object:
    # not `PowerLevels.creators`: an additional creator has to be invited like others
    create = case.create
    return create.sender if case.version.implicit_creator else create.content.get("creator")


def _is_restricted(case: Case, rule: object) -> bool:
    return (rule == "restricted" and case.version.restricted_join) or (
        rule == "knock_restricted" and case.version.knock_restricted
    )


def _check_authoriser(case: Case) -> None:
    authoriser = case.event.content.get("join_authorised_via_users_server")
    # 5.3.5.2 a joined member who may invite
    if (
        not isinstance(authoriser, str)
        or case.membership_of(authoriser) != "join"
        or case.levels.power_of(authoriser) < case.levels.invite
    ):
        raise case.refused("member.join.restricted.authoriser", "no joined member who may invite authorises the join")


def _check_invite(case: Case, target: str) -> None:
    # 5.4.1 by a third party
    if "third_party_invite" in case.event.content:
        check_third_party_invite(case, target)
        return
    # 5.4.2 the sender is joined
    if case.membership_of(case.event.sender) != "join":
        raise case.refused("member.invite.sender", "the sender is not joined")
    # 5.4.3 the target is outside
    if case.membership_of(target) in ("join", "ban"):
        raise case.refused("member.invite.target", "the user is joined or banned")
    # 5.4.4, 5.4.5 the invite level
    if case.levels.power_of(case.event.sender) < case.levels.invite:
        raise case.refused("member.invite.otherwise", "the sender may not invite")


def _check_leave(case: Case, target: str) -> None:
    sender = case.event.sender
    membership = case.membership_of(target)
    # 5.5.1 one's own
    if sender == target:
        if membership not in ("invite", "join") and not (membership == "knock" and case.version.knock):
            raise case.refused("member.leave.self", "the user is not in, invited or knocking")
        return
    # 5.5.2 the sender is joined
    if case.membership_of(sender) != "join":
        raise case.refused("member.leave.sender", "the sender is not joined")
    levels = case.levels
    power = levels.power_of(sender)
    # 5.5.3 lifting a ban
    if membership == "ban" and power < levels.ban:
        raise case.refused("member.leave.banned", "the sender may not lift bans")
    # 5.5.4, 5.5.5 the kick level, and more power than the target
    if power < levels.kick or levels.power_of(target) >= power:
        raise case.refused("member.leave.otherwise", "the sender may not remove this user")


def _check_ban(case: Case, target: str) -> None:
    sender = case.event.sender
    # 5.6.1 the sender is joined
    if case.membership_of(sender) != "join":
        raise case.refused("member.ban.sender", "the sender is not joined")
    levels = case.levels
    power = levels.power_of(sender)
    # 5.6.2, 5.6.3 the ban level, and more power than the target
    if power < levels.ban or levels.power_of(target) >= power:
        raise case.refused("member.ban.otherwise", "the sender may not ban this user")


def _check_knock(case: Case, target: str) -> None:
    rule = case.join_rule
    # 5.7.1 the join rule
    if rule != "knock" and not (rule == "knock_restricted" and case.version.knock_restricted):
        raise case.refused("member.knock.join_rule", "nobody knocks on this room")
    # 5.7.2 for somebody else
    if case.event.sender != target:
        raise case.refused("member.knock.sender", "nobody knocks for another")
    # 5.7.3, 5.7.4 the user is outside and may come back
    if case.membership_of(target) in ("ban", "invite", "join"):
        raise case.refused("member.knock.otherwise", "the user is banned, invited or joined")


_CHECKS: Final[Mapping[str, Callable[[Case, str], None]]] = MappingProxyType(
    {
        "join": _check_join,
        "invite": _check_invite,
        "leave": _check_leave,
        "ban": _check_ban,
        "knock": _check_knock,
    }
)
