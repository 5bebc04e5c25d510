"""What a server has logged as a fault of its own, which no request may ever bring about."""

import logging
from unittest import TestCase


class LoggedFaults(logging.Handler):
    """Collects the messages, with what was raised, while a test runs."""

    def __init__(self, case: TestCase) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []
        logging.getLogger().addHandler(self)
        case.addCleanup(logging.getLogger().removeHandler, self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        raised = record.exc_info[1] if record.exc_info else None
        self.messages.append(record.getMessage() if raised is None else f"{record.getMessage()}\n{raised!r}")

    def check(self) -> None:
        """Fail when there was any."""
        assert not self.messages, "\n".join(self.messages)
