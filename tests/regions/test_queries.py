"""Questions between regions: profiles, aliases, listed rooms, spaces, dates and OpenID tokens."""

from typing import Any
from urllib.parse import quote

from federation.transport.agent import Unreachable
from tests.kit.neighbours import NeighboursCase
from tests.kit.people import Person
from tests.kit.region import RegionsCase, now_ms

PROFILE = "/query/profile"


class Profiles(NeighboursCase):
    async def test_a_profile_of_another_region_is_seen_as_it_is_now(self) -> None:
        path = f"/profile/{self.bob.user_id}"
        assert await self.alice.ok("GET", path) == {}
        for name in ("Bob", "Robert"):
            await self.bob.ok("PUT", f"{path}/displayname", {"displayname": name})
            assert await self.alice.ok("GET", path) == {"displayname": name}
            assert await self.alice.ok("GET", f"{path}/displayname") == {"displayname": name}

    async def test_who_is_nobody_there_is_not_found_and_a_server_that_is_away_is_said_to_be(self) -> None:
        nobody = f"/profile/@nobody:{self.south.name}"
        assert await self.alice.refused("GET", nobody) == (404, "M_NOT_FOUND")
        assert (await self.north.call("GET", f"/_matrix/client/v3{nobody}")).status == 404  # nobody asks for strangers
        line = self.overhear(self.north)
        line.answers[PROFILE] = Unreachable("away")
        assert (await self.alice.refused("GET", f"/profile/@x:{self.south.name}"))[0] == 502

    async def test_what_is_wrong_in_a_profile_is_left_out(self) -> None:
        line = self.overhear(self.north)
        line.answers[PROFILE] = {"displayname": 5, "avatar_url": "http://x", "m.tz": "Europe/Moscow", "Bad name": 1}
        assert await self.alice.ok("GET", f"/profile/{self.bob.user_id}") == {"m.tz": "Europe/Moscow"}

    async def test_ours_are_told_whole_or_by_field_and_nobody_of_another_server(self) -> None:
        await self.alice.ok("PUT", f"/profile/{self.alice.user_id}/displayname", {"displayname": "Alice"})
        who = quote(self.alice.user_id)
        for more, told in (
            ("", {"displayname": "Alice"}),
            ("&field=displayname", {"displayname": "Alice"}),
            ("&field=avatar_url", {}),
        ):
            assert (await self.ask(self.south, "GET", f"{PROFILE}?user_id={who}{more}")).json == told
        for other in (self.bob.user_id, f"@nobody:{self.north.name}"):
            assert (await self.ask(self.south, "GET", f"{PROFILE}?user_id={quote(other)}")).status == 404
        assert (await self.ask(self.south, "GET", f"{PROFILE}?user_id=alice")).status == 400
        assert (await self.ask(self.south, "GET", PROFILE)).status == 400
        assert (await self.ask(self.south, "GET", "/query/weather?q=1")).status == 404


class Directories(NeighboursCase):
    async def test_an_alias_leads_to_its_room_from_elsewhere(self) -> None:
        room_id = await self.alice.create_room(room_alias_name="hall", preset="public_chat")
        alias = f"#hall:{self.north.name}"
        found = await self.bob.ok("GET", f"/directory/room/{quote(alias)}")
        assert (found["room_id"], self.north.name in found["servers"]) == (room_id, True)
        gone = await self.bob.refused("GET", f"/directory/room/{quote(f'#x:{self.north.name}')}")
        assert gone == (404, "M_NOT_FOUND")
        for wrong, status in ((f"#hall:{self.south.name}", 404), ("hall", 400)):
            assert (await self.ask(self.south, "GET", f"/query/directory?room_alias={quote(wrong)}")).status == status

    async def test_listed_rooms_of_another_region_are_found(self) -> None:
        listed = await self.alice.create_room(preset="public_chat", visibility="public", name="Library")
        await self.alice.create_room(preset="public_chat", visibility="public", name="Gym")
        await self.alice.create_room(preset="public_chat", name="Unlisted")
        line = self.overhear(self.south)
        page = await self.bob.ok("GET", "/publicRooms", server=self.north.name)
        assert {room["name"] for room in page["chunk"]} == {"Library", "Gym"}
        search: Any = {"filter": {"generic_search_term": "libr"}, "limit": 5}
        found = await self.bob.ok("POST", "/publicRooms", search, server=self.north.name)
        assert [room["room_id"] for room in found["chunk"]] == [listed]
        listing = "/_matrix/federation/v1/publicRooms"
        assert line.asked == [f"GET {listing}", f"POST {listing}"]
        one = await self.bob.ok("POST", "/publicRooms", {"limit": 1}, server=self.north.name)
        more = await self.bob.ok(
            "POST", "/publicRooms", {"limit": 1, "since": one["next_batch"]}, server=self.north.name
        )
        assert {room["name"] for room in one["chunk"] + more["chunk"]} == {"Library", "Gym"}
        assert (await self.bob.refused("GET", "/publicRooms", server="no name"))[0] == 400
        stranger = await self.south.call("GET", f"/_matrix/client/v3/publicRooms?server={self.north.name}")
        assert stranger.status == 404

    async def test_of_rooms_of_third_party_networks_other_servers_are_told_nothing(self) -> None:
        await self.alice.create_room(preset="public_chat", visibility="public", name="Library")
        for more, count in (("", 1), ("?include_all_networks=true", 1), ("?third_party_instance_id=irc-x", 0)):
            assert len((await self.ask(self.south, "GET", f"/publicRooms{more}")).json["chunk"]) == count, more
        for body, count in (({}, 1), ({"include_all_networks": True}, 1), ({"third_party_instance_id": "irc-x"}, 0)):
            assert len((await self.ask(self.south, "POST", "/publicRooms", body)).json["chunk"]) == count, body

    async def test_what_is_no_room_in_a_list_is_left_out(self) -> None:
        line = self.overhear(self.north)
        line.answers["/publicRooms"] = {
            "chunk": [{"room_id": 5}, 3, {"room_id": "!a:b", "name": 5, "evil": 1}],
            "next_batch": 5,
        }
        page = await self.alice.ok("GET", "/publicRooms", server=self.south.name)
        shown = {"room_id": "!a:b", "num_joined_members": 0, "world_readable": False, "guest_can_join": False}
        assert page == {"chunk": [shown]}


