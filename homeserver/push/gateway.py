"""Push gateways: what is said to one, and how.

Spec: push-gateway-api#homeserver-behaviour
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from twisted.internet.defer import DeferredSemaphore

from federation.errors import RemoteFault
from federation.transport.agent import Incoming, Outgoing
from homeserver.push.rules import Outcome
from homeserver.rooms.room import Room
from homeserver.storage.events import RoomEvent
from homeserver.storage.pushers import Pusher

AT_ONCE: Final = 8
"""How many requests wait for one gateway's answer at a time."""
WITHIN_S: Final = 20.0
MOST_ANSWERED: Final = 1 << 16
_URGENT: Final = frozenset({"m.room.encrypted", "m.call.invite"})


class NotTaken(RemoteFault):
    """The gateway answered with something else than that it took the notification."""


class Asks(Protocol):
    """Makes requests outward."""

    async def ask(self, request: Outgoing) -> Incoming:
        """Make a request and hear the whole answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An event that somebody is to be notified of since `at_ms`, and what their rules say of it."""

    held: RoomEvent
    room: Room
    outcome: Outcome
    thread: str
    at_ms: int


class _Answer(msgspec.Struct):
    rejected: list[Any] = []


_decoder: Final = msgspec.json.Decoder(_Answer)


class Gateways:
    """Tells gateways, a few at a time each."""

    def __init__(self, outward: Asks) -> None:
        self._outward = outward
        self._turns: dict[str, DeferredSemaphore] = {}

    async def tell(self, url: str, notification: Mapping[str, Any]) -> frozenset[str]:
        """Tell a gateway; the pushkeys that it rejects.

        Raises:
            RemoteFault: it could not be reached, or did not take it.
        Spec: push-gateway-api#post_matrixpushv1notify
        """
        host = urlsplit(url).netloc
        turns = self._turns.get(host)
        if turns is None:
            turns = self._turns[host] = DeferredSemaphore(AT_ONCE)
        await turns.acquire()
        try:
            return await self._tell(url, notification)
        finally:
            turns.release()
            if turns.tokens == turns.limit:
                self._turns.pop(host, None)

    async def _tell(self, url: str, notification: Mapping[str, Any]) -> frozenset[str]:
        answer = await self._outward.ask(
            Outgoing(
                method="POST",
                url=url,
                headers={"Content-Type": "application/json"},
                body=msgspec.json.encode({"notification": notification}),
                most_bytes=MOST_ANSWERED,
                within_s=WITHIN_S,
            )
        )
        if answer.status != 200:
            raise NotTaken(f"status {answer.status}")
        try:
            return frozenset(key for key in _decoder.decode(answer.body).rejected if isinstance(key, str))
        except msgspec.DecodeError:
            return frozenset()


def build_notification(pusher: Pusher, notice: Notice, unread: int, *, bare: bool) -> dict[str, Any]:
    """What a gateway is told of an event: all of it, or with `bare` nothing that was said, by whom and where.

    Spec: push-gateway-api#post_matrixpushv1notify
    """
    told: dict[str, Any] = {
        "event_id": notice.held.event_id,
        "room_id": notice.room.room_id,
        "prio": "high" if _is_urgent(notice) else "low",
        "counts": {"unread": unread} if unread else {},
        "devices": [_device(pusher, _tweaks(notice.outcome))],
    }
    if not (bare or pusher.details.data.get("format") == "event_id_only"):
        told |= _describe(notice, pusher.key.user_id)
    return told


def build_badge(pusher: Pusher, unread: int) -> dict[str, Any]:
    """What a gateway is told when only the number of unread notifications changed.

    A zero is said: left out, gateways would leave the old number standing, and it is all that there is to tell.

    Spec: push-gateway-api#post_matrixpushv1notify
    """
    return {"counts": {"unread": unread}, "devices": [_device(pusher, {})]}


def _device(pusher: Pusher, tweaks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "app_id": pusher.key.app_id,
        "pushkey": pusher.key.pushkey,
        "pushkey_ts": pusher.set_ms // 1000,
        "data": {name: value for name, value in pusher.details.data.items() if name != "url"},
        "tweaks": tweaks,
    }


def _tweaks(outcome: Outcome) -> dict[str, Any]:
    """Spec: client-server-api#actions."""
    tweaks = [action for action in outcome.actions if isinstance(action, dict) and "set_tweak" in action]
    return {
        tweak["set_tweak"]: tweak.get("value", True if tweak["set_tweak"] == "highlight" else None) for tweak in tweaks
    }


def _is_urgent(notice: Notice) -> bool:
    """Whether somebody should hear of it at once, or might: of what is encrypted nobody here can tell."""
    return notice.outcome.highlight or "sound" in _tweaks(notice.outcome) or notice.held.type in _URGENT


def _describe(notice: Notice, user_id: str) -> dict[str, Any]:
    event, room = notice.held.event, notice.room
    sender = room.shown.find(("m.room.member", event.sender))
    told = {
        "type": event.type,
        "sender": event.sender,
        "content": event.content,
        "sender_display_name": None if sender is None else sender.content.get("displayname"),
        "room_name": _setting(room, "m.room.name", "name"),
        "room_alias": _setting(room, "m.room.canonical_alias", "alias"),
    }
    if event.type == "m.room.member":
        told["user_is_target"] = event.state_key == user_id
    return {name: value for name, value in told.items() if value is not None}


def _setting(room: Room, event_type: str, field: str) -> str | None:
    event = room.state(event_type)
    value = None if event is None else event.content.get(field)
    return value if isinstance(value, str) and value else None
