"""Coming into rooms and going out of them: /join, /invite, /leave, /kick, /ban, /unban, /knock, /forget."""

from typing import Any
from urllib.parse import quote

from twisted.internet.defer import ensureDeferred

from homeserver.accounts.profile import Profile
from homeserver.policy import Expel, Hidden, Invite, Join, Knock, LearnAbsence, Leave, SetState
from homeserver.storage.changes import EventAdded, UserDataChanged
from homeserver.storage.database import Txn
from tests.kit.databases import on_both_databases
from tests.kit.houses import SERVER, HouseCase, Person, state_path

FORBIDDEN = (403, "M_FORBIDDEN")


class MembershipCase(HouseCase):
    async def membership(self, room: str, person: Person, asker: Person | None = None) -> dict[str, Any]:
        content: dict[str, Any] = await (asker or self.alice).state(room, "m.room.member", person.user_id)
        return content

    async def assert_membership(self, room: str, person: Person, membership: str) -> None:
        self.assertEqual((await self.membership(room, person))["membership"], membership)

    async def assert_hidden(self, person: Person, method: str, path: str, json: object = None) -> None:
        """The one refusal, the same as for a room that does not exist."""
        reply = await person.call(method, path, json)
        self.assertEqual((reply.status, reply.json), (403, {"errcode": "M_FORBIDDEN", "error": Hidden().why}), path)

    async def public(self, **more: object) -> str:
        return await self.alice.create(preset="public_chat", **more)