class SpacesAfar(NeighboursCase):
    async def test_a_space_shows_rooms_of_another_region(self) -> None:
        hall = await self.bob.create_room(preset="public_chat", name="Hall")
        closed = await self.bob.create_room(preset="private_chat", name="Closed")
        inner = await self.space(self.bob, "Inner", hall, closed, via=self.south.name)
        outer = await self.space(self.alice, "Outer", inner, "!nowhere:127.0.0.1", via=self.south.name)
        shown = (await self.alice.ok("GET", f"/_matrix/client/v1/rooms/{quote(outer)}/hierarchy"))["rooms"]
        assert [room["name"] for room in shown] == ["Outer", "Inner", "Hall"]
        assert {child["state_key"] for child in shown[1]["children_state"]} == {hall, closed}
        summary = f"/_matrix/client/v1/room_summary/{quote(hall)}"
        assert (await self.alice.ok("GET", summary, via=self.south.name))["name"] == "Hall"
        assert await self.alice.refused("GET", summary) == (404, "M_NOT_FOUND")
        hidden = f"/_matrix/client/v1/room_summary/{quote(closed)}"
        assert await self.alice.refused("GET", hidden, via=self.south.name) == (404, "M_NOT_FOUND")

    async def test_who_comes_into_a_space_is_shown_what_it_lets_people_into(self) -> None:
        space = await self.space(self.bob, "Space", via=self.south.name)
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
        state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
        hall = await self.bob.create_room(preset="public_chat", name="Hall", initial_state=state)
        await self.bob.set_state(space, "m.space.child", {"via": [self.south.name]}, hall)
        outer = await self.space(self.alice, "Outer", space, via=self.south.name)
        hierarchy = f"/_matrix/client/v1/rooms/{quote(outer)}/hierarchy"
        summary = f"/_matrix/client/v1/room_summary/{quote(hall)}"
        assert [room["name"] for room in (await self.alice.ok("GET", hierarchy))["rooms"]] == ["Outer", "Space"]
        assert await self.alice.refused("GET", summary, via=self.south.name) == (404, "M_NOT_FOUND")
        await self.alice.ok("POST", f"/join/{quote(space)}?via={self.south.name}", {})
        assert [room["name"] for room in (await self.alice.ok("GET", hierarchy))["rooms"]] == ["Outer", "Space", "Hall"]
        assert (await self.alice.ok("GET", summary, via=self.south.name))["name"] == "Hall"

    async def space(self, person: Any, name: str, *children: str, via: str) -> str:
        """A space that holds those rooms."""
        space: str = await person.create_room(preset="public_chat", name=name, creation_content={"type": "m.space"})
        for number, child in enumerate(children):
            content = {"via": [via], "order": f"{number}"}
            await person.set_state(space, "m.space.child", content, child)
        return space

    async def test_a_level_names_what_is_open_and_what_is_not(self) -> None:
        hall = await self.alice.create_room(preset="public_chat", name="Hall")
        closed = await self.alice.create_room(preset="private_chat", name="Closed")
        space = await self.space(self.alice, "Space", hall, closed, "!nowhere:x.test", via=self.north.name)
        told = (await self.ask(self.south, "GET", f"/hierarchy/{quote(space)}")).json
        assert told["room"]["name"] == "Space"
        assert [room["name"] for room in told["children"]] == ["Hall"]
        assert told["inaccessible_children"] == [closed]
        for other in (closed, "!nowhere:x.test"):
            assert (await self.ask(self.south, "GET", f"/hierarchy/{quote(other)}")).status == 404

    async def test_a_space_that_others_lie_about_shows_nothing_of_it(self) -> None:
        outer = await self.space(self.alice, "Outer", "!a:b.test", via=self.south.name)
        line = self.overhear(self.north)
        for lie in (
            {"room": {"room_id": "!other:b.test", "join_rule": "public", "children_state": []}},
            {"room": {"room_id": "!a:b.test", "join_rule": "invite", "children_state": []}},
            {"room": 5},
            {},
        ):
            line.answers["/hierarchy/"] = lie
            self.north.late_ms += 120_000
            shown = (await self.alice.ok("GET", f"/_matrix/client/v1/rooms/{quote(outer)}/hierarchy"))["rooms"]
            assert [room["name"] for room in shown] == ["Outer"], lie


