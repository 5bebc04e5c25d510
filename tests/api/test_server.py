"""The whole server, put together: what people do, one after the other, and what every endpoint keeps to."""

import msgspec
from twisted.internet.defer import Deferred

from tests.kit.callers import PASSWORD
from tests.kit.people import V3
from tests.kit.server import ServerCase

OPEN = {
    ("GET", "/_matrix/static/client/login/"),
    ("GET", "/_matrix/client/v3/auth/{authType}/fallback/web"),
    ("POST", "/_matrix/client/v3/auth/{authType}/fallback/web"),
    ("GET", "/_matrix/client/unstable/io.element.msc4388/rendezvous"),
    ("POST", "/_matrix/client/unstable/io.element.msc4388/rendezvous"),
    ("GET", "/_matrix/client/unstable/io.element.msc4388/rendezvous/{rendezvousId}"),
    ("PUT", "/_matrix/client/unstable/io.element.msc4388/rendezvous/{rendezvousId}"),
    ("DELETE", "/_matrix/client/unstable/io.element.msc4388/rendezvous/{rendezvousId}"),
    ("POST", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"),
    ("GET", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/{rendezvousId}"),
    ("PUT", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/{rendezvousId}"),
    ("DELETE", "/_matrix/client/unstable/org.matrix.msc4108/rendezvous/{rendezvousId}"),
    ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity"),
    ("GET", "/_matrix/client/v3/directory/list/room/{roomId}"),
    ("GET", "/_matrix/client/v3/directory/room/{roomAlias}"),
    ("GET", "/.well-known/matrix/policy_server"),
    ("GET", "/_matrix/client/v1/auth_metadata"),
    ("GET", "/_matrix/client/v3/login/sso/redirect"),
    ("GET", "/_matrix/client/v3/login/sso/redirect/{idpId}"),
    ("GET", "/_matrix/client/v3/login"),
    ("GET", "/_matrix/client/v3/profile/{userId}"),
    ("GET", "/_matrix/client/v3/profile/{userId}/avatar_url"),
    ("GET", "/_matrix/client/v3/profile/{userId}/displayname"),
    ("GET", "/_matrix/client/v3/profile/{userId}/{keyName}"),
    ("GET", "/_matrix/client/v3/publicRooms"),
    ("GET", "/_matrix/client/v3/register/available"),
    ("GET", "/_matrix/client/versions"),
    ("GET", "/_synapse/admin/v1/server_version"),
    ("GET", "/metrics"),
    ("POST", "/_matrix/client/v3/account/3pid/email/requestToken"),
    ("POST", "/_matrix/client/v3/account/3pid/msisdn/requestToken"),
    ("POST", "/_matrix/client/v3/account/deactivate"),
    ("POST", "/_matrix/client/v3/account/password"),
    ("POST", "/_matrix/client/v3/account/password/email/requestToken"),
    ("POST", "/_matrix/client/v3/account/password/msisdn/requestToken"),
    ("POST", "/_matrix/client/v3/login"),
    ("POST", "/_matrix/client/v3/refresh"),
    ("POST", "/_matrix/client/v3/register"),
    ("POST", "/_matrix/client/v3/register/email/requestToken"),
    ("POST", "/_matrix/client/v3/register/msisdn/requestToken"),
}
"""The endpoints that need no token: each of them is a door for strangers, and looked at as one."""


class Talking(ServerCase):
    """People in rooms."""

    async def test_what_is_said_is_heard_also_after_a_restart(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        await bob.sync()
        first = await alice.send(room, "hi", txn="1")
        heard = await bob.sync()
        assert [event["event_id"] for event in heard["rooms"]["join"][room]["timeline"]["events"]] == [first]
        await self.restart()
        assert await alice.send(room, "hi", txn="1") == first
        await bob.send(room, "ho")
        assert await alice.texts(room) == ["ho", "hi"]
        heard = await bob.sync()
        assert [event["content"]["body"] for event in heard["rooms"]["join"][room]["timeline"]["events"]] == ["ho"]

    async def test_a_sync_that_waits_is_woken_by_a_message(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        await bob.sync()
        waiting = Deferred.fromCoroutine(bob.sync(timeout=30_000))
        await alice.send(room, "hi")
        assert room in (await waiting)["rooms"]["join"]

    async def test_a_file_goes_up_and_comes_down_for_those_in_the_room(self) -> None:
        alice, bob = await self.register("alice"), await self.register("bob")
        room = await alice.create_room()
        uri = await alice.upload(b"some words")
        await alice.send_event(room, "m.room.message", {"msgtype": "m.file", "body": "words", "url": uri})
        path = uri.replace("mxc://", "/_matrix/client/v1/media/download/")
        assert (await alice.call("GET", path)).body == b"some words"
        assert (await bob.call("GET", path)).body == b"some words"  # without a school, whoever has the address may

    async def test_a_changed_name_is_shown_in_rooms(self) -> None:
        alice = await self.register("alice")
        room = await alice.create_room()
        await alice.ok("PUT", f"/profile/{alice.user_id}/displayname", {"displayname": "Alice"})
        member = await alice.ok("GET", f"/rooms/{room}/state/m.room.member/{alice.user_id}")
        assert member["displayname"] == "Alice"

    async def test_who_logs_out_hears_nothing_more(self) -> None:
        alice = await self.register("alice")
        await alice.sync()
        phone = await self.log_in("alice", PASSWORD)
        await phone.sync()
        waiting = Deferred.fromCoroutine(phone.call("GET", "/sync", since=phone.since, timeout=30_000))
        await alice.ok("DELETE", f"/devices/{phone.device_id}", {"auth": {
            "type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": PASSWORD,
        }})  # fmt: skip
        await waiting
        assert (await phone.refused("GET", "/sync", since=phone.since)) == (401, "M_UNKNOWN_TOKEN")


class Endpoints(ServerCase):
    """What holds for every endpoint there is."""

    def _routes(self) -> list[tuple[str, str, str]]:
        bound = self.factory.edge._bound  # type: ignore[attr-defined]  # what the listener answers
        return [(route.method, route.path, route.auth) for route in bound]

    async def test_none_is_open_to_who_has_no_token(self) -> None:
        opened = set()
        for method, path, auth in self._routes():
            where = path.replace("{", "").replace("}", "")
            for token in (None, "junk"):
                reply = await self.call(method, where, {}, token=token)
                if auth in ("user", "admin"):
                    errcode = "M_MISSING_TOKEN" if token is None else "M_UNKNOWN_TOKEN"
                    assert (reply.status, reply.errcode) == (401, errcode), (method, path, reply)
                else:
                    opened.add((method, path))
        assert opened == OPEN

    async def test_none_answers_junk_with_a_fault_of_ours(self) -> None:
        alice = await self.register("alice")
        for method, path, _ in self._routes():
            where = path.replace("{", "%01").replace("}", "%F0%9F%98%80")
            for body in (b"{}", b"[]", b"", b"{", b"\xff", b'{"a":' * 100 + b"1" + b"}" * 100, b"null"):
                if where.endswith(("/logout", "/logout/all", "/deactivate")):
                    continue
                reply = await self.call(method, where + "?limit=x&since=%ff&dir=q", token=alice.token, body=body)
                assert reply.status < 500, (method, path, body, reply)
                if reply.status >= 400:
                    assert set(msgspec.json.decode(reply.body)) >= {"errcode", "error"} or reply.status == 401

    async def test_every_one_answers_options_and_other_methods_as_specified(self) -> None:
        for _, path, _ in self._routes():
            where = path.replace("{", "").replace("}", "")
            reply = await self.call("OPTIONS", where)
            assert reply.status == 200, path
            reply = await self.call("PATCH", where)
            assert (reply.status, reply.errcode) == (405, "M_UNRECOGNIZED"), path

    async def test_the_server_tells_what_it_speaks_and_no_address_that_it_does_not_know(self) -> None:
        spoken = (await self.call("GET", "/_matrix/client/versions")).json
        assert spoken["versions"] == [f"v1.{number}" for number in range(1, 20)]
        assert spoken["unstable_features"]["org.matrix.e2e_cross_signing"] is True
        assert (await self.call("GET", "/.well-known/matrix/client")).status == 404

    async def test_r0_answers_as_v3(self) -> None:
        alice = await self.register("alice")
        assert (await alice.ok("GET", "/_matrix/client/r0/account/whoami"))["user_id"] == alice.user_id


class Announced(ServerCase):
    """A server that has an address for clients."""

    configuration = {"public_base_url": "https://parta.test", "identity_server": "https://id.test"}

    async def test_clients_find_it(self) -> None:
        reply = await self.call("GET", "/.well-known/matrix/client")
        assert reply.json == {
            "m.homeserver": {"base_url": "https://parta.test"},
            "m.identity_server": {"base_url": "https://id.test"},
        }
        assert reply.headers["access-control-allow-origin"] == "*"


class Resources(ServerCase):
    """Listeners that answer less than everything."""

    configuration = {"listeners": [{"port": 0, "resources": ["metrics"]}]}

    async def test_what_is_not_named_is_not_there(self) -> None:
        assert (await self.call("GET", "/metrics")).status == 200
        for path in ("/_matrix/client/versions", f"{V3}/login", "/_synapse/admin/v1/register"):
            assert (await self.call("GET", path)).status == 404


class Alone(ServerCase):
    """A server that talks to no other."""

    async def test_keys_of_people_of_other_servers_fail_for_their_server(self) -> None:
        alice, far = await self.register("alice"), "@bob:far.example"
        for path, body, keys in (
            ("/keys/query", {"device_keys": {far: [], alice.user_id: []}}, "device_keys"),
            ("/keys/claim", {"one_time_keys": {far: {"PHONE": "signed_curve25519"}}}, "one_time_keys"),
        ):
            answer = await alice.ok("POST", path, body)
            assert set(answer["failures"]) == {"far.example"}, answer
            assert far not in answer[keys]
        unknown = await alice.ok("POST", "/keys/query", {"device_keys": {"@nobody:parta.test": []}})
        assert unknown["failures"] == {}
