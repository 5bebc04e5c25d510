"""The readers: a few threads, each with a connection that sees one consistent snapshot per read and cannot write."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from homeserver.storage.database.txn import Link, Txn
from homeserver.storage.database.units import Unit
from homeserver.storage.database.writer import unavailable
from homeserver.storage.faults import Fault, Outcome, attempt


class Readers:
    """`number` reading threads. `settle` is called in them, once per read."""

    def __init__(self, number: int, connect: Callable[[], Link], settle: Callable[[Unit, Outcome[Any]], None]) -> None:
        self._connect = connect
        self._settle = settle
        self._waiting: SimpleQueue[Unit | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"storage-reader-{n}", daemon=True) for n in range(number)
        ]

    def start(self) -> None:
        """Begin to serve."""
        for thread in self._threads:
            thread.start()

    def put(self, unit: Unit) -> None:
        """Let a read wait for the next free thread."""
        self._waiting.put(unit)

    def stop(self) -> None:
        """Serve what waits and end; `join` then waits for the end."""
        for _ in self._threads:
            self._waiting.put(None)

    def join(self) -> None:
        """Wait for the threads to end."""
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        reader = Reader(self._connect)
        while (unit := self._waiting.get()) is not None:
            self._settle(unit, reader.read(unit))
            reader.rest()
        reader.close()


class Reader:
    """One thread's connection, opened when first needed and again after it was lost."""

    def __init__(self, connect: Callable[[], Link]) -> None:
        self._connect = connect
        self._link: Link | None = None

    def read(self, unit: Unit) -> Outcome[Any]:
        """Run a read; once more on a new connection when the old one is found dead."""
        outcome = attempt(self._run, unit)
        if outcome.error is None:
            return outcome
        fault = self._find_fault(outcome.error)
        if fault is Fault.LOST:
            self.close()
            outcome = attempt(self._run, unit)
            fault = self._find_fault(outcome.error) if outcome.error is not None else Fault.UNIT
        if fault is Fault.UNIT or outcome.error is None:
            return outcome
        self.close()
        return Outcome(None, unavailable(outcome.error))

    def rest(self) -> None:
        """Let go of the snapshot, after the answer."""
        if self._link is not None and attempt(self._link.rollback).error is not None:
            self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._link is not None:
            attempt(self._link.close)
            self._link = None

    def _run(self, unit: Unit) -> Any:
        if self._link is None:
            self._link = self._connect()
        self._link.begin()
        txn = Txn(self._link)
        value = unit.run(txn)
        if txn.wrote:
            raise TypeError(f"{unit.work!r} writes, but was handed to read()")
        return value

    def _find_fault(self, error: BaseException) -> Fault:
        """Say whose fault an error is; without a connection, it is the connecting that failed."""
        return Fault.STORAGE if self._link is None else self._link.fault(error)
