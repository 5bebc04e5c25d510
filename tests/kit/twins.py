"""Two Partas in processes of their own that federate over TLS on loopback, and may be killed at any moment.

What either asks the other goes by its `gate`, what clients ask it by its `desk`: relays that see each request and can
hold it up, so that a kill comes at a moment that the test chooses.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.kit.certificates import Authority
from tests.kit.ports import find_port
from tests.kit.processes import Process, open_configuration
from tests.kit.relay import Relay
from tests.kit.strangers import Person, log_in_or_register

_numbers = count(1)


class Twin:
    """One of two servers. `other` is the other one."""

    other: "Twin"

    def __init__(self, folder: Path, authority: Authority, database: dict[str, str]) -> None:
        folder.mkdir()
        tls = authority.certify(folder, "localhost")
        port, federation = find_port(), find_port()  # nobody takes them while it is dead
        self.gate = Relay(federation, tls)
        self.desk = Relay(port, patient=False)
        self.name = f"localhost:{self.gate.port}"
        self.base_url = f"http://127.0.0.1:{self.desk.port}"
        file = folder / "parta.yaml"
        file.write_text(json.dumps(self._configure(port, federation, database, authority)))
        self.process = Process(file, port)
        self.runs = False

    def _configure(self, port: int, federation: int, database: dict[str, str], authority: Authority) -> dict[str, Any]:
        plain = open_configuration(port, database)
        door = {"port": federation, "bind": ["127.0.0.1"], "resources": ["federation"]}
        return {
            **plain,
            "server_name": self.name,
            "listeners": [*plain["listeners"], door],
            "federation": {"mode": "open"},
            "network": {"trusted_ca": str(authority.file), "allow_private_addresses": True},
        }

    def start(self) -> None:
        """Begin, or begin anew on what is there; waits until it answers."""
        if not self.runs:
            self.process.start()
            self.runs = True
            self.gate.open()
            self.desk.open()

    def kill(self) -> None:
        """End it as a loss of power would: SIGKILL. What comes to it by then waits at the gate, if that is patient."""
        self.runs = False
        self.gate.close()
        self.desk.close()
        self.process.kill()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """It is killed, and begins again after the block."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def person(self, name: str) -> Person:
        """Somebody new, whose name begins like that."""
        return log_in_or_register(self.base_url, f"{name}{next(_numbers)}")

    def end(self) -> None:
        """End it, and the ways to it."""
        self.gate.end()
        self.desk.end()
        self.process.kill()


@contextmanager
def twins(folder: Path, *databases: dict[str, str]) -> Iterator[tuple[Twin, Twin]]:
    """Both, each on its database, for the length of the block."""
    authority = Authority(folder / "authority.pem")
    with ExitStack() as begun:
        both = []
        for name, database in zip(("north", "south"), databases, strict=True):
            both.append(Twin(folder / name, authority, database))
            begun.callback(both[-1].end)
        north, south = both
        north.other, south.other = south, north
        for twin in both:
            twin.start()
        yield north, south
