"""A process that writes notes and says which were acknowledged, to be killed: `python -m tests.kit.note_writer PLACE`.

PLACE is a folder for SQLite, or the connection string of a PostgreSQL database. Each line that it prints is the id of a
note that is committed.
"""

import os
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from config.settings import PostgreSQL, SQLite
from homeserver.storage.database import Database, Schema
from tests.kit.databases import Place
from tests.kit.notes import append_note

SENDERS = 20
NOTES = Schema(sequences={"notes": ("notes", "nid")})


def read_place(text: str) -> Place:
    """Read what the command line says."""
    settings = PostgreSQL(dsn=text) if "=" in text else SQLite()
    return Place(settings=settings, data_dir=Path(text), remove=lambda: None)


async def send(database: Database) -> None:
    """Write one note after the other, until killed."""
    while True:
        nid = database.next_id("notes")
        await database.write(append_note, nid)
        os.write(1, b"%d\n" % nid)


def main() -> None:
    """Write."""
    database = read_place(sys.argv[1]).open(schema=NOTES)
    for _ in range(SENDERS):
        Deferred.fromCoroutine(send(database))
    reactor.run()


if __name__ == "__main__":
    main()
