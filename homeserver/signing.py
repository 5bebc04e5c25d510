"""The region's signing keys: files in the data directory that only the server's account may read.

``signing.key`` holds the key that signs, one line. ``signing.next`` is there after a new key was made and until the
next start, which begins to sign with it; ``signing.old`` lists the public halves of those before it, a line each.
``policy.key`` holds the key that recommends events in rooms whose policy server this is; rooms name its public half.

Spec: server-server-api#retrieving-server-keys
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.ed25519 import SigningKey, generate_signing_key, parse_signing_key, parse_verify_key
from federation.errors import BadKey
from federation.ids import ServerName
from federation.keys import OldKey, ServerKeys, build_server_keys, parse_server_keys
from federation.signatures import POLICY_KEY_ID

KEY_FILE = "signing.key"
NEXT_FILE = "signing.next"
OLD_FILE = "signing.old"
POLICY_FILE = "policy.key"
VALID_MS: Final = 24 * 60 * 60 * 1000
"""How long others may believe our keys before they ask again."""
RENEWED_MS: Final = 60 * 60 * 1000
"""How long one answer is given before it is made anew."""


class BadKeyFile(Exception):
    """The key file cannot be used; the message is one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKeys:
    """What this server signs with, and what it signed with before."""

    current: SigningKey
    old: dict[str, OldKey]


class Published:
    """Our keys as others see them: signed, and valid for a day from now on."""

    def __init__(self, server: ServerName, keys: OwnKeys, now_ms: Callable[[], int]) -> None:
        self._server = server
        self._keys = keys
        self._now_ms = now_ms
        self._renew_ms = 0

    def __call__(self) -> ServerKeys:
        """What is published now; `raw` is the answer to those who ask for it."""
        now_ms = self._now_ms()
        if now_ms >= self._renew_ms:
            keys = self._keys
            until_ms = now_ms + VALID_MS
            answer = build_server_keys(self._server, [keys.current], old_keys=keys.old, valid_until_ms=until_ms)
            self._answer = parse_server_keys(answer, server=self._server, received_ms=now_ms)
            self._renew_ms = now_ms + RENEWED_MS
        return self._answer


def load_own_keys(data_dir: Path, token_bytes: Callable[[int], bytes], now_ms: int) -> OwnKeys:
    """The keys in the data directory, made where there are none; a new one that was prepared signs from now on.

    Raises: BadKeyFile.
    """
    keys, coming = read_own_keys(data_dir, token_bytes), find_next_key(data_dir)
    if coming is None:
        return keys
    old = {**keys.old, keys.current.key_id: OldKey(key=keys.current.verify_key, expired_ms=now_ms)}
    old.pop(coming.key_id, None)
    try:
        _write(data_dir / OLD_FILE, _encode_old(old))
        (data_dir / NEXT_FILE).replace(data_dir / KEY_FILE)
    except OSError as fault:
        raise BadKeyFile(f"{data_dir}: the next signing key cannot be put in place: {fault}") from None
    return OwnKeys(current=coming, old=old)


def read_own_keys(data_dir: Path, token_bytes: Callable[[int], bytes]) -> OwnKeys:
    """The keys in the data directory as they are, made where there are none.

    Raises: BadKeyFile.
    """
    current, file = load_signing_key(data_dir, token_bytes), data_dir / OLD_FILE
    try:
        old = _parse_old(file.read_text(encoding="ascii")) if file.exists() else {}
    except (OSError, ValueError) as fault:
        raise BadKeyFile(f"{file}: cannot be used as the list of old keys: {fault}") from None
    old.pop(current.key_id, None)  # a start was cut short between the two files
    return OwnKeys(current=current, old=old)


def load_signing_key(data_dir: Path, token_bytes: Callable[[int], bytes]) -> SigningKey:
    """The key in the data directory; where there is none yet, a new one is made and kept.

    Raises:
        BadKeyFile: there is one that is not readable, or no place for a new one.
    """
    return _load_or_make(data_dir / KEY_FILE, lambda: _new_key(token_bytes), "the signing key")


def load_policy_key(data_dir: Path, token_bytes: Callable[[int], bytes]) -> SigningKey:
    """The key in the data directory that recommends events; where there is none yet, a new one is made and kept.

    Raises: BadKeyFile, as above.
    Spec: server-server-api#validating-policy-server-signatures
    """
    name = POLICY_KEY_ID.partition(":")[2]
    file = data_dir / POLICY_FILE
    return _load_or_make(file, lambda: generate_signing_key(name, token_bytes(32)), "the policy server's key")


def _load_or_make(file: Path, make: Callable[[], SigningKey], what: str) -> SigningKey:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _write(file, make().encode() + "\n")
        return parse_signing_key(file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, BadKey) as fault:
        raise BadKeyFile(f"{file}: cannot be used as {what}: {fault}") from None


def prepare_next_key(data_dir: Path, token_bytes: Callable[[int], bytes]) -> SigningKey:
    """Make the key that will sign after the next start; the same one if it was made before.

    Raises: BadKeyFile.
    """
    load_signing_key(data_dir, token_bytes)
    file = data_dir / NEXT_FILE
    try:
        if not file.exists():
            _write(file, _new_key(token_bytes).encode() + "\n")
        return parse_signing_key(file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, BadKey) as fault:
        raise BadKeyFile(f"{file}: cannot be used as the next signing key: {fault}") from None


def find_next_key(data_dir: Path) -> SigningKey | None:
    """The key that will sign after the next start.

    Raises: BadKeyFile.
    """
    file = data_dir / NEXT_FILE
    try:
        return parse_signing_key(file.read_text(encoding="ascii")) if file.exists() else None
    except (OSError, UnicodeDecodeError, BadKey) as fault:
        raise BadKeyFile(f"{file}: cannot be used as the next signing key: {fault}") from None


def _new_key(token_bytes: Callable[[int], bytes]) -> SigningKey:
    return generate_signing_key(token_bytes(3).hex(), token_bytes(32))


def _encode_old(old: dict[str, OldKey]) -> str:
    return "".join(f"{key_id} {key.key.encode()} {key.expired_ms}\n" for key_id, key in old.items())


def _parse_old(text: str) -> dict[str, OldKey]:
    old = {}
    for line in text.splitlines():
        key_id, public, expired_ms = line.split()
        old[key_id] = OldKey(key=parse_verify_key(public), expired_ms=int(expired_ms))
    return old


def _write(file: Path, text: str) -> None:
    """Write the file so that it is there whole or not at all."""
    draft = file.with_name(file.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(text)
        out.flush()
        os.fsync(descriptor)
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
