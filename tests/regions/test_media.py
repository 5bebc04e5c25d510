"""Files between regions: fetched once, bounded, and never from where they are not."""

from io import BytesIO
from typing import Any

from PIL import Image

from federation.errors import Refused
from federation.ids import ServerName
from federation.transport.agent import Outgoing, TooMuch, Unreachable
from homeserver.media import remote
from tests.kit.neighbours import V1, NeighboursCase
from tests.kit.people import Person
from tests.kit.region import RegionsCase


def draw() -> bytes:
    """A picture."""
    drawn = BytesIO()
    Image.new("RGB", (64, 64), "red").save(drawn, "PNG")
    return drawn.getvalue()


class Said:
    """An answer that comes in those pieces; an exception among them is how it ends."""

    def __init__(self, *pieces: bytes | Exception, status: int = 200, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._pieces = list(pieces)
        self.closed = False

    async def read(self) -> bytes:
        """The next piece."""
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        """Nothing more is read."""
        self.closed = True


def two_parts(content: bytes, headers: str = "Content-Type: text/plain", boundary: str = "b") -> Said:
    """The specified answer."""
    head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n{headers}\r\n\r\n"
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Said(body, content_type=f"multipart/mixed; boundary={boundary}")


class MediaCase(NeighboursCase):
    def answer(self, *answers: Any) -> list[str]:
        """What the north hears when it opens something elsewhere, in turn; the URLs it opens."""
        opened: list[str] = []
        waiting = list(answers)
        outward: Any = self.north.running.core.outward

        async def open_(request: Outgoing) -> Any:
            opened.append(request.url)
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        outward.open = open_
        return opened

    async def get(self, person: Person, uri: str, **query: object) -> Any:
        """A download; its reply."""
        path = uri.removeprefix("mxc://")
        return await person.call("GET", f"/_matrix/client/v1/media/download/{path}", **query)

    def files(self) -> list[Any]:
        """All files that the north keeps."""
        folder = self.north.settings.media.path
        return [path for path in folder.rglob("*") if path.is_file()]


class Fetching(MediaCase):
    async def test_a_file_of_another_region_comes_whole_and_once(self) -> None:
        content = bytes(range(256)) * 4096  # a megabyte
        uri = await self.bob.upload(content)
        for _ in range(2):
            reply = await self.get(self.alice, uri)
            assert (reply.status, reply.body == content) == (200, True)
            assert reply.headers["content-security-policy"].startswith("sandbox")
            await self.south.stop()

    async def test_our_answer_is_of_two_parts(self) -> None:
        uri = await self.alice.upload(b"hello")
        reply = await self.ask(self.south, "GET", f"/media/download/{uri.rpartition('/')[2]}")
        boundary = reply.headers["content-type"].partition("boundary=")[2]
        parts = reply.body.split(f"--{boundary}".encode())
        assert [part[:2] for part in parts] == [b"", b"\r\n", b"\r\n", b"--"]
        assert parts[1].endswith(b"\r\n\r\n{}\r\n")
        assert parts[2].endswith(b"\r\n\r\nhello\r\n")
        assert int(reply.headers["content-length"]) == len(reply.body)
        for missing in ("nothing", "..%2F..%2Fetc"):
            assert (await self.ask(self.south, "GET", f"/media/download/{missing}")).status in (400, 404)

    async def test_thumbnails_are_made_here_and_given_to_others(self) -> None:
        uri = await self.bob.upload(draw())
        path = f"/_matrix/client/v1/media/thumbnail/{uri.removeprefix('mxc://')}"
        reply = await self.alice.call("GET", f"{path}?width=32&height=32&method=crop")
        assert reply.status == 200, reply
        name = uri.rpartition("/")[2]
        asked = f"{V1}/media/thumbnail/{name}?width=32&height=32&method=crop"
        given = await self.south.call_signed(self.north.name, self.north.key, "GET", asked)
        assert (given.status, b"PNG" in given.body or b"image/" in given.body) == (200, True)

    async def test_a_file_that_is_not_there_is_not_found_and_asked_for_only_where_that_is_wanted(self) -> None:
        missing = f"mxc://{self.south.name}/nothing"
        assert (await self.get(self.alice, missing)).status == 404
        uri = await self.bob.upload(b"there")
        assert (await self.get(self.alice, uri, allow_remote=False)).status == 404
        assert (await self.get(self.alice, uri)).status == 200
        assert (await self.get(self.alice, uri, allow_remote=False)).status == 200

    async def test_a_file_that_its_server_waits_for_is_waited_for(self) -> None:
        reserved = await self.bob.ok("POST", "/_matrix/media/v1/create")
        reply = await self.get(self.alice, reserved["content_uri"], timeout_ms=50)
        assert (reply.status, reply.errcode) == (504, "M_NOT_YET_UPLOADED")

    async def test_name_and_type_are_kept_as_far_as_they_are_harmless(self) -> None:
        named = "Content-Type: text/plain\r\nContent-Disposition: inline; filename*=utf-8''%D0%BA%2F..%2F.txt"
        evil = 'Content-Type: text/html\r\nContent-Disposition: inline; filename="a/../b.html"'
        self.answer(two_parts(b"1", named), two_parts(b"2", evil), two_parts(b"3", "Content-Type: a b c"))
        shown = []
        for number in range(3):
            reply = await self.get(self.alice, f"mxc://{self.south.name}/m{number}")
            shown.append((reply.headers["content-type"], reply.headers["content-disposition"]))
        assert shown == [
            ("text/plain", "inline; filename*=utf-8''%D0%BA...txt"),
            ("text/html", 'attachment; filename="a..b.html"'),
            ("application/octet-stream", "attachment"),
        ]


class Redirected(MediaCase):
    async def test_a_file_is_fetched_from_where_its_server_says_it_lies(self) -> None:
        moved = Said(status=302, location="/there?x=1")
        opened = self.answer(
            two_parts(b"", "Location: https://cdn.test/here"), moved, Said(b"content", content_type="text/plain")
        )
        reply = await self.get(self.alice, f"mxc://{self.south.name}/m")
        assert (reply.status, reply.body) == (200, b"content")
        assert opened[1:] == ["https://cdn.test/here", "https://cdn.test/there?x=1"]

    async def test_where_no_file_may_lie_nothing_is_fetched(self) -> None:
        for number, location in enumerate(
            ("http://cdn.test/x", "file:///etc/passwd", "mxc://x/y", "", "//x", "https://x/\xe9")
        ):
            opened = self.answer(two_parts(b"", f"Location: {location}"))
            assert (await self.get(self.alice, f"mxc://{self.south.name}/m{number}")).status == 502, location
            assert len(opened) == 1
        loop = [Said(status=302, location="https://cdn.test/again") for _ in range(20)]
        opened = self.answer(two_parts(b"", "Location: https://cdn.test/again"), *loop)
        assert (await self.get(self.alice, f"mxc://{self.south.name}/loop")).status == 502
        assert len(opened) == 2 + remote.MOST_REDIRECTS
        assert self.files() == []

    async def test_a_server_that_only_knows_the_older_way_is_asked_so(self) -> None:
        unknown = Said(b'{"errcode":"M_UNRECOGNIZED","error":"?"}', status=404)
        opened = self.answer(unknown, Said(b"old", content_type="text/plain"))
        reply = await self.get(self.alice, f"mxc://{self.south.name}/m")
        assert (reply.status, reply.body) == (200, b"old")
        assert f"/_matrix/media/v3/download/{self.south.name}/m?" in opened[1]
        assert "allow_remote=false" in opened[1]


class Hostile(MediaCase):
    configuration = {"limits": {"rates": False, "upload_bytes": 100_000}}

    async def test_endless_broken_and_malformed_files_leave_nothing_behind(self) -> None:
        head = two_parts(b"")._pieces[0]
        assert isinstance(head, bytes)
        begun = head[: -len(b"\r\n--b--\r\n")]
        kind = "multipart/mixed; boundary=b"
        answers = {
            "endless": Said(begun, *[b"x" * 50_000] * 10, content_type=kind),
            "longer than is listened to": Said(begun, TooMuch("more"), content_type=kind),
            "cut off": Said(begun, b"x" * 90_000, content_type=kind),
            "broken off": Said(begun, b"x" * 90_000, Unreachable("gone"), content_type=kind),
            "silent": Said(begun, Unreachable("nothing more came"), content_type=kind),
            "another boundary": Said(begun, b"x", content_type="multipart/mixed; boundary=c"),
            "no boundary": Said(begun, b"x", content_type="multipart/mixed"),
            "no parts": Said(b"x", content_type="text/plain"),
            "a fault": Said(b"{}", status=500),
            "away": Unreachable("away"),
        }
        for number, (what, answer) in enumerate(answers.items()):
            self.answer(answer)
            self.north.peers.heard_from(self.south.name)
            reply = await self.get(self.alice, f"mxc://{self.south.name}/m{number}")
            assert reply.status == 502, (what, reply)
            assert isinstance(answer, Exception) or answer.status != 200 or answer.closed, what
        assert self.files() == []
        self.answer(two_parts(b"x" * 100_000))
        self.north.peers.heard_from(self.south.name)
        assert (await self.get(self.alice, f"mxc://{self.south.name}/good")).status == 200

    async def test_a_slow_drip_comes_to_an_end(self) -> None:
        begun = two_parts(b"")._pieces[0]
        assert isinstance(begun, bytes)
        pieces = [begun[:-10]]

        class Drip(Said):
            async def read(inner) -> bytes:  # noqa: N805 - the test is self here
                self.north.late_ms += 60_000
                return pieces.pop() if pieces else b"x"

        self.answer(Drip(content_type="multipart/mixed; boundary=b"))
        assert (await self.get(self.alice, f"mxc://{self.south.name}/slow")).status == 502
        assert self.files() == []

    async def test_one_server_holds_up_only_its_own_files(self) -> None:
        self.patch(remote, "MOST_OF_ONE", 0)
        opened = self.answer()
        assert (await self.get(self.alice, f"mxc://{self.south.name}/m")).status == 502
        assert opened == []

    async def test_content_that_is_in_quarantine_stays_there_whoever_has_it(self) -> None:
        uri = await self.bob.upload(b"bad")
        assert (await self.get(self.alice, uri)).status == 200
        database = self.north.running.core.database
        row = (self.alice.user_id, self.south.name, uri.rpartition("/")[2])
        sql = "UPDATE media SET quarantined_by = ? WHERE origin = ? AND media_id = ?"
        await database.write(lambda txn: txn.run(sql, row))
        opened = self.answer()
        assert (await self.get(self.alice, uri)).status == 404
        assert opened == []


class Closed(RegionsCase):
    """North and south are on the list, and nobody else is."""

    mode = "list"

    async def test_no_file_is_fetched_from_who_is_not_listed(self) -> None:
        alice = await self.north.register("alice")
        reply = await alice.call("GET", "/_matrix/client/v1/media/download/stranger.test/m")
        assert (reply.status, reply.errcode) == (404, "M_NOT_FOUND")
        try:
            await self.north.peers.open(ServerName("stranger.test"), "/x")
        except Refused:
            return
        raise AssertionError("asked")
