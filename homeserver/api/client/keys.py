"""Publish, ask for and claim end-to-end encryption keys; cross-signing.

Spec: client-server-api#key-management-api
"""

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, Struct

from federation.ids import DeviceID, UserID, parse_user_id
from homeserver.accounts.interactive import Auth, Interactive
from homeserver.api.client.interactive import build_operation, prove
from homeserver.api.errors import MatrixError
from homeserver.api.route import Call, Reply, Route
from homeserver.devices.crosssigning import CrossSigning
from homeserver.devices.keys import Keys, KeyUpload, parse_identity_keys, parse_one_time_keys
from homeserver.storage.keys import Usage
from homeserver.sync.tokens import parse_token

_KEYS = "/_matrix/client/v3/keys"
_ANCHOR = "client-server-api#post_matrixclientv3keys"
MOST_PATIENCE_MS: Final = 30_000
"""How long other servers are waited for at most."""

Patience: TypeAlias = Annotated[int, Meta(ge=0)]
"""How long the client would wait for other servers, in ms."""


class UploadBody(Struct, frozen=True):
    """The keys a device publishes.

    Spec: client-server-api#post_matrixclientv3keysupload
    """

    device_keys: dict[str, Any] | None = None
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None


class QueryBody(Struct, frozen=True):
    """Whose keys are asked for."""

    device_keys: dict[str, list[DeviceID]]
    timeout: Patience = MOST_PATIENCE_MS // 3


class ClaimBody(Struct, frozen=True):
    """Of which devices one-time keys are claimed: by person and device, the algorithm."""

    one_time_keys: dict[str, dict[DeviceID, str]]
    timeout: Patience = MOST_PATIENCE_MS // 3


class CrossSigningBody(Struct, frozen=True):
    """New cross-signing keys.

    Spec: client-server-api#post_matrixclientv3keysdevice_signingupload
    """

    master_key: dict[str, Any] | None = None
    self_signing_key: dict[str, Any] | None = None
    user_signing_key: dict[str, Any] | None = None
    auth: Auth | None = None


def routes(keys: Keys, cross_signing: CrossSigning, interactive: Interactive) -> tuple[Route, ...]:
    """The endpoints of keys; that of cross-signing keys also under the name it had as a proposal, which clients use."""
    api = _KeysAPI(keys, cross_signing, interactive)
    return (
        _post("upload", api.upload, UploadBody),
        _post("query", api.query, QueryBody),
        _post("claim", api.claim, ClaimBody),
        _post("device_signing/upload", api.upload_cross_signing, CrossSigningBody),
        Route(
            method="POST",
            path="/_matrix/client/unstable/keys/device_signing/upload",
            handle=api.upload_cross_signing,
            rate="keys",
            spec="MSC1756",
            body=CrossSigningBody,
        ),
        _post("signatures/upload", api.upload_signatures, dict[str, dict[str, Any]]),
        Route(
            method="GET",
            path=f"{_KEYS}/changes",
            handle=api.changes,
            rate="keys",
            spec="client-server-api#get_matrixclientv3keyschanges",
        ),
    )


def _post(name: str, handle: Any, body: Any) -> Route:
    spec = _ANCHOR + name.replace("/", "")
    return Route(method="POST", path=f"{_KEYS}/{name}", handle=handle, rate="keys", spec=spec, body=body)


class _KeysAPI:
    def __init__(self, keys: Keys, cross_signing: CrossSigning, interactive: Interactive) -> None:
        self._keys = keys
        self._cross_signing = cross_signing
        self._interactive = interactive

    async def upload(self, call: Call) -> Reply:
        body: UploadBody = call.body
        user_id, device_id = call.caller.user_id, call.device
        upload = KeyUpload(
            identity=parse_identity_keys(body.device_keys, user_id, device_id) if body.device_keys else None,
            one_time=parse_one_time_keys(body.one_time_keys or {}),
            fallback=parse_one_time_keys(body.fallback_keys or {}),
        )
        return {"one_time_key_counts": await self._keys.upload(user_id, device_id, upload)}

    async def query(self, call: Call) -> Reply:
        body: QueryBody = call.body
        wanted = {parse_user_id(person): device_ids for person, device_ids in body.device_keys.items()}
        found = await self._keys.query(call.caller.user_id, wanted, _patience(body.timeout))
        return {
            "device_keys": found.devices,
            "master_keys": found.master,
            "self_signing_keys": found.self_signing,
            "user_signing_keys": found.user_signing,
            "failures": found.failures,
        }

    async def claim(self, call: Call) -> Reply:
        body: ClaimBody = call.body
        wanted = {parse_user_id(person): by_device for person, by_device in body.one_time_keys.items()}
        claimed = await self._keys.claim(call.caller.user_id, wanted, _patience(body.timeout))
        return {"one_time_keys": claimed.keys, "failures": claimed.failures}

    async def upload_cross_signing(self, call: Call) -> Reply:
        body: CrossSigningBody = call.body
        given: dict[Usage, dict[str, Any] | None] = {
            "master": body.master_key,
            "self_signing": body.self_signing_key,
            "user_signing": body.user_signing_key,
        }
        uploaded = {usage: key for usage, key in given.items() if key is not None}
        upload = await self._cross_signing.prepare(call.caller.user_id, uploaded)
        if upload.is_weighty and call.caller.service_id is None:
            await prove(call, self._interactive, build_operation(call, "POST /keys/device_signing/upload"))
        if not await self._cross_signing.replace(upload):
            raise MatrixError(409, "M_UNKNOWN", "Another device uploaded keys at the same time")
        return {}

    async def upload_signatures(self, call: Call) -> Reply:
        signed: dict[UserID, dict[str, Any]] = {parse_user_id(person): keys for person, keys in call.body.items()}
        return {"failures": await self._cross_signing.sign(call.caller.user_id, signed)}

    async def changes(self, call: Call) -> Reply:
        since = parse_token(call.query.need("from")).position
        parse_token(call.query.need("to"))
        changed, left = await self._keys.changes(call.caller.user_id, since)
        return {"changed": sorted(changed), "left": sorted(left)}


def _patience(timeout_ms: int) -> float:
    """For how many seconds other servers are waited for."""
    return min(timeout_ms, MOST_PATIENCE_MS) / 1000
