"""Which texts are addresses of pages, and which hosts a list names."""

import pytest

from homeserver.media.previews.addresses import LONGEST, Hosts, host_of, join_address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTPS://EXAMPLE.org:443/A?b=%2B&c=d+e#f", "https://example.org/A?b=%2B&c=d+e"),
        ("https://Школа.РФ/путь?q=я", "https://xn--80atdl2c.xn--p1ai/%D0%BF%D1%83%D1%82%D1%8C?q=%D1%8F"),
        ("http://faß.de/", "http://xn--fa-hia.de/"),
        ("http://2130706433/", "http://2130706433/"),  # a name to the resolver, whose addresses are judged
        ("http://u:p@example.org/", None),
        ("http://u@example.org/", None),
        ("javascript:alert(1)", None),
        ("file:///etc/passwd", None),
        ("ftp://example.org/", None),
        ("//example.org/", None),
        ("example.org", None),
        ("http://", None),
        ("http:///x", None),
        ("http://exa mple.org/", None),
        ("http://example.org\r\nX-A: b/", None),
        ("http://a\u202e.org/", None),
        ("http://\u2100.org/", None),
        ("http://a..org/", None),
        ("http://a%00b.org/", None),
        ("http://example.org:0/", None),
        ("http://example.org:65536/", None),
        ("http://example.org:x/", None),
        ("http://[::1", None),
        ("http://[::1]:8080/a", None),
        ("http://example.org/\ud800", None),
        ("http://" + "a" * 300 + ".org/", None),
        ("http://example.org/" + "a" * LONGEST, None),
        ("http://example.org/" + "я" * 400, None),
        ("", None),
    ],
)
def test_only_plain_addresses_of_the_web_are_asked(text: str, address: str | None) -> None:
    assert parse_address(text) == address


def test_a_link_means_an_address_on_its_page() -> None:
    page = "http://example.org/a/b?c"
    assert join_address(page, " /x.png ") == "http://example.org/x.png"
    assert join_address(page, "//cdn.example.org/x y.png") == "http://cdn.example.org/x%20y.png"
    for text in ("javascript:alert(1)", "data:image/png;base64,AA==", "http://[x", "mailto:a@b.org"):
        assert join_address(page, text) is None, text


def test_a_list_names_hosts_and_what_is_below_them() -> None:
    hosts = Hosts(["example.org", "*.edu.example", "Школа.рф", "*.рф."])
    for named in ("example.org", "a.edu.example", "a.b.edu.example", "xn--80atdl2c.xn--p1ai", "xn--a.xn--p1ai"):
        assert named in hosts, named
    for other in ("example.org.evil.example", "notexample.org", "edu.example", "www.example.org", "рф", ""):
        assert other not in hosts, other
    assert host_of("http://EXAMPLE.org:80/") in hosts
    assert "example.org" not in Hosts([])
    assert "any.host" in Hosts(["*"])