class Dates(NeighboursCase):
    """Bob joined after something was said; when that was, only the north knows."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await super().setUp()
        self.room_id = await self.alice.create_room(preset="public_chat")
        self.first = await self.alice.send(self.room_id, "First")
        self.between_ms = now_ms() + 1
        while now_ms() <= self.between_ms:
            await self.alice.send(self.room_id, "More")
        self.late = [await self.alice.send(self.room_id, f"Late {number}") for number in range(3)]
        await self.enter(self.bob, self.room_id)
        self.path = f"/_matrix/client/v1/rooms/{quote(self.room_id)}/timestamp_to_event"

    async def find(self, person: Person, at_ms: int, way: str) -> str:
        return str((await person.ok("GET", self.path, ts=at_ms, dir=way))["event_id"])

    async def test_an_event_from_before_the_join_is_found_by_its_date(self) -> None:
        for way in ("b", "f"):
            expected = await self.alice.ok("GET", self.path, ts=self.between_ms, dir=way)
            assert await self.bob.ok("GET", self.path, ts=self.between_ms, dir=way) == expected

    async def test_what_lies_around_it_can_be_read_from_there(self) -> None:
        found = await self.find(self.bob, self.between_ms, "b")
        room = f"/rooms/{quote(self.room_id)}"
        around = await self.bob.ok("GET", f"{room}/context/{quote(found)}", limit=2)
        assert around["event"]["event_id"] == found
        said = [found, *(event["event_id"] for event in around["events_before"])]
        page = {"end": around["start"]}
        while "end" in page:
            page = await self.bob.ok("GET", f"{room}/messages", dir="b", limit=3, **{"from": page["end"]})
            said += [event["event_id"] for event in page["chunk"]]
        assert self.first in said
        whole = await self.bob.ok("GET", f"{room}/messages", dir="b", limit=100)
        theirs = await self.alice.ok("GET", f"{room}/messages", dir="b", limit=100)
        assert [each["event_id"] for each in whole["chunk"]] == [each["event_id"] for each in theirs["chunk"]]

    async def test_an_event_that_is_known_here_is_found_where_nobody_can_be_asked(self) -> None:
        found = await self.find(self.bob, self.between_ms, "f")
        await self.north.stop()
        assert await self.find(self.bob, self.between_ms, "f") == found

    async def test_a_lie_about_dates_finds_nothing_else(self) -> None:
        line = self.overhear(self.south)
        joined = await self.find(self.bob, 2**50, "b")
        for lie in (
            {"event_id": "$none", "origin_server_ts": self.between_ms},
            {"event_id": joined, "origin_server_ts": self.between_ms},
            {"event_id": self.late[0], "origin_server_ts": self.between_ms + 2**40},
            {"event_id": 1, "origin_server_ts": "x"},
            {},
        ):
            line.answers["/timestamp_to_event/"] = lie
            assert await self.find(self.bob, self.between_ms, "f") == joined, lie
            answer = await self.bob.call("GET", f"{self.path}?ts={self.between_ms}&dir=b")
            assert answer.status == 404, lie


class Tokens(RegionsCase):
    async def test_a_token_tells_whose_it_is_and_another_nothing(self) -> None:
        alice = await self.north.register("alice")
        made = await alice.ok("POST", f"/user/{alice.user_id}/openid/request_token", {})
        path = "/_matrix/federation/v1/openid/userinfo"
        told = await self.north.call_as_server("GET", f"{path}?access_token={made['access_token']}")
        assert (told.status, told.json) == (200, {"sub": alice.user_id})
        wrong = await self.north.call_as_server("GET", f"{path}?access_token=x")
        assert (wrong.status, wrong.errcode) == (401, "M_UNKNOWN_TOKEN")
        assert (await self.north.call_as_server("GET", path)).status == 400
