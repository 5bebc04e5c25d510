"""Two devices meet so that one signs the other in by a QR code: in the form of 2025 (JSON) and of 2024 (text, ETags).

Spec: MSC4388, MSC4108
"""

from email.utils import formatdate
from typing import Final

from msgspec import Struct

from homeserver.accounts.rendezvous import Place, Rendezvous
from homeserver.api.errors import BadParam, MatrixError, MissingParam, TooLarge
from homeserver.api.limits import address_key
from homeserver.api.route import Answer, Call, Reply, Route
from homeserver.policy import Conflict

MOST_BYTES: Final = 4096
_NEW: Final = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
_OLD: Final = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
_TEXT: Final = "text/plain"


class First(Struct):
    """The first text."""

    data: str


class Change(Struct):
    """A text in place of the one with that token."""

    sequence_token: str
    data: str


def routes(rendezvous: Rendezvous, base_url: str) -> tuple[Route, ...]:
    """The endpoints of both forms; `base_url` is where clients find this server."""
    api = _RendezvousAPI(rendezvous, base_url.rstrip("/"))
    one = "/{rendezvousId}"
    return (
        Route(method="GET", path=_NEW, handle=api.discover, auth="optional", rate="other", spec="MSC4388"),
        Route(method="POST", path=_NEW, handle=api.make, auth="optional", rate="create", spec="MSC4388", body=First),
        Route(method="GET", path=_NEW + one, handle=api.see, auth="none", rate="other", spec="MSC4388"),
        Route(method="PUT", path=_NEW + one, handle=api.change, auth="none", rate="other", spec="MSC4388", body=Change),
        Route(method="DELETE", path=_NEW + one, handle=api.end, auth="none", rate="other", spec="MSC4388"),
        Route(method="POST", path=_OLD, handle=api.make_text, auth="optional", rate="create", spec="MSC4108",
              streaming=True, body_limit=MOST_BYTES),
        Route(method="GET", path=_OLD + one, handle=api.see_text, auth="none", rate="other", spec="MSC4108"),
        Route(method="PUT", path=_OLD + one, handle=api.change_text, auth="none", rate="other", spec="MSC4108",
              streaming=True, body_limit=MOST_BYTES),
        Route(method="DELETE", path=_OLD + one, handle=api.end_text, auth="none", rate="other", spec="MSC4108"),
    )  # fmt: skip


class _RendezvousAPI:
    def __init__(self, rendezvous: Rendezvous, base_url: str) -> None:
        self._rendezvous = rendezvous
        self._base_url = base_url

    async def discover(self, call: Call) -> Reply:
        return {"create_available": await self._rendezvous.may_make(call.asker)}

    async def make(self, call: Call) -> Reply:
        body: First = call.body
        place = await self._make(call, body.data)
        return {"id": place.id, "sequence_token": place.token, "expires_in_ms": self._rendezvous.left_ms(place)}

    async def see(self, call: Call) -> Reply:
        place = self._find(call)
        left_ms = self._rendezvous.left_ms(place)
        return {"data": place.data, "sequence_token": place.token, "expires_in_ms": left_ms}

    async def change(self, call: Call) -> Reply:
        body: Change = call.body
        place = self._rendezvous.change(call.params["rendezvousId"], body.sequence_token, _bounded(body.data))
        return {"sequence_token": place.token}

    async def end(self, call: Call) -> Reply:
        self._rendezvous.end(call.params["rendezvousId"])
        return {}

    async def make_text(self, call: Call) -> Reply:
        place = await self._make(call, _read_text(call))
        url = f"{self._base_url}{_OLD}/{place.id}"
        return Answer(status=201, body={"url": url}, headers={**_headers(place), "Content-Type": "application/json"})

    async def see_text(self, call: Call) -> Reply:
        place = self._find(call)
        if call.header("if-none-match") == _etag(place):
            return Answer(status=304, body=b"", headers=_headers(place))
        return Answer(body=place.data.encode(), headers={**_headers(place), "Content-Type": _TEXT})

    async def change_text(self, call: Call) -> Reply:
        seen = call.header("if-match")
        if seen is None:
            raise MissingParam("If-Match")
        if len(seen) < 3 or not seen.startswith('"') or not seen.endswith('"') or '"' in seen[1:-1]:
            raise BadParam("If-Match needs the ETag of one text")
        try:
            place = self._rendezvous.change(call.params["rendezvousId"], seen[1:-1], _read_text(call))
        except Conflict as fault:
            headers = _headers(self._rendezvous.find(call.params["rendezvousId"]))
            raise MatrixError(412, fault.errcode, fault.why, headers=headers) from None
        return Answer(status=202, body=b"", headers=_headers(place))

    async def end_text(self, call: Call) -> Reply:
        self._rendezvous.end(call.params["rendezvousId"])
        return Answer(status=204, body=b"")

    async def _make(self, call: Call, data: str) -> Place:
        return await self._rendezvous.make(call.asker, address_key(call.ip), _bounded(data))

    def _find(self, call: Call) -> Place:
        if call.header("sec-fetch-mode") == "navigate":
            raise MatrixError(403, "M_FORBIDDEN", "This is for devices, and no page to be shown")
        return self._rendezvous.find(call.params["rendezvousId"])


def _bounded(data: str) -> str:
    if len(data.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise TooLarge(MOST_BYTES)
    return data


def _read_text(call: Call) -> str:
    kind = call.header("content-type")
    if kind is None:
        raise MissingParam("Content-Type")
    if kind.partition(";")[0].strip().lower() != _TEXT:
        raise BadParam("The content must be text/plain")
    try:
        return call.content.read().decode()
    except UnicodeDecodeError:
        raise BadParam("The text must be UTF-8") from None


def _etag(place: Place) -> str:
    return f'"{place.token}"'


def _headers(place: Place) -> dict[str, str]:
    return {
        "ETag": _etag(place),
        "Expires": formatdate(place.ends_ms // 1000, usegmt=True),
        "Last-Modified": formatdate(place.changed_ms // 1000, usegmt=True),
        "Cache-Control": "no-store",
        "Pragma": "no-cache",
        "Access-Control-Expose-Headers": "ETag",
    }
