import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.event import parse_event
from federation.hashes import check_content_hash, content_hash, essential_bytes, event_id_of, reference_hash
from federation.redaction import redact_event
from federation.unpadded import encode_base64, encode_urlsafe, find_base64
from federation.versions import ROOM_VERSIONS
from tests.kit.pdus import VERSIONS, build_pdu, without

VECTORS = json.loads((Path(__file__).parent / "vectors/signing.json").read_text())

BASE64 = {
    b"": "",
    b"f": "Zg",
    b"fo": "Zm8",
    b"foo": "Zm9v",
    b"foob": "Zm9vYg",
    b"fooba": "Zm9vYmE",
    b"foobar": "Zm9vYmFy",
}


@pytest.mark.parametrize("case", VECTORS["event_signing"], ids=range(2))
def test_the_content_hashes_of_the_specification_hold(case):
    assert content_hash(case["given"]) == case["signed"]["hashes"]["sha256"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_an_event_we_sealed_has_its_content_hash_and_its_id(version):
    pdu = build_pdu(version)
    event = parse_event(pdu, version)
    assert check_content_hash(event)
    assert pdu["hashes"]["sha256"] == content_hash(pdu)
    if version.event_ids != "sent":
        assert (
            event.event_id == "$" + reference_hash(version, pdu) == event_id_of(version, essential_bytes(version, pdu))
        )


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.id)
def test_a_changed_content_fails_the_hash_but_keeps_the_id(version):
    pdu = build_pdu(version)
    event, changed = parse_event(pdu, version), parse_event(pdu | {"content": {"body": "Class is off"}}, version)
    assert changed == event
    assert not check_content_hash(changed)
    assert not check_content_hash(redact_event(event))


@pytest.mark.parametrize("number", [1.5, 1e-7, 2**60], ids=str)
def test_numbers_that_only_old_versions_allow_are_hashed_and_signed_there_as_they_were(number):
    version = ROOM_VERSIONS["5"]
    pdu = build_pdu(version) | {"type": "m.room.power_levels", "content": {"users_default": number}}
    pdu["hashes"] = {"sha256": content_hash(pdu)}
    event = parse_event(pdu, version)
    assert check_content_hash(event)
    assert event.event_id == event_id_of(version, essential_bytes(version, pdu))


@pytest.mark.parametrize("spoiled", ["", "=", "not base64!", "h" * 43, "ü"])
def test_a_hash_that_is_none_fails(spoiled):
    version = ROOM_VERSIONS["12"]
    pdu = build_pdu(version)
    pdu["hashes"] = {"sha256": spoiled}
    assert not check_content_hash(parse_event(pdu, version))


def test_the_content_hash_is_compared_as_bytes_so_padding_does_not_matter():
    version = ROOM_VERSIONS["12"]
    pdu = build_pdu(version)
    pdu["hashes"]["sha256"] += "="
    assert check_content_hash(parse_event(pdu, version))


def test_neither_hash_covers_signatures_and_unsigned():
    version = ROOM_VERSIONS["12"]
    pdu = build_pdu(version)
    more = pdu | {"unsigned": {"age": 5}, "signatures": {"x": {"ed25519:1": "y"}}}
    assert content_hash(pdu) == content_hash(more) == content_hash(without(pdu, "signatures", "hashes"))
    assert reference_hash(version, pdu) == reference_hash(version, more)


def test_the_alphabet_of_the_reference_hash_is_that_of_the_version():
    digests = [reference_hash(ROOM_VERSIONS["3"], {"depth": n}) for n in range(50)]
    urlsafe = [reference_hash(ROOM_VERSIONS["4"], {"depth": n}) for n in range(50)]
    assert [text.replace("+", "-").replace("/", "_") for text in digests] == urlsafe
    assert any("/" in text for text in digests)


@pytest.mark.parametrize(("data", "text"), BASE64.items())
def test_the_base64_examples_of_the_specification_hold(data, text):
    assert encode_base64(data) == text
    assert find_base64(text) == data
    assert find_base64(text + "=" * (-len(text) % 4)) == data


@pytest.mark.parametrize(
    "text",
    ["Z", "Zg=v", "Zm9v Zg", "Zm9v\n", "Zm-_", "Zmé", "=Zg", "Zg=", "Zg===", "====", None, b"Zg", 5, ["Zg"]],
    ids=repr,
)
def test_what_is_no_base64_is_not_found(text):
    assert find_base64(text) is None


@given(st.binary())
def test_base64_goes_there_and_back(data):
    assert find_base64(encode_base64(data)) == data
    assert encode_urlsafe(data) == encode_base64(data).replace("+", "-").replace("/", "_")


@given(st.text())
def test_any_text_at_all_is_base64_or_not(text):
    assert find_base64(text) is None or isinstance(find_base64(text), bytes)
