"""Who says it: requests and events that are signed wrongly, by or for somebody else; keys that change."""

from typing import Any

import msgspec

from federation import canonical
from federation.ids import ServerName
from federation.requests import build_request_auth
from federation.signatures import sign_json
from tests.kit.elsewhere import Said
from tests.kit.hostile import DAY_MS, HostileCase, forge, id_of
from tests.kit.peer import FEDERATION
from tests.kit.region import now_ms
from tests.kit.rooms import signing_key
from tests.kit.wire import Reply


class Requests(HostileCase):
    """A transaction with one thing wrong about its signature; what is in it is good."""

    async def put(self, *, origin: str | None = None, **wrong: Any) -> Reply:
        """Send evil's next message, with that changed about how the request is signed."""
        pdu = self.factory.build("m.room.message", {"body": "x"}, sender=self.mallory).pdu()
        body = {"origin": self.evil.name, "origin_server_ts": now_ms(), "pdus": [pdu], "edus": []}
        path = f"{FEDERATION}send/signed"
        content = wrong.get("signed", body)
        auth = build_request_auth(
            wrong.get("method", "PUT"),
            wrong.get("path", path),
            ServerName(origin or self.evil.name),
            wrong.get("destination", self.north.name),
            content,
            wrong.get("key", self.evil.key),
        )
        auth = wrong.get("spoil", lambda header: header)(auth)
        headers = {"Authorization": auth} if auth else {}
        return await self.north.call_as_server("PUT", path, headers, canonical.encode(body))

    async def expect_unauthorized(self, **wrong: Any) -> None:
        async with self.unharmed():
            reply = await self.put(**wrong)
            assert (reply.status, reply.errcode) == (401, "M_UNAUTHORIZED"), (wrong, reply)

    async def test_a_request_with_any_fact_of_its_signature_wrong_is_not_heard_and_a_good_one_is(self) -> None:
        stranger = signing_key("stranger.test")
        wrong: dict[str, Any]
        for wrong in (
            {"spoil": lambda header: ""},
            {"spoil": lambda header: "Bearer " + self.us.token},
            {"spoil": lambda header: header.replace('sig="', 'sig="A')},
            {"spoil": lambda header: header.replace("ed25519:a_1", "ed25519:a_2")},
            {"key": stranger},
            {"origin": self.west.name},
            {"origin": self.north.name, "key": self.north.key},
            {"destination": self.west.name},
            {"method": "POST"},
            {"path": f"{FEDERATION}send/another"},
            {"signed": {"pdus": []}},
            {"signed": None},
        ):
            await self.expect_unauthorized(**wrong)
        assert (await self.put()).status == 200

    async def test_a_signed_request_is_not_taken_for_one_to_another_server_without_its_destination_signed(self) -> None:
        auth = build_request_auth("GET", f"{FEDERATION}event/x", self.evil.name, self.west.name, None, self.evil.key)
        for header in (auth, auth.replace(f',destination="{self.west.name}"', "")):
            reply = await self.north.call_as_server("GET", f"{FEDERATION}event/x", {"Authorization": header})
            assert reply.status == 401


class Events(HostileCase):
    """Events whose signatures or hashes are wrong, in a transaction that is signed rightly."""

    async def test_an_event_that_its_sender_has_not_signed_is_dropped_and_one_that_was_is_taken(self) -> None:
        good = self.factory.build("m.room.message", {"body": "x"}, sender=self.alice)
        signatures: Any
        for key in (self.evil.key, signing_key("stranger.test"), self.north.key):
            await self.expect_refused(good_with(self.factory, good, key))
        evils = {**good.pdu(), "signatures": {self.evil.name: {"ed25519:a_1": "A" * 86}}}
        for signatures in ({}, evils["signatures"], {self.west.name: {}}, {self.west.name: {"ed25519:a_1": "A" * 86}}):
            await self.expect_refused({**good.pdu(), "signatures": signatures})
        assert await self.tell(good) == {}  # evil may pass it on
        assert (await self.room()).recent[-1].event_id == good.event_id

    async def test_what_is_changed_on_the_way_is_taken_without_its_content(self) -> None:
        message = self.factory.message(self.alice, "true")
        changed = {**message.pdu(), "content": {"msgtype": "m.text", "body": "false"}}
        assert await self.tell(changed) == {}
        (held,) = [held for held in (await self.room()).recent if held.event_id == message.event_id]
        assert held.event.content == {}
        async with self.unharmed():
            assert await self.tell(message) == {}  # it is known; what came first stays

    async def test_an_event_signed_for_another_room_is_not_one_of_this(self) -> None:
        other = type(self.factory)(self.version, creator=self.mallory)
        said = other.message(self.mallory)
        async with self.unharmed():
            await self.tell({**said.pdu(), "room_id": self.room_id}, said)

    async def test_ours_are_not_spoken_for(self) -> None:
        ours = self.factory.build("m.room.message", {"body": "x"}, sender=self.us.user_id)  # type: ignore[arg-type]
        async with self.unharmed():
            await self.tell(good_with(self.factory, ours, self.evil.key))


