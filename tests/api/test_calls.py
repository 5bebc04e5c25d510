"""Who is given access to the servers that carry calls."""

import hmac
from base64 import b64encode
from hashlib import sha1
from typing import Any

from tests.kit.district import OFFICE, DistrictCase
from tests.kit.server import ServerCase

TURN = "/voip/turnServer"
RTC = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
URIS = ["turn:turn.parta.test:3478?transport=udp", "turns:turn.parta.test:443?transport=tcp"]
LIVEKIT = {"type": "livekit", "livekit_service_url": "https://calls.parta.test"}


class WithASecret(ServerCase):
    configuration: dict[str, Any] = {
        "public_base_url": "https://parta.test",
        "turn": {"uris": URIS, "shared_secret": "squeamish", "user_lifetime_ms": 90_000},
        "rtc_transports": [LIVEKIT],
    }

    async def test_everybody_gets_credentials_of_their_own_that_end(self) -> None:
        alice = await self.register("alice")
        got = await alice.ok("GET", TURN)
        self.assertEqual((got["uris"], got["ttl"]), (URIS, 90))
        end, _, user_id = got["username"].partition(":")
        self.assertEqual(user_id, alice.user_id)
        self.assertTrue(0 <= int(end) - self.server.core.world.now_ms() // 1000 <= 90)
        code = hmac.new(b"squeamish", got["username"].encode(), sha1).digest()
        self.assertEqual(got["password"], b64encode(code).decode())

    async def test_strangers_get_none(self) -> None:
        for path in ("/_matrix/client/v3" + TURN, RTC):
            reply = await self.call("GET", path)
            self.assertEqual((reply.status, reply.errcode), (401, "M_MISSING_TOKEN"))

    async def test_calls_of_many_have_their_transports(self) -> None:
        alice = await self.register("alice")
        self.assertEqual(await alice.ok("GET", RTC), {"rtc_transports": [LIVEKIT]})
        found = (await self.call("GET", "/.well-known/matrix/client")).json
        self.assertEqual(found["org.matrix.msc4143.rtc_foci"], [LIVEKIT])


class WithALogin(ServerCase):
    configuration: dict[str, Any] = {"turn": {"uris": URIS, "username": "u", "password": "p"}}

    async def test_everybody_gets_that_login(self) -> None:
        alice = await self.register("alice")
        got = await alice.ok("GET", TURN)
        self.assertEqual(got, {"username": "u", "password": "p", "uris": URIS, "ttl": 3600})


class WithoutServers(ServerCase):
    async def test_there_is_nothing_to_be_had(self) -> None:
        alice = await self.register("alice")
        self.assertEqual(await alice.ok("GET", TURN), {})
        self.assertEqual(await alice.refused("GET", RTC), (404, "M_UNRECOGNIZED"))


class AtSchool(DistrictCase):
    configuration: dict[str, Any] = {**DistrictCase.configuration, **WithASecret.configuration}

    async def test_adults_of_the_school_may_call_and_pupils_may_not(self) -> None:
        for login in ("teacher1", "parent1"):
            adult = await self.sign_in(login)
            self.assertEqual((await adult.ok("GET", TURN))["ttl"], 90)
            self.assertEqual(await adult.ok("GET", RTC), {"rtc_transports": [LIVEKIT]})
        pupil = await self.sign_in("pupil1")
        for path in (TURN, RTC):
            self.assertEqual(await pupil.refused("GET", path), (403, "M_FORBIDDEN"))

    async def test_who_is_dismissed_may_not(self) -> None:
        teacher = await self.sign_in("teacher1")
        office = await self.sign_in("admin1")
        await office.ok("POST", f"{OFFICE}/{self.org_id}/people/{teacher.user_id}/dismiss")
        teacher = await self.sign_in("teacher1")
        for path in (TURN, RTC):
            self.assertEqual(await teacher.refused("GET", path), (403, "M_FORBIDDEN"))
