"""What operators see of files and do with them, over HTTP and on the disk."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.task import deferLater

from homeserver.schools.rights import Kind
from homeserver.storage.accounts import set_admin
from homeserver.storage.audit import Which, load_audit
from homeserver.storage.database import Txn
from tests.api.test_previews import picture
from tests.kit.databases import reactor_in_use
from tests.kit.district import DistrictCase
from tests.kit.people import Person
from tests.kit.server import ServerCase
from tests.kit.wire import Wire, encode_request

ADMIN = "/_synapse/admin/v1"
V1 = "/_matrix/client/v1/media"
DAY_MS = 24 * 60 * 60 * 1000
NOT_THERE = (404, "M_NOT_FOUND")


def where(uri: str) -> str:
    """Server and media ID, as paths have them."""
    return uri.removeprefix("mxc://")


def named(uri: str) -> str:
    """The media ID."""
    return uri.rpartition("/")[2]


def _grow_old(txn: Txn, uri: str, days: int) -> None:
    txn.run("UPDATE media SET used_ms = used_ms - ? WHERE media_id = ?", (days * DAY_MS, named(uri)))


def _move_away(txn: Txn, uri: str) -> None:
    """Let a file be the copy of another server's."""
    txn.run("UPDATE media SET origin = 'far.example', uploader = NULL WHERE media_id = ?", (named(uri),))


