"""Invitations, knocks and leaves across regions."""

from typing import Any
from urllib.parse import quote

import msgspec

from federation.ed25519 import SigningKey
from federation.signatures import sign_json
from federation.transport.agent import Incoming, Outgoing
from tests.kit.people import Person
from tests.kit.ports import find_port
from tests.regions.test_joins import VERSIONS, JoinsCase, state_of


class Inviting(JoinsCase):
    async def invited(self, version: str = "12", **more: Any) -> str:
        """A room of Alice's into which Bob is invited."""
        room_id = await self.alice.create_room(room_version=version, name="Lesson", **more)
        await self.alice.invite(room_id, self.bob)
        return room_id

    async def shown(self, person: Person, section: str) -> dict[str, Any]:
        """What a whole sync has in a section."""
        person.since = None
        rooms: dict[str, Any] = (await person.sync()).get("rooms", {}).get(section, {})
        return rooms

    async def test_somebody_invited_sees_what_into_and_by_whom_and_joins_in_every_version(self) -> None:
        for version in VERSIONS:
            room_id = await self.invited(version)
            assert await self.membership(self.north, room_id, self.bob) == "invite"
            events = (await self.shown(self.bob, "invite"))[room_id]["invite_state"]["events"]
            by_key = {(event["type"], event["state_key"]): event for event in events}
            assert by_key["m.room.name", ""]["content"] == {"name": "Lesson"}
            assert by_key["m.room.member", self.bob.user_id]["sender"] == self.alice.user_id
            assert all(set(event) == {"type", "state_key", "sender", "content"} for event in events)
            await self.bob.join(room_id)
            assert await self.membership(self.north, room_id, self.bob) == "join"
            assert room_id in await self.shown(self.bob, "join")
            assert room_id not in await self.shown(self.bob, "invite")

    async def test_an_invitation_wakes_a_sync_and_is_in_a_sliding_one(self) -> None:
        await self.bob.sync()
        room_id = await self.invited()
        assert room_id in (await self.bob.sync())["rooms"]["invite"]
        lists = {"all": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 1}}
        answer = await self.bob.ok(
            "POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", {"lists": lists}
        )
        names = [event["content"].get("name") for event in answer["rooms"][room_id]["invite_state"]]
        assert "Lesson" in names

    async def test_who_is_invited_may_refuse_also_when_the_other_region_is_away(self) -> None:
        for is_away in (False, True):
            room_id = await self.invited()
            if is_away:
                self.cut(self.north)
            await self.bob.sync()
            await self.bob.leave(room_id)
            assert room_id in (await self.bob.sync())["rooms"]["leave"]
            assert room_id not in await self.shown(self.bob, "invite")
            expected = "invite" if is_away else "leave"
            assert await self.membership(self.north, room_id, self.bob) == expected
            await self.bob.ok("POST", f"/rooms/{quote(room_id)}/forget", {})
            self.heal()

    async def test_somebody_who_refused_may_be_invited_again_and_join(self) -> None:
        room_id = await self.invited()
        await self.bob.leave(room_id)
        await self.alice.invite(room_id, self.bob)
        assert room_id in await self.shown(self.bob, "invite")
        await self.bob.join(room_id)
        await self.bob.leave(room_id)
        assert await self.membership(self.south, room_id, self.bob) == "leave"

    async def test_somebody_of_a_region_that_is_in_the_room_is_told_by_the_room_and_joins_there(self) -> None:
        room_id = await self.invited()
        await self.bob.join(room_id)
        carol = await self.south.register("carol")
        await carol.sync()
        await self.alice.invite(room_id, carol)
        answer = await carol.sync(timeout=20_000)
        events = answer["rooms"]["invite"][room_id]["invite_state"]["events"]
        assert {"name": "Lesson"} in [event["content"] for event in events]
        await carol.join(room_id)
        assert await self.membership(self.south, room_id, carol) == "join"

    async def test_an_invitation_that_is_taken_back_disappears(self) -> None:
        for door in ("kick", "ban"):
            room_id = await self.invited()
            assert room_id in await self.shown(self.bob, "invite")
            await self.alice.ok("POST", f"/rooms/{quote(room_id)}/{door}", {"user_id": self.bob.user_id})
            await self.bob.sync(timeout=20_000)
            assert room_id not in await self.shown(self.bob, "invite")
            refused = await self.bob.refused("POST", f"/join/{quote(room_id, safe='')}", {})
            assert refused[0] == 403

    async def test_an_invitation_survives_a_restart(self) -> None:
        room_id = await self.invited()
        await self.south.restart()
        self.bob = await self.south.log_in("bob")
        assert room_id in await self.shown(self.bob, "invite")
        await self.bob.join(room_id)
        assert await self.membership(self.north, room_id, self.bob) == "join"

    async def test_who_is_away_is_not_invited_and_nobody_who_is_not_there(self) -> None:
        room_id = await self.alice.create_room()
        path = f"/rooms/{quote(room_id)}/invite"
        nobody = {"user_id": f"@nobody:{self.south.name}"}
        assert await self.alice.refused("POST", path, nobody) == (404, "M_NOT_FOUND")
        self.cut(self.south)
        assert (await self.alice.refused("POST", path, {"user_id": self.bob.user_id}))[0] == 502
        assert await self.membership(self.north, room_id, self.bob) is None

    async def test_who_blocks_invitations_gets_none(self) -> None:
        room_id = await self.alice.create_room()
        path = f"/user/{quote(self.bob.user_id)}/account_data/m.invite_permission_config"
        await self.bob.ok("PUT", path, {"default_action": "block"})
        refused = await self.alice.refused("POST", f"/rooms/{quote(room_id)}/invite", {"user_id": self.bob.user_id})
        assert refused == (403, "M_INVITE_BLOCKED")
        assert room_id not in await self.shown(self.bob, "invite")

    async def test_a_room_is_created_with_people_of_other_regions(self) -> None:
        room_id = await self.alice.create_room(invite=[self.bob.user_id], is_direct=True, preset="trusted_private_chat")
        events = (await self.shown(self.bob, "invite"))[room_id]["invite_state"]["events"]
        own = [event for event in events if event["state_key"] == self.bob.user_id]
        assert [event["content"].get("is_direct") for event in own] == [True]
        await self.bob.join(room_id)

    async def test_a_room_is_made_and_known_also_when_not_all_of_other_regions_can_be_asked_in(self) -> None:
        away = f"@x:127.0.0.1:{find_port()}"
        nobody = f"@nobody:{self.south.name}"
        room_id = await self.alice.create_room(invite=[away, nobody, self.bob.user_id])
        assert room_id in await self.shown(self.bob, "invite")
        assert {person for (kind, person) in state_of(self.north, room_id) if kind == "m.room.member"} == {
            self.alice.user_id, self.bob.user_id
        }  # fmt: skip
        await self.bob.join(room_id)

    async def test_who_makes_a_room_is_told_of_what_the_specification_has_an_answer_for(self) -> None:
        outward: Any = self.north.running.core.outward
        for status, errcode, expected in (
            (400, "M_INCOMPATIBLE_ROOM_VERSION", (400, "M_UNSUPPORTED_ROOM_VERSION")),
            (403, "M_INVITE_BLOCKED", (403, "M_INVITE_BLOCKED")),
            (403, "M_FORBIDDEN", None),
        ):
            body = msgspec.json.encode({"errcode": errcode, "error": "no", "room_version": "12"})
            answer = Incoming(status=status, headers={}, body=body)

            async def say(_: Outgoing, answer: Incoming = answer) -> Incoming:
                return answer

            self.patch(outward, "ask", say)
            reply = await self.alice.call("POST", "/createRoom", {"invite": [self.bob.user_id]})
            assert (None if reply.status == 200 else (reply.status, reply.errcode)) == expected
            path, who = f"/rooms/{quote(await self.alice.create_room())}/invite", {"user_id": self.bob.user_id}
            assert await self.alice.refused("POST", path, who) == (expected or (403, "M_FORBIDDEN"))

    async def test_nothing_is_made_when_it_is_known_before_that_somebody_may_not_be_asked_in(self) -> None:
        host = self.south.name.rpartition(":")[0]
        acl = {"type": "m.room.server_acl", "content": {"allow": ["*"], "deny": [host]}}
        self.cut(self.south)
        for spoiled in (
            {"creation_content": {"m.federate": False}},
            {"initial_state": [acl]},
            {"power_level_content_override": {"invite": 101}, "room_version": "11"},
        ):
            wanted = {"invite": [self.bob.user_id], **spoiled}
            assert await self.alice.refused("POST", "/createRoom", wanted) == (400, "M_INVALID_ROOM_STATE"), spoiled
        assert not (await self.alice.ok("GET", "/joined_rooms"))["joined_rooms"]

    async def test_nobody_of_another_region_is_asked_into_a_room_that_is_for_ours(self) -> None:
        room_id = await self.alice.create_room(creation_content={"m.federate": False})
        path = f"/rooms/{quote(room_id)}/invite"
        assert await self.alice.refused("POST", path, {"user_id": self.bob.user_id}) == (403, "M_FORBIDDEN")
        assert await self.membership(self.north, room_id, self.bob) is None
        assert room_id not in await self.shown(self.bob, "invite")


