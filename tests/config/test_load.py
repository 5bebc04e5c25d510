"""Loading the configuration: what it says, what it refuses, and how the refusal reads."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

import config
from config.load import ConfigError, load_settings, parse_settings
from config.settings import ApplicationService, PostgreSQL, Settings, SQLite

ROOT = Path(config.__file__).resolve().parent.parent
SAMPLE = ROOT / "config" / "sample.yaml"
FOLDER = Path("/etc/parta")


def parse(text: str, **environment: str) -> Settings:
    return parse_settings(text, environment, folder=FOLDER, name="parta.yaml")


def refusal(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse("server_name: north.example\n" + text, **environment)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_this_is_our_own_config_package() -> None:
    assert (ROOT / "setup.cfg").is_file()


def test_a_server_name_is_enough() -> None:
    settings = parse("server_name: north.example")
    assert settings.server_name == "north.example"
    assert settings.policy == "school"
    assert settings.data_dir == FOLDER / "data"
    assert settings.database == SQLite(path=FOLDER / "data" / "parta.db")
    assert settings.media.path == FOLDER / "data" / "media"
    assert settings.federation.list.file is None
    assert settings.network.trusted_ca is None


def test_the_sample_states_the_defaults() -> None:
    sample = load_settings(SAMPLE, {})
    bare = parse_settings("server_name: north.example", {}, folder=SAMPLE.parent)
    assert msgspec.structs.replace(sample, public_base_url=None) == bare


def test_the_sample_names_every_key() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    assert set(tree) == set(Settings.__struct_fields__)


def test_a_setting_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse("server_name: north.example").policy = "open"


def test_paths_are_relative_to_the_file_or_to_the_data_directory() -> None:
    settings = parse(
        """
        server_name: north.example
        data_dir: state
        listeners: [{port: 8448, tls: {certificate: chain.pem, private_key: /keys/key.pem}}, {port: 8008}]
        federation: {list: {file: regions.json}}
        network: {trusted_ca: ca.pem}
        application_services: [bridge.yaml]
        media: {path: files}
        """
    )
    tls = settings.listeners[0].tls
    assert tls is not None
    assert (tls.certificate, tls.private_key) == (FOLDER / "chain.pem", Path("/keys/key.pem"))
    assert settings.listeners[1].tls is None
    assert settings.federation.list.file == FOLDER / "regions.json"
    assert settings.network.trusted_ca == FOLDER / "ca.pem"
    assert settings.application_services == (ApplicationService(registration=FOLDER / "bridge.yaml"),)
    assert settings.media.path == FOLDER / "state" / "files"


def test_postgresql_is_named_by_its_connection_string() -> None:
    settings = parse('{server_name: a, database: {engine: postgresql, dsn: "dbname=parta"}}')
    assert settings.database == PostgreSQL(dsn="dbname=parta")


def test_the_environment_goes_before_the_file() -> None:
    settings = parse(
        "{server_name: a, limits: {upload_bytes: 7}, federation: {mode: list}, rooms: null}",
        PARTA_SERVER_NAME="b",
        PARTA_LIMITS__RATES="false",
        PARTA_FEDERATION__LIST__FILE="r.json",
        PARTA_ROOMS__DEFAULT_VERSION="'11'",
        PARTA_LISTENERS="[{port: 1}]",
        PARTA_CMD="unrelated",
        HOME="/root",
    )
    assert settings.server_name == "b"
    assert (settings.limits.rates, settings.limits.upload_bytes) == (False, 7)
    assert settings.federation.list.file == FOLDER / "r.json"
    assert settings.rooms.default_version == "11"
    assert [listener.port for listener in settings.listeners] == [1]


def test_the_environment_alone_is_enough() -> None:
    assert parse("", PARTA_SERVER_NAME="b").server_name == "b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("polcy: open", "polcy: unknown key"),
        ("limits: {rate: false}", "limits.rate: unknown key"),
        ("listeners: [{port: 1}, {bind: [a]}]", "listeners[1].port: missing"),
        ("listeners: [{port: 1, prot: 2}]", "listeners[0].prot: unknown key"),
        ("listeners: [{port: 70000}]", "listeners[0].port: Expected `int` <= 65535"),
        ("listeners: [{port: http}]", "listeners[0].port: Expected `int`, got `str`"),
        ("listeners: [{port: 1, bind: []}]", "listeners[0].bind: Expected `array` of length >= 1"),
        ("listeners: [{port: 1, resources: [clients]}]", "listeners[0].resources[0]: Invalid enum value 'clients'"),
        ("listeners: [{port: 1, resources: [client, client]}]", "listeners[0].resources: one is named twice"),
        ("listeners: [{port: 1, tls: {certificate: a}}]", "listeners[0].tls.private_key: missing"),
        ("policy: closed", "policy: Invalid enum value 'closed'"),
        ("data_dir: 5", "data_dir: Expected a path"),
        ("data_dir: ''", "data_dir: Expected a path"),
        ("database: {engine: mysql}", "database.engine: Invalid value 'mysql'"),
        ("database: {path: a.db}", "database.engine: missing"),
        ("database: {engine: postgresql}", "database.dsn: missing"),
        ("database: {engine: sqlite, dsn: a}", "database.dsn: unknown key"),
        ("passwords: {time_cost: 0}", "passwords.time_cost: Expected `int` >= 1"),
        ("presence: 'yes'", "presence: Expected `bool`, got `str`"),
        ("limits: {upload_bytes: -1}", "limits.upload_bytes: Expected `int` >= 0"),
        ("limits: 5", "limits: Expected `object`, got `int`"),
        ("limits: [1]", "limits: Expected `object`, got `array`"),
        ("5: 6", "Expected `str`"),
        ("federation: {list: {authority_keys: {a: 1}}}", "federation.list.authority_keys[...]: Expected `str`"),
        ("federation: {delegate: 'https://a.example'}", "federation.delegate: Expected `str` matching regex"),
        ("federation: {notaries: a.example}", "federation.notaries: Expected `array`"),
        ("registration: {mode: open}", "registration.mode: open registration needs policy: open"),
        ("registration: {guests: true}", "registration.guests: guests need policy: open"),
        ("registration: {shared_secret: ''}", "registration.shared_secret: Expected `str` of length >= 1"),
        ("public_base_url: north.example", "public_base_url: Expected `str` matching regex"),
        ("server_notices: {localpart: _parta}", "server_notices.localpart: Expected `str` matching regex"),
        (
            "server_notices: {localpart: notices, room_name: ''}",
            "server_notices.room_name: Expected `str` of length >= 1",
        ),
        ("{a", "not YAML: "),
        ("- a", "not YAML: "),
    ],
)
def test_a_bad_key_or_value_is_named_in_one_line(text: str, message: str) -> None:
    assert refusal(text).startswith(f"parta.yaml: {message}")


def test_open_registration_and_guests_go_with_the_open_policy() -> None:
    settings = parse("{server_name: a, policy: open, registration: {mode: open, guests: true}}")
    assert settings.registration.mode == "open"
    assert settings.registration.guests


@pytest.mark.parametrize("name", ["", "north example", "north.example/", "a:123456", "[::1", "а.рф", "x" * 231])
def test_a_server_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^parta\.yaml: server_name: "):
        parse(yaml.safe_dump({"server_name": name}))


@pytest.mark.parametrize("name", ["north.example", "north.example:8448", "10.0.0.1", "[::1]:8448", "localhost"])
def test_a_server_name_in_any_form_is_taken(name: str) -> None:
    assert parse(yaml.safe_dump({"server_name": name})).server_name == name


def test_no_server_name_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"^parta\.yaml: server_name: missing$"):
        parse("")


@pytest.mark.parametrize("text", ["just words", "[]", "5"])
def test_a_file_without_keys_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be a mapping"):
        parse(text)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PARTA_LIMITS__RATES", "maybe", "parta.yaml: limits.rates: Expected `bool`, got `str`"),
        ("PARTA_LIMITS__RATE", "false", "parta.yaml: limits.rate: unknown key"),
        ("PARTA_LIMIT__RATES", "false", "parta.yaml: limit: unknown key"),
        ("PARTA_LIMITS__RATES", "{", "PARTA_LIMITS__RATES: not YAML: "),
        ("PARTA_SERVER_NAME__X", "y", "PARTA_SERVER_NAME__X: server_name is not a section"),
    ],
)
def test_a_bad_variable_is_named_in_one_line(variable: str, value: str, message: str) -> None:
    assert refusal("", **{variable: value}).startswith(message)


def test_a_file_is_loaded_and_its_folder_is_where_paths_start(tmp_path: Path) -> None:
    file = tmp_path / "parta.yaml"
    file.write_text("server_name: north.example\n", encoding="utf-8")
    assert load_settings(file, {}).data_dir == tmp_path / "data"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: .*No such file"):
        load_settings(tmp_path / "none.yaml", {})


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "parta.yaml"
    file.write_bytes("server_name: школа.рф".encode("cp1251"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(file, {})


def test_a_protocol_suite_finds_a_plain_homeserver_by_what_the_operators_are_told() -> None:
    _, _, section = (ROOT / "docs" / "operating.md").read_text().partition("## For a protocol suite\n")
    settings = parse(re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)[0])
    assert (settings.policy, settings.registration.mode, settings.federation.mode) == ("open", "open", "open")
    assert (settings.limits.rates, settings.network.allow_private_addresses) == (False, True)
    assert settings.network.trusted_ca == FOLDER / "ca.crt"
    secured = settings.listeners[1]
    assert (secured.port, secured.resources) == (8448, ("federation", "client"))
    assert secured.tls is not None
    assert secured.tls.certificate == FOLDER / "hs1.crt"
    assert parse("{}", PARTA_SERVER_NAME="hs1.test", PARTA_NETWORK__TRUSTED_CA="/ca.crt").server_name == "hs1.test"
