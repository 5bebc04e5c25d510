"""Pages for people in a browser, where the specification wants one: whole in themselves, in Russian and English.

A page loads nothing, is shown in no frame, and runs no script but its own, which the policy of its content names by
hash. Whatever goes into one goes through `html.escape`.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Final, Literal, TypeAlias

from homeserver.api.route import Answer

Language: TypeAlias = Literal["en", "ru"]
Words: TypeAlias = Mapping[str, str]
"""What a page says in one language, by a name."""

_RANGE: Final = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?")
_MOST_RANGES: Final = 20
_LANGUAGES: Final[Mapping[str, Language]] = {"en": "en", "ru": "ru"}

_STYLE: Final = (
    ":root{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}"
    "body{max-width:26rem;margin:2rem auto;padding:0 1rem}h1{font-size:1.4rem}"
    "label{display:block;margin:1rem 0 .3rem}"
    "input,button{box-sizing:border-box;width:100%;padding:.6rem;font:inherit;border:1px solid GrayText;"
    "border-radius:.4rem}button{margin-top:1.5rem;border:0;background:#0b57d0;color:#fff}"
    ":focus-visible{outline:3px solid #f59e0b;outline-offset:2px}button:disabled{opacity:.6}"
    "[role=alert]:not(:empty){border-left:.3rem solid #c5221f;padding-left:.7rem}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: its title as text, what is below it as HTML, its script, and the status of the answer.

    `asks`: the script makes requests of this server, and the form is sent by nothing but it.
    """

    language: Language
    title: str
    body: str
    script: str = ""
    asks: bool = False
    status: int = 200


def choose_language(accepted: str | None) -> Language:
    """The language of a page for somebody whose browser accepts these, given as it sends them; English if neither.

    Spec: RFC 9110, 12.5.4
    """
    wishes: list[tuple[float, Language]] = []
    for part in (accepted or "").split(",")[:_MOST_RANGES]:
        found = _RANGE.fullmatch(part)
        if found is not None:
            language = _LANGUAGES.get(found[1].lower())
            quality = float(found[2] or 1)
            if quality > 0 and language is not None:
                wishes.append((quality, language))
    return max(wishes, key=lambda wish: wish[0])[1] if wishes else "en"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_STYLE_HASH: Final = _hash(_STYLE)


def answer_page(page: Page) -> Answer:
    """Send a page."""
    title, script = escape(page.title), f"<script>{page.script}</script>" if page.script else ""
    html = (
        f'<!DOCTYPE html>\n<html lang="{page.language}"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{title}</h1>\n{page.body}</main>{script}</body></html>\n"
    )
    return Answer(status=page.status, body=html.encode("utf-8", "replace"), headers=_headers(page))


def _headers(page: Page) -> dict[str, str]:
    script = _hash(page.script) if page.script else "'none'"
    asks, sends = ("'self'", "'none'") if page.asks else ("'none'", "'self'")
    rules = (
        "default-src 'none'",
        f"style-src {_STYLE_HASH}",
        f"script-src {script}",
        f"connect-src {asks}",
        f"form-action {sends}",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "frame-src js:",  # no browser opens that: it is how a page in an app tells the app something
    )
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Language": page.language,
        "Vary": "Accept-Language",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "; ".join(rules),
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
    }
