"""Guests: what they may do, how they look into rooms, and how they stay."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from config.load import ConfigError, parse_settings
from tests.kit.callers import PASSWORD
from tests.kit.district import DistrictCase
from tests.kit.people import V3, Person
from tests.kit.server import ServerCase

WORLD = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "world_readable"}}
GUESTS = {"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "can_join"}}


class GuestCase(ServerCase):
    configuration: dict[str, Any] = {"registration": {"mode": "open", "guests": True}}

    async def come(self) -> Person:
        """A guest, whatever else the client asks for."""
        wanted = {"username": "mine", "device_id": "MINE", "password": "x", "initial_device_display_name": "Browser"}
        guest = self._person(await self.call("POST", f"{V3}/register?kind=guest", wanted))
        self.assertNotIn("mine", guest.user_id)
        self.assertNotEqual(guest.device_id, "MINE")
        return guest

    async def stay(self, guest: Person, **fields: object) -> Any:
        """Ask to become a person."""
        name = guest.user_id[1:].partition(":")[0]
        wanted = {"username": name, "password": PASSWORD, "guest_access_token": guest.token}
        return await self.call("POST", f"{V3}/register", {**wanted, "auth": {"type": "m.login.dummy"}, **fields})


class Guests(GuestCase):
    async def test_a_guest_looks_into_readable_rooms_and_into_no_others(self) -> None:
        alice, guest = await self.register("alice"), await self.come()
        open_room = await alice.create_room(initial_state=[WORLD])
        closed = await alice.create_room()
        await alice.send(open_room, "for all")
        seen = await guest.ok("GET", f"/rooms/{quote(open_room)}/initialSync")
        self.assertEqual(seen["messages"]["chunk"][-1]["content"]["body"], "for all")
        peeked = await guest.ok("GET", "/events", room_id=open_room, timeout=0)
        await alice.send(open_room, "more")
        news = await guest.ok("GET", "/events", room_id=open_room, timeout=2_000, **{"from": peeked["end"]})
        self.assertEqual([event["content"]["body"] for event in news["chunk"]], ["more"])
        for path in (f"/rooms/{quote(closed)}/initialSync", f"/rooms/{quote(closed)}/messages?dir=b"):
            self.assertEqual(await guest.refused("GET", path), (403, "M_FORBIDDEN"))

    async def test_a_guest_joins_only_where_guests_are_let_in_and_goes_when_they_are_no_more(self) -> None:
        alice, guest = await self.register("alice"), await self.come()
        taking = await alice.create_room(preset="public_chat", initial_state=[GUESTS])
        refusing = await alice.create_room(preset="public_chat")
        self.assertEqual(await guest.refused("POST", f"/join/{quote(refusing)}", {}), (403, "M_GUEST_ACCESS_FORBIDDEN"))
        await guest.join(taking)
        await guest.send(taking, "hello")
        await alice.set_state(taking, "m.room.guest_access", {"guest_access": "forbidden"})
        member = await alice.ok("GET", f"/rooms/{quote(taking)}/state/m.room.member/{quote(guest.user_id)}")
        self.assertEqual(member["membership"], "leave")

    async def test_a_guest_sees_what_everybody_sees_without_a_session(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room(preset="public_chat", room_alias_name="hall", visibility="public")
        guest = await self.come()
        profile = f"/profile/{quote(alice.user_id)}"
        for path in (
            profile,
            f"{profile}/displayname",
            f"{profile}/org.example.none",
            "/directory/room/%23hall%3Aparta.test",
            f"/directory/list/room/{quote(room)}",
            "/publicRooms",
        ):
            theirs, nobodys = await guest.call("GET", path), await self.call("GET", f"/_matrix/client/v3{path}")
            self.assertEqual((theirs.status, theirs.json), (nobodys.status, nobodys.json), path)
        self.assertEqual((await guest.ok("GET", "/directory/room/%23hall%3Aparta.test"))["room_id"], room)

    async def test_all_other_doors_are_closed_to_guests(self) -> None:
        guest = await self.come()
        for method, path, body in (
            ("POST", "/createRoom", {}),
            ("GET", "/voip/turnServer", None),
            ("POST", "/user_directory/search", {"search_term": "x"}),
            ("PUT", f"/profile/{quote(guest.user_id)}/avatar_url", {"avatar_url": "mxc://x/y"}),
            ("GET", "/joined_rooms", None),
            ("GET", "/initialSync", None),
            ("POST", "/account/deactivate", {}),
        ):
            refused = await guest.refused(method, path, body)
            self.assertEqual(refused, (403, "M_GUEST_ACCESS_FORBIDDEN"), path)

    async def test_a_guest_who_stays_keeps_the_name_and_gets_all_doors(self) -> None:
        alice, guest = await self.register("alice"), await self.come()
        taking = await alice.create_room(preset="public_chat", initial_state=[GUESTS])
        await guest.join(taking)
        person = self._person(await self.stay(guest, device_id="PHONE"))
        self.assertEqual((person.user_id, person.device_id), (guest.user_id, "PHONE"))
        await person.create_room()
        await guest.create_room()
        self.assertEqual((await person.ok("GET", "/joined_rooms"))["joined_rooms"].count(taking), 1)
        await self.log_in(guest.user_id)
        await alice.set_state(taking, "m.room.guest_access", {"guest_access": "forbidden"})
        member = await alice.ok("GET", f"/rooms/{quote(taking)}/state/m.room.member/{quote(guest.user_id)}")
        self.assertEqual(member["membership"], "join")
        again = await self.stay(guest)
        self.assertEqual((again.status, again.errcode), (403, "M_FORBIDDEN"))

    async def test_nobody_takes_a_guests_name_or_keeps_another(self) -> None:
        alice, guest = await self.register("alice"), await self.come()
        for token in ("nonsense", alice.token):
            reply = await self.stay(guest, guest_access_token=token)
            self.assertEqual((reply.status, reply.errcode), (403, "M_FORBIDDEN"))
        for name in ("other", "alice", None):
            reply = await self.stay(guest, username=name)
            self.assertEqual((reply.status, reply.errcode), (400, "M_INVALID_USERNAME"))
        reply = await self.stay(guest, guest_access_token=None)
        self.assertEqual((reply.status, reply.errcode), (400, "M_USER_IN_USE"))
        self.assertEqual((await guest.ok("GET", "/account/whoami"))["is_guest"], True)


class GuestsOnPostgreSQL(Guests):
    dialect = "postgresql"


class Without(ServerCase):
    async def test_guests_are_not_let_in_unless_an_operator_says_so(self) -> None:
        reply = await self.call("POST", f"{V3}/register?kind=guest", {})
        self.assertEqual((reply.status, reply.errcode), (403, "M_FORBIDDEN"))


class AtSchool(DistrictCase):
    async def test_a_school_has_no_guests(self) -> None:
        reply = await self.call("POST", f"{V3}/register?kind=guest", {})
        self.assertEqual((reply.status, reply.errcode), (403, "M_FORBIDDEN"))
        with pytest.raises(ConfigError, match="guests need policy: open"):
            parse_settings("server_name: x.example\nregistration: {guests: true}", {}, folder=Path("/"))
