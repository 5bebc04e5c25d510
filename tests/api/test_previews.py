"""Previews of pages over HTTP: what is shown, who may ask, what is remembered, and what hostile pages get."""

import io
from typing import Any

from PIL import Image
from twisted.internet.defer import Deferred, gatherResults

from homeserver.storage.database import Txn
from tests.kit.district import DistrictCase
from tests.kit.people import Person
from tests.kit.server import ServerCase
from tests.kit.web import SmallWeb, lead, page
from tests.kit.wire import Reply

PREVIEW = "/_matrix/client/v1/media/preview_url"
DAY_MS = 24 * 60 * 60 * 1000
ON: dict[str, Any] = {"network": {"allow_private_addresses": True}, "media": {"url_previews": True}}


def picture(size: tuple[int, int] = (200, 100), kind: str = "PNG") -> bytes:
    """A picture's bytes."""
    drawn = io.BytesIO()
    Image.new("RGB", size, "navy").save(drawn, kind)
    return drawn.getvalue()


def titled(title: str, more: str = "") -> bytes:
    """A page with a title."""
    return page(f"<title>{title}</title>{more}")


def _age(txn: Txn, by_ms: int) -> None:
    """Let everything be older."""
    txn.run("UPDATE media_previews SET fetched_ms = fetched_ms - ?, fresh_ms = fresh_ms - ?", (by_ms, by_ms))
    txn.run("UPDATE media SET created_ms = created_ms - ?, used_ms = used_ms - ?", (by_ms, by_ms))


