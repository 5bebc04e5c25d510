"""One event before the rules: what it claims, and the state it is judged by."""

from collections.abc import Callable
from typing import Any, TypeAlias

from federation.auth.levels import PowerLevels
from federation.auth.numbers import refused
from federation.errors import Malformed, Refused
from federation.event import Event
from federation.ids import StateKey

FindState: TypeAlias = Callable[[StateKey], Event | None]
"""The event that stands under a key in the state one judges by, or None."""


class Case:
    """The event, its room's create event and state, with the power levels read when first asked for."""

    __slots__ = ("_levels", "create", "event", "find", "version")

    def __init__(self, event: Event, find: FindState, create: Event, levels: PowerLevels | None) -> None:
        self.event = event
        self.version = event.version
        self.find = find
        self.create = create
        self._levels = levels

    @property
    def levels(self) -> PowerLevels:
        """The power levels in the state one judges by."""
        if self._levels is None:
            current = self.find(("m.room.power_levels", ""))
            self._levels = PowerLevels.of(self.version, self.create, current)
        return self._levels

    @property
    def join_rule(self) -> Any:
        """The room's join rule, whatever it is; a room that names none is joined by invitation.

        Spec: rooms/v12#authorisation-rules
        """
        rules = self.find(("m.room.join_rules", ""))
        return "invite" if rules is None else rules.content.get("join_rule", "invite")

    def membership_of(self, user: str) -> str | None:
        """The user's current membership; None for somebody the room never heard of."""
        member = self.find(("m.room.member", user))
        return None if member is None else member.membership

    def refused(self, rule: str, why: str) -> Refused:
        """The refusal by that rule, for raising."""
        return refused(self.version, rule, why)

    def malformed(self, rule: str, why: str) -> Refused:
        """The refusal by that rule of what nobody could send, for raising."""
        return refused(self.version, rule, why, Malformed)
