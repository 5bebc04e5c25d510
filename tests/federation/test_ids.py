import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import ids
from federation.errors import BadIdentifier

HASH = "acR1l0raoZnm60CBwAVgqbZqoO-mYU81xysh1u7XcJk"
STANDARD_HASH = "acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7Xc+k"
NOT_STRINGS = [None, 5, b"@a:b", ["@a:b"], {"a": 1}, True]

SERVERS = {
    "matrix.org": ("matrix.org", None),
    "matrix.org:8888": ("matrix.org", 8888),
    "1.2.3.4": ("1.2.3.4", None),
    "1.2.3.4:1234": ("1.2.3.4", 1234),
    "[1234:5678::abcd]": ("[1234:5678::abcd]", None),
    "[1234:5678::abcd]:5678": ("[1234:5678::abcd]", 5678),
    "[::ffff:1.2.3.4]": ("[::ffff:1.2.3.4]", None),
    "MATRIX.org": ("MATRIX.org", None),
    "localhost": ("localhost", None),
    "xn--80ak6aa92e.com:1": ("xn--80ak6aa92e.com", 1),
    "1.2.3.4.5": ("1.2.3.4.5", None),
}
NO_SERVERS = [
    "",
    ":8448",
    "matrix.org:",
    "matrix.org:123456",
    "matrix.org:port",
    "matrix.org:1:2",
    "matrix.org:٣",
    "matrix_org",
    "matrix.org/",
    "matrix.org\n",
    " matrix.org",
    "матрица.рф",
    "a..b",
    ".",
    "..",
    "a.",
    ".a",
    "1.2.3.256",
    "[::1",
    "::1",
    "[]",
    "[:]",
    "[1::2::3]",
    "[1.2.3.4]",
    "[::1%eth0]",
    "[::g]",
    "a" * 256,
]


@pytest.mark.parametrize(("text", "parts"), SERVERS.items())
def test_a_server_name_is_a_host_and_perhaps_a_port(text, parts):
    assert ids.split_server_name(text) == parts
    assert ids.parse_server_name(text) == ids.find_server_name(text) == text


@pytest.mark.parametrize("value", [*NO_SERVERS, *NOT_STRINGS])
def test_where_there_is_no_server_name_none_is_found(value):
    assert ids.find_server_name(value) is None


@pytest.mark.parametrize("host", ["1.2.3.4", "[1234:5678::abcd]", "[::ffff:1.2.3.4]"])
def test_a_host_may_be_an_address(host):
    assert ids.is_address(host)


@pytest.mark.parametrize("host", ["matrix.org", "localhost", "1.2.3.4.5", "1.2.3", "1.2.3.256"])
def test_a_name_that_looks_like_an_address_is_none(host):
    assert not ids.is_address(host)


@pytest.mark.parametrize("text", [*NO_SERVERS, *NOT_STRINGS], ids=repr)
def test_what_is_no_server_name_is_refused(text):
    with pytest.raises(BadIdentifier):
        ids.parse_server_name(text)


@pytest.mark.parametrize("text", ["@alice:one.example", "@a.b_c=d-e/f+0:[::1]:8448"])
def test_a_user_id_of_today_is_good_in_both_grammars(text):
    assert ids.parse_user_id(text) == ids.parse_user_id(text, historical=False) == text


@pytest.mark.parametrize(
    "text", ["@Alice:one.example", "@:one.example", "@a b:one.example", "@Аня:one.example", "@\x01:x"]
)
def test_an_old_user_id_is_good_only_where_history_counts(text):
    assert ids.parse_user_id(text) == text
    with pytest.raises(BadIdentifier):
        ids.parse_user_id(text, historical=False)


@pytest.mark.parametrize(
    "text",
    ["", "@", "alice:one.example", "@alice", "@alice:", "@a\0b:x", "#a:x", "@\ud800:x", "@a:b:c:d", *NOT_STRINGS],
    ids=repr,
)
def test_what_is_no_user_id_is_refused(text):
    with pytest.raises(BadIdentifier):
        ids.parse_user_id(text)


