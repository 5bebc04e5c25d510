"""The region's signing key: one line in a file that only the server's account may read.

Spec: server-server-api#retrieving-server-keys
"""

import os
from collections.abc import Callable
from pathlib import Path

from federation.errors import BadKey
from federation.signatures import SigningKey, generate_signing_key, parse_signing_key

KEY_FILE = "signing.key"


class BadKeyFile(Exception):
    """The key file cannot be used; the message is one line for the operator."""


def load_signing_key(data_dir: Path, token_bytes: Callable[[int], bytes]) -> SigningKey:
    """The key in the data directory; where there is none yet, a new one is made and kept.

    Raises:
        BadKeyFile: there is one that is not readable, or no place for a new one.
    """
    file = data_dir / KEY_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _append_key(file, generate_signing_key(token_bytes(3).hex(), token_bytes(32)))
        return parse_signing_key(file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, BadKey) as fault:
        raise BadKeyFile(f"{file}: cannot be used as the signing key: {fault}") from None


def _append_key(file: Path, key: SigningKey) -> None:
    """Write the key so that it is there whole or not at all."""
    draft = file.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(key.encode() + "\n")
        out.flush()
        os.fsync(descriptor)
    draft.rename(file)
