import msgspec
import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from federation import canonical
from federation.errors import BadIdentifier, BadJSON, BadRequestAuth, Refused
from federation.requests import (
    MAX_BODY_DEPTH,
    XMatrix,
    build_request_auth,
    check_request,
    parse_request_auth,
    parse_spoken_of,
)
from tests.kit.pdus import signing_key

ONE, TWO = "one.example", "two.example:8448"
KEY = signing_key(ONE)
URI = "/_matrix/federation/v1/send/1?a=b"
BODY = {"pdus": [{"depth": 1.5}], "origin": ONE}


def build(content=BODY, destination=TWO):
    return parse_request_auth(build_request_auth("PUT", URI, ONE, destination, content, KEY))


def check(auth, content=BODY, key=KEY.verify_key, **changed):
    check_request(auth, key, **({"method": "PUT", "uri": URI, "server": TWO, "content": content} | changed))


def test_a_request_we_sign_the_other_server_believes():
    auth = build()
    assert auth == XMatrix(origin=ONE, destination=TWO, key_id=KEY.key_id, signature=auth.signature)
    check(auth)
    check(build(None), None)
    check(build({}), {})


def test_the_header_is_written_as_old_servers_want_it():
    header = build_request_auth("GET", URI, "[::1]:8448", TWO, None, KEY)
    assert header.startswith(f'X-Matrix origin="[::1]:8448",destination="{TWO}",key="ed25519:a_1",sig="')
    assert parse_request_auth(header).origin == "[::1]:8448"


def test_a_body_already_encoded_is_signed_as_it_is():
    raw = msgspec.Raw(canonical.encode(BODY, strict=False))
    assert build(raw) == build(BODY)
    check(build(raw), raw)


def test_the_reference_library_signs_and_verifies_the_same_object():
    value = {"method": "PUT", "uri": URI, "origin": ONE, "destination": TWO, "content": {"a": ["é", 1]}}
    (theirs,) = signedjson.key.read_signing_keys([KEY.encode()])
    signed = signedjson.sign.sign_json(dict(value), ONE, theirs)
    assert signed["signatures"][ONE][KEY.key_id] == build(value["content"]).signature


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "GET"},
        {"uri": URI + "c"},
        {"content": None},
        {"content": BODY | {"origin": TWO}},
        {"server": ONE},
        {"key": signing_key(TWO).verify_key},
        {"uri": "\ud800"},
        {"content": {"a": "\ud800"}},
        {"content": {1: 2}},
    ],
    ids=str,
)
def test_a_request_that_was_altered_or_sent_elsewhere_is_refused(changed):
    with pytest.raises(BadRequestAuth):
        check(build(), **changed)


def test_whoever_leaves_the_destination_out_of_the_header_has_signed_it_all_the_same():
    auth = msgspec.structs.replace(build(), destination=None)
    check(auth)
    with pytest.raises(BadRequestAuth):
        check(auth, server=ONE)
    other = msgspec.structs.replace(build(destination=ONE), destination=TWO)
    with pytest.raises(BadRequestAuth):
        check(other)


@pytest.mark.parametrize("signature", ["", "!", "A" * 86, "é"])
def test_what_is_no_signature_is_refused(signature):
    with pytest.raises(BadRequestAuth):
        check(msgspec.structs.replace(build(), signature=signature))


def test_a_body_nests_so_deep_and_no_deeper():
    deep = 1
    for _ in range(MAX_BODY_DEPTH):
        deep = [deep]
    check(build(deep), deep)
    with pytest.raises(BadJSON):
        build([deep])
    with pytest.raises(BadRequestAuth):
        check(build(deep), [deep])


FULL = XMatrix(origin="one.example", destination="two.example:8448", key_id="ed25519:a_1", signature="abc+/")


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="one.example",destination="two.example:8448",key="ed25519:a_1",sig="abc+/"',
        'X-Matrix   origin="one.example",destination="two.example:8448",key="ed25519:a_1",sig="abc+/"',
        'x-matrix origin="one.example",destination="two.example:8448",key="ed25519:a_1",sig="abc+/"  ',
        'X-Matrix origin="one.example",,destination="two.example:8448" , ,key="ed25519:a_1",sig="abc+/", ',
        'X-Matrix SIG="abc+/" \t,  Key="ed25519:a_1"\t,destination="two.example:8448",ORIGIN="one.example"',
        'X-Matrix origin=one.example,destination=two.example:8448,key=ed25519:a_1,sig="abc+/"',
        "X-Matrix origin=one.example,destination=two.example:8448,key=ed25519:a_1,sig=abc+/",
        'X-Matrix origin = one.example,destination= "two.example:8448",key=ed25519:a_1,sig ="abc+/"',
        'X-Matrix origin="one\\.example",destination="two.example\\:8448",key="ed25519:a\\_1",sig="\\a\\b\\c+/"',
        'X-Matrix origin="one.example",destination="two.example:8448",key="ed25519:a_1",signature="abc+/"',
        'X-Matrix new="a=\\"c\\"",origin="one.example",destination="two.example:8448",key="ed25519:a_1",sig="abc+/"',
    ],
)
def test_the_same_header_may_be_written_in_many_ways(header):
    assert parse_request_auth(header) == FULL


