"""What the server can and a person may."""

from typing import Any

from federation.errors import Refused
from federation.versions import ROOM_VERSIONS
from homeserver.policy import Act, SetProfile
from tests.kit.doors import Client, DoorsCase, Judge


class FieldJudge(Judge):
    """Refuses to set certain profile fields."""

    def __init__(self, *fields: str) -> None:
        super().__init__()
        self.fields = fields

    async def check(self, act: Act, /) -> None:
        if isinstance(act, SetProfile) and act.field in self.fields:
            raise Refused("test", "not this field")


class Capabilities(DoorsCase):
    async def see(self, client: Client) -> Any:
        reply = await client.call("GET", "/capabilities")
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json["capabilities"]

    async def test_a_plain_server_lets_people_set_what_they_like(self) -> None:
        seen = await self.see(await self.register("alice"))
        enabled = {name: what["enabled"] for name, what in seen.items() if "enabled" in what}
        self.assertEqual(
            enabled,
            {
                "m.change_password": True,
                "m.profile_fields": True,
                "m.set_displayname": True,
                "m.set_avatar_url": True,
                "m.3pid_changes": False,
                "m.get_login_token": False,
                "m.forget_forced_upon_leave": False,
            },
        )
        self.assertEqual(seen["m.room_versions"]["default"], "12")
        self.assertEqual(set(seen["m.room_versions"]["available"]), set(ROOM_VERSIONS))

    async def test_what_the_policy_keeps_is_not_offered(self) -> None:
        alice = await self.register("alice")
        others = "m.example_field"
        for refused, fields, name, avatar in (
            (("displayname",), {"enabled": True, "disallowed": ["displayname"]}, False, True),
            (("displayname", "m.tz", others), {"enabled": True, "allowed": ["avatar_url"]}, False, True),
            (("displayname", "avatar_url", "m.tz", others), {"enabled": False}, False, False),
        ):
            self.policy = FieldJudge(*refused)
            self.build()
            seen = await self.see(alice)
            self.assertEqual(seen["m.profile_fields"], fields)
            self.assertEqual(
                (seen["m.set_displayname"]["enabled"], seen["m.set_avatar_url"]["enabled"]), (name, avatar)
            )

    async def test_a_guest_has_no_password_and_only_a_name(self) -> None:
        seen = await self.see(self.client(await self.call("POST", "/register?kind=guest", {})))
        self.assertEqual(seen["m.change_password"], {"enabled": False})
        self.assertEqual(seen["m.profile_fields"], {"enabled": True, "allowed": ["displayname"]})

    async def test_they_are_for_who_has_signed_in(self) -> None:
        self.assert_refused(await self.call("GET", "/capabilities"), 401, "M_MISSING_TOKEN")
