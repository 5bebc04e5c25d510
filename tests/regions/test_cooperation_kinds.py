"""Cooperations of every kind: olympiads with pupils, schools of one region, several regions in one room; and liars."""

from typing import Any

from federation.ids import RoomID, UserID
from homeserver.policy import Join, allows
from homeserver.schools.cooperation.office import Terms
from homeserver.schools.office import Applicant, Asker
from homeserver.schools.organisations import Application
from homeserver.schools.rights import Kind
from homeserver.schools.rooms import RoomKey, room_keys
from tests.kit.crafting import craft_create, craft_notice
from tests.kit.region import DAY_MS, Region, now_ms
from tests.kit.rooms import RoomFactory
from tests.regions.test_cooperation import COOPERATIONS, PASSWORD, CooperationCase, Side

CONSENT = "ab" * 32


class Olympiads(CooperationCase):
    """Pupils take part where the purpose allows it, each by a guardian's consent."""

    async def test_a_pupil_takes_part_by_a_guardians_consent_and_no_longer_than_it_stands(self) -> None:
        cooperation_id = await self.agree(kind="olympiad", roles=["teacher", "pupil"])
        room_id = await self.open_room(cooperation_id)
        pupil = await self.south.log_in("pupil1", PASSWORD)
        assert await self.join(pupil, room_id) in (403, 404)
        assert (await self.ask_for_claims(cooperation_id, pupil.user_id)).json == {"claims": []}
        path = f"{self.theirs.path}/cooperations/{cooperation_id}/pupils"
        await self.theirs.admin.ok("POST", path, {"user_id": pupil.user_id, "sha256": CONSENT})
        assert await self.join(pupil, room_id) == 200
        classmate = await self.south.log_in("pupil2", PASSWORD)
        assert await self.join(classmate, room_id) in (403, 404)
        assert await self.ours.members(room_id) == {pupil.user_id}
        await self.theirs.admin.ok("DELETE", f"{path}/{pupil.user_id}")
        await self.theirs.round()
        assert await self.ours.members(room_id) == set()
        assert await self.join(pupil, room_id) in (403, 404)

    async def test_consent_is_for_pupils_of_ones_own_in_cooperations_for_pupils(self) -> None:
        olympiad = await self.agree(kind="olympiad", roles=["teacher", "pupil"])
        experts = await self.agree()
        pupil, teacher = (f"@{name}:{self.south.name}" for name in ("pupil1", "teacher1"))

        async def refused(cooperation_id: str, **body: str) -> int:
            path = f"{self.theirs.path}/cooperations/{cooperation_id}/pupils"
            given = {"user_id": pupil, "sha256": CONSENT, **body}
            return (await self.theirs.admin.refused("POST", path, given))[0]

        assert await refused(experts) == 409
        assert await refused(olympiad, sha256="x") == 400
        for wrong in (teacher, f"@nobody:{self.south.name}", f"@pupil1:{self.north.name}"):
            assert await refused(olympiad, user_id=wrong) == 404


class Neighbours(CooperationCase):
    async def test_two_schools_of_one_region_cooperate_without_claims(self) -> None:
        bureau, office = self.north.running.bureau, self.north.running.cooperation.office
        region = Asker(user_id=UserID(f"@operator:{self.north.name}"), region=True)
        other = (await bureau.office.found(region, Application(name="Школа № 2", short_name="Ш2"))).org.org_id
        there, stranger = [
            (await bureau.office.take_in(region, other, Applicant(family="Орлов", given="Пётр", role=role))).user_id
            for role in ("teacher", "editor")
        ]
        terms = Terms(organisation=other, kind="network", title="Хор", until_ms=now_ms() + DAY_MS)
        cooperation_id = (await office.propose(region, self.ours.org_id, terms)).cooperation_id
        await self.ours.round()
        await office.accept(region, other, cooperation_id)
        await self.ours.round()
        room_id = await office.open_room(region, self.ours.org_id, [cooperation_id], "Хор")
        await self.ours.round()
        room, policy = await self.ours.room(room_id), self.north.running.core.policy
        here = UserID(f"@teacher1:{self.north.name}")
        assert [await allows(policy, Join(by=by, room=room)) for by in (here, there, stranger)] == [True, True, False]
        await office.end(region, other, cooperation_id)
        assert not await allows(policy, Join(by=there, room=room))
        await self.ours.round()
        assert [await allows(policy, Join(by=by, room=room)) for by in (here, there)] == [False, False]


