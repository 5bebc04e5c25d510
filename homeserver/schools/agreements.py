"""Cooperations as far as they say who belongs somewhere: which roles of which organisations, until when. Pure.

Organisations of two regions, or of one, agree on a purpose, the roles that they admit and a term. What those roles may
do in the rooms of the purpose is in `rights`.

School: rows 63, 67, 68
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from federation.ids import ServerName, UserID, server_of

_OF_CHILDREN = "pupil"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A cooperation that is in force until `until_ms`: people with `roles` of `org_id`, which is of this region, and of
    the other region's organisation belong in its rooms; of our pupils those who are among the `pupils`.

    `server` is the other organisation's region. It may be this one: then each of the two has its own agreement.
    """

    cooperation_id: str
    org_id: str
    server: ServerName
    roles: frozenset[str]
    until_ms: int
    pupils: frozenset[UserID] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """What another region vouches for: somebody's role, in one cooperation, until `until_ms`."""

    cooperation_id: str
    role: str
    until_ms: int


def roles_agreed(user_id: UserID, held: Iterable[tuple[str, str]], agreements: Iterable[Agreement]) -> set[str]:
    """The roles that count under agreements, of those that somebody of our region has: (organisation, role)."""
    roles = frozenset(held)
    return {
        role
        for agreement in agreements
        for org_id, role in roles
        if org_id == agreement.org_id
        and role in agreement.roles
        and (role != _OF_CHILDREN or user_id in agreement.pupils)
    }


def roles_vouched(
    user_id: UserID, vouchers: Collection[Voucher], agreements: Iterable[Agreement], now_ms: int
) -> set[str]:
    """The roles that count under agreements now, of those that another region vouches for."""
    server = server_of(user_id)
    return {
        voucher.role
        for agreement in agreements
        for voucher in vouchers
        if agreement.server == server
        and agreement.cooperation_id == voucher.cooperation_id
        and voucher.role in agreement.roles
        and now_ms < min(voucher.until_ms, agreement.until_ms)
    }