def test_an_old_server_may_leave_out_the_destination():
    assert parse_request_auth('X-Matrix origin="one.example",key="ed25519:a_1",sig="abc"').destination is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "X-Matrix",
        "X-Matrix ",
        "Bearer token",
        "X-Matrix\torigin=a,key=ed25519:a,sig=b",
        ' X-Matrix origin="a",key="ed25519:a",sig="b"',
        'X-Matrix,origin="a",key="ed25519:a",sig="b"',
        'X-Matrix key="ed25519:a",sig="b"',
        'X-Matrix origin="a",sig="b"',
        'X-Matrix origin="a",key="ed25519:a"',
        'X-Matrix origin="a b",key="ed25519:a",sig="b"',
        'X-Matrix origin="",key="ed25519:a",sig="b"',
        'X-Matrix origin="a",destination="",key="ed25519:a",sig="b"',
        'X-Matrix origin="a",destination="b/c",key="ed25519:a",sig="b"',
        'X-Matrix origin="a",key="rsa:a",sig="b"',
        'X-Matrix origin="a",key="ed25519",sig="b"',
        'X-Matrix origin="a",key="ed25519:a",sig=b\\c',
        'X-Matrix origin=[::1],key="ed25519:a",sig="b"',
        'X-Matrix origin="a" key="ed25519:a" sig="b"',
        'X-Matrix origin="a",key="ed25519:a",sig="b',
        'X-Matrix origin="a",key="ed25519:a",sig="b"c',
        'X-Matrix origin="a",key="ed25519:a",sig="b\n"',
        'X-Matrix origin="a",key="ed25519:a",sig="b\\',
        'X-Matrix origin="a",origin="a",key="ed25519:a",sig="b"',
        'X-Matrix origin="a",Origin="b",key="ed25519:a",sig="b"',
        'X-Matrix origin="a",key="ed25519:a",sig',
        'X-Matrix origin="a",key="ed25519:a",sig=',
        'X-Matrix origin="a",key="ed25519:a",="b"',
        'X-Matrix origin="a",key="ed25519:a",sig="b",x="' + "y" * 5_000 + '"',
        'X-Matrıx origin="a",key="ed25519:a",sig="b"',
    ],
)
def test_a_malformed_header_is_refused(header):
    with pytest.raises(BadRequestAuth):
        parse_request_auth(header)


@given(st.text() | st.text(alphabet='X-Matrix origin=key,sig:ed25519"\\ \t/').map(lambda text: "X-Matrix " + text))
def test_any_header_at_all_is_read_or_refused(header):
    try:
        auth = parse_request_auth(header)
    except BadRequestAuth:
        return
    assert auth.key_id.startswith("ed25519:")


TOKEN = st.text(alphabet="ab0!#$%&'*+.^_`|~-:", min_size=1)
VISIBLE = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
SPACE = st.text(alphabet=" \t", max_size=2)


@given(VISIBLE, TOKEN, SPACE, SPACE, st.permutations(range(5)))
def test_quoting_escaping_order_and_space_do_not_change_what_is_said(signature, unknown, before, after, order):
    escaped = "".join("\\" + letter if letter in '"\\a' else letter for letter in signature)
    parts = [
        "origin=one.example",
        'DESTINATION="two.example"',
        'key="ed25519:a_1"',
        f'sig="{escaped}"',
        f"unknown={unknown}",
    ]
    header = "X-Matrix " + f"{before},{after}".join(parts[place] for place in order)
    assert parse_request_auth(header) == XMatrix(
        origin="one.example", destination="two.example", key_id="ed25519:a_1", signature=signature
    )


def test_a_server_speaks_of_its_own_people():
    assert parse_spoken_of("one.example", "@alice:one.example") == "@alice:one.example"


def test_a_server_does_not_speak_of_the_people_of_another():
    with pytest.raises(Refused):
        parse_spoken_of("one.example", "@alice:two.example")


@pytest.mark.parametrize("user_id", [None, 5, "alice", "@alice", {}])
def test_a_server_that_names_nobody_speaks_of_nobody(user_id):
    with pytest.raises(BadIdentifier):
        parse_spoken_of("one.example", user_id)
