"""Articles of a Wikipedia by its Action API: which lie in a box, what they are, how they begin.

Errors come with HTTP 200 and are told by the body. A search has no continuation: an answer that is full was cut, and
its box is divided. It knows the rules of the modules query, geosearch, info, pageprops and extracts (mediawiki.org,
API:Query, Extension:GeoData, Extension:TextExtracts); it does not know cells, nor which article is a good one.
"""

import logging
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from geodata.boxes import METRES_PER_DEGREE, Box, split_at_antimeridian
from geodata.services.session import Answer, ServiceError, Session, Transient, parse_retry_after
from geodata.wikipedia.wikitext import close_holes

T = TypeVar("T")
Body = Mapping[str, Any]
Page = dict[str, Any]
Params = Mapping[str, str | int]

SERVICE = "wikipedia"
LIMIT = 500
"""Most entries of one search."""
FULL = LIMIT - 10
"""An answer of so many counts as cut: deleted pages that the index still knows take places in it and are not told."""
MAX_BOX_M2, MIN_SIDE_M = 3.9e8, 20.0
"""Limits of a box: the service refuses more than 4e8 m2 and less than 100 m2."""
DESCRIBED_AT_ONCE, EXTRACTS_AT_ONCE = 50, 20
"""Pages of one request: 50 of any, 20 where the beginnings of texts are asked for."""
MAX_ROUNDS = 60
"""Continuations of one request, after which the service is taken to walk in circles."""

_COMMON: Params = {"action": "query", "format": "json", "formatversion": 2, "maxlag": 5}
_PASSING = re.compile("maxlag|ratelimited|readonly|internal_api_error_.*|cirrussearch-.*")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """An article's place, as a search tells it."""

    page_id: int
    """Identifier within its wiki; survives renaming."""
    title: str
    """Heading."""
    lon: float
    """Degrees east."""
    lat: float
    """Degrees north."""
    dim_m: float | None
    """Size of the thing, metres; often the service's guess by its type."""
    type: str | None
    """GeoData's word for the thing: city, landmark, country ..."""
    country: str | None
    """ISO 3166 alpha-2 code, by the article's authors."""


@dataclass(frozen=True)
class Described:
    """What an article is."""

    page_id: int
    """Identifier within its wiki."""
    title: str
    """Heading."""
    url: str
    """Address for readers."""
    length: int
    """Bytes of wikitext."""
    revision: int
    """The latest one."""
    is_disambiguation: bool
    """True for a page that only lists what a name may mean."""
    wikidata: str | None
    """Wikidata item of the thing."""


