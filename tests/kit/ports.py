"""Ports of loopback for servers of tests."""

import secrets
import socket
from contextlib import suppress


def find_port() -> int:
    """A port of loopback that is free, and none of those that connections outward take meanwhile, before the server
    begins or while it is stopped.
    """
    for _ in range(100):
        number = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as taken, suppress(OSError):
            taken.bind(("127.0.0.1", number))
            return number
    raise AssertionError("no port is free")
