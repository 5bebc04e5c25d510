"""Asking other servers for devices and keys of their people. Nothing that they say of anybody else is heard.

Spec: server-server-api#end-to-end-encryption
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from federation import canonical
from federation.errors import BadAnswer, BadJSON
from federation.ids import DeviceID, ServerName, UserID, fits, server_of
from federation.transport.peers import Asks, LargeAnswer, Runs
from homeserver.devices.crosssigning import is_signed, parse_cross_signing_key
from homeserver.devices.keys import KeyAnswer, parse_identity_keys, parse_one_time_keys
from homeserver.policy import Invalid
from homeserver.storage.keys import CrossSigningKey, Usage
from homeserver.storage.remotedevices import DeviceList

T = TypeVar("T")
W = TypeVar("W")

Wanted: TypeAlias = Mapping[UserID, Sequence[DeviceID]]
Claims: TypeAlias = Mapping[UserID, Mapping[DeviceID, str]]
Claimed: TypeAlias = dict[UserID, dict[DeviceID, dict[str, msgspec.Raw]]]

MOST_DEVICES: Final = 1_000
"""How many devices one person of another server may have."""
MOST_LIST_BYTES: Final = 4 << 20
LARGEST_KEYS: Final = 65_536
_V1: Final = "/_matrix/federation/v1"
_USAGES: Final[tuple[Usage, ...]] = ("master", "self_signing")


class Asking:
    """Asks the servers of people elsewhere; `run` does work in a thread."""

    def __init__(self, peers: Asks, run: Runs) -> None:
        self._peers = peers
        self._run = run

    async def devices(self, user_id: UserID) -> DeviceList:
        """All devices of somebody.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#get_matrixfederationv1userdevicesuserid
        """
        path = f"{_V1}/user/devices/{quote(user_id, safe='')}"
        answer = await self._peers.ask(server_of(user_id), "GET", path, most_bytes=MOST_LIST_BYTES)
        return read_device_list(user_id, answer)

    async def query(self, server: ServerName, wanted: Wanted, timeout_s: float) -> KeyAnswer:
        """Keys of some people of a server.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#post_matrixfederationv1userkeysquery
        """
        body = {"device_keys": {person: list(device_ids) for person, device_ids in wanted.items()}}
        answer = await self._peers.ask(server, "POST", f"{_V1}/user/keys/query", body=body, timeout_s=timeout_s)
        return await self._read(_read_keys, wanted, answer)

    async def claim(self, server: ServerName, wanted: Claims, timeout_s: float) -> Claimed:
        """A one-time key of each of some devices of a server's people.

        Raises: RemoteFault; Refused.
        Spec: server-server-api#post_matrixfederationv1userkeysclaim
        """
        body = {"one_time_keys": {person: dict(by_device) for person, by_device in wanted.items()}}
        answer = await self._peers.ask(server, "POST", f"{_V1}/user/keys/claim", body=body, timeout_s=timeout_s)
        return await self._read(_read_claimed, wanted, answer)

    async def _read(self, read: Callable[[W, Mapping[str, Any]], T], wanted: W, answer: Mapping[str, Any]) -> T:
        """What was asked for of an answer; a large one has so many keys that they are read in a thread."""
        is_large = isinstance(answer, LargeAnswer)
        return await self._run(read, wanted, answer) if is_large else read(wanted, answer)


def read_device_list(user_id: UserID, answer: Mapping[str, Any]) -> DeviceList:
    """What a server answers of somebody's devices. Devices whose keys are malformed are left out.

    Raises: BadAnswer.
    Spec: server-server-api#get_matrixfederationv1userdevicesuserid
    """
    stream_id, listed = read_stream_id(answer.get("stream_id")), answer.get("devices")
    if answer.get("user_id") != user_id or not isinstance(listed, list):
        raise BadAnswer("not the devices of this person")
    if len(listed) > MOST_DEVICES:
        raise BadAnswer(f"a person has at most {MOST_DEVICES} devices")
    devices: dict[DeviceID, bytes] = {}
    for device in listed:
        device_id = device.get("device_id") if isinstance(device, dict) else None
        signed = find_identity_keys(user_id, device_id, device["keys"]) if device_id and "keys" in device else None
        if signed is not None:
            devices[DeviceID(str(device_id))] = signed
    return DeviceList(user_id, stream_id, devices, read_cross_signing(user_id, answer))


def find_identity_keys(user_id: UserID, device_id: object, value: object) -> bytes | None:
    """The identity keys of a device as they are kept; None for what is not keys of that device."""
    if not isinstance(device_id, str) or not fits(device_id) or not isinstance(value, dict):
        return None
    try:
        signed = parse_identity_keys(value, user_id, DeviceID(device_id))
    except (Invalid, BadJSON):
        return None
    return signed if len(signed) <= LARGEST_KEYS else None


def read_cross_signing(
    user_id: UserID, answer: Mapping[str, Any], master: CrossSigningKey | None = None
) -> list[CrossSigningKey]:
    """The cross-signing keys in what a server says, as far as they are well-formed and signed by the master key.

    `master` is the one that is known, for where none is said.
    """
    found: list[CrossSigningKey] = []
    for usage in _USAGES:
        value = answer.get(f"{usage}_key")
        if not isinstance(value, dict):
            continue
        try:
            key = parse_cross_signing_key(user_id, usage, value)
        except Invalid:
            continue
        if usage == "master":
            master = key
        elif master is None or not is_signed(key, master.public_key):
            continue
        if len(key.key) <= LARGEST_KEYS:
            found.append(key)
    return found


def read_stream_id(value: object) -> int:
    """The number of a change of a device list.

    Raises: BadAnswer.
    """
    if type(value) is int and 0 <= value <= canonical.MAX_INTEGER:
        return value
    raise BadAnswer("not the number of a change")


def _read_keys(wanted: Wanted, answer: Mapping[str, Any]) -> KeyAnswer:
    """Of the answer to a query what was asked for and is well-formed."""
    read = KeyAnswer()
    for person, device_ids in wanted.items():
        theirs = _object(_object(answer, "device_keys"), person)
        some = device_ids or [DeviceID(device_id) for device_id in list(theirs)[:MOST_DEVICES]]
        found = {device_id: find_identity_keys(person, device_id, theirs.get(device_id)) for device_id in some}
        read.devices[person] = {each: msgspec.json.decode(signed) for each, signed in found.items() if signed}
        named = {f"{usage}_key": _object(answer, f"{usage}_keys").get(person) for usage in _USAGES}
        for key in read_cross_signing(person, named):
            by_person = read.master if key.usage == "master" else read.self_signing
            by_person[person] = msgspec.json.decode(key.key)
    return read


def _read_claimed(wanted: Claims, answer: Mapping[str, Any]) -> Claimed:
    """Of the answer to a claim what was asked for and is well-formed."""
    claimed: Claimed = {}
    given = _object(answer, "one_time_keys")
    for person, by_device in wanted.items():
        theirs = _object(given, person)
        for device_id, algorithm in by_device.items():
            key = _find_one_time_key(algorithm, theirs.get(device_id))
            if key is not None:
                claimed.setdefault(person, {})[device_id] = key
    return claimed


def _find_one_time_key(algorithm: str, value: object) -> dict[str, msgspec.Raw] | None:
    if not isinstance(value, dict):
        return None
    named = {name: key for name, key in value.items() if name.startswith(f"{algorithm}:")}
    try:
        parsed = parse_one_time_keys(named)[:1]
    except (Invalid, BadJSON):
        return None
    return {f"{key.algorithm}:{key.key_id}": msgspec.Raw(key.key) for key in parsed} or None


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def wait_at_most(clock: IReactorTime, seconds: float, work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """What the work comes to, if that is soon enough: else TimeoutError, and it goes on without being waited for."""
    waiting: Deferred[T] = Deferred()

    def pass_on(outcome: T | Failure) -> None:
        if not waiting.called:
            waiting.callback(outcome)

    Deferred.fromCoroutine(work).addBoth(pass_on)
    return waiting.addTimeout(seconds, clock)
