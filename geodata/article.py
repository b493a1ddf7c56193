"""Encyclopaedic texts: one line of a TSV or JSONL file, or one answer of a service."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

COLUMNS = ("id", "title", "lat", "lon", "text")
"""What a line of a text file holds; a TSV names them in its first line, in any order."""

_DISAMBIGUATION = re.compile(r"\b(may|can|could) (also )?refer to\b[^.]{0,80}:|\(disambiguation\)", re.IGNORECASE)


class ArticleError(ValueError):
    """The line is no article."""


@dataclass(frozen=True)
class Article:
    """One geotagged text."""

    id: str
    """Identifier within its file or encyclopaedia."""
    title: str
    """Heading."""
    lon: float
    """Degrees east."""
    lat: float
    """Degrees north."""
    text: str
    """Plain text."""


@dataclass(frozen=True)
class Line:
    """Where an article stands in its file."""

    offset: int
    """First byte."""
    size: int
    """Bytes, without the line's end."""
    raw: bytes
    """The bytes."""


def iterate_lines(path: str) -> Iterator[Line]:
    """Yields the lines of a text file that hold an article, with their position."""
    offset = 0
    with open(path, "rb") as file:
        for number, raw in enumerate(file):
            is_header = number == 0 and not path.endswith(".jsonl")
            if not is_header and raw.strip():
                yield Line(offset, len(raw.rstrip(b"\r\n")), raw.rstrip(b"\r\n"))
            offset += len(raw)


def parse_header(path: str) -> tuple[str, ...]:
    """Returns the column names of a TSV, or `COLUMNS` for JSONL.

    Raises:
        ArticleError: if a needed column is missing.
    """
    if path.endswith(".jsonl"):
        return COLUMNS
    with open(path, "rb") as file:
        names = tuple(file.readline().decode("utf-8-sig", "replace").rstrip("\r\n").split("\t"))
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise ArticleError(f"the first line names {', '.join(names)[:80]!r} but lacks {', '.join(missing)}")
    return names


def parse_article(raw: bytes, columns: tuple[str, ...], *, is_json: bool) -> Article:
    """Reads one line.

    Raises:
        ArticleError: with what is wrong with it.
    """
    try:
        line = raw.decode("utf-8")
        fields = json.loads(line) if is_json else dict(zip(columns, line.split("\t"), strict=True))
        lon, lat = float(fields["lon"]), float(fields["lat"])
        article = Article(str(fields["id"]), str(fields["title"]), lon, lat, str(fields["text"]).strip())
        f"{article.id}{article.title}{article.text}".encode()  # JSON may hold half a surrogate pair
        return article
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ArticleError(f"the line is not UTF-8 ({error.reason})") from error
    except KeyError as error:
        raise ArticleError(f"the line lacks the field {error}") from error
    except (ValueError, TypeError) as error:
        raise ArticleError(f"the line cannot be read ({error})") from error


def is_disambiguation(title: str, text: str) -> bool:
    """True for a page that only lists what a name may mean."""
    return bool(_DISAMBIGUATION.search(title) or _DISAMBIGUATION.search(text[:300]))
