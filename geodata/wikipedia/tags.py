"""Where articles lie: the primary tags on Earth of a wiki's geo_tags table, and which pages are disambiguations.

The tags of a big wiki are a few dozen megabytes as columns; workers share them as a parquet file sorted by page.
"""

from array import array
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from geodata.wikipedia.sql import iterate_rows
from geodata.wikipedia.stream import DumpError
from geodata.wikipedia.tally import Skip, Tally

_COLUMNS = ("gt_globe", "gt_primary", "gt_page_id", "gt_lon", "gt_lat", "gt_dim", "gt_type")
_SCHEMA = pa.schema(
    [
        ("page_id", pa.int64()), ("lon", pa.float64()), ("lat", pa.float64()), ("dim_m", pa.float64()),
        ("type", pa.string()), ("is_disambiguation", pa.bool_()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Tag:
    """Where one page lies."""

    lon: float
    """Degrees east."""
    lat: float
    """Degrees north."""
    dim_m: float | None
    """Rough size of the thing, metres; None where it is not said."""
    type: str | None
    """GeoData's word for the kind of thing (city, mountain, adm1st ...); None where it is not said."""
    is_disambiguation: bool | None
    """As page_props says; None where that table was not given."""


class Tags:
    """The tags of a wiki by page."""

    def __init__(self, table: pa.Table) -> None:
        self._pages = table["page_id"].to_numpy()
        self._table = table.combine_chunks()

    def __len__(self) -> int:
        return len(self._pages)

    def find(self, page_id: int) -> Tag | None:
        """Returns a page's tag, None where it has none."""
        number = int(np.searchsorted(self._pages, page_id))
        if number == len(self._pages) or self._pages[number] != page_id:
            return None
        names = _SCHEMA.names[1:]
        return Tag(*(self._table[name][number].as_py() for name in names))


def read_tags(path: str) -> Tags:
    """Reads what `write_tags` wrote."""
    return Tags(pq.read_table(path))


def write_tags(geo_tags: str, page_props: str, path: str) -> Tally:
    """Reads a wiki's SQL tables and writes the usable tags as parquet, sorted by page.

    Args:
        geo_tags: geo_tags.sql, packed or not.
        page_props: page_props.sql, or "" where it is not given.
        path: where to write.

    Returns:
        Kept and dropped tags.

    Raises:
        DumpError: if a file cannot be used.
    """
    tally = Tally()
    pages, kinds = array("q"), list[str | None]()
    numbers = array("d")  # lon, lat and size in turn
    seen: set[int] = set()
    for row in iterate_rows(geo_tags, "geo_tags", _COLUMNS):
        skip, page, position = _judge(row, geo_tags)
        if skip is None and page in seen:
            skip = Skip.DUPLICATE
        tally.add(skip)
        if skip is None:
            seen.add(page)
            pages.append(page)
            numbers.extend(position)
            kinds.append(row[6] or None)
    if not pages:
        raise DumpError(f"{geo_tags} holds no primary tag on Earth among {tally.seen} rows: check the file.")
    lon, lat, dim_m = np.array(numbers, dtype=np.float64).reshape(-1, 3).T
    flags = None if not page_props else pc.is_in(pa.array(pages), value_set=pa.array(_disambiguations(page_props)))
    columns = {
        "page_id": pa.array(np.array(pages)), "lon": pa.array(lon), "lat": pa.array(lat),
        "dim_m": pa.array(dim_m, mask=np.isnan(dim_m)), "type": pa.array(kinds, pa.string()),
        "is_disambiguation": pa.nulls(len(pages), pa.bool_()) if flags is None else flags,
    }  # fmt: skip
    pq.write_table(pa.table(columns, schema=_SCHEMA).sort_by("page_id"), path)
    return tally


def _judge(row: tuple[str | None, ...], name: str) -> tuple[Skip | None, int, tuple[float, float, float]]:
    """Returns why a row cannot be used, its page, and its longitude, latitude and size (NaN where it is not said)."""
    globe, primary, page, lon, lat, dim, _ = row
    nothing = (np.nan, np.nan, np.nan)
    if globe != "earth":
        return Skip.NOT_EARTH, 0, nothing
    if primary != "1":
        return Skip.NOT_PRIMARY, 0, nothing
    if lon is None or lat is None:
        return Skip.BAD_COORDINATES, 0, nothing
    try:
        size = float(dim) if dim else 0.0
        number, position = int(page or ""), (float(lon), float(lat), size if size > 0 else np.nan)
    except ValueError as error:
        raise DumpError(f"{name} has a row that is no tag ({error}) at page {page}: fetch it again.") from error
    is_on_earth = abs(position[0]) <= 180 and abs(position[1]) <= 90
    return (None, number, position) if is_on_earth else (Skip.BAD_COORDINATES, number, nothing)


def _disambiguations(path: str) -> NDArray[np.int64]:
    """Returns the pages that page_props marks."""
    rows = iterate_rows(path, "page_props", ("pp_page", "pp_propname"))
    return np.fromiter((int(page) for page, key in rows if key == "disambiguation" and page is not None), np.int64)
