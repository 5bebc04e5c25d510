"""Registration files of application services: what they say, what is refused, and how the refusal reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import ConfigError, load_settings, parse_settings
from config.registrations import Registration, load_registrations
from config.settings import ApplicationService

GOOD: Mapping[str, Any] = {
    "id": "irc",
    "url": "http://127.0.0.1:9000/irc",
    "as_token": "as-secret",
    "hs_token": "hs-secret",
    "sender_localpart": "_irc_bot",
    "namespaces": {"users": [{"exclusive": True, "regex": "@_irc_.*"}]},
}
OTHER = {**GOOD, "id": "xmpp", "as_token": "as2", "hs_token": "hs2", "sender_localpart": "_xmpp_bot"}


class Folder:
    """A folder with a configuration and registration files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, *registrations: Mapping[str, Any]) -> tuple[Registration, ...]:
        return load_registrations([ApplicationService(registration=self.write(found)) for found in registrations])

    def write(self, registration: object) -> Path:
        file = self.path / f"{len(list(self.path.iterdir()))}.yaml"
        file.write_text(registration if isinstance(registration, str) else yaml.safe_dump(registration))
        return file

    def refusal(self, *registrations: Any) -> str:
        """The one line by which these are refused, without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.load(*registrations)
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{self.path}/", "")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_file_says_what_the_service_is(folder: Folder) -> None:
    (found,) = folder.load({**GOOD, "rate_limited": False, "protocols": ["irc"], "receive_ephemeral": True})
    assert (found.id, found.url, found.sender_localpart) == ("irc", "http://127.0.0.1:9000/irc", "_irc_bot")
    assert found.namespaces.users[0].exclusive
    assert found.namespaces.rooms == ()
    assert (found.rate_limited, found.protocols, found.ephemeral_keys) == (False, ("irc",), ("ephemeral",))


def test_a_service_may_have_no_address(folder: Folder) -> None:
    (found,) = folder.load({**GOOD, "url": None})
    assert found.url is None


def test_proposals_have_their_own_names(folder: Folder) -> None:
    names = {"de.sorunome.msc2409.push_ephemeral": True, "org.matrix.msc3202": True, "io.element.msc4190": True}
    (found,) = folder.load({**GOOD, **names, "org.example.of_its_own": {"a": 1}})
    assert found.ephemeral_keys == ("de.sorunome.msc2409.ephemeral",)
    assert found.encrypts
    assert folder.load(GOOD)[0].ephemeral_keys == ()


@pytest.mark.parametrize("key", GOOD)
def test_every_key_of_the_specification_is_needed(folder: Folder, key: str) -> None:
    lacking = {name: value for name, value in GOOD.items() if name != key}
    assert folder.refusal(lacking) == f"application_services[0]: 0.yaml: {key}: missing"


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("sender", "x", "sender: unknown key"),
        ("id", "", "id: Expected `str` of length >= 1"),
        ("url", "irc.example", "url: Expected `str` matching regex"),
        ("as_token", "two words", "as_token: Expected `str` matching regex"),
        ("sender_localpart", "@bot:x", "sender_localpart: Expected `str` matching regex"),
        ("rate_limited", "yes please", "rate_limited: Expected `bool | null`, got `str`"),
        ("namespaces", {"people": []}, "namespaces.people: unknown key"),
        ("namespaces", {"users": [{"regex": "x"}]}, "namespaces.users[0].exclusive: missing"),
        (
            "namespaces",
            {"aliases": [{"exclusive": True, "regex": "#ok"}, {"exclusive": True, "regex": "#(_irc"}]},
            "namespaces.aliases[1].regex: not a regular expression: missing ), unterminated subpattern at position 1",
        ),
    ],
)
def test_a_bad_value_is_refused_by_the_path_of_its_key(folder: Folder, key: str, value: object, why: str) -> None:
    assert folder.refusal({**GOOD, key: value}).startswith(f"application_services[0]: 0.yaml: {why}")


@pytest.mark.parametrize("text", ["- irc", "id: [", "\x00"])
def test_what_is_no_mapping_is_refused(folder: Folder, text: str) -> None:
    assert folder.refusal(text).startswith("application_services[0]: 0.yaml: ")


def test_two_services_are_never_taken_for_one_another(folder: Folder) -> None:
    assert len(folder.load(GOOD, OTHER)) == 2
    for key in ("id", "sender_localpart", "as_token", "hs_token"):
        assert f": {key}: " in folder.refusal(GOOD, {**OTHER, key: GOOD[key]})
    assert ": as_token: " in folder.refusal(GOOD, {**OTHER, "as_token": GOOD["hs_token"]})


def test_the_configuration_names_files_beside_it(folder: Folder) -> None:
    file = folder.write(GOOD)
    text = f"server_name: north.example\napplication_services: [{file.name}, {{registration: x.yaml, rooms: ['!a']}}]"
    settings = parse_settings(text, {}, folder=folder.path)
    assert settings.application_services == (
        ApplicationService(registration=file),
        ApplicationService(registration=folder.path / "x.yaml", rooms=("!a",)),
    )


def test_a_start_is_refused_for_a_file_that_is_not_there(folder: Folder) -> None:
    config = folder.path / "parta.yaml"
    config.write_text("server_name: north.example\napplication_services: [gone.yaml]\n")
    with pytest.raises(ConfigError, match=r"^\S+parta.yaml: application_services\[0\]: \S+gone.yaml: cannot be read"):
        load_settings(config, {})
    with pytest.raises(ConfigError, match=r"application_services\[0\].rooms\[0\]: Expected `str` matching regex"):
        parse_settings(
            "server_name: a.b\napplication_services: [{registration: x, rooms: ['#a']}]", {}, folder=folder.path
        )
