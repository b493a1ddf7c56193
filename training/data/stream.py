"""The places of one split of a corpus that lies elsewhere: at http(s)://, gs://, s3://, or behind a command.

Its shards are read from their beginnings to their ends, as a stream allows no more: each rank reads its own ones, in a
new order each epoch, and mixes the places in a buffer. So the order depends on the number of ranks, and a run that goes
on in the middle of an epoch reads that epoch's shards again up to where it was, without decoding.
"""

import io
import json
import logging
import tarfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.corpus import INDEX, CorpusError
from schemas.reference import SPLITS
from training.data.batch import LOCATION, SPOTS, Batch
from training.data.chance import hash64
from training.data.draw import Luck, draw, find_near
from training.data.loader import Job, Ledger, LoaderOptions, check_shares, decode_ahead
from training.data.places import Places, read_places
from training.data.statistics import Statistics, pool
from training.data.tars import Damage
from training.shards import UNREACHABLE, address_of, open_address, read_manifest, read_shard, shards_of

_log = logging.getLogger(__name__)
_BROKEN: tuple[type[Exception], ...] = (*UNREACHABLE, tarfile.ReadError, EOFError, ValueError)
_MIXED = 1000
"""Places in the buffer that mixes the shards: some 0.2 GB."""


@dataclass(frozen=True)
class Stream:
    """One split of a remote corpus."""

    corpus: str
    """Its address, or `pipe:` and a command with {} for the name of a file."""
    split: str
    """train, val or test."""
    shards: dict[str, int]
    """Its shards and their numbers of places."""
    statistics: Statistics
    """As `training.data.samples.Samples.statistics`."""

    def __len__(self) -> int:
        return sum(self.shards.values())

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """West, south, east, north of all cell centres, degrees."""
        lon, lat = (self._index[name].to_numpy() for name in ("lon", "lat"))
        return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())

    @property
    def centres(self) -> dict[str, tuple[float, float]]:
        """(lon, lat) of the cells' centres by key, degrees, WGS 84; made anew each time."""
        keys, lon, lat = (self._index[name].to_pylist() for name in ("key", "lon", "lat"))
        return dict(zip(keys, zip(lon, lat, strict=True), strict=True))

    @cached_property
    def _index(self) -> pa.Table:
        """Key and centre of all places of the split.

        Raises:
            CorpusError: if the corpus' index cannot be read, or names none.
        """
        try:
            with open_address(address_of(self.corpus, INDEX)) as file:
                index = pq.read_table(
                    io.BytesIO(file.read()), columns=["key", "lon", "lat"], filters=[("split", "=", self.split)]
                )
        except _BROKEN as error:
            raise CorpusError(f"The {INDEX} of {self.corpus} cannot be read ({error}).") from error
        if not len(index):
            raise CorpusError(f"The {INDEX} of {self.corpus} names no place of split {self.split!r}.")
        return index


def open_stream(corpus: str, split: str) -> Stream:
    """Opens one split of a corpus that is no folder.

    Raises:
        CorpusError: if there is no corpus of a known format, or nothing of that split.
    """
    if split not in SPLITS:
        raise CorpusError(f"Unknown split {split!r}: choose from {', '.join(SPLITS)}.")
    manifest = read_manifest(corpus)
    return Stream(corpus, split, shards_of(manifest, split, corpus), pool([manifest]))


