"""Transactions as services get them: what is in one, and its JSON.

Spec: application-service-api#put_matrixappv1transactionstxnid, application-service-api#pushing-ephemeral-data
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from federation.ids import DeviceID, UserID
from homeserver.accounts.appservices.registry import AppService
from homeserver.rooms.render import Asker, render
from homeserver.storage.appservices import Queued, load_changed_near, load_encrypting
from homeserver.storage.changes import ReceiptMoved
from homeserver.storage.database import Txn
from homeserver.storage.events import RoomEvent
from homeserver.storage.keys import count_one_time_keys, load_unused_fallback_types

MOST_EVENTS: Final = 100
MOST_BYTES: Final = 1 << 20
"""After how much a transaction gets no more events."""
MOST_DEVICES: Final = 500
"""Of how many devices of a service's people the keys are counted."""
_MSC2409: Final = "de.sorunome.msc2409."
_MSC3202: Final = "org.matrix.msc3202."


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNews:
    """What those need who encrypt for a service: whose keys changed, and what its own devices have left.

    Spec: client-server-api#e2e-extensions-to-sync
    """

    changed: Sequence[UserID]
    counts: Mapping[UserID, Mapping[DeviceID, Mapping[str, int]]]
    fallbacks: Mapping[UserID, Mapping[DeviceID, Sequence[str]]]


@dataclass(slots=True, kw_only=True)
class Parcel:
    """What a transaction holds; `upto` is the position up to which it tells of events."""

    upto: int
    events: list[bytes] = field(default_factory=list)
    ephemeral: list[bytes] = field(default_factory=list)
    mail: Sequence[Queued] = ()
    keys: KeyNews | None = None
    size: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.events or self.ephemeral or self.mail or self.keys)

    @property
    def is_full(self) -> bool:
        """Whether no more events go in."""
        return len(self.events) >= MOST_EVENTS or self.size >= MOST_BYTES

    def add(self, held: RoomEvent, service: AppService, now_ms: int) -> None:
        """Put an event in."""
        asker = Asker(user_id=service.sender, now_ms=now_ms)
        self.events.append(render(held, asker, previous=True))
        self.size += len(self.events[-1])
        self.upto = held.stream

    def encode(self, service: AppService) -> bytes:
        """The body of the transaction."""
        parts = [b'"events":[' + b",".join(self.events) + b"]"]
        for name in service.ephemeral_keys if self.ephemeral else ():
            parts.append(b'"' + name.encode() + b'":[' + b",".join(self.ephemeral) + b"]")
        if self.mail:
            parts.append(_member(_MSC2409 + "to_device", [_address(each) for each in self.mail]))
        if self.keys is not None:
            parts.append(_member(_MSC3202 + "device_lists", {"changed": self.keys.changed, "left": []}))
            parts.append(_member(_MSC3202 + "device_one_time_keys_count", self.keys.counts))
            parts.append(_member(_MSC3202 + "device_unused_fallback_key_types", self.keys.fallbacks))
        return b"{" + b",".join(parts) + b"}"


def encode_typing(room_id: str, users: Sequence[UserID]) -> bytes:
    """Who is typing in a room now."""
    return msgspec.json.encode({"type": "m.typing", "room_id": room_id, "content": {"user_ids": users}})


def encode_receipt(moved: ReceiptMoved) -> bytes:
    """Up to where somebody has read."""
    read: dict[str, Any] = {"ts": moved.at_ms}
    if moved.thread_id is not None:
        read["thread_id"] = moved.thread_id
    content = {moved.event_id: {moved.kind: {moved.user_id: read}}}
    return msgspec.json.encode({"type": "m.receipt", "room_id": moved.room_id, "content": content})


def load_key_news(txn: Txn, service_id: str, after: int) -> KeyNews | None:
    """What changed of keys after a position, and how many one-time keys a service's devices have now; None if nothing
    did and there are no such devices.
    """
    counts: dict[UserID, dict[DeviceID, dict[str, int]]] = {}
    fallbacks: dict[UserID, dict[DeviceID, list[str]]] = {}
    for user_id, device_id in load_encrypting(txn, service_id, MOST_DEVICES):
        counts.setdefault(user_id, {})[device_id] = count_one_time_keys(txn, user_id, device_id)
        fallbacks.setdefault(user_id, {})[device_id] = load_unused_fallback_types(txn, user_id, device_id)
    changed = load_changed_near(txn, service_id, after)
    return KeyNews(changed=changed, counts=counts, fallbacks=fallbacks) if changed or counts else None


def _member(name: str, value: object) -> bytes:
    return msgspec.json.encode(name) + b":" + msgspec.json.encode(value)


def _address(queued: Queued) -> dict[str, Any]:
    message: dict[str, Any] = msgspec.json.decode(queued.message)
    return {**message, "to_user_id": queued.user_id, "to_device_id": queued.device_id}