class AdminMedia(ServerCase):
    """A plain homeserver with an operator, and two people in a room."""

    configuration = {"media": {"legacy_paths": True}}

    async def setUp(self) -> None:
        await super().setUp()
        self.head, self.alice, self.bob = [await self.register(name) for name in ("head", "alice", "bob")]
        await self.server.core.database.write(set_admin, self.head.user_id, True)
        self.room = await self.alice.create_room(preset="public_chat")
        await self.bob.join(self.room)

    async def do(self, method: str, path: str, **query: object) -> Any:
        """Ask as the operator."""
        return await self.head.ok(method, ADMIN + path, {} if method == "POST" else None, **query)

    async def show(self, person: Person, uri: str) -> None:
        """Show a file in the room."""
        await person.send_event(self.room, "m.room.message", {"msgtype": "m.file", "body": "x", "url": uri})

    async def gone(self, uri: str, *, here: str = "") -> bool:
        """Whether nobody gets the file in any way; all ways agree, and answer as if there had never been one."""
        answers = []
        for what in (where(uri), f"{here or 'parta.test'}/{'0' * 32}"):
            ways = (
                f"{V1}/download/{what}", f"{V1}/download/{what}/a.png", f"{V1}/thumbnail/{what}?width=32&height=32",
                f"/_matrix/media/v3/download/{what}", f"/_matrix/media/r0/thumbnail/{what}?width=32&height=32",
            )  # fmt: skip
            answers.append([await self.call("GET", way, token=self.alice.token) for way in ways])
        found, absent = [[(reply.status, reply.body) for reply in replies] for replies in answers]
        assert found == absent or {status for status, _ in found} == {200}, found
        return found == absent

    async def ask_for_part(self, uri: str) -> int:
        """Ask for the first bytes of a file; the status."""
        wire = Wire(self.factory)
        waiting = wire.reply()
        headers = {"Authorization": f"Bearer {self.alice.token}", "Range": "bytes=0-1"}
        wire.send(encode_request("GET", f"{V1}/download/{where(uri)}", headers))
        status = (await waiting).status
        await deferLater(reactor_in_use(), 0)  # the server is still writing it
        wire.hang_up()
        return status

    def on_disk(self) -> list[Path]:
        """All files that are there, thumbnails too."""
        return [path for path in self.settings.media.path.rglob("*") if path.is_file()]

    async def grow_old(self, uri: str, days: int) -> None:
        """Let a file not have been got for so many days."""
        await self.server.core.database.write(_grow_old, uri, days)

    async def log(self) -> list[tuple[str, str, str]]:
        """Who did what to what, the latest last."""
        entries = await self.server.core.database.read(load_audit, Which(), 100)
        return [(entry.done_by, entry.deed, entry.subject) for entry in reversed(entries) if "media" in entry.deed]

    async def test_what_is_in_quarantine_is_nowhere_and_kept(self) -> None:
        uri, other = await self.alice.upload(picture()), await self.bob.upload(picture((9, 9)))
        assert not await self.gone(uri)
        assert await self.do("POST", f"/media/quarantine/{where(uri)}") == {}
        assert await self.gone(uri)
        assert not await self.gone(other)
        assert await self.ask_for_part(uri) == 404
        assert await self.ask_for_part(other) == 206
        info = (await self.do("GET", f"/media/{where(uri)}"))["media_info"]
        assert (info["quarantined_by"], info["user_id"], info["media_type"]) == (
            self.head.user_id, self.alice.user_id, "application/octet-stream",
        )  # fmt: skip
        assert self.on_disk()
        await self.restart()
        assert await self.gone(uri)
        await self.do("POST", f"/media/unquarantine/{where(uri)}")
        assert not await self.gone(uri)
        deeds = [("quarantine_media", ""), ("see_media", ""), ("release_media", "")]
        assert await self.log() == [(self.head.user_id, *deed) for deed in deeds]

    async def test_quarantined_content_does_not_come_back_under_another_name(self) -> None:
        before, uri = await self.bob.upload(picture()), await self.alice.upload(picture())
        await self.do("POST", f"/media/quarantine/{where(uri)}")
        again = await self.bob.upload(picture())
        for each in (before, uri, again):
            assert await self.gone(each)
        await self.do("DELETE", f"/media/{where(uri)}")
        assert await self.gone(await self.bob.upload(picture()))
        await self.do("POST", f"/media/unquarantine/{where(again)}")
        assert not await self.gone(before)
        assert not await self.gone(await self.bob.upload(picture()))

    async def test_protected_files_stay(self) -> None:
        sticker, uri = await self.alice.upload(picture()), await self.alice.upload(picture((9, 9)))
        await self.do("POST", f"/media/protect/{named(sticker)}")
        for each in (sticker, uri):
            await self.show(self.alice, each)
        assert await self.do("POST", f"/room/{quote(self.room)}/media/quarantine") == {"num_quarantined": 1}
        await self.do("POST", f"/media/quarantine/{where(sticker)}")
        assert (await self.gone(sticker), await self.gone(uri)) == (False, True)
        await self.do("POST", f"/media/unprotect/{named(sticker)}")
        assert await self.do("POST", f"/quarantine_media/{quote(self.room)}") == {"num_quarantined": 1}
        assert await self.gone(sticker)

    async def test_the_files_of_a_room_are_listed_and_quarantined(self) -> None:
        uris = sorted([await self.alice.upload(picture((n, 9))) for n in range(1, 6)])
        for uri in [*uris[:4], "mxc://far.example/abc"]:
            await self.show(self.alice, uri)
        await self.server.core.database.write(_move_away, uris[3])
        await self.show(self.bob, uris[0])
        path = f"/room/{quote(self.room)}/media"
        listed = await self.do("GET", path)
        assert listed == {"local": uris[:4], "remote": []}  # what is shown before it is known here cannot be told
        page = await self.do("GET", path, limit=3)
        assert (page["local"], (await self.do("GET", path, **{"from": page["next_token"]}))["local"]) == (
            uris[:3],
            uris[3:4],
        )
        assert await self.do("POST", f"{path}/quarantine") == {"num_quarantined": 3}
        assert [await self.gone(uri) for uri in uris[:3]] == [True] * 3
        assert not await self.gone(uris[4])
        assert await self.do("POST", f"{path}/quarantine") == {"num_quarantined": 0}
        assert await self.head.refused("GET", f"{ADMIN}/room/!none/media") == NOT_THERE

    async def test_the_files_of_a_person_are_quarantined_together(self) -> None:
        uris = [await self.alice.upload(picture((n % 20 + 1, n // 20 + 1))) for n in range(205)]
        kept = await self.bob.upload(picture((50, 50)))
        path = f"/user/{self.alice.user_id}/media/quarantine"
        assert await self.do("POST", path) == {"num_quarantined": 205}
        assert await self.gone(uris[0])
        assert await self.gone(uris[-1])
        assert not await self.gone(kept)
        assert await self.do("POST", path) == {"num_quarantined": 0}

    async def test_a_deleted_file_is_gone_from_the_disk(self) -> None:
        uri, kept = await self.alice.upload(picture()), await self.alice.upload(picture((9, 9)))
        assert not await self.gone(uri)  # which makes a thumbnail
        assert not await self.gone(kept)
        before = len(self.on_disk())
        assert await self.do("DELETE", f"/media/{where(uri)}") == {"deleted_media": [named(uri)], "total": 1}
        assert await self.gone(uri)
        assert not await self.gone(kept)
        assert len(self.on_disk()) == before - 2
        assert await self.head.refused("DELETE", f"{ADMIN}/media/{where(uri)}") == NOT_THERE
        assert await self.head.refused("DELETE", f"{ADMIN}/media/far.example/abc") == NOT_THERE
        assert await self.log() == [(self.head.user_id, "remove_media", "")]

    async def test_files_that_nobody_has_got_for_long_are_deleted(self) -> None:
        old, young, small, face, hall = [
            await self.alice.upload(content)
            for content in (picture(), picture((9, 9)), b"x", picture((8, 8)), picture((7, 7)))
        ]
        for uri in (old, small, face, hall):
            await self.grow_old(uri, 10)
        await self.alice.ok("PUT", f"/profile/{self.alice.user_id}/avatar_url", {"avatar_url": face})
        await self.alice.set_state(self.room, "m.room.avatar", {"url": hall})
        before = self.server.core.world.now_ms() - 5 * DAY_MS
        deleted = await self.do("POST", "/media/delete", before_ts=before, size_gt=1)
        assert deleted == {"deleted_media": [named(old)], "total": 1}
        assert await self.gone(old)
        assert not await self.gone(young)
        deleted = await self.do("POST", "/media/parta.test/delete", before_ts=before, keep_profiles=False)
        assert sorted(deleted["deleted_media"]) == sorted(named(uri) for uri in (small, face, hall))
        assert len(self.on_disk()) == 2  # the young one and its thumbnail
        assert await self.head.refused("POST", f"{ADMIN}/media/delete", {}) == (400, "M_MISSING_PARAM")
        bad = await self.head.refused("POST", f"{ADMIN}/media/delete", {}, before_ts=-1)
        assert bad == (400, "M_INVALID_PARAM")

    async def test_who_got_a_file_lately_keeps_it(self) -> None:
        uri = await self.alice.upload(picture())
        await self.grow_old(uri, 10)
        assert not await self.gone(uri)
        info = (await self.do("GET", f"/media/{where(uri)}"))["media_info"]
        assert info["last_access_ts"] is None or info["last_access_ts"] >= info["created_ts"]
        before = self.server.core.world.now_ms() - 5 * DAY_MS
        assert (await self.do("POST", "/media/delete", before_ts=before))["total"] == 0

    async def test_copies_from_other_servers_are_purged(self) -> None:
        ours, theirs = await self.alice.upload(picture()), await self.alice.upload(picture((9, 9)))
        await self.server.core.database.write(_move_away, theirs)
        for uri in (ours, theirs):
            await self.grow_old(uri, 10)
        now_ms = self.server.core.world.now_ms()
        assert await self.do("POST", "/purge_media_cache", before_ts=now_ms - 11 * DAY_MS) == {"deleted": 0}
        assert await self.do("POST", "/purge_media_cache", before_ts=now_ms) == {"deleted": 1}
        assert len(self.on_disk()) == 1
        assert await self.head.refused("GET", f"{ADMIN}/media/far.example/{named(theirs)}") == NOT_THERE

    async def test_the_files_of_a_person_are_listed_in_any_order_and_deleted_by_the_page(self) -> None:
        uris = [await self.alice.upload(bytes(n)) for n in (3, 1, 2)]
        path = f"/users/{self.alice.user_id}/media"
        listed = await self.do("GET", path)
        assert listed["total"] == 3
        assert set(listed["media"][0]) == {
            "media_id", "media_type", "media_length", "upload_name", "created_ts", "last_access_ts", "quarantined_by",
            "safe_from_quarantine",
        }  # fmt: skip
        sizes = [file["media_length"] for file in (await self.do("GET", path, order_by="media_length"))["media"]]
        assert sizes == [1, 2, 3]
        first = await self.do("GET", path, order_by="media_length", dir="b", limit=2)
        assert ([file["media_length"] for file in first["media"]], first["next_token"]) == ([3, 2], 2)
        rest = await self.do("GET", path, order_by="media_length", dir="b", limit=2, **{"from": 2})
        assert ([file["media_length"] for file in rest["media"]], rest.get("next_token")) == ([1], None)
        for order in ("media_id", "upload_name", "created_ts", "last_access_ts", "media_type", "quarantined_by"):
            assert len((await self.do("GET", path, order_by=order))["media"]) == 3, order
        assert await self.head.refused("GET", ADMIN + path, order_by="sha256") == (400, "M_INVALID_PARAM")
        deleted = await self.do("DELETE", path, order_by="media_length", limit=1)
        assert deleted == {"deleted_media": [named(uris[1])], "total": 1}
        assert (await self.do("DELETE", path))["total"] == 2
        assert self.on_disk() == []

    async def test_who_has_how_much_is_counted(self) -> None:
        for person, sizes in ((self.alice, (3, 4)), (self.bob, (1, 1, 1))):
            for size in sizes:
                await person.upload(bytes(size))
            name = person.user_id[1:].partition(":")[0]
            await person.ok("PUT", f"/profile/{person.user_id}/displayname", {"displayname": name})
        path = "/statistics/users/media"
        everybody = await self.do("GET", path)
        alice = {"user_id": self.alice.user_id, "displayname": "alice", "media_count": 2, "media_length": 7}
        assert everybody["users"][0] == alice
        assert (everybody["total"], len(everybody["users"])) == (2, 2)
        for order, first in (("media_count", "alice"), ("media_length", "bob"), ("displayname", "alice")):
            assert (await self.do("GET", path, order_by=order))["users"][0]["displayname"] == first, order
        assert (await self.do("GET", path, search_term="LIC"))["users"] == [alice]
        assert (await self.do("GET", path, search_term="%"))["users"] == []
        assert (await self.do("GET", path, search_term="parta.test"))["users"] == []
        page = await self.do("GET", path, limit=1, dir="b")
        assert (page["users"][0]["displayname"], page["next_token"]) == ("bob", 1)
        assert (await self.do("GET", path, until_ts=1))["total"] == 0
        assert await self.head.refused("GET", ADMIN + path, from_ts=5, until_ts=5) == (400, "M_INVALID_PARAM")

    async def test_these_doors_are_for_operators_only(self) -> None:
        uri = await self.alice.upload(picture())
        doors = [
            ("POST", f"/media/quarantine/{where(uri)}"), ("DELETE", f"/media/{where(uri)}"),
            ("POST", "/media/delete?before_ts=99999999999999"), ("GET", f"/media/{where(uri)}"),
            ("DELETE", f"/users/{self.alice.user_id}/media"), ("GET", "/statistics/users/media"),
            ("POST", f"/user/{self.alice.user_id}/media/quarantine"), ("POST", "/purge_media_cache?before_ts=1"),
        ]  # fmt: skip
        for method, path in doors:
            assert (await self.alice.call(method, ADMIN + path, {})).errcode == "M_FORBIDDEN", path
            assert (await self.call(method, ADMIN + path, {})).errcode == "M_MISSING_TOKEN", path
        assert not await self.gone(uri)
        assert await self.log() == []


class AdminMediaOnPostgreSQL(AdminMedia):
    """The same on the other database."""

    dialect = "postgresql"


class SchoolQuarantine(DistrictCase):
    """The demonstration school."""

    async def test_quarantine_is_above_the_school_and_its_teachers(self) -> None:
        teacher, pupil, dismissed = [await self.sign_in(login) for login in ("teacher2", "pupil1", "dismissed")]
        operator = await self.sign_in("teacher1")
        await self.server.core.database.write(set_admin, operator.user_id, True)
        uri, room = await teacher.upload(picture()), await self.room(Kind.PUPILS, "5А")
        await teacher.send_event(room, "m.room.message", {"msgtype": "m.image", "body": "x", "url": uri})
        path = f"{V1}/download/{where(uri)}"
        assert (await pupil.call("GET", path)).status == 200
        for person in (teacher, pupil, dismissed):
            refused = await person.refused("POST", f"{ADMIN}/room/{quote(room)}/media/quarantine", {})
            assert refused == (403, "M_FORBIDDEN")
        quarantined = await operator.ok("POST", f"{ADMIN}/room/{quote(room)}/media/quarantine", {})
        assert quarantined == {"num_quarantined": 1}
        nothing = await teacher.call("GET", f"{V1}/download/north.example/{'0' * 32}")
        for person in (teacher, pupil, dismissed, operator):
            reply = await person.call("GET", path)
            assert (reply.status, reply.body) == (nothing.status, nothing.body)
