"""The operator's socket into a running server, and what is done through it."""

import socket
import stat
from argparse import ArgumentParser

from twisted.internet.threads import deferToThread

from homeserver.accounts.commands import add_commands
from homeserver.commands import CommandFailed, Outcome, Request
from homeserver.control import SOCKET, ask, open_control
from homeserver.policy import Conflict, Invalid
from tests.kit.callers import PASSWORD
from tests.kit.databases import reactor_in_use
from tests.kit.server import ServerCase
from tests.kit.wire import make_folder


class Control(ServerCase):
    """The socket itself."""

    async def run_request(self, request: Request) -> Outcome:
        self.requests.append(request)
        return Outcome(["done"], None if request.argv else "nothing to do")

    async def setUp(self) -> None:
        await super().setUp()
        self.requests: list[Request] = []
        self.data = make_folder(self)

    def open(self) -> None:
        port = open_control(self.data, self.run_request, reactor_in_use())
        assert port is not None
        self.addCleanup(port.stopListening)

    def converse(self, sent: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.data / SOCKET))
            line.settimeout(10)
            line.sendall(sent)
            answer = b""
            while piece := line.recv(65536):
                answer += piece
            return answer

    async def test_a_request_is_done_and_its_outcome_told(self) -> None:
        self.open()
        request = Request(["user", "list"], {"a.csv": b"\x00\xff" * 100_000}, "secret")
        assert await deferToThread(ask, self.data, request) == Outcome(["done"])
        assert self.requests == [request]
        assert await deferToThread(ask, self.data, Request([])) == Outcome(["done"], "nothing to do")

    async def test_nobody_else_may_open_it(self) -> None:
        self.open()
        assert stat.S_IMODE((self.data / SOCKET).stat().st_mode) == 0o600

    async def test_junk_is_refused(self) -> None:
        self.open()
        for junk in (b"junk\n", b'{"argv":5}\n', b"[]\n", b"\xff\n"):
            assert b"not a request" in await deferToThread(self.converse, junk)
        assert not self.requests

    async def test_where_none_runs_nobody_answers(self) -> None:
        assert ask(self.data, Request([])) is None
        (self.data / SOCKET).touch()
        assert ask(self.data, Request([])) is None

    async def test_a_server_that_breaks_off_is_noticed(self) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.bind(str(self.data / SOCKET))
            line.listen()
            asking = deferToThread(ask, self.data, Request(["user"]))
            line.accept()[0].close()
            with self.assertRaises(ConnectionError):
                await asking

    async def test_a_place_where_no_socket_can_be_is_done_without(self) -> None:
        assert open_control(self.data / ("x" * 200), self.run_request, reactor_in_use()) is None
        self.open()
        assert open_control(self.data, self.run_request, reactor_in_use()) is None


class Users(ServerCase):
    """What ``parta user`` does."""

    async def do(self, *typed: str, password: str | None = None) -> list[str]:
        parser = ArgumentParser()
        add_commands(parser)
        arguments = parser.parse_args(typed)
        arguments.password = password
        lines: list[str] = []
        await arguments.act(self.server.clerk, arguments, lines.append)
        return lines

    async def test_an_account_is_made_with_a_password_of_ones_choice(self) -> None:
        assert await self.do("create", "Alice", "--admin", password=PASSWORD) == ["created @alice:parta.test"]
        alice = await self.log_in("alice")
        assert (await alice.ok("GET", f"/profile/{alice.user_id}"))["displayname"] == "Alice"
        assert await self.do("list") == ["@alice:parta.test admin"]

    async def test_or_with_one_that_is_made_up(self) -> None:
        created, password = await self.do("create", "bob")
        assert created == "created @bob:parta.test"
        await self.log_in("bob", password.removeprefix("password: "))

    async def test_names_that_are_taken_or_none_are_refused(self) -> None:
        await self.register("alice")
        with self.assertRaises(Conflict):
            await self.do("create", "alice")
        with self.assertRaises(Invalid):
            await self.do("create", "a b")
        with self.assertRaises(Invalid):
            await self.do("create", "bob", password="short")

    async def test_another_password_logs_out_every_device(self) -> None:
        alice = await self.register("alice")
        _, password = await self.do("reset-password", "alice")
        assert (await alice.refused("GET", "/account/whoami")) == (401, "M_UNKNOWN_TOKEN")
        await self.log_in("alice", password.removeprefix("password: "))

    async def test_a_closed_account_leaves_its_rooms_and_is_listed_only_on_demand(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        assert await self.do("deactivate", "@bob:parta.test") == ["deactivated @bob:parta.test"]
        assert list((await alice.ok("GET", f"/rooms/{room}/joined_members"))["joined"]) == [alice.user_id]
        assert await self.do("list") == ["@alice:parta.test"]
        assert await self.do("list", "--all") == ["@alice:parta.test", "@bob:parta.test deactivated"]

    async def test_nothing_is_done_to_who_is_not_here(self) -> None:
        for name in ("nobody", "@nobody:parta.test", "@alice:else.where", "@@"):
            for command in ("reset-password", "deactivate"):
                with self.assertRaises(CommandFailed):
                    await self.do(command, name)