class Several(CooperationCase):
    """One room of two cooperations, with two other regions."""

    async def test_who_ends_a_cooperation_takes_only_the_own_people_along(self) -> None:
        self.west = self.make_region("west")
        self.publish(self.build_list())
        await self.west.begin()
        await self.refresh()
        third = await self.found(self.west)
        first = await self.agree()
        second = await self.agree_with(third)
        room_id = await self.open_room(first, second)
        guests = [await region.log_in("teacher1", PASSWORD) for region in (self.south, self.west)]
        for guest in guests:
            assert await self.join(guest, room_id) == 200
        assert await self.ours.members(room_id) == {guest.user_id for guest in guests}
        await self.end(third, second)
        await third.round()
        await self.ours.round()
        assert await self.ours.members(room_id) == {guests[0].user_id}

    async def agree_with(self, third: Side) -> str:
        proposed = await self.propose(server=third.region.name, organisation=third.org_id)
        await third.admin.ok("POST", f"{third.path}/cooperations/{proposed}/accept")
        await third.round()
        return proposed


class Lying(CooperationCase):
    """A region that makes known what is not its own, to get people of ours in or theirs."""

    async def test_a_region_makes_known_its_own_rooms_only(self) -> None:
        honest = await self.open_room(await self.agree())
        school = await self.north.running.bureau.desk.load(self.ours.org_id)
        staff = room_keys(school)[RoomKey(Kind.STAFF)]
        notice = await self.propose_from(self.south, "lies")
        own, anothers = craft_create(self.south), RoomFactory().create
        for room_id, create in (
            (honest, (await self.ours.room(honest)).create),
            (staff, (await self.ours.room(staff)).create),
            (anothers.room_id, anothers),
            (honest, own),
            (staff, own),
            ("!" + "x" * 43, own),
        ):
            room = {"room_id": room_id, "name": "x", "create": create.pdu()}
            notice = {**notice, "version": notice["version"] + 1, "rooms": [room]}
            assert await self.tell(self.south, "lies", notice) == 200
            (seen,) = [each for each in await self.ours.cooperations() if each["cooperation_id"] == "lies"]
            assert seen["rooms"] == []
            place = await self.north.running.core.facts.place(RoomID(room_id))
            assert place is None or place.host is None
            assert place is None or all(agreement.cooperation_id != "lies" for agreement in place.agreements)
        told = {"room_id": own.room_id, "name": "x", "create": own.pdu()}
        assert await self.tell(self.south, "lies", {**notice, "version": notice["version"] + 1, "rooms": [told]}) == 200
        place = await self.north.running.core.facts.place(own.room_id)
        assert place is not None
        assert place.host == self.south.name

    async def test_proposals_of_a_region_are_limited_and_an_old_notice_changes_nothing(self) -> None:
        notice = await self.propose_from(self.south, "first")
        await self.tell(self.south, "first", {**notice, "version": 5, "ended": True})
        assert await self.tell(self.south, "first", {**notice, "version": 4}) == 200
        (seen,) = await self.ours.cooperations()
        assert seen["ended"]
        statuses = [await self.tell(self.south, f"n{number}", self.notice()) for number in range(102)]
        assert statuses == [200] * 100 + [403] * 2

    async def test_what_a_region_calls_its_rooms_and_cooperations_is_a_name_and_nothing_else(self) -> None:
        notice, create = await self.propose_from(self.south, "odd"), craft_create(self.south)
        for number, (name, status) in enumerate(
            (("Хор", 200), ("<b>Хор", 400), ("Хо\u202eр", 400), ("a\0", 400), ("", 400))
        ):
            room = {"room_id": create.room_id, "name": name, "create": create.pdu()}
            told = {**notice, "version": number + 2, "rooms": [room]}
            assert await self.tell(self.south, "odd", told) == status, name
        (seen,) = await self.ours.cooperations()
        assert [room["name"] for room in seen["rooms"]] == ["Хор"]
        for odd in ("a%00b", "a%2Fb", "a.b", "%20", "x" * 65):
            assert await self.tell(self.south, odd, self.notice()) == 400, odd
        assert len(await self.ours.cooperations()) == 1

    def notice(self) -> dict[str, Any]:
        return craft_notice(self.theirs.org_id, self.ours.org_id, kind="professional")

    async def tell(self, origin: Region, cooperation_id: str, notice: dict[str, Any]) -> int:
        path = f"{COOPERATIONS}/{cooperation_id}"
        return (await self.north.call_signed(origin.name, origin.key, "PUT", path, notice)).status

    async def propose_from(self, origin: Region, cooperation_id: str) -> dict[str, Any]:
        """A cooperation that they host, and we have agreed to."""
        notice = self.notice()
        assert await self.tell(origin, cooperation_id, notice) == 200
        await self.ours.admin.ok("POST", f"{self.ours.path}/cooperations/{cooperation_id}/accept")
        return notice
