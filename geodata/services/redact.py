"""No signature and no token in what is said, logged or kept."""

import re
from collections.abc import Mapping

_TOKEN_IN_LINK = re.compile(rb"access_token=[^&\"\\\s]+")
_SECRETS = re.compile(
    r"((?:sig|oh|access_token|se|st|skoid|sktid|ske|sks|skt|skv)=)[^&\s'\"]+|(OAuth\s+)\S+|(MLY\|)[^\s'\"&]+|(Bearer\s+)\S+"
)


def redact(text: str) -> str:
    """Blots out signatures and tokens."""
    return _SECRETS.sub(lambda m: f"{next(part for part in m.groups() if part)}...", text)


def strip_tokens(headers: Mapping[str, str], body: bytes) -> bytes:
    """Returns an answer's body without the token that a link to the next page may hold."""
    kind = headers.get("content-type", "")
    return _TOKEN_IN_LINK.sub(b"access_token=...", body) if "json" in kind or "text" in kind else body
