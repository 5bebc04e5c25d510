"""Encryption in a school: among adults, and of use to nobody else."""

from typing import Any

from homeserver.schools.rights import Kind
from tests.kit.district import DistrictCase, try_to_send
from tests.kit.keys import device_keys, one_time_keys
from tests.kit.people import Person

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
SECRET = {
    "algorithm": "m.megolm.v1.aes-sha2",
    "ciphertext": "c",
    "session_id": "s",
    "device_id": "D",
    "sender_key": "k",
}
NOBODY = "@nobody:north.example"


class Secrets(DistrictCase):
    """Encrypted rooms, files and keys in the demonstration school."""

    async def publish(self, person: Person) -> None:
        keys = device_keys(person.user_id, person.device_id)
        body = {"device_keys": keys, "one_time_keys": one_time_keys("A", "B")}
        await person.ok("POST", "/keys/upload", body)

    async def test_adults_share_encrypted_messages_files_and_history(self) -> None:
        teacher, admin = await self.sign_in("teacher1"), await self.sign_in("admin1")
        wanted = {"invite": [admin.user_id], "is_direct": True, "initial_state": [ENCRYPTION]}
        room = (await teacher.ok("POST", "/createRoom", wanted))["room_id"]
        await admin.call("POST", f"/join/{room}", {})
        await admin.sync()
        assert (await try_to_send(teacher, room, "m.room.encrypted", **SECRET)).status == 200
        for purpose in ("an attachment", "a bundle of keys for what was said before"):
            uri = await teacher.upload(purpose.encode())
            path = "/_matrix/client/v1/media/download/" + uri.removeprefix("mxc://")
            bundle = {"messages": {admin.user_id: {"*": {"algorithm": "m.olm.v1.curve25519-aes-sha2"}}}}
            await teacher.ok("PUT", f"/sendToDevice/m.room.encrypted/{purpose.replace(' ', '')}", bundle)
            assert len((await admin.sync())["to_device"]["events"]) == 1
            assert (await admin.call("GET", path)).body == purpose.encode()
            absent = await admin.call("GET", path + "x")
            for login in ("pupil3", "parent3", "teacher2", "newcomer"):
                reply = await (await self.sign_in(login)).call("GET", path)
                assert (reply.status, reply.body) == (absent.status, absent.body), login
        lesson = await self.room(Kind.PUPILS, "9Б")
        await teacher.send_event(lesson, "m.room.message", {"msgtype": "m.file", "body": "a", "url": uri})
        assert (await (await self.sign_in("pupil3")).call("GET", path)).status == 200

    async def test_the_keys_of_whom_one_may_not_know_are_as_those_of_nobody(self) -> None:
        teacher, pupil = await self.sign_in("teacher1"), await self.sign_in("pupil1")
        stranger = await self.sign_in("pupil3")
        for person in (teacher, pupil, stranger):
            await self.publish(person)
        doors: list[Any] = [
            lambda who: ("POST", "/keys/query", {"device_keys": {who: []}}),
            lambda who: ("POST", "/keys/claim", {"one_time_keys": {who: {stranger.device_id: "signed_curve25519"}}}),
            lambda who: ("PUT", "/sendToDevice/m.room.encrypted/1", {"messages": {who: {"*": {"x": 1}}}}),
        ]
        for door in doors:
            there, nowhere = [await pupil.call(*door(who)) for who in (stranger.user_id, NOBODY)]
            assert (there.status, there.body) == (nowhere.status, nowhere.body)
        body = {stranger.user_id: {"K": {}}, NOBODY: {"K": {}}}
        failures = (await pupil.ok("POST", "/keys/signatures/upload", body))["failures"]
        assert failures[stranger.user_id] == failures[NOBODY]
        left = await stranger.sync()
        assert left["device_one_time_keys_count"]["signed_curve25519"] == 2
        assert "to_device" not in left
