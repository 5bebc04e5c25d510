"""Identity, one-time and fallback keys of devices: published, asked for, claimed.

The server does not check what devices sign: their owners' clients do, and trust the server with nothing.

Spec: client-server-api#key-distribution
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from federation import canonical
from federation.ids import DeviceID, ServerName, UserID, fits
from homeserver.policy import Invalid, NotFound, Policy, QueryKeys, allows
from homeserver.storage import accounts, devices, keys
from homeserver.storage.company import load_key_changes
from homeserver.storage.database import Database, Txn
from homeserver.storage.keys import CrossSigningKey, OneTimeKey, Signature

PATIENCE_S: Final = 10.0
"""How long other servers are waited for, unless the asker says so."""
MOST_ONE_TIME_KEYS: Final = 1_000
"""How many unclaimed one-time keys a device may hold."""


class _Signed(msgspec.Struct):
    """The shape of a device's identity keys.

    Spec: client-server-api#device-keys
    """

    user_id: str
    device_id: str
    algorithms: list[str]
    keys: dict[str, str]
    signatures: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUpload:
    """What a device publishes: its identity keys (canonical JSON) if they are new, one-time and fallback keys."""

    identity: bytes | None = None
    one_time: Sequence[OneTimeKey] = ()
    fallback: Sequence[OneTimeKey] = ()


@dataclass(slots=True, kw_only=True)
class KeyAnswer:
    """The keys that were asked for and may be seen, by person; of devices by device ID too.

    `failures`: the servers that could not be asked, and why.
    """

    devices: dict[UserID, dict[DeviceID, Any]] = field(default_factory=dict)
    master: dict[UserID, Any] = field(default_factory=dict)
    self_signing: dict[UserID, Any] = field(default_factory=dict)
    user_signing: dict[UserID, Any] = field(default_factory=dict)
    failures: dict[ServerName, dict[str, Any]] = field(default_factory=dict)

    def add(self, more: "KeyAnswer") -> None:
        """Add what another answer has."""
        for mine, theirs in (
            (self.devices, more.devices),
            (self.master, more.master),
            (self.self_signing, more.self_signing),
            (self.user_signing, more.user_signing),
        ):
            mine.update(theirs)
        self.failures.update(more.failures)


@dataclass(slots=True, kw_only=True)
class ClaimAnswer:
    """The one-time keys that were claimed, by person and device."""

    keys: dict[UserID, dict[DeviceID, dict[str, msgspec.Raw]]] = field(default_factory=dict)
    failures: dict[ServerName, dict[str, Any]] = field(default_factory=dict)


class Elsewhere(Protocol):
    """Finds keys of people of other servers; who is of this one is passed over."""

    async def query(self, asker: UserID, wanted: Mapping[UserID, Sequence[DeviceID]], timeout_s: float) -> KeyAnswer:
        """Give the keys of people's devices, and their cross-signing keys."""

    async def claim(self, wanted: Mapping[UserID, Mapping[DeviceID, str]], timeout_s: float) -> ClaimAnswer:
        """Take one-time keys."""


def parse_identity_keys(device_keys: Mapping[str, Any], user_id: UserID, device_id: DeviceID) -> bytes:
    """The identity keys of that device as they are kept: canonical JSON, with no signatures but the owner's.

    Raises:
        Invalid: They are malformed, or another device's.
        BadJSON: They have no canonical form.

    Spec: client-server-api#device-keys
    """
    try:
        signed = msgspec.convert(device_keys, _Signed)
    except msgspec.ValidationError as fault:
        raise Invalid("M_BAD_JSON", f"Not the keys of a device: {fault}") from None
    if (signed.user_id, signed.device_id) != (user_id, device_id):
        raise Invalid("M_INVALID_PARAM", "These are not the keys of this device")
    own = {signer: by_key for signer, by_key in signed.signatures.items() if signer == user_id}
    kept = {name: value for name, value in device_keys.items() if name != "unsigned"}
    return canonical.encode({**kept, "signatures": own})


