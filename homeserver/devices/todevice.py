"""Messages from device to device: queued until the device they are for has taken them.

Spec: client-server-api#send-to-device-messaging
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from federation.ids import DeviceID, UserID, fits
from homeserver.policy import Invalid, Policy, SendToDevice, allows
from homeserver.storage import devices, todevice
from homeserver.storage.appservices import append_request
from homeserver.storage.database import Database, Txn

ALL_DEVICES: Final = "*"
LARGEST: Final = 65_536
"""How many bytes one message may have: as many as an event."""
MOST_PEOPLE: Final = 5_000
"""To how many people one request may send."""

Messages: TypeAlias = Mapping[UserID, Mapping[str, Any]]
"""By recipient and device ID (or ``*``): the content of the message, a JSON object."""


class ToDevice:
    """Sends messages to devices of this server."""

    def __init__(self, database: Database, policy: Policy, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._policy = policy
        self._now_ms = now_ms

    async def send(self, sender: UserID, device_id: DeviceID, kind: str, txn_id: str, messages: Messages) -> None:
        """Queue messages of one type, once for each transaction ID of the sending device, or of who has none ("").

        Who is unknown here, or may not be written to, gets nothing, and the sender does not learn which it was.

        Raises:
            Invalid: The type or a message is too large, or they are for too many.

        Spec: client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid
        """
        if not fits(kind) or not fits(txn_id):
            raise Invalid("M_INVALID_PARAM", "The type or the transaction ID is too long")
        if len(messages) > MOST_PEOPLE:
            raise Invalid("M_INVALID_PARAM", f"One request sends to at most {MOST_PEOPLE} people")
        encoded = {
            person: {device: _encode(sender, kind, content) for device, content in by_device.items()}
            for person, by_device in messages.items()
            if await allows(self._policy, SendToDevice(by=sender, person=person, type=kind))
        }
        await self._database.write(_send, sender, device_id, (f"sendToDevice/{kind}", txn_id), self._now_ms(), encoded)


def _encode(sender: UserID, kind: str, content: Any) -> bytes:
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
