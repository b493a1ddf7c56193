"""What an evaluation found, as tables in Markdown and as plain values."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from training.data.batch import VIEWS
from training.evaluation.embedded import Embedded
from training.evaluation.galleries import GalleryRule
from training.evaluation.geolocation import RADII_M, Geolocation
from training.evaluation.geolocation import to_json as geolocation_to_json
from training.evaluation.retrieval import Mean, Pair, Sides, average, group, retrieve, retrieve_spots
from training.evaluation.retrieval import to_json as pairs_to_json


@dataclass(frozen=True)
class Search:
    """All pairs of views over the galleries of one rule."""

    rule: GalleryRule
    pairs: list[Pair]
    spots: list[Pair]
    """Photo and article with the Sentinel-2 map where they are."""

    @classmethod
    def of(cls, rule: GalleryRule, places: Embedded, sides: Sides | None = None) -> "Search":
        """Measures them; see `retrieve`."""
        return cls(rule, retrieve(places, rule, sides), retrieve_spots(places, rule) if sides is None else [])

    def means(self) -> dict[str, Mean | None]:
        """Returns the mean of each group of pairs."""
        return {name: average(members) for name, members in group(self.pairs).items()}

    def describe(self) -> str:
        """Returns in words which galleries were searched."""
        if not self.pairs:
            return f"{self.rule.kind} galleries: none with as many places"
        sizes = sorted(pair.gallery_size for pair in self.pairs)
        size = f"{sizes[0]:.0f}" if sizes[0] == sizes[-1] else f"{sizes[0]:.0f} ... {sizes[-1]:.0f}"
        count = max(pair.galleries for pair in self.pairs)
        radii = sorted(pair.radius_km for pair in self.pairs if pair.radius_km is not None)
        reach = f", radius {_km(radii[0])} ... {_km(radii[-1])} km" if radii else ""
        words = {
            "random": "drawn from the whole split", "hard": "a place and its nearest neighbours",
            "near": f"a place and all within {self.rule.near_m / 1000:g} km", "full": "the whole split",
        }  # fmt: skip
        return f"{self.rule.kind} galleries ({words[self.rule.kind]}): {size} places, {count} of them{reach}"


@dataclass(frozen=True)
class Evaluation:
    """One split."""

    split: str
    places: int
    views: dict[str, int]
    """Places that have each view."""
    searches: list[Search]
    baseline: list[Search]
    """The same galleries searched by the linear baseline; empty without it."""
    geolocation: list[Geolocation]
    summed: list[Geolocation]
    """Ensembles: sum of the unit vectors, made a unit vector."""
    averaged: list[Geolocation]
    """Ensembles: mean of the similarities."""

    def to_json(self) -> dict[str, object]:
        """Returns all numbers as plain values."""

        def searches(found: Sequence[Search]) -> dict[str, object]:
            return {
                s.rule.kind: {"rule": asdict(s.rule), **pairs_to_json(s.pairs), "spots": list(map(asdict, s.spots))}
                for s in found
            }

        return {
            "places": self.places, "views": self.views, "retrieval": searches(self.searches),
            "baseline": searches(self.baseline), "geolocation": list(map(geolocation_to_json, self.geolocation)),
            "ensembles": {
                "sum, renormalised": list(map(geolocation_to_json, self.summed)),
                "mean of similarities": list(map(geolocation_to_json, self.averaged)),
            },
        }  # fmt: skip


def write_markdown(found: Evaluation) -> str:
    """Returns the tables of a split."""
    views = ", ".join(f"{view} {count}" for view, count in found.views.items())
    parts = [f"## {found.split}: {found.places} places ({views})"]
    for number, search in enumerate(found.searches):
        parts += (
            [f"### Retrieval, {search.describe()}", _matrix(search)] if search.pairs else [f"No {search.describe()}."]
        )
        if search.pairs:
            parts.append(_means(search, found.baseline[number] if found.baseline else None))
        if search.spots:
            parts.append(_spots(search.spots))
    if found.geolocation:
        parts += [_geolocation_title(found.geolocation[0]), _geolocation(found.geolocation)]
    if found.summed:
        first = found.summed[0]
        parts += [
            f"### Photos against places of which several views are taken together ({first.queries} queries, "
            f"{first.gallery_size} places that have all views)\n\n"
            "Score: cosine with the sum of the unit vectors; in brackets the mean of the similarities.",
            _ensembles(found.summed, found.averaged),
        ]
    return "\n\n".join(parts) + "\n"


def _matrix(search: Search) -> str:
    cells = {(pair.query, pair.gallery): pair for pair in search.pairs}
    head = "Recall@1 in % ± half the width of its 95 % interval; rows search, columns are found."
    rows = [["query", *VIEWS]]
    for query in VIEWS:
        row = [query]
        for other in VIEWS:
            pair = cells.get((query, other))
            row.append("" if pair is None else _recall(pair))
        rows.append(row)
    return f"{head}\n\n{_table(rows)}"


def _recall(pair: Pair) -> str:
    return f"{100 * pair.recall_1:.1f} ± {50 * (pair.high_1 - pair.low_1):.1f}"


def _means(search: Search, baseline: Search | None) -> str:
    others = baseline.means() if baseline else {}
    rows = [
        ["mean over pairs", "n", "recall@1 %", "baseline %", "chance %", "x chance", "recall@10 %", "median rank",
         "above chance"]
    ]  # fmt: skip
    for name, mean in search.means().items():
        if mean is None:
            continue
        other = others.get(name)
        rows.append([
            name, str(mean.pairs), f"{100 * mean.recall_1:.2f}", f"{100 * other.recall_1:.2f}" if other else "-",
            f"{100 * mean.chance_1:.2f}", f"{mean.times_chance:.1f}", f"{100 * mean.recall_10:.1f}",
            f"{mean.median_rank:.1f}", f"{mean.above_chance} of {mean.pairs}",
        ])  # fmt: skip
    note = "Above chance: pairs whose 95 % interval (Wilson, distinct queries) lies above it. Baseline: linear (CCA)."
    return f"{_table(rows)}\n\n{note}"


def _spots(pairs: Sequence[Pair]) -> str:
    rows = [["Sentinel-2 at its spot", "n", "recall@1 %", "chance %", "recall@10 %", "median rank"]]
    names = {"street": "photo", "text": "article"}
    for pair in pairs:
        is_query = pair.query.startswith("spot_")
        name = names[pair.gallery if is_query else pair.query]
        rows.append([
            f"finds the {name}" if is_query else f"found by the {name}", str(pair.queries),
            _recall(pair), f"{100 * pair.chance_1:.2f}",
            f"{100 * pair.recall_10:.1f}", f"{pair.median_rank:.1f}",
        ])  # fmt: skip
    return _table(rows)


def _geolocation_title(row: Geolocation) -> str:
    return (
        f"### Geolocation: view -> location, among {row.gallery_size} points ({row.gallery})\n\n"
        "Share in % of queries whose best point lies within each distance; in brackets a blind guess. A photo lies "
        "where it was taken, every other view at the centre of its cell."
    )


def _geolocation(found: Sequence[Geolocation]) -> str:
    rows = [["query", "n", *map(_distance, RADII_M), "median km", "nearest point: median m", "least m"]]
    for row in found:
        shares = [f"{100 * a:.1f} ({100 * c:.1f})" for a, c in zip(row.accuracy, row.chance, strict=True)]
        rows.append([
            row.query, str(row.queries), *shares, _km(row.median_km), f"{row.nearest_median_m:.0f}",
            f"{row.nearest_least_m:.0f}",
        ])  # fmt: skip
    return _table(rows)


def _ensembles(summed: Sequence[Geolocation], averaged: Sequence[Geolocation]) -> str:
    rows = [["gallery of places", *map(_distance, RADII_M), "median km"]]
    for first, second in zip(summed, averaged, strict=True):
        pairs = zip(first.accuracy, second.accuracy, strict=True)
        is_one = "+" not in first.gallery
        shares = [f"{100 * a:.1f}" + ("" if is_one else f" ({100 * b:.1f})") for a, b in pairs]
        rows.append([first.gallery.replace("+", " + "), *shares, _km(first.median_km)])
    chance = [f"{100 * share:.1f}" for share in summed[0].chance]
    return _table([*rows, ["blind guess", *chance, ""]])


def _distance(radius_m: float) -> str:
    return f"{radius_m:g} m" if radius_m < 1000 else f"{radius_m / 1000:g} km"


def _km(distance_km: float) -> str:
    return f"{distance_km:.0f}" if distance_km >= 100 else f"{distance_km:.3g}"


def _table(rows: list[list[str]]) -> str:
    """Returns aligned Markdown: names to the left, numbers to the right."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]

    def line(cells: list[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])
