"""What was measured, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Result:
    """One method on one split of one task."""

    task: str
    split: str
    """random, or the side of the blocks in degrees."""
    method: str
    metric: str
    """accuracy or R2."""
    score: float
    """Over all positions together, each predicted by what was learnt from other folds."""
    fold_scores: tuple[float, ...]
    """Of each fold by itself."""
    note: str = ""


@dataclass(frozen=True)
class Divided:
    """A split of a task."""

    task: str
    split: str
    places: int
    classes: int
    median_km: float
    """Median distance of a position from the nearest one of another fold."""
    least_km: float
    """The smallest of these distances."""
    source: str


def write_markdown(divided: Sequence[Divided], results: Sequence[Result]) -> str:
    """Returns tables: the splits, the scores, and the mean rank of each method."""
    methods = list(dict.fromkeys(one.method for one in results))
    lines = ["| task | split | places | classes | from other folds, median km | at least km | labels |"]
    lines.append("|---|---|---|---|---|---|---|")
    for part in divided:
        lines.append(
            f"| {part.task} | {_name(part.split)} | {part.places:,} | {part.classes or ''} | {part.median_km:.3g} | "
            f"{part.least_km:.3g} | {part.source} |"
        )
    lines += ["", f"| task | split | metric | {' | '.join(methods)} |", "|---" * (3 + len(methods)) + "|"]
    for part in divided:
        found = {one.method: one for one in results if (one.task, one.split) == (part.task, part.split)}
        best = max((one.score for one in found.values()), default=0.0)
        cells = [_score(found[method], best) if method in found else "" for method in methods]
        metric = next((one.metric for one in found.values()), "")
        lines.append(f"| {part.task} | {_name(part.split)} | {metric} | {' | '.join(cells)} |")
    ranks = mean_ranks(results)
    lines += ["", f"| mean rank | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    for split in dict.fromkeys(part.split for part in divided):
        cells = [f"{ranks[split, method]:.1f}" if (split, method) in ranks else "" for method in methods]
        lines.append(f"| {_name(split)} | {' | '.join(cells)} |")
    notes = [f"{one.task}, {_name(one.split)}, {one.method}: {one.note}" for one in results if one.note]
    return "\n".join(lines + [""] * bool(notes) + notes) + "\n"


def mean_ranks(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """Returns by split and method the mean over tasks of the place of its score among all, the best 1, ties shared.

    Only methods that were measured on every task of a split have one.
    """
    places: dict[tuple[str, str], list[float]] = {}
    tasks: dict[str, set[str]] = {}
    for one in results:
        rivals = [other.score for other in results if (other.task, other.split) == (one.task, one.split)]
        place = 1 + sum(score > one.score for score in rivals) + (sum(score == one.score for score in rivals) - 1) / 2
        places.setdefault((one.split, one.method), []).append(place)
        tasks.setdefault(one.split, set()).add(one.task)
    return {key: float(np.mean(found)) for key, found in places.items() if len(found) == len(tasks[key[0]])}


def _name(split: str) -> str:
    return split if split == "random" else f"blocks of {split}°"


def _score(result: Result, best: float) -> str:
    spread = f"{result.score:.3f} ± {np.std(result.fold_scores):.3f}"
    return f"**{spread}**" if result.score == best else spread