@on_both_databases
class Joining(MembershipCase):
    async def test_a_public_room_is_joined_by_id_and_by_alias(self) -> None:
        room = await self.public(room_alias_name="open")
        self.assertEqual(await self.bob.ok("POST", f"/rooms/{room}/join"), {"room_id": room})
        self.assertEqual(await self.carol.ok("POST", f"/join/{room}", {}), {"room_id": room})
        self.assertEqual(await self.dave.ok("POST", f"/join/{quote(f'#open:{SERVER}')}", {}), {"room_id": room})
        for person in (self.bob, self.carol, self.dave):
            await self.assert_membership(room, person, "join")
            self.assertEqual((await person.ok("GET", "/joined_rooms"))["joined_rooms"], [room])

    async def test_joining_shows_profile_and_reason(self) -> None:
        self.profiles[self.bob.user_id] = Profile(displayname="Боб", avatar_url="mxc://parta.test/b")
        room = await self.public()
        await self.bob.ok("POST", f"/join/{room}", {"reason": "hello"})
        self.assertEqual(
            await self.membership(room, self.bob),
            {"membership": "join", "displayname": "Боб", "avatar_url": "mxc://parta.test/b", "reason": "hello"},
        )

    async def test_joining_twice_changes_nothing(self) -> None:
        room = await self.public()
        await self.bob.join(room)
        position = self.db.position
        await self.bob.join(room)
        self.assertEqual(self.db.position, position)

    async def test_who_joins_twice_at_once_is_answered_when_it_is_committed(self) -> None:
        room = await self.public()
        joining = [ensureDeferred(self.bob.call("POST", f"/join/{room}", {})) for _ in range(4)]
        self.assertEqual([(await each).status for each in joining], [200] * 4)
        joins = [c for c in self.told if isinstance(c, EventAdded) and c.event.event.state_key == self.bob.user_id]
        self.assertEqual(len(joins), 1)

    async def test_an_invited_person_may_join_and_another_may_not(self) -> None:
        room = await self.alice.create(invite=[self.bob.user_id])
        await self.bob.join(room)
        await self.assert_membership(room, self.bob, "join")
        await self.assert_hidden(self.carol, "POST", f"/join/{room}", {})

    async def test_a_room_that_is_not_for_one_looks_like_one_that_there_is_not(self) -> None:
        room = await self.alice.create(room_alias_name="closed")
        self.policy.refuse(LearnAbsence)
        for door in (room, "!nowhere:parta.test", quote("#nowhere:parta.test"), quote("#closed:parta.test")):
            await self.assert_hidden(self.carol, "POST", f"/join/{door}", {})
            await self.assert_hidden(self.carol, "POST", f"/knock/{door}", {})
        for door in (room, "!nowhere"):
            for act in ("join", "leave", "forget"):
                await self.assert_hidden(self.carol, "POST", f"/rooms/{door}/{act}", {})
            for act in ("invite", "kick", "ban", "unban"):
                body = {"user_id": self.dave.user_id}
                await self.assert_hidden(self.carol, "POST", f"/rooms/{door}/{act}", body)
            member = {"membership": "join"}
            await self.assert_hidden(self.carol, "PUT", state_path(door, "m.room.member", self.carol.user_id), member)

    async def test_a_room_that_there_is_not_is_not_found_where_that_may_be_told(self) -> None:
        for door in ("!nowhere:parta.test", "!nowhere", quote("#nowhere:parta.test")):
            for act in ("join", "knock"):
                found = await self.carol.refused("POST", f"/{act}/{door}", {})
                self.assertEqual(found, (404, "M_NOT_FOUND"), door)

    async def test_what_is_neither_room_nor_alias_is_not_joined(self) -> None:
        for name in ("room", quote("@bob:parta.test"), quote("$event")):
            self.assertEqual(await self.carol.refused("POST", f"/join/{name}", {}), (400, "M_INVALID_PARAM"))

    async def test_the_banned_may_not_join_until_unbanned(self) -> None:
        room = await self.public()
        await self.bob.join(room)
        self.assertEqual((await self.alice.act("ban", room, self.bob, reason="rude")).status, 200)
        self.assertEqual((await self.membership(room, self.bob)), {"membership": "ban", "reason": "rude"})
        self.assertEqual(await self.bob.refused("POST", f"/join/{room}", {}), FORBIDDEN)
        self.assertEqual((await self.alice.act("unban", room, self.bob)).status, 200)
        await self.bob.join(room)

    async def test_third_party_invites_are_refused(self) -> None:
        room = await self.public()
        signed = {"third_party_signed": {"sender": "@a:x", "mxid": "@b:x", "token": "t", "signatures": {}}}
        self.assertEqual(await self.bob.refused("POST", f"/join/{room}", signed), FORBIDDEN)
        body = {"medium": "email", "address": "a@b", "id_server": "x", "id_access_token": "y"}
        self.assertEqual(await self.alice.refused("POST", f"/rooms/{room}/invite", body), FORBIDDEN)

    async def test_what_makes_no_sense_is_refused(self) -> None:
        room = await self.public()
        for path, body, expected in [
            (f"/join/{quote('#')}", {}, (400, "M_INVALID_PARAM")),
            (f"/join/{room}", {"reason": 7}, (400, "M_BAD_JSON")),
            (f"/join/{room}", b"{", (400, "M_NOT_JSON")),
            (f"/rooms/{room}/invite", {}, (400, "M_MISSING_PARAM")),
            (f"/rooms/{room}/invite", {"user_id": "bob"}, (400, "M_INVALID_PARAM")),
            (f"/rooms/{room}/invite", {"user_id": "@eve:elsewhere.test"}, FORBIDDEN),
            (f"/rooms/{room}/kick", {}, (400, "M_BAD_JSON")),
            (f"/rooms/{room}/ban", {"user_id": 7}, (400, "M_BAD_JSON")),
        ]:
            self.assertEqual(await self.alice.refused("POST", path, body), expected, (path, body))
        huge = {"reason": "x" * 70_000}
        self.assertEqual(await self.bob.refused("POST", f"/join/{room}", huge), (413, "M_TOO_LARGE"))


