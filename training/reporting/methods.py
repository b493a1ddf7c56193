"""The part of the report about methods: every variant under one budget, and what can be told from it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from training.data.batch import LOCATION, VIEWS
from training.reporting.figures import Figure, judge, summarise
from training.reporting.page import Page
from training.reporting.runs import Row, Runs

Evaluations = Mapping[str, Sequence[Mapping[str, Any]]]
"""Numbers of `training.evaluate` by the name of a row, one for each seed."""

_REACH = "25 km"


def add_methods(page: Page, rows: Sequence[Row], found: Evaluations, seeds: int) -> None:
    """Adds the table of methods."""
    page.heading("Methods")
    page.paragraph(
        "One row a variant of training.fit, then the default with one thing changed. All spend the same steps on the "
        "same corpus; figures are recall@1 in % over random galleries of places not seen, mean of the pairs of views "
        "that take part, whether the method trains that pair or not, ± half of the 95 % interval over "
        f"{seeds} seeds. At its spot: the Sentinel-2 map at the photo with the photo, both ways (what GAIR trains)."
    )
    head = ["method", "views x views, val", "with location, val", "views x views, test", "photo -> location, val",
            "photo x Sentinel-2 at its spot, val", "Sentinel-2 within 25 km, val", "what it is"]  # fmt: skip
    table = []
    for row in rows:
        one = found.get(row.name, ())
        cells = [
            gather(one, lambda e: mean_recall(e, "val", with_location=False)),
            gather(one, lambda e: mean_recall(e, "val", with_location=True)),
            gather(one, lambda e: mean_recall(e, "test", with_location=False)),
            gather(one, lambda e: recall(e, "val", "street", LOCATION)),
            gather(one, lambda e: spot_recall(e, "val", "street")),
            gather(one, lambda e: accuracy(e, "val", "sentinel2", _REACH)),
        ]
        table.append([row.name, *(cell.show() for cell in cells), row.about])
    page.table(head, table)
    chance = gather([e for one in found.values() for e in one][:1], lambda e: _pairs(e, "val")[0]["chance_1"])
    page.paragraph(f"A blind guess: {chance.show()} %.", is_dim=True)


def add_orderings(page: Page, found: Evaluations, runs: Runs, more: Sequence[tuple[str, str, str]] = ()) -> None:
    """Adds what small runs can say about published orderings; `more` are rows found elsewhere."""
    page.heading("Orderings")
    page.paragraph(
        "Which published orderings hold under this budget, stated whichever way they fall. Two figures are told apart "
        "only where the 95 % interval of their difference leaves out 0: over seeds (Welch's), or seed by seed where "
        "both are scored in the same folds. Seeds deal the same places anew: the intervals hold for folds and weights, "
        "not for other places."
    )
    page.table(["ordering", "figures", "verdict"], [*_orderings(found, runs), *more])


def _orderings(found: Evaluations, runs: Runs) -> list[tuple[str, str, str]]:
    def of(name: str, read: Callable[[Mapping[str, Any]], float | None]) -> Figure:
        return gather(found.get(name, ()), read)

    def compare(what: str, names: tuple[str, str], figures: tuple[Figure, Figure]) -> tuple[str, str, str]:
        shown = "; ".join(f"{name} {figure.show()}" for name, figure in zip(names, figures, strict=True))
        return what, shown, judge(*figures)

    def photo_to_location(e: Mapping[str, Any]) -> float | None:
        return recall(e, "val", "street", LOCATION)

    def photo_at_spot(e: Mapping[str, Any]) -> float | None:
        return spot_recall(e, "val", "street")

    everything = of("sameplace", lambda e: mean_recall(e, "val", with_location=False))
    return [
        compare("all views beat two where a photo searches locations", ("sameplace", "geoclip"),
                (of("sameplace", photo_to_location), of("geoclip", photo_to_location))),
        compare("an ensemble beats its best single view (photo, within 100 m)", ("ensemble", "best view"),
                (of("sameplace", lambda e: ensemble(e, "val")), of("sameplace", lambda e: best_view(e, "val")))),
        compare("the query with hidden layers beats the linear one, which samples bilinearly (photo x its spot)",
                ("hidden", "linear"), (of("sameplace", photo_at_spot), of("linear_query", photo_at_spot))),
        compare("a query of the Sentinel-2 map beats none (views x views)", ("with", "without"),
                (everything, of("no_query", lambda e: mean_recall(e, "val", with_location=False)))),
        compare("all pairs beat location as the hub (views x views)", ("all", "hub"),
                (everything, of("hub", lambda e: mean_recall(e, "val", with_location=False)))),
        compare("scaled location encoder beats plain coordinates (with location)", ("scaled", "plain"),
                (of("sameplace", lambda e: mean_recall(e, "val", with_location=True)),
                 of("plain_location", lambda e: mean_recall(e, "val", with_location=True)))),
        _roughness(found, runs),
    ]  # fmt: skip


def _roughness(found: Evaluations, runs: Runs) -> tuple[str, str, str]:
    """Compares how much the logged loss jumps: deviation of its steps over the loss that was gained."""
    figures = []
    for name in ("cyclic", "fused_ntxent"):
        row = Row(name, "")
        rough = [roughness(runs.losses(row, seed)) for seed in range(len(found.get(name, ())))]
        figures.append(summarise([one for one in rough if one is not None]))
    shown = f"cyclic {figures[0].show(1, 2)}; fused_ntxent {figures[1].show(1, 2)}"
    return "MELT's loss is smoother than SALT's (deviation of its steps, relative)", shown, judge(*figures)


def roughness(losses: Sequence[float]) -> float | None:
    """Returns the deviation of a curve's steps relative to its mean; None of fewer than four points."""
    if len(losses) < 4:
        return None
    steps = [b - a for a, b in pairwise(losses)]
    return statistics.stdev(steps) / statistics.fmean(losses)


