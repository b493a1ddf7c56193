"""Words from outside in Markdown: they stay words, whatever they hold."""

import unicodedata
from urllib.parse import quote

LONGEST = 300
"""Characters of a title or credit that a page shows; the tables hold the whole."""
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Signs that turn the direction of what follows them."""


def escape(text: str, longest: int = LONGEST) -> str:
    """Returns text on one line that neither Markdown nor HTML takes for its own; marks that turn lines round go."""
    words = " ".join(text.split())
    words = "".join(sign for sign in words if sign not in _TURNS and unicodedata.category(sign) not in ("Cc", "Cs"))
    words = words if len(words) <= longest else words[: longest - 1].rstrip() + "…"
    return words.translate({ord(mark): f"&#{ord(mark)};" for mark in "<>&|[]`*_#\\~"})


def link(text: str, url: str) -> str:
    """Returns a link where the address is one of the web, the bare text elsewhere."""
    if not url.startswith(("https://", "http://")):
        return escape(text)
    return f"[{escape(text)}]({quote(url, safe='/:?&=%#+,;~-._@$')})"