class Previews(ServerCase):
    """A plain homeserver that asks every host."""

    configuration = ON

    async def setUp(self) -> None:
        await super().setUp()
        self.web = await SmallWeb.open(self)
        self.alice = await self.register("alice")

    async def preview(self, path: str, **query: object) -> Any:
        """What the preview of a page is."""
        return await self.alice.ok("GET", PREVIEW, url=self.web.url(path), **query)

    async def age(self, by_ms: int) -> None:
        """Let everything that is remembered be older."""
        await self.server.core.database.write(_age, by_ms)

    async def test_a_page_is_shown_with_its_image_as_a_file_of_ours(self) -> None:
        self.web.pages = {
            "/": titled(
                "Новость", '<meta property="og:description" content="О школе"><meta property=og:image content=a>'
            ),
            "/a": page(picture(), "image/svg+xml"),  # whatever it is called
        }
        answer = await self.preview("/")
        uri = answer.pop("og:image")
        assert answer == {
            "og:title": "Новость", "og:description": "О школе", "og:image:type": "image/png", "og:image:width": 200,
            "og:image:height": 100, "matrix:image:size": len(picture()),
        }  # fmt: skip
        bob = await self.register("bob")
        where = uri.removeprefix("mxc://")
        shown = await bob.call("GET", f"/_matrix/client/v1/media/download/{where}")
        assert (shown.body, shown.headers["content-type"]) == (picture(), "image/png")
        small = await bob.call("GET", f"/_matrix/client/v1/media/thumbnail/{where}", width=32, height=32)
        assert small.status == 200
        assert await self.alice.ok("GET", "/_matrix/media/v3/preview_url", url=self.web.url("/")) == {
            "og:image": uri, **answer,
        }  # fmt: skip

    async def test_a_picture_is_its_own_preview(self) -> None:
        self.web.pages = {"/a.jpg": page(picture(kind="JPEG"), "image/jpeg")}
        assert (await self.preview("/a.jpg"))["og:image:type"] == "image/jpeg"

    async def test_the_image_may_be_named_by_oembed(self) -> None:
        link = '<link rel="alternate" type="application/json+oembed" href="/oembed">'
        self.web.pages = {
            "/": titled("Видео", link),
            "/oembed": page('{"thumbnail_url": "/a.png", "html": "<script>"}', "application/json"),
            "/a.png": page(picture(), "image/png"),
            "/deep": titled("Видео", link.replace('oembed"', 'bomb"').replace("json+bomb", "json+oembed")),
            "/bomb": page("[" * 100_000, "application/json"),
        }
        assert (await self.preview("/"))["og:image:width"] == 200
        assert await self.preview("/deep") == {"og:title": "Видео"}

    async def test_hostile_pages_are_shown_as_little_or_nothing(self) -> None:
        image = '<meta property="og:image" content="{}">'
        wide = io.BytesIO()
        Image.new("1", (30_000, 30_000)).save(wide, "PNG")
        self.web.pages = {
            "/loop": lead("/loop"),
            "/script": lead("javascript:alert(1)"),
            "/file": lead("file:///etc/passwd"),
            "/endless": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/packed": page(b"\x1f\x8b" + bytes(100), "text/html", 200, "Content-Encoding: gzip"),
            "/zip": page(b"PK", "application/zip"),
            "/none": page("", ""),
            "/svg": page("<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
            "/broken": b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
            "/bomb": page(b"<title>a</title><p " + b" ".join(b"a%d=1" % n for n in range(700_000)) + b">"),
            "/ghost": titled("A", image.format("/nothing.png")),
            "/drawn": titled("A", image.format("/svg")),
            "/page": titled("A", image.format("/ghost")),
            "/run": titled("A", image.format("javascript:alert(1)")),
            "/wide": titled("A", image.format("/wide.png")),
            "/wide.png": page(wide.getvalue(), "image/png"),
            "/deep": titled("A", "<div>" * 100_000),
        }  # fmt: skip
        for path in ("/loop", "/script", "/file", "/endless", "/packed", "/zip", "/none", "/svg", "/broken", "/bomb"):
            assert await self.preview(path) == {}, path
        for path in ("/ghost", "/drawn", "/page", "/run", "/wide", "/deep"):
            assert await self.preview(path) == {"og:title": "A"}, path
        assert await self.server.core.database.read(lambda txn: txn.all("SELECT 1 FROM media")) == []

    async def test_a_page_is_read_in_its_charset(self) -> None:
        self.web.pages = {
            "/said": page("<title>Привет</title>".encode("koi8-r"), "text/html; charset=koi8-r"),
            "/unsaid": page("<title>Привет</title>".encode("cp1251"), "text/html"),
            "/wrong": page("<title>Привет</title>".encode(), "text/html; charset=zip"),
        }
        for path in self.web.pages:
            assert await self.preview(path) == {"og:title": "Привет"}, path

    async def test_a_page_is_asked_once_however_many_ask(self) -> None:
        self.web.pages = {"/": titled("A")}
        asking = [Deferred.fromCoroutine(self.preview("/")) for _ in range(10)]
        assert await gatherResults(asking) == [{"og:title": "A"}] * 10
        assert await self.preview("/#part") == {"og:title": "A"}
        await self.restart()
        assert await self.preview("/") == {"og:title": "A"}
        assert self.web.asked("/") == 1

    async def test_what_was_heard_long_ago_is_asked_again_and_still_known(self) -> None:
        self.web.pages = {"/": titled("Old")}
        assert await self.preview("/") == {"og:title": "Old"}
        self.web.pages["/"] = titled("New")
        await self.age(DAY_MS)
        now_ms = self.server.core.world.now_ms()
        assert await self.preview("/") == {"og:title": "New"}
        assert await self.preview("/", ts=now_ms - DAY_MS + 60_000) == {"og:title": "Old"}
        for other in (now_ms - 2 * DAY_MS, now_ms - DAY_MS // 2, now_ms + DAY_MS, 0):
            assert await self.preview("/", ts=other) == {"og:title": "New"}, other
        assert self.web.asked("/") == 2

    async def test_what_failed_is_not_asked_again_at_once(self) -> None:
        assert await self.preview("/") == {}
        self.web.pages = {"/": titled("A")}
        assert await self.preview("/") == {}
        await self.age(6 * 60_000)
        assert await self.preview("/") == {"og:title": "A"}

    async def test_previews_and_their_images_have_their_time(self) -> None:
        self.web.pages = {"/": titled("A", "<meta property=og:image content=/a>"), "/a": page(picture(), "image/png")}
        uri = (await self.preview("/"))["og:image"]
        files = self.settings.media.path / "files"
        upkeep = self.server.media.upkeep
        await upkeep.work()
        assert len([path for path in files.rglob("*") if path.is_file()]) == 1
        await self.age(4 * DAY_MS)
        await self.server.core.database.write(lambda txn: txn.run("DELETE FROM media_rounds"))
        await upkeep.work()
        assert [path for path in files.rglob("*") if path.is_file()] == []
        download = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
        assert await self.alice.refused("GET", download) == (404, "M_NOT_FOUND")
        assert await self.server.core.database.read(lambda txn: txn.all("SELECT 1 FROM media_previews")) == []

    async def test_what_is_no_address_of_the_web_is_refused(self) -> None:
        for url in (
            "javascript:alert(1)",
            "file:///etc/passwd",
            "http://u:p@example.org/",
            "example.org",
            "",
            "http://",
        ):
            assert await self.alice.refused("GET", PREVIEW, url=url) == (400, "M_INVALID_PARAM"), url
        assert await self.alice.refused("GET", PREVIEW) == (400, "M_MISSING_PARAM")
        assert await self.alice.refused("GET", PREVIEW, url=self.web.url("/"), ts="x") == (400, "M_INVALID_PARAM")
        assert (await self.call("GET", PREVIEW + "?url=http://example.org/")).status == 401
        assert self.web.heard == []


class PreviewsOnPostgreSQL(Previews):
    """The same on the other database."""

    dialect = "postgresql"


class NoPreviews(ServerCase):
    """A plain homeserver, as it comes."""

    configuration = {"network": {"allow_private_addresses": True}}

    async def test_previews_are_off(self) -> None:
        web, alice = await SmallWeb.open(self), await self.register("alice")
        assert await alice.refused("GET", PREVIEW, url=web.url("/")) == (403, "M_FORBIDDEN")
        assert web.heard == []


class GuardedPreviews(ServerCase):
    """A plain homeserver that asks every host, as it would on the Internet."""

    configuration = {"media": {"url_previews": True}}

    async def test_a_private_address_answers_as_one_where_nobody_is(self) -> None:
        web, alice = await SmallWeb.open(self), await self.register("alice")
        web.pages = {"/": titled("secret")}
        nobody = f"http://127.0.0.1:{web.port}/", f"http://localhost:{web.port}/", f"http://2130706433:{web.port}/"
        for url in nobody:
            assert await alice.ok("GET", PREVIEW, url=url) == {}
        assert web.heard == []


class SchoolPreviews(DistrictCase):
    """The demonstration school, whose operator has listed one host."""

    configuration = {
        **DistrictCase.configuration,
        "network": {"allow_private_addresses": True},
        "media": {"url_previews": True, "legacy_paths": True, "previews": {"hosts": ["127.0.0.1"]}},
    }

    async def setUp(self) -> None:
        await super().setUp()
        self.web = await SmallWeb.open(self)
        self.web.pages = {
            "/": titled("Кружок", "<meta property=og:image content=/a>"),
            "/a": page(picture(), "image/png"),
            "/away": lead(self.web.url("/", "localhost")),
        }

    async def ask(self, person: Person, url: str) -> Reply:
        """Ask for a preview."""
        return await person.call("GET", PREVIEW, url=url)

    async def test_who_belongs_to_the_school_sees_listed_hosts_and_nobody_any_other(self) -> None:
        for login in ("pupil1", "parent1", "teacher1"):
            person = await self.sign_in(login)
            assert (await self.ask(person, self.web.url("/"))).json["og:title"] == "Кружок"
            assert (await self.ask(person, self.web.url("/", "localhost"))).errcode == "M_FORBIDDEN"
            assert (await self.ask(person, self.web.url("/away"))).json == {}
        for login in ("newcomer", "dismissed"):
            person = await self.sign_in(login)
            listed, other = [await self.ask(person, self.web.url("/", host)) for host in ("127.0.0.1", "localhost")]
            assert (listed.status, listed.body) == (other.status, other.body) == (403, other.body)
        assert {line for head in self.web.heard for line in head.split(b"\r\n") if line.startswith(b"Host")} == {
            f"Host: 127.0.0.1:{self.web.port}".encode()
        }

    async def test_the_image_of_a_preview_is_for_those_who_may_ask(self) -> None:
        answer = (await self.ask(await self.sign_in("pupil1"), self.web.url("/"))).json
        where = answer["og:image"].removeprefix("mxc://")
        path = f"/_matrix/client/v1/media/download/{where}"
        assert (await (await self.sign_in("parent1")).call("GET", path)).status == 200
        for login in ("newcomer", "dismissed"):
            assert (await (await self.sign_in(login)).call("GET", path)).status == 404
        assert (await self.call("GET", f"/_matrix/media/v3/download/{where}")).status == 404


class UnlistedPreviews(DistrictCase):
    """The demonstration school, whose operator has turned previews on and listed nothing."""

    configuration = {**DistrictCase.configuration, **ON}

    async def test_nothing_is_listed_unless_the_operator_lists_it(self) -> None:
        web, teacher = await SmallWeb.open(self), await self.sign_in("teacher1")
        assert await teacher.refused("GET", PREVIEW, url=web.url("/")) == (403, "M_FORBIDDEN")
        assert web.heard == []
