"""Tokens: how they are made, how long they live, and what a client is given.

Spec: client-server-api#using-access-tokens, client-server-api#refreshing-access-tokens
"""

from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from federation.ids import DeviceID, UserID
from homeserver.storage.sessions import TokenPair

_HOUR_MS: Final = 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long tokens live: an access token that can be refreshed, and a refresh token that nobody uses.

    A session that cannot be refreshed lives until it is ended.
    """

    access_ms: int = _HOUR_MS
    refresh_ms: int = 120 * 24 * _HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Fresh tokens: what the client gets in plain text, and what is kept as hashes."""

    access_token: str
    refresh_token: str | None
    pair: TokenPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A session that was begun or carried on, as its client learns of it."""

    user_id: UserID
    device_id: DeviceID
    access_token: str
    refresh_token: str | None
    expires_in_ms: int | None


def hash_token(token: str) -> bytes:
    """What is kept of a token; a lone surrogate is nobody's token, and no error."""
    return blake2b(token.encode("utf-8", "replace"), digest_size=32).digest()


class Mint:
    """Makes tokens, device IDs and other secrets out of the randomness it is given."""

    def __init__(
        self, token_bytes: Callable[[int], bytes], now_ms: Callable[[], int], lifetimes: Lifetimes | None = None
    ) -> None:
        self._token_bytes = token_bytes
        self._now_ms = now_ms
        self._lifetimes = lifetimes or Lifetimes()

    def tokens(self, *, refreshable: bool) -> Tokens:
        """Make an access token, and a refresh token if the client can use one."""
        now = self._now_ms()
        access_token = f"pta_{self.secret()}"
        refresh_token = f"ptr_{self.secret()}" if refreshable else None
        pair = TokenPair(
            access=hash_token(access_token),
            access_expires_ms=now + self._lifetimes.access_ms if refresh_token else None,
            refresh=hash_token(refresh_token) if refresh_token else None,
            refresh_expires_ms=now + self._lifetimes.refresh_ms if refresh_token else None,
            created_ms=now,
        )
        return Tokens(access_token=access_token, refresh_token=refresh_token, pair=pair)

    def secret(self) -> str:
        """Make something nobody can guess: 256 bits, URL-safe."""
        return urlsafe_b64encode(self._token_bytes(32)).rstrip(b"=").decode()

    def device_id(self) -> DeviceID:
        """Make a device ID: ten capital letters and digits."""
        return DeviceID(b32encode(self._token_bytes(10))[:10].decode())

    def localpart(self) -> str:
        """Make a user name that says nothing of its bearer: sixteen small letters and digits."""
        return b32encode(self._token_bytes(10)).decode().lower()

    def grant(self, user_id: UserID, device_id: DeviceID, tokens: Tokens) -> Grant:
        """Tell the client of its session."""
        return Grant(
            user_id=user_id,
            device_id=device_id,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_in_ms=self._lifetimes.access_ms if tokens.refresh_token else None,
        )