@pytest.mark.parametrize("letter", ["a", "ы", "\U0001f600"])
def test_the_length_of_an_id_is_counted_in_bytes(letter):
    size = len(letter.encode())
    room = (255 - len("@:x")) // size
    assert ids.parse_user_id("@" + letter * room + ":x")
    with pytest.raises(BadIdentifier):
        ids.parse_user_id("@" + letter * (room + 1) + ":x")


def test_an_alias_has_a_localpart_and_a_server():
    assert ids.parse_room_alias("#Класс 5б:one.example") == "#Класс 5б:one.example"
    for text in ("#:one.example", "#a", "a:one.example", "#a\0:one.example", "#a:" + "b" * 255, None):
        with pytest.raises(BadIdentifier):
            ids.parse_room_alias(text)


def test_a_room_id_has_a_domain_or_is_a_hash():
    for text in ("!a:one.example", "!\n:x", f"!{HASH}"):
        assert ids.parse_room_id(text) == text
    for text in ("!", "!a", "!:x", f"!{STANDARD_HASH}", f"!{HASH}A", f"${HASH}", "!a\0:x", "!a:b_c", None):
        with pytest.raises(BadIdentifier):
            ids.parse_room_id(text)


def test_an_event_id_has_a_domain_or_is_a_hash_in_either_alphabet():
    for text in ("$a:one.example", f"${HASH}", f"${STANDARD_HASH}"):
        assert ids.parse_event_id(text) == text
    for text in ("$", "$a", "$:x", f"${HASH}=", f"!{HASH}", "$a\0:x", "$" + HASH.replace("0", "!"), None):
        with pytest.raises(BadIdentifier):
            ids.parse_event_id(text)


def test_an_mxc_uri_names_a_server_and_a_media_id():
    assert ids.parse_mxc("mxc://one.example:8448/Abc_-9") == ("one.example:8448", "Abc_-9")


@pytest.mark.parametrize(
    "text",
    [
        "mxc://",
        "mxc://one.example",
        "mxc://one.example/",
        "mxc:///abc",
        "mxc://one.example/a/b",
        "mxc://one.example/..",
        "mxc://../../etc/passwd",
        "mxc://one.example/a%2e",
        "MXC://one.example/a",
        "https://one.example/a",
        "mxc://one.example/" + "a" * 256,
        None,
    ],
    ids=repr,
)
def test_an_mxc_uri_leads_nowhere_else(text):
    with pytest.raises(BadIdentifier):
        ids.parse_mxc(text)


def test_a_media_id_is_a_string():
    with pytest.raises(BadIdentifier):
        ids.parse_media_id(None)


def test_ids_are_taken_apart():
    assert ids.localpart_of("@alice:one.example:8448") == "alice"
    assert ids.localpart_of(f"!{HASH}") == HASH
    assert ids.server_of("@alice:one.example:8448") == "one.example:8448"
    assert ids.find_server_of("!a:one.example") == "one.example"
    assert ids.find_server_of(f"!{HASH}") is None
    assert ids.find_server_of(f"${STANDARD_HASH}") is None


@pytest.mark.parametrize("localpart", ["", "A", "a b", "a:b", "é", "a\n", None])
def test_no_new_user_gets_a_localpart_of_old(localpart):
    ids.check_localpart("a-z.0_9=/+")
    with pytest.raises(BadIdentifier):
        ids.check_localpart(localpart)


def test_a_lone_surrogate_fits_nowhere():
    assert ids.fits("a" * 255)
    assert not ids.fits("a" * 256)
    assert not ids.fits("\ud800")
    assert not ids.fits("é" * 128)


PARSERS = [
    ids.parse_user_id,
    ids.parse_room_id,
    ids.parse_event_id,
    ids.parse_room_alias,
    ids.parse_server_name,
    ids.parse_mxc,
    ids.parse_media_id,
]
LIKELY = st.text(alphabet="@!$#:.-[]/abcAZ09_\0\n é\ud800", max_size=60)


@given(st.sampled_from(PARSERS), LIKELY | st.text() | st.integers() | st.binary())
def test_any_value_at_all_is_an_id_or_refused(parse, value):
    try:
        parse(value)
    except BadIdentifier:
        return
    assert isinstance(value, str)
    assert len(value.encode()) <= 600
