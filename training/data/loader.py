"""Batches of the places of local corpora, decoded ahead by threads into memory that is used again.

The order, and every random choice, is a function of (seed, step): a run that goes on at a step gets the batch that an
unbroken run would have got there.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from schemas.corpus import CorpusError
from training.data.batch import LOCATION, VIEWS, Batch
from training.data.draw import Draw, Luck, draw, find_near
from training.data.fill import Buffer, Shape, Source
from training.data.order import Order, Rows
from training.data.samples import Samples
from training.data.tars import Damage

_log = logging.getLogger(__name__)
_MOST_ROWS = 32
"""Places that one thread decodes at a stretch."""


def tokenize_bytes(texts: list[str], length: int = 256) -> Tensor:
    """Returns the UTF-8 bytes of texts plus one, int64, (N, length), 0 = padding: for those who bring no tokenizer."""
    tokens_NL = np.zeros((len(texts), length), dtype=np.int64)
    for row, text in enumerate(texts):
        values = np.frombuffer(text.encode()[:length], dtype=np.uint8)
        tokens_NL[row, : len(values)] = values.astype(np.int64) + 1
    return torch.from_numpy(tokens_NL)


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made."""

    seed: int = 0
    """Of the order and of every random choice."""
    threads: int = 0
    """That decode; 0 takes one for each core this process may use."""
    image_px: Mapping[str, int] = field(default_factory=lambda: {"aerial": 256, "street": 256})
    """Sides of the squares: aerial a multiple of 32 up to 256, street any."""
    tokenize: Callable[[list[str]], Tensor] = tokenize_bytes
    """N texts to int64 (N, L), 0 = padding; L does not depend on the texts. Called by several threads."""
    rank: int = 0
    """Number of this process."""
    world: int = 1
    """Number of processes; each gets its share of every batch."""
    mask_within_m: float = 0.0
    """Great-circle distance within which places are no negatives of each other."""
    neighbours: int = 1
    """Places of one neighbourhood that stay together in training: harder negatives; 1 = every place by itself."""
    modality_dropout: float = 0.0
    """Probability with which training leaves a view out, though never below two."""
    jitter: bool = True
    """Training moves places without a photo to anywhere in their cell."""
    on_damage: Literal["skip", "fail"] = "skip"
    """Damaged observations: absent, named and counted, or an error."""
    pin: bool = False
    """Page-locked memory, for copies to a GPU that nobody waits for."""
    views: tuple[str, ...] = VIEWS
    """Those that are loaded; others are absent."""
    phases: tuple[tuple[str, ...], ...] = ()
    """Views that training loads in turn, of `views`; empty = always all."""
    phase_steps: int = 0
    """Steps of a phase; 0 = an epoch."""
    is_unpaired: bool = False
    """A place shows training one view alone beside its location, always the same one."""
    ahead: int = 1
    """Batches that are decoded before they are asked for; two more are in use."""

    def __post_init__(self) -> None:
        unknown = set(self.views) - set(VIEWS)
        if unknown:
            raise ValueError(f"Unknown view {min(unknown)!r}: choose from {', '.join(VIEWS)}.")
        if self.neighbours < 1:
            raise ValueError(f"neighbours is {self.neighbours}: give 1 or more.")
        if not (0 <= self.rank < self.world and 0 <= self.modality_dropout <= 1 and self.mask_within_m >= 0):
            raise ValueError(
                f"Rank {self.rank} must lie below world {self.world}, modality_dropout {self.modality_dropout} in "
                f"0 ... 1, mask_within_m {self.mask_within_m} at 0 or above."
            )

    @property
    def shape(self) -> Shape:
        """What rows look like."""
        return Shape(self.image_px, self.tokenize([""]).shape[1])

    def luck(self, epoch: int) -> Luck:
        """Returns from where the random choices of an epoch come."""
        unpaired = self.views if self.is_unpaired else ()
        return Luck(self.seed, epoch, self.jitter, self.modality_dropout, unpaired)

    def views_at(self, step: int, steps_per_epoch: int) -> tuple[str, ...]:
        """Returns the views that a step of training loads."""
        phase = step // (self.phase_steps or steps_per_epoch)
        return self.phases[phase % len(self.phases)] if self.phases else self.views

    @property
    def workers(self) -> int:
        """Number of decoding threads."""
        if self.threads or not hasattr(os, "sched_getaffinity"):
            return self.threads or os.cpu_count() or 1
        return len(os.sched_getaffinity(0))


@dataclass(frozen=True, eq=False)
class Job:
    """A batch to be decoded."""

    keys: list[str]
    draw: Draw
    near_K2: Rows
    source: Source


