"""Ed25519 keys: the half that signs, the half that verifies, and how they are written down.

Spec: appendices#signing-details, server-server-api#publishing-keys
"""

import re
from typing import Final

from nacl.bindings import (
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    crypto_sign_PUBLICKEYBYTES,
    crypto_sign_seed_keypair,
    crypto_sign_SEEDBYTES,
)
from nacl.exceptions import BadSignatureError

from federation.errors import BadKey
from federation.unpadded import encode_base64, find_base64

_KEY_ID: Final = re.compile(r"ed25519:[a-zA-Z0-9_]{1,128}")


def is_ed25519_key_id(key_id: str) -> bool:
    """Whether the name is that of a key we understand, `ed25519:version`.

    Spec: appendices#signing-details
    """
    return _KEY_ID.fullmatch(key_id) is not None


class VerifyKey:
    """The public half of a signing key."""

    __slots__ = ("_public",)

    def __init__(self, public: bytes) -> None:
        if len(public) != crypto_sign_PUBLICKEYBYTES:
            raise BadKey("an ed25519 public key has 32 bytes")
        self._public = public

    def __eq__(self, other: object) -> bool:
        return self._public == other._public if isinstance(other, VerifyKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._public)

    def __repr__(self) -> str:
        return f"<VerifyKey {self.encode()}>"

    def encode(self) -> str:
        """The key as it is published, in unpadded base64."""
        return encode_base64(self._public)

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature over the message was made with this key's other half."""
        if len(signature) != crypto_sign_BYTES:
            return False
        try:
            crypto_sign_open(signature + message, self._public)
        except BadSignatureError:
            return False
        return True


class SigningKey:
    """A server's signing key, with the `key_id` under which the server publishes its public half, `verify_key`."""

    __slots__ = ("_secret", "_seed", "key_id", "verify_key")

    def __init__(self, version: str, seed: bytes) -> None:
        self.key_id = f"ed25519:{version}"
        if not is_ed25519_key_id(self.key_id):
            raise BadKey("a key version holds only letters, digits and _")
        if len(seed) != crypto_sign_SEEDBYTES:
            raise BadKey("an ed25519 seed has 32 bytes")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self._seed = seed
        self.verify_key = VerifyKey(public)

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id}>"

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]

    def encode(self) -> str:
        """The key as a line of a key file, `ed25519 a_xyz base64`. This is the secret itself."""
        return f"ed25519 {self.key_id.removeprefix('ed25519:')} {encode_base64(self._seed)}"


def generate_signing_key(version: str, randomness: bytes) -> SigningKey:
    """A new key made of 32 bytes of good randomness; `version` tells it from the server's other keys, past and future.

    Raises: BadKey.
    """
    return SigningKey(version, randomness)


def parse_signing_key(line: str) -> SigningKey:
    """The key in a line of a key file, `ed25519 a_xyz base64`.

    Raises: BadKey.
    """
    algorithm, _, rest = line.strip().partition(" ")
    version, _, encoded = rest.partition(" ")
    seed = find_base64(encoded)
    if algorithm != "ed25519" or seed is None:
        raise BadKey("not a line of the form: ed25519 version base64")
    return SigningKey(version, seed)


def parse_verify_key(text: object) -> VerifyKey:
    """A public key as it is published, in unpadded base64.

    Raises: BadKey.
    """
    public = find_base64(text)
    if public is None:
        raise BadKey("not base64")
    return VerifyKey(public)
