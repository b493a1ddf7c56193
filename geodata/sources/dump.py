"""A dump of a Wikipedia, indexed by `pipelines.index_wikipedia`, as a source of articles: no request is ever sent."""

from collections.abc import Iterator, Sequence

from geodata import cells
from geodata.judge import Thresholds, Verdict, judge_place, judge_text
from geodata.sources.belong import assign_articles, blocks_near, longest_first
from geodata.sources.files import Limits
from geodata.sources.remote import RemoteSource
from geodata.sources.source import Finding, ReadError, SourceError
from geodata.wikipedia.articles import CELL_RESOLUTION, PlacedArticle
from geodata.wikipedia.stream import DumpError
from geodata.wikipedia.table import ATTRIBUTION, ArticleTable, cell_range
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Item, Place, Reference


class DumpSource(RemoteSource):
    """Finds articles near chosen cells and reads their texts."""

    modality = "text"

    def __init__(self, name: str, folder: str, *, limits: Limits, thresholds: Thresholds) -> None:
        """Opens the table.

        Args:
            name: word in records and drops.
            folder: what `pipelines.index_wikipedia` wrote.
            limits: articles for a cell.
            thresholds: of texts and positions.

        Raises:
            SourceError: if the folder holds no table, or one of a newer format.
        """
        super().__init__(name)
        self._limits, self._thresholds = limits, thresholds
        try:
            self._table = ArticleTable(folder)
        except DumpError as error:
            raise SourceError(str(error)) from error

    def find(self, places: Sequence[Place], halo: Sequence[Place]) -> Iterator[Finding | Drop]:
        """Yields references for the cells of one unit; see `Source.find`.

        Every article is told of once: by the unit whose place owns it or, where it has no owner, in the count of the
        unit in which it lies.
        """
        unit = cells.to_cell(places[0].unit)
        near = self._read([cell_range(block) for block in blocks_near(places)] + [cell_range(unit)])
        articles = {self._item_id(article): article for article in near}
        items = [self._describe(article) for article in near]
        found = assign_articles(items, places, halo)
        resolution = cells.resolution_of(cells.to_cell(places[0].key))
        for key in sorted(found):
            good: list[Item] = []
            for item in sorted(found[key], key=lambda item: item.item_id):
                verdict = self._judge(articles[item.item_id])
                if verdict is None:
                    good.append(item)
                else:
                    at = cells.cell_at(item.lon, item.lat, resolution)
                    yield self._judged(at, Stage.FIND, verdict, item.item_id)
            yield from self._take(key, longest_first(good))
        owned = {item.item_id for group in found.values() for item in group}
        low, high = cell_range(unit)
        here = [item for item in items if low <= articles[item.item_id].cell <= high and item.item_id not in owned]
        elsewhere = assign_articles(here, halo, places)
        if unused := len(here) - sum(map(len, elsewhere.values())):
            verdict = Verdict(Reason.NOT_SAMPLED, unused, "no planned place uses these articles")
            yield self._judged(places[0].unit, Stage.FIND, verdict, "", count=unused)

    def anchors(self, unit: str, seed: int = 0) -> list[tuple[float, float]]:
        """Returns the positions (lon, lat) of the good articles below a coarse cell, in order.

        Args:
            seed: without effect, for no choice is made.
        """
        articles = self._read([cell_range(cells.to_cell(unit))])
        return sorted((article.lon, article.lat) for article in articles if self._judge(article) is None)

    def read_text(self, item: Item) -> str:
        """Returns an article's plain text. Raises ReadError."""
        cell = cells.cell_number(item.lon, item.lat, CELL_RESOLUTION)
        try:
            found = [article for article in self._table.read([(cell, cell)]) if self._item_id(article) == item.item_id]
        except DumpError as error:
            raise ReadError(Reason.UNREADABLE, f"{item.item_id}: {error}") from error
        if not found:
            raise ReadError(Reason.MISSING_FILE, f"{item.item_id}: the dump was indexed anew and lacks the article")
        if self._describe(found[0]).note != item.note:
            detail = f"{item.item_id}: the dump was indexed anew and holds {self._describe(found[0]).note}"
            raise ReadError(Reason.UNREADABLE, detail)
        return found[0].text

    def close(self) -> None:
        """Closes all files."""
        self._table.close()

    def _read(self, ranges: list[tuple[int, int]]) -> list[PlacedArticle]:
        try:
            return self._table.read(ranges)
        except DumpError as error:
            raise SourceError(str(error)) from error

    def _item_id(self, article: PlacedArticle) -> str:
        return f"{self._table.language}:{article.page_id}"

    def _describe(self, article: PlacedArticle) -> Item:
        return Item(
            self.name, self._item_id(article), self.modality, article.url, article.lon, article.lat,
            licence=self._table.description["licence"], attribution=f"{ATTRIBUTION}, {article.url}",
            size=len(article.text), title=article.title, note=f"revision {article.revision}",
        )  # fmt: skip

    def _judge(self, article: PlacedArticle) -> Verdict | None:
        """Returns why an article cannot be used, None where it can."""
        verdict = judge_place(article.lon, article.lat, self._thresholds, dim_m=article.dim_m, kind=article.type)
        return verdict or judge_text(article.title, article.text, self._thresholds)

    def _take(self, key: str, ranked: list[Item]) -> Iterator[Finding | Drop]:
        limit = self._limits.texts_per_cell
        for rank, item in enumerate(ranked[:limit]):
            yield Finding(Reference(key, self.modality, rank, self.name, item.item_id), item)
        verdict = Verdict(Reason.NOT_CHOSEN, len(ranked), f"{len(ranked)} candidates, {limit} taken")
        for item in ranked[limit:]:
            yield self._judged(key, Stage.CHOOSE, verdict, item.item_id)

    def _judged(self, key: str, stage: Stage, verdict: Verdict, item_id: str, *, count: int = 1) -> Drop:
        value, detail = verdict.value, verdict.detail
        return Drop(key, self.modality, stage, verdict.reason, value, detail, self.name, item_id, count=count)
