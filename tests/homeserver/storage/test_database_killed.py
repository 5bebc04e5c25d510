"""A process that is killed in the midst of writing: what it acknowledged is there, and it starts again."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from config.settings import PostgreSQL
from homeserver.storage.database import Database
from tests.kit.databases import Place, on_both_databases
from tests.kit.note_writer import NOTES
from tests.kit.notes import load_nids, make_notes

ROOT = Path(__file__).parents[3]
KILLS = 4


@on_both_databases
class Killed(TestCase):
    db: Database
    place: Place

    def write_until_killed(self, lines: int) -> list[int]:
        """Let a process write, kill it after so many acknowledgements; all that it gave."""
        settings = self.place.settings
        place = settings.dsn if isinstance(settings, PostgreSQL) else str(self.place.data_dir)
        command = [sys.executable, "-m", "tests.kit.note_writer", place]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(lines)]
            writer.kill()
            return acknowledged + [int(line) for line in writer.stdout if line.endswith(b"\n")]

    async def test_each_acknowledged_note_is_there(self) -> None:
        await self.db.write(make_notes)
        acknowledged: list[int] = []
        for kill in range(KILLS):
            await self.db.close()
            acknowledged += self.write_until_killed(100 + 77 * kill)
            self.db = self.place.open(schema=NOTES)
            stored = await self.db.read(load_nids)
            self.assertLessEqual(set(acknowledged), set(stored))
            self.assertEqual(self.db.position, len(stored))
        self.assertEqual(len(acknowledged), len(set(acknowledged)))