class MediaWiki:
    """One wiki; threads may share it."""

    def __init__(self, session: Session, language: str) -> None:
        self._session = session
        self._url = session.root(SERVICE).format(language=language)

    def search_box(self, box: Box, *, near: Sequence[Box] = ()) -> list[Found]:
        """Returns the articles whose primary coordinates lie in a box, each once, by page id.

        How a large box is divided depends on it alone, so that searches with different `near` share cached answers.

        Args:
            near: where there are any, parts of the box that touch none of these may be left out.

        Raises:
            ServiceError: if the service fails.
        """
        found: dict[int, Found] = {}
        pending = [piece for half in split_at_antimeridian(box) for piece in _divide(_widen(half))]
        while pending:
            piece = pending.pop()
            if near and not any(_touches(piece, other) for other in near):
                continue
            count, here = self._search(piece)
            found |= {article.page_id: article for article in here}
            if count < FULL:
                continue
            quarters = [quarter for half in _halves(piece) for quarter in _halves(half)]
            if all(min(_sides_m(quarter)) >= MIN_SIDE_M for quarter in quarters):
                pending += quarters
            else:
                logger.warning("%s: %d articles in %s, which is as small as boxes get: some may be missing",
                               self._url, count, piece)  # fmt: skip
        return [found[page_id] for page_id in sorted(found)]

    def describe(self, page_ids: Iterable[int]) -> dict[int, Described]:
        """Returns what pages are; without those that are gone or only point to another page.

        Raises:
            ServiceError: if the service fails.
        """
        params: Params = {"prop": "info|pageprops", "inprop": "url", "ppprop": "disambiguation|wikibase_item"}
        pages = self._read_pages(params, page_ids, DESCRIBED_AT_ONCE)
        return {page_id: describe_page(page) for page_id, page in pages.items()}

    def extracts(self, page_ids: Iterable[int]) -> dict[int, str]:
        """Returns how pages begin, as plain text up to the first heading; without those that are gone.

        Raises:
            ServiceError: if the service fails.
        """
        params: Params = {"prop": "extracts|info", "exintro": 1, "explaintext": 1, "exlimit": EXTRACTS_AT_ONCE}
        pages = self._read_pages(params, page_ids, EXTRACTS_AT_ONCE)
        return {page_id: clean_extract(page["extract"]) for page_id, page in pages.items() if "extract" in page}

    def _search(self, box: Box) -> tuple[int, list[Found]]:
        """Returns how many entries came, and those on Earth."""
        west, south, east, north = (f"{degrees:.6f}" for degrees in box)
        params: Params = {
            "list": "geosearch", "gsbbox": f"{north}|{west}|{south}|{east}", "gslimit": LIMIT, "gsnamespace": 0,
            "gsprop": "type|name|dim|country|region|globe", "gsprimary": "primary",
        }  # fmt: skip
        return self._ask(params, parse_found)

    def _read_pages(self, params: Params, page_ids: Iterable[int], at_once: int) -> dict[int, Page]:
        ids = sorted(set(page_ids))
        pages: dict[int, Page] = {}
        for start in range(0, len(ids), at_once):
            batch = "|".join(map(str, ids[start : start + at_once]))
            merge_pages(pages, self._follow({**params, "pageids": batch}))
        return {page_id: page for page_id, page in pages.items() if not is_gone(page)}

    def _follow(self, params: Params) -> Iterator[Page]:
        """Yields pages, the same ones again where their properties come in several rounds."""
        following: Params = {}
        for _ in range(MAX_ROUNDS):
            pages, more = self._ask({**params, **following}, parse_round)
            yield from pages
            if more is None:
                return
            following = more
        raise ServiceError(SERVICE, f"an answer is continued {MAX_ROUNDS} times", retryable=True)

    def _ask(self, params: Params, read: Callable[[Body], T]) -> T:
        def parse(answer: Answer) -> T:
            body = parse_body(answer)
            try:
                return read(body)
            except (KeyError, TypeError, ValueError) as error:
                raise Transient(f"an answer lacks what was asked for ({error!r})") from error

        both = {**_COMMON, **params}
        return self._session.request(SERVICE, self._url, params=both, parse=parse, classify=_refuse_strangers)


def parse_body(answer: Answer) -> Body:
    """Reads an answer of the query module.

    Raises:
        Transient: if it is none, or tells of a fault that passes.
        ServiceError: if it tells of another one.
    """
    body = answer.json()
    if isinstance(body, dict) and "error" in body:
        _raise_fault(body["error"], parse_retry_after(answer.headers.get("retry-after")))
    if not isinstance(body, dict) or not body.keys() & {"query", "batchcomplete"}:
        raise Transient(f"JSON, but no answer to a query: {str(body)[:80]}")
    for module, warning in body.get("warnings", {}).items():
        logger.debug("warning of %s: %s", module, warning)
    return body


def parse_found(body: Body) -> tuple[int, list[Found]]:
    """Returns how many entries a search has, and the articles on Earth among them."""
    entries = body.get("query", {}).get("geosearch", [])
    found = [_parse_entry(entry) for entry in entries if (entry.get("globe") or "earth") == "earth"]
    if len(found) < len(entries):
        logger.debug("%d of %d articles lie on other globes", len(entries) - len(found), len(entries))
    return len(entries), found


def parse_round(body: Body) -> tuple[list[Page], Params | None]:
    """Returns the pages of an answer, of format version 1 or 2, and what to ask for next; None where it is whole."""
    pages = body.get("query", {}).get("pages", [])
    is_whole = "batchcomplete" in body and body["batchcomplete"] is not False
    return list(pages.values() if isinstance(pages, dict) else pages), None if is_whole else body.get("continue")


def merge_pages(pages: dict[int, Page], parts: Iterable[Page]) -> None:
    """Adds the parts in which pages come; a page without an id, never asked for here, is one that does not exist."""
    for part in parts:
        if "pageid" not in part:
            continue
        page = pages.setdefault(part["pageid"], {})
        for name, value in part.items():
            if isinstance(value, dict):
                page[name] = {**page.get(name, {}), **value}
            elif isinstance(value, list):
                page[name] = [*page.get(name, []), *value]
            else:
                page[name] = value


