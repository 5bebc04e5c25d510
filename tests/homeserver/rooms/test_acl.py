"""Access lists: which servers a room shuts out."""

from typing import Any

import pytest

from federation.errors import Refused
from federation.ids import ServerName
from homeserver.rooms.acl import AccessList, check_acl
from tests.kit.rooms import ALICE, RoomFactory


def allows(server: str, **content: Any) -> bool:
    return AccessList(content).allows(ServerName(server))


@pytest.mark.parametrize(
    ("server", "content", "allowed"),
    [
        ("good.example", {"allow": ["*"]}, True),
        ("good.example", {"allow": ["*"], "deny": ["good.example"]}, False),
        ("GOOD.Example", {"allow": ["*"], "deny": ["good.example"]}, False),
        ("good.example", {"allow": ["*"], "deny": ["GOOD.EXAMPLE"]}, False),
        ("good.example:8448", {"allow": ["*"], "deny": ["good.example"]}, False),
        ("a.good.example", {"allow": ["*"], "deny": ["*.good.example"]}, False),
        ("good.example", {"allow": ["*"], "deny": ["*.good.example"]}, True),
        ("good1.example", {"allow": ["good?.example"]}, True),
        ("good12.example", {"allow": ["good?.example"]}, False),
        ("goodxexample", {"allow": ["good.example"]}, False),
        ("a", {"allow": ["[a-z]"]}, False),
        ("good.example", {"allow": []}, False),
        ("good.example", {}, False),
        ("good.example", {"allow": "*"}, False),
        ("good.example", {"allow": [1, None, "good.example"]}, True),
        ("1.2.3.4", {"allow": ["*"]}, True),
        ("1.2.3.4", {"allow": ["*"], "allow_ip_literals": False}, False),
        ("1.2.3.4:8448", {"allow": ["*"], "allow_ip_literals": False}, False),
        ("[2001:db8::1]", {"allow": ["*"], "allow_ip_literals": False}, False),
        ("[2001:db8::1]:1", {"allow": ["*"], "allow_ip_literals": False}, False),
        ("1.2.3.4", {"allow": ["*"], "allow_ip_literals": "false"}, True),
    ],
)
def test_a_server_is_allowed_as_the_list_says(server: str, content: dict[str, Any], allowed: bool) -> None:
    assert allows(server, **content) is allowed


def test_no_pattern_takes_forever() -> None:
    assert not allows("a" * 200 + ".example", allow=["*a" * 100 + "b"])


class Facts:
    """A room with a list."""

    def __init__(self, factory: RoomFactory) -> None:
        self.room_id = factory.create.room_id
        self._factory = factory

    def state(self, event_type: str, state_key: str = "", /) -> Any:
        return self._factory.state().get((event_type, state_key))

    def membership(self, user_id: str, /) -> str | None:
        return None


def test_a_room_without_a_list_shuts_nobody_out_and_one_with_a_list_those_it_names() -> None:
    factory = RoomFactory()
    check_acl(Facts(factory), ServerName("evil.example"))
    content = {"allow": ["*"], "deny": ["evil.example"]}
    factory.send("m.room.server_acl", content, sender=ALICE, state_key="")
    check_acl(Facts(factory), ServerName("good.example"))
    with pytest.raises(Refused):
        check_acl(Facts(factory), ServerName("evil.example"))
