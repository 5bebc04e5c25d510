"""What the gate learns of rooms of cooperations from the tables, at any time of their term."""

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import TestCase

from federation.ids import RoomID, ServerName, UserID
from homeserver.schools.agreements import Voucher
from homeserver.schools.rights import Grant, Kind, Place, Role, Standing, find_guest_standing, find_standing
from homeserver.storage.changes import SchoolChanged
from homeserver.storage.database import Database, Txn
from homeserver.storage.schools.claims import HeldClaim, load_held_before, remove_held, set_held
from homeserver.storage.schools.cooperation import (
    Cooperation,
    NetworkRoom,
    count_proposals,
    find_cooperation,
    load_untold,
    set_cooperation,
    set_network_room,
    set_told,
)
from homeserver.storage.schools.guests import (
    count_cooperations,
    load_dismissed,
    load_guests,
    load_hosted_rooms,
    load_hosts,
    load_open_rooms,
    load_rooms_of_hosts,
    remove_dismissed,
    set_dismissed,
)
from tests.kit.databases import on_both_databases
from tests.kit.schools import OCTOBER_MS, found_school, open_region

SOUTH = ServerName("south.example")
ROOM = RoomID("!room")
TERM_MS = OCTOBER_MS + 1000


@on_both_databases
class Places(TestCase):
    """A school, and its cooperation with one of the south."""

    db: Database

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.region = await open_region(self.db)
        self.story = await found_school(self.region)
        self.good = Cooperation(
            cooperation_id="c",
            org_id=self.story.org_id,
            peer_server=SOUTH,
            peer_org_id="there",
            is_hosted=1,
            kind="professional",
            title="x",
            roles="teacher",
            until_ms=TERM_MS,
            began_ms=1,
            agreed_by="@boss:north.example",
            agreed_ms=1,
            peer_agreed=1,
            version=2,
        )

    async def find_place(self, **changes: Any) -> Place | None:
        """The place of the room while the cooperation is as it was, but for these changes."""
        await self.db.write(_write, replace(self.good, **changes))
        self.region.facts.heed([SchoolChanged(position=0, people=frozenset(), rooms=frozenset({ROOM}))])
        return await self.region.facts.place(ROOM)

    async def test_a_room_is_a_place_while_its_cooperation_is_in_force(self) -> None:
        place = await self.find_place()
        assert place is not None
        assert (place.kind, place.org_id, place.host) == (Kind.PROFESSIONAL, self.story.org_id, None)
        (agreement,) = place.agreements
        assert (agreement.server, agreement.roles) == (SOUTH, {"teacher", "administrator"})
        for change in ({"agreed_ms": None}, {"peer_agreed": 0}, {"ended_ms": 5}, {"peer_ended": 1}):
            assert await self.find_place(**change) is None, change
        assert await self.find_place() is not None
        self.region.clock.now_ms = TERM_MS
        assert await self.region.facts.place(ROOM) is None

    async def test_a_room_of_theirs_has_them_as_host(self) -> None:
        await self.db.write(_write, replace(self.good, cooperation_id="d", is_hosted=0))
        place = await self.region.facts.place(ROOM)
        assert place is not None
        assert place.host == SOUTH

    async def test_whom_the_host_has_dismissed_is_nobody_in_its_rooms(self) -> None:
        guest, place = UserID(f"@guest:{SOUTH}"), await self.find_place()
        vouchers = [Voucher(cooperation_id="c", role="teacher", until_ms=TERM_MS)]
        assert place is not None
        assert find_guest_standing(guest, vouchers, place, OCTOBER_MS) is Standing.TEACHER
        await self.db.write(set_dismissed, self.story.org_id, guest, self.region.desk.world.service, OCTOBER_MS)
        place = await self.find_place()
        assert place is not None
        assert place.dismissed == {guest}
        assert find_guest_standing(guest, vouchers, place, OCTOBER_MS) is None
        own = Grant(role=Role.TEACHER, org_id=self.story.org_id)
        assert find_standing(guest, [own], place) is None
        await self.db.write(remove_dismissed, self.story.org_id, guest)
        assert await self.db.read(load_dismissed, self.story.org_id) == frozenset()

    async def test_a_room_of_a_region_that_is_talked_with_no_more_is_no_place(self) -> None:
        await self.db.write(_write, replace(self.good, cooperation_id="d", is_hosted=0))
        assert await self.region.facts.place(ROOM) is not None
        self.region.facts.may_talk = lambda server: server != SOUTH
        assert await self.region.facts.place(ROOM) is None
        assert await self.db.read(load_hosts) == [SOUTH]
        assert await self.db.read(load_rooms_of_hosts, [SOUTH]) == [ROOM]
        assert await self.db.read(load_rooms_of_hosts, [ServerName("west.example")]) == []

    async def test_open_rooms_are_paged_and_only_those_of_cooperations_in_force(self) -> None:
        for changes in ({}, {"cooperation_id": "d"}, {"cooperation_id": "over", "until_ms": OCTOBER_MS}):
            await self.db.write(_write, replace(self.good, **changes))
        for name in "abc":
            room = NetworkRoom(room_id=RoomID(f"!{name}"), cooperation_id="c", org_id=self.story.org_id, name=name,
                               opened_ms=1, closed_ms=2 if name == "b" else None)  # fmt: skip
            await self.db.write(set_network_room, room)

        async def page(after: str, most: int) -> list[tuple[str, str]]:
            rooms = await self.db.read(load_open_rooms, self.story.org_id, OCTOBER_MS, after, most)
            return [(room.room_id, room.name) for room in rooms]

        assert await page("", 9) == [("!a", "a"), ("!c", "c"), (ROOM, "x"), (ROOM, "x")]
        assert await page("", 2) == [("!a", "a"), ("!c", "c")]
        assert await page("!c", 1) == [(ROOM, "x"), (ROOM, "x")]
        assert await self.db.read(load_open_rooms, "other", OCTOBER_MS, "", 9) == []

    async def test_guests_and_cooperations_are_counted(self) -> None:
        service = self.region.desk.world.service
        assert await self.db.read(count_cooperations, OCTOBER_MS) == (0, 0, 0, 0, 0)
        for changes in (
            {"cooperation_id": "proposed", "peer_agreed": 0},
            {"cooperation_id": "ended", "peer_ended": 1, "told_version": 2},
            {"cooperation_id": "over", "until_ms": OCTOBER_MS},
        ):
            await self.db.write(_write, replace(self.good, **changes))
        assert await self.db.read(count_cooperations, OCTOBER_MS) == (1, 0, 2, 2, 0)
        channel = (await self.story.room(Kind.CHANNEL)).room_id
        of_channel = NetworkRoom(room_id=channel, cooperation_id="c", org_id=self.story.org_id, name="x", opened_ms=1)
        await self.db.write(_write, self.good)
        await self.db.write(set_network_room, of_channel)
        assert await self.db.read(load_guests, self.story.org_id, service, "", 9) == []
        stranger = UserID("@stranger:north.example")
        room = await self.region.rooms.load(channel)
        assert room is not None
        await self.db.write(_join, room.nid, stranger)
        assert await self.db.read(load_guests, self.story.org_id, service, "", 9) == [(stranger, channel, None)]
        claim = HeldClaim(stranger, "c", self.story.org_id, SOUTH, "k", "teacher", TERM_MS, b"{}")
        await self.db.write(set_held, [claim])
        assert await self.db.read(load_guests, self.story.org_id, service, "", 9) == [(stranger, channel, "teacher")]
        assert await self.db.read(load_guests, self.story.org_id, service, stranger, 9) == []
        assert await self.db.read(load_hosted_rooms, self.story.org_id) == {channel, ROOM}
        assert await self.db.read(count_cooperations, OCTOBER_MS) == (1, 1, 2, 3, 1)

    async def test_what_the_other_side_does_not_know_waits_until_it_is_told(self) -> None:
        await self.db.write(_write, self.good)
        (untold,) = await self.db.read(load_untold, 9)
        await self.db.write(set_told, replace(untold, version=1))
        assert await self.db.read(load_untold, 9) != []
        await self.db.write(set_told, untold)
        assert await self.db.read(load_untold, 9) == []
        held = await self.db.read(find_cooperation, "c", self.story.org_id)
        assert held == replace(self.good, told_version=2)

    async def test_proposals_wait_until_they_are_answered(self) -> None:
        proposal = replace(self.good, is_hosted=0, agreed_by=None, agreed_ms=None)
        await self.db.write(set_cooperation, proposal)
        assert await self.db.read(count_proposals, SOUTH) == 1
        assert await self.db.read(count_proposals, ServerName("west.example")) == 0
        await self.db.write(set_cooperation, replace(proposal, agreed_ms=1))
        assert await self.db.read(count_proposals, SOUTH) == 0

    async def test_claims_are_paged_in_the_order_of_their_end_and_a_new_one_is_not_removed_for_the_old(self) -> None:
        claims = [
            HeldClaim(UserID(f"@{n}:{SOUTH}"), "c", "o", SOUTH, f"k{n}", "teacher", OCTOBER_MS + n // 2, b"{}")
            for n in range(5)
        ]
        await self.db.write(set_held, claims)
        first = await self.db.read(load_held_before, OCTOBER_MS + 2, None, 3)
        rest = await self.db.read(load_held_before, OCTOBER_MS + 2, first[-1], 3)
        assert [*first, *rest] == claims[:4]
        await self.db.write(set_held, [HeldClaim(*[*_fields(claims[0])[:4], "new", *_fields(claims[0])[5:]])])
        await self.db.write(remove_held, claims)
        (left,) = await self.db.read(load_held_before, TERM_MS, None, 9)
        assert left.claim_id == "new"


def _fields(claim: HeldClaim) -> list[Any]:
    return [getattr(claim, name) for name in claim.__struct_fields__]


def _join(txn: Txn, room_nid: int, user_id: UserID) -> None:
    txn.run(
        "INSERT INTO memberships (user_id, room_nid, membership, event_nid, stream) VALUES (?, ?, 'join', 1, 1)",
        (user_id, room_nid),
    )


def _write(txn: Txn, cooperation: Cooperation) -> None:
    set_cooperation(txn, cooperation)
    room = NetworkRoom(
        room_id=ROOM, cooperation_id=cooperation.cooperation_id, org_id=cooperation.org_id, name="x", opened_ms=1
    )
    set_network_room(txn, room)
    txn.tell(SchoolChanged(position=txn.position(), people=frozenset(), rooms=frozenset({ROOM})))
