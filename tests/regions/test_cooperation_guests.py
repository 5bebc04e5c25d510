"""Guests find the rooms that are open to them, by every list that there is; nobody else does; hosts send them away."""

from typing import Any
from urllib.parse import quote

from homeserver.schools.demo import PASSWORD
from homeserver.schools.office import Applicant, Asker
from homeserver.schools.organisations import Application
from tests.kit.people import Person
from tests.kit.region import DAY_MS, Region, now_ms
from tests.regions.test_cooperation import CooperationCase, Side

OPEN = "/_parta/school/v1/network_rooms"
LOGINS = ("admin1", "teacher1", "pupil1", "parent1", "newcomer")


async def see_open(person: Person) -> list[str]:
    """The rooms that somebody is told of as open to them, by our own list."""
    return [room["room_id"] for room in (await person.ok("GET", OPEN))["rooms"]]


async def see_listed(person: Person, server: str | None = None) -> list[str]:
    """The rooms of the directory; where there is none, nothing."""
    reply = await person.call("POST", "/publicRooms", {}, server=server)
    assert reply.status == 200 or (server is not None and reply.status == 404), reply
    return [room["room_id"] for room in reply.json["chunk"]] if reply.status == 200 else []


class Finding(CooperationCase):
    """A room of the north for teachers of the two, and one that no cooperation is in force for."""

    async def setUp(self) -> None:
        await super().setUp()
        self.cooperation_id = await self.agree()
        self.room_id = await self.open_room(self.cooperation_id)

    async def everybody(self, region: Region) -> dict[str, Person]:
        return {login: await region.log_in(login, PASSWORD) for login in LOGINS}

    async def test_who_may_enter_finds_a_room_of_the_other_region_and_nobody_else_does(self) -> None:
        north, south = self.north.name, self.south.name
        for region, host in ((self.north, None), (self.south, north)):
            for login, person in (await self.everybody(region)).items():
                expected = [self.room_id] if login in ("admin1", "teacher1") else []
                assert await see_open(person) == expected, (region.name, login)
                assert await see_listed(person, host) == expected, (region.name, login)
                assert await see_listed(person, north if region is self.south else south) in (expected, [])
                if region is self.south:
                    assert await see_listed(person) == []
                assert await see_listed(person, "127.0.0.1:1") == []

    async def test_the_list_says_what_one_needs_to_come_in_and_no_more(self) -> None:
        guest = await self.south.log_in("teacher1", PASSWORD)
        (room,) = (await guest.ok("GET", OPEN))["rooms"]
        until_ms = (await self.theirs.cooperations())[0]["until_ms"]
        assert room == {
            "room_id": self.room_id,
            "name": "Физики района",
            "kind": "professional",
            "titles": ["Физики"],
            "server": self.north.name,
            "via": [self.north.name],
            "until_ms": until_ms,
        }
        (listed,) = (await guest.ok("POST", "/publicRooms", {}, server=self.north.name))["chunk"]
        assert (listed["name"], listed["num_joined_members"], listed["join_rule"]) == ("Физики района", 0, "restricted")
        assert await self.join(guest, self.room_id) == 200
        (listed,) = (await guest.ok("POST", "/publicRooms", {}, server=self.north.name))["chunk"]
        assert listed["num_joined_members"] == 2

    async def test_the_directory_is_searched_and_paged(self) -> None:
        others = {await self.open_room(self.cooperation_id) for _ in range(2)}
        guest = await self.south.log_in("teacher1", PASSWORD)

        async def search(**body: Any) -> Any:
            return await guest.ok("POST", "/publicRooms", body, server=self.north.name)

        seen: list[str] = []
        page: Any = {"next_batch": None}
        while "next_batch" in page:
            since = {} if page["next_batch"] is None else {"since": page["next_batch"]}
            page = await search(limit=2, **since)
            assert len(page["chunk"]) <= 2
            seen += [room["room_id"] for room in page["chunk"]]
        assert sorted(seen) == sorted({self.room_id, *others})
        assert len((await search(filter={"generic_search_term": "ФИЗИК"}))["chunk"]) == 3
        assert (await search(filter={"generic_search_term": "химик"}))["chunk"] == []
        assert (await search(filter={"room_types": ["m.space"]}))["chunk"] == []
        assert len((await search(filter={"room_types": [None]}))["chunk"]) == 3
        assert (await guest.refused("POST", "/publicRooms", {"since": "x"}, server=self.north.name))[0] == 400

    async def test_nothing_is_asked_of_the_other_region_or_told_to_it(self) -> None:
        guest = await self.south.log_in("teacher1", PASSWORD)
        self.cut(self.north)
        assert await see_listed(guest, self.north.name) == [self.room_id]
        self.heal()
        path = "/_matrix/federation/v1/publicRooms"
        for method, body in (("GET", None), ("POST", {})):
            asked = await self.north.call_signed(self.south.name, self.south.key, method, path, body)
            assert asked.json["chunk"] == []

    async def test_it_is_found_no_more_when_the_cooperation_is_over_for_whatever_reason(self) -> None:
        guest = await self.south.log_in("teacher1", PASSWORD)
        assert await see_open(guest) == [self.room_id]
        self.south.late_ms = 31 * DAY_MS
        assert await see_open(guest) == []
        self.south.late_ms = 0
        members: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        members[self.north.name]["status"] = "suspended"
        self.publish(self.build_list(regions=members))
        await self.south.running.region.regions.refresh()
        assert await see_open(guest) == []
        self.publish(self.build_list())
        await self.south.running.region.regions.refresh()
        assert await see_open(guest) == [self.room_id]
        await self.end(self.theirs, self.cooperation_id)
        assert await see_open(guest) == await see_listed(guest, self.north.name) == []

    async def test_a_proposal_opens_nothing(self) -> None:
        await self.end(self.ours, self.cooperation_id)
        await self.ours.round()
        await self.propose()
        for region in (self.north, self.south):
            assert await see_open(await region.log_in("teacher1", PASSWORD)) == []


