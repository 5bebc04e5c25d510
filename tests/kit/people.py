"""People at their devices, as tests drive them: short words for what a client does."""

from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from tests.kit.wire import Reply

V3 = "/_matrix/client/v3"
_txns = count(1)


class Asked(Protocol):
    """What answers requests: a server in this process."""

    async def call(
        self, method: str, path: str, json: object = None, *, token: str | None = None, body: bytes | None = None
    ) -> Reply:
        """Make a request."""


@dataclass(kw_only=True, eq=False)
class Person:
    """Somebody at a device. What they do fails the test when the server refuses; `call` and `refused` do not."""

    server: Asked
    user_id: str
    device_id: str
    token: str
    since: str | None = None

    async def call(self, method: str, path: str, json: object = None, **query: object) -> Reply:
        """Make a request; a path that begins with no API is one of v3."""
        where = path if path.startswith(("/_", "/.")) else V3 + path
        fields = {name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
                  for name, value in query.items() if value is not None}  # fmt: skip
        return await self.server.call(
            method, where + ("?" + urlencode(fields) if fields else ""), json, token=self.token
        )

    async def ok(self, method: str, path: str, json: object = None, **query: object) -> Any:
        """Make a request that is done; its answer."""
        reply = await self.call(method, path, json, **query)
        assert reply.status == 200, (method, path, reply.status, reply.body)
        return reply.json

    async def refused(self, method: str, path: str, json: object = None, **query: object) -> tuple[int, str]:
        """Make a request that is not done; status and errcode."""
        reply = await self.call(method, path, json, **query)
        assert reply.status >= 400, (method, path, reply.status, reply.body)
        return reply.status, reply.errcode

    async def create_room(self, **wanted: object) -> str:
        """Create a room; its ID."""
        room_id: str = (await self.ok("POST", "/createRoom", wanted))["room_id"]
        return room_id

    async def join(self, room: str) -> None:
        """Join a room, by ID or alias."""
        await self.ok("POST", f"/join/{quote(room, safe='')}", {})

    async def leave(self, room: str) -> None:
        """Leave a room, or refuse an invitation."""
        await self.ok("POST", f"/rooms/{quote(room)}/leave", {})

    async def invite(self, room: str, other: "Person") -> None:
        """Invite somebody."""
        await self.ok("POST", f"/rooms/{quote(room)}/invite", {"user_id": other.user_id})

    async def send(self, room: str, text: str, *, txn: str | None = None) -> str:
        """Say something; the event's ID."""
        content = {"msgtype": "m.text", "body": text}
        return await self.send_event(room, "m.room.message", content, txn=txn)

    async def send_event(self, room: str, kind: str, content: object, *, txn: str | None = None) -> str:
        """Send an event; its ID."""
        path = f"/rooms/{quote(room)}/send/{quote(kind)}/{quote(txn or f't{next(_txns)}', safe='')}"
        event_id: str = (await self.ok("PUT", path, content))["event_id"]
        return event_id

    async def set_state(self, room: str, kind: str, content: object, key: str = "") -> str:
        """Set state; the event's ID."""
        path = f"/rooms/{quote(room)}/state/{quote(kind)}/{quote(key, safe='')}"
        event_id: str = (await self.ok("PUT", path, content))["event_id"]
        return event_id

    async def texts(self, room: str) -> list[str]:
        """What was said in a room, the latest first."""
        page = await self.ok("GET", f"/rooms/{quote(room)}/messages", dir="b", limit=100)
        return [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]

    async def sync(self, **query: object) -> Any:
        """Sync from where the last sync ended."""
        answer = await self.ok("GET", "/sync", since=self.since, **{"timeout": 0, **query})
        self.since = answer["next_batch"]
        return answer

    async def upload(self, content: bytes) -> str:
        """Upload a file; its mxc URI."""
        reply = await self.server.call("POST", "/_matrix/media/v3/upload", token=self.token, body=content)
        assert reply.status == 200, reply
        uri: str = reply.json["content_uri"]
        return uri