class Knocking(JoinsCase):
    async def test_somebody_knocks_is_let_in_and_joins(self) -> None:
        for version in ("7", "10", "12"):
            rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
            room_id = await self.alice.create_room(room_version=version, initial_state=[rules], name="Circle")
            query = f"?via={quote(self.north.name)}"
            await self.bob.ok("POST", f"/knock/{quote(room_id, safe='')}{query}", {"reason": "please"})
            assert await self.membership(self.north, room_id, self.bob) == "knock"
            self.bob.since = None
            events = (await self.bob.sync())["rooms"]["knock"][room_id]["knock_state"]["events"]
            assert {"name": "Circle"} in [event["content"] for event in events]
            shown = [(event["type"], event["state_key"]) for event in events]
            assert shown.count(("m.room.member", self.bob.user_id)) == 1, shown
            await self.alice.invite(room_id, self.bob)
            await self.bob.join(room_id)
            assert await self.membership(self.north, room_id, self.bob) == "join"

    async def test_a_knock_is_taken_back(self) -> None:
        rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
        room_id = await self.alice.create_room(initial_state=[rules])
        await self.bob.ok("POST", f"/knock/{quote(room_id, safe='')}?via={quote(self.north.name)}", {})
        await self.bob.leave(room_id)
        assert await self.membership(self.north, room_id, self.bob) == "leave"

    async def test_nobody_knocks_where_that_is_not_done(self) -> None:
        for version in ("6", "7", "12"):
            room_id = await self.alice.create_room(room_version=version)
            path = f"/knock/{quote(room_id, safe='')}?via={quote(self.north.name)}"
            assert await self.bob.refused("POST", path, {}) == (403, "M_FORBIDDEN"), version


