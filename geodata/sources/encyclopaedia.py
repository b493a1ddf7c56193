"""Articles from the service of Wikipedia: found by boxes, described where a cell holds them, read twenty at a time."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from geodata import cells
from geodata.boxes import Box, box_around, grow
from geodata.judge import Thresholds, Verdict, judge_place, judge_text
from geodata.services.mediawiki import EXTRACTS_AT_ONCE, Described, Found, MediaWiki
from geodata.services.session import ServiceError
from geodata.sources.belong import ARTICLE_REACH_M, assign_articles, longest_first
from geodata.sources.files import Limits
from geodata.sources.remote import RemoteSource
from geodata.sources.source import Finding, ReadError
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Item, Place, Reference

OVERHANG = 0.15
"""Cells reach beyond the outline of their coarse ancestor by less than this share of its edge: 0.11 was measured."""
LICENCE = "CC-BY-SA-4.0"


class WikipediaSource(RemoteSource):
    """Finds articles near chosen cells and reads how they begin; threads may share one."""

    modality = "text"

    def __init__(self, wikis: Mapping[str, MediaWiki], *, limits: Limits, thresholds: Thresholds) -> None:
        """Takes the wikis by language, the preferred first."""
        super().__init__("wikipedia")
        self._wikis, self._most, self._thresholds = dict(wikis), limits.texts_per_cell + limits.text_spares, thresholds
        self._shelves = {language: _Shelf(wiki) for language, wiki in self._wikis.items()}

    def anchors(self, unit: str, seed: int = 0) -> list[tuple[float, float]]:
        """Returns the positions (lon, lat) of articles in a coarse cell and a little around it, in order.

        Cells that descend from it lie beyond its outline here and there: whose a position is, the caller decides.

        Args:
            seed: without effect, for no choice is made.

        Raises:
            ServiceError: if the service fails.
        """
        found = [article for wiki in self._wikis.values() for article in wiki.search_box(_box_of(unit))]
        return sorted({(article.lon, article.lat) for article in found if self._judge(article) is None})

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`.

        Every article is told of once: by the unit whose place owns it or, where it has no owner, in the count of the
        unit in which it lies.

        Raises:
            ServiceError: if the service fails.
        """
        unit = places[0].unit
        near = [_box_near(place) for place in places]
        articles = {
            _identify(language, article.page_id): article
            for language, wiki in self._wikis.items()
            for article in wiki.search_box(_box_of(unit), near=near)
        }
        sketches = [self._sketch(item_id, article) for item_id, article in articles.items()]
        owned = assign_articles(sketches, [*places, *halo], ())
        yield from self._count_unowned(unit, sketches, {item.item_id for items in owned.values() for item in items})
        placed: dict[str, list[Item]] = {}
        for key in sorted({place.key for place in places} & owned.keys()):
            verdicts = {item.item_id: self._judge(articles[item.item_id]) for item in owned[key]}
            yield from (self._judged(key, item_id, verdict) for item_id, verdict in sorted(verdicts.items()) if verdict)
            placed[key] = [item for item in owned[key] if verdicts[item.item_id] is None]
        described = self._describe_all(item for items in placed.values() for item in items)
        for key, items in placed.items():
            yield from self._choose(key, items, described)

    def prepare(self, items: Sequence[Item]) -> None:
        """Remembers what will be read, so that texts are asked for in batches."""
        wanted: defaultdict[str, list[int]] = defaultdict(list)
        for item in items:
            language, page_id = _parse_id(item.item_id)
            wanted[language].append(page_id)
        for language, shelf in self._shelves.items():
            shelf.want(wanted[language])

    def read_text(self, item: Item) -> str:
        """Returns how an article begins, as plain text. Raises ReadError."""
        language, page_id = _parse_id(item.item_id)
        if language not in self._shelves:
            raise ReadError(Reason.NO_SERVICE, f"{item.item_id}: --wikipedia does not name {language!r} any more")
        try:
            text = self._shelves[language].read(page_id)
        except ServiceError as error:
            raise ReadError(Reason.SERVICE, f"{item.item_id}: {error.detail}", retryable=True) from error
        if text is None:
            raise ReadError(Reason.MISSING_FILE, f"{item.item_id}: the article was deleted, or points to another one")
        if (verdict := judge_text(item.title or "", text, self._thresholds)) is not None:
            raise ReadError(verdict.reason, f"{item.item_id}: {verdict.detail}")
        return text

    def _sketch(self, item_id: str, article: Found) -> Item:
        """Returns an item as far as a search knows it."""
        return Item(self.name, item_id, self.modality, "", article.lon, article.lat, licence=LICENCE)

    def _count_unowned(self, unit: str, items: Sequence[Item], owned: set[str]) -> Iterator[Drop]:
        """Yields one drop for each language that has articles in the unit which no chosen cell holds."""
        resolution = cells.resolution_of(cells.to_cell(unit))
        left = [
            _parse_id(item.item_id)[0]
            for item in items
            if item.item_id not in owned and cells.cell_at(item.lon, item.lat, resolution) == unit
        ]
        for language in self._wikis:
            if count := left.count(language):
                detail = f"no planned place holds these articles of {language}"
                yield self._drop(unit, Reason.NOT_SAMPLED, detail, value=count, count=count)

    def _describe_all(self, items: Iterator[Item]) -> dict[str, Described]:
        ids: defaultdict[str, list[int]] = defaultdict(list)
        for item in items:
            language, page_id = _parse_id(item.item_id)
            ids[language].append(page_id)
        return {
            _identify(language, page_id): page
            for language, wiki in self._wikis.items()
            for page_id, page in wiki.describe(ids[language]).items()
        }

    def _choose(self, key: str, items: Sequence[Item], described: Mapping[str, Described]) -> Iterator[Finding | Drop]:
        """Yields the articles that a cell gets: of the preferred language first, then the longest."""
        good: list[Item] = []
        for item in sorted(items, key=lambda item: item.item_id):
            page = described.get(item.item_id)
            verdict = self._judge_page(page)
            if verdict is not None:
                yield self._judged(key, item.item_id, verdict)
            elif page is not None:
                good.append(_complete(item, page))
        order = list(self._wikis)
        ranked = sorted(longest_first(good), key=lambda item: order.index(_parse_id(item.item_id)[0]))
        most = self._most
        for rank, item in enumerate(ranked[:most]):
            yield Finding(Reference(key, self.modality, rank, self.name, item.item_id), item)
        if left := ranked[most:]:
            detail = f"{len(ranked)} candidates, {most} taken"
            drop = self._drop(key, Reason.NOT_CHOSEN, detail, value=len(ranked), count=len(left))
            yield replace(drop, stage=Stage.CHOOSE)

    def _judge(self, article: Found) -> Verdict | None:
        """Returns why an article has no place within a patch, None where it has."""
        return judge_place(article.lon, article.lat, self._thresholds, dim_m=article.dim_m, kind=article.type)

    def _judge_page(self, page: Described | None) -> Verdict | None:
        """Returns why a page is not worth reading, None where it is."""
        least = self._thresholds.min_text_chars
        if page is None:
            return Verdict(Reason.MISSING_FILE, 0, "the search knows the article, but it is gone")
        if page.is_disambiguation:
            return Verdict(Reason.DISAMBIGUATION, page.length, "the page lists what a name may mean")
        if page.length < least:
            return Verdict(Reason.STUB, page.length, f"{page.length} bytes of wikitext, at least {least} are needed")
        return None

    def _judged(self, key: str, item_id: str, verdict: Verdict) -> Drop:
        return self._drop(key, verdict.reason, verdict.detail, value=verdict.value, item_id=item_id)


