"""Keys as clients make them: devices and cross-signing keys that really sign."""

from collections.abc import Mapping
from typing import Any

from federation import canonical
from federation.ed25519 import SigningKey
from federation.unpadded import encode_base64


class Signer:
    """An ed25519 key; the same seed makes the same key."""

    def __init__(self, seed: str) -> None:
        self._key = SigningKey("x", seed.encode().ljust(32, b".")[:32])
        self.public = self._key.verify_key.encode()

    def signature(self, value: Mapping[str, Any]) -> str:
        """The signature over a JSON object."""
        essence = {name: part for name, part in value.items() if name not in ("signatures", "unsigned")}
        return encode_base64(self._key.sign(canonical.encode(essence)))

    def sign(self, value: Mapping[str, Any], user_id: str, name: str | None = None) -> dict[str, Any]:
        """The object with the signature of this key (called `name`, or as its public half) and no other."""
        key_id = f"ed25519:{name or self.public}"
        return {**value, "signatures": {user_id: {key_id: self.signature(value)}}}


def device_keys(user_id: str, device_id: str, **spoiled: Any) -> dict[str, Any]:
    """The identity keys of a device, signed by itself; its signer is ``Signer(device_id)``."""
    signer = Signer(device_id)
    keys = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"curve25519:{device_id}": "c" * 43, f"ed25519:{device_id}": signer.public},
        **spoiled,
    }
    return {**signer.sign(keys, user_id, device_id), **spoiled}


def one_time_keys(*names: str, **more: Any) -> dict[str, Any]:
    """Signed one-time keys of those names."""
    return {
        f"signed_curve25519:{name}": {"key": f"key-{name}", "signatures": {"@x:y": {"ed25519:Z": "sig"}}, **more}
        for name in names
    }


def cross_signing_key(user_id: str, usage: str, signer: Signer, by: Signer | None = None) -> dict[str, Any]:
    """A cross-signing key, signed by another one."""
    key = {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{signer.public}": signer.public}}
    return key if by is None else by.sign(key, user_id)
