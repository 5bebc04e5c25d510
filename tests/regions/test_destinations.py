"""What operators see of the other servers, and how they have one tried again."""

from federation.ids import UserID
from homeserver.storage.accounts import set_admin
from tests.kit.across import AcrossCase
from tests.kit.operators import FORBIDDEN, NOT_FOUND, V1

WHERE = f"{V1}/federation/destinations"


class Destinations(AcrossCase):
    dialects = ("sqlite", "postgresql")

    async def setUp(self) -> None:
        await super().setUp()
        self.head = await self.north.register("head")
        await self.north.running.core.database.write(set_admin, UserID(self.head.user_id), True)

    async def test_a_destination_is_listed_with_how_it_does_and_its_rooms(self) -> None:
        self.assertEqual(await self.head.ok("GET", WHERE), {"destinations": [], "total": 0})
        room = await self.share()
        await self.settle()
        listed = await self.head.ok("GET", WHERE, destination="127.0", order_by="retry_last_ts", dir="b")
        self.assertEqual((listed["total"], listed["destinations"][0]["destination"]), (1, self.south.name))
        self.assertEqual(await self.head.ok("GET", WHERE, destination="%"), {"destinations": [], "total": 0})
        one = await self.head.ok("GET", f"{WHERE}/{self.south.name}")
        self.assertEqual((one["retry_last_ts"], one["retry_interval"], one["failure_ts"]), (0, 0, None))
        rooms = await self.head.ok("GET", f"{WHERE}/{self.south.name}/rooms")
        self.assertEqual((rooms["total"], rooms["rooms"][0]["room_id"]), (1, room))
        self.assertGreater(rooms["rooms"][0]["stream_ordering"], 0)

    async def test_one_that_is_left_alone_is_tried_again_at_once_and_that_is_noted(self) -> None:
        room = await self.share()
        await self.settle()
        reset = f"{WHERE}/{self.south.name}/reset_connection"
        self.assertEqual(await self.head.refused("POST", reset, {}), (400, "M_UNKNOWN"))
        self.cut(self.south)
        await self.alice.send(room, "one")
        await self.until(lambda: self.north.peers.retry_ms(self.south.name) > 0)
        one = await self.head.ok("GET", f"{WHERE}/{self.south.name}")
        self.assertEqual((one["retry_interval"], one["failure_ts"]), (2_000, one["retry_last_ts"]))
        for region in (self.north, self.south):
            region.cut_from.clear()
        await self.head.ok("POST", reset, {})
        await self.settle()
        self.assertEqual(await self.read(self.bob, room), ["one"])
        entries = (await self.head.ok("GET", "/_parta/admin/v1/audit"))["entries"]
        noted = [(entry["deed"], entry["detail"]) for entry in entries]
        self.assertEqual(noted, [("reset_destination", {"destination": self.south.name})])

    async def test_one_that_nobody_knows_is_not_found_and_nobody_else_looks(self) -> None:
        for method, path in (("GET", ""), ("GET", "/rooms"), ("POST", "/reset_connection")):
            self.assertEqual(await self.head.refused(method, f"{WHERE}/none.test{path}"), NOT_FOUND)
            self.assertEqual(await self.alice.refused(method, f"{WHERE}/none.test{path}"), FORBIDDEN)
        self.assertEqual(await self.alice.refused("GET", WHERE), FORBIDDEN)
        self.assertEqual(await self.head.refused("GET", WHERE, order_by="x"), (400, "M_INVALID_PARAM"))
