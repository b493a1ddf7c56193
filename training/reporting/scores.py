"""The part of the report about labels of real places: tables of scores, and what can be told from them."""

from collections.abc import Sequence

from training.locbench.report import Result, mean_ranks
from training.reporting.clusters import RULE, SHUFFLES, compare_clusters
from training.reporting.figures import judge_pairs, summarise
from training.reporting.labels import (
    CLUSTERED,
    LEARNT,
    MEAN,
    NEAREST,
    TRAINED,
    UNTRAINED,
    XYZ,
    Labelled,
    LabelPlan,
)
from training.reporting.page import Page

BASELINES = (MEAN, NEAREST, XYZ)
CONTROL = "log_population"
COUNTRY_MEAN = 0.050
"""R2 on the control of the mean of a city's country, learnt from other folds: 20,000 cities, 5 degrees, three seeds."""
HARMONICS = "spherical_harmonics"
NAMED = "sphereCplus"
"""TorchSpatial's best on average (arXiv 2406.15658), named before the scores are looked at."""


def add_labels(page: Page, found: Labelled, plan: LabelPlan) -> None:
    """Adds the tasks, the two tables of scores, the negative control, and what was left out."""
    page.heading("Location encoders on real labels")
    page.paragraph(
        "Labels of real places, predicted from the position alone. Places of a block of longitude and latitude are "
        "held out together, so that a place is predicted by what was learnt at the distances below; the score is over "
        "all places, each in the fold that was held out: R2 of values, the share of right classes."
    )
    page.table(
        ["task", "places", "classes", "blocks", "from other folds, median km", "at least km", "labels"],
        [
            [_shown(one.task), f"{one.places:,}", str(one.classes or ""), f"{one.split}°", f"{one.median_km:.3g}",
             f"{one.least_km:.3g}", one.source]
            for one in found.tasks
        ],
    )  # fmt: skip
    for task, why in found.left_out.items():
        page.paragraph(f"{task} is left out. {why}")
    _add_probes(page, found, plan)
    _add_trained(page, found, plan)
    work_s = sum(one.work_s for one in found.scored)
    page.paragraph(
        f"Budget: at most {plan.places:,} places of a task; probes one seed; what learns {plan.seeds} seeds, "
        f"{plan.epochs} rounds through the places, finest distances of {_listed_km(plan)} km tried where they make a "
        f"difference. All scores took {work_s:,.0f} seconds of the processor.",
        is_dim=True,
    )


def label_orderings(found: Labelled) -> list[tuple[str, str, str]]:
    """Returns what the scores say about orderings: what, figures, verdict."""
    rows = []
    for task in ("elevation", "air_temperature"):
        if any(one.task == task for one in found.tasks):
            for first, second in ((NAMED, "wrap"), (HARMONICS, "wrap"), ("wrap", "tile")):
                names = (f"{first}, {LEARNT}", f"{second}, {LEARNT}")
                rows.append(_compare(found, f"{first} beats {second} on {task}, R2 (smooth regression)", task, names))
    for one in found.tasks:
        if one.task in TRAINED and one.task != CONTROL:
            learnt = [name for name in found.methods if name.endswith(f", {LEARNT}") and found.values(one.task, name)]
            best = max(learnt, key=lambda name: summarise(found.values(one.task, name)).mean, default=LEARNT)
            beaten = f"the 5 nearest places on {one.task}"
            what = f"the best of {len(learnt)} encoders that learnt, by these scores, beats {beaten}"
            rows.append(_compare(found, what, one.task, (best, NEAREST)))
            if (named := f"{NAMED}, {LEARNT}") in learnt:
                rows.append(_compare(found, f"{NAMED} beats {beaten}", one.task, (named, NEAREST)))
    lying, shuffled, verdict = compare_clusters([one.errors for one in found.scored if one.errors is not None])
    what = (
        f"Geo-Bias rises when errors cluster ({CLUSTERED[1]} on {CLUSTERED[0]}, marked score in {RULE.radius_km:g} km)"
    )
    shown = f"as they lie {lying.show(1, 2)}; mean of {SHUFFLES} shuffles {shuffled.show(1, 2)}"
    return [*rows, (what, shown, verdict)]