class Restricted(MembershipCase):
    async def restricted(self, *allowed: str, rule: str = "restricted", version: str = "12") -> str:
        allow = [{"type": "m.room_membership", "room_id": room} for room in allowed]
        content = {"join_rule": rule, "allow": [{"type": "org.other"}, 7, *allow]}
        state = [{"type": "m.room.join_rules", "content": content}]
        return await self.alice.create(room_version=version, initial_state=state)

    async def test_who_is_in_an_allowing_room_may_join_and_we_vouch_for_them(self) -> None:
        for version, rule in [("8", "restricted"), ("10", "knock_restricted"), ("12", "restricted")]:
            school = await self.public()
            await self.bob.join(school)
            room = await self.restricted("!nowhere", school, rule=rule, version=version)
            await self.bob.join(room)
            member = await self.membership(room, self.bob)
            self.assertEqual(member["join_authorised_via_users_server"], self.alice.user_id)
            await self.assert_hidden(self.carol, "POST", f"/join/{room}", {})

    async def test_who_was_in_an_allowing_room_may_not(self) -> None:
        school = await self.public()
        await self.bob.join(school)
        room = await self.restricted(school)
        await self.bob.leave(school)
        await self.assert_hidden(self.bob, "POST", f"/join/{room}", {})

    async def test_the_invited_need_nobody_to_vouch_for_them(self) -> None:
        room = await self.restricted()
        await self.alice.invite(room, self.bob)
        await self.bob.join(room)
        self.assertNotIn("join_authorised_via_users_server", await self.membership(room, self.bob))

    async def test_nobody_vouches_for_themselves(self) -> None:
        room = await self.restricted()
        forged = {"membership": "join", "join_authorised_via_users_server": self.alice.user_id}
        await self.assert_hidden(self.bob, "PUT", state_path(room, "m.room.member", self.bob.user_id), forged)

    async def test_somebody_who_may_invite_must_be_there_to_vouch(self) -> None:
        school = await self.public()
        for person in (self.bob, self.carol):
            await person.join(school)
        room = await self.restricted(school, version="11")
        await self.bob.join(room)
        levels = await self.alice.state(room, "m.room.power_levels")
        await self.alice.put(room, "m.room.power_levels", {**levels, "invite": 50})
        await self.alice.leave(room)
        await self.assert_hidden(self.carol, "POST", f"/join/{room}", {})


class Inviting(MembershipCase):
    async def test_an_invitation_says_who_is_meant_and_why(self) -> None:
        room = await self.alice.create()
        await self.alice.invite(room, self.bob, reason="come")
        self.assertEqual(
            await self.membership(room, self.bob), {"membership": "invite", "displayname": "Bob", "reason": "come"}
        )

    async def test_the_same_invitation_twice_is_one(self) -> None:
        room = await self.alice.create()
        await self.alice.invite(room, self.bob)
        position = self.db.position
        await self.alice.invite(room, self.bob)
        self.assertEqual(self.db.position, position)

    async def test_who_may_not_invite_is_refused(self) -> None:
        room = await self.alice.create(preset="public_chat", power_level_content_override={"invite": 50})
        await self.bob.join(room)
        body = {"user_id": self.carol.user_id}
        self.assertEqual(await self.bob.refused("POST", f"/rooms/{room}/invite", body), FORBIDDEN)
        await self.alice.invite(room, self.carol)

    async def test_neither_members_nor_the_banned_are_invited(self) -> None:
        room = await self.public()
        await self.bob.join(room)
        await self.alice.act("ban", room, self.carol)
        for person in (self.bob, self.carol):
            body = {"user_id": person.user_id}
            self.assertEqual(await self.alice.refused("POST", f"/rooms/{room}/invite", body), FORBIDDEN)

    async def test_an_inviter_does_not_choose_the_others_name(self) -> None:
        room = await self.alice.create()
        content = {"membership": "invite", "displayname": "Mud", "avatar_url": "mxc://parta.test/mud", "org.x": 1}
        await self.alice.put(room, "m.room.member", content, self.bob.user_id)
        found = await self.membership(room, self.bob)
        self.assertEqual(found, {"membership": "invite", "displayname": "Bob", "org.x": 1})


