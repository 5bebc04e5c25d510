"""The system's DNS servers, for SRV records; names of hosts are resolved by the system itself."""

from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.names.client import Resolver

CONFIGURATION: Final = Path("/etc/resolv.conf")
_PORT: Final = 53


class SystemResolver:
    """Asks the servers of a resolv.conf, which is read again when it has changed; without one, the local server."""

    def __init__(self, reactor: Any, file: Path = CONFIGURATION) -> None:
        self._reactor = reactor
        self._file = file
        self._read_at: int | None = -1
        self._resolver: Any = None

    def lookupService(self, name: str, timeout: Any = None) -> Deferred[Any]:  # noqa: N802 - Twisted's name
        """The answers, authorities and additional records for the SRV records of that name."""
        changed_at = self._changed_at()
        if self._resolver is None or changed_at != self._read_at:
            self._read_at = changed_at
            self._resolver = Resolver(servers=self._servers(), reactor=self._reactor)
        looked_up: Deferred[Any] = self._resolver.lookupService(name, timeout)
        return looked_up

    def _changed_at(self) -> int | None:
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return None

    def _servers(self) -> list[tuple[str, int]]:
        try:
            lines = [line.split() for line in self._file.read_text(encoding="ascii", errors="replace").splitlines()]
        except OSError:
            lines = []
        named = [(words[1], _PORT) for words in lines if len(words) > 1 and words[0] == "nameserver"]
        return named or [("127.0.0.1", _PORT)]
