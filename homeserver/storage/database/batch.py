"""A batch: units of work in one transaction and one commit, tried once on one connection."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from homeserver.storage.database.txn import Link, Txn
from homeserver.storage.database.units import Mark, Settled, Unit
from homeserver.storage.faults import Fault, Outcome, attempt

_READ_MARK = "SELECT position, commits FROM stream_position"
_SET_MARK = (
    "UPDATE stream_position SET position = ?, commits = CASE WHEN commits = ? THEN commits + 1 END WHERE only_row = 1"
)
"""The number of commits may not become NULL, so this fails when somebody else has written meanwhile."""


def read_mark(link: Link) -> Mark:
    """Read where the database stands."""
    position, commits = link.execute(_READ_MARK).fetchone()
    return Mark(position=position, commits=commits)


class Batch:
    """Units to commit on `link`, whose database stands at `mark`. `sent`: the result, once a commit is asked for."""

    def __init__(self, link: Link, mark: Mark, units: Sequence[Unit], seconds: Callable[[], float]) -> None:
        self._link = link
        self._mark = mark
        self._units = units
        self._seconds = seconds
        self._txn = Txn(link, mark.position, mark.commits + 1)
        self.sent: Settled | None = None

    def write_together(self) -> Settled:
        """Run all units and commit.

        Raises: what a unit or the database raises; the transaction is then still open.
        """
        self._link.begin()
        txn = self._txn
        return self._commit([Outcome(unit.run(txn)) for unit in self._units])

    def write_each(self) -> Settled:
        """Run each unit in a savepoint of its own, so that it fails alone, and commit what is left.

        Raises: what the database raises when it is not a unit's fault.
        """
        self._link.begin()
        outcomes = [self._write_alone(unit) for unit in self._units]
        if all(outcome.error is not None for outcome in outcomes):
            self._link.rollback()
            return Settled(units=self._units, outcomes=outcomes, mark=self._mark)
        return self._commit(outcomes)

    def _write_alone(self, unit: Unit) -> Outcome[Any]:
        position, told = self._txn.last_position, len(self._txn.changes)
        self._link.execute("SAVEPOINT unit")
        outcome = attempt(self._run_whole, unit)
        if outcome.error is not None:
            if self._link.fault(outcome.error) is not Fault.UNIT:
                raise outcome.error
            self._txn.rewind(position, told)
            self._link.rollback_unit()
        return outcome

    def _run_whole(self, unit: Unit) -> Any:
        value = unit.run(self._txn)
        self._txn.flush()
        self._link.execute("RELEASE SAVEPOINT unit")
        return value

    def _commit(self, outcomes: Sequence[Outcome[Any]]) -> Settled:
        self._txn.flush()
        position, commits = self._txn.last_position, self._mark.commits
        self.sent = Settled(
            units=self._units,
            outcomes=outcomes,
            mark=Mark(position, commits + 1),
            changes=self._txn.changes,
            committed=True,
        )
        self._link.defer(_SET_MARK, ((position, commits),))
        began = self._seconds()
        self._link.commit()
        return replace(self.sent, commit_seconds=self._seconds() - began)
