"""Intruders: what they tried on a running school, and where they were stopped."""

from homeserver.schools.rights import Kind
from tests.kit.district import DistrictCase
from tests.kit.people import Person

_DOWNLOAD = "/_matrix/client/v1/media/download/"


class Intruders(DistrictCase):
    async def sees(self, person: Person, uri: str) -> bool:
        """Whether somebody is given a file, or what there is of it so far."""
        reply = await person.call("GET", _DOWNLOAD + uri.removeprefix("mxc://"), timeout_ms=0)
        assert reply.status in {200, 404, 504}, reply
        return reply.status != 404

    async def test_wearing_the_file_of_another_as_an_avatar_opens_it_to_nobody(self) -> None:
        stranger, pupil, owner = [await self.sign_in(login) for login in ("teacher2", "pupil1", "pupil3")]
        shown = await owner.upload(b"a photograph")
        content = {"msgtype": "m.image", "body": "photo", "url": shown}
        await owner.send_event(await self.room(Kind.PUPILS, "9Б"), "m.room.message", content)
        promised = (await owner.ok("POST", "/_matrix/media/v1/create", {}))["content_uri"]
        for uri in (shown, promised):
            await stranger.ok("PUT", f"/profile/{stranger.user_id}/avatar_url", {"avatar_url": uri})
            assert await self.sees(owner, uri)
            assert not await self.sees(stranger, uri)
            assert not await self.sees(pupil, uri)

    async def test_an_avatar_is_seen_by_those_who_see_the_person(self) -> None:
        teacher, pupil = await self.sign_in("teacher2"), await self.sign_in("pupil1")
        uri = await teacher.upload(b"a portrait")
        assert not await self.sees(pupil, uri)
        await teacher.ok("PUT", f"/profile/{teacher.user_id}/avatar_url", {"avatar_url": uri})
        assert await self.sees(pupil, uri)
