"""The settings of what carries calls, and of what is sent later."""

from pathlib import Path

import pytest

from config.load import ConfigError, parse_settings
from config.settings import Settings

TURN = "turn:turn.north.example"


def parse(text: str, **environment: str) -> Settings:
    return parse_settings(f"server_name: north.example\n{text}", environment, folder=Path("/etc/parta"), name="p.yaml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def test_turn_servers_are_reached_by_a_secret_or_by_a_login() -> None:
    assert parse("").turn.uris == ()
    assert parse(f"turn: {{uris: ['{TURN}'], shared_secret: x}}").turn.shared_secret == "x"
    assert parse(f"turn: {{uris: ['{TURN}'], username: u, password: p}}").turn.username == "u"
    for rest in ("", ", username: u", ", password: p", ", shared_secret: x, username: u, password: p"):
        told = refusal(f"turn: {{uris: ['{TURN}']{rest}}}")
        assert told == "p.yaml: turn: give either shared_secret, or username and password"


def test_turn_servers_are_named_by_their_uris() -> None:
    assert refusal("turn: {uris: ['https://x'], shared_secret: x}").startswith("p.yaml: turn.uris[")
    assert refusal("turn: {user_lifetime_ms: 1}").startswith("p.yaml: turn.user_lifetime_ms: ")


def test_a_transport_of_calls_has_a_type() -> None:
    assert parse("rtc_transports: [{type: livekit, livekit_service_url: https://x}]").rtc_transports[0]["type"]
    assert refusal("rtc_transports: [{url: x}]") == "p.yaml: rtc_transports[0].type: missing"


def test_delays_have_bounds() -> None:
    settings = parse("", PARTA_DELAYED_EVENTS__MAX_SCHEDULED="0")
    assert settings.delayed_events.max_scheduled == 0
    assert refusal("delayed_events: {max_delay_ms: 0}").startswith("p.yaml: delayed_events.max_delay_ms: ")