class Going(MembershipCase):
    async def test_leaving_refusing_and_withdrawing(self) -> None:
        room = await self.alice.create(initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}])
        await self.alice.invite(room, self.bob)
        await self.bob.leave(room)
        await self.carol.ok("POST", f"/knock/{room}", {})
        await self.carol.leave(room)
        await self.alice.invite(room, self.dave)
        await self.dave.join(room)
        await self.dave.ok("POST", f"/rooms/{room}/leave", {"reason": "bye"})
        for person in (self.bob, self.carol, self.dave):
            await self.assert_membership(room, person, "leave")
        self.assertEqual(await self.membership(room, self.dave), {"membership": "leave", "reason": "bye"})

    async def test_leaving_twice_changes_nothing_and_who_was_put_out_cannot_leave(self) -> None:
        room = await self.public()
        for person in (self.bob, self.carol):
            await person.join(room)
        await self.bob.leave(room)
        await self.alice.act("kick", room, self.carol)
        position = self.db.position
        await self.bob.leave(room)
        await self.assert_hidden(self.carol, "POST", f"/rooms/{room}/leave", {})
        self.assertEqual(self.db.position, position)

    async def test_kicking_needs_power_and_somebody_to_kick(self) -> None:
        room = await self.public()
        for person in (self.bob, self.carol):
            await person.join(room)
        self.assertEqual((await self.bob.act("kick", room, self.carol)).errcode, "M_FORBIDDEN")
        self.assertEqual((await self.alice.act("kick", room, self.dave)).errcode, "M_FORBIDDEN")
        self.assertEqual((await self.alice.act("kick", room, self.carol, reason="out")).status, 200)
        self.assertEqual(await self.membership(room, self.carol), {"membership": "leave", "reason": "out"})
        self.assertEqual((await self.alice.act("kick", room, self.carol)).status, 403)
        self.assertEqual((await self.bob.act("kick", room, self.alice)).status, 403)

    async def test_an_invitation_or_a_knock_can_be_turned_down_by_a_kick(self) -> None:
        room = await self.alice.create(initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}])
        await self.alice.invite(room, self.bob)
        await self.carol.ok("POST", f"/knock/{room}", {})
        for person in (self.bob, self.carol):
            self.assertEqual((await self.alice.act("kick", room, person)).status, 200)
            await self.assert_membership(room, person, "leave")

    async def test_banning_needs_power_and_works_on_people_outside(self) -> None:
        room = await self.public()
        await self.bob.join(room)
        self.assertEqual((await self.bob.act("ban", room, self.carol)).status, 403)
        self.assertEqual((await self.alice.act("ban", room, self.carol)).status, 200)
        self.assertEqual((await self.bob.act("unban", room, self.carol)).status, 403)
        self.assertEqual((await self.alice.act("unban", room, self.bob)).status, 403)
        self.assertEqual((await self.alice.act("unban", room, self.carol)).status, 200)
        await self.assert_membership(room, self.carol, "leave")

    async def test_only_who_has_left_can_forget(self) -> None:
        room = await self.public()
        for person in (self.bob, self.carol):
            await person.join(room)
            await person.say(room)
        self.assertEqual(await self.bob.refused("POST", f"/rooms/{room}/forget"), (400, "M_UNKNOWN"))
        for person in (self.bob, self.carol):
            await person.leave(room)
        await self.bob.ok("POST", f"/rooms/{room}/forget")
        await self.bob.ok("POST", f"/rooms/{room}/forget")
        await self.assert_hidden(self.bob, "GET", f"/rooms/{room}/messages?dir=b")
        self.assertEqual(len(await self.carol.bodies(room)), 2)
        await self.db.write(_nothing)
        changes = [change for change in self.told if isinstance(change, UserDataChanged)]
        self.assertEqual({(c.user_id, c.kind, c.room_id) for c in changes}, {(self.bob.user_id, "memberships", room)})
        await self.bob.join(room)
        self.assertIn("hi", await self.bob.bodies(room))


class Knocking(MembershipCase):
    async def test_a_knock_is_made_where_knocking_is_the_rule(self) -> None:
        for version, rule in [("7", "knock"), ("12", "knock"), ("12", "knock_restricted")]:
            state = [{"type": "m.room.join_rules", "content": {"join_rule": rule}}]
            room = await self.alice.create(room_version=version, initial_state=state)
            self.assertEqual(await self.bob.ok("POST", f"/knock/{room}", {"reason": "please"}), {"room_id": room})
            expected = {"membership": "knock", "displayname": "Bob", "reason": "please"}
            self.assertEqual(await self.membership(room, self.bob), expected)
            await self.alice.invite(room, self.bob)
            await self.bob.join(room)
            self.assertEqual(await self.bob.refused("POST", f"/knock/{room}", {}), FORBIDDEN)
            self.assertEqual((await self.alice.act("ban", room, self.carol)).status, 200)
            self.assertEqual(await self.carol.refused("POST", f"/knock/{room}", {}), FORBIDDEN)

    async def test_elsewhere_it_is_not(self) -> None:
        room = await self.public()
        await self.assert_hidden(self.bob, "POST", f"/knock/{room}", {})


