"""All that there is of a person can be taken out: whole, readable, harmless to open, and no more than they may see."""

from argparse import Namespace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import msgspec

from homeserver.accounts.commands import export_user
from homeserver.commands import CommandFailed
from homeserver.schools.export import person as export_of_person
from tests.kit.server import ServerCase

EVIL = '<script>alert("school")</script>'


class Exporting(ServerCase):
    """What the operator takes out for somebody."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")

    async def export(self, to: str = "alice.zip", **wanted: Any) -> Path:
        """As the operator does at the console; where it is."""
        path = self.folder / to
        self.said: list[str] = []
        arguments = Namespace(user="alice", to=str(path), **{"shown_files": False, **wanted})
        await export_user(self.server.clerk, arguments, self.said.append)
        return path

    async def live(self) -> str:
        """Something to export; the room."""
        alice, bob = self.alice, self.bob
        room = await alice.create_room(name=f"Room {EVIL}", preset="public_chat")
        await bob.ok("PUT", f"/profile/{bob.user_id}/displayname", {"displayname": f"Bob {EVIL}"})
        await bob.join(room)
        await bob.send(room, f"from Bob {EVIL}")
        uri = await alice.upload(b"picture of Alice's")
        await alice.send_event(room, "m.room.message", {"msgtype": "m.image", "body": f"x{EVIL}", "url": uri})
        theirs = await bob.upload(b"picture of Bob's")
        await bob.send_event(room, "m.room.message", {"msgtype": "m.file", "body": "theirs", "url": theirs})
        await alice.ok("PUT", f"/user/{alice.user_id}/account_data/test.note", {"note": "mine"})
        return room

    async def test_an_archive_has_data_rooms_and_files(self) -> None:
        room = await self.live()
        path = await self.export()
        with ZipFile(path) as archive:
            assert archive.testzip() is None
            names = set(archive.namelist())
            assert {"index.html", "data/profile.json", "rooms/1.json", "rooms/1.html"} <= names
            data = msgspec.json.decode(archive.read("data/account_data.json"))
            assert {"room_id": "", "type": "test.note", "content": {"note": "mine"}} in data
            events = [msgspec.json.decode(line) for line in archive.read("rooms/1.json").splitlines()]
            assert {event["room_id"] for event in events} == {room}
            assert f"from Bob {EVIL}" in {event["content"].get("body") for event in events}
            (media,) = [name for name in names if name.startswith("media/")]
            assert archive.read(media) == b"picture of Alice's"
            assert f'href="../{media}"'.encode() in archive.read("rooms/1.html")
        assert path.stat().st_mode & 0o077 == 0
        assert "1 rooms" in self.said[-1]

    async def test_pages_show_what_was_said_and_run_nothing(self) -> None:
        await self.live()
        with ZipFile(await self.export()) as archive:
            for name in archive.namelist():
                if name.endswith(".html"):
                    page = archive.read(name).decode()
                    assert "<script" not in page
                    assert "default-src 'none'" in page
            assert "from Bob &lt;script&gt;" in archive.read("rooms/1.html").decode()

    async def test_a_folder_is_the_same_and_others_files_come_if_wanted(self) -> None:
        await self.live()
        folder = await self.export("alice", shown_files=True)
        files = {file.read_bytes() for file in (folder / "media").iterdir()}
        assert files == {b"picture of Alice's", b"picture of Bob's"}
        with self.assertRaises(CommandFailed):
            await self.export("alice")

    async def test_nothing_goes_along_that_the_person_could_not_see(self) -> None:
        room = await self.live()
        await self.alice.leave(room)
        await self.bob.send(room, "after Alice had left")
        await self.bob.create_room(name="Bob's own")
        folder = await self.export("alice")
        text = "".join(file.read_text() for file in folder.rglob("*") if file.suffix in (".json", ".html"))
        assert "from Bob" in text
        assert "after Alice had left" not in text
        assert "Bob's own" not in text

    async def test_a_long_room_is_written_page_by_page(self) -> None:
        self.patch(export_of_person, "AT_ONCE", 5)
        room = await self.live()
        for number in range(23):
            await self.alice.send(room, f"message {number}")
        folder = await self.export("alice")
        lines = (folder / "rooms/1.json").read_bytes().splitlines()
        ids = [msgspec.json.decode(line)["event_id"] for line in lines]
        assert len(ids) == len(set(ids))
        said = (folder / "rooms/1.html").read_text()
        assert all(f"</b>message {number}</p>" in said for number in range(23))

    async def test_what_fails_leaves_nothing_behind(self) -> None:
        await self.live()
        (self.folder / "alice.zip").write_bytes(b"is there")
        with self.assertRaises(CommandFailed):
            await self.export()
        with self.assertRaises(CommandFailed):
            arguments = Namespace(user="alice", to="relative.zip", shown_files=False)
            await export_user(self.server.clerk, arguments, lambda line: None)
        assert not list(self.folder.glob("*.part"))


class ExportingOnPostgreSQL(Exporting):
    """The same on PostgreSQL."""

    dialect = "postgresql"
