"""Importing a roster: all of it or, where it has a fault, nothing; on wish only what would be done.

It is done in steps of some people each, a unit of work a step. Cut off in the middle, the same roster again does the
rest: what is done already is no action any more.

School: row 28
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

from homeserver.policy import Conflict
from homeserver.schools.books import Deed, Entry
from homeserver.schools.classes import year_end_ms
from homeserver.schools.deeds import Pen
from homeserver.schools.desk import Desk
from homeserver.schools.facts import Facts
from homeserver.schools.office import Asker, check_may_command
from homeserver.schools.organisations import GRADED
from homeserver.schools.rights import Command
from homeserver.schools.roster.plan import SOURCE, Action, Plan, Terms, build_plan
from homeserver.schools.roster.rows import parse_roster
from homeserver.schools.school import School

_STEP: Final = 20
_FEW: Final = 3
_SHARE: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a roster is to be taken: only tried (`dry_run`), as `complete`, so that who is missing leaves.

    `leaving` is how many may leave; without it a few people, or one in ten.
    """

    dry_run: bool = False
    complete: bool = False
    leaving: int | None = None


class Rosters:
    """Imports the rosters of the region's organisations."""

    def __init__(self, facts: Facts, desk: Desk) -> None:
        self._facts = facts
        self._desk = desk

    async def take(self, asker: Asker, org_id: str, text: str, wish: Wish) -> Plan:
        """Do what the roster wants, unless it has faults; the plan says what that is.

        Raises: NotFound; BadRoster: it is none; Conflict: too many would leave.

        School: row 28
        """
        await check_may_command(self._facts, asker, Command.ENROL, org_id)
        made: list[Plan] = []

        def plan(school: School) -> Iterator[Deed]:
            made.append(self._read(school, text, wish))
            if not wish.dry_run and not made[0].faults:
                check_leaving(school, made[0], wish)
                yield from _deeds(made[0].actions)

        await self._desk.perform(org_id, asker.user_id, plan)
        return made[0]

    def _read(self, school: School, text: str, wish: Wish) -> Plan:
        world = self._desk.world
        rows, faults = parse_roster(text, graded=school.org.kind in GRADED)
        terms = Terms(complete=wish.complete, until_ms=year_end_ms(world.now_ms()), new_user_id=world.new_user_id)
        plan = build_plan(school, rows, terms)
        faults = sorted([*faults, *plan.faults], key=lambda fault: fault.line)
        return Plan(actions=plan.actions, faults=faults, leaving=plan.leaving)


def check_leaving(school: School, plan: Plan, wish: Wish) -> None:
    """Refuse to let more people go than was said, or than a slip of the hand should.

    Raises: Conflict.
    """
    present = len({role.user_id for role in school.current_roles()})
    most = max(_FEW, present // _SHARE) if wish.leaving is None else wish.leaving
    if len(plan.leaving) > most:
        raise Conflict("M_INVALID_PARAM", f"{len(plan.leaving)} of {present} people would leave: say so with leaving")


def _deeds(actions: Sequence[Action]) -> Iterator[Deed]:
    """The actions in steps; those of one person are in one step, so that nobody is taken in by half."""
    step: list[Action] = []
    for action in actions:
        if len(step) >= _STEP and step[-1].user_id != action.user_id:
            yield _deed(step)
            step = []
        step.append(action)
    if step:
        yield _deed(step)


def _deed(actions: Sequence[Action]) -> Deed:
    def change(school: School, pen: Pen) -> School:
        return reduce(lambda school, action: action.change(school, pen), actions, school)

    entries = [Entry(f"roster_{action.what}", action.user_id, {"line": action.line}) for action in actions]
    return Deed(change=change, entries=entries, source=SOURCE)
