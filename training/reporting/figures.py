"""Means over seeds and how sure they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t at 97.5 % for 1, 2, ... degrees of freedom; beyond, the normal distribution's is near."""


@dataclass(frozen=True)
class Figure:
    """A mean over seeds."""

    mean: float
    half: float
    """Half of its 95 % interval (Student's t); NaN of one seed."""
    seeds: int

    def show(self, factor: float = 100.0, digits: int = 1) -> str:
        """Returns the mean and its interval, by default in per cent."""
        if math.isnan(self.mean):
            return "-"
        spread = "" if math.isnan(self.half) else f" ± {factor * self.half:.{digits}f}"
        return f"{factor * self.mean:.{digits}f}{spread}"

    @property
    def variance(self) -> float:
        """Of the mean."""
        return (self.half / _quantile(self.seeds - 1)) ** 2


def summarise(values: Sequence[float]) -> Figure:
    """Returns the mean of values of several seeds and its interval."""
    count = len(values)
    if not count:
        return Figure(math.nan, math.nan, 0)
    mean = sum(values) / count
    if count == 1:
        return Figure(mean, math.nan, 1)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    return Figure(mean, _quantile(count - 1) * deviation / math.sqrt(count), count)


def subtract(first: Figure, second: Figure) -> Figure:
    """Returns the difference of two means with its interval (Welch, Biometrika 34, 1947), NaN where one has none."""
    mean, seeds = first.mean - second.mean, min(first.seeds, second.seeds)
    if seeds < 2:
        return Figure(mean, math.nan, seeds)
    total = first.variance + second.variance
    if total == 0:
        return Figure(mean, 0.0, seeds)
    freedom = total**2 / sum(one.variance**2 / (one.seeds - 1) for one in (first, second))
    return Figure(mean, _quantile(freedom) * math.sqrt(total), seeds)


def judge(first: Figure, second: Figure) -> str:
    """Returns in words whether the first is above the second, by the interval of their difference."""
    return _tell(subtract(first, second))


def judge_pairs(first: Sequence[float], second: Sequence[float]) -> tuple[Figure, str]:
    """Returns the mean difference of values that belong together one by one, and in words whether it is above 0.

    Seeds that deal the folds anew move both of a pair alike, so their difference is known better than either.
    """
    if not first or not second:
        return summarise([]), _tell(summarise([]))
    difference = summarise([a - b for a, b in zip(first, second, strict=True)])
    return difference, _tell(difference)


def _tell(difference: Figure) -> str:
    if math.isnan(difference.mean):
        return "not measured"
    order = "in that order" if difference.mean > 0 else "not in that order"
    if math.isnan(difference.half):
        return f"{order} with one seed: not decided"
    if difference.mean - difference.half > 0:
        return "reproduced: the interval of the difference lies above 0"
    if difference.mean + difference.half < 0:
        return "not reproduced: it is the other way round, and the interval of the difference lies below 0"
    return f"{order}, but the interval of the difference holds 0: not decided"


def _quantile(freedom: float) -> float:
    """Returns Student's t for degrees of freedom, rounded down."""
    return _T_975[int(freedom) - 1] if freedom < len(_T_975) + 1 else 1.96
