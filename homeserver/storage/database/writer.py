"""The one writer: every unit of work that waits goes into one transaction and one commit (group commit).

1. A batch is run as a whole. If that works, everybody is answered after the one commit.
2. If a unit raises, the whole is rolled back and each unit runs again in a savepoint of its own, to fail alone.
3. If the connection is lost, a new one shows by the number of commits whether the batch is in the database: if so it is
   answered, if not it is run once more.
4. If the database cannot take it, everybody is told so, and the next batch begins on a new connection. Should a batch
   turn out then to have been committed after all, its changes are told, for readers will see them.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from homeserver.storage.database.batch import Batch, read_mark
from homeserver.storage.database.txn import Link
from homeserver.storage.database.units import Settled, Unit
from homeserver.storage.faults import Fault, Outcome, StorageUnavailable, attempt

MOST_UNITS = 200
"""In one batch: more would gain nothing, and answering them would keep the reactor for too long at a time."""


class Writer:
    """The writing thread, on `link` first. It calls `settle` once per batch, in the order of commits."""

    def __init__(
        self, link: Link, connect: Callable[[], Link], settle: Callable[[Settled], None], seconds: Callable[[], float]
    ) -> None:
        self._connect = connect
        self._settle = settle
        self._seconds = seconds
        self._waiting: SimpleQueue[Unit | None] = SimpleQueue()
        self._link: Link | None = link
        self._mark = read_mark(link)
        self._batch: Batch | None = None
        self._doubt: Settled | None = None
        self._thread = threading.Thread(target=self._serve, name="storage-writer", daemon=True)

    def start(self) -> int:
        """Begin to serve; the stream position at which the database stands."""
        self._thread.start()
        return self._mark.position

    def put(self, unit: Unit) -> None:
        """Let a unit wait for the next batch."""
        self._waiting.put(unit)

    def stop(self) -> None:
        """Serve what waits and end; `join` then waits for the end."""
        self._waiting.put(None)

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def _serve(self) -> None:
        last = False
        while not last:
            units, last = self._take()
            if units:
                self._settle(self._write(units))
        self._drop()

    def _take(self) -> tuple[list[Unit], bool]:
        """Wait for a unit and take all that wait with it; true when none will follow."""
        units: list[Unit] = []
        unit = self._waiting.get()
        while unit is not None:
            units.append(unit)
            if len(units) == MOST_UNITS:
                return units, False
            try:
                unit = self._waiting.get_nowait()
            except Empty:
                return units, False
        return units, True

    def _write(self, units: Sequence[Unit]) -> Settled:
        written = attempt(self._write_once, units)
        if written.error is not None and self._is_lost(written.error):
            self._drop()
            written = attempt(self._write_once, units)
        if written.error is not None:
            return self._fail(units, written.error)
        self._batch = None
        self._mark = written.value.mark
        return written.value

    def _write_once(self, units: Sequence[Unit]) -> Settled:
        """Write on the connection that there is, or else on a new one, which may show what was in doubt."""
        link = self._link
        if link is None:
            link = self._link = self._connect()
            self._mark = read_mark(link)
            doubt, self._doubt = self._doubt, None
            if doubt is not None and doubt.mark == self._mark:
                if doubt.units is units:
                    return doubt
                self._settle(doubt)
        return self._write_batch(link, units)

    def _write_batch(self, link: Link, units: Sequence[Unit]) -> Settled:
        batch = self._batch = Batch(link, self._mark, units, self._seconds)
        together = attempt(batch.write_together)
        if together.error is None:
            return together.value
        if link.fault(together.error) is not Fault.UNIT:
            raise together.error
        link.rollback()
        if len(units) == 1 and batch.sent is None:
            return Settled(units=units, outcomes=[together], mark=self._mark)
        self._mark = read_mark(link)
        self._batch = Batch(link, self._mark, units, self._seconds)
        return self._batch.write_each()

    def _is_lost(self, error: BaseException) -> bool:
        return self._link is not None and self._link.fault(error) is Fault.LOST

    def _drop(self) -> None:
        """Let go of the connection; what was sent on it last is in doubt."""
        if self._batch is not None:
            self._doubt, self._batch = self._batch.sent, None
        if self._link is not None:
            attempt(self._link.close)
            self._link = None

    def _fail(self, units: Sequence[Unit], error: BaseException) -> Settled:
        """Tell everybody; nobody is answered later for what is in doubt, only its changes may be told."""
        self._drop()
        if self._doubt is not None:
            self._doubt = replace(self._doubt, units=(), outcomes=())
        outcomes: list[Outcome[Any]] = [Outcome(None, unavailable(error)) for _ in units]
        return Settled(units=units, outcomes=outcomes, mark=self._mark, fault=error)


def unavailable(error: BaseException) -> StorageUnavailable:
    """The error that callers see, with its cause."""
    fault = StorageUnavailable(f"storage unavailable: {str(error).strip() or type(error).__name__}")
    fault.__cause__ = error
    return fault