def gather(evaluations: Sequence[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], float | None]) -> Figure:
    """Returns the mean over seeds of what is read from each, without those that have it not."""
    values = [read(one) for one in evaluations]
    return summarise([value for value in values if value is not None])


def mean_recall(evaluation: Mapping[str, Any], split: str, *, with_location: bool) -> float | None:
    """Returns mean recall@1 over the pairs of views with or without location."""
    shares = [
        p["recall_1"] for p in _pairs(evaluation, split) if (LOCATION in (p["query"], p["gallery"])) == with_location
    ]
    return statistics.fmean(shares) if shares else None


def recall(evaluation: Mapping[str, Any], split: str, query: str, other: str) -> float | None:
    """Returns recall@1 of one pair."""
    pairs = _pairs(evaluation, split)
    return next((p["recall_1"] for p in pairs if (p["query"], p["gallery"]) == (query, other)), None)


def spot_recall(evaluation: Mapping[str, Any], split: str, view: str) -> float | None:
    """Returns recall@1 of a view and the Sentinel-2 map where it is, the mean of both ways."""
    pairs = evaluation["splits"][split]["retrieval"]["random"]["spots"]
    shares = [p["recall_1"] for p in pairs if view in (p["query"], p["gallery"])]
    return statistics.fmean(shares) if shares else None


def accuracy(evaluation: Mapping[str, Any], split: str, view: str, radius: str) -> float | None:
    """Returns the share of a view's queries that are placed within a radius."""
    rows = evaluation["splits"][split]["geolocation"]
    return next((row["accuracy"][radius] for row in rows if row["query"] == view), None)


def ensemble(evaluation: Mapping[str, Any], split: str) -> float | None:
    """Returns the share of photos placed within 100 m by the largest ensemble."""
    rows = _ensembles(evaluation, split)
    return max(rows, key=lambda row: row["gallery"].count("+"))["accuracy"]["0.1 km"] if rows else None


def best_view(evaluation: Mapping[str, Any], split: str) -> float | None:
    """Returns the share of photos placed within 100 m by the best single view."""
    single = [row["accuracy"]["0.1 km"] for row in _ensembles(evaluation, split) if row["gallery"] in VIEWS]
    return max(single, default=None)


def _ensembles(evaluation: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = evaluation["splits"][split]["ensembles"]["sum, renormalised"]
    return rows


def _pairs(evaluation: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    pairs: list[dict[str, Any]] = evaluation["splits"][split]["retrieval"]["random"]["pairs"]
    return pairs