class Dismissing(CooperationCase):
    """The host sends a guest away."""

    async def setUp(self) -> None:
        await super().setUp()
        self.room_id = await self.open_room(await self.agree())
        self.guest = await self.south.log_in("teacher1", PASSWORD)
        assert await self.join(self.guest, self.room_id) == 200
        self.path = f"{self.ours.path}/guests"

    async def test_administrators_see_their_guests(self) -> None:
        host = await self.north.log_in("teacher1", PASSWORD)
        assert await self.join(host, self.room_id) == 200
        seen = await self.ours.admin.ok("GET", self.path)
        guest = {"user_id": self.guest.user_id, "server": self.south.name, "role": "teacher", "rooms": [self.room_id]}
        assert seen == {"guests": [guest], "dismissed": []}
        assert (await self.theirs.admin.ok("GET", f"{self.theirs.path}/guests"))["guests"] == []
        assert "look" in await self.ours.audit()
        assert (await host.refused("GET", self.path))[0] == 404

    async def test_a_guest_who_is_dismissed_is_out_and_stays_out_until_let_in_again(self) -> None:
        other = await self.open_room((await self.ours.cooperations())[0]["cooperation_id"])
        door = f"{self.path}/{quote(self.guest.user_id)}"
        await self.ours.admin.ok("POST", f"{door}/dismiss")
        assert await self.ours.members(self.room_id) == set()
        await self.until_out(self.theirs, self.guest.user_id, self.room_id)
        for room_id in (self.room_id, other):
            assert await self.join(self.guest, room_id) in (403, 404)
            assert await self.may(self.ours, self.guest.user_id, room_id) == [False] * 3
        colleague = await self.south.log_in("teacher2", PASSWORD)
        assert await self.join(colleague, self.room_id) == 200
        assert (await self.ours.admin.ok("GET", self.path))["dismissed"] == [self.guest.user_id]
        await self.ours.round()
        await self.north.restart()
        self.ours.admin = await self.north.log_in("admin1", PASSWORD)
        assert await self.may(self.ours, self.guest.user_id, self.room_id) == [False] * 3
        await self.ours.admin.ok("POST", f"{door}/readmit")
        assert await self.join(self.guest, self.room_id) == 200
        assert {"dismiss_guest", "readmit_guest", "leave_network_room"} <= set(await self.ours.audit())

    async def test_only_the_hosts_administrators_send_away_and_only_guests(self) -> None:
        teacher = await self.north.log_in("teacher1", PASSWORD)
        for asker, path in ((teacher, self.path), (self.ours.admin, "/_parta/school/v1/organisations/nothing/guests")):
            refused = await asker.refused("POST", f"{path}/{quote(self.guest.user_id)}/dismiss")
            assert refused == (404, "M_NOT_FOUND")
        for own in (teacher.user_id, f"@_parta:{self.north.name}"):
            assert (await self.ours.admin.refused("POST", f"{self.path}/{quote(own)}/dismiss"))[0] == 409
        assert (await self.ours.admin.refused("POST", f"{self.path}/nobody/dismiss"))[0] == 400
        await self.theirs.admin.ok("POST", f"{self.theirs.path}/guests/{quote(teacher.user_id)}/dismiss")
        assert await self.ours.members(self.room_id) == {self.guest.user_id}

    async def test_the_metrics_tell_how_much_there_is(self) -> None:
        await self.propose()
        await self.ask_for_claims((await self.ours.cooperations())[0]["cooperation_id"], f"@pupil1:{self.south.name}")
        for side in (self.ours, self.theirs):
            await side.round()

        def measured(side: Side) -> dict[str, float]:
            return side.region.running.cooperation.rounds.measure()

        here, there = measured(self.ours), measured(self.theirs)
        assert (here["cooperations_waiting"], here["cooperations_in_force"], here["cooperation_guests"]) == (1, 1, 1)
        assert (there["cooperation_guests"], here["cooperations_untold"], here["cooperations_ended"]) == (0, 0, 0)
        assert there["claims_asked"] == there["claims_granted"] + there["claims_refused"]
        assert there["claims_granted"] >= 1
        assert there["claims_refused"] >= 1
        page = (await self.south.call("GET", "/metrics")).body.decode()
        assert "parta_cooperations_in_force 1.0" in page
        assert "parta_claims_refused" in page


