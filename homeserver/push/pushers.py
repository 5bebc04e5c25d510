"""A person's pushers: which of their devices want to be notified, and through which gateway.

Spec: client-server-api#receiving-notifications
"""

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from federation.ids import DeviceID, UserID
from homeserver.policy import Invalid
from homeserver.storage.database import Database, Txn
from homeserver.storage.devices import has_device
from homeserver.storage.pushers import (
    Details,
    Pusher,
    PusherKey,
    count_others,
    load_pushers,
    remove_others,
    remove_pusher,
    set_pusher,
)

MOST: Final = 100
"""How many pushers a person may have."""
LONGEST_PUSHKEY: Final = 512
LONGEST_APP_ID: Final = 64
MOST_BYTES: Final = 16_384
_PATH: Final = "/_matrix/push/v1/notify"


class Pushers:
    """Shows and changes people's pushers."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def show(self, user_id: UserID) -> list[dict[str, Any]]:
        """All pushers of a person, as the specification shows them.

        Spec: client-server-api#get_matrixclientv3pushers
        """
        return [_shown(pusher) for pusher in await self._database.read(load_pushers, user_id)]

    async def set(self, key: PusherKey, device_id: DeviceID, details: Details, *, append: bool) -> None:
        """Add or renew a pusher; unless `append`, other people's of the same app and pushkey go.

        Raises:
            Invalid: a value is none, or the person has too many pushers.
        Spec: client-server-api#post_matrixclientv3pushersset
        """
        check_key(key)
        check_url(details.data.get("url"))
        stored = msgspec.json.encode(details)
        if len(stored) > MOST_BYTES:
            raise Invalid("M_TOO_LARGE", "This is too much for a pusher")
        pusher = Pusher(key=key, device_id=device_id, set_ms=self._now_ms(), stored=stored)
        await self._database.write(_set, pusher, append)

    async def remove(self, key: PusherKey) -> None:
        """Remove a pusher, if it is there.

        Raises:
            Invalid: the key is none.
        """
        check_key(key)
        await self._database.write(remove_pusher, key)


def check_key(key: PusherKey) -> None:
    """Refuse what is too long to name a pusher, or empty.

    Raises:
        Invalid: it is.
    """
    bounds: Sequence[tuple[str, int, int]] = (
        ("app_id", len(key.app_id), LONGEST_APP_ID),
        ("pushkey", len(key.pushkey.encode()), LONGEST_PUSHKEY),
    )
    for name, length, most in bounds:
        if not 1 <= length <= most:
            raise Invalid("M_INVALID_PARAM", f"{name} has 1 to {most} characters")


def check_url(url: object) -> None:
    """Refuse what is no address of a push gateway.

    Raises:
        Invalid: it is none.
    """
    if url is None:
        raise Invalid("M_MISSING_PARAM", "data has no url")
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isascii() and url.isprintable() else None
        sound = parts is not None and parts.hostname and parts.port != 0
    except ValueError:
        parts, sound = None, False
    if parts is None or not sound or " " in str(url):
        raise Invalid("M_INVALID_PARAM", "data.url is no URL")
    if parts.scheme != "https" or parts.path != _PATH or parts.username is not None or parts.query or parts.fragment:
        raise Invalid("M_INVALID_PARAM", f"data.url is an HTTPS URL with the path {_PATH}")


def _shown(pusher: Pusher) -> dict[str, Any]:
    named = {"app_id": pusher.key.app_id, "pushkey": pusher.key.pushkey, "kind": "http"}
    return {**named, **msgspec.to_builtins(pusher.details)}


def _set(txn: Txn, pusher: Pusher, append: bool) -> None:
    """Unit of work; nothing is set for a device that has gone meanwhile."""
    if not has_device(txn, pusher.key.user_id, pusher.device_id):
        return
    if count_others(txn, pusher.key) >= MOST:
        raise Invalid("M_TOO_LARGE", f"A person has at most {MOST} pushers")
    set_pusher(txn, pusher)
    if not append:
        remove_others(txn, pusher.key)
