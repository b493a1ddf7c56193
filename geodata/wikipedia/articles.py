"""One article of a dump with its place: made from a page and its tag, or a reason why there is none."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote

from geodata.article import is_disambiguation
from geodata.cells import cell_number
from geodata.wikipedia.pages import Page
from geodata.wikipedia.tags import Tag
from geodata.wikipedia.tally import Skip
from geodata.wikipedia.wikitext import WikitextError, is_disambiguation_page, read_intro

CELL_RESOLUTION = 12
"""H3 level of the cells that articles are sorted by; coarser cells are runs of these."""


@dataclass(frozen=True)
class PlacedArticle:
    """One row of the table; its fields are the columns."""

    cell: int
    """H3 cell of the position."""
    page_id: int
    """Number within the wiki."""
    title: str
    """Of the page."""
    lon: float
    """Degrees east."""
    lat: float
    """Degrees north."""
    dim_m: float | None
    """Rough size of the thing, metres; None where it is not said."""
    type: str | None
    """GeoData's word for the kind of thing; None where it is not said."""
    text: str
    """What stands before the first heading."""
    revision: int
    """Number within the wiki."""
    url: str
    """Where a human reads it."""


def make_article(page: Page, tag: Tag | None, *, language: str, embedded: Collection[str]) -> PlacedArticle | Skip:
    """Returns a page's row, or why it has none.

    Args:
        language: of the wiki.
        embedded: names of its namespaces of files and categories, lower case.
    """
    if page.namespace != 0:
        return Skip.OTHER_NAMESPACE
    if page.is_redirect:
        return Skip.REDIRECT
    if tag is None:
        return Skip.NOT_TAGGED
    marked = is_disambiguation_page(page.text) if tag.is_disambiguation is None else tag.is_disambiguation
    if marked:
        return Skip.DISAMBIGUATION
    try:
        text = read_intro(page.text, embedded)
    except WikitextError:
        return Skip.UNREADABLE
    if is_disambiguation(page.title, text):
        return Skip.DISAMBIGUATION
    if not text:
        return Skip.NO_TEXT
    return PlacedArticle(
        cell_number(tag.lon, tag.lat, CELL_RESOLUTION), page.id, page.title, tag.lon, tag.lat, tag.dim_m, tag.type,
        text, page.revision, article_url(language, page.title),
    )  # fmt: skip


def article_url(language: str, title: str) -> str:
    """Returns the address of a page, escaped as MediaWiki does it."""
    return f"https://{language}.wikipedia.org/wiki/{quote(title.replace(' ', '_'), safe='/:@!$*(),;~')}"
