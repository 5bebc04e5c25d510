"""Passwords: hashed with argon2id in threads, a few at a time, and as long for nobody's as for somebody's.

Spec: client-server-api#password-management
"""

from base64 import b64encode
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple
from unicodedata import normalize

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

from config.settings import Passwords as Cost
from homeserver.policy import Invalid

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SHORTEST: Final = 8
LONGEST: Final = 512
AT_ONCE: Final = 2
"""How many hashes are computed at a time: each takes a processor and `memory_kib` for a while."""
QUEUE: Final = 500
"""How many more may wait for their turn."""

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_COMMON: Final = frozenset(
    "password password1 qwertyui qwerty12 qwerty123 iloveyou sunshine princess football baseball 12345678 123456789"
    " 1234567890 0123456789 11111111 87654321 1q2w3e4r 1qaz2wsx zaq12wsx abcd1234 abc12345 passw0rd letmein1 welcome1"
    " пароль123 йцукенгш йцукен12 qweasdzxc q1w2e3r4 asdfghjk zxcvbnm1".split()
)


class PasswordsBusy(Exception):
    """Too many passwords wait to be checked; in a few seconds it will be better."""


def check_strength(password: str, localpart: str) -> None:
    """Refuse a new password that would be guessed: short, one character only, the user name, or among the commonest.

    Raises: Invalid.
    Spec: client-server-api#password-management
    """
    plain = password.casefold()
    if len(password) < SHORTEST:
        raise Invalid("M_WEAK_PASSWORD", f"A password has at least {SHORTEST} characters")
    if len(password) > LONGEST:
        raise Invalid("M_INVALID_PARAM", f"A password has at most {LONGEST} characters")
    if len(set(plain)) == 1 or plain in _COMMON or plain == localpart.casefold():
        raise Invalid("M_WEAK_PASSWORD", "This password is easily guessed")


class Passwords:
    """Hashes and checks passwords, in threads of the reactor and with salts out of `token_bytes`."""

    def __init__(self, cost: Cost, reactor: IReactorThreads, token_bytes: Callable[[int], bytes]) -> None:
        self._hasher = PasswordHasher(
            time_cost=cost.time_cost,
            memory_cost=cost.memory_kib,
            parallelism=1,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
            type=Type.ID,
        )
        self._reactor = reactor
        self._token_bytes = token_bytes
        self._turns = DeferredSemaphore(AT_ONCE)
        salt, digest = (b64encode(token_bytes(n)).rstrip(b"=").decode() for n in (_SALT_BYTES, _HASH_BYTES))
        self._nobodys = f"$argon2id$v=19$m={cost.memory_kib},t={cost.time_cost},p=1${salt}${digest}"

    async def hash(self, password: str) -> str:
        """The hash to keep of a password.

        Raises: PasswordsBusy.
        """
        return await self._in_turn(self._hash, password, self._token_bytes(_SALT_BYTES))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Tell whether that is the password; with no hash (nobody's) it takes as long, and is not.

        Raises: PasswordsBusy.
        """
        return await self._in_turn(self._matches, password_hash or self._nobodys, password)

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether the hash was made at another cost than is now configured."""
        return self._hasher.check_needs_rehash(password_hash)

    async def _in_turn(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        if len(self._turns.waiting) >= QUEUE:
            raise PasswordsBusy
        await self._turns.acquire()
        try:
            return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *args)
        finally:
            self._turns.release()

    def _hash(self, password: str, salt: bytes) -> str:
        return self._hasher.hash(_normal(password), salt=salt)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _normal(password))
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: str) -> bytes:
    """The password's bytes, the same however a keyboard composes its letters (й as one character or as two)."""
    return normalize("NFC", password).encode("utf-8", "surrogatepass")
