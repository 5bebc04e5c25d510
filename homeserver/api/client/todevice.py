"""Send messages to devices.

Spec: client-server-api#send-to-device-messaging
"""

from typing import Any

from msgspec import Struct

from federation.ids import parse_user_id
from homeserver.api.route import Call, Reply, Route
from homeserver.devices.todevice import ToDevice


class ToDeviceBody(Struct, frozen=True):
    """Messages by recipient and device.

    Spec: client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid
    """

    messages: dict[str, dict[str, dict[str, Any]]]


def routes(to_device: ToDevice) -> tuple[Route, ...]:
    """The endpoint of send-to-device messages."""
    api = _ToDeviceAPI(to_device)
    return (
        Route(
            method="PUT",
            path="/_matrix/client/v3/sendToDevice/{eventType}/{txnId}",
            handle=api.send,
            rate="keys",
            spec="client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid",
            body=ToDeviceBody,
        ),
    )


class _ToDeviceAPI:
    def __init__(self, to_device: ToDevice) -> None:
        self._to_device = to_device

    async def send(self, call: Call) -> Reply:
        body: ToDeviceBody = call.body
        messages = {parse_user_id(person): by_device for person, by_device in body.messages.items()}
        who = call.caller
        await self._to_device.send(who.user_id, who.device_id, call.params["eventType"], call.params["txnId"], messages)
        return {}
