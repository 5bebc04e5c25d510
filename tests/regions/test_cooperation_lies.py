"""Cooperation with a region that lies, repeats itself, or is gone when it matters; and each way it can end."""

import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec

from federation import canonical
from federation.claims import LIFE_MS, Claim, sign_claim
from federation.ids import ServerName, UserID
from federation.signatures import sign_json
from federation.transport.agent import Incoming, Outgoing
from homeserver.policy import Join, SeeRoom, SendEvent, allows
from homeserver.schools.demo import PASSWORD
from homeserver.signing import prepare_next_key
from tests.kit.region import DAY_MS, Region, now_ms
from tests.regions.test_cooperation import CLAIMS, COOPERATIONS, CooperationCase, Side

HOUR_MS = 60 * 60 * 1000
Ask = Callable[[Outgoing], Awaitable[Incoming]]


class Forging(CooperationCase):
    """The south answers with claims that are none, when the north asks for its teacher."""

    async def setUp(self) -> None:
        await super().setUp()
        self.cooperation_id = await self.agree()
        self.room_id = await self.open_room(self.cooperation_id)
        self.teacher = UserID(f"@teacher1:{self.south.name}")
        self.answer: bytes | None = None
        outward: Any = self.north.running.core.outward
        go: Ask = outward.ask

        async def ask(request: Outgoing) -> Incoming:
            answer = await go(request)
            is_claim = request.url.endswith(CLAIMS) and self.answer is not None
            return replace(answer, body=self.answer) if is_claim else answer

        outward.ask = ask

    def claim(self, **changes: Any) -> Claim:
        good = Claim(
            claim_id="k",
            cooperation=self.cooperation_id,
            person=self.teacher,
            organisation=self.theirs.org_id,
            role="teacher",
            purpose="professional",
            audience=self.north.name,
            issued_ms=now_ms(),
            valid_until_ms=now_ms() + HOUR_MS,
        )
        return msgspec.structs.replace(good, **changes)

    def forged(self, other_cooperation: str) -> Iterator[tuple[str, Any]]:
        """What is answered instead of the claims: (what is wrong with it, the answer)."""
        key, now = self.south.key, now_ms()
        for changes in (
            {"role": "pupil"},
            {"role": "parent"},
            {"role": "editor"},
            {"role": "owner"},
            {"role": "service"},
            {"organisation": "another"},
            {"organisation": self.ours.org_id},
            {"cooperation": other_cooperation},
            {"cooperation": "none"},
            {"purpose": "network"},
            {"purpose": "staff"},
            {"audience": ServerName("stranger.test")},
            {"audience": self.south.name},
            {"person": UserID(f"@teacher2:{self.south.name}")},
            {"issued_ms": now - LIFE_MS - HOUR_MS, "valid_until_ms": now - HOUR_MS},  # an old one once more
            {"issued_ms": now + HOUR_MS, "valid_until_ms": now + 2 * HOUR_MS},
            {"valid_until_ms": now + LIFE_MS + HOUR_MS},
            {"valid_until_ms": now + 365 * DAY_MS},
        ):
            yield str(changes), {"claims": [sign_claim(self.claim(**changes), key)]}
        good = sign_claim(self.claim(), key)
        bare = {name: value for name, value in good.items() if name != "signatures"}
        for name, wrong in (
            ("unsigned", bare),
            ("signed by the host", sign_json(bare, self.north.name, self.north.key)),
            ("signed with the key of the host", sign_json(bare, self.south.name, self.north.key)),
            ("changed afterwards", {**good, "role": "administrator"}),
            ("not verified", sign_json({**bare, "verified": False}, self.south.name, key)),
            ("more than a claim", sign_json({**bare, "friends": True}, self.south.name, key)),
            ("no claim", "teacher"),
        ):
            yield name, {"claims": [wrong]}
        yield "more than asked for", {"claims": [good, good]}
        yield "no list", {"claims": good}
        yield "nothing", {}

    async def test_no_forgery_lets_anybody_in_and_the_truth_does(self) -> None:
        other = await self.agree(title="Химики")
        for what, answer in self.forged(other):
            self.answer = canonical.encode(answer)
            assert await self.may(self.ours, self.teacher, self.room_id) == [False] * 3, what
        self.answer = canonical.encode({"claims": [sign_claim(self.claim(), self.south.key)]})
        assert await self.may(self.ours, self.teacher, self.room_id) == [True] * 3

    async def test_a_claim_that_is_signed_with_a_key_which_the_list_has_ended_is_none(self) -> None:
        old = self.south.key
        prepare_next_key(self.south.settings.data_dir, secrets.token_bytes)
        await self.south.restart()
        new = self.south.key
        assert new.key_id != old.key_id
        keys: dict[str, Any] = {
            old.key_id: {"key": old.verify_key.encode(), "expired_ts": now_ms() - 1},
            new.key_id: {"key": new.verify_key.encode()},
        }
        members = {region.name: {"status": "member"} for region in self.regions}
        self.publish(self.build_list(regions={**members, self.south.name: {"status": "member", "keys": keys}}))
        await self.refresh()
        for key, expected in ((old, False), (new, True)):
            self.answer = canonical.encode({"claims": [sign_claim(self.claim(), key)]})
            assert await self.may(self.ours, self.teacher, self.room_id) == [expected] * 3

    async def test_a_region_speaks_for_its_own_people_only(self) -> None:
        west = self.make_region("west")
        self.publish(self.build_list())
        await west.begin()
        await self.refresh()
        for person in (f"@teacher1:{west.name}", f"@teacher1:{self.north.name}", "@teacher1:stranger.test"):
            self.answer = canonical.encode({"claims": [sign_claim(self.claim(person=UserID(person)), self.south.key)]})
            assert not (await self.may(self.ours, f"@teacher1:{west.name}", self.room_id))[0]
            assert await self.may(self.ours, self.teacher, self.room_id) == [False] * 3, person


