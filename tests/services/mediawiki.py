"""A wiki's Action API on loopback: geosearch, info, pageprops, coordinates, extracts, with the quirks of the real one.

Written after the sources of GeoData (QueryGeoSearchElastic, QueryCoordinates, BoundingBox) and TextExtracts, and the
recordings. Served at /w/api.php, and at /{language}/w/api.php for several languages.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from geodata.grid import distance_m
from tests.services.server import Fault, LoopbackServer, Reply, Request

MAXLAG = {
    "error": {
        "code": "maxlag", "info": "Waiting for 10.64.0.50: 7.25 seconds lagged.", "host": "10.64.0.50", "lag": 7.25,
        "type": "db",
    },
    "servedby": "mw1",
}  # fmt: skip
STRANGER = b"Please set a user-agent and respect our robot policy https://w.wiki/4wJS. See also T400119."
_STRANGERS = re.compile(r"(python-requests|Python-urllib|curl|$)")
_MODULES = {"coordinates": "cocontinue", "extracts": "excontinue", "info": "incontinue", "pageprops": "ppcontinue"}
_GEODATA = ("type", "name", "dim", "country", "region")


@dataclass(frozen=True)
class Article:
    """One page as the double has it."""

    page_id: int
    title: str
    lon: float = 0.0
    lat: float = 0.0
    extract: str | None = ""
    """None where the content model has none."""
    length: int = 5000
    dim: float | None = 1000
    type: str | None = "landmark"
    country: str | None = "LU"
    globe: str = "earth"
    revision: int = 1
    wikidata: str | None = None
    is_disambiguation: bool = False
    is_deleted: bool = False
    """Still in the search index."""
    redirects_to: str | None = None
    secondary: tuple[tuple[float, float], ...] = ()


class ApiError(Exception):
    def __init__(self, code: str, info: str) -> None:
        super().__init__(code)
        self.code, self.info = code, info


class WikiDouble:
    """Answers for one wiki, or for several by language; `server` has its requests and faults."""

    def __init__(self, articles: Sequence[Article] | Mapping[str, Sequence[Article]]) -> None:
        self.wikis = dict(articles) if isinstance(articles, Mapping) else {"": list(articles)}
        self.late: set[str] = set()
        """Modules that send nothing before the second round."""
        self.extracts_at_once = 20
        self.server = LoopbackServer(self._handle, stall_s=0.6)
        self.root = f"{self.server.root}/{'{language}/' if isinstance(articles, Mapping) else ''}w/api.php"

    def __enter__(self) -> "WikiDouble":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def lag(self, times: int, *, status: int = 200) -> None:
        """The next requests are refused: by the body alone, or by 503 with Retry-After."""
        headers = {"Content-Type": "application/json", **({"Retry-After": "5"} if status != 200 else {})}
        self.server.faults.append(Fault("status", times, status=status, headers=headers, body=encode(MAXLAG)))

    def refuse(self, code: str, times: int = 1) -> None:
        body = encode({"error": {"code": code, "info": f"The info of {code}."}, "servedby": "mw1"})
        self.server.faults.append(Fault("status", times, status=200, body=body))

    def asked(self, **params: str) -> list[dict[str, str]]:
        """Queries that had these parameters; a value "" stands for any."""
        queries = [request.query for request in self.server.requests]
        return [q for q in queries if all(n in q and v in ("", q[n]) for n, v in params.items())]

    def _handle(self, request: Request) -> Reply:
        match = re.fullmatch(r"/(?:([a-z-]+)/)?w/api\.php", request.path)
        if match is None or (match[1] or "") not in self.wikis:
            return Reply(404, b"<html>Not found</html>", {"Content-Type": "text/html"})
        if _STRANGERS.match(request.headers.get("user-agent", "")):
            return Reply(403, STRANGER, {"Content-Type": "text/plain"})
        headers = {"Content-Type": "application/json; charset=utf-8"}
        try:
            body = Query(self, self.wikis[match[1] or ""], request.query).answer()
        except ApiError as error:
            body = {"error": {"code": error.code, "info": error.info, "docref": "See /w/api.php"}, "servedby": "mw1"}
            headers["MediaWiki-API-Error"] = error.code
        return Reply(200, encode(body if request.query.get("formatversion") == "2" else to_version_1(body)), headers)


class Query:
    """One request to one wiki."""

    def __init__(self, double: WikiDouble, articles: Sequence[Article], params: dict[str, str]) -> None:
        self.double, self.articles, self.params = double, articles, params
        self.warnings: dict[str, Any] = {}

    def answer(self) -> dict[str, Any]:
        if self.params.get("action") != "query":
            raise ApiError("badvalue", 'Unrecognized value for parameter "action"')
        if self.params.get("meta") == "siteinfo":
            return {"batchcomplete": True, "query": {"general": {"sitename": "Wikipedia"}}}
        if self.params.get("list") == "geosearch":
            body: dict[str, Any] = {"batchcomplete": True, "query": {"geosearch": self.geosearch()}}
        else:
            body = self.pages()
        return {**body, **({"warnings": self.warnings} if self.warnings else {})}

    def geosearch(self) -> list[dict[str, Any]]:
        if len({"gsbbox", "gscoord", "gspage"} & self.params.keys()) != 1:
            raise ApiError("missingparam", 'One of the parameters "gscoord", "gspage" and "gsbbox" is required.')
        limit = self.limit("gslimit", 500, "geosearch")
        lon, lat, holds = self.area()
        primary = self.params.get("gsprimary", "primary")
        tags = [
            (distance_m(lon, lat, x, y), article, x, y, is_primary)
            for article in self.articles
            for x, y, is_primary in [
                (article.lon, article.lat, True),
                *((*place, False) for place in article.secondary),
            ]
            if holds(x, y) and primary in ("all", "primary" if is_primary else "secondary")
        ]
        tags.sort(key=lambda tag: (tag[0], tag[1].page_id))
        return [self.entry(*tag) for tag in tags[:limit] if not tag[1].is_deleted]

    def area(self) -> tuple[float, float, Any]:
        """Middle, and whether a position lies inside."""
        if "gscoord" in self.params:
            lon, lat = read_position(*self.params["gscoord"].split("|"))
            radius = int(self.params.get("gsradius", 500))
            if not 10 <= radius <= 10_000:
                info = f'The value "{radius}" for parameter "gsradius" must be between 10 and 10,000.'
                raise ApiError("outofrange", info)
            return lon, lat, lambda x, y: distance_m(lon, lat, x, y) <= radius
        north, west, south, east = self.params["gsbbox"].split("|")
        (left, top), (right, bottom) = read_position(north, west), read_position(south, east)
        if top <= bottom:
            raise ApiError("invalid-bbox", "Invalid bounding box provided")
        middle = (top + bottom) / 2
        if not 100 <= chord_m(0, top, 0, bottom) * chord_m(left, middle, right, middle) <= 4e8:
            raise ApiError("toobig", "Bounding box is too big")
        return (left + right) / 2, middle, lambda x, y: left <= x <= right and bottom <= y <= top

    def entry(self, distance: float, article: Article, lon: float, lat: float, is_primary: bool) -> dict[str, Any]:
        found = {"pageid": article.page_id, "ns": 0, "title": article.title, "lat": lat, "lon": lon,
                 "dist": round(distance, 1), "primary": is_primary}  # fmt: skip
        props = self.params.get("gsprop", "globe").split("|")
        found |= {name: getattr(article, name, None) for name in _GEODATA if name in props}
        return found | ({"globe": article.globe} if article.globe != "earth" and "globe" in props else {})

    def pages(self) -> dict[str, Any]:
        query: dict[str, Any] = {}
        pages = self.resolve(query)
        modules = [name for name in self.params.get("prop", "").split("|") if name]
        if unknown := set(modules) - _MODULES.keys():
            self.warnings["query"] = {"warnings": f"Unrecognized values for parameter prop: {sorted(unknown)}"}
        ended = set(self.params["continue"].split("||")[-1].split("|")) if "continue" in self.params else set()
        there = [(page, article) for page, article in pages if article is not None]
        following: dict[str, Any] = {}
        for name in sorted(set(modules) & _MODULES.keys() - ended):
            token = _MODULES[name]
            if name in self.double.late and token not in self.params:
                following[token] = 0
            elif (more := getattr(self, f"add_{name}")(there)) is not None:
                following[token] = more
            else:
                ended.add(name)
        query["pages"] = [page for page, _ in pages]
        if not following:
            return {"batchcomplete": True, "query": query}
        return {"continue": {**following, "continue": "||" + "|".join(sorted(ended - {""}))}, "query": query}

    def resolve(self, query: dict[str, Any]) -> list[tuple[dict[str, Any], Article | None]]:
        """Pages by id or title; redirects are followed where that is asked for."""
        by_id = {article.page_id: article for article in self.articles if not article.is_deleted}
        by_title = {article.title: article for article in by_id.values()}
        name = "pageids" if "pageids" in self.params else "titles"
        values = [value for value in self.params.get(name, "").split("|") if value]
        if len(values) > 50:
            raise ApiError("toomanyvalues", f'Too many values supplied for parameter "{name}". The limit is 50.')
        pages: dict[str, tuple[dict[str, Any], Article | None]] = {}
        for value in values:
            if name == "pageids":
                article, missing = by_id.get(int(value)), {"pageid": int(value), "missing": True}
            else:
                title = value.replace("_", " ")[:1].upper() + value.replace("_", " ")[1:]
                if title != value:
                    query.setdefault("normalized", []).append({"fromencoded": False, "from": value, "to": title})
                article, missing = by_title.get(title), {"ns": 0, "title": title, "missing": True}
            if article is not None and article.redirects_to and "redirects" in self.params:
                query.setdefault("redirects", []).append({"from": article.title, "to": article.redirects_to})
                article, missing = by_title.get(article.redirects_to), {"title": article.redirects_to, "missing": True}
            page = missing if article is None else {"pageid": article.page_id, "ns": 0, "title": article.title}
            pages[str(page.get("pageid", page.get("title")))] = page, article
        return list(pages.values())

    def add_info(self, there: list[tuple[dict[str, Any], Article]]) -> None:
        for page, article in there:
            page |= {"contentmodel": "wikitext", "pagelanguage": "en", "touched": "2026-01-01T00:00:00Z",
                     "lastrevid": article.revision, "length": article.length}  # fmt: skip
            page |= {"redirect": True} if article.redirects_to else {}
            if "url" in self.params.get("inprop", ""):
                page["fullurl"] = f"https://wiki.example/wiki/{quote(article.title.replace(' ', '_'))}"

    def add_pageprops(self, there: list[tuple[dict[str, Any], Article]]) -> None:
        wanted = self.params.get("ppprop", "disambiguation|wikibase_item").split("|")
        for page, article in there:
            props = {"disambiguation": ""} if article.is_disambiguation else {}
            props |= {"wikibase_item": article.wikidata} if article.wikidata else {}
            if shown := {name: value for name, value in props.items() if name in wanted}:
                page["pageprops"] = shown

    def add_coordinates(self, there: list[tuple[dict[str, Any], Article]]) -> str | None:
        limit = self.limit("colimit", 500, "coordinates")
        primary = self.params.get("coprimary", "primary")
        start = tuple(map(int, self.params.get("cocontinue", "0|0").split("|")))
        rows = []
        for page, article in sorted(there, key=lambda entry: entry[1].page_id):
            for number, (lon, lat) in enumerate([(article.lon, article.lat), *article.secondary]):
                if primary in ("all", "secondary" if number else "primary") and (article.page_id, number) >= start:
                    rows.append((article.page_id, number, page, {"lat": lat, "lon": lon, "primary": number == 0,
                                                                 "globe": article.globe}))  # fmt: skip
        for _, _, page, row in rows[:limit]:
            page.setdefault("coordinates", []).append(row)
        return f"{rows[limit][0]}|{rows[limit][1]}" if len(rows) > limit else None

    def add_extracts(self, there: list[tuple[dict[str, Any], Article]]) -> int | None:
        limit = min(self.limit("exlimit", 20, "extracts", default=20), self.double.extracts_at_once)
        if "exintro" not in self.params and limit > 1:
            limit = 1
            self.warnings["extracts"] = {"warnings": '"exlimit" was too large for a whole article extracts request.'}
        start = int(self.params.get("excontinue", 0))
        for page, article in there[start : start + limit]:
            if article.extract is not None:
                page["extract"] = article.extract
        return start + limit if len(there) > start + limit else None

    def limit(self, name: str, most: int, module: str, *, default: int = 10) -> int:
        value = self.params.get(name, str(default))
        limit = most if value == "max" else int(value)
        if limit > most:
            info = f'The value "{limit}" for parameter "{name}" must be between 1 and {most}.'
            self.warnings[module] = {"warnings": info}
        return min(limit, most)


def read_position(lat: str, lon: str) -> tuple[float, float]:
    try:
        x, y = float(lon), float(lat)
    except ValueError as error:
        raise ApiError("invalid-coord", "Invalid coordinate provided") from error
    if abs(y) > 90 or abs(x) > 180:
        raise ApiError("invalid-coord", "Invalid coordinate provided")
    return x, y


def chord_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Great circle on GeoData's sphere: of the longitudes -180 and 180 it is 0."""
    a, b = math.radians(lat_a), math.radians(lat_b)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lon_b - lon_a) / 2) ** 2
    return 2 * 6_371_010 * math.asin(min(1.0, math.sqrt(half)))


def encode(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def to_version_1(body: dict[str, Any]) -> dict[str, Any]:
    """Pages by id, missing ones below 0; flags as "" or not there."""
    if "pages" in body.get("query", {}):
        keys = [str(page.get("pageid", -1 - number)) for number, page in enumerate(body["query"]["pages"])]
        body = {**body, "query": {**body["query"], "pages": dict(zip(keys, body["query"]["pages"], strict=True))}}
    return _flatten(body)  # type: ignore[no-any-return]


def _flatten(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _flatten(inner) for name, inner in value.items() if inner is not False}
        return {"*" if name == "warnings" and isinstance(inner, str) else name: inner for name, inner in kept.items()}
    if isinstance(value, list):
        return [_flatten(inner) for inner in value]
    return "" if value is True else value
