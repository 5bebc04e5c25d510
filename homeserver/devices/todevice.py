"""Messages from device to device: queued until the device they are for has taken them.

Spec: client-server-api#send-to-device-messaging
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec

from federation.ids import DeviceID, ServerName, UserID, fits, server_of
from homeserver.policy import Invalid, Policy, SendToDevice, allows
from homeserver.storage import devices, todevice
from homeserver.storage.appservices import append_request
from homeserver.storage.database import Database, Txn
from homeserver.storage.outbox import find_near
from homeserver.storage.waiting import EDU, append_edu

ALL_DEVICES: Final = "*"
LARGEST: Final = 65_536
"""How many bytes one message may have: as many as an event."""
MOST_PEOPLE: Final = 5_000
"""To how many people one request may send."""

Messages: TypeAlias = Mapping[UserID, Mapping[str, Any]]
"""By recipient and device ID (or ``*``): the content of the message, a JSON object."""


class ToDevice:
    """Sends messages to devices of this server, and to other servers for theirs."""

    def __init__(self, database: Database, policy: Policy, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._policy = policy
        self._now_ms = now_ms

    async def send(self, sender: UserID, device_id: DeviceID, kind: str, txn_id: str, messages: Messages) -> None:
        """Queue messages of one type, once for each transaction ID of the sending device, or of who has none ("").

        Who is unknown here, or may not be written to, gets nothing, and the sender does not learn which it was. Of
        other servers, those get something that share a room with this one.

        Raises:
            Invalid: The type or a message is too large, or they are for too many.

        Spec: client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid
        """
        if not fits(kind) or not fits(txn_id):
            raise Invalid("M_INVALID_PARAM", "The type or the transaction ID is too long")
        if len(messages) > MOST_PEOPLE:
            raise Invalid("M_INVALID_PARAM", f"One request sends to at most {MOST_PEOPLE} people")
        encoded = {
            person: {device: encode_message(sender, kind, content) for device, content in by_device.items()}
            for person, by_device in messages.items()
            if await allows(self._policy, SendToDevice(by=sender, person=person, type=kind))
        }
        await self._database.write(_send, sender, device_id, (f"sendToDevice/{kind}", txn_id), self._now_ms(), encoded)


def encode_message(sender: UserID, kind: str, content: Any) -> bytes:
    """The event that a device gets.

    Raises: Invalid when it is too large.
    """
    message = msgspec.json.encode({"content": content, "sender": sender, "type": kind})
    if len(message) > LARGEST:
        raise Invalid("M_TOO_LARGE", f"A message has at most {LARGEST} bytes")
    return message


def _send(
    txn: Txn,
    sender: UserID,
    device_id: DeviceID,
    transaction: tuple[str, str],
    now_ms: int,
    messages: Mapping[UserID, Mapping[str, bytes]],
) -> None:
    """The unit of a sending."""
    if device_id:
        is_new = todevice.append_transaction(txn, sender, device_id, transaction, now_ms)
    else:
        is_new = append_request(txn, sender, *transaction, now_ms)
    if not is_new:
        return
    _send_elsewhere(txn, (sender, device_id, *transaction, str(now_ms)), now_ms, messages)
    known = devices.load_device_ids(txn, messages)
    todevice.append_messages(
        txn,
        [
            (person, device, messages[person].get(device) or messages[person][ALL_DEVICES])
            for person, theirs in known.items()
            for device in sorted(theirs)
            if device in messages[person] or ALL_DEVICES in messages[person]
        ],
    )


def _send_elsewhere(
    txn: Txn, source: tuple[str, ...], now_ms: int, messages: Mapping[UserID, Mapping[str, bytes]]
) -> None:
    """Let messages for people of other servers wait for these, under IDs that follow from where they come from.

    Spec: server-server-api#send-to-device-messaging
    """
    sender, kind = UserID(source[0]), source[2].partition("/")[2]
    servers: dict[ServerName, dict[UserID, Mapping[str, bytes]]] = {}
    for person, by_device in messages.items():
        if server_of(person) != server_of(sender):
            servers.setdefault(server_of(person), {})[person] = by_device
    for server in sorted(find_near(txn, servers)):
        for number, some in enumerate(_split(servers[server])):
            digest = sha256("\n".join((*source, server, str(number))).encode()).digest()
            content = {
                "sender": sender,
                "type": kind,
                "message_id": urlsafe_b64encode(digest[:24]).decode(),
                "messages": some,
            }
            append_edu(txn, EDU("m.direct_to_device", content), [server], now_ms)


def _split(messages: Mapping[UserID, Mapping[str, bytes]]) -> Iterator[dict[UserID, dict[str, Any]]]:
    """Messages in parts that are not too large, as contents."""
    part: dict[UserID, dict[str, Any]] = {}
    size = 0
    for person, by_device in messages.items():
        for device, message in by_device.items():
            if part and size + len(message) > LARGEST:
                yield part
                part, size = {}, 0
            part.setdefault(person, {})[device] = msgspec.json.decode(message)["content"]
            size += len(message)
    if part:
        yield part