class Loader:
    """Batches of one split; a batch may be used until the next but one is asked for, then its memory is filled anew."""

    def __init__(self, samples: Samples, batch_size: int, *, options: LoaderOptions | None = None) -> None:
        """Takes the places.

        Args:
            batch_size: places of one batch, all ranks together: each gets a contiguous share.

        Raises:
            CorpusError: if something is damaged that must not be.
            ValueError: if the ranks cannot share a batch equally.
        """
        options = options or LoaderOptions()
        check_shares(batch_size, options.world)
        self._samples, self._batch_size, self._options = samples, batch_size, options
        self._ledger = Ledger(options.on_damage)
        if options.rank == 0 or options.on_damage == "fail":  # what every rank knows is told once
            for damage in samples.damage:
                self._ledger.add(damage)

    @property
    def damaged(self) -> int:
        """Damaged things found so far, each counted once."""
        return len(self._ledger)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch.

        Raises:
            CorpusError: if there is none, or no place has two of the views.
        """
        return self._order.steps_per_epoch

    @property
    def left_over(self) -> int:
        """Places, other ones each epoch, that fill no whole batch."""
        return len(self._usable) - self.steps_per_epoch * self._batch_size

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Returns training's batches without end, from a step on: its rank's share of each.

        `Batch.near_K2` speaks of the rows of the whole batch, all ranks one after the other.

        Raises:
            CorpusError: as `steps_per_epoch`; while iterating, if something is damaged that must not be.
        """
        order = self._order
        if start_step == 0 and self.left_over:
            _log.warning(
                "%d places fill %d batches of %d; the other %d, not the same each epoch, are left out.",
                len(self._usable), order.steps_per_epoch, self._batch_size, self.left_over,
            )  # fmt: skip

        def jobs() -> Iterator[Job]:
            step = start_step
            while True:
                views = self._options.views_at(step, order.steps_per_epoch)
                yield self._plan(self._usable[order.rows(step)], self._options.luck(order.epoch_of(step)), views)
                step += 1

        return decode_ahead(jobs(), self._batch_size // self._options.world, self._options, self._ledger)

    def in_order(self) -> Iterator[Batch]:
        """Returns every place once, for evaluation: first observations, no jitter, no dropout; the last batch is short.

        Several ranks get contiguous shares of the places, whole batches of them as far as they go.
        """
        options = self._options
        share = np.array_split(np.arange(len(self._samples)), options.world)[options.rank]
        size = self._batch_size // options.world
        jobs = (self._plan(share[start : start + size], None, options.views) for start in range(0, len(share), size))
        return decode_ahead(jobs, size, options, self._ledger)

    @cached_property
    def _usable(self) -> Rows:
        """Rows of the places with two views or more: others have nothing to agree with."""
        views_MN, views = self._samples.views_MN, self._options.views
        stored = np.array([view in views for view in VIEWS[:-1]])
        rows = np.flatnonzero(views_MN[stored].sum(axis=0) + (LOCATION in views) >= 2)
        if not len(rows):
            raise CorpusError(
                f"No place of split {self._samples.split!r} has two of the views {', '.join(views)}: there is nothing "
                "to agree about; choose other views or another corpus."
            )
        return rows

    @cached_property
    def _order(self) -> Order:
        samples, rows = self._samples, self._usable
        return Order(
            samples.places.cells_N[rows],
            samples.group_N[rows],
            batch_size=self._batch_size,
            seed=self._options.seed,
            neighbours=self._options.neighbours,
        )

    def _plan(self, rows_B: Rows, luck: Luck | None, views: tuple[str, ...]) -> Job:
        """Draws a batch; of one in training, the share of this rank."""
        options, places = self._options, self._samples.places
        drawn = draw(places, rows_B, luck, views)
        near_K2 = find_near(drawn.lonlat_B2, options.mask_within_m)
        if luck is not None:
            size = self._batch_size // options.world
            drawn = drawn.cut(options.rank * size, (options.rank + 1) * size)
        keys = [f"{cell:x}" for cell in places.cells_N[drawn.rows_B].tolist()]
        return Job(keys, drawn, near_K2, self._samples)


def check_shares(batch_size: int, world: int) -> None:
    """Raises ValueError unless the ranks can share a batch equally."""
    if batch_size < 1 or batch_size % world:
        raise ValueError(f"A batch of {batch_size} places cannot be shared by {world} ranks: choose a multiple.")


class Ledger:
    """What was found damaged: each named once, or an error."""

    def __init__(self, on_damage: str) -> None:
        self._is_fatal = on_damage == "fail"
        self._seen: set[Damage] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, damage: Damage) -> None:
        """Notes something damaged.

        Raises:
            CorpusError: where damage is not to be skipped.
        """
        if self._is_fatal:
            raise CorpusError(
                f"Damaged: {damage}; build the shard anew (python -m pipelines.verify names all damage) or skip what "
                "is damaged."
            )
        if damage not in self._seen:
            self._seen.add(damage)
            _log.warning("damaged, skipped: %s", damage)


def decode_ahead(jobs: Iterator[Job], size: int, options: LoaderOptions, ledger: Ledger) -> Iterator[Batch]:
    """Yields batches in the order of their jobs; jobs are made by one thread, decoded by several.

    No thread ever waits for the caller, so none keeps a process alive that forgot to close this iterator.

    Args:
        size: rows of the largest job.
        ledger: takes what could not be decoded.
    """
    shape = options.shape
    ring = [Buffer(size, shape, pin=options.pin) for _ in range(options.ahead + 2)]
    rows = max(1, min(_MOST_ROWS, size // (4 * options.workers)))
    planner, decoders = ThreadPoolExecutor(1), ThreadPoolExecutor(options.workers)

    def plan(buffer: Buffer) -> tuple[Job, list[Future[list[tuple[int, str]]]]] | None:
        job = next(jobs, None)
        if job is None:
            return None
        return job, [
            decoders.submit(buffer.fill, start, job.draw.cut(start, start + rows), job.source, options.tokenize)
            for start in range(0, len(job.keys), rows)
        ]

    try:
        waiting = deque((buffer, planner.submit(plan, buffer)) for buffer in ring)
        in_use: deque[Buffer] = deque()
        while (planned := waiting[0][1].result()) is not None:
            job, parts = planned
            buffer, _ = waiting.popleft()
            for part in parts:
                for observation, cause in part.result():
                    ledger.add(job.source.describe(observation, cause))
            yield buffer.finish(job.keys, job.near_K2)
            in_use.append(buffer)
            if len(in_use) == 2:
                free = in_use.popleft()
                waiting.append((free, planner.submit(plan, free)))
    finally:
        planner.shutdown(wait=False, cancel_futures=True)
        decoders.shutdown(wait=False, cancel_futures=True)
