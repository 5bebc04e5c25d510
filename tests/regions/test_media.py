"""Files between regions: fetched once, bounded, and never from where they are not."""

import shutil
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from federation.errors import Refused
from federation.ids import ServerName, UserID
from federation.transport.agent import Outgoing, Outward, Rules, TooMuch, Unreachable
from homeserver.media import coming, remote
from homeserver.storage.media.keeping import set_quarantined
from tests.kit.databases import reactor_in_use
from tests.kit.neighbours import V1, NeighboursCase
from tests.kit.people import Person
from tests.kit.region import RegionsCase
from tests.kit.wire import Wire, encode_request


def draw() -> bytes:
    """A picture."""
    drawn = BytesIO()
    Image.new("RGB", (64, 64), "red").save(drawn, "PNG")
    return drawn.getvalue()


class Said:
    """An answer that comes in those pieces; an exception among them is how it ends, a Deferred what comes later."""

    def __init__(self, *pieces: bytes | Exception | Deferred[bytes], status: int = 200, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._pieces = list(pieces)
        self.closed = False

    async def read(self) -> bytes:
        """The next piece."""
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return await piece if isinstance(piece, Deferred) else piece

    def close(self) -> None:
        """Nothing more is read."""
        self.closed = True


def two_parts(content: bytes, headers: str = "Content-Type: text/plain", boundary: str = "b") -> Said:
    """The specified answer."""
    head = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n{headers}\r\n\r\n"
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Said(body, content_type=f"multipart/mixed; boundary={boundary}")


def begin(content: bytes) -> bytes:
    """The specified answer up to that much of the file."""
    whole = two_parts(content)._pieces[0]
    assert isinstance(whole, bytes)
    return whole[: -len(b"\r\n--b--\r\n")]


KIND = "multipart/mixed; boundary=b"
BEGUN = b"begun" + b"." * 95


class MediaCase(NeighboursCase):
    moment_s = 3600.0
    """How long the answer to a client is held back for a file that is coming."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.patch(coming, "MOMENT_S", self.moment_s)

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
            return await answer(request) if callable(answer) else answer

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
        told = two_parts(b"not asked for", "Location: https://cdn.test/x")
        told._pieces.append(Unreachable("what comes behind it is not waited for"))
        self.answer(told, Said(b"content"))
        assert (await self.get(self.alice, f"mxc://{self.south.name}/told")).body == b"content"
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
        assert len(self.files()) == 1

    async def test_where_a_file_lies_is_judged_by_the_address_that_its_name_has(self) -> None:
        guarded = Outward(reactor_in_use(), Rules())
        port = self.south.name.rpartition(":")[2]
        for number, host in enumerate(("127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "0x7f.1")):
            self.answer(two_parts(b"", f"Location: https://{host}:{port}/_matrix/key/v2/server"), guarded.open)
            assert (await self.get(self.alice, f"mxc://{self.south.name}/m{number}")).status == 502, host
        moved = Said(status=302, location=f"https://localhost:{port}/_matrix/key/v2/server")
        self.answer(two_parts(b"", "Location: https://cdn.test/x"), moved, guarded.open)
        assert (await self.get(self.alice, f"mxc://{self.south.name}/moved")).status == 502
        assert self.files() == []

    async def test_where_a_file_lies_nobody_learns_who_asks_for_it_and_is_listened_to_without_end(self) -> None:
        asked: list[Outgoing] = []

        def hear(answer: Said) -> Any:
            async def open_(request: Outgoing) -> Said:
                asked.append(request)
                return answer

            return open_

        first = hear(two_parts(b"", "Location: https://cdn.test/x"))
        self.answer(first, hear(Said(status=307, location="https://other.test/y")), hear(Said(b"content")))
        assert (await self.get(self.alice, f"mxc://{self.south.name}/m")).body == b"content"
        assert [set(request.headers) for request in asked[1:]] == [{"User-Agent"}] * 2
        assert "Authorization" in asked[0].headers
        assert [request.method for request in asked] == ["GET"] * 3
        assert max(request.most_bytes for request in asked[1:]) == self.north.settings.limits.upload_bytes + 1
        assert all(request.within_s <= remote.SILENCE_S for request in asked[1:])

    async def test_a_server_that_only_knows_the_older_way_is_asked_so(self) -> None:
        unknown = Said(b'{"errcode":"M_UNRECOGNIZED","error":"?"}', status=404)
        opened = self.answer(unknown, Said(b"old", content_type="text/plain"))
        reply = await self.get(self.alice, f"mxc://{self.south.name}/m")
        assert (reply.status, reply.body) == (200, b"old")
        assert f"/_matrix/media/v3/download/{self.south.name}/m?" in opened[1]
        assert "allow_remote=false" in opened[1]


class RedirectedAmongRegions(MediaCase):
    """On a list of regions, files lie with members and where the list says."""

    mode = "list"

    async def test_a_file_is_fetched_from_members_and_the_hosts_of_its_region_alone(self) -> None:
        regions: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        regions[self.south.name]["hosts"] = ["cdn.test"]
        self.publish(self.build_list(regions=regions))
        await self.refresh()
        moved = Said(status=302, location="https://else.test/x")
        for number, (location, then, status) in enumerate(
            (
                ("https://cdn.test/x", Said(b"content"), 200),
                ("https://cdn.test:8443/x", Said(b"content"), 200),
                (f"https://{self.south.name}/x", Said(b"content"), 200),
                ("https://else.test/x", Said(b"content"), 502),
                ("https://cdn.test.else.test/x", Said(b"content"), 502),
                ("https://cdn.test@else.test/x", Said(b"content"), 502),
                ("https://else.test#@cdn.test/x", Said(b"content"), 502),
                ("https://else.test?@cdn.test/x", Said(b"content"), 502),
                ("https://else.test\\@cdn.test/x", Said(b"content"), 502),
                ("https:///x", Said(b"content"), 502),
                ("https://[/x", Said(b"content"), 502),
                ("https://cdn.test/x", moved, 502),
            )
        ):
            opened = self.answer(two_parts(b"", f"Location: {location}"), then)
            reply = await self.get(self.alice, f"mxc://{self.south.name}/m{number}")
            assert reply.status == status, (location, reply.body)
            assert not any("else.test" in url for url in opened), opened


class Following(MediaCase):
    """A file is given while it comes."""

    moment_s = 0.0

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.uri = f"mxc://{self.south.name}/m"
        self.rest: Deferred[bytes] = Deferred()
        self.later: Deferred[bytes] = Deferred()
        self.opening = begin(BEGUN)

    def follow(self, uri: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Wire:
        """Ask for a file, and take nothing of the answer yet."""
        wire = Wire(self.north.factory)
        path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
        sent = {"Authorization": f"Bearer {self.alice.token}", **(headers or {})}
        wire.send(encode_request(method, path, sent))
        self.addCleanup(wire.hang_up)
        return wire

    async def until(self, fact: Any) -> None:
        """Wait for a fact."""
        for _ in range(2000):
            if fact():
                return
            await deferLater(reactor_in_use(), 0.01)
        raise AssertionError("it has not come to that")

    async def test_all_who_ask_while_it_comes_get_what_has_come_and_then_the_rest(self) -> None:
        opened = self.answer(Said(self.opening, self.rest, self.later, content_type=KIND))
        one = self.follow(self.uri)
        await self.until(lambda: b"begun" in one.received)
        head = one.received.partition(b"\r\n\r\n")[0].lower()
        assert b"content-type: text/plain" in head
        assert b"content-disposition: inline" in head
        assert b"content-security-policy: sandbox" in head
        other = self.follow(self.uri)
        await self.until(lambda: b"begun" in other.received)
        self.rest.callback(b" middle" * 50_000)
        await self.until(lambda: all(len(wire.received) > 350_000 for wire in (one, other)))
        assert len(self.files()) == 1
        replies = [wire.reply() for wire in (one, other)]
        whole = self.follow(self.uri, headers={"Range": "bytes=0-4"}).reply()  # one part of it waits for the whole
        head_only = self.follow(self.uri, "HEAD").reply(head=True)
        self.later.callback(b" end\r\n--b--\r\n")
        for reply in replies:
            assert (await reply).body == BEGUN + b" middle" * 50_000 + b" end"
        assert ((await whole).status, (await whole).body) == (206, b"begun")
        assert (await head_only).headers["content-length"] == str(100 + 350_000 + 4)
        assert len(opened) == 1
        kept = await self.get(self.alice, self.uri)
        assert (kept.headers["content-length"], "etag" in kept.headers) == (str(100 + 350_000 + 4), True)

    async def test_what_breaks_in_the_middle_is_broken_for_all_and_nothing_is_kept(self) -> None:
        for how in (Unreachable("gone"), TooMuch("more"), b"", b"\r\n--b\r\n"):
            rest: Deferred[bytes] = Deferred()
            self.answer(Said(self.opening, rest, content_type=KIND))
            self.north.peers.heard_from(self.south.name)
            wires = [self.follow(self.uri), self.follow(self.uri)]
            for wire in wires:
                await self.until(lambda wire=wire: b"begun" in wire.received)
            if isinstance(how, Exception):
                rest.errback(how)
            else:
                rest.callback(how)
            await self.until(lambda wires=wires: not any(wire.open for wire in wires))
            assert not any(wire.received.endswith(b"0\r\n\r\n") for wire in wires)
            assert self.files() == []
        self.answer(two_parts(b"whole"))
        assert (await self.get(self.alice, self.uri)).body == b"whole"

    async def test_it_is_kept_although_whoever_asked_has_gone(self) -> None:
        self.answer(Said(self.opening, self.rest, content_type=KIND))
        wire = self.follow(self.uri)
        await self.until(lambda: b"begun" in wire.received)
        wire.hang_up()
        self.rest.callback(b"\r\n--b--\r\n")
        await self.until(lambda: not any(path.parent.name == "incoming" for path in self.files()))
        self.answer()
        assert (await self.get(self.alice, self.uri)).body == BEGUN

    async def test_what_may_be_in_quarantine_is_shown_to_nobody_before_it_is_whole(self) -> None:
        bad = b"bad" * 1000
        uri = await self.alice.upload(bad)
        which = (ServerName(self.north.name), uri.rpartition("/")[2])
        database = self.north.running.core.database
        await database.write(set_quarantined, [which], UserID(self.alice.user_id), 1)
        for number, (length, is_shown) in enumerate(((str(len(bad) + 200), False), ("", False), (str(1 << 20), True))):
            rest: Deferred[bytes] = Deferred()
            self.answer(Said(self.opening, rest, content_type=KIND, content_length=length))
            wire = self.follow(f"mxc://{self.south.name}/of{length}")
            reply = wire.reply()
            await self.until(lambda kept=1 + number: len(self.files()) > kept)
            await deferLater(reactor_in_use(), 0)
            if is_shown:
                await self.until(lambda wire=wire: b"begun" in wire.received)
            else:
                assert wire.received == b""
            rest.callback(b"\r\n--b--\r\n")
            assert (await reply).body == BEGUN
        self.answer(two_parts(bad))
        assert (await self.get(self.alice, f"mxc://{self.south.name}/again")).status == 404

    async def test_a_thumbnail_is_made_of_the_whole(self) -> None:
        drawn = draw()
        self.answer(Said(begin(drawn[:50]), self.rest, content_type=KIND))
        path = f"/_matrix/client/v1/media/thumbnail/{self.uri.removeprefix('mxc://')}"
        reply = self.alice.call("GET", f"{path}?width=32&height=32&method=crop")
        waiting = Deferred.fromCoroutine(reply)
        await self.until(self.files)
        self.assertNoResult(waiting)
        self.rest.callback(drawn[50:] + b"\r\n--b--\r\n")
        assert (await waiting).status == 200

    async def test_who_stops_in_the_middle_breaks_off_and_keeps_nothing(self) -> None:
        self.answer(Said(self.opening, self.rest, content_type=KIND))
        wire = self.follow(self.uri)
        await self.until(lambda: b"begun" in wire.received)
        await self.north.stop()
        assert not wire.open
        assert not wire.received.endswith(b"0\r\n\r\n")
        self.rest.errback(Unreachable("gone"))
        await self.north.begin()
        assert self.files() == []

    async def test_a_kill_in_the_middle_leaves_nothing_half(self) -> None:
        self.answer(Said(self.opening, self.rest, content_type=KIND))
        wire = self.follow(self.uri)
        await self.until(lambda: b"begun" in wire.received)
        left, folder = self.folder / "left", self.north.settings.media.path
        shutil.copytree(folder, left)  # what a kill leaves on the disk
        self.rest.errback(Unreachable("gone"))
        await self.until(lambda: not wire.open)
        await self.north.stop()
        shutil.rmtree(folder)
        shutil.copytree(left, folder)
        assert len(self.files()) == 1
        await self.north.begin()
        assert self.files() == []
        self.answer(two_parts(b"whole"))
        assert (await self.get(self.alice, self.uri)).body == b"whole"


class Hostile(MediaCase):
    configuration = {"limits": {"rates": False, "upload_bytes": 100_000}}

    async def test_endless_broken_and_malformed_files_leave_nothing_behind(self) -> None:
        begun, kind = begin(b""), KIND
        answers: dict[str, Any] = {
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
        errcodes = {"endless": "M_TOO_LARGE", "longer than is listened to": "M_TOO_LARGE"}
        for number, (what, answer) in enumerate(answers.items()):
            self.answer(answer)
            self.north.peers.heard_from(self.south.name)
            reply = await self.get(self.alice, f"mxc://{self.south.name}/m{number}")
            assert (reply.status, reply.errcode) == (502, errcodes.get(what, "M_UNKNOWN")), (what, reply)
            assert isinstance(answer, Exception) or answer.status != 200 or answer.closed, what
        assert self.files() == []
        self.answer(two_parts(b"x" * 100_000))
        self.north.peers.heard_from(self.south.name)
        assert (await self.get(self.alice, f"mxc://{self.south.name}/good")).status == 200

    async def test_a_slow_drip_comes_to_an_end(self) -> None:
        pieces = [begin(b"")]

        class Drip(Said):
            async def read(inner) -> bytes:  # noqa: N805 - the test is self here
                self.north.late_ms += 60_000
                return pieces.pop() if pieces else b"x"

        self.answer(Drip(content_type=KIND))
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
        which = (self.south.name, uri.rpartition("/")[2])
        await database.write(set_quarantined, [which], UserID(self.alice.user_id), 1)
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