class Repeating(CooperationCase):
    """What the south once said to the north is said again, word for word."""

    async def test_what_was_said_before_changes_nothing_that_was_said_since(self) -> None:
        said: list[Outgoing] = []
        outward: Any = self.south.running.core.outward
        go: Ask = outward.ask

        async def ask(request: Outgoing) -> Incoming:
            if "/_parta/" in request.url:
                said.append(request)
            return await go(request)

        outward.ask = ask
        cooperation_id = await self.agree()
        room_id = await self.open_room(cooperation_id)
        guest = await self.south.log_in("teacher1", PASSWORD)
        assert await self.join(guest, room_id) == 200
        await self.end(self.theirs, cooperation_id)
        await self.theirs.tell()
        before = await self.ours.cooperations()
        assert before[0]["ended"]
        assert any(COOPERATIONS in request.url for request in said)
        for request in said:
            path = request.url[request.url.index("/_parta/") :]
            headers = {"Authorization": request.headers["Authorization"]}
            await self._repeat(request.method, path, headers, request.body)
            assert await self.ours.cooperations() == before
            assert await self.may(self.ours, guest.user_id, room_id) == [False] * 3
        assert await self.ours.members(room_id) == set()

    async def _repeat(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        reply = await self.north.call_as_server(method, path, headers, body)
        assert reply.status in (200, 403), reply

    async def test_to_take_back_what_is_still_so_puts_nobody_out(self) -> None:
        room_id = await self.open_room(await self.agree())
        guest = await self.south.log_in("teacher1", PASSWORD)
        assert await self.join(guest, room_id) == 200
        body = {"people": [guest.user_id, f"@teacher1:{self.north.name}"]}
        reply = await self.north.call_signed(self.south.name, self.south.key, "POST", f"{CLAIMS}/revoke", body)
        assert reply.status == 200
        assert await self.ours.members(room_id) == {guest.user_id}


class Ending(CooperationCase):
    """A teacher of the south is in a room of the north, for a year; then that ends."""

    async def setUp(self) -> None:
        await super().setUp()
        self.publish(self.build_list(valid_until_ts=now_ms() + 900 * DAY_MS))
        await self.refresh()
        self.cooperation_id = await self.agree(until_ms=now_ms() + 700 * DAY_MS)
        self.room_id = await self.open_room(self.cooperation_id)
        self.guest = await self.south.log_in("teacher1", PASSWORD)
        self.host = await self.north.log_in("teacher1", PASSWORD)
        for person in (self.host, self.guest):
            assert await self.join(person, self.room_id) == 200
        await self.until(
            lambda room: {self.guest.user_id, self.host.user_id} <= set(room.joined_members), self.theirs, self.room_id
        )

    def list_with(self, status: str | None, *, of: Region) -> dict[str, Any]:
        """A list in which a region has that status, or is not at all."""
        members: dict[str, Any] = {region.name: {"status": "member"} for region in self.regions}
        if status is None:
            del members[of.name]
        else:
            members[of.name]["status"] = status
        return self.build_list(regions=members, valid_until_ts=now_ms() + 900 * DAY_MS)

    async def read_list(self, region: Region, draft: dict[str, Any]) -> None:
        self.publish(draft)
        await region.running.region.regions.refresh()

    async def may_read(self, side: Side) -> list[bool]:
        """Whether the guest may see the room and write there, as a region judges that."""
        room, by = await side.room(self.room_id), UserID(self.guest.user_id)
        write = SendEvent(by=by, room=room, type="m.room.message", content={"body": "x"})
        return [await allows(side.region.running.core.policy, act) for act in (SeeRoom(by=by, room=room), write)]

    async def is_in(self, side: Side) -> bool:
        return self.guest.user_id in await side.members(self.room_id)

    async def test_a_region_that_is_suspended_or_gone_has_nobody_with_the_others(self) -> None:
        for status in ("suspended", None):
            await self.read_list(self.north, self.list_with(status, of=self.south))
            await self.ours.round()
            assert not await self.is_in(self.ours), status
            assert await self.is_in_host(), status
            assert await self.join(self.guest, self.room_id) in (200, 403, 404)  # their own region has not heard of it
            assert not await self.is_in(self.ours), status
            await self.come_back()

    async def test_a_new_list_puts_out_at_once_whom_it_leaves_out(self) -> None:
        await self.read_list(self.north, self.list_with("suspended", of=self.south))
        await self.until_out(self.ours, self.guest.user_id, self.room_id)
        await self.read_list(self.south, self.list_with(None, of=self.north))
        await self.until_out(self.theirs, self.guest.user_id, self.room_id)

    async def is_in_host(self) -> bool:
        return self.host.user_id in await self.ours.members(self.room_id)

    async def come_back(self) -> None:
        """Everybody is a member again, and has told the others what they missed."""
        self.publish(self.build_list(valid_until_ts=now_ms() + 900 * DAY_MS))
        await self.refresh()
        self.heal()
        for side in (self.ours, self.theirs):
            await side.tell()
        for region in (self.north, self.south):
            region.running.sending.hurry(self.north.name)
            region.running.sending.hurry(self.south.name)
        await self.host.send(self.room_id, "снова вместе")
        await self.until_out(self.theirs, self.guest.user_id, self.room_id)
        assert await self.join(self.guest, self.room_id) == 200
        assert await self.is_in(self.ours)
        await self.until(
            lambda room: {self.guest.user_id, self.host.user_id} <= set(room.joined_members), self.theirs, self.room_id
        )

    async def test_who_is_with_a_host_that_is_suspended_or_gone_is_out_at_home(self) -> None:
        for status in ("suspended", None):
            await self.read_list(self.south, self.list_with(status, of=self.north))
            assert await self.may_read(self.theirs) == [False, False], status
            await self.theirs.round()
            assert not await self.is_in(self.theirs), status
            await self.come_back()
            assert await self.may_read(self.theirs) == [True, True]

    async def test_without_a_list_that_is_valid_guests_are_out_and_hosts_go_on(self) -> None:
        soon = now_ms() + DAY_MS
        self.publish(self.build_list(valid_until_ts=soon))
        await self.refresh()
        self.north.late_ms = self.south.late_ms = 2 * DAY_MS
        assert await self.may_read(self.ours) == await self.may_read(self.theirs) == [False, False]
        for side in (self.ours, self.theirs):
            await side.round()
            assert not await self.is_in(side)
        assert await self.is_in_host()
        await self.host.send(self.room_id, "мы ещё здесь")

    async def test_the_term_ends_while_the_guests_region_is_down(self) -> None:
        await self.south.stop()
        self.north.late_ms = self.south.late_ms = 701 * DAY_MS
        assert await self.may(self.ours, self.guest.user_id, self.room_id) == [False] * 3
        await self.ours.round()
        assert await self.ours.members(self.room_id) == set()
        await self.south.begin()
        assert await self.may_read(self.theirs) == [False, False]
        await self.theirs.round()
        assert not await self.is_in(self.theirs)

    async def test_the_term_ends_while_the_hosts_region_is_down(self) -> None:
        await self.north.stop()
        self.north.late_ms = self.south.late_ms = 701 * DAY_MS
        assert await self.may_read(self.theirs) == [False, False]
        await self.theirs.round()
        assert not await self.is_in(self.theirs)
        await self.north.begin()
        assert await self.may(self.ours, self.guest.user_id, self.room_id) == [False] * 3
        await self.ours.round()
        assert await self.ours.members(self.room_id) == set()

    async def test_one_side_ends_it_while_the_other_is_down(self) -> None:
        await self.south.stop()
        await self.end(self.ours, self.cooperation_id)
        assert await self.ours.members(self.room_id) == set()
        await self.south.begin()
        self.heal()
        await self.ours.tell()
        (seen,) = await self.theirs_again()
        assert seen["ended"]
        assert await self.may_read(self.theirs) == [False, False]
        assert not await self.is_in(self.theirs)

    async def theirs_again(self) -> list[dict[str, Any]]:
        self.theirs.admin = await self.south.log_in("admin1", PASSWORD)
        return await self.theirs.cooperations()

    async def test_who_is_verified_no_more_is_out(self) -> None:
        self.north.late_ms = self.south.late_ms = 400 * DAY_MS  # beyond any 31 August up to which they are verified
        assert await self.may_read(self.theirs) == [False, False]
        asked = await self.ask_for_claims(self.cooperation_id, self.guest.user_id)
        assert asked.json == {"claims": []}
        await self.ours.round()
        assert not await self.is_in(self.ours)
        room = await self.ours.room(self.room_id)
        join = Join(by=UserID(self.guest.user_id), room=room)
        assert not await allows(self.north.running.core.policy, join)

    async def test_the_own_region_shuts_the_door_at_once_when_it_dismisses_somebody_and_the_host_is_away(self) -> None:
        self.cut(self.north)
        await self.theirs.dismiss(self.guest.user_id)
        assert await self.may_read(self.theirs) == [False, False]
        again = await self.south.log_in("teacher1", PASSWORD)
        path = f"/rooms/{quote(self.room_id)}/send/m.room.message/late"
        assert (await again.call("PUT", path, {"msgtype": "m.text", "body": "ещё раз"})).status in (403, 404)
        self.heal()
        await self.theirs.round()
        await self.until_out(self.ours, self.guest.user_id, self.room_id)
