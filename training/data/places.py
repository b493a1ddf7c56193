"""What the metadata members say of many places, as columns: a million places need 0.3 GB and no object of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from schemas.corpus import CorpusError
from schemas.modality import MODALITIES, member_name
from schemas.sample import SCHEMA_VERSION
from training.data.batch import SPOTS
from training.data.order import Rows, join_groups

_GRID = pa.struct(
    [("crs", pa.string()), *((name, pa.float64()) for name in ("left", "top", "gsd_m", "height", "width"))]
)
_OBSERVATION = pa.struct(
    [("modality", pa.string()), ("member", pa.string()), ("item_id", pa.string()), ("lon", pa.float64()),
     ("lat", pa.float64()), ("grid", _GRID)]
)  # fmt: skip
_RECORD = pa.schema(
    [("schema_version", pa.int64()), ("key", pa.string()), ("split", pa.string()), ("lon", pa.float64()),
     ("lat", pa.float64()), ("observations", pa.list_(_OBSERVATION))]
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Places:
    """N places with their K observations."""

    cells_N: NDArray[np.uint64]
    """H3 cells."""
    split_N: NDArray[np.str_]
    """train, val or test."""
    lonlat_N2: NDArray[np.float64]
    """Cell centres, degrees east and north."""
    place_K: Rows
    """Row of the place of each observation, ascending; then in the order of `MODALITIES`, then of the members."""
    view_K: NDArray[np.int8]
    """Number of its modality in `MODALITIES`."""
    anchor_K2: NDArray[np.float64]
    """Of photos and articles: degrees east and north; of rasters: left and top of the grid, metres in its CRS."""
    side_K2: NDArray[np.float32]
    """Width and height of a raster's grid, metres; 0 for others."""
    epsg_K: NDArray[np.int32]
    """CRS of a raster's grid; 0 for others."""

    def __len__(self) -> int:
        return len(self.cells_N)

    @cached_property
    def first_N(self) -> Rows:
        """First observation of each place, and K: shape (N + 1,)."""
        return np.searchsorted(self.place_K, np.arange(len(self) + 1))

    @cached_property
    def count_MN(self) -> NDArray[np.int32]:
        """How many observations there are of each modality, shape (5, N)."""
        counts = np.zeros((len(MODALITIES), len(self)), dtype=np.int32)
        np.add.at(counts, (self.view_K, self.place_K), 1)
        return counts

    def name_of(self, observation: int) -> tuple[str, str]:
        """Returns the key of an observation's place and the name that its member has."""
        row, number = int(self.place_K[observation]), int(self.view_K[observation])
        alike = int(self.count_MN[number, row])
        before = int((self.view_K[self.first_N[row] : observation] == number).sum())
        key = f"{self.cells_N[row]:x}"
        return key, member_name(key, list(MODALITIES)[number], before, alike)

    def take(self, rows: Rows) -> "Places":
        """Returns some places, ascending, with their observations."""
        number_N = np.full(len(self), -1)
        number_N[rows] = np.arange(len(rows))
        kept = np.flatnonzero(number_N[self.place_K] >= 0)
        few = Places(self.cells_N[rows], self.split_N[rows], self.lonlat_N2[rows], *self._columns(kept))
        return replace(few, place_K=number_N[few.place_K])

    def keep(self, kept: Rows) -> "Places":
        """Returns all places with some of their observations, ascending."""
        return Places(self.cells_N, self.split_N, self.lonlat_N2, *self._columns(kept))

    def _columns(self, kept: Rows) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name)[kept] for field in fields(self) if field.name.endswith(("_K", "_K2")))


@dataclass(frozen=True, eq=False)
class Names:
    """Words of observations, needed only while places are being opened."""

    members: pa.StringArray
    """Names of the members, K strings."""
    items: pa.StringArray
    """Modality and item id, K strings; null where the source names none."""


def find_groups(places: Places, items: pa.ChunkedArray) -> Rows:
    """Returns equal numbers for places that may not meet in a batch, -1 for those that may meet any; shape (N,).

    These share the cell, an article or a photo by its identifier, or another place that does.

    Args:
        items: `Names.items` of all K observations.
    """
    spots = np.flatnonzero(np.isin(places.view_K, [list(MODALITIES).index(view) for view in SPOTS]))
    encoded = items.take(pa.array(spots)).combine_chunks().dictionary_encode()
    known = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
    item_K = encoded.indices.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    cell_N = np.unique(places.cells_N, return_inverse=True)[1] + len(encoded.dictionary)
    rows = np.concatenate([places.place_K[spots[known]], np.arange(len(places))])
    return join_groups(rows, np.concatenate([item_K, cell_N]), len(places))


