"""Operators' endpoints of rooms: listed, looked into whoever is in them, blocked, and given powers over."""

from typing import Any
from urllib.parse import quote

from homeserver.storage.roomlist import ORDERS
from tests.kit.operators import FORBIDDEN, NOT_FOUND, V1, OperatorCase

ROOMS = f"{V1}/rooms"


class Listing(OperatorCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.space = await self.bob.create_room(name="Albatross", creation_content={"type": "m.space"})
        self.open = await self.bob.create_room(
            name="Орлы", visibility="public", room_alias_name="eagles", room_version="11"
        )
        self.empty = await self.bob.create_room(name="Crows")
        await self.bob.leave(self.empty)
        await self.head.join(self.open)

    async def rooms(self, **query: object) -> list[str]:
        return [room["room_id"] for room in (await self.head.ok("GET", ROOMS, **query))["rooms"]]

    async def test_all_are_listed_with_what_they_are(self) -> None:
        answer = await self.head.ok("GET", ROOMS)
        self.assertEqual((answer["total_rooms"], answer["offset"]), (3, 0))
        shown = next(room for room in answer["rooms"] if room["room_id"] == self.open)
        self.assertGreater(shown.pop("state_events"), 5)
        self.assertEqual(
            shown,
            {"room_id": self.open, "name": "Орлы", "canonical_alias": "#eagles:parta.test", "joined_members": 2,
             "joined_local_members": 2, "version": "11", "creator": self.bob.user_id, "encryption": None,
             "federatable": True, "public": True, "join_rules": "public", "guest_access": "forbidden",
             "history_visibility": "shared", "room_type": None},
        )  # fmt: skip
        self.assertEqual(next(r["room_type"] for r in answer["rooms"] if r["room_id"] == self.space), "m.space")

    async def test_pages_follow_each_other_both_ways(self) -> None:
        first = await self.head.ok("GET", ROOMS, limit=2)
        self.assertEqual((len(first["rooms"]), first["next_batch"]), (2, 2))
        last = await self.head.ok("GET", ROOMS, limit=2, **{"from": 2})
        self.assertEqual((len(last["rooms"]), last["prev_batch"], "next_batch" in last), (1, 0, False))

    async def test_they_are_sorted_by_anything_either_way(self) -> None:
        self.assertEqual(await self.rooms(), [self.space, self.empty, self.open])
        self.assertEqual(await self.rooms(dir="b"), [self.open, self.empty, self.space])
        self.assertEqual(await self.rooms(order_by="joined_members"), [self.open, self.space, self.empty])
        self.assertEqual((await self.rooms(order_by="size", dir="b"))[0], self.empty)
        for order in ORDERS:
            for way in ("f", "b"):
                self.assertEqual(len(await self.rooms(order_by=order, dir=way)), 3)
        self.assertEqual(await self.head.refused("GET", ROOMS, order_by="x"), (400, "M_INVALID_PARAM"))

    async def test_they_are_found_by_name_alias_and_whole_id(self) -> None:
        for term, found in (("cro", [self.empty]), ("Орл", [self.open]), ("EAGL", [self.open]), ("parta.test", []),
                            (self.space, [self.space]), (self.space[:9], []), ("%", [])):  # fmt: skip
            self.assertEqual(await self.rooms(search_term=term), found, term)

    async def test_public_and_empty_ones_are_told_from_others(self) -> None:
        self.assertEqual(await self.rooms(public_rooms="true"), [self.open])
        self.assertEqual(await self.rooms(public_rooms="false"), [self.space, self.empty])
        self.assertEqual(await self.rooms(empty_rooms="true"), [self.empty])
        self.assertEqual(await self.rooms(empty_rooms="false"), [self.space, self.open])

    async def test_a_new_name_is_listed_at_once_and_a_redacted_one_is_not(self) -> None:
        event = await self.bob.set_state(self.space, "m.room.name", {"name": "Zebra"})
        self.assertEqual(await self.rooms(search_term="zeb"), [self.space])
        await self.bob.ok("PUT", f"/rooms/{quote(self.space)}/redact/{quote(event)}/x", {})
        self.assertEqual(await self.rooms(search_term="zeb"), [])

    async def test_the_largest_are_told(self) -> None:
        for number in range(5):
            await self.bob.send(self.space, f"{number}")
        found = (await self.head.ok("GET", f"{V1}/statistics/database/rooms"))["rooms"]
        self.assertEqual(found[0]["room_id"], self.space)
        self.assertGreater(found[0]["estimated_size"], found[-1]["estimated_size"])

    async def test_the_overviews_are_made_anew_when_asked_for(self) -> None:
        await self.head.ok("POST", f"{V1}/background_updates/start_job", {"job_name": "populate_stats_process_rooms"})
        while (await self.head.ok("GET", f"{V1}/background_updates/status"))["current_updates"]:
            continue
        self.assertEqual(await self.rooms(), [self.space, self.empty, self.open])
        bad = await self.head.refused("POST", f"{V1}/background_updates/start_job", {"job_name": "x"})
        self.assertEqual(bad, (400, "M_UNKNOWN"))

    async def test_background_work_is_halted_and_let_go_on(self) -> None:
        path = f"{V1}/background_updates/enabled"
        self.assertEqual(await self.head.ok("POST", path, {"enabled": False}), {"enabled": False})
        self.assertEqual(await self.head.ok("GET", path), {"enabled": False})
        self.assertEqual(await self.head.ok("POST", path, {"enabled": True}), {"enabled": True})


class ListingOnPostgreSQL(Listing):
    dialect = "postgresql"


class LookingIn(OperatorCase):
    """At a room in which the operator is not."""

    async def setUp(self) -> None:
        await super().setUp()
        self.room = await self.bob.create_room(name="Den", topic="Foxes")
        self.event = await self.bob.send(self.room, "one")
        await self.bob.send(self.room, "two")
        self.path = f"{ROOMS}/{quote(self.room)}"

    async def test_what_it_is(self) -> None:
        shown = await self.head.ok("GET", self.path)
        self.assertEqual((shown["name"], shown["topic"], shown["joined_members"]), ("Den", "Foxes", 1))
        self.assertEqual((shown["joined_local_devices"], shown["forgotten"], shown["version"]), (1, False, "12"))
        await self.bob.leave(self.room)
        await self.bob.ok("POST", f"/rooms/{quote(self.room)}/forget", {})
        self.assertTrue((await self.head.ok("GET", self.path))["forgotten"])

    async def test_who_is_there_and_how_it_is_set(self) -> None:
        members = await self.head.ok("GET", f"{self.path}/members")
        self.assertEqual(members, {"members": [self.bob.user_id], "total": 1})
        state = (await self.head.ok("GET", f"{self.path}/state"))["state"]
        self.assertIn("m.room.create", {event["type"] for event in state})
        (topic,) = (await self.head.ok("GET", f"{self.path}/state", type="m.room.topic"))["state"]
        self.assertEqual(topic["content"]["topic"], "Foxes")

    async def texts(self, **query: object) -> tuple[list[str], Any]:
        page = await self.head.ok("GET", f"{self.path}/messages", **query)
        said = [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        return said, page

    async def test_what_was_said_page_by_page(self) -> None:
        said, page = await self.texts(dir="b", limit=1)
        self.assertEqual(said, ["two"])
        self.assertEqual((await self.texts(dir="b", limit=1, **{"from": page["end"]}))[0], ["one"])
        self.assertEqual((await self.texts(limit=100))[0], ["one", "two"])
        self.assertNotIn("end", (await self.texts(limit=100))[1])
        only = {"types": ["m.room.topic"]}
        page = await self.head.ok("GET", f"{self.path}/messages", filter=only, limit=100)
        self.assertEqual([event["type"] for event in page["chunk"]], ["m.room.topic"])
        self.assertEqual(
            await self.head.refused("GET", f"{self.path}/messages", **{"from": "x"}), (400, "M_INVALID_PARAM")
        )

    async def test_what_lies_around_an_event(self) -> None:
        found = await self.head.ok("GET", f"{self.path}/context/{quote(self.event)}", limit=2)
        self.assertEqual(found["event"]["event_id"], self.event)
        self.assertEqual([event["content"]["body"] for event in found["events_after"]], ["two"])
        self.assertEqual([event["type"] for event in found["events_before"]], ["m.room.topic"])
        self.assertEqual(await self.head.refused("GET", f"{self.path}/context/$none"), NOT_FOUND)

    async def test_an_event_by_its_id_alone(self) -> None:
        found = (await self.head.ok("GET", f"{V1}/fetch_event/{quote(self.event)}"))["event"]
        self.assertEqual((found["event_id"], found["room_id"]), (self.event, self.room))
        self.assertEqual(found["content"]["body"], "one")
        self.assertIn("auth_events", found)
        self.assertEqual(await self.head.refused("GET", f"{V1}/fetch_event/$none"), NOT_FOUND)
        self.assertEqual(await self.bob.refused("GET", f"{V1}/fetch_event/{quote(self.event)}"), FORBIDDEN)

    async def test_there_are_no_other_servers_without_federation(self) -> None:
        where = f"{V1}/federation/destinations"
        self.assertEqual(await self.head.ok("GET", where), {"destinations": [], "total": 0})
        self.assertEqual(await self.head.refused("GET", f"{where}/x.test"), NOT_FOUND)
        self.assertEqual(await self.head.refused("POST", f"{where}/x.test/reset_connection", {}), NOT_FOUND)

    async def test_an_event_by_its_time(self) -> None:
        found = await self.head.ok("GET", f"{self.path}/timestamp_to_event", ts=2**50, dir="b")
        self.assertEqual((await self.texts(dir="b", limit=1))[1]["chunk"][0]["event_id"], found["event_id"])
        self.assertEqual(await self.head.refused("GET", f"{self.path}/timestamp_to_event", ts=2**50), NOT_FOUND)

    async def test_what_a_space_holds(self) -> None:
        space = await self.bob.create_room(name="Wood", creation_content={"type": "m.space"})
        await self.bob.set_state(space, "m.space.child", {"via": ["parta.test"]}, self.room)
        page = await self.head.ok("GET", f"{ROOMS}/{quote(space)}/hierarchy")
        self.assertEqual([room["room_id"] for room in page["rooms"]], [space, self.room])
        self.assertEqual(len((await self.head.ok("GET", f"{ROOMS}/{quote(space)}/hierarchy", max_depth=0))["rooms"]), 1)

    async def test_every_look_is_noted_and_none_at_what_is_not_there(self) -> None:
        for path in ("", "/members", "/state", "/messages", f"/context/{quote(self.event)}", "/hierarchy",
                     "/forward_extremities"):  # fmt: skip
            await self.head.ok("GET", self.path + path)
            self.assertEqual(await self.head.refused("GET", f"{ROOMS}/!none{path}"), NOT_FOUND)
        noted = await self.log()
        self.assertEqual({entry["subject"] for entry in noted}, {self.room})
        looks = [entry["detail"]["what"] for entry in reversed(noted)]
        self.assertEqual(looks, ["details", "members", "state", "messages", "context", "hierarchy", "extremities"])

    async def test_which_aliases_lead_there(self) -> None:
        path = f"/rooms/{quote(self.room)}/aliases"
        await self.bob.ok("PUT", f"/directory/room/{quote('#den:parta.test', safe='')}", {"room_id": self.room})
        self.assertEqual(await self.head.ok("GET", path), {"aliases": ["#den:parta.test"]})
        anna = await self.register("anna")
        self.assertEqual(await anna.refused("GET", path), FORBIDDEN)

    async def test_what_the_next_event_is_built_on(self) -> None:
        found = await self.head.ok("GET", f"{self.path}/forward_extremities")
        self.assertEqual((found["count"], len(found["results"])), (1, 1))
        self.assertEqual(await self.head.ok("DELETE", f"{self.path}/forward_extremities"), {"deleted": 0})


class Deeds(OperatorCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.room = await self.bob.create_room(name="Den")
        self.path = f"{ROOMS}/{quote(self.room)}"

    async def test_nobody_comes_into_a_blocked_room(self) -> None:
        room = await self.bob.create_room(preset="public_chat")
        path = f"{ROOMS}/{quote(room)}/block"
        self.assertEqual(await self.head.ok("GET", path), {"block": False})
        self.assertEqual(await self.head.ok("PUT", path, {"block": True}), {"block": True})
        self.assertEqual(await self.head.ok("GET", path), {"block": True, "user_id": self.head.user_id})
        self.assertEqual(await self.head.refused("POST", f"/join/{quote(room)}", {}), FORBIDDEN)
        await self.restart()
        self.assertEqual(await self.head.refused("POST", f"/join/{quote(room)}", {}), FORBIDDEN)
        await self.head.ok("PUT", path, {"block": False})
        await self.head.join(room)
        await self.head.ok("PUT", f"{ROOMS}/!unknown/block", {"block": True})
        self.assertEqual([deed for deed, _ in await self.deeds()], ["block_room", "unblock_room", "block_room"])

    async def test_an_operator_becomes_administrator_of_a_room(self) -> None:
        await self.head.ok("POST", f"{self.path}/make_room_admin", {})
        await self.head.join(self.room)
        await self.head.set_state(self.room, "m.room.name", {"name": "Mine"})
        self.assertEqual(await self.deeds(), [("make_room_admin", self.head.user_id)])
        await self.head.ok("POST", f"{self.path}/make_room_admin", {"user_id": self.bob.user_id})

    async def test_where_nobody_has_powers_none_are_given(self) -> None:
        await self.bob.leave(self.room)
        refused = await self.head.refused("POST", f"{self.path}/make_room_admin", {})
        self.assertEqual(refused, (400, "M_UNKNOWN"))
        self.assertEqual(await self.head.refused("POST", f"{ROOMS}/!none/make_room_admin", {}), NOT_FOUND)
        self.assertEqual(await self.deeds(), [])

    async def test_people_are_let_into_rooms_to_which_the_operator_may_invite(self) -> None:
        anna = await self.register("anna")
        public = await self.bob.create_room(preset="public_chat", room_alias_name="all")
        body = {"user_id": anna.user_id}
        answer = await self.head.ok("POST", f"{V1}/join/{quote('#all:parta.test', safe='')}", body)
        self.assertEqual(answer, {"room_id": public})
        self.assertEqual(await self.head.refused("POST", f"{V1}/join/{quote(self.room)}", body), FORBIDDEN)
        mine = await self.head.create_room()
        await self.head.ok("POST", f"{V1}/join/{quote(mine)}", body)
        self.assertEqual(set((await anna.ok("GET", "/joined_rooms"))["joined_rooms"]), {public, mine})
        for person, answered in (("@x:other.test", (400, "M_INVALID_PARAM")), ("@none:parta.test", NOT_FOUND)):
            refused = await self.head.refused("POST", f"{V1}/join/{quote(mine)}", {"user_id": person})
            self.assertEqual(refused, answered)


class DeedsOnPostgreSQL(Deeds):
    dialect = "postgresql"


class Deleting(OperatorCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.room = await self.bob.create_room(preset="public_chat", room_alias_name="gone")
        await self.bob.send(self.room, "one")
        self.path = quote(self.room)

    async def test_a_room_is_removed_while_one_waits(self) -> None:
        answer = await self.head.ok("DELETE", f"{V1}/rooms/{self.path}", {})
        self.assertEqual(answer["kicked_users"], [self.bob.user_id])
        self.assertEqual((answer["failed_to_kick_users"], answer["new_room_id"]), ([], None))
        self.assertEqual(answer["local_aliases"], ["#gone:parta.test"])
        self.assertEqual(await self.head.refused("GET", f"{V1}/rooms/{self.path}"), NOT_FOUND)
        self.assertEqual((await self.head.ok("GET", f"{V1}/rooms"))["rooms"], [])
        self.assertEqual((await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"], [])
        self.assertEqual(await self.deeds(), [("delete_room", self.room)])

    async def test_a_room_is_removed_by_the_way_and_the_people_find_another(self) -> None:
        body = {"new_room_user_id": self.head.user_id, "block": True, "message": "Sorry", "room_name": "News"}
        delete_id = (await self.head.ok("DELETE", f"/_synapse/admin/v2/rooms/{self.path}", body))["delete_id"]
        status = f"/_synapse/admin/v2/rooms/delete_status/{delete_id}"
        while (found := await self.head.ok("GET", status))["status"] not in ("complete", "failed"):
            continue
        self.assertEqual((found["status"], found["room_id"], found["delete_id"]), ("complete", self.room, delete_id))
        new = found["shutdown_room"]["new_room_id"]
        self.assertEqual((await self.bob.ok("GET", "/joined_rooms"))["joined_rooms"], [new])
        self.assertEqual(await self.bob.texts(new), ["Sorry"])
        (same,) = (await self.head.ok("GET", f"/_synapse/admin/v2/rooms/{self.path}/delete_status"))["results"]
        self.assertEqual(same, found)
        tasks = (await self.head.ok("GET", f"{V1}/scheduled_tasks", resource_id=self.room))["scheduled_tasks"]
        self.assertEqual([(task["id"], task["status"]) for task in tasks], [(delete_id, "complete")])
        self.assertEqual((await self.head.ok("GET", f"{V1}/rooms/{self.path}/block"))["block"], True)

    async def test_what_is_not_there_is_not_removed_and_was_not(self) -> None:
        for method, path in (
            ("DELETE", f"{V1}/rooms/!none"),
            ("DELETE", "/_synapse/admin/v2/rooms/!none"),
            ("GET", "/_synapse/admin/v2/rooms/delete_status/none"),
            ("GET", "/_synapse/admin/v2/rooms/!none/delete_status"),
        ):
            self.assertEqual(await self.head.refused(method, path, None if method == "GET" else {}), NOT_FOUND)
        nobody = {"new_room_user_id": "@none:parta.test"}
        self.assertEqual(await self.head.refused("DELETE", f"{V1}/rooms/{self.path}", nobody), FORBIDDEN)
        self.assertEqual(await self.deeds(), [])


class DeletingOnPostgreSQL(Deleting):
    dialect = "postgresql"
