"""Cross-signing: the three keys by which a person vouches for their devices and for other people, and signatures.

What the server checks here it checks for good order; clients check everything again.

Spec: client-server-api#cross-signing
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from federation import canonical
from federation.ed25519 import VerifyKey
from federation.errors import BadJSON, BadKey, Refused
from federation.ids import DeviceID, UserID
from federation.unpadded import find_base64
from homeserver.policy import Invalid, Policy, QueryKeys, allows
from homeserver.storage import devices, keys
from homeserver.storage.database import Database, Txn
from homeserver.storage.keys import CrossSigningKey, Signature, Usage

MOST_SIGNATURES: Final = 1_000
"""How many objects one request may sign."""


class _Shape(msgspec.Struct):
    """The shape of a cross-signing key."""

    user_id: str
    usage: list[str]
    keys: dict[str, str]
    signatures: dict[str, dict[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossSigningUpload:
    """New cross-signing keys, and which (public) keys they were checked against."""

    user_id: UserID
    keys: Sequence[CrossSigningKey]
    before: Mapping[Usage, str]

    @property
    def is_weighty(self) -> bool:
        """Whether it replaces what others may have trusted, so that the person has to prove who they are.

        Spec: client-server-api#post_matrixclientv3keysdevice_signingupload
        """
        return "master" in self.before and any(self.before.get(key.usage) != key.public_key for key in self.keys)


class CrossSigning:
    """The cross-signing keys of this server's people, and the signatures they make."""

    def __init__(self, database: Database, policy: Policy) -> None:
        self._database = database
        self._policy = policy

    async def prepare(self, user_id: UserID, uploaded: Mapping[Usage, Mapping[str, Any]]) -> CrossSigningUpload:
        """Check new keys, so that they can be kept by :meth:`replace` once the person has proved who they are.

        Raises:
            Invalid: A key is malformed (M_BAD_JSON, M_INVALID_PARAM), there is no master key (M_MISSING_PARAM) or it
                has not signed the others (M_INVALID_SIGNATURE).

        Spec: client-server-api#post_matrixclientv3keysdevice_signingupload
        """
        new = [parse_cross_signing_key(user_id, usage, key) for usage, key in uploaded.items()]
        stored = await self._database.read(keys.load_cross_signing_keys, [user_id])
        before = {key.usage: key.public_key for key in stored}
        masters = {**before, **{key.usage: key.public_key for key in new}}
        if "master" not in masters:
            raise Invalid("M_MISSING_PARAM", "There is no master key")
        for key in new:
            if key.usage != "master" and not is_signed(key, masters["master"]):
                raise Invalid("M_INVALID_SIGNATURE", f"The {key.usage} key is not signed by the master key")
        return CrossSigningUpload(user_id=user_id, keys=new, before=before)

    async def replace(self, upload: CrossSigningUpload) -> bool:
        """Keep checked keys; False, and nothing is kept, if there are others by now than they were checked against.

        Raises:
            Refused: A device has the name of one of the keys.
        """
        return await self._database.write(_replace, upload)

    async def sign(self, signer: UserID, signed: Mapping[UserID, Mapping[str, Any]]) -> dict[UserID, dict[str, Any]]:
        """Add the signer's signatures on own devices, the own master key and other people's master keys.

        Gives what failed, by person and key ID, as an errcode and an error.

        Raises:
            Invalid: It is too much for one request.

        Spec: client-server-api#post_matrixclientv3keyssignaturesupload
        """
        if sum(map(len, signed.values())) > MOST_SIGNATURES:
            raise Invalid("M_INVALID_PARAM", f"One request signs at most {MOST_SIGNATURES} keys")
        allowed = [
            person
            for person in signed
            if person == signer or await allows(self._policy, QueryKeys(by=signer, person=person))
        ]
        good, failures = await self._database.read(_check_signatures, signer, signed, allowed)
        if good:
            await self._database.write(_append_signatures, signer, good)
        return failures


def parse_cross_signing_key(user_id: UserID, usage: Usage, uploaded: Mapping[str, Any]) -> CrossSigningKey:
    """A cross-signing key of that person as it is kept: with no signatures but their own.

    Raises: Invalid.
    """
    try:
        shape = msgspec.convert(uploaded, _Shape)
        kept = {name: value for name, value in uploaded.items() if name != "unsigned"}
        own = {user_id: shape.signatures[user_id]} if user_id in shape.signatures else {}
        encoded = canonical.encode({**kept, "signatures": own})
    except (msgspec.ValidationError, BadJSON) as fault:
        raise Invalid("M_BAD_JSON", f"Not a cross-signing key: {fault}") from None
    if shape.user_id != user_id or usage not in shape.usage or len(shape.keys) != 1:
        raise Invalid("M_INVALID_PARAM", f"Not a {usage} key of this person")
    ((key_id, public_key),) = shape.keys.items()
    if key_id != f"ed25519:{public_key}" or _find_verify_key(public_key) is None:
        raise Invalid("M_INVALID_PARAM", "A cross-signing key is called ed25519 and its public key")
    return CrossSigningKey(user_id, usage, public_key, encoded)


