"""Requests between servers, signed by the one that asks, and of whom it may speak in them.

Spec: server-server-api#request-authentication
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from federation import canonical
from federation.ed25519 import SigningKey, VerifyKey, is_ed25519_key_id
from federation.errors import BadIdentifier, BadRequestAuth, Refused
from federation.ids import ServerName, UserID, parse_server_name, parse_user_id, server_of
from federation.unpadded import encode_base64, find_base64

MAX_BODY_DEPTH: Final = canonical.MAX_DEPTH + 8
"""How deeply a body may nest: events as deep as events may be, inside a transaction."""

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_SCHEME: Final = re.compile(r"x-matrix +", re.IGNORECASE | re.ASCII)
_PARAMETER: Final = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?:({_QUOTED})|([!#$%&'*+.^_`|~0-9A-Za-z:/=-]+))")
"""Older servers put nothing in quotes: neither the colons of names nor what else base64 has."""
_COMMA: Final = re.compile(r"[ \t]*,[ \t,]*")
"""Between two parameters, and none of them where there are several: that is nothing, as in any list of HTTP."""
_ESCAPED: Final = re.compile(r"\\(.)")
_MAX_HEADER: Final = 4096


class XMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """What the `Authorization` header of a request claims; `destination` is None when an old server left it out."""

    origin: ServerName
    destination: ServerName | None
    key_id: str
    signature: str


def build_request_auth(
    method: str, uri: str, origin: ServerName, destination: ServerName, content: object | None, key: SigningKey
) -> str:
    """The `Authorization` header of a request of ours.

    `uri` is the path from `/_matrix` on with its query string; `content` the body, None when there is none, as a value
    or as `msgspec.Raw` canonical JSON, which is then not encoded again.

    Raises: BadJSON when the body has no canonical form.
    Spec: server-server-api#request-authentication
    """
    signature = encode_base64(key.sign(_signed_request(method, uri, origin, destination, content)))
    return f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'


def parse_request_auth(header: str) -> XMatrix:
    """What the header claims. Names of parameters may be in any case and order; unknown ones are ignored.

    Raises: BadRequestAuth.
    Spec: server-server-api#request-authentication
    """
    parameters = _parse_parameters(header)
    try:
        origin = parse_server_name(parameters.get("origin", ""))
        destination = parse_server_name(parameters["destination"]) if "destination" in parameters else None
    except BadIdentifier as error:
        raise BadRequestAuth(str(error)) from None
    key_id, signature = parameters.get("key", ""), parameters.get("sig", parameters.get("signature"))
    if not is_ed25519_key_id(key_id) or signature is None:
        raise BadRequestAuth("no ed25519 key, or no signature")
    return XMatrix(origin=origin, destination=destination, key_id=key_id, signature=signature)


def check_request(
    auth: XMatrix, key: VerifyKey, *, method: str, uri: str, server: ServerName, content: object | None
) -> None:
    """Check that the request came from `auth.origin` and was meant for us, `server`.

    `key` is the one `auth.key_id` names, which must be valid now. Whoever leaves out the destination has still signed
    it.

    Raises: BadRequestAuth.
    Spec: server-server-api#request-authentication
    """
    if auth.destination is not None and auth.destination != server:
        raise BadRequestAuth("the request is for another server")
    signature = find_base64(auth.signature)
    try:
        message = _signed_request(method, uri, auth.origin, server, content)
    except ValueError as error:
        raise BadRequestAuth(f"nobody can sign that: {error}") from None
    if signature is None or not key.has_signed(message, signature):
        raise BadRequestAuth("the signature is wrong")


def parse_spoken_of(origin: ServerName, user_id: object) -> UserID:
    """The user that another server tells something of: one of its own people, for it speaks of nobody else.

    Raises: BadIdentifier; Refused.
    Spec: server-server-api#edus
    """
    person = parse_user_id(user_id if isinstance(user_id, str) else "")
    if server_of(person) != origin:
        raise Refused("edu", "a server speaks of its own people only")
    return person


def _signed_request(
    method: str, uri: str, origin: ServerName, destination: ServerName, content: object | None
) -> bytes:
    """The signed object. Bodies hold events of old rooms too, so numbers are not judged here."""
    request: dict[str, Any] = {"destination": destination, "method": method, "origin": origin, "uri": uri}
    if content is not None:
        if not isinstance(content, msgspec.Raw):
            content = msgspec.Raw(canonical.encode(content, strict=False, max_depth=MAX_BODY_DEPTH))
        request["content"] = content
    return canonical.encode_checked(request)


def _parse_parameters(header: str) -> Mapping[str, str]:
    scheme = _SCHEME.match(header) if len(header) <= _MAX_HEADER else None
    if scheme is None:
        raise BadRequestAuth("not an X-Matrix header, or too long")
    parameters: dict[str, str] = {}
    at, end = scheme.end(), len(header.rstrip(" \t"))
    while True:
        found = _PARAMETER.match(header, at, end)
        if found is None or found[1].lower() in parameters:
            raise BadRequestAuth("a parameter is malformed, or given twice")
        name, quoted, plain = found.groups()
        parameters[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted[1:-1])
        if found.end() == end:
            return parameters
        comma = _COMMA.match(header, found.end(), end)
        if comma is None:
            raise BadRequestAuth("no comma between two parameters")
        at = comma.end()
        if at == end:
            return parameters
