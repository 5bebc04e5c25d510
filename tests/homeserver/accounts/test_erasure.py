"""Erased people are gone: from what others see, from the tables, and from the bytes on the disk."""

from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from federation.ids import UserID
from homeserver.accounts.accounts import end_account
from homeserver.accounts.commands import deactivate_user, erase_user
from homeserver.policy import Conflict
from homeserver.storage.database import Txn
from homeserver.storage.erasure import Erasure, set_erasure
from tests.kit.people import Person
from tests.kit.server import ServerCase

NAME = "Серафима Златоустовская"
TEXT = "the unmistakable words of somebody"
PICTURE = b"\x89PNG unmistakable bytes of a picture"
STEM = b"unmistak"
"""What the index of the search has for one of the words."""
KEPT_NAME = "Пересвет"


def load_all_text(txn: Txn) -> str:
    """Everything in all tables."""
    names = txn.all("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    found = []
    for (name,) in names:
        for row in txn.all(f"SELECT * FROM {name}"):
            found += [bytes(v).decode("utf-8", "replace") if isinstance(v, bytes | memoryview) else str(v) for v in row]
    return "\n".join(found)


class Erasing(ServerCase):
    """What is left of people."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.person, self.friend = await self.register("x7k2"), await self.register("friend")

    async def live_a_little(self) -> str:
        """A life with a name, words and a picture in every corner; the room where most of it was."""
        person, friend = self.person, self.friend
        await person.ok("PUT", f"/profile/{person.user_id}/displayname", {"displayname": NAME})
        await friend.ok("PUT", f"/profile/{friend.user_id}/displayname", {"displayname": KEPT_NAME})
        uri = await person.upload(PICTURE)
        await person.ok("PUT", f"/profile/{person.user_id}/avatar_url", {"avatar_url": uri})
        room = await person.create_room(preset="public_chat")
        await friend.join(room)
        other = await friend.create_room(preset="public_chat")
        await friend.invite(other, person)
        await person.join(other)
        await person.leave(other)
        for index in range(60):
            await person.send(room, f"{TEXT} {index}")
        first = await person.send(room, f"{TEXT} at first")
        edit = {"msgtype": "m.text", "body": "* edit", "m.new_content": {"msgtype": "m.text", "body": f"{TEXT} then"}}
        edit["m.relates_to"] = {"rel_type": "m.replace", "event_id": first}
        await person.send_event(room, "m.room.message", edit)
        await person.send_event(room, "m.room.message", {"msgtype": "m.image", "body": TEXT, "url": uri})
        await friend.send(room, "what the friend said")
        await person.ok("PUT", f"/user/{person.user_id}/account_data/test.note", {"note": TEXT})
        await person.ok("POST", f"/user/{person.user_id}/filter", {"room": {"rooms": [TEXT]}})
        await person.ok("PUT", f"/devices/{person.device_id}", {"display_name": NAME})
        message = {"messages": {person.user_id: {"*": {"body": TEXT}}}}
        await friend.ok("PUT", "/sendToDevice/m.test/1", message)
        return room

    async def erase(self, **wanted: Any) -> None:
        """As an operator does at the console."""
        await erase_user(self.server.clerk, Namespace(user="x7k2", reported=False, **wanted), lambda line: None)

    async def find_on_disk(self, *needles: bytes) -> list[tuple[Path, bytes]]:
        """In which files something of that is."""
        files = [*self.folder.rglob("*"), *self.place.data_dir.glob("parta.db*")]
        return [(f, n) for f in files if f.is_file() for n in needles if n in f.read_bytes()]

    async def test_no_byte_of_an_erased_person_is_left_on_the_disk(self) -> None:
        await self.live_a_little()
        wanted = {"search_categories": {"room_events": {"search_term": "unmistakable"}}}
        found = (await self.friend.ok("POST", "/search", wanted))["search_categories"]["room_events"]
        assert found["count"] > 0
        needles = (NAME.encode(), TEXT.encode(), PICTURE, STEM)
        if self.dialect == "sqlite":
            assert len({needle for _, needle in await self.find_on_disk(*needles)}) == 4
        await self.erase()
        assert await self.find_on_disk(*needles) == []
        if self.dialect == "postgresql":
            text = await self.server.core.database.read(load_all_text)
            assert KEPT_NAME in text
            assert not any(needle in text for needle in (NAME, TEXT, STEM.decode()))

    async def test_what_others_said_stays_and_the_erased_are_seen_to_have_said_something(self) -> None:
        room = await self.live_a_little()
        await self.friend.sync()
        await self.erase()
        page = await self.friend.ok("GET", f"/rooms/{quote(room)}/messages", dir="b", limit=200)
        said = [event for event in page["chunk"] if event["type"] == "m.room.message"]
        assert [event["content"] for event in said if event["content"]] == [
            {"msgtype": "m.text", "body": "what the friend said"}
        ]
        assert all("redacted_because" in event["unsigned"] for event in said if not event["content"])
        timeline = (await self.friend.sync())["rooms"]["join"][room]["timeline"]["events"]
        assert "m.room.redaction" in {event["type"] for event in timeline}
        members = (await self.friend.ok("GET", f"/rooms/{quote(room)}/joined_members"))["joined"]
        assert list(members) == [self.friend.user_id]

    async def test_the_erased_are_nowhere_found_and_their_name_is_never_given_again(self) -> None:
        await self.live_a_little()
        await self.erase()
        assert (await self.person.refused("GET", "/account/whoami"))[0] == 401
        assert (await self.friend.refused("GET", f"/profile/{self.person.user_id}"))[0] == 404
        found = await self.friend.ok("POST", "/user_directory/search", {"search_term": "Серафима"})
        assert found["results"] == []
        again = {"username": "x7k2", "password": "correct horse 5", "auth": {"type": "m.login.dummy"}}
        assert (await self.call("POST", "/_matrix/client/v3/register", again)).status == 400

    async def test_an_erasure_that_was_cut_off_goes_on_at_the_next_start(self) -> None:
        await self.live_a_little()
        erasure = Erasure(user_id=UserID(self.person.user_id), by="@op:parta.test", stage="messages", began_ms=1)
        await self.server.core.database.write(end_account, erasure.user_id, 1, True)
        await self.server.core.database.write(set_erasure, erasure)
        await self.restart()
        if self.dialect == "sqlite":
            assert await self.find_on_disk(TEXT.encode(), PICTURE) == []
        else:
            assert TEXT not in await self.server.core.database.read(load_all_text)

    async def test_a_report_is_settled_before_its_subject_is_erased(self) -> None:
        room = await self.live_a_little()
        said = await self.person.send(room, "something bad")
        await self.friend.ok("POST", f"/rooms/{quote(room)}/report/{quote(said)}", {"reason": "bad"})
        with self.assertRaises(Conflict):
            await self.erase()
        await self.person.ok("GET", "/account/whoami")
        arguments = Namespace(user="x7k2", reported=True)
        await erase_user(self.server.clerk, arguments, lambda line: None)
        assert (await self.person.refused("GET", "/account/whoami"))[0] == 401

    async def test_who_deactivates_with_erase_is_still_read_by_those_who_were_there_alone(self) -> None:
        room = await self.live_a_little()
        await deactivate_user(self.server.clerk, Namespace(user="x7k2", erase=True), lambda line: None)
        late: Person = await self.register("late")
        await late.join(room)
        assert any(TEXT in text for text in await self.friend.texts(room))
        assert await late.texts(room) == ["what the friend said"]
        assert not any(TEXT in str(room) for room in (await late.sync())["rooms"]["join"].values())
        assert await self.find_on_disk(PICTURE) == []


class ErasingOnPostgreSQL(Erasing):
    """The same on PostgreSQL."""

    dialect = "postgresql"
