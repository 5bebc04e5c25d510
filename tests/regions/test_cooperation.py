"""Schools of two regions cooperate: agreed by both, by claim, in the rooms of the cooperation only, for its term."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace
from twisted.internet.task import deferLater

from federation.ids import UserID
from homeserver.policy import Invite, Join, SeeRoom, SendEvent, allows
from homeserver.rooms.recommending import is_protected
from homeserver.rooms.room import Room
from homeserver.schools.cooperation.notices import PAGE
from homeserver.schools.demo import PASSWORD, make_demo
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from homeserver.storage.schools.cooperation import find_cooperation, load_untold, set_cooperation
from tests.kit.databases import reactor_in_use
from tests.kit.people import Person
from tests.kit.region import DAY_MS, Region, RegionsCase, now_ms

OFFICE = "/_parta/school/v1/organisations"
CLAIMS = "/_parta/federation/v1/claims"
COOPERATIONS = "/_parta/federation/v1/cooperations"


class Side:
    """A school of one region, and its administrator."""

    def __init__(self, region: Region, org_id: str, admin: Person) -> None:
        self.region = region
        self.org_id = org_id
        self.admin = admin
        self.path = f"{OFFICE}/{org_id}"

    async def round(self) -> None:
        """What the region does every minute, now."""
        await self.region.running.cooperation.rounds.go()

    async def tell(self) -> None:
        """Rounds until the other sides know everything; those that cannot be reached learn of it later."""
        for _ in range(5):
            await self.round()
            untold = await self.region.running.core.database.read(load_untold, 9)
            if not untold or any(each.peer_server in self.region.cut_from for each in untold):
                return
            for each in untold:  # a busy machine answered too late
                self.region.peers.heard_from(each.peer_server)

    async def cooperations(self) -> list[dict[str, Any]]:
        """What the administrator sees."""
        found: list[dict[str, Any]] = (await self.admin.ok("GET", f"{self.path}/cooperations"))["cooperations"]
        return found

    async def dismiss(self, person: str) -> None:
        """Dismiss somebody."""
        await self.admin.ok("POST", f"{self.path}/people/{person}/dismiss")

    async def room(self, room_id: str) -> Room:
        """The live room."""
        room = await self.region.running.rooms.doors.rooms.load(room_id)
        assert room is not None
        return room

    async def members(self, room_id: str) -> set[str]:
        """Who is in a room, but for the service account."""
        joined = (await self.room(room_id)).joined_members
        return {member for member in joined if not member.startswith("@_parta:")}

    async def audit(self) -> list[str]:
        """The deeds in the log, newest first."""
        return [entry["deed"] for entry in (await self.admin.ok("GET", f"{self.path}/audit"))["entries"]]


class CooperationCase(RegionsCase):
    """The demonstration school in the north and in the south, in a closed federation."""

    dialects = ("sqlite", "postgresql")
    mode = "list"
    configuration = {"policy": "school", "registration": {"mode": "closed"}}

    async def setUp(self) -> None:
        await super().setUp()
        self.ours = await self.found(self.north)
        self.theirs = await self.found(self.south)

    async def found(self, region: Region) -> Side:
        bureau = region.running.bureau
        org_id = await make_demo(bureau.office, bureau.desk, bureau.passwords)
        return Side(region, org_id, await region.log_in("admin1", PASSWORD))

    def terms(self, **changes: object) -> dict[str, object]:
        """What north proposes to south."""
        return {
            "server": self.south.name,
            "organisation": self.theirs.org_id,
            "kind": "professional",
            "title": "Физики",
            "until_ms": now_ms() + 30 * DAY_MS,
            **changes,
        }

    async def propose(self, **changes: object) -> str:
        proposed = await self.ours.admin.ok("POST", f"{self.ours.path}/cooperations", self.terms(**changes))
        await self.ours.tell()
        cooperation_id: str = proposed["cooperation_id"]
        return cooperation_id

    async def agree(self, **changes: object) -> str:
        """A cooperation in force."""
        cooperation_id = await self.propose(**changes)
        await self.theirs.admin.ok("POST", f"{self.theirs.path}/cooperations/{cooperation_id}/accept")
        await self.theirs.tell()
        return cooperation_id

    async def open_room(self, *cooperation_ids: str) -> str:
        """A room that both sides know of."""
        body = {"cooperations": cooperation_ids, "name": "Физики района"}
        room_id: str = (await self.ours.admin.ok("POST", f"{self.ours.path}/network_rooms", body))["room_id"]
        await self.ours.tell()
        return room_id

    async def join(self, person: Person, room_id: str) -> int:
        """Join by way of the north; the status."""
        path = f"/join/{quote(room_id, safe='')}?via={quote(self.north.name)}"
        return (await person.call("POST", path, {})).status

    async def until_out(self, side: Side, person: str, room_id: str) -> None:
        """Wait until a side knows that somebody is not in a room."""
        await self.until(lambda room: person not in room.joined_members, side, room_id)

    async def until(self, holds: Callable[[Room], bool], side: Side, room_id: str) -> None:
        """Wait until something holds of a room as a side has it."""
        for _ in range(4_000):
            if holds(await side.room(room_id)):
                return
            await deferLater(reactor_in_use(), 0.005)  # another connection: nothing here could tell us
        raise AssertionError("it did not come")

    async def end(self, side: Side, cooperation_id: str) -> None:
        await side.admin.ok("POST", f"{side.path}/cooperations/{cooperation_id}/end")

    async def may(self, side: Side, person: str, room_id: str) -> list[bool]:
        """Whether the gate lets somebody join, see and write."""
        room, by = await side.room(room_id), UserID(person)
        acts = (
            Join(by=by, room=room),
            SeeRoom(by=by, room=room),
            SendEvent(by=by, room=room, type="m.room.message", content={"body": "x"}),
        )
        return [await allows(side.region.running.core.policy, act) for act in acts]

    async def ask_for_claims(self, cooperation_id: str, *people: str) -> Any:
        """What the south answers the north about people."""
        body = {"cooperation": cooperation_id, "people": people}
        return await self.south.call_signed(self.north.name, self.north.key, "POST", CLAIMS, body)


class Agreeing(CooperationCase):
    async def test_a_cooperation_counts_when_both_have_agreed(self) -> None:
        cooperation_id = await self.propose()
        (seen,) = await self.theirs.cooperations()
        assert (seen["cooperation_id"], seen["server"], seen["hosts"]) == (cooperation_id, self.north.name, False)
        assert seen["agreed"] == {"we": False, "they": True}
        body = {"cooperations": [cooperation_id], "name": "x"}
        assert (await self.ours.admin.refused("POST", f"{self.ours.path}/network_rooms", body))[0] == 409
        await self.theirs.admin.ok("POST", f"{self.theirs.path}/cooperations/{cooperation_id}/accept")
        await self.theirs.round()
        for side in (self.ours, self.theirs):
            (seen,) = await side.cooperations()
            assert seen["agreed"] == {"we": True, "they": True}
        assert "propose_cooperation" in await self.ours.audit()
        assert "accept_cooperation" in await self.theirs.audit()
        await self.open_room(cooperation_id)
        (seen,) = await self.theirs.cooperations()
        assert [room["name"] for room in seen["rooms"]] == ["Физики района"]

    async def test_only_administrators_of_the_two_have_to_do_with_it(self) -> None:
        cooperation_id = await self.agree()
        for login in ("teacher1", "pupil1", "parent1", "newcomer"):
            person = await self.north.log_in(login, PASSWORD)
            for method, path, body in (
                ("GET", "cooperations", None),
                ("POST", "cooperations", self.terms()),
                ("POST", f"cooperations/{cooperation_id}/accept", None),
                ("POST", f"cooperations/{cooperation_id}/end", None),
                ("POST", "network_rooms", {"cooperations": [cooperation_id], "name": "x"}),
            ):
                here = await person.refused(method, f"{self.ours.path}/{path}", body)
                nowhere = await person.refused(method, f"{OFFICE}/nothing/{path}", body)
                assert here == nowhere == (404, "M_NOT_FOUND"), (login, path)
        assert not (await self.ours.cooperations())[0]["ended"]

    async def test_terms_are_checked(self) -> None:
        for wrong in (
            {"kind": "staff"},
            {"kind": "lesson"},
            {"roles": []},
            {"roles": ["pupil"]},
            {"roles": ["parent"]},
            {"kind": "olympiad", "roles": ["parent"]},
            {"until_ms": now_ms()},
            {"until_ms": now_ms() + 2000 * DAY_MS},
            {"title": ""},
            {"server": "stranger.test"},
            {"server": "no server"},
            {"server": self.north.name, "organisation": self.ours.org_id},
        ):
            await self.ours.admin.refused("POST", f"{self.ours.path}/cooperations", self.terms(**wrong))
        assert await self.ours.cooperations() == []

    async def test_a_proposal_to_an_unknown_organisation_goes_nowhere_and_tells_nothing(self) -> None:
        await self.propose(organisation="nothing")
        (seen,) = await self.ours.cooperations()
        assert seen["agreed"]["they"] is False
        assert await self.theirs.cooperations() == []

    async def test_a_side_that_was_away_learns_of_it_later(self) -> None:
        self.cut(self.south)
        cooperation_id = await self.propose()
        assert await self.theirs.cooperations() == []
        await self.north.restart()
        self.ours.admin = await self.north.log_in("admin1", PASSWORD)
        self.heal()
        await self.ours.round()
        assert [each["cooperation_id"] for each in await self.theirs.cooperations()] == [cooperation_id]

    async def test_no_side_waits_for_others_that_cannot_be_reached(self) -> None:
        west = self.make_region("west")
        self.publish(self.build_list())
        await self.refresh()
        cooperation_id = await self.propose()
        database = self.north.running.core.database
        known = await database.read(find_cooperation, cooperation_id, self.ours.org_id)
        assert known is not None
        for number in range(PAGE + 9):  # of a region that is not there; they come first
            untold = replace(known, cooperation_id=f"!{number}", peer_server=west.name, version=1, told_version=0)
            await database.write(set_cooperation, untold)
        await self.end(self.ours, cooperation_id)
        await self.ours.round()
        assert (await self.theirs.cooperations())[0]["ended"]

    async def test_nobody_else_can_say_what_a_side_says(self) -> None:
        cooperation_id = await self.propose()
        notice = {
            "organisation": self.theirs.org_id,
            "to": self.ours.org_id,
            "kind": "professional",
            "title": "Физики",
            "roles": ["teacher"],
            "until_ts": (await self.ours.cooperations())[0]["until_ms"],
            "hosts": False,
            "agreed": True,
            "ended": False,
            "version": 1,
        }
        west = self.make_region("west")
        self.publish(self.build_list())
        await west.begin()
        await self.refresh()
        path = f"{COOPERATIONS}/{cooperation_id}"

        async def say(origin: Region, **changes: object) -> int:
            told = {**notice, **changes}
            return (await self.north.call_signed(origin.name, origin.key, "PUT", path, told)).status

        assert await say(west) == 403
        for change in (
            {"organisation": "other"},
            {"kind": "network"},
            {"title": "Химики"},
            {"roles": ["administrator"]},
            {"until_ts": now_ms() + DAY_MS},
            {"hosts": True},
        ):
            assert await say(self.south, **change) == 403, change
            assert not (await self.ours.cooperations())[0]["agreed"]["they"]
        assert await say(self.south) == 200
        assert (await self.ours.cooperations())[0]["agreed"]["they"]


class Claiming(CooperationCase):
    async def test_a_region_vouches_for_those_who_may_take_part_and_is_silent_about_all_others_alike(self) -> None:
        cooperation_id = await self.agree()
        teacher = f"@teacher1:{self.south.name}"
        others = [f"@{name}:{self.south.name}" for name in ("pupil1", "parent1", "newcomer", "nobody", "_parta")]
        asked = await self.ask_for_claims(cooperation_id, teacher, *others, f"@teacher1:{self.north.name}")
        (claim,) = asked.json["claims"]
        assert (claim["person"], claim["role"], claim["audience"]) == (teacher, "teacher", self.north.name)
        await self.theirs.dismiss(teacher)
        assert (await self.ask_for_claims(cooperation_id, teacher)).json == {"claims": []}

    async def test_a_region_vouches_for_nobody_without_a_cooperation(self) -> None:
        teacher = f"@teacher1:{self.south.name}"
        proposed = await self.propose()
        for wrong in (proposed, "nothing"):
            asked = await self.ask_for_claims(wrong, teacher)
            assert (asked.status, asked.json["errcode"]) == (403, "M_FORBIDDEN")
        cooperation_id = await self.agree()
        assert (await self.ask_for_claims(cooperation_id, teacher)).status == 200
        await self.end(self.theirs, cooperation_id)
        again = await self.ask_for_claims(cooperation_id, teacher)
        assert again.body == asked.body

    async def test_who_is_vouched_for_passes_the_gate_there_and_nowhere_else(self) -> None:
        room_id = await self.open_room(await self.agree())
        teacher = f"@teacher1:{self.south.name}"
        assert await self.may(self.ours, teacher, room_id) == [True, True, True]
        school = await self.north.running.bureau.desk.load(self.ours.org_id)
        for kind in (Kind.SCHOOL, Kind.STAFF, Kind.CHANNEL):
            other = room_keys(school)[RoomKey(kind)]
            assert await self.may(self.ours, teacher, other) == [False, False, False]
        for name in ("pupil1", "parent1", "newcomer", "nobody"):
            assert await self.may(self.ours, f"@{name}:{self.south.name}", room_id) == [False] * 3
        assert await self.may(self.ours, "@teacher1:stranger.test", room_id) == [False] * 3
        assert await self.may(self.ours, f"@pupil1:{self.north.name}", room_id) == [False] * 3

    async def test_nobody_passes_without_having_been_vouched_for_at_the_door(self) -> None:
        room_id = await self.open_room(await self.agree())
        room, by = await self.ours.room(room_id), UserID(f"@teacher1:{self.south.name}")
        assert not await allows(self.north.running.core.policy, SeeRoom(by=by, room=room))

    async def test_a_region_that_is_listed_but_does_not_cooperate_stays_outside(self) -> None:
        west = self.make_region("west")
        self.publish(self.build_list())
        await west.begin()
        await self.refresh()
        await self.found(west)
        room_id = await self.open_room(await self.agree())
        assert await self.may(self.ours, f"@teacher1:{west.name}", room_id) == [False] * 3


class Sharing(CooperationCase):
    """A teacher of the south in a room of the north."""

    async def setUp(self) -> None:
        await super().setUp()
        self.cooperation_id = await self.agree()
        self.room_id = await self.open_room(self.cooperation_id)
        self.guest = await self.south.log_in("teacher1", PASSWORD)
        self.host = await self.north.log_in("teacher1", PASSWORD)
        assert await self.join(self.host, self.room_id) == 200
        assert await self.join(self.guest, self.room_id) == 200

    async def test_both_are_in_the_room_and_others_are_not_let_in(self) -> None:
        everybody = {self.guest.user_id, self.host.user_id}
        assert await self.ours.members(self.room_id) == everybody
        for login in ("pupil1", "parent1", "newcomer"):
            for region in (self.north, self.south):
                person = await region.log_in(login, PASSWORD)
                assert await self.join(person, self.room_id) in (403, 404)
        assert await self.ours.members(self.room_id) == everybody

    async def test_the_room_is_the_regions_of_the_cooperation_and_nobody_is_above_the_school(self) -> None:
        state = (await self.ours.room(self.room_id)).head.state
        acl = state["m.room.server_acl", ""].event.content
        assert acl == {"allow": ["127.0.0.1"], "deny": [], "allow_ip_literals": True}
        assert await self.join(self.ours.admin, self.room_id) == 200
        await self.ours.round()
        levels = (await self.ours.room(self.room_id)).head.state["m.room.power_levels", ""].event.content
        assert levels["users"] == {self.ours.admin.user_id: 50}
        assert (levels["invite"], levels["kick"], levels["ban"], levels["state_default"]) == (100, 100, 100, 100)
        other = f"@teacher2:{self.south.name}"
        for path, body in (
            ("invite", {"user_id": other}),
            ("kick", {"user_id": self.host.user_id}),
            ("upgrade", {"new_version": "12"}),
        ):
            assert (await self.guest.refused("POST", f"/rooms/{quote(self.room_id)}/{path}", body))[0] == 403

    async def test_nothing_is_said_there_that_the_hosts_region_has_not_recommended(self) -> None:
        room = await self.ours.room(self.room_id)
        assert is_protected(self.north.running.rooms.doors.rooms.seal, room.head)
        path = f"/rooms/{quote(self.room_id)}/send/m.room.message/1"
        said = await self.guest.ok("PUT", path, {"msgtype": "m.text", "body": "hello"})
        held = (await self.theirs.room(self.room_id)).find_recent(said["event_id"])
        assert held is not None
        assert set(held.event.signatures[self.north.name]) == {"ed25519:policy_server"}

    async def test_a_teacher_who_is_dismissed_is_out_of_all_rooms_at_once(self) -> None:
        others = [await self.open_room(self.cooperation_id) for _ in range(2)]
        for room_id in others:
            assert await self.join(self.guest, room_id) == 200
        await self.theirs.dismiss(self.guest.user_id)
        await self.theirs.round()
        assert await self.ours.members(self.room_id) == {self.host.user_id}
        for room_id in (self.room_id, *others):
            assert self.guest.user_id not in await self.ours.members(room_id)
            assert await self.may(self.ours, self.guest.user_id, room_id) == [False] * 3
        again = await self.south.log_in("teacher1", PASSWORD)
        assert (await again.ok("GET", "/joined_rooms"))["joined_rooms"] == []
        assert "claim_ended" in await self.ours.audit()
        assert "leave_network_room" in await self.theirs.audit()

    async def test_a_teacher_whose_region_is_cut_off_is_out_when_the_claim_has_run_out(self) -> None:
        self.cut(self.south)
        await self.theirs.dismiss(self.guest.user_id)
        await self.theirs.round()
        await self.ours.round()
        assert self.guest.user_id in await self.ours.members(self.room_id)
        self.north.late_ms = 2 * 60 * 60 * 1000 + 1
        assert await self.may(self.ours, self.guest.user_id, self.room_id) == [False] * 3
        await self.ours.round()
        assert await self.ours.members(self.room_id) == {self.host.user_id}

    async def test_the_host_asks_only_those_of_another_region_in_who_belong(self) -> None:
        room, host = await self.theirs.room(self.room_id), UserID(f"@_parta:{self.north.name}")
        policy = self.south.running.core.policy
        asked = {
            name: await allows(policy, Invite(by=host, room=room, person=UserID(f"@{name}:{self.south.name}")))
            for name in ("teacher2", "pupil1", "parent1", "newcomer", "nobody")
        }
        assert [name for name, may_be in asked.items() if may_be] == ["teacher2"]
        assert not await allows(policy, Invite(by=host, room=room, person=None))

    async def test_a_claim_is_renewed_before_it_runs_out(self) -> None:
        self.north.late_ms = self.south.late_ms = 3 * 60 * 60 * 1000 // 2
        await self.ours.round()
        self.north.late_ms = self.south.late_ms = 3 * 60 * 60 * 1000
        assert await self.may(self.ours, self.guest.user_id, self.room_id) == [True] * 3
        await self.ours.round()
        assert self.guest.user_id in await self.ours.members(self.room_id)

    async def test_when_either_side_ends_it_the_guests_are_out(self) -> None:
        for side in (self.theirs, self.ours):
            await self.end(side, self.cooperation_id)
            await side.round()
            for each in (self.ours, self.theirs):
                (seen,) = [one for one in await each.cooperations() if one["cooperation_id"] == self.cooperation_id]
                assert seen["ended"]
            assert await self.ours.members(self.room_id) == set()
            assert await self.may(self.ours, self.guest.user_id, self.room_id) == [False] * 3
            assert await self.join(self.guest, self.room_id) in (403, 404)
            self.cooperation_id = await self.agree()
            self.room_id = await self.open_room(self.cooperation_id)
            assert await self.join(self.guest, self.room_id) == 200

    async def test_the_guests_are_out_when_the_term_is_over(self) -> None:
        self.north.late_ms = self.south.late_ms = 31 * DAY_MS - DAY_MS // 2
        assert await self.may(self.ours, self.guest.user_id, self.room_id) == [False] * 3
        await self.ours.round()
        assert await self.ours.members(self.room_id) == set()

    async def test_a_region_that_was_suspended_has_nobody_in_the_room(self) -> None:
        members: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        members[self.south.name]["status"] = "suspended"
        self.publish(self.build_list(regions=members))
        await self.north.running.region.regions.refresh()
        await self.ours.round()
        assert await self.ours.members(self.room_id) == {self.host.user_id}

    async def test_a_room_that_is_closed_is_left_by_everybody(self) -> None:
        await self.ours.admin.ok("POST", f"{self.ours.path}/network_rooms/{quote(self.room_id)}/close")
        assert await self.ours.members(self.room_id) == set()
        await self.ours.round()
        assert (await self.theirs.cooperations())[0]["rooms"] == []
        assert await self.join(self.guest, self.room_id) in (403, 404)

    async def test_what_was_cut_off_is_done_after_a_start(self) -> None:
        """The dismissal is committed, and the server dies before anybody is told."""
        self.south.running.cooperation.rounds.stop()
        await self.theirs.dismiss(self.guest.user_id)
        assert self.guest.user_id in await self.ours.members(self.room_id)
        await self.south.restart()
        await self.south.running.cooperation.rounds.go()
        assert await self.ours.members(self.room_id) == {self.host.user_id}


class SharingOtherDatabases(Sharing):
    """The same with the databases of the two exchanged."""

    dialects = ("postgresql", "sqlite")