def read_places(records: Sequence[bytes | memoryview]) -> tuple[Places, Names]:
    """Reads metadata members, `{key}.json`, one or more.

    Raises:
        CorpusError: if one is of a newer schema.
        ValueError: if one is no such record.
    """
    lines = b"\n".join(records)
    table = pj.read_json(
        pa.BufferReader(lines),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),  # a block may not cut a record
        parse_options=pj.ParseOptions(explicit_schema=_RECORD, unexpected_field_behavior="ignore"),
    ).combine_chunks()
    if len(table) != len(records) or any(table[name].null_count for name in ("key", "split", "lon", "lat")):
        raise ValueError("it lacks key, split or position")
    newest = pc.max(table["schema_version"]).as_py()
    if newest is None or newest > SCHEMA_VERSION:
        raise CorpusError(
            f"A record has schema version {newest}, this reader knows up to {SCHEMA_VERSION}: install a newer "
            "sameplace."
        )
    lists = table["observations"].combine_chunks()
    place_K = np.repeat(np.arange(len(table)), lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
    return _put_together(table, place_K, lists.flatten())


def join_places(parts: Sequence[Places]) -> Places:
    """Returns places one after the other."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Places)}
    lengths = [len(part.place_K) for part in parts]
    return Places(**columns | {"place_K": columns["place_K"] + np.repeat(starts[:-1], lengths)})


def _put_together(table: pa.Table, place_K: Rows, seen: pa.StructArray) -> tuple[Places, Names]:
    names = list(MODALITIES)
    view_K = _look_up(seen.field("modality"), {name: number for number, name in enumerate(names)}, -1).astype(np.int8)
    order = np.lexsort((np.arange(len(view_K)), view_K, place_K))
    order = order[view_K[order] >= 0]  # a modality that a later version has is not ours
    place_K, view_K, seen = place_K[order], view_K[order], seen.take(pa.array(order))
    grid = seen.field("grid")
    is_raster = np.array([MODALITIES[name].is_raster for name in names])[view_K]
    lonlat_K2 = np.stack([_floats(seen.field(name)) for name in ("lon", "lat")], axis=-1)
    corner_K2 = np.stack([_floats(grid.field(name)) for name in ("left", "top")], axis=-1)
    side_K2 = np.stack([_floats(grid.field(name)) for name in ("width", "height")], axis=-1)
    side_K2 = np.nan_to_num(side_K2 * _floats(grid.field("gsd_m"))[:, None])
    codes = {crs: int(crs.removeprefix("EPSG:")) for crs in pc.unique(grid.field("crs")).to_pylist() if _is_epsg(crs)}
    items = pc.binary_join_element_wise(seen.field("modality"), seen.field("item_id"), " ")
    places = Places(
        cells_N=np.array([int(key, 16) for key in table["key"].to_pylist()], dtype=np.uint64),
        split_N=np.array(table["split"].to_pylist(), dtype="U5"),
        lonlat_N2=np.stack([_floats(table[name].combine_chunks()) for name in ("lon", "lat")], axis=-1),
        place_K=place_K,
        view_K=view_K,
        anchor_K2=np.where(is_raster[:, None], corner_K2, lonlat_K2),
        side_K2=np.where(is_raster[:, None], side_K2, 0).astype(np.float32),
        epsg_K=_look_up(grid.field("crs"), codes, 0).astype(np.int32),
    )
    return places, Names(seen.field("member"), items)


def _look_up(words: pa.Array, numbers: dict[str, int], other: int) -> NDArray[np.int64]:
    """Returns the number of each word, `other` for words without one."""
    encoded = words.dictionary_encode()
    table = np.array([*(numbers.get(word, other) for word in encoded.dictionary.to_pylist()), other])
    found: NDArray[np.int64] = table[encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
    return found


def _floats(column: pa.Array) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
    return values


def _is_epsg(crs: str | None) -> bool:
    return crs is not None and crs.startswith("EPSG:") and crs[5:].isdigit()