class ByState(MembershipCase):
    """PUT of m.room.member is the same door as the others."""

    async def put(self, person: Person, room: str, target: Person, content: object) -> tuple[int, str]:
        reply = await person.call("PUT", state_path(room, "m.room.member", target.user_id), content)
        return reply.status, reply.json.get("errcode", "")

    async def test_it_joins_invites_kicks_bans_and_leaves(self) -> None:
        room = await self.public()
        for person, target, membership in [
            (self.bob, self.bob, "join"),
            (self.bob, self.carol, "invite"),
            (self.carol, self.carol, "join"),
            (self.alice, self.carol, "leave"),
            (self.alice, self.carol, "ban"),
            (self.alice, self.carol, "leave"),
            (self.bob, self.bob, "leave"),
        ]:
            self.assertEqual((await self.put(person, room, target, {"membership": membership}))[0], 200)
            await self.assert_membership(room, target, membership)

    async def test_it_asks_the_policy_as_the_others_do(self) -> None:
        room = await self.public()
        await self.bob.join(room)
        await self.alice.act("ban", room, self.dave)
        for person, target, membership, act in [
            (self.carol, self.carol, "join", Join),
            (self.carol, self.carol, "knock", Knock),
            (self.bob, self.bob, "leave", Leave),
            (self.alice, self.carol, "invite", Invite),
            (self.alice, self.bob, "leave", Expel),
            (self.alice, self.bob, "ban", Expel),
            (self.alice, self.dave, "leave", Expel),
            (self.bob, self.bob, "join", SetState),
        ]:
            self.policy.refused.clear()
            self.policy.refuse(act, because=Hidden())
            position = self.db.position
            self.assertEqual(await self.put(person, room, target, {"membership": membership}), FORBIDDEN, act)
            self.assertIsInstance(self.policy.asked[-1], act)
            self.assertEqual(self.db.position, position)
        expelled = [(act.person, act.how) for act in self.policy.asked if isinstance(act, Expel)]
        self.assertEqual(
            expelled[-3:], [(self.bob.user_id, "kick"), (self.bob.user_id, "ban"), (self.dave.user_id, "unban")]
        )

    async def test_nobody_joins_somebody_else(self) -> None:
        room = await self.public()
        self.assertEqual(await self.put(self.alice, room, self.bob, {"membership": "join"}), (403, "M_FORBIDDEN"))
        await self.alice.invite(room, self.bob)
        self.assertEqual(await self.put(self.alice, room, self.bob, {"membership": "join"}), (403, "M_FORBIDDEN"))

    async def test_a_membership_that_there_is_not_is_refused(self) -> None:
        room = await self.public()
        for content in ({"membership": "boss"}, {"membership": 7}, {"membership": None}, {}):
            self.assertEqual(await self.put(self.alice, room, self.alice, content), (400, "M_BAD_JSON"))
        path = state_path(room, "m.room.member", "bob")
        self.assertEqual(await self.alice.refused("PUT", path, {"membership": "invite"}), (400, "M_INVALID_PARAM"))

    async def test_ones_name_in_one_room_can_be_changed(self) -> None:
        room = await self.public()
        await self.bob.join(room)
        content = {"membership": "join", "displayname": "Bobby"}
        self.assertEqual((await self.put(self.bob, room, self.bob, content))[0], 200)
        self.assertEqual(await self.membership(room, self.bob), content)
        position = self.db.position
        self.assertEqual((await self.put(self.bob, room, self.bob, content))[0], 200)
        self.assertEqual(self.db.position, position)


class Guests(MembershipCase):
    async def test_guests_join_where_they_may(self) -> None:
        guest = self.person("guest", kind="guest")
        closed, opened = (
            await self.public(),
            await self.public(initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}]),
        )
        found = await guest.refused("POST", f"/rooms/{closed}/join", {})
        self.assertEqual(found, (403, "M_GUEST_ACCESS_FORBIDDEN"))
        member = state_path(closed, "m.room.member", guest.user_id)
        self.assertEqual((await guest.refused("PUT", member, {"membership": "join"}))[1], "M_GUEST_ACCESS_FORBIDDEN")
        await guest.join(opened)
        await guest.say(opened)

    async def test_guests_go_when_a_room_takes_no_more(self) -> None:
        guest = self.person("guest", kind="guest")
        room = await self.public(
            initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}]
        )
        await guest.join(room)
        await self.bob.join(room)
        await self.db.write(_make_guest, guest.user_id)
        await self.alice.put(room, "m.room.guest_access", {"guest_access": "forbidden"})
        await self.assert_membership(room, guest, "leave")
        await self.assert_membership(room, self.bob, "join")


