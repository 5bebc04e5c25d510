"""GET /mutual_rooms."""

from homeserver.policy import SeeProfile
from homeserver.rooms import mutual
from tests.kit.databases import on_both_databases
from tests.kit.houses import HouseCase

PATH = "/_matrix/client/v1/mutual_rooms"
INVALID = (400, "M_INVALID_PARAM")


@on_both_databases
class Mutual(HouseCase):
    async def rooms(self, number: int) -> list[str]:
        rooms = [await self.alice.create(preset="public_chat") for _ in range(number)]
        for room in rooms:
            await self.bob.join(room)
        return rooms

    async def test_only_rooms_that_both_are_joined_to_are_shared(self) -> None:
        left, shared = await self.rooms(2)
        await self.bob.leave(left)
        await self.alice.invite(await self.alice.create(), self.bob)
        answer = await self.alice.ok("GET", PATH, user_id=self.bob.user_id)
        self.assertEqual(answer, {"joined": [shared], "count": 1})

    async def test_many_come_in_pages(self) -> None:
        self.patch(mutual, "MOST_ROOMS", 2)
        rooms = await self.rooms(5)
        found: list[str] = []
        query: dict[str, object] = {}
        while True:
            page = await self.bob.ok("GET", PATH, user_id=self.alice.user_id, **query)
            self.assertEqual(page["count"], 5)
            found += page["joined"]
            if "next_batch" not in page:
                break
            query = {"from": page["next_batch"]}
        self.assertEqual(found, rooms)
        path = "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms"
        page = await self.bob.ok("GET", path, user_id=self.alice.user_id)
        token = page.pop("next_batch_token")
        self.assertEqual(page, {"joined": rooms[:2], "count": 5})
        page = await self.bob.ok("GET", path, user_id=self.alice.user_id, batch_token=token)
        self.assertEqual(page["joined"], rooms[2:4])

    async def test_nobody_shares_rooms_with_who_is_not_there_or_not_to_be_seen(self) -> None:
        await self.rooms(1)
        nothing = {"joined": [], "count": 0}
        self.assertEqual(await self.alice.ok("GET", PATH, user_id="@nobody:parta.test"), nothing)
        self.policy.refuse(SeeProfile)
        self.assertEqual(await self.alice.ok("GET", PATH, user_id=self.bob.user_id), nothing)

    async def test_bad_questions_are_refused(self) -> None:
        for query in ({"user_id": self.alice.user_id}, {"user_id": "bob"}, {"user_id": "@b:parta.test", "from": "x"}):
            self.assertEqual(await self.alice.refused("GET", PATH, **query), INVALID)
        self.assertEqual(await self.alice.refused("GET", PATH), (400, "M_MISSING_PARAM"))