def describe_page(page: Page) -> Described:
    """Reads a page that exists.

    Raises:
        ServiceError: if a property is missing.
    """
    properties = page.get("pageprops", {})
    try:
        return Described(
            page["pageid"], page["title"], page["fullurl"], page["length"], page["lastrevid"],
            "disambiguation" in properties, properties.get("wikibase_item"),
        )  # fmt: skip
    except KeyError as error:
        raise ServiceError(SERVICE, f"page {page.get('pageid')} came without its {error}", retryable=True) from error


def is_gone(page: Page) -> bool:
    """True for a page that was deleted, or made a redirect: what it points to may lie elsewhere."""
    return any(flag in page and page[flag] is not False for flag in ("missing", "invalid", "redirect"))


def clean_extract(text: str) -> str:
    """Returns a text in NFC without the holes that formulas, pronunciations and coordinates leave."""
    return close_holes(unicodedata.normalize("NFC", text))


def _raise_fault(fault: Body, after_s: float | None) -> NoReturn:
    code, info = str(fault.get("code")), str(fault.get("info", ""))
    if not _PASSING.fullmatch(code):
        raise ServiceError(SERVICE, f"{code}: {info}")
    lag = fault.get("lag")
    raise Transient(f"{code}: {info}", after_s=float(lag) if after_s is None and lag is not None else after_s)


def _refuse_strangers(answer: Answer) -> None:
    """Raises ServiceError where the service does not like our User-Agent, which it says in plain text."""
    said = answer.body[:300].decode("utf-8", "replace").strip()
    if answer.status == 403 and "user-agent" in said.lower():
        raise ServiceError(SERVICE, f"give --contact, so that it knows who asks; it says: {said}", status=403)


def _parse_entry(entry: Body) -> Found:
    dim = entry.get("dim")
    return Found(
        int(entry["pageid"]), entry["title"], float(entry["lon"]), float(entry["lat"]),
        None if dim is None else float(dim), entry.get("type") or None, entry.get("country") or None,
    )  # fmt: skip


def _divide(box: Box) -> list[Box]:
    """Returns pieces that are small enough, and narrow enough for the service's chord to measure them."""
    width, height = _sides_m(box)
    if width * height <= MAX_BOX_M2 and box[2] - box[0] <= 90:
        return [box]
    return [piece for half in _halves(box) for piece in _divide(half)]


def _halves(box: Box) -> list[Box]:
    """Cuts the longer sides."""
    west, south, east, north = box
    width, height = _sides_m(box)
    if width > height or east - west > 90:
        middle = (west + east) / 2
        return [(west, south, middle, north), (middle, south, east, north)]
    middle = (south + north) / 2
    return [(west, south, east, middle), (west, middle, east, north)]


def _sides_m(box: Box) -> tuple[float, float]:
    """Width in the middle and height: their product is the service's own measure of area, or a little more."""
    west, south, east, north = box
    return (
        (east - west) * METRES_PER_DEGREE * math.cos(math.radians((south + north) / 2)),
        (north - south) * METRES_PER_DEGREE,
    )


def _widen(box: Box) -> Box:
    """Returns a box within -180 ... 180 whose sides are long enough, such as the rest beyond the antimeridian."""
    west, south, east, north = box
    if _sides_m(box)[1] < MIN_SIDE_M:
        grown = MIN_SIDE_M / METRES_PER_DEGREE
        south, north = max(-90.0, south - grown), min(90.0, north + grown)
    if _sides_m((west, south, east, north))[0] < MIN_SIDE_M:
        grown = MIN_SIDE_M / max(1.0, METRES_PER_DEGREE * math.cos(math.radians((south + north) / 2)))
        west, east = max(-180.0, west - grown), min(180.0, east + grown)
    return west, south, east, north


def _touches(box: Box, other: Box) -> bool:
    """True where two boxes meet, whatever turn of longitudes they are written in."""
    apart = other[0] - box[0]
    meets = apart % 360 <= box[2] - box[0] or -apart % 360 <= other[2] - other[0]
    return meets and other[1] <= box[3] and other[3] >= box[1]