class Profiles(MembershipCase):
    async def test_a_new_profile_is_shown_in_every_joined_room_and_nowhere_else(self) -> None:
        rooms = [await self.public() for _ in range(3)]
        for room in rooms:
            await self.bob.join(room)
        await self.bob.leave(rooms[2])
        invited = await self.alice.create(invite=[self.bob.user_id])
        self.profiles[self.bob.user_id] = Profile(displayname="Роберт", avatar_url="mxc://parta.test/r")
        await self.doors.people.show_profile(self.bob.user_id)
        shown = {"membership": "join", "displayname": "Роберт", "avatar_url": "mxc://parta.test/r"}
        for room in rooms[:2]:
            self.assertEqual(await self.membership(room, self.bob), shown)
        self.assertEqual(await self.membership(rooms[2], self.bob), {"membership": "leave"})
        self.assertEqual((await self.membership(invited, self.bob))["displayname"], "Bob")
        position = self.db.position
        await self.doors.people.show_profile(self.bob.user_id)
        self.assertEqual(self.db.position, position)

    async def test_a_removed_profile_is_removed_and_nobodys_word_is_copied(self) -> None:
        school = await self.public()
        await self.bob.join(school)
        allow = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": school}]}
        room = await self.alice.create(initial_state=[{"type": "m.room.join_rules", "content": allow}])
        await self.bob.ok("POST", f"/join/{room}", {"reason": "x"})
        self.profiles[self.bob.user_id] = Profile()
        await self.doors.people.show_profile(self.bob.user_id)
        self.assertEqual(await self.membership(room, self.bob), {"membership": "join"})

    async def test_many_rooms_are_changed_in_slices(self) -> None:
        rooms = [await self.public() for _ in range(60)]
        for room in rooms:
            await self.bob.join(room)
        units: list[int] = []
        self.db.on_batch = lambda number, seconds: units.append(number)
        self.profiles[self.bob.user_id] = Profile(displayname="B")
        await self.doors.people.show_profile(self.bob.user_id)
        await self.db.write(_nothing)
        self.assertEqual(units[:2], [1, 1])
        self.assertLessEqual(sum(units), 3)
        for room in rooms:
            self.assertEqual((await self.membership(room, self.bob))["displayname"], "B")

    async def test_a_room_whose_rules_refuse_stays_as_it_is_and_holds_up_no_other(self) -> None:
        rooms = [await self.public() for _ in range(3)]
        for room in rooms:
            await self.bob.join(room)
        await self.alice.put(rooms[1], "m.room.join_rules", {"join_rule": "private"})
        self.profiles[self.bob.user_id] = Profile(displayname="B")
        await self.doors.people.show_profile(self.bob.user_id)
        shown = [(await self.membership(room, self.bob))["displayname"] for room in rooms]
        self.assertEqual(shown, ["B", "Bob", "B"])

    async def test_somebody_leaves_everything(self) -> None:
        joined = await self.public()
        await self.bob.join(joined)
        invited = await self.alice.create(invite=[self.bob.user_id])
        knocked = await self.alice.create(
            initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
        )
        await self.bob.ok("POST", f"/knock/{knocked}", {})
        banned = await self.public()
        await self.alice.act("ban", banned, self.bob)
        await self.doors.people.leave_all(self.bob.user_id)
        for room in (joined, invited, knocked):
            await self.assert_membership(room, self.bob, "leave")
        await self.assert_membership(banned, self.bob, "ban")
        await self.doors.people.leave_all(self.bob.user_id)


def _nothing(txn: Txn) -> None:
    pass


def _make_guest(txn: Txn, user_id: str) -> None:
    txn.run("INSERT INTO users (user_id, kind, admin, created_ms) VALUES (?, 'guest', 0, 0)", (user_id,))
