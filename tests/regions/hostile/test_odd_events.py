"""Events with odd contents, rightly signed: none stops the transaction that it comes in, none harms the room.

Another server that passes such an event on in good faith would otherwise try the same transaction for ever.
"""

from typing import Any

from federation.ids import UserID
from tests.kit.hostile import HostileCase

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**53 - 1,
    "",
    "x",
    "a\0b",
    "\u202e\x1b[2J",
    "@x",
    "!x:y",
    "$x",
    "x" * 300,
    "п" * 200,
    [],
    [None],
    ["x"],
    [[]],
    {},
    {"": {}},
    {"x": {"x": None}},
    {"\0": 1},
)
FIELDS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("m.room.message", None): ("msgtype", "body", "m.relates_to", "m.mentions", "url", "format", "m.new_content"),
    ("m.room.redaction", None): ("redacts",),
    ("m.reaction", None): ("m.relates_to",),
    ("m.room.encrypted", None): ("m.relates_to", "ciphertext", "algorithm"),
    ("m.poll.start", None): ("m.poll",),
    ("m.room.topic", ""): ("topic", "m.topic"),
    ("m.room.name", ""): ("name",),
    ("m.room.avatar", ""): ("url",),
    ("m.room.canonical_alias", ""): ("alias", "alt_aliases"),
    ("m.room.join_rules", ""): ("join_rule", "allow"),
    ("m.room.history_visibility", ""): ("history_visibility",),
    ("m.room.guest_access", ""): ("guest_access",),
    ("m.room.encryption", ""): ("algorithm", "rotation_period_ms"),
    ("m.room.tombstone", ""): ("replacement_room", "body"),
    ("m.room.server_acl", ""): ("allow", "deny", "allow_ip_literals"),
    ("m.room.pinned_events", ""): ("pinned",),
    ("m.room.power_levels", ""): ("users", "events", "users_default", "ban", "notifications", "state_default"),
    ("m.room.policy", ""): ("via", "public_keys"),
    ("m.room.retention", ""): ("max_lifetime", "min_lifetime"),
    ("m.room.third_party_invite", "token"): ("public_key", "public_keys", "key_validity_url", "display_name"),
    ("m.space.child", "!x:y"): ("via", "order", "suggested"),
    ("m.space.parent", "!x:y"): ("via", "canonical"),
    ("m.room.member", "mallory"): (
        "membership",
        "third_party_invite",
        "displayname",
        "join_authorised_via_users_server",
    ),
}
_ODD_REPLIES: tuple[Any, ...] = (None, {}, {"event_id": []}, {"event_id": "a\0b"})
RELATIONS: tuple[Any, ...] = tuple(
    {"rel_type": rel, "event_id": target, "key": key, "m.in_reply_to": odd}
    for odd in _ODD_REPLIES
    for rel, target, key in (
        ("m.annotation", "$x", odd),
        ("m.replace", odd, "x"),
        ("m.thread", "$x\0", None),
        (odd, "$x", "\0"),
        ("x" * 300, "x" * 300, "x" * 70_00),
        ("m.reference", [], {}),
    )
)


class OddEvents(HostileCase):
    """All of it from somebody who may do everything, so that only its oddity speaks against it."""

    async def tell_all(self, kind: str, key: str | None, contents: list[Any]) -> None:
        """Send such events, each of them following the room as it is."""
        pdus = []
        for content in contents:
            event = self.factory.build("m.x", {}, sender=self.mallory, state_key=key)
            pdus.append(self.sign(event, type=kind, content=content, auth_events=self.auth(kind, key)))
        for at in range(0, len(pdus), 50):
            reply = await self.send(pdus[at : at + 50])
            assert reply.status == 200, (kind, key, reply)

    def auth(self, kind: str, key: str | None) -> list[str]:
        """The auth events of such an event."""
        return list(self.factory.build(kind, {}, sender=self.mallory, state_key=key).auth_events)

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """Give mallory power."""
        await super().setUp()
        levels = self.factory.set_levels(users={self.mallory: 100})
        assert await self.tell(levels, by=self.west) == {}

    async def conclude(self) -> None:
        """We, and the honest, can still do everything, and see everything."""
        self.assert_no_errors()
        await self.us.send(self.room_id, "still here")
        await self.us.sync()
        await self.us.ok("GET", f"/rooms/{self.room_id}/messages", dir="b", limit=1000)
        await self.us.ok("GET", f"/rooms/{self.room_id}/state")
        await self.us.ok("GET", f"/rooms/{self.room_id}/members")
        await self.us.ok("GET", "/_matrix/client/v1" + f"/rooms/{self.room_id}/hierarchy")
        await self.north.restart()
        assert (await self.reloaded()).state("m.room.create") == self.factory.create
        self.us.since = None
        await self.us.sync()
        self.assert_no_errors()

    async def test_odd_fields_of_known_events(self) -> None:
        for (kind, key), names in FIELDS.items():
            contents = [{"membership": "join"} | {name: odd} for name in names for odd in ODD]
            await self.tell_all(kind, self.mallory if key == "mallory" else key, [*contents, {}])
        await self.conclude()

    async def test_odd_relations(self) -> None:
        for kind in ("m.room.message", "m.reaction", "m.room.encrypted", "m.poll.response", "m.sticker"):
            await self.tell_all(kind, None, [{"body": "x", "m.relates_to": each} for each in RELATIONS])
        await self.conclude()

    async def test_odd_types_and_keys(self) -> None:
        for odd in ("", "a\0b", "x" * 255, "п" * 127, "\u202e", "m.room.member", " ", "%s", "'", "$1"):
            await self.tell_all("m.x", odd, [{}])
            await self.tell_all(odd, None, [{}])
            await self.tell_all(odd, "", [{}])
        await self.conclude()

    async def test_odd_fields_of_the_event_itself(self) -> None:
        good = self.factory.build("m.room.message", {"body": "x"}, sender=self.mallory).pdu()
        for name in ("content", "type", "sender", "room_id", "state_key", "prev_events", "auth_events", "depth",
                     "origin_server_ts", "hashes", "signatures", "unsigned", "redacts", "event_id", "x"):  # fmt: skip
            reply = await self.send([{**good, name: odd} for odd in ODD])
            assert reply.status == 200, (name, reply)
        await self.conclude()

    async def test_odd_edus_and_bodies(self) -> None:
        kinds = ("m.typing", "m.receipt", "m.presence", "m.direct_to_device", "m.device_list_update",
                 "m.signing_key_update", "org.matrix.signing_key_update", "x", "", None)  # fmt: skip
        names = ("room_id", "user_id", "typing", "push", "messages", "sender", "type", "message_id", "device_id",
                 "stream_id", "prev_id", "deleted", "keys", "master_key", "self_signing_key", self.room_id)  # fmt: skip
        users = {UserID(self.us.user_id), self.mallory}
        for kind in kinds:
            contents: list[Any] = [*ODD, *[{name: odd} for name in names for odd in ODD]]
            contents += [{"user_id": user, "room_id": self.room_id, name: odd}
                         for user in users for name in names for odd in ODD]  # fmt: skip
            for at in range(0, len(contents), 100):
                edus = [{"edu_type": kind, "content": content} for content in contents[at : at + 100]]
                reply = await self.send([], edus=edus)
                assert reply.status == 200, (kind, reply)
        for odd in ODD:
            assert (await self.send([odd], edus=[odd])).status == 200
        await self.conclude()


class OddEventsOnPostgreSQL(OddEvents):
    """The same on the other database."""

    dialects = ("postgresql", "sqlite")
