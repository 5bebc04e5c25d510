"""How long those who took nothing are left alone before they are tried again."""

from typing import ClassVar

from twisted.internet.interfaces import IDelayedCall


class Patience:
    """Waits twice as long after each failure in a row, from the first delay to the longest (seconds).

    `timer` is set while it waits; whoever tries again sets it to None, whoever succeeds sets `failures` to 0.
    """

    __slots__ = ("failures", "timer")

    first_delay_s: ClassVar[float]
    longest_delay_s: ClassVar[float]

    def __init__(self) -> None:
        self.failures = 0
        self.timer: IDelayedCall | None = None

    def delay_s(self, chance: float) -> float:
        """After another failure, how long to wait: less up to a half by `chance` (0 to 1)."""
        self.failures += 1
        whole = min(self.first_delay_s * 2.0 ** min(self.failures - 1, 20), self.longest_delay_s)
        return whole * (1 - chance / 2)

    def stop_waiting(self) -> None:
        """Forget when it was to be tried again."""
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()
