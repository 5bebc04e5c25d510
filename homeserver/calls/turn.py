"""Access to TURN servers, by which calls find a way through home routers and school firewalls.

With a secret that is shared with those servers everybody gets credentials of their own, which end by themselves: the
name is the time of their end and the person, the password its HMAC-SHA1 (the TURN REST API, as coturn has it).

Spec: client-server-api#get_matrixclientv3voipturnserver
"""

import hmac
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha1

from config.settings import Turn
from federation.ids import UserID
from homeserver.policy import PlaceCall, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAccess:
    """What lets a client use the servers at `uris`, for `ttl` seconds."""

    username: str
    password: str
    uris: tuple[str, ...]
    ttl: int


class TurnServers:
    """Gives access to the TURN servers of the configuration."""

    def __init__(self, settings: Turn, policy: Policy, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._policy = policy
        self._now_ms = now_ms

    async def find_access(self, user_id: UserID) -> TurnAccess | None:
        """Access for somebody, None where there are no such servers.

        Raises: Refused for who may not call.
        """
        await self._policy.check(PlaceCall(by=user_id))
        settings, ttl = self._settings, self._settings.user_lifetime_ms // 1000
        if not settings.uris:
            return None
        if settings.shared_secret is not None:
            username = f"{self._now_ms() // 1000 + ttl}:{user_id}"
            code = hmac.new(settings.shared_secret.encode(), username.encode(), sha1).digest()
            password = b64encode(code).decode()
        else:
            username, password = settings.username or "", settings.password or ""
        return TurnAccess(username=username, password=password, uris=settings.uris, ttl=ttl)
