"""Relations as they are kept: which rows there are, also of events from before there was the table."""

from typing import Any
from urllib.parse import quote

from homeserver.storage.database import Row, Txn
from homeserver.storage.migrations import MIGRATIONS, load_migrations
from homeserver.storage.relations import Wanted, load_children
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase

ROWS = """
    SELECT event_nid, room_nid, parent_id, rel_type, type, sender, annotation, sound, depth, stream, group_nid
    FROM relations"""


def load_rows(txn: Txn) -> list[Row]:
    return sorted(txn.all(ROWS))


def fill_again(txn: Txn) -> list[Row]:
    """Run the part of the migration that takes in what is there."""
    (script,) = [each.script for each in load_migrations(MIGRATIONS, txn.dialect) if each.name == "relations"]
    txn.run("DELETE FROM relations")
    txn.run(script[script.index("INSERT INTO") :].rstrip().removesuffix(";"))
    return load_rows(txn)


def related(kind: object, event_id: object, **more: object) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": kind, "event_id": event_id, **more}}


@on_both_databases
class StoredRelations(HouseCase):
    async def test_a_row_is_written_with_the_event_and_goes_with_its_content(self) -> None:
        room = await self.alice.create()
        root = await self.alice.say(room)
        reaction = await self.alice.send(room, "m.reaction", related("m.annotation", root, key="👍"))
        ((_, _, *row, sound, _, _, _),) = await self.db.read(load_rows)
        self.assertEqual(row, [root, "m.annotation", "m.reaction", self.alice.user_id, "👍"])
        self.assertEqual(sound, 1)
        await self.alice.redact(room, reaction)
        self.assertEqual(await self.db.read(load_rows), [])

    async def test_nothing_is_kept_of_an_event_that_is_refused(self) -> None:
        room = await self.alice.create(power_level_content_override={"events": {"m.reaction": 101}})
        root = await self.alice.say(room)
        await self.bob.refused("PUT", f"/rooms/{quote(room)}/send/m.reaction/1", related("m.annotation", root, key="x"))
        self.assertEqual(await self.db.read(load_rows), [])

    async def test_events_from_before_are_taken_in_as_new_ones_are(self) -> None:
        room = await self.alice.create()
        root = await self.alice.say(room)
        redacted = await self.alice.send(room, "m.reaction", related("m.annotation", root, key="gone"))
        await self.alice.redact(room, redacted)
        new = {"m.new_content": {"body": "x"}}
        for kind, content in (
            ("m.room.message", {**related("m.replace", root), **new}),
            ("m.room.message", related("m.replace", root)),
            ("m.room.message", {**related("m.replace", root), "m.new_content": []}),
            ("m.room.encrypted", {**related("m.replace", root), "ciphertext": "x"}),
            ("m.room.message", related("m.thread", root, is_falling_back=True)),
            ("m.room.message", related("m.reference", "$unknown")),
            ("m.reaction", related("m.\0", "$\0", key="\0")),
            ("m.room.message", related("org.example.ünknown", root, key={"a": 1})),
            ("m.reaction", related("m.annotation", root, key="ключ \\u0041 \"'")),
            ("m.reaction", related("m.annotation", root)),
            ("m.reaction", related("m.annotation", root, key=5)),
            ("m.room.message", related("m.reference", "x" * 256)),
            ("m.room.message", related("ы" * 128, root)),
            ("m.room.message", related("m.reference", "")),
            ("m.room.message", related(1, root)),
            ("m.room.message", related("m.reference", None)),
            ("m.room.message", {"m.relates_to": "m.reference"}),
            ("m.room.message", {"m.relates_to": [root]}),
            ("m.room.message", {"m.relates_to": {"m.in_reply_to": {"event_id": root}}}),
            ("m.room.message", {"body": '"m.relates_to"', "nested": related("m.reference", root)}),
            ("m.room.message", {"body": "\0", "x": 1e0 == 1, "y": None}),
        ):
            await self.alice.send(room, kind, content)
        await self.alice.put(room, "m.room.topic", {"topic": "x", **related("m.replace", root), **new})
        await self.alice.put(room, "m.room.topic", {"topic": "x", **related("m.thread", root)})
        written = await self.db.read(load_rows)
        self.assertEqual([row[7] for row in written], [1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
        self.assertEqual(await self.db.write(fill_again), written)

    async def test_what_relates_to_itself_is_followed_to_an_end(self) -> None:
        room = await self.alice.create()
        root = await self.alice.say(room)
        child = await self.alice.send(room, "org.poke", related("m.reference", root))
        ((nid, room_nid, *_),) = await self.db.read(load_rows)

        def tie(txn: Txn) -> list[tuple[int, tuple[int, int]]]:
            """Old room versions let a server choose IDs, so that a child may be its parent's parent."""
            (root_nid,) = txn.one("SELECT nid FROM events WHERE event_id = ?", (root,)) or (0,)
            txn.run(
                "INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, type, sender, sound, group_nid,"
                " depth, stream) VALUES (?, ?, ?, 'm.reference', 'org.poke', '@x:y', 1, 1, 1, 1)",
                (root_nid, room_nid, child),
            )
            wanted = Wanted(nid=root_nid, event_id=root, depth=3)
            return load_children(txn, room_nid, wanted, (2**40, 0), 100, backwards=True)

        found = await self.db.write(tie)
        self.assertEqual([each[0] for each in found], [nid])
