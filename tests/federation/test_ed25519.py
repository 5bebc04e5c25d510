import pytest
import signedjson.key
from hypothesis import given
from hypothesis import strategies as st

from federation.ed25519 import (
    SigningKey,
    VerifyKey,
    generate_signing_key,
    is_ed25519_key_id,
    parse_signing_key,
    parse_verify_key,
)
from federation.errors import BadKey

SEED = bytes(range(32))
KEY = SigningKey("a_xyz", SEED)


def test_a_key_signs_and_its_other_half_verifies():
    signature = KEY.sign(b"message")
    assert len(signature) == 64
    assert KEY.verify_key.has_signed(b"message", signature)
    assert not KEY.verify_key.has_signed(b"another", signature)
    assert not SigningKey("a_xyz", SEED[::-1]).verify_key.has_signed(b"message", signature)


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"x" * 63, KEY.sign(b"message") + b"\0"], ids=len)
def test_what_is_no_signature_is_no_signature(signature):
    assert not KEY.verify_key.has_signed(b"message", signature)


def test_a_key_file_line_goes_there_and_back_as_the_reference_library_writes_it():
    assert KEY.key_id == "ed25519:a_xyz"
    again = parse_signing_key(KEY.encode() + "\n")
    assert (again.key_id, again.verify_key) == (KEY.key_id, KEY.verify_key)
    (theirs,) = signedjson.key.read_signing_keys([KEY.encode()])
    assert signedjson.key.encode_signing_key_base64(theirs) == KEY.encode().split()[2]
    assert signedjson.key.encode_verify_key_base64(theirs.verify_key) == KEY.verify_key.encode()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ed25519",
        "ed25519 a_xyz",
        f"rsa a_xyz {KEY.encode().split()[2]}",
        f"ed25519 a-xyz {KEY.encode().split()[2]}",
        f"ed25519  {KEY.encode().split()[2]}",
        f"ed25519 a_xyz  {KEY.encode().split()[2]}",
        "ed25519 a_xyz c2hvcnQ",
        "ed25519 a_xyz !!!",
        KEY.encode() + " more",
    ],
)
def test_a_line_that_holds_no_key_is_refused(line):
    with pytest.raises(BadKey):
        parse_signing_key(line)


@given(st.text())
def test_any_line_at_all_is_a_key_or_refused(line):
    with pytest.raises(BadKey):
        parse_signing_key(line)


@pytest.mark.parametrize("version", ["", "a b", "a:b", "a-b", "é", "a" * 129])
def test_a_key_version_holds_letters_digits_and_underscores(version):
    assert generate_signing_key("Az_09", SEED).key_id == "ed25519:Az_09"
    with pytest.raises(BadKey):
        generate_signing_key(version, SEED)


@pytest.mark.parametrize("seed", [b"", b"x" * 31, b"x" * 33])
def test_a_seed_has_32_bytes(seed):
    with pytest.raises(BadKey):
        generate_signing_key("1", seed)


def test_a_public_key_goes_there_and_back():
    assert parse_verify_key(KEY.verify_key.encode()) == KEY.verify_key
    assert hash(parse_verify_key(KEY.verify_key.encode())) == hash(KEY.verify_key)
    assert KEY.verify_key != KEY.verify_key.encode()


@pytest.mark.parametrize("text", ["", "abc", "!", None, 5, "A" * 42, "A" * 44, b"A" * 43], ids=repr)
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(BadKey):
        parse_verify_key(text)
    with pytest.raises(BadKey):
        VerifyKey(b"short")


def test_a_key_does_not_show_its_secret():
    secret = KEY.encode().split()[2]
    assert secret not in repr(KEY)
    assert repr(KEY) == "<SigningKey ed25519:a_xyz>"
    assert KEY.verify_key.encode() in repr(KEY.verify_key)


@pytest.mark.parametrize(
    "key_id", ["ed25519", "ed25519:", "ed25519:a b", "ED25519:a", "rsa:a", "ed25519:a\n", "xed25519:a"]
)
def test_only_ed25519_is_understood(key_id):
    assert is_ed25519_key_id("ed25519:a_1")
    assert not is_ed25519_key_id(key_id)
