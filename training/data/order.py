"""Which place stands where: a pure function of the places, the seed and the step, whatever the number of ranks.

An epoch is one random order of all places, cut into batches. Places that may not meet in a batch (the same cell, or
observations that share an article or a photo) are dealt like cards before that, one after the other, so that they come
to different batches without any search. A place comes at most once in an epoch; those that fill no whole batch, other
ones each epoch, are left out of it. With `neighbours` the order is one of packs: places of one coarse cell stay
together, so that a batch holds negatives which only a close look tells apart.
"""

from bisect import bisect_left
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schemas.corpus import CorpusError
from training.data.chance import hash64

Rows = NDArray[np.int64]

NEAR_LEVELS = 4
"""Packs are of places below one ancestor so many H3 levels up: of resolution 6, 36 km2, for cells of resolution 10."""


class Order:
    """The order of one split's places in training."""

    def __init__(
        self, cells_N: NDArray[np.uint64], group_N: Rows, *, batch_size: int, seed: int, neighbours: int = 1
    ) -> None:
        """Takes the places.

        Args:
            cells_N: H3 cells; the order depends on them alone, not on the files they lie in.
            group_N: equal numbers from 0 for places that may not meet in a batch, -1 for those that may meet any.
            neighbours: places of a pack; 1 = every place goes its own way.

        Raises:
            CorpusError: if not one batch can be filled.
        """
        self._cells_N, self._seed, self._neighbours = cells_N, seed, neighbours
        self.batch_size = batch_size
        """Places of one step, over all ranks."""
        self.steps_per_epoch = _count_steps(group_N, batch_size)
        """Steps after which a new epoch starts."""
        if not self.steps_per_epoch:
            usable = int((group_N < 0).sum()) + len(np.unique(group_N[group_N >= 0]))
            raise CorpusError(
                f"A batch of {batch_size} is larger than the {usable} places of the split that may meet in one: choose "
                "a smaller batch."
            )
        self._bound, self._free = np.flatnonzero(group_N >= 0), np.flatnonzero(group_N < 0)
        self._group_of_bound = np.unique(group_N[self._bound], return_inverse=True)[1]
        self._first_cell = np.full(len(self._bound), np.iinfo(np.uint64).max)
        np.minimum.at(self._first_cell, self._group_of_bound, cells_N[self._bound])  # what a group is known by
        self._epoch = lru_cache(maxsize=1)(self._deal)

    def epoch_of(self, step: int) -> int:
        """Returns the epoch, from 0, to which a step belongs."""
        return step // self.steps_per_epoch

    def rows(self, step: int) -> Rows:
        """Returns the places of one step, over all ranks."""
        rows: Rows = self._epoch(self.epoch_of(step))[step % self.steps_per_epoch]
        return rows

    def _deal(self, epoch: int) -> Rows:
        """Returns all batches of an epoch, shape (steps, batch size)."""
        luck = hash64(self._cells_N, self._seed, epoch, "order")
        steps, bound, group = self.steps_per_epoch, self._bound, self._group_of_bound
        dealt = bound[:0]
        if len(bound):
            turns = hash64(self._first_cell, self._seed, epoch, "groups")[group]
            order = np.lexsort((luck[bound], turns))
            starts = np.flatnonzero(np.diff(group[order], prepend=-1))
            number = np.arange(len(bound)) - np.repeat(starts, np.diff(starts, append=len(bound)))
            dealt = bound[order][number < steps][: steps * self.batch_size]
        free, batches = self._pack(epoch, luck), []
        for step in range(steps):
            mine = dealt[step::steps]
            taken, free = np.split(free, [self.batch_size - len(mine)])
            batches.append(np.concatenate([mine, taken]))
        rows = np.stack(batches)
        rows = np.take_along_axis(rows, np.argsort(luck[rows], axis=1, kind="stable"), axis=1)
        turns = hash64(np.arange(steps, dtype=np.uint64), self._seed, epoch, "batches")
        return np.ascontiguousarray(rows[np.argsort(turns, kind="stable")])

    def _pack(self, epoch: int, luck: NDArray[np.uint64]) -> Rows:
        """Returns the places that may meet any, in an order of their own or in packs of neighbours."""
        if self._neighbours == 1:
            return self._free[np.argsort(luck[self._free], kind="stable")]
        ancestors = find_ancestors(self._cells_N[self._free])
        turns = hash64(ancestors, self._seed, epoch, "neighbourhoods")
        order = self._free[np.lexsort((luck[self._free], turns))]
        packs = np.arange(len(order)) // self._neighbours
        first = luck[order[:: self._neighbours]]
        return order[np.lexsort((np.arange(len(order)), first[packs]))]


def find_ancestors(cells_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns what cells below one ancestor, `NEAR_LEVELS` up, have in common: an H3 index without its last digits.

    Bits 52 to 55 of an index are its resolution, the digit of resolution r begins at bit 3 (15 - r)
    (https://h3geo.org/docs/core-library/h3Indexing).
    """
    resolution = (cells_N >> np.uint64(52)) & np.uint64(15)
    coarse = resolution - np.minimum(resolution, np.uint64(NEAR_LEVELS))
    shift = np.uint64(3) * (np.uint64(15) - coarse)
    shared: NDArray[np.uint64] = (cells_N >> shift) << shift
    return shared


def join_groups(rows_K: Rows, things_K: Rows, places: int) -> Rows:
    """Returns a number for places that are joined by things they share, shape (places,); -1 for those that share none.

    Args:
        rows_K: places.
        things_K: what each has: equal numbers from 0 are the same article, photo or cell.
    """
    group_N = np.full(places, -1, dtype=np.int64)
    counts = np.bincount(things_K) if len(things_K) else np.zeros(0, np.int64)
    rows_K, things_K = rows_K[counts[things_K] > 1], things_K[counts[things_K] > 1]
    if not len(rows_K):
        return group_N
    label_N = np.arange(places)
    while True:  # the smallest row of a chain travels along it
        label_T = np.full(len(counts), places)
        np.minimum.at(label_T, things_K, label_N[rows_K])
        before = label_N[rows_K]
        np.minimum.at(label_N, rows_K, label_T[things_K])
        if (label_N[rows_K] == before).all():
            break
    shared = np.unique(rows_K)
    group_N[shared] = label_N[shared]
    sizes = np.bincount(group_N[shared], minlength=places)
    group_N[shared[sizes[group_N[shared]] < 2]] = -1  # one place that has the same thing twice
    return group_N


def _count_steps(group_N: Rows, batch_size: int) -> int:
    """Returns the largest number of batches that can be filled with no two of a group in one."""
    sizes = np.unique(group_N[group_N >= 0], return_counts=True)[1]
    free = int((group_N < 0).sum())

    def is_too_many(steps: int) -> bool:  # true from some number of steps on: what is dealt is concave in it
        return free + int(np.minimum(sizes, steps).sum()) < steps * batch_size

    return bisect_left(range(1, len(group_N) // batch_size + 1), True, key=is_too_many)
