"""What a region of schools tells another that is in no room with its people: nothing, whatever is asked for."""

import secrets
from typing import Any
from urllib.parse import quote

from federation.ids import ServerName
from homeserver.schools.demo import PASSWORD, make_demo
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from tests.kit.keys import device_keys, one_time_keys
from tests.kit.neighbours import V1
from tests.kit.people import Person
from tests.kit.region import RegionsCase
from tests.kit.wire import Reply

PEOPLE = ("teacher1", "pupil1")


class Schools(RegionsCase):
    """The north is a region of schools on a list with the south, which cooperates with none of them."""

    mode = "list"
    dialects = ("postgresql", "sqlite")
    configuration = {"policy": "school", "registration": {"mode": "closed"}}

    async def setUp(self) -> None:
        await super().setUp()
        bureau = self.north.running.bureau
        self.org_id = await make_demo(bureau.office, bureau.desk, bureau.passwords)
        self.people = [await self.north.log_in(name, PASSWORD) for name in PEOPLE]
        for person in self.people:
            keys = {
                "device_keys": device_keys(person.user_id, person.device_id),
                "one_time_keys": one_time_keys("A"),
            }
            await person.ok("POST", "/keys/upload", keys)

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Ask as the south."""
        return await self.north.call_signed(self.south.name, self.south.key, method, V1 + path, body)

    async def test_of_people_nothing_is_told_that_nobody_would_not_be_told_of(self) -> None:
        nobody = f"@nobody:{self.north.name}"
        for path in ("/query/profile?user_id=", "/query/profile?field=displayname&user_id=", "/user/devices/"):
            known = {(r.status, r.body) for p in self.people if (r := await self.ask("GET", path + quote(p.user_id)))}
            unknown = await self.ask("GET", path + quote(nobody))
            assert known == {(unknown.status, unknown.body)} and unknown.status == 404, path
        everybody = [*(person.user_id for person in self.people), nobody]
        found = await self.ask("POST", "/user/keys/query", {"device_keys": {each: [] for each in everybody}})
        assert found.json == {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}}
        wanted = {person.user_id: {person.device_id: "signed_curve25519"} for person in self.people}
        assert (await self.ask("POST", "/user/keys/claim", {"one_time_keys": wanted})).json == {"one_time_keys": {}}
        counts = (await self.people[0].sync())["device_one_time_keys_count"]
        assert counts["signed_curve25519"] == 1

    async def test_of_rooms_and_files_nothing_is_told(self) -> None:
        bureau = self.north.running.bureau
        keys = room_keys(await bureau.desk.load(self.org_id))
        rooms = [keys[RoomKey(kind, "", "")] for kind in (Kind.SCHOOL, Kind.CHANNEL, Kind.STAFF)]
        refusals = {
            (r.status, r.body) for room in (*rooms, "!x") if (r := await self.ask("GET", f"/hierarchy/{quote(room)}"))
        }
        assert len(refusals) == 1
        assert {status for status, _ in refusals} == {404}
        for reply in (await self.ask("GET", "/publicRooms"), await self.ask("POST", "/publicRooms", {})):
            assert reply.json["chunk"] == []
        uri = await self.people[0].upload(b"secret")
        name = uri.rpartition("/")[2]
        for path in (f"/media/download/{name}", f"/media/thumbnail/{name}?width=1&height=1", "/media/download/none"):
            assert (await self.ask("GET", path)).status == 404, path

    async def test_what_it_says_of_its_people_reaches_nobody(self) -> None:
        stranger, teacher = f"@stranger:{self.south.name}", self.people[0]
        await teacher.sync()
        messages = {teacher.user_id: {"*": {"secret": 1}}}
        told = {
            "m.direct_to_device": {"sender": stranger, "type": "m.x", "message_id": "1", "messages": messages},
            "m.presence": {"push": [{"user_id": stranger, "presence": "online"}]},
            "m.device_list_update": {"user_id": stranger, "device_id": "X", "stream_id": 1, "prev_id": []},
        }
        edus = [{"edu_type": kind, "content": content} for kind, content in told.items()]
        body = {"origin": self.south.name, "origin_server_ts": 1, "pdus": [], "edus": edus}
        assert (await self.ask("PUT", f"/send/{secrets.token_hex(4)}", body)).status == 200
        news = await teacher.sync()
        assert not news.get("to_device", {}).get("events")
        assert not news.get("device_lists", {}).get("changed")
        assert all(event["sender"] != stranger for event in news.get("presence", {}).get("events", []))

    async def test_nobody_of_a_school_has_other_regions_asked_about_strangers(self) -> None:
        asked: list[str] = []
        outward: Any = self.north.running.core.outward

        async def ask(request: Any) -> Any:
            asked.append(request.url)
            raise AssertionError(request.url)

        outward.ask = outward.open = ask
        stranger, server = f"@stranger:{self.south.name}", self.south.name
        for person in self.people:
            await self._try_all(person, stranger, server)
        assert asked == []

    async def _try_all(self, person: Person, stranger: str, server: ServerName) -> None:
        assert (await person.call("GET", f"/profile/{quote(stranger)}")).status in (403, 404)
        found = await person.ok("POST", "/keys/query", {"device_keys": {stranger: []}})
        assert (found["device_keys"], found["failures"]) == ({}, {})
        claimed = await person.ok("POST", "/keys/claim", {"one_time_keys": {stranger: {"X": "x"}}})
        assert (claimed["one_time_keys"], claimed["failures"]) == ({}, {})
        assert (await person.call("GET", f"/directory/room/{quote(f'#x:{server}')}")).status == 404
        assert (await person.call("GET", "/publicRooms", server=server)).status == 404
        assert (await person.call("GET", f"/_matrix/client/v1/room_summary/!x:{server}", via=server)).status == 404
        assert (await person.call("GET", f"/_matrix/client/v1/media/download/{server}/x")).status == 404


class SchoolsInTheOpen(Schools):
    """The same without a list of regions."""

    mode = "open"
