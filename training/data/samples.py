"""The places of one split of local corpora: an index over memory-mapped tars, read at random without unpacking.

What the metadata members say is read once, when the samples are opened (some ten microseconds a place); pixels and
texts are touched only when a batch needs them.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.corpus import MANIFEST, CorpusError, open_corpora
from schemas.reference import SPLITS
from training.data.order import Rows
from training.data.places import Names, Places, find_groups, join_places, read_places
from training.data.statistics import Statistics, measure, pool
from training.data.tars import Damage, Listing, Maps, list_index, list_tar, map_file

_log = logging.getLogger(__name__)
_SAY_FROM = 100_000
"""From so many places on it is said that opening takes some seconds."""


@dataclass(frozen=True, eq=False)
class Samples:
    """N places of one split, with K observations, and where each lies."""

    split: str
    """train, val or test."""
    places: Places
    """What their metadata says, in the order of shards and of members."""
    group_N: Rows
    """Equal numbers for places that may not meet in a batch: see `training.data.places.find_groups`."""
    shards: tuple[Path, ...]
    """The tars."""
    shard_N: NDArray[np.int32]
    """Number of the tar of each place."""
    offset_K: Rows
    """First byte of each observation's member in its tar."""
    size_K: NDArray[np.int32]
    """Bytes of each."""
    damage: tuple[Damage, ...]
    """What could not be indexed and is not among the places or their observations."""
    find_statistics: Callable[[], Statistics]
    """How to come by `statistics`."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def keys(self) -> list[str]:
        """H3 cells as strings; made anew each time."""
        return [f"{cell:x}" for cell in self.places.cells_N.tolist()]

    @property
    def lonlat_N2(self) -> NDArray[np.float64]:
        """Cell centres, degrees east and north."""
        return self.places.lonlat_N2

    @property
    def centres(self) -> dict[str, tuple[float, float]]:
        """(lon, lat) of the cells' centres by key, degrees, WGS 84; made anew each time."""
        return {key: (lon, lat) for key, (lon, lat) in zip(self.keys, self.lonlat_N2.tolist(), strict=True)}

    def check_once(self) -> None:
        """Raises CorpusError for a cell that is there twice, as bare tars may hold it: training keeps the two apart."""
        order_N = np.argsort(self.places.cells_N, kind="stable")
        sorted_N = self.places.cells_N[order_N]
        again = np.flatnonzero(sorted_N[1:] == sorted_N[:-1])
        if len(again):
            first, second = (self.shards[number] for number in self.shard_N[order_N[again[0] :][:2]])
            raise CorpusError(
                f"The place {sorted_N[again[0]]:x} is in {first} and in {second}, and {len(again) - 1} more are there "
                "twice, so an answer could be right and count as wrong: keep one of them elsewhere."
            )

    @cached_property
    def views_MN(self) -> NDArray[np.bool_]:
        """Which of the five modalities there are, in the order of `MODALITIES`, shape (5, N)."""
        return self.places.count_MN > 0

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """West, south, east, north of all cell centres, degrees; -180 ... 180 across the antimeridian."""
        west, south = self.lonlat_N2.min(axis=0).tolist()
        east, north = self.lonlat_N2.max(axis=0).tolist()
        return west, south, east, north

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and std of each band over the train split, in stored units, gaps left out, by modality.

        From the manifests; a folder without one is measured in a first pass over some hundred places.
        """
        return self.find_statistics()

    @cached_property
    def _maps(self) -> Maps:
        return Maps()

    def read(self, observation: int) -> memoryview:
        """Returns the bytes of an observation, without copying; several threads may read at once.

        Raises:
            OSError: if its tar cannot be opened any more.
        """
        start = int(self.offset_K[observation])
        path = self.shards[self.shard_N[self.places.place_K[observation]]]
        return self._maps.open(path)[start : start + int(self.size_K[observation])]

    def describe(self, observation: int, cause: str) -> Damage:
        """Returns a record of damage that names an observation."""
        row = int(self.places.place_K[observation])
        path = self.shards[self.shard_N[row]]
        key, member = self.places.name_of(observation)
        return Damage(f"{path.parent.name}/{path.name}", key, member, cause)


def open_samples(path: str | Path, split: str, *, mix_synthetic: bool = False) -> Samples:
    """Opens one split of what lies in a folder.

    Args:
        path: folder of a corpus; of several (their union); or of our tars alone, directly in it or one level below:
            then the headers of all of them are read, and the metadata tells which places are of the split.
        split: train, val or test.
        mix_synthetic: allows a union of synthetic and real corpora.

    Raises:
        CorpusError: if there is no corpus, one is of a newer version, several do not fit together, or the split has no
            place that can be read.
    """
    root = Path(path)
    if split not in SPLITS:
        raise CorpusError(f"Unknown split {split!r}: choose from {', '.join(SPLITS)}.")
    is_corpus = (root / MANIFEST).is_file() or any(root.glob(f"*/{MANIFEST}"))
    tars = [] if is_corpus else sorted([*root.glob("*.tar"), *root.glob("*/*.tar")])
    if tars:
        return _open_bare(root, tars, split)
    corpora = open_corpora(root, mix_synthetic=mix_synthetic)
    listings = (listing for corpus in corpora for listing in list_index(corpus, split))
    total = sum(_count(corpus.manifest, split) for corpus in corpora)
    if total >= _SAY_FROM:
        _log.warning("%s: reading the metadata of %d places of split %s.", root, total, split)
    samples = _open(listings, split, lambda: pool([corpus.manifest for corpus in corpora]))
    if isinstance(samples, Samples):
        return samples
    shards = [str(shard["name"]) for corpus in corpora for shard in corpus.shards]
    there = [name for name in SPLITS if any(shard.startswith(f"{name}/") for shard in shards)]
    raise _no_place(root, split, samples, there)


def _open_bare(root: Path, tars: list[Path], split: str) -> Samples:
    _log.warning("%s has no %s: its %d tars are indexed by their headers.", root, MANIFEST, len(tars))

    def find_statistics() -> Statistics:
        train = _open(map(list_tar, tars), "train", dict) if split != "train" else samples
        return measure(train if isinstance(train, Samples) else samples, where=root)

    opened = _open(map(list_tar, tars), split, find_statistics)
    if not isinstance(opened, Samples):
        raise _no_place(root, split, opened, SPLITS)
    samples = opened
    return samples


def _count(manifest: dict[str, object], split: str) -> int:
    counts = manifest.get("counts")
    return int(counts.get(split, {}).get("samples", 0)) if isinstance(counts, dict) else 0


def _no_place(root: Path, split: str, damage: list[Damage], there: Sequence[str]) -> CorpusError:
    why = f" ({damage[0]})" if damage else ""
    return CorpusError(
        f"{root} has no place of split {split!r} that can be read{why}: choose from {', '.join(there) or 'none'}."
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """The places of one tar."""

    path: Path
    places: Places
    names: Names
    offset_K: Rows
    size_K: Rows


def _open(
    listings: Iterable[Listing] | Iterator[Listing], split: str, find_statistics: Callable[[], Statistics]
) -> Samples | list[Damage]:
    """Returns the samples, or what is damaged where nothing is left."""
    with ThreadPoolExecutor() as workers:
        found = list(workers.map(lambda listing: _read_shard(listing, split), listings))
    damage = [flaw for _, flaws in found for flaw in flaws]
    parts = [part for part, _ in found if part is not None]
    if not parts:
        return damage
    places = join_places([part.places for part in parts])
    return Samples(
        split, places, find_groups(places, pa.chunked_array([part.names.items for part in parts])),
        tuple(part.path for part in parts),
        np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.places) for part in parts]),
        np.concatenate([part.offset_K for part in parts]),
        np.concatenate([part.size_K for part in parts]).astype(np.int32), tuple(damage), find_statistics,
    )  # fmt: skip


def _read_shard(listing: Listing, split: str) -> tuple[_Part | None, list[Damage]]:
    """Reads the metadata of a shard; what is damaged is named and left out."""
    damage = [Damage(listing.shard, "", "", listing.flaw)] if listing.flaw else []
    try:
        view = map_file(listing.path)
    except OSError as error:
        return None, [Damage(listing.shard, "", "", f"it cannot be opened ({error.strerror or error})")]
    is_whole = listing.offset_K + listing.size_K <= len(view)
    beyond = listing.names.filter(pa.array(~is_whole)).to_pylist()
    if beyond:
        cause = f"it and {len(beyond) - 1} more members lie beyond the end of the shard at byte {len(view)}"
        damage.append(Damage(listing.shard, beyond[0].partition(".")[0], beyond[0], cause))
    is_metadata = pc.ends_with(listing.names, ".json").to_numpy(zero_copy_only=False) & is_whole
    ends = np.stack([listing.offset_K, listing.offset_K + listing.size_K], axis=-1)
    records = [view[start:stop] for start, stop in ends[is_metadata].tolist()]
    read = _read_records(records, listing, is_metadata, damage)
    if read is None:
        return None, damage
    places, names = read
    where = pc.index_in(names.members, value_set=listing.names).fill_null(-1).to_numpy(zero_copy_only=False)
    for name in names.members.filter(pa.array(where < 0)).to_pylist():
        damage.append(Damage(listing.shard, name.partition(".")[0], name, "the shard does not hold it"))
    is_there = (where >= 0) & is_whole[where]
    kept = np.flatnonzero(is_there & (places.split_N == split)[places.place_K])
    places = places.keep(kept).take(np.flatnonzero(places.split_N == split))
    if not len(places):
        return None, damage
    names = Names(names.members.take(pa.array(kept)), names.items.take(pa.array(kept)))
    return _Part(listing.path, places, names, listing.offset_K[where[kept]], listing.size_K[where[kept]]), damage


def _read_records(
    records: list[memoryview], listing: Listing, is_metadata: NDArray[np.bool_], damage: list[Damage]
) -> tuple[Places, Names] | None:
    """Reads all records of a shard at once, or where that fails those that can be read."""
    if not records:
        return None
    try:
        return read_places(records)
    except CorpusError:
        raise
    except ValueError:
        pass
    good = []
    names = listing.names.filter(pa.array(is_metadata)).to_pylist()
    for record, name in zip(records, names, strict=True):
        try:
            read_places([record])
        except ValueError as error:
            damage.append(Damage(listing.shard, name.partition(".")[0], name, f"no record of a place ({error})"))
        else:
            good.append(record)
    return read_places(good) if good else None
