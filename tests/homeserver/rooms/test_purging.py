"""Rooms and their history are removed: at once for people, bit by bit in the tables, whatever happens between."""

from typing import Any
from urllib.parse import quote

from federation.ids import UserID
from homeserver.policy import Invalid, NotFound
from homeserver.rooms.purging import Deletion
from homeserver.storage import purge as storage
from homeserver.storage.database import Txn
from homeserver.storage.purge import ROOM_TABLES
from tests.kit.people import Person
from tests.kit.server import ServerCase

OPERATOR = UserID("@operator:parta.test")


def count_rows(txn: Txn, room_nid: int, room_id: str) -> dict[str, int]:
    """How many rows each table has of a room, where it has any."""
    found = {}
    for table in ROOM_TABLES:
        value = room_nid if table.room == "room_nid" else room_id
        (number,) = txn.one(f"SELECT COUNT(*) FROM {table.name} WHERE {table.room} = ?", (value,)) or (0,)
        if number:
            found[table.name] = number
    return found


class Purging(ServerCase):
    """What operators have removed."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.alice, self.bob = await self.register("alice"), await self.register("bob")

    async def furnish(self) -> str:
        """A room with something in every corner."""
        alice, bob = self.alice, self.bob
        room = await alice.create_room(preset="public_chat", visibility="public", room_alias_name="hall")
        await bob.join(room)
        uri = await alice.upload(b"a picture")
        first = await alice.send_event(room, "m.room.message", {"msgtype": "m.image", "body": "see", "url": uri})
        relation = {"rel_type": "m.annotation", "event_id": first, "key": "+"}
        await bob.send_event(room, "m.reaction", {"m.relates_to": relation})
        await bob.ok("POST", f"/rooms/{quote(room)}/receipt/m.read/{quote(first)}", {})
        await bob.ok("PUT", f"/user/{bob.user_id}/rooms/{quote(room)}/account_data/test.note", {"a": 1})
        return room

    async def nid_of(self, room: str) -> int:
        """The room's own number in the tables."""
        live = await self.server.rooms.doors.rooms.load(room)
        assert live is not None
        return live.nid

    async def rows(self, nid: int, room: str) -> dict[str, int]:
        """What the tables hold of a room."""
        return await self.server.core.database.read(count_rows, nid, room)

    async def delete(self, room: str, **wanted: Any) -> Any:
        """Remove a room, and wait for that."""
        purges = self.server.purges
        return await purges.finished(await purges.delete_room(room, Deletion(by=OPERATOR, **wanted)))

    async def test_a_purged_room_leaves_no_row_and_its_neighbour_keeps_all(self) -> None:
        room = await self.furnish()
        other = await self.alice.create_room(preset="public_chat")
        await self.alice.send(other, "still here")
        nid, other_nid = await self.nid_of(room), await self.nid_of(other)
        before = await self.rows(other_nid, other)
        assert {"events", "receipts", "account_data", "media_references", "aliases"} <= (
            await self.rows(nid, room)
        ).keys()
        done = await self.delete(room)
        assert done.status == "complete", done
        assert await self.rows(nid, room) == {}
        assert await self.rows(other_nid, other) == before
        assert await self.alice.texts(other) == ["still here"]

    async def test_a_large_room_goes_in_small_steps(self) -> None:
        self.patch(storage.purge_room, "__defaults__", (7,))
        room = await self.furnish()
        nid = await self.nid_of(room)
        for number in range(30):
            await self.alice.send(room, f"message {number}")
        assert (await self.delete(room)).status == "complete"
        assert await self.rows(nid, room) == {}

    async def test_who_was_in_a_purged_room_syncs_on_and_finds_it_gone(self) -> None:
        room = await self.furnish()
        await self.bob.sync()
        await self.delete(room)
        told = (await self.bob.sync())["rooms"]
        assert room not in told.get("join", {})
        assert room in told["leave"]
        assert await self.bob.refused("GET", f"/rooms/{quote(room)}/messages", dir="b") == (403, "M_FORBIDDEN")
        assert await self.bob.refused("POST", f"/join/{quote(room)}", {}) == (404, "M_NOT_FOUND")
        assert (await self.bob.call("GET", "/directory/room/" + quote("#hall:parta.test"))).status == 404
        self.bob.since = None
        assert (await self.bob.sync()).get("rooms", {}).get("join", {}) == {}

    async def test_who_slides_over_rooms_goes_on_without_the_purged_one(self) -> None:
        room = await self.furnish()
        path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
        wanted = {"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 5, "required_state": [["*", "*"]]}}}
        first = await self.bob.ok("POST", path, wanted, timeout=0)
        assert room in first["rooms"]
        await self.delete(room)
        then = await self.bob.ok("POST", path, wanted, timeout=0, pos=first["pos"])
        assert not then["rooms"].get(room, {}).get("timeline")
        again = await self.bob.ok("POST", path, wanted, timeout=0, pos=then["pos"])
        assert room not in again["rooms"]
        await self.restart()
        assert (await self.bob.ok("POST", path, wanted, timeout=0))["rooms"] == {}

    async def test_files_that_only_the_room_showed_are_gone_from_the_disk(self) -> None:
        room = await self.furnish()
        assert any(b"a picture" in file.read_bytes() for file in self.folder.rglob("*") if file.is_file())
        await self.delete(room)
        files = [file for file in (self.folder / "data").rglob("*") if file.is_file()]
        assert not any(b"a picture" in file.read_bytes() for file in files)

    async def test_a_room_that_is_not_purged_is_only_emptied(self) -> None:
        room = await self.furnish()
        done = await self.delete(room, purge=False, block=True)
        assert done.status == "complete"
        assert b"bob" in done.result
        live = await self.server.rooms.doors.rooms.load(room)
        assert live is not None
        assert list(live.joined_members) == []
        assert (await self.bob.call("POST", f"/join/{quote(room)}", {})).status == 403

    async def test_its_people_find_themselves_in_a_new_room_that_says_why(self) -> None:
        room = await self.furnish()
        host = await self.register("host")
        await self.delete(room, new_room_user=host.user_id, message="It is closed", room_name="Notice")
        joined = (await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"]
        assert len(joined) == 1
        assert await self.bob.texts(joined[0]) == ["It is closed"]
        assert (await self.bob.refused("PUT", f"/rooms/{quote(joined[0])}/send/m.room.message/1", {"body": "no"}))[
            0
        ] == 403

    async def test_a_removal_that_was_cut_off_goes_on_at_the_next_start(self) -> None:
        room = await self.furnish()
        nid = await self.nid_of(room)
        live = await self.server.rooms.doors.rooms.load(room)
        assert live is not None
        purge = storage.Purge(
            purge_id="cut", room_id=live.room_id, kind="room", status="shutting_down", began_ms=1,
            wanted=b'{"by":"@operator:parta.test"}',
        )  # fmt: skip
        database = self.server.core.database
        await database.write(storage.append_purge, purge)
        await database.write(storage.begin_removal, live.record, purge)
        await self.restart()
        done = await self.server.purges.finished("cut")
        assert done is not None
        assert done.status == "complete"
        assert await self.rows(nid, room) == {}

    async def test_no_room_gets_the_number_of_one_that_is_being_removed(self) -> None:
        room = await self.furnish()
        live = await self.server.rooms.doors.rooms.load(room)
        assert live is not None
        purge = storage.Purge(
            purge_id="cut", room_id=live.room_id, kind="room", status="failed", began_ms=1, wanted=b"{}", ended_ms=1
        )
        database = self.server.core.database
        await database.write(storage.append_purge, purge)
        await database.write(storage.begin_removal, live.record, purge)
        await self.restart()
        assert self.server.core.database.next_id("rooms") == live.nid + 1

    async def test_what_is_not_there_is_not_removed_and_nothing_twice_at_a_time(self) -> None:
        purges = self.server.purges
        with self.assertRaises(NotFound):
            await purges.delete_room("!no:parta.test", Deletion(by=OPERATOR))
        room = await self.furnish()
        first = await purges.delete_room(room, Deletion(by=OPERATOR))
        with self.assertRaises((Invalid, NotFound)):
            await purges.delete_room(room, Deletion(by=OPERATOR))
        await purges.finished(first)
        assert [purge.purge_id for purge in await purges.of_room(room)] == [first]

    # history

    async def thin(
        self, room: str, event_id: str | None = None, at_ms: int | None = None, *, local: bool = True
    ) -> Any:
        """Remove history, and wait for that."""
        purges = self.server.purges
        return await purges.finished(
            await purges.purge_history(room, OPERATOR, event_id=event_id, at_ms=at_ms, local=local)
        )

    async def say(self, room: str, person: Person, number: int) -> list[str]:
        """So many messages."""
        return [await person.send(room, f"message {index}") for index in range(number)]

    async def test_what_was_said_before_an_event_goes_and_state_stays(self) -> None:
        room = await self.alice.create_room(name="Old names", preset="public_chat")
        sent = await self.say(room, self.alice, 12)
        await self.alice.set_state(room, "m.room.topic", {"topic": "later"})
        self.patch(storage.purge_events, "__defaults__", ((), 5))
        done = await self.thin(room, sent[8])
        assert done.status == "complete"
        assert await self.alice.texts(room) == [f"message {index}" for index in (11, 10, 9, 8)]
        assert (await self.alice.call("GET", f"/rooms/{quote(room)}/event/{quote(sent[3])}")).status == 404
        assert (await self.alice.ok("GET", f"/rooms/{quote(room)}/state/m.room.name"))["name"] == "Old names"
        await self.alice.send(room, "on we go")
        await self.restart()
        assert (await self.alice.texts(room))[0] == "on we go"

    async def test_the_last_event_of_a_room_stays_whatever_its_age(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        await self.say(room, self.alice, 5)
        await self.thin(room, at_ms=2**52)
        assert await self.alice.texts(room) == ["message 4"]
        await self.alice.send(room, "the next")
        assert await self.alice.texts(room) == ["the next", "message 4"]

    async def test_what_our_own_people_said_stays_unless_it_is_asked_for(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        sent = await self.say(room, self.alice, 5)
        await self.thin(room, sent[4], local=False)
        assert len(await self.alice.texts(room)) == 5

    async def test_the_redaction_of_state_stays_with_the_state(self) -> None:
        room = await self.alice.create_room(preset="public_chat")
        topic = await self.alice.set_state(room, "m.room.topic", {"topic": "unseemly"})
        await self.alice.ok("PUT", f"/rooms/{quote(room)}/redact/{quote(topic)}/r1", {})
        sent = await self.say(room, self.alice, 3)
        await self.thin(room, sent[2])
        event = await self.alice.ok("GET", f"/rooms/{quote(room)}/event/{quote(topic)}")
        assert "redacted_because" in event["unsigned"]


class PurgingOnPostgreSQL(Purging):
    """The same on PostgreSQL."""

    dialect = "postgresql"
