"""Erasing people through the operators' door."""

from urllib.parse import quote

from tests.kit.operators import FORBIDDEN, NOT_FOUND, OperatorCase


def door(user_id: str) -> str:
    return f"/_parta/admin/v1/accounts/{quote(user_id)}/erasure"


class Erasing(OperatorCase):
    async def test_an_operator_erases_somebody_and_sees_when_it_is_done(self) -> None:
        room = await self.bob.create_room(preset="public_chat")
        await self.head.join(room)
        await self.bob.send(room, "what bob said")
        begun = await self.head.call("POST", door(self.bob.user_id), {})
        self.assertEqual((begun.status, begun.json["by"]), (202, self.head.user_id))
        self.assertEqual((await self.bob.refused("GET", "/account/whoami"))[0], 401)
        for _ in range(200):
            shown = await self.head.ok("GET", door(self.bob.user_id))
            if shown["stage"] == "done":
                break
        self.assertEqual(shown["stage"], "done")
        self.assertGreaterEqual(shown["ended_ms"], shown["began_ms"])
        page = await self.head.ok("GET", f"/rooms/{quote(room)}/messages", dir="b")
        said = [event["content"] for event in page["chunk"] if event["type"] == "m.room.message"]
        self.assertEqual(said, [{}])
        self.assertEqual(await self.deeds(), [("erase", self.bob.user_id)])

    async def test_who_is_nobody_is_not_erased(self) -> None:
        for name in ("@nobody:parta.test", "@bob:elsewhere.test"):
            self.assertEqual(await self.head.refused("POST", door(name), {}), NOT_FOUND)
        self.assertEqual(await self.head.refused("GET", door(self.bob.user_id)), NOT_FOUND)
        self.assertEqual(await self.deeds(), [])

    async def test_nobody_else_erases_anybody(self) -> None:
        for name in (self.bob.user_id, self.head.user_id):
            self.assertEqual(await self.bob.refused("POST", door(name), {}), FORBIDDEN)
            self.assertEqual(await self.bob.refused("GET", door(name)), FORBIDDEN)
        self.assertEqual(await self.deeds(), [])
