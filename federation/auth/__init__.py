"""Authorisation: which events a room's rules allow, in every room version.

Here lives the choice of auth events (`selection`), the rules (`rules`, with memberships, invites by third party and
power level changes in modules of their own), the view of power levels (`levels`) and who may redact whom
(`redactions`). The cryptographic checks of an event come before, in `federation.signatures`; what becomes of a
refused event (rejected, soft-failed, dropped) is its receiver's business.

An event passes `check_auth_events` once, on receipt, and `check_auth` for each state it is judged by: its own auth
events, the state before it, the state of today.

Rule numbers. Comments number each rule as the page of room version 12 does. A refusal carries the number that the
rule has on the page of the event's own version (a ban met by a join is `auth 5.2.3` in version 5, `auth 4.2.3` in 6,
`auth 4.3.3` in 8, `auth 5.3.3` in 12), made by `numbers` from the rule's name. Numbers are those a reader of the
rendered page sees: a list counts on where its source skips or repeats a number.

To add a rule: a switch in `versions`, the rule's name in the outline in `numbers`, the check at its place in the
spec's order, and a test in each version it spans, the good case beside the bad.

Spec: server-server-api#authorisation-rules
"""

from federation.auth.levels import CREATOR_LEVEL, PowerLevels
from federation.auth.redactions import may_redact
from federation.auth.rules import check_auth
from federation.auth.selection import auth_types, check_auth_events

__all__ = ["CREATOR_LEVEL", "PowerLevels", "auth_types", "check_auth", "check_auth_events", "may_redact"]