class NeighboursAsGuests(CooperationCase):
    begun = 1

    async def setUp(self) -> None:
        await super(CooperationCase, self).setUp()
        self.ours = await self.found(self.north)

    async def test_somebody_of_another_school_of_the_region_finds_the_room_and_is_sent_away(self) -> None:
        bureau, office = self.north.running.bureau, self.north.running.cooperation.office
        region = Asker(user_id=self.north.running.rooms.desk.world.service, region=True)
        other = (await bureau.office.found(region, Application(name="Школа № 2", short_name="Ш2"))).org.org_id
        applicant = Applicant(family="Орлов", given="Пётр", role="teacher")
        there = (await bureau.office.take_in(region, other, applicant)).user_id
        terms = {"organisation": other, "kind": "network", "title": "Хор", "until_ms": now_ms() + DAY_MS}
        proposed = await self.ours.admin.ok("POST", f"{self.ours.path}/cooperations", terms)
        await self.ours.round()
        await office.accept(region, other, proposed["cooperation_id"])
        await self.ours.round()
        room_id = await self.open_room(proposed["cooperation_id"])
        guests = self.north.running.cooperation.guests
        (opening,), after = await guests.find_open(there)
        assert (opening.room_id, opening.server, after) == (room_id, self.north.name, None)
        await guests.dismiss(Asker(user_id=region.user_id, region=True), self.ours.org_id, there)
        assert await guests.find_open(there) == ([], None)
        assert await self.may(self.ours, there, room_id) == [False] * 3
        assert await self.may(self.ours, f"@teacher1:{self.north.name}", room_id) == [True] * 3