def parse_one_time_keys(named: Mapping[str, Any]) -> list[OneTimeKey]:
    """One-time or fallback keys, by ``algorithm:key_id``; each a string, or an object with a string `key`.

    Raises:
        Invalid: A name or a key is malformed.
        BadJSON: A key has no canonical form.

    Spec: client-server-api#key-algorithms
    """
    return [_parse_one_time_key(name, key) for name, key in named.items()]


def _parse_one_time_key(name: str, key: Any) -> OneTimeKey:
    algorithm, colon, key_id = name.partition(":")
    if not (algorithm and colon and key_id and fits(name)):
        raise Invalid("M_INVALID_PARAM", "A key is named algorithm:key_id")
    if not isinstance(key, str) and not (isinstance(key, dict) and isinstance(key.get("key"), str)):
        raise Invalid("M_BAD_JSON", "A key is a string, or an object with a key")
    return OneTimeKey(algorithm, key_id, canonical.encode(key))


class Keys:
    """The keys of people, for those who may see them; those of other servers are found by `elsewhere`."""

    elsewhere: Elsewhere | None = None

    def __init__(self, database: Database, policy: Policy) -> None:
        self._database = database
        self._policy = policy

    async def upload(self, user_id: UserID, device_id: DeviceID, upload: KeyUpload) -> dict[str, int]:
        """Publish keys of a device; gives how many of its one-time keys are unclaimed, by algorithm.

        Raises:
            Invalid: Another one-time key has one of the names, or there are too many.

        Spec: client-server-api#post_matrixclientv3keysupload
        """
        return await self._database.write(publish, user_id, device_id, upload)

    async def query(
        self, asker: UserID, wanted: Mapping[UserID, Sequence[DeviceID]], timeout_s: float = PATIENCE_S
    ) -> KeyAnswer:
        """Give the keys of people's devices (with no device IDs: of all), and their cross-signing keys.

        Who is unknown, or not for the asker to see, is missing.

        Spec: client-server-api#post_matrixclientv3keysquery
        """
        allowed = {person: frozenset(wanted[person]) for person in await self._allowed(asker, wanted)}
        answer = await self._database.read(read_keys, asker, allowed)
        if self.elsewhere is not None:
            answer.add(await self.elsewhere.query(asker, {person: wanted[person] for person in allowed}, timeout_s))
        return answer

    async def claim(
        self, asker: UserID, wanted: Mapping[UserID, Mapping[DeviceID, str]], timeout_s: float = PATIENCE_S
    ) -> ClaimAnswer:
        """Take a one-time key of that algorithm from each device; nobody else is ever given the same one.

        Spec: client-server-api#post_matrixclientv3keysclaim
        """
        allowed = {person: wanted[person] for person in await self._allowed(asker, wanted)}
        answer = ClaimAnswer() if self.elsewhere is None else await self.elsewhere.claim(allowed, timeout_s)
        answer.keys.update(await self._database.write(take_keys, allowed))
        return answer

    async def changes(self, user_id: UserID, since: int) -> tuple[set[UserID], set[UserID]]:
        """What a person missed since a stream position: whose keys changed, of those they share a room with (and their
        own), and who shares an encrypted one with them by now; and with whom they share no encrypted room any more.

        Spec: client-server-api#get_matrixclientv3keyschanges
        """
        return await self._database.read(load_key_changes, user_id, since)

    async def _allowed(self, asker: UserID, people: Iterable[UserID]) -> list[UserID]:
        return [
            person
            for person in people
            if person == asker or await allows(self._policy, QueryKeys(by=asker, person=person))
        ]


