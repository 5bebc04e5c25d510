"""The daily upkeep: what has had its time goes, what is in use stays, and a restart carries on."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from homeserver.storage.database import Txn
from homeserver.storage.doomed import doom_media
from homeserver.storage.media.keeping import Round, find_round, set_round
from tests.api.test_admin_media import DAY_MS, named
from tests.api.test_previews import picture
from tests.kit.server import ServerCase


def _make_all_old(txn: Txn, days: int) -> None:
    txn.run("UPDATE media SET created_ms = created_ms - ?, used_ms = used_ms - ?", (days * DAY_MS,) * 2)
    txn.run("DELETE FROM media_rounds")


class Upkeep(ServerCase):
    """A homeserver that keeps files for five days."""

    configuration: dict[str, Any] = {"media": {"retention": {"local_days": 5, "remote_days": 2}}}

    async def left(self) -> set[str]:
        """The media IDs that there are, once a round is made; as many files are on the disk."""
        await self.server.media.upkeep.work()
        rows = await self.server.core.database.read(lambda txn: txn.all("SELECT media_id FROM media"))
        files = [path for path in (self.settings.media.path / "files").rglob("*") if path.is_file()]
        assert len(files) == len(rows)
        return {media_id for (media_id,) in rows}

    async def grow_old(self, days: int) -> None:
        """Let all files be older, and the next round be due."""
        await self.server.core.database.write(_make_all_old, days)

    async def put(self, content: bytes, content_type: str = "image/png") -> str:
        """Upload a picture."""
        uri = await self.alice.upload(content)
        kind = (content_type, named(uri))
        await self.server.core.database.write(
            lambda txn: txn.run("UPDATE media SET content_type = ? WHERE media_id = ?", kind)
        )
        return uri

    async def test_what_nobody_shows_has_its_time(self) -> None:
        self.alice = await self.register("alice")
        room = await self.alice.create_room()
        shown, face, secret, unshown, retracted = [await self.put(picture((n, 9))) for n in range(1, 6)]
        secret = await self.put(b"secret", "application/octet-stream")
        event_ids = [
            await self.alice.send_event(room, "m.room.message", {"msgtype": "m.image", "body": "x", "url": uri})
            for uri in (shown, retracted)
        ]
        await self.alice.ok("PUT", f"/profile/{self.alice.user_id}/avatar_url", {"avatar_url": face})
        await self.alice.ok("PUT", f"/rooms/{quote(room)}/redact/{quote(event_ids[1])}/r", {})
        await self.grow_old(4)
        assert len(await self.left()) == 6
        await self.grow_old(2)
        assert await self.left() == {named(uri) for uri in (shown, face, secret)}
        young = await self.put(picture((9, 9)))
        assert named(young) in await self.left()

    async def test_the_operator_may_keep_less(self) -> None:
        self.alice = await self.register("alice")
        room = await self.alice.create_room()
        shown, face, hall = [await self.put(picture((n, 9))) for n in range(1, 4)]
        await self.alice.send_event(room, "m.room.message", {"msgtype": "m.image", "body": "x", "url": shown})
        await self.alice.ok("PUT", f"/profile/{self.alice.user_id}/avatar_url", {"avatar_url": face})
        await self.alice.set_state(room, "m.room.avatar", {"url": hall})
        await self.keep(keep_shown=False)
        await self.grow_old(6)
        assert await self.left() == {named(face), named(hall)}
        await self.keep(keep_shown=False, keep_pictures=False)
        await self.grow_old(1)
        assert await self.left() == set()

    async def keep(self, **changes: bool) -> None:
        """Begin anew with another retention."""
        media = self.settings.media
        retention = msgspec.structs.replace(media.retention, **changes)
        self.settings = msgspec.structs.replace(
            self.settings, media=msgspec.structs.replace(media, retention=retention)
        )
        await self.restart()

    async def test_files_without_a_record_are_taken_away_once_they_are_old(self) -> None:
        self.alice = await self.register("alice")
        kept = await self.put(picture())
        lost, young = self._drop("0a" + "0" * 30, old=True), self._drop("0b" + "0" * 30, old=False)
        thumbnail = self._drop("ff" + "0" * 30, old=True, kind="thumbnails", ending="-32x32-crop.png")
        for path in (self.settings.media.path / "files").rglob("*"):
            if path.is_file() and path != young:
                os.utime(path, (0, 0))
        await self.server.media.upkeep.work()
        assert (lost.exists(), thumbnail.exists(), young.exists()) == (False, False, True)
        young.unlink()
        assert await self.left() == {named(kept)}

    async def test_a_round_goes_on_where_a_restart_has_left_it(self) -> None:
        early, late = self._drop("10" + "0" * 30, old=True), self._drop("20" + "0" * 30, old=True)
        database = self.server.core.database
        await database.write(set_round, "sweep", Round("11", 0))
        await self.server.media.upkeep.work()
        assert (early.exists(), late.exists()) == (True, False)
        assert (await database.read(find_round, "sweep")).place == ""
        await self.server.media.upkeep.work()  # a day has not passed
        assert early.exists()
        await database.write(set_round, "sweep", Round("", 0))
        await self.server.media.upkeep.work()
        assert not early.exists()

    async def test_what_a_crash_has_left_goes_at_the_next_start(self) -> None:
        self.alice = await self.register("alice")
        uri = await self.put(picture())
        which = [("parta.test", named(uri))]
        await self.server.core.database.write(doom_media, which)  # and then the power fails
        await self.restart()
        assert await self.left() == set()

    def _drop(self, name: str, *, old: bool, kind: str = "files", ending: str = "") -> Path:
        """Put a file on the disk that nobody knows."""
        path = self.settings.media.path / kind / name[:2] / name[2:4] / (name + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        if old:
            os.utime(path, (0, 0))
        return path


class UpkeepOnPostgreSQL(Upkeep):
    """The same on the other database."""

    dialect = "postgresql"