class _Shelf:
    """The texts of one wiki that were asked for together."""

    def __init__(self, wiki: MediaWiki) -> None:
        self._wiki, self._lock = wiki, threading.Lock()
        self._wanted: list[int] = []
        self._texts: dict[int, str | None] = {}

    def want(self, page_ids: Sequence[int]) -> None:
        """Forgets the last shard and remembers the next."""
        with self._lock:
            self._wanted, self._texts = list(page_ids), {}

    def read(self, page_id: int) -> str | None:
        """Returns a text, None where the page is gone. Others who want a text of this wiki wait, perhaps for this one.

        Raises:
            ServiceError: if the service fails.
        """
        with self._lock:
            if page_id not in self._texts:
                missing = (other for other in self._wanted if other != page_id and other not in self._texts)
                batch = [page_id, *dict.fromkeys(missing)][:EXTRACTS_AT_ONCE]
                self._texts |= dict.fromkeys(batch) | self._wiki.extracts(batch)
            return self._texts[page_id]


def _box_of(unit: str) -> Box:
    """The box in which every article lies that may belong to a cell below a unit."""
    edge_m = cells.edge_m(cells.resolution_of(cells.to_cell(unit)))
    return box_around(unit, ARTICLE_REACH_M + OVERHANG * edge_m)


def _box_near(place: Place) -> Box:
    """The box in which every article lies that may belong to a cell."""
    return grow((place.lon, place.lat, place.lon, place.lat), ARTICLE_REACH_M)


def _complete(item: Item, page: Described) -> Item:
    return replace(
        item, href=page.url, title=page.title, size=page.length, note=f"revision {page.revision}",
        attribution=f"Wikipedia contributors, {page.url}",
    )  # fmt: skip


def _identify(language: str, page_id: int) -> str:
    return f"{language}:{page_id}"


def _parse_id(item_id: str) -> tuple[str, int]:
    language, _, page_id = item_id.rpartition(":")
    return language, int(page_id)
