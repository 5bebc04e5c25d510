"""What leaves a region about its people: everything that another can ask, and all that it is sent, before, during and
after a cooperation, of people in a shared room and of all others.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec

from federation.ids import UserID
from federation.transport.agent import Incoming, Outgoing
from homeserver.rooms.seal import Draft
from homeserver.schools.demo import PASSWORD
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from tests.kit.keys import device_keys, one_time_keys
from tests.kit.people import Person
from tests.kit.questions import V1, Questions, Subject
from tests.kit.region import Region
from tests.kit.wire import Reply
from tests.regions.test_cooperation import CooperationCase

DEVICE_NAME = "Телефон из учительской"
WITNESSED = {
    "GET /event/{eventId}",
    "GET /event_auth/{roomId}/{eventId}",
    "GET /state/{roomId}",
    "GET /state_ids/{roomId}",
    "GET /backfill/{roomId}",
    "POST /get_missing_events/{roomId}",
}
"""What is answered of an event that people of the asking region were there for, and of what was before it."""
TOLD_EDUS = {"m.typing", "m.receipt"}


class Walking(CooperationCase):
    """The south asks the north; the teacher of the north who is in the room, and those who are not."""

    async def setUp(self) -> None:
        await super().setUp()
        self.sent: list[Outgoing] = []
        for region in (self.north, self.south):
            self.watch(region)
        self.west = self.make_region("west")
        self.publish(self.build_list())
        await self.west.begin()
        await self.refresh()
        self.host, self.colleague, self.pupil = [
            await self.north.log_in(login, PASSWORD) for login in ("teacher1", "teacher2", "pupil1")
        ]
        for person in (self.host, self.colleague, self.pupil):
            keys = {"device_keys": device_keys(person.user_id, person.device_id), "one_time_keys": one_time_keys("A")}
            await person.ok("POST", "/keys/upload", keys)
        school = room_keys(await self.north.running.bureau.desk.load(self.ours.org_id))
        self.staff = school[RoomKey(Kind.STAFF)]
        self.questions = Questions(self.north)

    def watch(self, region: Region) -> None:
        """Note all requests that a region makes of others."""
        outward: Any = region.running.core.outward
        go: Callable[[Outgoing], Awaitable[Incoming]] = outward.ask

        async def ask(request: Outgoing) -> Incoming:
            self.sent.append(request)
            return await go(request)

        outward.ask = ask

    async def show(self, person: Person, room_id: str, body: bytes) -> Subject:
        """Something of somebody's that is in a room: a file, shown in an event."""
        uri = await person.upload(body)
        content = {"msgtype": "m.file", "body": "file", "url": uri}
        event_id = await person.send_event(room_id, "m.room.message", content)
        return Subject(
            user_id=person.user_id,
            device_id=person.device_id,
            room=await self.ours.room(room_id),
            event_id=event_id,
            media_id=uri.rpartition("/")[2],
            org_id=self.ours.org_id,
        )

    async def find_told(self, subject: Subject, by: Region | None = None) -> set[str]:
        """The questions, of the south or of another region, that are answered otherwise about this than about what
        there is not.
        """
        return await self.questions.find_told(subject, by or self.south)

    async def test_nothing_is_told_before_and_of_those_inside_what_the_room_needs_and_nothing_after(self) -> None:
        of_staff = await self.show(self.colleague, self.staff, b"secret")
        of_pupil = replace(of_staff, user_id=self.pupil.user_id, device_id=self.pupil.device_id)
        for outside in (of_staff, of_pupil):
            assert await self.find_told(outside) == set()

        cooperation_id = self.questions.cooperation_id = await self.agree()
        room_id = await self.open_room(cooperation_id)
        assert await self.find_told(of_pupil) == set()
        assert await self.find_told(of_staff) == {"POST /_parta/federation/v1/claims"}  # that they are a teacher
        guest = await self.south.log_in("teacher1", PASSWORD)
        for person in (self.host, guest):
            assert await self.join(person, room_id) == 200
        await self.check_those_outside(of_staff, of_pupil)
        inside = await self.show(self.host, room_id, b"for all of us")
        await self.check_those_inside(inside)
        assert await self.find_told(inside, self.west) == set()

        await self.end(self.ours, cooperation_id)
        assert await self.find_told(of_pupil) == await self.find_told(of_staff) == set()
        assert await self.find_told(inside) == WITNESSED
        assert await self.ask_media(inside) == 404

    async def test_of_a_room_elsewhere_that_its_people_are_in_a_region_tells_none_that_has_no_part_in_it(self) -> None:
        room_id = await self.open_room(await self.agree())
        guest = await self.south.log_in("teacher1", PASSWORD)
        assert await self.join(guest, room_id) == 200
        event_id = await guest.send(room_id, "x")
        subject = Subject(user_id=guest.user_id, room=await self.theirs.room(room_id), event_id=event_id)
        questions = Questions(self.south)
        assert await questions.find_told(subject, self.west) == set()
        assert "GET /event/{eventId}" in await questions.find_told(subject, self.north)

    async def test_a_host_that_encrypts_its_room_gets_no_files_that_were_shown_elsewhere(self) -> None:
        room_id = await self.open_room(await self.agree())
        guest = await self.south.log_in("teacher1", PASSWORD)
        assert await self.join(guest, room_id) == 200
        uri = await guest.upload(b"secret")
        school = room_keys(await self.south.running.bureau.desk.load(self.theirs.org_id))
        encryption = {"algorithm": "m.megolm.v1.aes-sha2"}
        await self.theirs.admin.set_state(school[RoomKey(Kind.STAFF)], "m.room.encryption", encryption)
        colleague = await self.south.log_in("teacher2", PASSWORD)
        where = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
        assert (await colleague.call("GET", where)).status == 200
        rooms, room = self.north.running.rooms.doors.rooms, await self.ours.room(room_id)
        service = UserID(f"@_parta:{self.north.name}")
        await rooms.append(room, Draft(type="m.room.encryption", sender=service, state_key="", content=encryption))
        await self.until(lambda room: ("m.room.encryption", "") in room.head.state, self.theirs, room_id)
        path = f"{V1}/media/download/{uri.rpartition('/')[2]}"
        assert (await self.south.call_signed(self.north.name, self.north.key, "GET", path)).status == 404

    async def check_those_outside(self, *subjects: Subject) -> None:
        """They are as before, also while others of their school are in a room with the south."""
        for subject in subjects:
            told = await self.find_told(subject) - {"POST /_parta/federation/v1/claims"}
            assert told == set(), subject

    async def check_those_inside(self, inside: Subject) -> None:
        """Of them the south learns their name, their picture and what they show there; nothing of their devices."""
        who = quote(inside.user_id, safe="")
        assert set((await self.call("GET", f"{V1}/query/profile?user_id={who}")).json) <= {"displayname", "avatar_url"}
        wanted = {inside.user_id: {inside.device_id: "signed_curve25519"}}
        assert (await self.call("GET", f"{V1}/user/devices/{who}")).status == 404
        found = await self.call("POST", f"{V1}/user/keys/query", {"device_keys": {inside.user_id: []}})
        assert found.json == {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}}
        assert (await self.call("POST", f"{V1}/user/keys/claim", {"one_time_keys": wanted})).json["one_time_keys"] == {}
        counts = (await self.host.sync())["device_one_time_keys_count"]
        assert counts["signed_curve25519"] == 1
        assert await self.ask_media(inside) == 200
        hidden = await self.show(self.host, self.staff, b"for us alone")
        assert await self.ask_media(hidden) == 404
        assert await self.ask_media(replace(hidden, media_id=(await self.host.upload(b"x")).rpartition("/")[2])) == 404

    async def ask_media(self, subject: Subject) -> int:
        return (await self.call("GET", f"{V1}/media/download/{subject.media_id}")).status

    async def call(self, method: str, path: str, body: Any = None) -> Reply:
        return await self.north.call_signed(self.south.name, self.south.key, method, path, body)

    async def test_nothing_is_sent_of_who_is_outside_nor_when_somebody_is_there(self) -> None:
        room_id = await self.open_room(await self.agree())
        guest = await self.south.log_in("teacher1", PASSWORD)
        for person in (self.host, guest):
            assert await self.join(person, room_id) == 200
        del self.sent[:]
        for person in (self.host, self.colleague, self.pupil, guest):
            who = quote(person.user_id)
            await person.ok("PUT", f"/presence/{who}/status", {"presence": "online", "status_msg": "в школе"})
            await person.ok("PUT", f"/devices/{person.device_id}", {"display_name": DEVICE_NAME})
        await self.host.ok("PUT", f"/profile/{quote(self.host.user_id)}/avatar_url", {"avatar_url": ""})
        for person in (self.host, self.colleague):
            said = await person.send(self.staff, "между нами")
            await person.ok("PUT", f"/rooms/{quote(self.staff)}/typing/{quote(person.user_id)}", {"typing": True})
            await person.ok("POST", f"/rooms/{quote(self.staff)}/receipt/m.read/{quote(said)}", {})
        await self.host.ok("PUT", f"/rooms/{quote(room_id)}/typing/{quote(self.host.user_id)}", {"typing": True})
        last = await self.host.send(room_id, "для всех")
        await self.until_known(room_id, last)
        await guest.send(room_id, "и я")

        everything = b"\n".join(request.url.encode() + (request.body or b"") for request in self.sent).decode()
        assert last in everything or "для всех" in everything
        for private in (
            self.colleague.user_id,
            self.pupil.user_id,
            self.staff,
            "между нами",
            "в школе",
            DEVICE_NAME,
            "m.presence",
        ):
            assert private not in everything, private
        sent = [msgspec.json.decode(request.body or b"{}") for request in self.sent if "/send/" in request.url]
        assert {edu["edu_type"] for transaction in sent for edu in transaction.get("edus", ())} <= TOLD_EDUS

    async def test_a_guest_sees_the_room_and_of_its_region_nothing_else(self) -> None:
        of_staff = await self.show(self.colleague, self.staff, b"secret")
        room_id = await self.open_room(await self.agree())
        guest = await self.south.log_in("teacher1", PASSWORD)
        for person in (self.host, guest):
            assert await self.join(person, room_id) == 200
        inside = await self.show(self.host, room_id, b"for all of us")
        await self.until_known(room_id, inside.event_id)
        nobody = f"@nobody:{self.north.name}"
        for other in (self.host.user_id, self.colleague.user_id, self.pupil.user_id, nobody):
            who = quote(other)
            found = await guest.ok("POST", "/user_directory/search", {"search_term": other.split(":")[0][1:]})
            assert other not in [each["user_id"] for each in found["results"]]
            assert (await guest.call("GET", f"/profile/{who}")).status in (403, 404), other
            assert (await guest.call("GET", f"/presence/{who}/status")).status in (403, 404), other
            assert (await guest.ok("POST", "/keys/query", {"device_keys": {other: []}}))["device_keys"] == {}
            wanted = {"invite": [other], "is_direct": True, "preset": "private_chat"}
            assert (await guest.call("POST", "/createRoom", wanted)).status == 403
            assert (await guest.call("POST", f"/rooms/{quote(room_id)}/invite", {"user_id": other})).status == 403
        await self.colleague.send(self.staff, "физика")
        await self.host.send(room_id, "физика")
        wanted = {"search_categories": {"room_events": {"search_term": "физика", "keys": ["content.body"]}}}
        results = (await guest.ok("POST", "/search", wanted))["search_categories"]["room_events"]["results"]
        assert {result["result"]["room_id"] for result in results} <= {room_id}
        path = f"/_matrix/client/v1/media/download/{self.north.name}"
        assert (await guest.call("GET", f"{path}/{inside.media_id}")).body == b"for all of us"
        assert (await guest.call("GET", f"{path}/{of_staff.media_id}")).status == 404
        assert await self.join(guest, self.staff) in (403, 404)
        joined = (await guest.sync(full_state=True))["rooms"]["join"]
        assert {room for room in joined if room not in await self.own_rooms(self.south)} == {room_id}

    async def own_rooms(self, region: Region) -> set[str]:
        bureau = region.running.bureau
        return set(room_keys(await bureau.desk.load(self.theirs.org_id)).values())

    async def until_known(self, room_id: str, event_id: str) -> None:
        """Wait until the south has an event."""
        await self.until(lambda room: room.find_recent(event_id) is not None, self.theirs, room_id)


class WalkingInTheOpen(Walking):
    """Regions of schools that federate with everybody: closed rooms are as closed."""

    mode = "open"
