"""Which places compete with each other when one view is searched by another.

A gallery is a set of distinct places; how hard a search is depends on nothing as much as on it, so every result says
which gallery, how many places, and how far apart they lie.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.sphere import find_nearest

KINDS = ("random", "hard", "near", "full")
"""random: of equal size, drawn from the whole split. hard: of equal size, a place and its nearest neighbours.
near: all places within a few km of one, at most that size. full: the whole split."""

_TRIES = 50  # first places looked at for each near gallery wanted, so that a sparse corpus ends soon


@dataclass(frozen=True)
class GalleryRule:
    """How galleries are drawn; a pure function of these values and of the places."""

    kind: str = "random"
    """One of `KINDS`."""
    size: int = 200
    """Distinct places in a random or hard gallery, the most in a near one."""
    draws: int = 10
    """How many galleries are averaged over."""
    near_m: float = 5000.0
    """Reach of a near gallery around its first place, metres."""
    fewest: int = 10
    """Near galleries of fewer places are left out."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Unknown galleries {self.kind!r}: choose from {', '.join(KINDS)}.")
        if self.size < 2 or self.draws < 1:
            raise ValueError(f"{self.draws} galleries of {self.size} places measure nothing: take 1 of 2 at least.")


@dataclass(frozen=True, eq=False)
class Gallery:
    """Places that compete."""

    rows_G: NDArray[np.intp]
    """Rows of the places, distinct."""
    radius_m: float | None
    """Great-circle distance of the farthest from the first, metres; None where it was not chosen by distance."""


def draw(rule: GalleryRule, rows_N: NDArray[np.intp], lonlat_N2: NDArray[np.float64]) -> list[Gallery]:
    """Returns the galleries among the given places, none where there are fewer than two of them.

    Random galleries are consecutive cuts of seeded permutations: disjoint as long as the places suffice. Near ones
    start only where no earlier one has been. Where there are no more places than a gallery asks for, one holds all.

    Args:
        rows_N: rows of the places that can be in a gallery.
        lonlat_N2: positions of the places of all rows, degrees east and north.
    """
    rng = np.random.Generator(np.random.PCG64(rule.seed))
    if len(rows_N) < 2:
        return []
    if rule.kind == "full" or (rule.kind == "random" and len(rows_N) <= rule.size):
        return [Gallery(rows_N, None)]
    if rule.kind == "random":
        return _draw_random(rule, rows_N, rng)
    if rule.kind == "near":
        return _draw_near(rule, rows_N, lonlat_N2[rows_N], rng)
    draws = rule.draws if len(rows_N) > rule.size else 1
    return [_around(rows_N, *find_nearest(lonlat_N2[rows_N], seed, rule.size)) for seed in _seeds(rng, rows_N, draws)]


def _draw_random(rule: GalleryRule, rows_N: NDArray[np.intp], rng: np.random.Generator) -> list[Gallery]:
    cuts: list[Gallery] = []
    while len(cuts) < rule.draws:
        order = rng.permutation(rows_N)
        cuts += [Gallery(order[i : i + rule.size], None) for i in range(0, len(order) - rule.size + 1, rule.size)]
    return cuts[: rule.draws]


def _draw_near(
    rule: GalleryRule, rows_N: NDArray[np.intp], lonlat_N2: NDArray[np.float64], rng: np.random.Generator
) -> list[Gallery]:
    found: list[Gallery] = []
    seen_N = np.zeros(len(rows_N), bool)
    for seed in _seeds(rng, rows_N, _TRIES * rule.draws):
        if seen_N[seed]:
            continue
        near, away = find_nearest(lonlat_N2, seed, len(rows_N))
        within = int((away <= rule.near_m).sum())
        seen_N[near[:within]] = True
        if within >= rule.fewest:
            size = min(within, rule.size)
            found.append(_around(rows_N, near[:size], away[:size]))
        if len(found) == rule.draws:
            break
    return found


def _seeds(rng: np.random.Generator, rows_N: NDArray[np.intp], count: int) -> list[int]:
    seeds: list[int] = rng.permutation(len(rows_N))[:count].tolist()
    return seeds


def _around(rows_N: NDArray[np.intp], near: NDArray[np.intp], away: NDArray[np.float64]) -> Gallery:
    return Gallery(rows_N[near], float(away[-1]))
