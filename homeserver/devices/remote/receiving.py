"""What other servers send of their people's devices, and to ours. Whoever of another server is named is not heard.

Spec: server-server-api#device-management, server-server-api#send-to-device-messaging
"""

from collections.abc import Mapping
from typing import Any, Final

from federation.errors import BadAnswer
from federation.ids import DeviceID, ServerName, UserID, fits
from federation.requests import parse_spoken_of
from homeserver.devices.remote.asking import find_identity_keys, read_cross_signing, read_stream_id
from homeserver.devices.remote.lists import RemoteLists, Update
from homeserver.devices.todevice import ALL_DEVICES, MOST_PEOPLE, encode_message
from homeserver.policy import Policy, SendToDevice, allows
from homeserver.storage import devices, keys, remotedevices, todevice
from homeserver.storage.database import Database, Txn

MOST_BEFORE: Final = 100
"""How many changes one may name that came before it."""
BOUNDS: Final = todevice.Bounds(each=64 << 20, all=512 << 20, share=256 << 10, server=4 << 30)
"""How much may wait before another server's messages are dropped: for a device as much as some 20,000 keys of rooms,
whatever others send, and where the server has sent too much to all devices as some 80.
"""


class DeviceNews:
    """Takes what other servers tell; each method is for one type of EDU, and bears to get it twice."""

    def __init__(self, lists: RemoteLists, database: Database, policy: Policy) -> None:
        self._lists = lists
        self._database = database
        self._policy = policy

    async def take_update(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take a change of a device list.

        Raises: BadAnswer; BadIdentifier; Refused.
        Spec: server-server-api#device-management
        """
        user_id = parse_spoken_of(origin, content.get("user_id"))
        device_id, before = content.get("device_id"), content.get("prev_id", [])
        if not isinstance(device_id, str) or not fits(device_id):
            raise BadAnswer("not a change of a device list")
        if not isinstance(before, list) or len(before) > MOST_BEFORE:
            raise BadAnswer("prev_id is not a list of changes")
        stream_id, earlier = read_stream_id(content.get("stream_id")), [read_stream_id(each) for each in before]
        is_gone = content.get("deleted") is True
        signed = None if is_gone else find_identity_keys(user_id, device_id, content.get("keys"))
        await self._lists.update(Update(user_id, DeviceID(device_id), signed, stream_id, earlier, is_gone))

    async def take_signing_keys(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take new cross-signing keys; those that are malformed or not signed by the master key are not taken.

        Raises: BadIdentifier; Refused.
        Spec: server-server-api#end-to-end-encryption
        """
        user_id = parse_spoken_of(origin, content.get("user_id"))
        stored = await self._database.read(keys.load_cross_signing_keys, [user_id])
        master = next((key for key in stored if key.usage == "master"), None)
        new = read_cross_signing(user_id, content, master)
        if new:
            await self._lists.update_cross_signing(user_id, new)

    async def take_messages(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take messages for devices of ours, once for each message ID of that server.

        Who is unknown here, or may not be written to, gets nothing.

        Raises: BadAnswer; BadIdentifier; Refused; Invalid for a message that is too large.
        Spec: server-server-api#send-to-device-messaging
        """
        sender = parse_spoken_of(origin, content.get("sender"))
        kind, message_id, messages = content.get("type"), content.get("message_id"), content.get("messages")
        if not isinstance(kind, str) or not fits(kind) or not isinstance(message_id, str) or not fits(message_id):
            raise BadAnswer("not a message for devices")
        if not isinstance(messages, dict) or len(messages) > MOST_PEOPLE:
            raise BadAnswer("messages are by person, and not for too many")
        people = [UserID(person) for person, by_device in messages.items() if isinstance(by_device, dict)]
        encoded = {
            person: {each: encode_message(sender, kind, value) for each, value in messages[person].items()}
            for person in await self._database.read(devices.load_device_ids, people)  # nobody is asked about the others
            if await self._may_send(sender, person, kind)
        }
        if encoded:
            await self._database.write(_take, origin, message_id, encoded)

    async def _may_send(self, sender: UserID, person: UserID, kind: str) -> bool:
        return await allows(self._policy, SendToDevice(by=sender, person=person, type=kind))


def _take(txn: Txn, origin: ServerName, message_id: str, messages: Mapping[UserID, Mapping[str, bytes]]) -> None:
    """The unit of a message: it is noted with the commit that queues it, or finds no room for it."""
    known = devices.load_device_ids(txn, messages)
    if not known or not remotedevices.append_received(txn, origin, message_id):
        return
    todevice.append_messages_of(
        txn,
        origin,
        [
            (person, device, messages[person].get(device) or messages[person][ALL_DEVICES])
            for person, theirs in known.items()
            for device in sorted(theirs)
            if device in messages[person] or ALL_DEVICES in messages[person]
        ],
        BOUNDS,
    )
