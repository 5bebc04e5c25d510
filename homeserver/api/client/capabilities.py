"""What this server can and this person may, so that clients offer no more.

Spec: client-server-api#capabilities-negotiation
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from federation.versions import ROOM_VERSIONS
from homeserver.api.route import Call, Reply, Route
from homeserver.policy import Policy, SetProfile, allows

_ASKED_FIELDS = ("displayname", "avatar_url", "m.tz", "m.example_field")
"""The fields that clients know how to set, and one that stands for all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the configuration says: the version of new rooms, whether people may let themselves in on another device
    (`login_tokens`), and the bounds of delayed events.
    """

    default_version: str
    login_tokens: bool = False
    delayed: Mapping[str, int] = field(default_factory=dict)


def routes(policy: Policy, abilities: Abilities) -> tuple[Route, ...]:
    """The endpoint of capabilities."""
    api = _CapabilitiesAPI(policy, abilities)
    return (
        Route(
            method="GET",
            path="/_matrix/client/v3/capabilities",
            handle=api.see,
            rate="other",
            spec="client-server-api#get_matrixclientv3capabilities",
        ),
    )


class _CapabilitiesAPI:
    def __init__(self, policy: Policy, abilities: Abilities) -> None:
        self._policy = policy
        self._abilities = abilities
        stability = {name: "stable" if version.stable else "unstable" for name, version in ROOM_VERSIONS.items()}
        self._rooms = {"default": abilities.default_version, "available": stability}

    async def see(self, call: Call) -> Reply:
        session = call.caller
        fields = {
            name: await allows(
                self._policy, SetProfile(by=session.user_id, person=session.user_id, field=name, value=None)
            )
            and (session.kind != "guest" or name == "displayname")
            for name in _ASKED_FIELDS
        }
        return {
            "capabilities": {
                "m.change_password": {"enabled": session.kind == "user"},
                "m.room_versions": self._rooms,
                "m.profile_fields": _profile_fields(fields),
                "m.set_displayname": {"enabled": fields["displayname"]},
                "m.set_avatar_url": {"enabled": fields["avatar_url"]},
                "m.3pid_changes": {"enabled": False},
                "m.get_login_token": {"enabled": self._abilities.login_tokens and session.kind == "user"},
                "org.matrix.msc4140.delayed_events": self._abilities.delayed,
                "m.forget_forced_upon_leave": {"enabled": False},
                **({"m.account_moderation": {"lock": True, "suspend": True}} if session.admin else {}),
            }
        }


def _profile_fields(fields: dict[str, bool]) -> dict[str, Any]:
    """The fields one may set: all but some, only some, or none.

    Spec: client-server-api#mprofile_fields-capability
    """
    named = _ASKED_FIELDS[:-1]
    if fields[_ASKED_FIELDS[-1]]:
        forbidden = [name for name in named if not fields[name]]
        return {"enabled": True, "disallowed": forbidden} if forbidden else {"enabled": True}
    allowed = [name for name in named if fields[name]]
    return {"enabled": True, "allowed": allowed} if allowed else {"enabled": False}
