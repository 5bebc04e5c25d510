"""The process that reads one page.

``python -m homeserver.media.previews.page ADDRESS CHARSET LANGUAGE`` reads HTML from its input and prints a JSON
object: ``og`` (what the page says of itself), ``image`` and ``oembed`` (addresses, or null). CHARSET is what the
Content-Type of the answer named, or empty; LANGUAGE decides what text without a charset is taken for.

Spec: client-server-api#get_matrixclientv1mediapreview_url
"""

import codecs
import json
import re
import sys
from collections.abc import Iterable, Iterator
from urllib.parse import urljoin

from lxml import etree

from homeserver.media.confinement import confine

MEMORY_BYTES, CPU_SECONDS, OUTPUT_BYTES = 512 << 20, 5, 1 << 20
LONGEST, LONGEST_DESCRIPTION, MOST_TAGS, MOST_PROPERTIES = 300, 1000, 500, 30

_DECLARED = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAID = re.compile(r"og:(title|description|type|url|site_name|locale|locale:alternate|determiner|image:alt)")
_UNSEEN = frozenset({"script", "style", "template", "noscript", "nav", "header", "footer", "aside", "form", "svg"})


def decode(raw: bytes, charset: str, language: str) -> str:
    """The text of a page: by its byte order mark, what came with it, what it says itself, or what it looks like."""
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return raw.decode(name, "replace")
    declared = _DECLARED.search(raw[:4096])
    named = [charset, declared[1].decode("ascii") if declared else ""]
    if declared and named[1].lower().startswith("utf-16"):
        named[1] = "utf-8"  # it could not have been read so far
    for name in filter(None, named):
        try:
            return raw.decode(name, "replace")
        except (LookupError, UnicodeError):
            continue
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        if fault.reason == "unexpected end of data":  # cut off in the middle of a letter
            return raw.decode("utf-8", "replace")
        return raw.decode("windows-1251" if language == "ru" else "windows-1252", "replace")


def clean(text: str, longest: int = LONGEST) -> str:
    """One line of printable text, cut at a word."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * longest]).split())
    return line if len(line) <= longest else line[:longest].rpartition(" ")[0][:longest] + "…"


def _metas(tree: etree._Element) -> Iterator[tuple[str, str]]:
    """Names and contents of the page's meta tags, those that come first."""
    for number, tag in enumerate(tree.iter("meta")):
        if number == MOST_TAGS:
            return
        name = tag.get("property") or tag.get("name") or tag.get("itemprop") or ""
        yield name.strip().lower(), tag.get("content") or ""


def _visible_text(tree: etree._Element) -> Iterator[str]:
    """The text of the page's paragraphs."""
    for number, paragraph in enumerate(tree.iter("p")):
        if number == MOST_TAGS:
            return
        if not any(parent.tag in _UNSEEN for parent in paragraph.iterancestors()):
            yield " ".join(paragraph.itertext())


def _first(texts: Iterable[str | None], longest: int = LONGEST) -> str | None:
    return next((line for text in texts if text and (line := clean(text, longest))), None)


def _link(tree: etree._Element, base: str, wanted: str, *, by: str) -> str | None:
    for number, tag in enumerate(tree.iter("link")):
        if number == MOST_TAGS:
            return None
        if wanted in (tag.get(by) or "").lower().split() and tag.get("href"):
            return _web(base, tag.get("href") or "")
    return None


def _web(base: str, text: str) -> str | None:
    """An address of the web on that page; None for any other, such as javascript."""
    try:
        address = urljoin(base, text.strip())
    except ValueError:
        return None
    return address if re.match(r"https?://[^/]", address, re.IGNORECASE) and len(address) <= 2048 else None


def read(raw: bytes, address: str, charset: str = "", language: str = "") -> dict[str, object]:
    """What a page says of itself, by OpenGraph, by the cards of Twitter, or by what a reader sees of it."""
    text = decode(raw, charset, language).replace("\0", " ")
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    tree = etree.fromstring(text.encode("utf-8", "replace"), parser)
    if tree is None:
        return {"og": {}, "image": None, "oembed": None}
    metas: dict[str, str] = {}
    for name, content in _metas(tree):
        if content.strip():
            metas.setdefault(name, content)
    found = next(tree.iter("base"), None)
    base = (None if found is None else _web(address, found.get("href") or "")) or address
    og = {name: clean(content) for name, content in metas.items() if _SAID.fullmatch(name)}
    og["og:title"] = _first([metas.get("og:title"), metas.get("twitter:title"), *_titles(tree)]) or ""
    described = (metas.get("og:description"), metas.get("twitter:description"), metas.get("description"))
    og["og:description"] = _first([*described, " ".join(_visible_text(tree))[:4000]], LONGEST_DESCRIPTION) or ""
    og["og:url"] = _web(base, metas.get("og:url", "")) or "" if "og:url" in metas else ""
    names = ("og:image:secure_url", "og:image", "og:image:url", "twitter:image", "twitter:image:src", "image")
    images = (_web(base, metas[name]) for name in names if name in metas)
    return {
        "og": dict([(name, value) for name, value in og.items() if value][:MOST_PROPERTIES]),
        "image": next(filter(None, images), None) or _link(tree, base, "image_src", by="rel"),
        "oembed": _link(tree, base, "application/json+oembed", by="type"),
    }


def _titles(tree: etree._Element) -> Iterator[str]:
    for tag in ("title", "h1", "h2"):
        found = next(tree.iter(tag), None)
        if found is not None:
            yield " ".join(found.itertext())


def main(arguments: list[str]) -> None:
    """Run once, by the arguments of the module's docstring."""
    confine(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, output_bytes=OUTPUT_BYTES)
    address, charset, language = arguments
    try:
        said = read(sys.stdin.buffer.read(), address, charset, language)
    except (etree.LxmlError, ValueError, MemoryError, RecursionError):  # a page that cannot be read says nothing
        said = {"og": {}, "image": None, "oembed": None}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
