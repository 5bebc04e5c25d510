"""Upload, download and thumbnails over HTTP, and who may see what."""

import io
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from PIL import Image
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from homeserver.api.client.media import find_range
from homeserver.schools.rights import QUOTA_BYTES, Kind, Role
from homeserver.storage.database import Txn
from tests.kit.databases import reactor_in_use
from tests.kit.district import DistrictCase
from tests.kit.people import Person
from tests.kit.server import ServerCase
from tests.kit.wire import Reply, Wire, encode_request

V1 = "/_matrix/client/v1/media"
UPLOAD = "/_matrix/media/v3/upload"


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 4)),
        ("bytes=4-", (4, 6)),
        ("bytes=-3", (7, 3)),
        ("bytes=-30", (0, 10)),
        ("bytes=5-100", (5, 5)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_a_range_is_read_as_http_says(header: str, part: tuple[int, int] | None) -> None:
    assert find_range(header, 10) == part


def test_a_range_behind_the_end_holds_nothing() -> None:
    for header in ("bytes=10-", "bytes=10-20", "bytes=-0"):
        found = find_range(header, 10)
        assert found is not None
        assert found[1] <= 0


def _picture(size: tuple[int, int] = (400, 300)) -> bytes:
    drawn = io.BytesIO()
    Image.new("RGB", size, "navy").save(drawn, "PNG")
    return drawn.getvalue()


def _download(uri: str) -> str:
    return f"{V1}/download/{uri.removeprefix('mxc://')}"


def _thumbnail(uri: str, size: str = "width=96&height=96") -> str:
    return f"{V1}/thumbnail/{uri.removeprefix('mxc://')}?{size}"


def _grow(txn: Txn, media_id: str, size: int) -> None:
    txn.run("UPDATE media SET size = ? WHERE media_id = ?", (size, media_id))


class Files(ServerCase):
    """A plain Matrix homeserver."""

    configuration = {"limits": {"rates": False, "upload_bytes": 100_000}}

    async def ask(
        self, person: Person, path: str, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Reply:
        """Make a request with headers of one's own."""
        wire = Wire(self.factory)
        waiting = wire.reply()
        named = {"Authorization": f"Bearer {person.token}", **(headers or {})}
        wire.send(encode_request("GET" if content is None else "POST", path, named, content))
        reply = await waiting
        await deferLater(reactor_in_use(), 0)  # the server is still writing it
        wire.hang_up()
        return reply

    async def put(self, person: Person, content: bytes, content_type: str, name: str | None = None) -> str:
        """Upload a file."""
        path = UPLOAD + (f"?filename={quote(name)}" if name else "")
        reply = await self.ask(person, path, {"Content-Type": content_type}, content)
        assert reply.status == 200, reply
        uri: str = reply.json["content_uri"]
        return uri

    async def test_a_file_comes_down_as_it_went_up_also_after_a_restart(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        content = bytes(range(256)) * 300
        uri = await self.put(alice, content, "application/pdf", "план.pdf")
        await self.restart()
        reply = await self.ask(bob, _download(uri))
        assert reply.body == content
        assert reply.headers["content-type"] == "application/pdf"
        assert reply.headers["content-disposition"] == f"attachment; filename*=utf-8''{quote('план.pdf')}"
        assert "sandbox" in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        renamed = await self.ask(bob, _download(uri) + "/other.pdf")
        assert renamed.headers["content-disposition"] == 'attachment; filename="other.pdf"'

    async def test_what_could_run_in_a_browser_is_never_shown_in_place(self) -> None:
        alice = await self.register("alice")
        for content_type in ("image/svg+xml", "text/html", "application/xhtml+xml", "text/html; charset=utf-8"):
            reply = await self.ask(alice, _download(await self.put(alice, b"<svg/>", content_type)))
            assert reply.headers["content-disposition"].startswith("attachment"), content_type
        for content_type in ("image/png", "text/plain; charset=utf-8", "video/mp4"):
            reply = await self.ask(alice, _download(await self.put(alice, b"x", content_type)))
            assert reply.headers["content-disposition"].startswith("inline"), content_type

    async def test_parts_of_a_file_can_be_asked_for(self) -> None:
        alice = await self.register("alice")
        path = _download(await self.put(alice, b"0123456789", "video/mp4"))
        part = await self.ask(alice, path, {"Range": "bytes=2-5"})
        assert (part.status, part.body, part.headers["content-range"]) == (206, b"2345", "bytes 2-5/10")
        behind = await self.ask(alice, path, {"Range": "bytes=10-"})
        assert (behind.status, behind.headers["content-range"]) == (416, "bytes */10")
        several = await self.ask(alice, path, {"Range": "bytes=0-1,4-5"})
        assert (several.status, several.body) == (200, b"0123456789")
        whole = await self.ask(alice, path)
        unchanged = await self.ask(alice, path, {"If-None-Match": whole.headers["etag"]})
        assert (unchanged.status, unchanged.body) == (304, b"")
        changed = await self.ask(alice, path, {"Range": "bytes=2-5", "If-Range": '"another"'})
        assert changed.status == 200

    async def test_a_file_that_is_too_large_is_refused_and_not_kept(self) -> None:
        alice = await self.register("alice")
        await self.put(alice, bytes(100_000), "text/plain")
        reply = await self.ask(alice, UPLOAD, {}, bytes(100_001))
        assert (reply.status, reply.errcode) == (413, "M_TOO_LARGE")
        config = await alice.ok("GET", f"{V1}/config")
        assert config == {"m.upload.size": 100_000}

    async def test_a_thumbnail_is_no_larger_than_the_picture_and_made_of_pictures_only(self) -> None:
        alice = await self.register("alice")
        uri = await self.put(alice, _picture(), "image/png")
        small = await self.ask(alice, _thumbnail(uri, "width=90&height=90&method=crop"))
        with Image.open(io.BytesIO(small.body)) as made:
            assert made.size == (96, 96)
        assert small.headers["content-disposition"] == 'inline; filename="thumbnail.jpg"'
        for size in ("width=800&height=600", "width=5000&height=5000"):
            assert (await self.ask(alice, _thumbnail(uri, size))).body == _picture()
        text = await self.put(alice, b"plain words", "image/png")
        refused = await self.ask(alice, _thumbnail(text))
        assert (refused.status, refused.errcode) == (400, "M_UNKNOWN")
        for size in ("width=0&height=1", "width=-1&height=1", "width=a&height=1", "width=1", "width=99999&height=1"):
            assert (await self.ask(alice, _thumbnail(uri, size))).status == 400, size

    async def test_what_is_not_there_is_not_found(self) -> None:
        alice = await self.register("alice")
        for where in ("parta.test/" + "0" * 32, "elsewhere.test/" + "0" * 32):
            reply = await self.ask(alice, f"{V1}/download/{where}")
            assert (reply.status, reply.errcode) == (404, "M_NOT_FOUND")
        for where in ("parta.test/..%2F..%2Fparta.db", "parta.test/a.b", "par ta/x".replace(" ", "%20")):
            assert (await self.ask(alice, f"{V1}/download/{where}")).status == 400, where

    async def test_headers_of_the_uploader_end_no_header_of_ours(self) -> None:
        alice = await self.register("alice")
        uri = await self.put(alice, b"x", "text/plain", 'a"\r\nSet-Cookie: b=c/../d')
        shown = (await self.ask(alice, _download(uri))).headers
        assert shown["content-disposition"] == 'inline; filename="aSet-Cookie: b=c..d"'
        assert "set-cookie" not in shown
        for content_type in ("text", "text/plain; \x01", "a b/c"):
            reply = await self.ask(alice, UPLOAD, {"Content-Type": content_type}, b"x")
            assert reply.status == 400, content_type

    async def test_without_a_session_there_are_no_files(self) -> None:
        alice = await self.register("alice")
        uri = await self.put(alice, b"x", "text/plain")
        for path in (_download(uri), _thumbnail(uri)):
            assert (await self.call("GET", path)).status == 401
            assert (
                await self.call("GET", path + f"{'&' if '?' in path else '?'}access_token={alice.token}")
            ).status == 401
        assert (await self.call("POST", UPLOAD, body=b"x")).status == 401
        frozen = await self.call("GET", _download(uri).replace(V1, "/_matrix/media/v3"))
        assert frozen.status == 404

    async def test_a_file_may_come_after_its_address(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        given = await alice.ok("POST", "/_matrix/media/v1/create", {})
        path = f"/_matrix/media/v3/upload/{given['content_uri'].removeprefix('mxc://')}"
        early = await self.ask(bob, _download(given["content_uri"]) + "?timeout_ms=0")
        assert (early.status, early.errcode) == (504, "M_NOT_YET_UPLOADED")
        waiting = self.ask(bob, _download(given["content_uri"]))
        thief = await self.call("PUT", path, token=bob.token, body=b"mine")
        assert (thief.status, thief.errcode) == (403, "M_FORBIDDEN")
        assert (await self.call("PUT", path, token=alice.token, body=b"at last")).status == 200
        assert (await waiting).body == b"at last"
        again = await self.call("PUT", path, token=alice.token, body=b"again")
        assert (again.status, again.errcode) == (409, "M_CANNOT_OVERWRITE_MEDIA")
        assert (await self.ask(bob, _download(given["content_uri"]))).body == b"at last"
        unknown = await self.call("PUT", path[:-3] + "abc", token=alice.token, body=b"x")
        assert (unknown.status, unknown.errcode) == (404, "M_NOT_FOUND")
        late = await self.call("PUT", path, token=bob.token, body=b"mine")
        assert (late.status, late.body) == (404, unknown.body)

    async def test_of_two_uploads_to_one_address_one_is_kept(self) -> None:
        alice = await self.register("alice")
        given = (await alice.ok("POST", "/_matrix/media/v1/create", {}))["content_uri"]
        path = f"/_matrix/media/v3/upload/{given.removeprefix('mxc://')}"
        both = [self.call("PUT", path, token=alice.token, body=body) for body in (b"one", b"two")]
        answers = await gatherResults([Deferred.fromCoroutine(answer) for answer in both])
        assert sorted(reply.status for reply in answers) == [200, 409]
        kept = (b"one", b"two")[[reply.status for reply in answers].index(200)]
        assert (await self.ask(alice, _download(given))).body == kept

    async def test_somebody_waits_for_twenty_uploads_at_the_most(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        for _ in range(20):
            await alice.ok("POST", "/_matrix/media/v1/create", {})
        reply = await alice.call("POST", "/_matrix/media/v1/create", {})
        assert (reply.status, reply.errcode) == (429, "M_LIMIT_EXCEEDED")
        await bob.ok("POST", "/_matrix/media/v1/create", {})


class LegacyFiles(Files):
    """A server that still serves the downloads without a token."""

    configuration = {"limits": {"rates": False, "upload_bytes": 100_000}, "media": {"legacy_paths": True}}

    async def test_without_a_session_there_are_no_files(self) -> None:
        alice = await self.register("alice")
        uri = await self.put(alice, _picture(), "image/png")
        where = uri.removeprefix("mxc://")
        assert (await self.call("GET", f"/_matrix/media/v3/download/{where}")).body == _picture()
        assert (await self.call("GET", f"/_matrix/media/r0/download/{where}/a.png")).body == _picture()
        small = await self.call("GET", f"/_matrix/media/v3/thumbnail/{where}?width=96&height=96&method=crop")
        assert small.status == 200
        assert (await self.call("GET", _download(uri))).status == 401


class SchoolFiles(DistrictCase):
    """The demonstration school: a file is for those who see a room that shows it."""

    async def show(self, person: Person, room: str, uri: str) -> str:
        """Send a message that refers to the file."""
        return await person.send_event(room, "m.room.message", {"msgtype": "m.file", "body": "x", "url": uri})

    async def sees(self, person: Person, uri: str) -> bool:
        """Whether somebody gets the file; what is refused looks like what is not there."""
        reply = await person.call("GET", _download(uri))
        if reply.status == 200:
            return True
        nothing = await person.call("GET", _download("mxc://" + uri.split("/")[2] + "/" + "0" * 32))
        assert (reply.status, reply.body) == (nothing.status, nothing.body) == (404, nothing.body)
        return False

    async def test_a_file_is_for_the_rooms_that_show_it(self) -> None:
        teacher, artyom, maxim, mother, newcomer = [
            await self.sign_in(login) for login in ("teacher2", "pupil1", "pupil3", "parent1", "newcomer")
        ]
        uri = await teacher.upload(b"x")
        assert not await self.sees(artyom, uri)
        room = await self.room(Kind.PUPILS, "5А")
        shown = await self.show(teacher, room, uri)
        assert await self.sees(artyom, uri)
        for outsider in (maxim, mother, newcomer):
            assert not await self.sees(outsider, uri)
        await teacher.ok("PUT", f"/rooms/{quote(room)}/redact/{quote(shown)}/r1", {})
        assert not await self.sees(artyom, uri)
        assert await self.sees(teacher, uri)

    async def test_writing_down_an_address_opens_no_file(self) -> None:
        teacher, maxim = await self.sign_in("teacher2"), await self.sign_in("pupil3")
        uri = await teacher.upload(b"x")
        await self.show(teacher, await self.room(Kind.PUPILS, "5А"), uri)
        await self.show(maxim, await self.room(Kind.PUPILS, "9Б"), uri)
        assert not await self.sees(maxim, uri)

    async def test_who_sees_a_file_may_show_it_on(self) -> None:
        second, first, maxim = [await self.sign_in(login) for login in ("teacher2", "teacher1", "pupil3")]
        uri = await second.upload(b"x")
        await self.show(second, await self.room(Kind.PUPILS, "5А"), uri)
        assert not await self.sees(maxim, uri)
        await self.show(first, await self.room(Kind.PUPILS, "9Б"), uri)
        assert await self.sees(maxim, uri)

    async def test_an_address_shown_before_its_file_comes_opens_it_to_the_room(self) -> None:
        teacher, artyom, maxim = [await self.sign_in(login) for login in ("teacher2", "pupil1", "pupil3")]
        uri = (await teacher.ok("POST", "/_matrix/media/v1/create", {}))["content_uri"]
        await self.show(teacher, await self.room(Kind.PUPILS, "5А"), uri)
        assert (await artyom.call("GET", _download(uri), timeout_ms=0)).errcode == "M_NOT_YET_UPLOADED"
        assert not await self.sees(maxim, uri)
        path = f"/_matrix/media/v3/upload/{uri.removeprefix('mxc://')}"
        assert (await self.call("PUT", path, token=teacher.token, body=b"x")).status == 200
        assert await self.sees(artyom, uri)
        assert not await self.sees(maxim, uri)

    async def test_nobody_keeps_more_than_the_role_allows(self) -> None:
        pupil, teacher = await self.sign_in("pupil1"), await self.sign_in("teacher2")
        for person in (pupil, teacher):
            uri = await person.upload(b"x")
            await self.server.core.database.write(_grow, uri.rpartition("/")[2], QUOTA_BYTES[Role.PUPIL] - 1)
        await teacher.upload(b"x")
        await pupil.upload(b"x")
        reply = await self.call("POST", UPLOAD, token=pupil.token, body=b"x")
        assert (reply.status, reply.errcode) == (403, "M_FORBIDDEN")

    async def test_the_unverified_and_the_dismissed_upload_nothing(self) -> None:
        for login in ("newcomer", "dismissed"):
            person = await self.sign_in(login)
            reply = await self.call("POST", UPLOAD, token=person.token, body=b"x")
            assert (reply.status, reply.errcode) == (403, "M_FORBIDDEN"), login