def publish(txn: Txn, user_id: UserID, device_id: DeviceID, upload: KeyUpload) -> dict[str, int]:
    """Publish keys of a device in a unit of work, as :meth:`Keys.upload` does.

    Raises:
        NotFound: There is no such device.
        Invalid: As there.
    """
    if devices.find_device(txn, user_id, device_id) is None:
        raise NotFound("This device was removed")
    if upload.identity is not None and upload.identity != keys.find_device_keys(txn, user_id, device_id):
        keys.set_device_keys(txn, user_id, device_id, upload.identity)
    if upload.one_time:
        held = keys.load_one_time_keys(txn, user_id, device_id)
        if any(held.get((key.algorithm, key.key_id), key.key) != key.key for key in upload.one_time):
            raise Invalid("M_INVALID_PARAM", "There is another one-time key of that name")
        new = [key for key in upload.one_time if (key.algorithm, key.key_id) not in held]
        if len(held) + len(new) > MOST_ONE_TIME_KEYS:
            raise Invalid("M_INVALID_PARAM", f"A device has at most {MOST_ONE_TIME_KEYS} one-time keys")
        if new:
            keys.append_one_time_keys(txn, user_id, device_id, new)
    for key in upload.fallback:
        keys.set_fallback_key(txn, user_id, device_id, key)
    return keys.count_one_time_keys(txn, user_id, device_id)


def take_keys(
    txn: Txn, wanted: Mapping[UserID, Mapping[DeviceID, str]]
) -> dict[UserID, dict[DeviceID, dict[str, msgspec.Raw]]]:
    """The unit of a claim: what is given is gone with the same commit."""
    by_algorithm: dict[str, list[tuple[UserID, DeviceID]]] = {}
    for person, by_device in wanted.items():
        for device_id, algorithm in by_device.items():
            by_algorithm.setdefault(algorithm, []).append((person, device_id))
    claimed: dict[UserID, dict[DeviceID, dict[str, msgspec.Raw]]] = {}
    for algorithm, devices_of in by_algorithm.items():
        for (person, device_id), key in keys.take_one_time_keys(txn, algorithm, devices_of).items():
            claimed.setdefault(person, {})[device_id] = {f"{algorithm}:{key.key_id}": msgspec.Raw(key.key)}
    return claimed


def read_keys(txn: Txn, asker: UserID, wanted: Mapping[UserID, frozenset[DeviceID]]) -> KeyAnswer:
    """The keys of people of this server as the asker sees them; nobody ("") sees what everybody does."""
    people = accounts.load_active(txn, wanted)
    answer = KeyAnswer(devices={person: {} for person in people})
    signatures: dict[tuple[UserID, str], list[Signature]] = {}
    for signature in keys.load_signatures(txn, people, asker):
        signatures.setdefault((signature.user_id, signature.key_id), []).append(signature)
    for device in keys.load_device_keys(txn, people):
        if not wanted[device.user_id] or device.device_id in wanted[device.user_id]:
            shown = _with_signatures(device.keys, signatures.get((device.user_id, device.device_id), ()))
            if device.user_id == asker and device.display_name is not None:  # a device's name is nobody else's business
                shown["unsigned"] = {"device_display_name": device.display_name}
            answer.devices[device.user_id][device.device_id] = shown
    for key in keys.load_cross_signing_keys(txn, people):
        add_cross_signing_key(answer, asker, key, signatures.get((key.user_id, key.public_key), ()))
    return answer


def add_cross_signing_key(
    answer: KeyAnswer, asker: UserID, key: CrossSigningKey, signatures: Iterable[Signature]
) -> None:
    """Add a cross-signing key as the asker sees it."""
    if key.usage == "user_signing" and key.user_id != asker:
        return
    by_usage = {
        "master": answer.master,
        "self_signing": answer.self_signing,
        "user_signing": answer.user_signing,
    }
    by_usage[key.usage][key.user_id] = _with_signatures(key.key, signatures)


def _with_signatures(signed: bytes, more: Iterable[Signature]) -> dict[str, Any]:
    """An uploaded object, with the signatures that came later."""
    shown: dict[str, Any] = msgspec.json.decode(signed)
    for signature in more:
        by_signer = shown.setdefault("signatures", {}).setdefault(signature.signer_id, {})
        by_signer[signature.signer_key_id] = signature.signature
    return shown