def _replace(txn: Txn, upload: CrossSigningUpload) -> bool:
    """The unit of an upload of cross-signing keys."""
    user_id = upload.user_id
    stored = {key.usage: key for key in keys.load_cross_signing_keys(txn, [user_id])}
    if {usage: key.public_key for usage, key in stored.items()} != upload.before:
        return False
    new = {key.usage: key for key in upload.keys}
    if any(devices.has_device(txn, user_id, key.public_key) for key in upload.keys):
        raise Refused("keys", "A device has the name of this key")
    if "master" in new and new["master"].public_key != upload.before.get("master"):
        keys.remove_cross_signing_keys(txn, user_id)
    elif all(usage in stored and stored[usage].public_key == key.public_key for usage, key in new.items()):
        return True
    for key in upload.keys:
        keys.set_cross_signing_key(txn, key)
    keys.set_changed(txn, user_id, signing=True)
    return True


def _check_signatures(
    txn: Txn, signer: UserID, signed: Mapping[UserID, Mapping[str, Any]], allowed: Sequence[UserID]
) -> tuple[list[Signature], dict[UserID, dict[str, Any]]]:
    """Sort new signatures into those that are good and those that are not."""
    facts = _Facts(txn, signer, [*allowed, signer])
    good: list[Signature] = []
    failures: dict[UserID, dict[str, Any]] = {}
    for person, by_key in signed.items():
        for key_id, value in by_key.items():
            fault = facts.take(person, key_id, value, good) if person in allowed else _UNKNOWN
            if fault is not None:
                failures.setdefault(person, {})[key_id] = fault
    return good, failures


_UNKNOWN: Final = {"errcode": "M_NOT_FOUND", "error": "There is no such key"}
_WRONG: Final = {"errcode": "M_INVALID_SIGNATURE", "error": "Not signed, or not by a key that may"}
_OTHER: Final = {"errcode": "M_INVALID_SIGNATURE", "error": "This is not what is stored under that key"}


class _Facts:
    """The keys that signatures are checked against: those that are signed, and those that may sign them."""

    def __init__(self, txn: Txn, signer: UserID, people: Sequence[UserID]) -> None:
        self._signer = signer
        self._targets: dict[tuple[UserID, str], bytes] = {}
        self._signers: dict[str, dict[str, str]] = {"device": {}, "own master": {}, "master": {}}
        for key in keys.load_cross_signing_keys(txn, people):
            if key.usage == "master":
                self._targets[key.user_id, key.public_key] = key.key
            elif key.user_id == signer:
                kind = "device" if key.usage == "self_signing" else "master"
                self._signers[kind][f"ed25519:{key.public_key}"] = key.public_key
        self._devices = set()
        for device in keys.load_device_keys(txn, [signer]):
            self._targets[signer, device.device_id] = device.keys
            self._devices.add(device.device_id)
            key_id = f"ed25519:{device.device_id}"
            public_key = msgspec.json.decode(device.keys)["keys"].get(key_id)
            if public_key is not None:
                self._signers["own master"][key_id] = public_key

    def take(self, person: UserID, key_id: str, value: Any, good: list[Signature]) -> dict[str, str] | None:
        """Add the signer's signatures on that key to the good ones; gives the fault if there are none."""
        stored = self._targets.get((person, key_id))
        if stored is None:
            return _UNKNOWN
        if _essence(value) != _essence(msgspec.json.decode(stored)):
            return _OTHER
        kind = "master" if person != self._signer else "device" if key_id in self._devices else "own master"
        may_sign = self._signers[kind]
        made = {name: text for name, text in _signatures_of(value, self._signer).items() if name in may_sign}
        if not made or not all(_has_signed(may_sign[name], value, text) for name, text in made.items()):
            return _WRONG
        good += [Signature(person, key_id, self._signer, name, text) for name, text in sorted(made.items())]
        return None


def _append_signatures(txn: Txn, signer: UserID, good: Sequence[Signature]) -> None:
    """The unit of an upload of signatures."""
    new = [signature for signature in good if keys.set_signature(txn, signature)]
    if new:
        own = {signature.key_id for signature in new if signature.user_id == signer}
        signed = [DeviceID(key_id) for key_id in sorted(own) if keys.has_device_keys(txn, signer, DeviceID(key_id))]
        keys.set_changed(txn, signer, signed, signing=len(own) > len(signed))


def is_signed(key: CrossSigningKey, master: str) -> bool:
    """Tell whether the person's master key has signed their other key."""
    value = msgspec.json.decode(key.key)
    return _has_signed(master, value, _signatures_of(value, key.user_id).get(f"ed25519:{master}"))


def _has_signed(public_key: str, value: Any, signature: str | None) -> bool:
    """Tell whether that is the signature on the object by the key with that public half."""
    key, raw, message = _find_verify_key(public_key), find_base64(signature), _essence(value)
    return key is not None and raw is not None and message is not None and key.has_signed(message, raw)


def _essence(value: Any) -> bytes | None:
    """What of an object is signed, as canonical JSON; None when it has no such form."""
    if not isinstance(value, dict):
        return None
    try:
        return canonical.encode({name: part for name, part in value.items() if name not in ("signatures", "unsigned")})
    except BadJSON:
        return None


def _signatures_of(value: Mapping[str, Any], signer: UserID) -> Mapping[str, str]:
    signatures = value.get("signatures")
    by_key = signatures.get(signer) if isinstance(signatures, dict) else None
    return {name: text for name, text in by_key.items() if isinstance(text, str)} if isinstance(by_key, dict) else {}


def _find_verify_key(public_key: str) -> VerifyKey | None:
    raw = find_base64(public_key)
    try:
        return None if raw is None else VerifyKey(raw)
    except BadKey:
        return None
