"""Other homeservers, as cheap as can be: each has one user in a room of version 11, answers everything, notes what comes.

All of them live in one process, at addresses of their own (127.1.0.1, 127.1.0.2, ...) and one port, with TLS by one
self-signed certificate. They sign what they send, and check nothing of what they get.
"""
import asyncio
import base64
import hashlib
import ssl
import time
from urllib.parse import quote

import orjson
from nacl.signing import SigningKey

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
VERSION = "11"
KEPT = ("auth_events", "content", "depth", "hashes", "origin_server_ts", "prev_events", "room_id", "sender",
        "state_key", "type")
now = time.perf_counter


def unpadded(raw):
    return base64.b64encode(raw).decode().rstrip("=")


def canonical(value):
    """Canonical JSON of what holds neither floats nor strange characters."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


class Server:
    """One of them: `here` is where it is reached, `user` who it has; `bodies` says when each message came."""

    def __init__(self, host, port):
        self.name = f"{host}:{port}"
        self.user = f"@elsewhere:{self.name}"
        self.key = SigningKey(hashlib.sha256(self.name.encode()).digest())
        self.bodies, self.transactions, self.sent = {}, 0, 0
        self.delay = 0.0    # how long a transaction waits for its answer
        self.ends = None
        self.depth = 0

    # signing

    def sign(self, value):
        bare = {k: v for k, v in value.items() if k not in ("signatures", "unsigned")}
        return {self.name: {"ed25519:1": unpadded(self.key.sign(canonical(bare)).signature)}}

    def keys(self):
        answer = {"server_name": self.name, "valid_until_ts": int(time.time() * 1000) + 86400000, "old_verify_keys": {},
                  "verify_keys": {"ed25519:1": {"key": unpadded(bytes(self.key.verify_key))}}}
        return {**answer, "signatures": self.sign(answer)}

    def headers(self, target, method, uri, content):
        """The header that signs a request."""
        request = {"method": method, "uri": uri, "origin": self.name, "destination": target}
        if content is not None:
            request["content"] = content
        sig = self.sign(request)[self.name]["ed25519:1"]
        return (f'X-Matrix origin="{self.name}",destination="{target}",key="ed25519:1",sig="{sig}"')

    def seal(self, event):
        """(event ID, the event with hash and signature); only members and messages are redacted rightly here."""
        event = {**event, "origin_server_ts": int(time.time() * 1000)}
        event["hashes"] = {"sha256": unpadded(hashlib.sha256(canonical(event)).digest())}
        kept = {k: v for k, v in event.items() if k in KEPT}
        member = event["type"] == "m.room.member"
        kept["content"] = {"membership": event["content"]["membership"]} if member else {}
        digest = hashlib.sha256(canonical(kept)).digest()
        return "$" + base64.urlsafe_b64encode(digest).decode().rstrip("="), {**event, "signatures": self.sign(kept)}

    # what it does

    async def ask(self, client, target, method, path, content=None):
        r = await client.request(method, path, None, content, auth=self.headers(target, method, path, content))
        if r.status != 200:
            raise RuntimeError(f"{method} {path[:100]}: {r.status} {r.body[:300]!r}")
        return r

    async def join(self, client, target, room):
        """Be in the room; `client` makes requests to its server `target`."""
        path = f"{V1}/make_join/{quote(room)}/{quote(self.user)}?ver={VERSION}"
        made = (await self.ask(client, target, "GET", path)).json()["event"]
        event = {k: made[k] for k in ("room_id", "prev_events", "auth_events", "depth")}
        event |= {"type": "m.room.member", "sender": self.user, "state_key": self.user,
                  "content": {"membership": "join"}}
        event_id, pdu = self.seal(event)
        await self.ask(client, target, "PUT", f"{V2}/send_join/{quote(room)}/{quote(event_id)}", pdu)
        self.ends, self.depth, self.room, self.member = [event_id], pdu["depth"], room, event_id

    def build_messages(self, bodies, auth):
        """PDUs, each after the one before it; `auth` are the room's create event and power levels."""
        pdus = []
        for body in bodies:
            self.depth += 1
            event_id, pdu = self.seal({
                "type": "m.room.message", "sender": self.user, "room_id": self.room, "depth": self.depth,
                "prev_events": self.ends, "auth_events": [*auth, self.member],
                "content": {"msgtype": "m.text", "body": body}})
            self.ends = [event_id]
            pdus.append(pdu)
        return pdus

    async def send(self, client, target, pdus):
        """One transaction; the answer."""
        self.sent += 1
        content = {"origin": self.name, "origin_server_ts": int(time.time() * 1000), "pdus": pdus, "edus": []}
        return await self.ask(client, target, "PUT", f"{V1}/send/{self.sent}.{int(time.time() * 1000)}", content)

    # what it answers

    def answer(self, method, path, body):
        """(status, object) for a request, and after how many seconds."""
        if path.startswith("/_matrix/key/v2/server"):
            return 200, self.keys(), 0
        if method == "PUT" and path.startswith(V1 + "/send/"):
            t = now()
            self.transactions += 1
            pdus = orjson.loads(body)["pdus"]
            for pdu in pdus:
                text = pdu["content"].get("body")
                if text is not None:
                    self.bodies.setdefault(text, t)
            return 200, {"pdus": {}}, self.delay
        return 404, {"errcode": "M_NOT_FOUND", "error": "Not here"}, 0


class _Connection(asyncio.Protocol):
    """A keep-alive connection to one of the servers: requests with a length, one after the other."""

    def __init__(self, servers):
        self.servers, self.buf, self.busy = servers, bytearray(), False

    def connection_made(self, transport):
        self.transport = transport
        self.server = self.servers[transport.get_extra_info("sockname")[0]]

    def data_received(self, data):
        self.buf += data
        self._next()

    def _next(self):
        end = self.buf.find(b"\r\n\r\n")
        if self.busy or end < 0:
            return
        head = bytes(self.buf[:end]).decode("latin-1")
        lines = head.split("\r\n")
        length = next((int(x.partition(":")[2]) for x in lines if x.lower().startswith("content-length:")), 0)
        if len(self.buf) < end + 4 + length:
            return
        body = bytes(self.buf[end + 4:end + 4 + length])
        del self.buf[:end + 4 + length]
        method, path, _ = lines[0].split(" ", 2)
        status, value, delay = self.server.answer(method, path, body)
        raw = orjson.dumps(value)
        answer = (f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(raw)}\r\n\r\n").encode() + raw
        self.busy = True
        if delay:
            asyncio.get_running_loop().call_later(delay, self._reply, answer)
        else:
            self._reply(answer)

    def _reply(self, answer):
        self.busy = False
        if not self.transport.is_closing():
            self.transport.write(answer)
            self._next()


class Elsewhere:
    """Some of these servers, listening."""

    def __init__(self, port, count, cert):
        self.port = port
        self.servers = {f"127.1.0.{i + 1}": Server(f"127.1.0.{i + 1}", port) for i in range(count)}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*cert)
        self._listening = None

    async def start(self):
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self.servers), list(self.servers), self.port, ssl=self._context, backlog=512)
        return list(self.servers.values())

    def stop(self):
        if self._listening is not None:
            self._listening.close()
