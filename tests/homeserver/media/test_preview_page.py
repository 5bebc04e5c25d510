"""What is read from pages, honest and hostile, as a function and as the process it is."""

import io
import json
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image

from homeserver.media.previews.page import LONGEST, LONGEST_DESCRIPTION, decode, read
from homeserver.media.previews.picture import measure

ADDRESS = "https://example.org/news/1"


def said(html: str | bytes, *, charset: str = "", language: str = "ru") -> dict[str, Any]:
    """What a page says of itself."""
    raw = html.encode() if isinstance(html, str) else html
    og: Any = read(raw, ADDRESS, charset, language)["og"]
    return dict(og)


def run(raw: bytes) -> Any:
    """What the process prints, None when its limits ended it."""
    command = [sys.executable, "-I", "-m", "homeserver.media.previews.page", ADDRESS, "", "ru"]
    done = subprocess.run(command, check=False, capture_output=True, input=raw, timeout=60)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_open_graph_comes_before_what_else_a_page_says() -> None:
    page = """<html><head><title>Окно</title><meta name="description" content="просто">
      <meta name="twitter:title" content="Птица"><meta property="og:title" content=" Заголовок
      &amp; всё "><meta property="og:title" content="второй"><meta property="og:description" content="Описание">
      <meta property="og:site_name" content="Школа"><meta property="og:type" content="article">
      <meta property="og:url" content="/news/1?from=og"></head></html>"""
    assert said(page) == {
        "og:title": "Заголовок & всё",
        "og:description": "Описание",
        "og:site_name": "Школа",
        "og:type": "article",
        "og:url": "https://example.org/news/1?from=og",
    }


def test_a_page_without_open_graph_is_shown_as_a_reader_sees_it() -> None:
    page = "<title> Окно </title><nav><p>Меню</p></nav><p>Раз.</p><script>x</script><p>Два <b>три</b>.</p>"
    assert said(page) == {"og:title": "Окно", "og:description": "Раз. Два три ."}
    assert said("<h1>Заголовок</h1>") == {"og:title": "Заголовок"}
    assert said("<meta name=twitter:title content=A><meta name=twitter:description content=B>") == {
        "og:title": "A",
        "og:description": "B",
    }
    assert said("") == said("\0\0") == said("просто текст".encode("utf-16")) == {}


def test_nothing_that_a_client_would_load_by_itself_is_passed_on() -> None:
    page = """<meta property="og:video" content="https://evil.example/v.mp4">
      <meta property="og:audio" content="https://evil.example/a.mp3">
      <meta property="og:image:secure_url" content="javascript:alert(1)">
      <meta property="og:url" content="javascript:alert(1)"><meta property="og:image:width" content="9">
      <meta property="og:title" content="A">"""
    assert read(page.encode(), ADDRESS) == {"og": {"og:title": "A"}, "image": None, "oembed": None}


@pytest.mark.parametrize(
    ("html", "image"),
    [
        ('<meta property="og:image" content="/a.png">', "https://example.org/a.png"),
        ('<base href="https://cdn.example/x/"><meta property="og:image" content="a.png">', "https://cdn.example/x/a.png"),
        ('<base href="javascript:x"><meta name="twitter:image" content="a.png">', "https://example.org/news/a.png"),
        ('<link rel="image_src" href="//cdn.example/a.png">', "https://cdn.example/a.png"),
        ('<meta property="og:image" content="data:image/png;base64,AA"><link rel=image_src href=/b>',
         "https://example.org/b"),
        ('<meta property="og:image" content="http://[x">', None),
        ('<meta property="og:image" content="file:///etc/passwd">', None),
        ('<meta property="og:image" content="/' + "a" * 3000 + '">', None),
        ("<img src=/a.png>", None),
    ],
)  # fmt: skip
def test_the_image_is_the_one_that_the_page_names(html: str, image: str | None) -> None:
    assert read(html.encode(), ADDRESS)["image"] == image


def test_what_describes_a_page_elsewhere_is_found() -> None:
    page = b'<link rel="alternate" type="application/json+oembed" href="/oembed?url=x">'
    assert read(page, ADDRESS)["oembed"] == "https://example.org/oembed?url=x"


@pytest.mark.parametrize(
    ("raw", "charset", "text"),
    [
        ("Привет".encode(), "utf-8", "Привет"),
        ("Привет".encode("cp1251"), "windows-1251", "Привет"),
        ("Привет".encode("koi8-r"), "KOI8-R", "Привет"),
        ("Привет".encode("cp1251"), "", "Привет"),
        ("Привет".encode(), "", "Привет"),
        ("\ufeffПривет".encode(), "windows-1251", "Привет"),
        ("Привет".encode("utf-16"), "utf-8", "Привет"),
        ("Привет".encode(), "no-such-charset", "Привет"),
        ("Привет".encode(), "zip", "Привет"),
        ("Привет".encode()[:-1], "", "Приве\ufffd"),
    ],
)
def test_a_page_is_read_in_its_charset(raw: bytes, charset: str, text: str) -> None:
    assert decode(raw, charset, "ru") == text


def test_a_page_may_say_its_charset_itself() -> None:
    for declared in ('<meta charset="koi8-r">', '<meta http-equiv=Content-Type content="text/html; charset=koi8-r">'):
        assert said((declared + "<title>Привет</title>").encode("koi8-r"))["og:title"] == "Привет"
    assert said('<meta charset="utf-16"><title>Привет</title>'.encode())["og:title"] == "Привет"
    assert said('<?xml version="1.0" encoding="koi8-r"?><title>Привет</title>'.encode())["og:title"] == "Привет"
    assert decode("été".encode("cp1252"), "", "en") == "été"


def test_texts_are_one_short_line() -> None:
    found = said("<title>" + "слово " * 1000 + "</title><p>" + "слово " * 1000)
    assert len(found["og:title"]) <= LONGEST + 1
    assert len(found["og:description"]) <= LONGEST_DESCRIPTION + 1
    assert said("<title>a\x1b[31m\u202e\u200bb\r\nc</title>")["og:title"] == "a [31m b c"


def test_many_tags_and_deep_ones_are_read_up_to_a_bound() -> None:
    assert run(b"<title>a</title>" + b"<div>" * 500_000) == {"og": {"og:title": "a"}, "image": None, "oembed": None}
    assert len(said("".join(f'<meta property="og:locale:alternate" content="{n}">' for n in range(10_000)))) == 1
    assert run(b"<title>a</title>" + b"<meta name=a content=b>" * 200_000)["og"] == {"og:title": "a"}


def test_a_page_that_eats_time_is_given_up() -> None:
    assert run(b"<title>a</title><p " + b" ".join(b"a%d=1" % n for n in range(900_000)) + b">") is None


def test_a_picture_is_what_its_bytes_are() -> None:
    drawn = io.BytesIO()
    Image.new("RGB", (40, 30), "navy").save(drawn, "PNG")
    assert measure(drawn.getvalue()) == {"content_type": "image/png", "width": 40, "height": 30}
    for raw in (b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", drawn.getvalue()[:20], b"BM" + bytes(60)):
        assert measure(raw) is None, raw[:20]


def test_a_picture_that_unpacks_to_too_much_is_none() -> None:
    drawn = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(drawn, "PNG")
    assert measure(drawn.getvalue()) is None