class StreamLoader:
    """Batches of a stream; a batch may be used until the next but one is asked for, then its memory is filled anew."""

    def __init__(self, stream: Stream, batch_size: int, *, options: LoaderOptions | None = None) -> None:
        """Takes the places.

        Args:
            batch_size: places of one batch, all ranks together.

        Raises:
            CorpusError: if the ranks are more than the shards.
            ValueError: if the ranks cannot share a batch equally.
        """
        options = options or LoaderOptions()
        check_shares(batch_size, options.world)
        if len(stream.shards) < options.world:
            raise CorpusError(
                f"{stream.corpus} has {len(stream.shards)} shards of split {stream.split!r} for {options.world} ranks: "
                "use fewer ranks, or copy the corpus to a folder."
            )
        self._stream, self._options, self._size = stream, options, batch_size // options.world
        self._ledger = Ledger(options.on_damage)

    @property
    def damaged(self) -> int:
        """Damaged things found so far, each counted once."""
        return len(self._ledger)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches that every rank finds in its shards, whichever they are.

        Raises:
            CorpusError: if there is none.
        """
        sizes = sorted(self._stream.shards.values())
        steps = sum(sizes[: len(sizes) // self._options.world]) // self._size
        if not steps:
            raise CorpusError(
                f"A batch of {self._size} places for each rank is larger than its share of the {len(self._stream)} of "
                f"split {self._stream.split!r}: choose a smaller batch."
            )
        return steps

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Returns training's batches without end, from a step on: its rank's share of each.

        `Batch.near_K2` speaks of the rows of the whole batch, but knows only pairs within this rank's share
        (`training.learning.negatives.mask_near` finds all); so do articles and photos meet in no share, but over ranks.

        Raises:
            CorpusError: as `steps_per_epoch`; while iterating, if something is damaged that must not be, or the places
                share so many articles that no batch can be filled.
        """
        first, skipped = divmod(start_step, self.steps_per_epoch)

        def jobs() -> Iterator[Job]:
            for epoch in count(first):
                luck, begin = self._options.luck(epoch), skipped if epoch == first else 0
                dealt = islice(self._deal(self._mixed(epoch)), begin, self.steps_per_epoch)
                for step, batch in enumerate(dealt, start=epoch * self.steps_per_epoch + begin):
                    yield self._plan(batch, luck, self._options.views_at(step, self.steps_per_epoch))

        return decode_ahead(jobs(), self._size, self._options, self._ledger)

    def in_order(self) -> Iterator[Batch]:
        """Returns every place of this rank's shards once, for evaluation; the last batch is short.

        Raises:
            CorpusError: while iterating, if there is none that can be read, or something is damaged that must not be.
        """

        def jobs() -> Iterator[Job]:
            samples, found = self._read(list(self._stream.shards)), 0
            while batch := list(islice(samples, self._size)):
                found += len(batch)
                yield self._plan(batch, None, self._options.views)
            if not found:
                raise self._nothing()

        return decode_ahead(jobs(), self._size, self._options, self._ledger)

    def _mixed(self, epoch: int) -> Iterator["_Sample"]:
        """Yields the places of an epoch in a random order; read once more where the manifest promised too much."""
        seed = self._options.seed
        names = np.array(list(self._stream.shards))
        numbers = np.arange(len(names), dtype=np.uint64)
        for turn in count():
            order = np.argsort(hash64(numbers, seed, epoch, turn, "shards"), kind="stable")
            buffer: list[_Sample] = []
            found = 0
            for found, sample in enumerate(self._read(names[order].tolist()), start=1):
                buffer.append(sample)
                if len(buffer) > _MIXED:
                    yield _take_one(buffer, found, seed, epoch, turn)
            for rest in range(len(buffer)):
                yield _take_one(buffer, found + rest + 1, seed, epoch, turn)
            if not found:
                raise self._nothing()

    def _nothing(self) -> CorpusError:
        return CorpusError(f"{self._stream.corpus} has no place of split {self._stream.split!r} that can be read.")

    def _deal(self, samples: Iterator["_Sample"]) -> Iterator[list["_Sample"]]:
        """Yields whole batches in which no two share a cell, an article or a photo; who does waits for the next."""
        waiting: list[_Sample] = []
        while True:
            batch: list[_Sample] = []
            taken: set[str] = set()
            queue, waiting, useless = deque(waiting), [], 0
            for sample in chain(_drain(queue), samples):
                useless = useless + 1 if sample.number_of_views(self._options.views) < 2 else 0
                if useless > 2 * len(self._stream):
                    raise CorpusError(
                        f"No place of split {self._stream.split!r} has two of the views "
                        f"{', '.join(self._options.views)}: there is nothing to agree about; choose other views or "
                        "another corpus."
                    )
                if useless:
                    continue
                if len(batch) < self._size and taken.isdisjoint(sample.things):
                    batch.append(sample)
                    taken |= sample.things
                else:
                    waiting.append(sample)
                if len(batch) == self._size and not queue:
                    break
                if len(waiting) > _MIXED + self._size:
                    raise CorpusError(
                        f"{self._stream.corpus} holds too few places that share no article or photo to fill a batch of "
                        f"{self._size}: choose a smaller batch."
                    )
            yield batch

    def _read(self, names: list[str]) -> Iterator["_Sample"]:
        """Yields this rank's share of some shards; what is damaged is named and left out."""
        for name in names[self._options.rank :: self._options.world]:
            found = 0
            try:
                for sample in read_shard(self._stream.corpus, name):
                    found += 1
                    if parsed := self._parse(sample, name):
                        yield parsed
                if found < self._stream.shards[name]:
                    self._ledger.add(
                        Damage(name, "", "", f"it ends after {found} of {self._stream.shards[name]} places")
                    )
            except CorpusError:
                raise
            except _BROKEN as error:
                self._ledger.add(Damage(name, "", "", f"it cannot be read to its end ({error})"))

    def _parse(self, sample: dict[str, Any], shard: str) -> "_Sample | None":
        key = str(sample["__key__"])
        record = sample.get("json", b"")
        try:
            read_places([record])
            facts = json.loads(record)
            things = {f"{o['modality']} {o['item_id']}" for o in facts["observations"] if o["modality"] in SPOTS}
            views = {str(o["modality"]) for o in facts["observations"]}
        except CorpusError:  # of a newer schema
            raise
        except (ValueError, LookupError, TypeError) as error:
            self._ledger.add(Damage(shard, key, f"{key}.json", f"no record of a place ({error})"))
            return None
        return _Sample(key, shard, record, frozenset({key, *things}), frozenset(views), sample)

    def _plan(self, batch: list["_Sample"], luck: Luck | None, views: tuple[str, ...]) -> Job:
        options = self._options
        places, names = read_places([sample.record for sample in batch])
        block = _Block(places, names.members.to_pylist(), batch)
        drawn = draw(places, np.arange(len(batch)), luck, views)
        near_K2 = find_near(drawn.lonlat_B2, options.mask_within_m)
        if luck is not None:
            near_K2 = near_K2 + options.rank * self._size
        return Job([sample.key for sample in batch], drawn, near_K2, block)