def _add_probes(page: Page, found: Labelled, plan: LabelPlan) -> None:
    methods = [name for name in found.methods if name in BASELINES or name.endswith(UNTRAINED)]
    if not methods:
        return
    page.paragraph(
        "As they are: ridge regression on the embeddings of encoders that learnt nothing, "
        f"{plan.probed_km:g} km their finest distance, folds of one seed; the best mean rank first."
    )
    results = [
        Result(one.task, "blocks", one.method, one.metric, one.score, ())
        for one in found.scored
        if one.method in methods and one.seed == 0
    ]
    ranks = {method: rank for (_, method), rank in mean_ranks(results).items()}
    rows = [
        [method.removesuffix(f", {UNTRAINED}"), *_cells(found, method, [one.task for one in found.tasks], 1),
         f"{ranks[method]:.1f}"]
        for method in sorted(methods, key=ranks.__getitem__)
    ]  # fmt: skip
    page.table(["method", *_heads(found, [one.task for one in found.tasks]), "mean rank"], rows)


def _add_trained(page: Page, found: Labelled, plan: LabelPlan) -> None:
    tasks = [one.task for one in found.tasks if one.task in TRAINED]
    methods = [name for name in found.methods if name in BASELINES or name.endswith(f", {LEARNT}")]
    if not tasks:
        return
    page.paragraph(
        f"Encoder and head learn the task: mean over {plan.seeds} seeds of folds and weights, ± half of the 95 % "
        "interval; behind, seconds of the processor for one task and seed."
    )
    rows = []
    for method in methods:
        work = summarise([one.work_s for one in found.scored if one.method == method and one.task in tasks])
        rows.append([method, *_cells(found, method, tasks), f"{work.mean:.1f}"])
    page.table(["method", *_heads(found, tasks), "processor s"], rows)
    _add_control(page, found)


def _add_control(page: Page, found: Labelled) -> None:
    tried = {m: summarise(found.values(CONTROL, m)) for m in found.methods if found.values(CONTROL, m)}
    if not tried:
        return
    best = max(tried, key=lambda method: tried[method].mean)
    much = tried[best].mean > 2 * COUNTRY_MEAN
    verdict = "which is too much: look for a leak between folds" if much else "no more than countries explain"
    page.paragraph(
        f"{CONTROL} is a negative control: how large a city is does not follow from where it lies, so no method should "
        f"be far above 0 between blocks; the mean of its country reaches R2 {COUNTRY_MEAN} of 20,000 cities. The best "
        f"of {len(tried)} methods, {best}, reaches {tried[best].show(1, 3)}, {verdict}."
    )


def _compare(found: Labelled, what: str, task: str, names: tuple[str, str]) -> tuple[str, str, str]:
    first, second = (found.values(task, name) for name in names)
    shown = "; ".join(
        f"{name} {summarise(values).show(1, 3)}" for name, values in zip(names, (first, second), strict=True)
    )
    difference, verdict = judge_pairs(first, second)
    return what, f"{shown}; difference in the same folds {difference.show(1, 3)}", verdict


def _cells(found: Labelled, method: str, tasks: Sequence[str], most: int | None = None) -> list[str]:
    """Returns a cell for each task: the mean over its first seeds."""
    return [summarise(found.values(task, method)[:most]).show(1, 3) for task in tasks]


def _heads(found: Labelled, tasks: Sequence[str]) -> list[str]:
    metrics = {one.task: one.metric for one in found.scored}
    return [f"{_shown(task)}, {metrics[task]}" for task in tasks]


def _shown(task: str) -> str:
    return f"{task} (negative control)" if task == CONTROL else task


def _listed_km(plan: LabelPlan) -> str:
    *first, last = (f"{km:g}" for km in plan.finest_km)
    return f"{', '.join(first)} and {last}" if first else last
