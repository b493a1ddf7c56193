"""Means over seeds and how sure they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
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

    def is_above(self, other: "Figure") -> bool:
        """True where the intervals do not meet and this one lies higher."""
        return self.mean - self.half > other.mean + other.half


def summarise(values: Sequence[float]) -> Figure:
    """Returns the mean of values of several seeds and its interval."""
    count = len(values)
    if not count:
        return Figure(math.nan, math.nan, 0)
    mean = sum(values) / count
    if count == 1:
        return Figure(mean, math.nan, 1)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    t = _T_975[count - 2] if count - 2 < len(_T_975) else 1.96
    return Figure(mean, t * deviation / math.sqrt(count), count)


def judge(first: Figure, second: Figure) -> str:
    """Returns in words whether the first is above the second."""
    if math.isnan(first.mean) or math.isnan(second.mean):
        return "not measured"
    if first.is_above(second):
        return "reproduced: the intervals do not meet"
    if second.is_above(first):
        return "not reproduced: it is the other way round, and the intervals do not meet"
    order = "in that order" if first.mean > second.mean else "not in that order"
    if math.isnan(first.half) or math.isnan(second.half):
        return f"{order} with one seed: not decided"
    return f"{order}, but the intervals meet: not decided"


def judge_pairs(first: Sequence[float], second: Sequence[float]) -> tuple[Figure, str]:
    """Returns the mean difference of values that belong together one by one, and in words whether it is above 0.

    Seeds that deal the folds anew move both of a pair alike, so their difference is known better than either.
    """
    if not first or not second:
        return summarise([]), "not measured"
    difference = summarise([a - b for a, b in zip(first, second, strict=True)])
    if difference.mean - difference.half > 0:
        return difference, "reproduced: the interval of the difference lies above 0"
    if difference.mean + difference.half < 0:
        return difference, "not reproduced: it is the other way round, and the interval lies below 0"
    order = "in that order" if difference.mean > 0 else "not in that order"
    if math.isnan(difference.half):
        return difference, f"{order} with one seed: not decided"
    return difference, f"{order}, but the interval of the difference holds 0: not decided"