class ByAddress(JoinsCase):
    """Alice invites the owner of an address, who turns out to be Bob."""

    async def setUp(self) -> None:
        await super().setUp()
        self.identity = SigningKey("0", b"i" * 32)
        self.room_id = await self.alice.create_room(name="Lesson")
        key = self.identity.verify_key.encode()
        content = {"display_name": "b...", "public_key": key, "public_keys": [{"public_key": key}]}
        await self.alice.set_state(self.room_id, "m.room.third_party_invite", content, "token")

    async def bind(self, **changes: Any) -> int:
        """Let the identity server tell the south that the address is Bob's; the status."""
        signed = {"mxid": self.bob.user_id, "token": "token", "sender": self.alice.user_id}
        signed = sign_json(signed, "identity.test", changes.pop("key", self.identity))
        invite = {"room_id": self.room_id, "sender": self.alice.user_id, "signed": signed, **changes}
        bound = {"mxid": self.bob.user_id, "medium": "email", "address": "bob@school.test", "invites": [invite]}
        path, body = "/_matrix/federation/v1/3pid/onbind", msgspec.json.encode(bound)
        return (await self.south.call_as_server("PUT", path, body=body)).status

    async def test_who_owns_the_address_is_invited(self) -> None:
        assert await self.bind() == 200
        assert await self.membership(self.north, self.room_id, self.bob) == "invite"
        assert self.room_id in (await self.bob.sync())["rooms"]["invite"]
        await self.bob.join(self.room_id)

    async def test_nobody_is_invited_whom_the_identity_server_does_not_name(self) -> None:
        other = sign_json({"mxid": "@other:elsewhere.test", "token": "token"}, "identity.test", self.identity)
        for lie in (
            {"key": SigningKey("0", b"x" * 32)},
            {"signed": other},
            {"signed": None},
            {"sender": self.bob.user_id},
            {"sender": 1},
            {"room_id": "nowhere"},
        ):
            assert await self.bind(**lie) == 200
            assert await self.membership(self.north, self.room_id, self.bob) is None, lie
        assert "invite" not in (await self.bob.sync()).get("rooms", {})
