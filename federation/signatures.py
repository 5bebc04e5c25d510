"""Ed25519 signatures on JSON objects and on events.

Spec: appendices#signing-json, server-server-api#signing-events
"""

import re

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
from federation.unpadded import encode_base64

_KEY_VERSION = re.compile(r"[a-zA-Z0-9_]{1,128}")


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
        """The key as it is published."""
        return encode_base64(self._public)

    def may_have_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature over the message was made with this key's other half."""
        if len(signature) != crypto_sign_BYTES:
            return False
        try:
            crypto_sign_open(signature + message, self._public)
        except BadSignatureError:
            return False
        return True


class SigningKey:
    """A server's ed25519 signing key and the name, `key_id`, under which the server publishes its public half."""

    __slots__ = ("_secret", "_seed", "key_id", "verify_key")

    def __init__(self, version: str, seed: bytes) -> None:
        if _KEY_VERSION.fullmatch(version) is None:
            raise BadKey("a key version holds only letters, digits and _")
        if len(seed) != crypto_sign_SEEDBYTES:
            raise BadKey("an ed25519 seed has 32 bytes")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self._seed = seed
        self.key_id = f"ed25519:{version}"
        self.verify_key = VerifyKey(public)

    def __repr__(self) -> str:
        return f"<SigningKey {self.key_id}>"

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]

    def encode(self) -> str:
        """The key as a line of the key file: `ed25519 a_xyz base64`. It is the secret itself."""
        return f"ed25519 {self.key_id[8:]} {encode_base64(self._seed)}"
