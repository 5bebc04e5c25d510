"""A client of a server in another process, over loopback: one connection, and it knows when no answer came."""

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

V3 = "/_matrix/client/v3"
PASSWORD = "correct horse battery"


class Lost(Exception):
    """No whole answer came: the server may have done what was asked, or not."""


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class Refusal(AssertionError):
    """The answer was not 200, and should have been."""

    def __init__(self, request: str, answer: Answer) -> None:
        super().__init__(f"{request}: {answer.status} {answer.body[:500]!r}")
        self.answer = answer


class Caller:
    """Somebody's client. A path without an API is one of v3; `{}` in it take the `parts`, percent-encoded."""

    def __init__(self, port: int, token: str | None = None, *, timeout: float = 30.0) -> None:
        self.token = token
        self.user_id = ""
        self.device_id = ""
        self._connection = HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(
        self,
        method: str,
        path: str,
        json: object = None,
        *parts: str,
        body: bytes | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Answer:
        """Make a request.

        Raises: Lost.
        """
        where = path.format(*(quote(part, safe="") for part in parts))
        where = where if where.startswith("/_") else V3 + where
        if query:
            where += "?" + urlencode({name: str(value) for name, value in query.items()})
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        if json is not None:
            body = msgspec.json.encode(json)
        elif body is not None:
            headers["Content-Type"] = "application/octet-stream"
        try:
            self._connection.request(method, where, body, headers)
            response = self._connection.getresponse()
            received = response.read()
        except (OSError, HTTPException) as fault:
            self._connection.close()
            raise Lost(f"{method} {where}") from fault
        return Answer(response.status, dict(response.getheaders()), received)

    def call(self, method: str, path: str, json: object = None, *parts: str, **more: Any) -> Any:
        """Make a request that must be granted; the body of the answer, decoded.

        Raises: Lost; Refusal.
        """
        answer = self.ask(method, path, json, *parts, **more)
        if answer.status != 200:
            raise Refusal(f"{method} {path} {parts}", answer)
        return answer.json

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def take(self, session: Mapping[str, str]) -> "Caller":
        """Use a session from now on."""
        self.token, self.user_id, self.device_id = session["access_token"], session["user_id"], session["device_id"]
        return self


def register(port: int, name: str) -> Caller:
    """A new person's client, on a server where anybody may register."""
    caller = Caller(port)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    return caller.take(caller.call("POST", "/register", body))


def log_in(port: int, name: str) -> Caller:
    """One more client of a person."""
    caller = Caller(port)
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": PASSWORD}
    return caller.take(caller.call("POST", "/login", body))
