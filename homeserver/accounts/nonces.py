"""Registration by the secret that the operator shares with their tools: one nonce a request, one request a nonce.

The form is that of Synapse's documented administration API, which tools for Matrix servers speak.
"""

import hmac
from collections.abc import Callable
from hashlib import sha1
from typing import Final

from federation.errors import Refused
from homeserver.accounts.tokens import Mint

NONCES: Final = 1_000
LIFETIME_MS: Final = 60_000


class Nonces:
    """Nonces that were given out, and whether a request proves knowledge of the secret with one of them."""

    def __init__(self, shared_secret: str, mint: Mint, now_ms: Callable[[], int]) -> None:
        self._key = shared_secret.encode()
        self._mint = mint
        self._now_ms = now_ms
        self._until_ms: dict[str, int] = {}

    def give(self) -> str:
        """Give out a nonce for the next minute; the oldest goes when there are too many."""
        if len(self._until_ms) >= NONCES:
            del self._until_ms[next(iter(self._until_ms))]
        nonce = self._mint.secret()
        self._until_ms[nonce] = self._now_ms() + LIFETIME_MS
        return nonce

    def check(self, nonce: str, mac: str, parts: tuple[str, ...]) -> None:
        """Take the nonce back and compare the code over it and `parts`, joined by NUL: HMAC-SHA1, in hex.

        Raises:
            Refused: The nonce is not ours (any more), or the code is another one.
        """
        until_ms = self._until_ms.pop(nonce, 0)
        text = "\0".join((nonce, *parts)).encode("utf-8", "surrogatepass")
        right = hmac.new(self._key, text, sha1).hexdigest()
        if until_ms <= self._now_ms() or not hmac.compare_digest(right.encode(), mac.encode("utf-8", "replace")):
            raise Refused("registration", "The nonce or the code is wrong")
