"""What the operator's commands share: how one is written, how it is asked for, and how it fails.

A command is a sub-parser with ``set_defaults(act=...)``: an async function of its part of the server (the clerk of
accounts, the bureau of schools), the parsed arguments, and a way to say lines. It is done in the server that runs on
the data directory, asked through a socket (`control`), or, when none runs, in a process that opens the database for
it. So a command never stands beside a running server, and looks the same in both cases.

Files that a command reads are arguments of type ``Path``; a password that is piped into it is ``arguments.password``.
To add a command: add a sub-parser in the ``commands`` module of its package.
"""

from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from msgspec import Struct

Say: TypeAlias = Callable[[str], object]
"""Prints a line for the operator."""

Act: TypeAlias = Callable[[Any, Namespace, Say], Awaitable[None]]
"""What a command does."""


class CommandFailed(Exception):
    """The command was not done; the message is one line for the operator."""


class Request(Struct, frozen=True):
    """A command as it was typed: its arguments, the content of the files they name, and what was piped into it."""

    argv: list[str]
    files: dict[str, bytes] = {}
    password: str | None = None


class Outcome(Struct, frozen=True):
    """What came of a command: the lines it said, and why it failed, if it did."""

    lines: list[str]
    failure: str | None = None
