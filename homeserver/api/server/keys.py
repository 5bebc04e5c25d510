"""Our keys, and those of others as we know them.

Spec: server-server-api#retrieving-server-keys
"""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from federation import canonical
from federation.ed25519 import SigningKey
from federation.errors import BadIdentifier, Refused
from federation.ids import ServerName, parse_server_name
from federation.keys import ServerKeys
from federation.signatures import sign_json
from federation.transport.keyring import Keyring
from federation.transport.tasks import side_by_side
from homeserver.api.route import Call, Reply, Route

MOST_ASKED: Final = 100
"""How many servers' keys are told in one answer; of those asked for beyond that nothing is said."""

MOST_BYTES: Final = 1 << 19
"""How much of keys is signed anew for one answer: honest ones have one or two kilobytes each."""

Time: TypeAlias = Annotated[int, Meta(ge=0, le=canonical.MAX_INTEGER)]


class Criteria(Struct, frozen=True):
    """What the keys must be good for."""

    minimum_valid_until_ts: Time | None = None


class QueryBody(Struct, frozen=True):
    """Whose keys are wanted: server name to key ID to criteria."""

    server_keys: dict[str, dict[str, Criteria]]


def routes(
    keyring: Keyring, ours: Callable[[], ServerKeys], key: SigningKey, now_ms: Callable[[], int]
) -> tuple[Route, ...]:
    """The endpoints of keys; this server signs what it tells of others with `key`."""
    api = _KeysAPI(keyring, ours, key, now_ms)
    server, query = "/_matrix/key/v2/server", "/_matrix/key/v2/query"
    spec = "server-server-api#get_matrixkeyv2server"
    old = (server, server + "/", server + "/{keyId}")  # older servers name a key, or none behind the slash
    return (
        *(Route(method="GET", path=path, handle=api.see_ours, auth="none", rate="other", spec=spec) for path in old),
        Route(
            method="GET",
            path=query + "/{serverName}",
            handle=api.query_one,
            auth="none",
            rate="keys",
            spec="server-server-api#get_matrixkeyv2queryservername",
        ),
        Route(
            method="POST",
            path=query,
            handle=api.query,
            auth="none",
            rate="keys",
            spec="server-server-api#post_matrixkeyv2query",
            body=QueryBody,
        ),
    )


class _KeysAPI:
    def __init__(
        self, keyring: Keyring, ours: Callable[[], ServerKeys], key: SigningKey, now_ms: Callable[[], int]
    ) -> None:
        self._keyring = keyring
        self._ours = ours
        self._key = key
        self._now_ms = now_ms

    async def see_ours(self, call: Call) -> Reply:
        return self._ours().raw

    async def query_one(self, call: Call) -> Reply:
        until_ms = call.query.int("minimum_valid_until_ts", self._now_ms())
        return await self._answer({call.params["serverName"]: until_ms})

    async def query(self, call: Call) -> Reply:
        body: QueryBody = call.body
        now_ms = self._now_ms()
        return await self._answer(
            {
                server: max((one.minimum_valid_until_ts or now_ms for one in wanted.values()), default=now_ms)
                for server, wanted in islice(body.server_keys.items(), MOST_ASKED)
            }
        )

    async def _answer(self, wanted: Mapping[str, int]) -> Reply:
        """The keys of those servers, as far as they can be had; each good until that time, if it publishes such."""
        found = await side_by_side(self._find(server, until_ms) for server, until_ms in wanted.items())
        told: list[msgspec.Raw] = []
        left = MOST_BYTES
        for keys in found:
            if keys is not None and len(keys.raw) <= left:
                left -= len(keys.raw)
                told.append(self._sign(keys))
        return {"server_keys": told}

    async def _find(self, name: str, until_ms: int) -> ServerKeys | None:
        """One server's keys; None when we have none, or nothing to do with it."""
        try:
            server: ServerName = parse_server_name(name)
            return await self._keyring.find_published(server, lambda keys: until_ms <= keys.valid_until_ms)
        except (BadIdentifier, Refused):
            return None

    def _sign(self, keys: ServerKeys) -> msgspec.Raw:
        """Keys with our signature beside their owner's."""
        ours = self._ours()
        value: Any = canonical.decode(keys.raw)
        signed = value if keys.server_name == ours.server_name else sign_json(value, ours.server_name, self._key)
        return msgspec.Raw(canonical.encode(signed))
