"""Finding the route of a request."""

import pytest

from homeserver.api.errors import BadParam, Unrecognized, WrongMethod
from homeserver.api.route import Answer, Call, Match, Route, Router

ROOM = "/_matrix/client/v3/rooms/{roomId}"


async def nothing(call: Call) -> Answer:
    return Answer()


def declare(method: str, path: str) -> Route:
    return Route(method=method, path=path, handle=nothing)


ROUTES = (
    declare("GET", "/_matrix/client/versions"),
    declare("GET", ROOM + "/state"),
    declare("GET", ROOM + "/state/{eventType}"),
    declare("GET", ROOM + "/state/{eventType}/{stateKey}"),
    declare("PUT", ROOM + "/state/{eventType}/{stateKey}"),
    declare("GET", "/_matrix/client/v3/profile/{userId}"),
    declare("PUT", "/_matrix/client/v3/profile/{userId}/displayname"),
    declare("PUT", "/_matrix/client/v3/profile/{userId}/{keyName}"),
    declare("GET", "/_matrix/client/v3/profile/{userId}/{keyName}"),
    declare("GET", "/_matrix/client/v3/pushrules/"),
    declare("GET", "/_matrix/media/v3/config"),
    declare("GET", "/a/b/c"),
    declare("GET", "/a/{x}/d"),
)
ROUTER = Router(ROUTES)


def match(method: str, path: str) -> Match:
    return ROUTER.match(method.encode(), path.encode())


@pytest.mark.parametrize(
    ("path", "declared", "params"),
    [
        ("/_matrix/client/versions", "/_matrix/client/versions", {}),
        ("/_matrix/client/v3/rooms/!a/state", ROOM + "/state", {"roomId": "!a"}),
        ("/_matrix/client/r0/rooms/!a/state", ROOM + "/state", {"roomId": "!a"}),
        ("/_matrix/media/r0/config", "/_matrix/media/v3/config", {}),
        (
            "/_matrix/client/v3/rooms/%21a%3Ab.c/state/m.room.name/",
            ROOM + "/state/{eventType}/{stateKey}",
            {"roomId": "!a:b.c", "eventType": "m.room.name", "stateKey": ""},
        ),
        (
            "/_matrix/client/v3/rooms/!a/state/a%2Fb/%D0%BA%d0%bb%2525",
            ROOM + "/state/{eventType}/{stateKey}",
            {"roomId": "!a", "eventType": "a/b", "stateKey": "кл%25"},
        ),
        ("/_matrix/client/v3/rooms//state", ROOM + "/state", {"roomId": ""}),
        ("/_matrix/client/v3/%72ooms/a+b/state", ROOM + "/state", {"roomId": "a+b"}),
        ("/_matrix/client/v3/pushrules/", "/_matrix/client/v3/pushrules/", {}),
        ("/a/b/d", "/a/{x}/d", {"x": "b"}),
    ],
)
def test_a_path_finds_its_route_and_its_parameters(path: str, declared: str, params: dict[str, str]) -> None:
    found = match("GET", path)
    assert found.route.path == declared
    assert found.params() == params


def test_a_word_goes_before_a_parameter() -> None:
    assert match("PUT", "/_matrix/client/v3/profile/@a/displayname").route.path.endswith("displayname")
    assert match("PUT", "/_matrix/client/v3/profile/@a/m.tz").route.path.endswith("{keyName}")


def test_a_word_that_lacks_the_method_does_not_hide_the_parameter_beside_it() -> None:
    assert match("GET", "/_matrix/client/v3/profile/@a/displayname").params() == {
        "userId": "@a",
        "keyName": "displayname",
    }


def test_head_is_get() -> None:
    assert match("HEAD", "/_matrix/client/versions").route.method == "GET"


@pytest.mark.parametrize(
    "path",
    ["/", "", "*", "/_matrix/client/version", "/_matrix/client/versions/", "/_matrix/client/v3/rooms", "/a", "/a/b/e",
     "/_matrix/client/v3/rooms/!a/state/t/k/more", "/_matrix/client/v4/rooms/!a/state", "http://a/a/b/c"],
)  # fmt: skip
def test_an_unknown_path_is_not_recognized(path: str) -> None:
    with pytest.raises(Unrecognized):
        match("GET", path)


@pytest.mark.parametrize("method", ["POST", "get", "", "PATCH"])
def test_another_method_is_not_recognized_and_says_so(method: str) -> None:
    with pytest.raises(WrongMethod):
        match(method, "/_matrix/client/versions")


def test_a_parameter_that_is_no_text_is_refused() -> None:
    found = match("GET", "/_matrix/client/v3/rooms/%ff/state")
    with pytest.raises(BadParam):
        found.params()


def test_the_same_route_cannot_be_declared_twice() -> None:
    with pytest.raises(ValueError, match="declared twice: GET /a/b/c"):
        Router([*ROUTES, declare("GET", "/a/b/c")])


def test_a_table_without_client_routes_has_no_alias() -> None:
    with pytest.raises(Unrecognized):
        Router([declare("GET", "/metrics")]).match(b"GET", b"/_matrix/client/r0/x")
