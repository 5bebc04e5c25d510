"""Migrations: those of the tree in both dialects, and what the runner refuses."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from homeserver.storage.database import CannotOpen, Dialect, Schema, migrate_database
from homeserver.storage.database.engine import build_connect
from homeserver.storage.database.statements import Row
from homeserver.storage.migrations import MIGRATIONS, load_migrations
from tests.kit.databases import START_MS, Place, make_empty_sqlite, make_on_cluster, session_cluster

DIALECTS: tuple[Dialect, ...] = ("sqlite", "postgresql")
_SQLITE_COLUMNS = """SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
  WHERE m.type = 'table' AND m.name NOT LIKE '%\\_fts%' ESCAPE '\\' ORDER BY m.name, c.cid"""
_POSTGRESQL_COLUMNS = """SELECT table_name, column_name FROM information_schema.columns
  WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"""
_SQLITE_SCHEMA = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
_POSTGRESQL_SCHEMA = """SELECT 'column', table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public'
  UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'
  UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  ORDER BY 1, 2, 3"""


def query(place: Place, sqlite: str, postgresql: str) -> list[Row]:
    """Ask a database that nobody has open."""
    link = build_connect(place.settings, place.data_dir)(False)
    try:
        return link.execute(sqlite if link.dialect == "sqlite" else postgresql).fetchall()
    finally:
        link.close()


def load_schema(place: Place) -> list[Row]:
    return query(place, _SQLITE_SCHEMA, _POSTGRESQL_SCHEMA)


class Folders(SynchronousTestCase):
    """Makes fresh places and folders of migrations."""

    def make_place(self, dialect: Dialect) -> Place:
        place = make_empty_sqlite() if dialect == "sqlite" else make_on_cluster(session_cluster())
        self.addCleanup(place.remove)
        return place

    def make_folder(self, files: dict[str, str] | None = None) -> Path:
        """A folder of migrations; a name without dialect is a file in both."""
        folder = Path(tempfile.mkdtemp(prefix="parta-migrations-"))
        self.addCleanup(shutil.rmtree, folder)
        for name, text in (files or {}).items():
            names = [name] if name.endswith(".sql") else [f"{name}.{dialect}.sql" for dialect in DIALECTS]
            for each in names:
                (folder / each).write_text(text)
        return folder

    def migrate(self, place: Place, folder: Path = MIGRATIONS) -> list[str]:
        schema = Schema(migrations=folder, sequences={})
        return migrate_database(place.settings, place.data_dir, lambda: START_MS, schema=schema)

    def check_refused(self, place: Place, folder: Path, words: str) -> None:
        with self.assertRaisesRegex(CannotOpen, words) as caught:
            self.migrate(place, folder)
        self.assertNotIn("\n", str(caught.exception))


class OfTheTree(Folders):
    def test_each_earlier_version_comes_to_what_an_empty_database_comes_to(self) -> None:
        for dialect in DIALECTS:
            migrations = load_migrations(MIGRATIONS, dialect)
            labels = [migration.label for migration in migrations]
            fresh = self.make_place(dialect)
            self.assertEqual(self.migrate(fresh), labels)
            for number in range(1, len(labels)):
                earlier = self.make_folder()
                for path in MIGRATIONS.glob("*.sql"):
                    if path.name.split(".")[0] in labels[:number]:
                        shutil.copy(path, earlier)
                place = self.make_place(dialect)
                self.assertEqual(self.migrate(place, earlier), labels[:number])
                self.assertEqual(self.migrate(place), labels[number:])
                self.assertEqual(load_schema(place), load_schema(fresh), (dialect, labels[number - 1]))

    def test_both_dialects_have_the_same_tables_and_columns(self) -> None:
        columns = []
        for dialect in DIALECTS:
            place = self.make_place(dialect)
            self.migrate(place)
            columns.append(query(place, _SQLITE_COLUMNS, _POSTGRESQL_COLUMNS))
        self.assertEqual(columns[0], columns[1])

    def test_a_database_that_is_up_to_date_is_left_alone(self) -> None:
        for dialect in DIALECTS:
            place = self.make_place(dialect)
            self.migrate(place)
            self.assertEqual(self.migrate(place), [])


class Running(Folders):
    first = "CREATE TABLE one (a TEXT);\n-- done; or not?\nINSERT INTO one (a) VALUES ('x; y');\n"

    def on_each(self, check: Callable[[Place], None]) -> None:
        for dialect in DIALECTS:
            with self.subTest(dialect=dialect):
                check(self.make_place(dialect))

    def rows(self, place: Place, sql: str = "SELECT a FROM one") -> Sequence[Row]:
        return query(place, sql, sql)

    def test_each_file_runs_once_and_is_recorded(self) -> None:
        def check(place: Place) -> None:
            folder = self.make_folder({"0001_one": self.first})
            self.assertEqual(self.migrate(place, folder), ["0001_one"])
            self.assertEqual(self.migrate(place, folder), [])
            self.assertEqual(self.rows(place), [("x; y",)])
            record = self.rows(place, "SELECT number, name, length(checksum), applied_at_ms FROM schema_migrations")
            self.assertEqual(record, [(1, "one", 64, START_MS)])

        self.on_each(check)

    def test_statements_end_where_the_database_says_so(self) -> None:
        trigger = {
            "0002_two.sqlite.sql": """/* a; b */ CREATE TRIGGER t AFTER INSERT ON one WHEN new.a <> 'y' BEGIN
                INSERT INTO one (a) VALUES ('y'); UPDATE one SET a = '100%;' WHERE a = 'y'; END; -- last; %s ?""",
            "0002_two.postgresql.sql": """/* a; b */ CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF new.a <> '100%;' THEN INSERT INTO one (a) VALUES ('100%;'); END IF; RETURN NULL; END; $$;
                CREATE TRIGGER t AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION f() -- last; %s ?""",
            "0003_three": "INSERT INTO one (a) VALUES ('z')",
        }

        def check(place: Place) -> None:
            folder = self.make_folder({"0001_one": self.first, **trigger})
            self.assertEqual(self.migrate(place, folder), ["0001_one", "0002_two", "0003_three"])
            self.assertEqual(self.rows(place, "SELECT a FROM one ORDER BY a"), [("100%;",), ("x; y",), ("z",)])

        self.on_each(check)

    def test_one_that_fails_leaves_nothing_of_itself_and_all_before_it(self) -> None:
        def check(place: Place) -> None:
            spoiled = {
                "0001_one": self.first,
                "0002_two": "DELETE FROM one; CREATE TABLE two (b TEXT); SELECT nothing;",
            }
            self.check_refused(place, self.make_folder(spoiled), "migration 0002_two failed: .*nothing")
            self.assertEqual(self.rows(place), [("x; y",)])
            mended = {"0001_one": self.first, "0002_two": "CREATE TABLE two (b TEXT);"}
            self.assertEqual(self.migrate(place, self.make_folder(mended)), ["0002_two"])

        self.on_each(check)

    def test_one_may_not_end_its_transaction(self) -> None:
        def check(place: Place) -> None:
            folder = self.make_folder({"0001_one": "CREATE TABLE one (a TEXT); COMMIT;"})
            self.check_refused(place, folder, "migration 0001_one failed: it ended its transaction")

        self.on_each(check)

    def test_one_may_make_a_table_anew_that_others_refer_to(self) -> None:
        place = self.make_place("sqlite")
        files = {
            "0001_one": "CREATE TABLE one (a TEXT PRIMARY KEY); CREATE TABLE two (a TEXT REFERENCES one (a));"
            " INSERT INTO one VALUES ('x'); INSERT INTO two VALUES ('x');",
            "0002_two": "CREATE TABLE new (a TEXT PRIMARY KEY, b TEXT); INSERT INTO new SELECT a, 'b' FROM one;"
            " DROP TABLE one; ALTER TABLE new RENAME TO one;",
        }
        self.migrate(place, self.make_folder(files))
        self.assertEqual(self.rows(place, "SELECT a, b FROM one"), [("x", "b")])
        lossy = self.make_folder({**files, "0003_three": "DELETE FROM one;"})
        self.check_refused(place, lossy, "migration 0003_three failed: it leaves table two with references to nothing")
        self.assertEqual(self.rows(place, "SELECT a, b FROM one"), [("x", "b")])


ONE = {"0001_one": "CREATE TABLE one (a TEXT);"}
TWO = {"0002_two": "CREATE TABLE two (a TEXT);"}


class Refusing(Folders):
    def check_after(self, before: dict[str, str], after: dict[str, str], words: str) -> None:
        for dialect in DIALECTS:
            place = self.make_place(dialect)
            self.migrate(place, self.make_folder(before))
            self.check_refused(place, self.make_folder(after), words)
            self.assertEqual(self.migrate(place, self.make_folder(before)), [])

    def test_a_file_that_was_changed_is_refused(self) -> None:
        changed = {"0001_one": "CREATE TABLE one (a TEXT); -- more"}
        self.check_after(ONE, changed, "^migration 0001_one was changed after the database had run it$")

    def test_a_file_that_is_missing_is_refused(self) -> None:
        self.check_after({**ONE, **TWO}, TWO, "^the database has migration 0001_one, whose file is missing$")

    def test_a_database_of_a_newer_version_is_refused(self) -> None:
        words = "^the database was written by a newer version: it has migration 0002_two$"
        self.check_after({**ONE, **TWO}, ONE, words)

    def test_a_file_that_comes_late_is_refused(self) -> None:
        words = "^migration 0001_one came after the database had run a later one$"
        self.check_after(TWO, {**ONE, **TWO}, words)

    def test_line_ends_of_another_system_change_nothing(self) -> None:
        place = self.make_place("sqlite")
        folder = self.make_folder(ONE)
        path = folder / "0001_one.sqlite.sql"
        path.write_bytes(b"CREATE TABLE one (\n a TEXT);\n")
        self.migrate(place, folder)
        path.write_bytes(b"CREATE TABLE one (\r\n a TEXT);\r\n")
        self.assertEqual(self.migrate(place, folder), [])

    def test_files_that_do_not_belong_together_are_refused(self) -> None:
        place = self.make_place("sqlite")
        text = "SELECT 1;"
        for files, words in (
            ({"0001_one": text, "0001_two": text}, "^migration number 0001 is taken twice: one and two$"),
            ({"0001_one.sqlite.sql": text}, "^migration 0001_one is missing in postgresql$"),
            ({"0001_one.postgresql.sql": text}, "^migration 0001_one is missing in sqlite$"),
            ({"1_one.sqlite.sql": text}, "^migration 1_one.sqlite.sql is not named NNNN_name"),
        ):
            self.check_refused(place, self.make_folder(files), words)