class ChangedKeys(HostileCase):
    """Keys that a server changes, lies about, or gives for another."""

    async def test_a_key_that_was_taken_out_is_no_more_believed_for_new_events(self) -> None:
        new = signing_key(f"{self.evil.name} new")
        assert await self.tell(self.factory.message(self.mallory, "before")) == {}
        self.evil.publish(
            new, old_verify_keys={self.evil.key.key_id: {"key": self.evil.key.verify_key.encode(), "expired_ts": 1}}
        )
        self.north.late_ms += 2 * DAY_MS  # what was published before is no longer valid
        message = self.factory.build("m.room.message", {"body": "x"}, sender=self.mallory)
        reply = await self.send([message.pdu()])
        assert reply.status == 401

    async def test_what_was_accepted_stays_when_its_server_says_later_that_the_key_never_was_its_own(self) -> None:
        message = self.factory.message(self.mallory, "before")
        assert await self.tell(message) == {}
        self.evil.publish(signing_key(f"{self.evil.name} new"))
        self.north.late_ms += 2 * DAY_MS
        self.west.publish(self.west.key, valid_until_ms=now_ms() + 3 * DAY_MS)
        async with self.unharmed():
            assert await self.tell(message, by=self.west) == {}
        await self.north.restart()
        assert (await self.reloaded()).recent[-1].event_id == message.event_id

    async def test_keys_that_are_not_signed_by_themselves_or_are_anothers_are_not_believed(self) -> None:
        for number, lie in enumerate(
            (
                lambda keys: {**keys, "signatures": {}},
                lambda keys: {**keys, "server_name": self.west.name},
                lambda keys: {**keys, "valid_until_ts": keys["valid_until_ts"] + 1},
                lambda keys: {**keys, "verify_keys": {}},
                lambda keys: sign_json({**keys, "signatures": {}}, self.evil.name, signing_key("other.test")),
                lambda keys: {**keys, "old_verify_keys": {"ed25519:x": []}},
                lambda keys: {},
            )
        ):
            third = self.open_villain()
            third.live_in(self.factory)
            third.publish(third.key)
            third.keys = lie(third.keys) if number != 1 else {**self.west.keys}
            reply = await self.send([], by=third)
            assert reply.status == 401, number
        third = self.open_villain()
        assert (await self.send([], by=third)).status == 200
        self.assert_no_errors()

    async def test_keys_that_never_end_or_are_too_many_are_bounded(self) -> None:
        third = self.open_villain()
        third.said["keys"] = Said(body=b'{"a": "' + b"x" * (1 << 20) + b'"}')
        assert (await self.send([], by=third)).status == 401
        fourth = self.open_villain()
        fourth.publish(fourth.key, valid_until_ms=now_ms() + 3650 * DAY_MS)
        assert (await self.send([], by=fourth)).status == 200
        self.north.late_ms += 8 * DAY_MS  # whatever it said: after a week it is asked again
        fourth.publish(signing_key("another"))
        assert (await self.send([], by=fourth)).status == 401

    async def test_of_very_large_keys_few_are_told_in_one_answer(self) -> None:
        old = {f"ed25519:{number:050}": {"key": "x" * 43, "expired_ts": 1} for number in range(1500)}
        names = []
        for _ in range(5):
            villain = self.open_villain()
            villain.publish(villain.key, old_verify_keys=old)
            villain.keys = sign_json({**villain.keys, "signatures": {}}, villain.name, villain.key)
            names.append(villain.name)
        body = msgspec.json.encode({"server_keys": {name: {} for name in (*names, self.west.name)}})
        reply = await self.north.call_as_server("POST", "/_matrix/key/v2/query", body=body)
        told = {each["server_name"] for each in reply.json["server_keys"]}
        assert self.west.name in told
        assert 1 < len(told) < 6
        assert len(reply.body) < 1 << 20


class LyingNotary(HostileCase):
    """A notary that we trust to repeat what others say, and that says something else."""

    async def test_a_notary_is_believed_only_with_what_the_other_has_signed_itself(self) -> None:
        region = self.make_region("believer", federation={"mode": "open", "notaries": [self.evil.name]})
        await region.begin()
        for number, (signer, vouches, is_believed) in enumerate(
            (("itself", True, True), ("nobody", True, False), ("evil", True, False), ("itself", False, False)), 1
        ):
            away = ServerName(f"127.0.0.1:{number}")
            key = signing_key(away)
            draft: dict[str, Any] = {
                "server_name": away,
                "valid_until_ts": now_ms() + DAY_MS,
                "verify_keys": {key.key_id: {"key": key.verify_key.encode()}},
                "old_verify_keys": {},
            }
            if signer != "nobody":
                draft = sign_json(draft, away, key if signer == "itself" else self.evil.key)
            if vouches:
                draft = sign_json(draft, self.evil.name, self.evil.key)
            self.evil.said["query"] = Said(body=canonical.encode({"server_keys": [None, {"server_name": 5}, draft]}))
            assert (await region.keyring.find_key(away, key.key_id) is not None) == is_believed, (signer, vouches)
        self.assert_no_errors()


def good_with(factory: Any, event: Any, key: Any) -> dict[str, Any]:
    """The event as it is, signed with another key."""
    pdu = forge(factory, event, {}, key)
    assert id_of(factory, pdu) == event.event_id
    return pdu