@dataclass(frozen=True, eq=False)
class _Sample:
    """One place with its members, still encoded."""

    key: str
    shard: str
    record: bytes
    things: frozenset[str]
    """What no other place of the batch may have."""
    views: frozenset[str]
    members: dict[str, Any]
    """Bytes by what follows the key and a dot."""

    def number_of_views(self, views: tuple[str, ...]) -> int:
        return len(self.views.intersection(views)) + (LOCATION in views)


@dataclass(frozen=True, eq=False)
class _Block:
    """The places of one batch, as `training.data.fill.Source`."""

    places: Places
    members: list[str]
    samples: list[_Sample]

    def read(self, observation: int) -> memoryview:
        sample = self.samples[self.places.place_K[observation]]
        return memoryview(sample.members[self.members[observation].removeprefix(f"{sample.key}.").lower()])

    def describe(self, observation: int, cause: str) -> Damage:
        sample = self.samples[self.places.place_K[observation]]
        return Damage(sample.shard, sample.key, self.members[observation], cause)


def _take_one(buffer: list[_Sample], number: int, *salt: object) -> _Sample:
    """Takes one of a buffer by chance."""
    luck = int(hash64(np.array([number], dtype=np.uint64), *salt, "mix")[0])
    place = luck % len(buffer)
    buffer[place], buffer[-1] = buffer[-1], buffer[place]
    return buffer.pop()


def _drain(queue: deque[_Sample]) -> Iterator[_Sample]:
    while queue:
        yield queue.popleft()
