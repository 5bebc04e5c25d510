"""What people are told, and how soon, when another server is not there, does not answer, or answers nonsense."""

from itertools import count
from typing import Any, Final
from urllib.parse import quote

from federation.transport.agent import Incoming, Outgoing
from federation.transport.answers import Unreachable
from tests.kit.neighbours import NeighboursCase
from tests.kit.ports import find_port

LONGEST_MS: Final = 30_000
"""How long anybody is left without an answer because of one server."""
_MEDIA: Final = "/_matrix/client/v1/media"
DOORS: Final[dict[str, tuple[str, str, dict[str, Any] | None]]] = {
    "profile": ("GET", "/profile/@x:{server}", None),
    "field": ("GET", "/profile/@x:{server}/displayname", None),
    "alias": ("GET", "/directory/room/%23x:{server}", None),
    "join by alias": ("POST", "/join/%23x:{server}", {}),
    "join": ("POST", "/join/!x:{server}?via={server}", {}),
    "knock": ("POST", "/knock/!x:{server}?via={server}", {}),
    "invite": ("POST", "/rooms/{room}/invite", {"user_id": "@x:{server}"}),
    "directory": ("GET", "/publicRooms?server={server}", None),
    "file": ("GET", f"{_MEDIA}/download/{{server}}/x", None),
    "thumbnail": ("GET", f"{_MEDIA}/thumbnail/{{server}}/x?width=32&height=32", None),
}
UNREACHABLE: Final = (502, "M_UNKNOWN")
_ports: Final = count(40_000)


class Unanswered(NeighboursCase):
    async def ask_door(self, server: str, name: str) -> tuple[int, str]:
        """What Alice is told at a door where that server is needed."""
        method, path, body = DOORS[name]
        if body:
            body = {key: value.format(server=server) for key, value in body.items()}
        return await self.alice.refused(method, path.format(server=server, room=quote(self.room_id)), body)

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room_id = await self.alice.create_room()
        self.outward: Any = self.north.running.core.outward

    async def test_a_server_that_is_not_there_is_said_to_be_at_every_door(self) -> None:
        for name in DOORS:
            assert await self.ask_door(f"127.0.0.1:{find_port()}", name) == UNREACHABLE, name

    async def test_no_name_is_told_that_the_network_tells_us(self) -> None:
        reply = await self.alice.call("GET", f"/profile/@x:127.0.0.1:{find_port()}")
        assert reply.json["error"] == "The other server cannot be reached"

    async def test_nobody_waits_long_for_who_does_not_answer(self) -> None:
        waited_ms = self.keep_silent()
        for name in DOORS:
            before = sum(waited_ms)
            assert await self.ask_door(f"127.0.0.1:{next(_ports)}", name) == UNREACHABLE, name
            assert 0 < sum(waited_ms) - before <= LONGEST_MS, name
        before, via = sum(waited_ms), "&".join(f"via=127.0.0.1:{next(_ports)}" for _ in range(20))
        assert await self.alice.refused("POST", f"/join/!x:y.test?{via}", {}) == UNREACHABLE
        assert sum(waited_ms) - before < 2 * LONGEST_MS
        before, invited = sum(waited_ms), [f"@x:127.0.0.1:{next(_ports)}" for _ in range(20)]
        room_id = (await self.alice.ok("POST", "/createRoom", {"invite": invited}))["room_id"]
        assert sum(waited_ms) - before < 2 * LONGEST_MS
        assert room_id in (await self.alice.ok("GET", "/joined_rooms"))["joined_rooms"]

    def keep_silent(self) -> list[int]:
        """Let nobody answer, and time go by meanwhile."""
        waited_ms: list[int] = []

        async def wait(request: Outgoing) -> Any:
            waited_ms.append(int(request.within_s * 1000))
            self.north.late_ms += waited_ms[-1]
            raise Unreachable("no answer")

        self.outward.ask = self.outward.open = wait
        return waited_ms

    async def test_what_other_servers_answer_is_passed_on_as_far_as_clients_know_it(self) -> None:
        nonsense = Incoming(status=200, headers={}, body=b"<html>")
        broken = Incoming(status=500, headers={}, body=b"<html>")
        absent = Incoming(status=404, headers={}, body=b'{"errcode":"M_NOT_FOUND","error":"?"}')
        refused = Incoming(status=403, headers={}, body=b'{"errcode":"M_FORBIDDEN","error":"?"}')
        busy = Incoming(status=429, headers={}, body=b'{"errcode":"M_LIMIT_EXCEEDED","error":"?"}')
        not_found, forbidden = (404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")
        told = {
            "profile": (not_found, not_found),
            "field": (not_found, not_found),
            "alias": (not_found, UNREACHABLE),
            "join by alias": (not_found, UNREACHABLE),
            "join": (not_found, forbidden),
            "knock": (not_found, forbidden),
            "invite": (not_found, forbidden),
            "directory": (UNREACHABLE, UNREACHABLE),
        }
        for name, (if_absent, if_refused) in told.items():
            for answer, expected in (
                (nonsense, UNREACHABLE),
                (broken, UNREACHABLE),
                (busy, UNREACHABLE),
                (absent, if_absent),
                (refused, if_refused),
            ):

                async def say(_: Outgoing, answer: Incoming = answer) -> Incoming:
                    return answer

                self.outward.ask = say
                assert await self.ask_door(f"127.0.0.1:{next(_ports)}", name) == expected, (name, answer)

    async def test_keys_that_cannot_be_had_are_failures_of_their_servers(self) -> None:
        server = f"127.0.0.1:{find_port()}"
        wanted = {
            "query": {"device_keys": {f"@x:{server}": []}},
            "claim": {"one_time_keys": {f"@x:{server}": {"D": "signed_curve25519"}}},
        }
        for what, body in wanted.items():
            assert list((await self.alice.ok("POST", f"/keys/{what}", body))["failures"]) == [server], what
