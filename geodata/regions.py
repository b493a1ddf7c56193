"""Named parts of the Earth: countries and continents of Natural Earth, boxes, and the user's own polygons.

Geometries are degrees (lon, lat), EPSG:4326, cut at the antimeridian: every longitude lies in -180 ... 180.
"""

import difflib
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from schemas.countries import TABLE

if TYPE_CHECKING:
    import geopandas

EUROPE_BOX = (-32.0, 34.0, 60.0, 82.0)
"""Europe here ends at the 60th meridian (the Urals, about) and leaves out the overseas parts of its countries.
That is a choice; what of Russia lies beyond is Asia."""

ALIASES = {
    "usa": "US", "uk": "GB", "great britain": "GB", "holland": "NL", "netherlands": "NL", "czech republic": "CZ",
    "cote d ivoire": "CI", "burma": "MM", "south korea": "KR", "north korea": "KP", "turkiye": "TR", "swaziland": "SZ",
    "cape verde": "CV", "drc": "CD", "congo kinshasa": "CD", "congo brazzaville": "CG", "macedonia": "MK",
    "east timor": "TL", "palestine": "PS", "uae": "AE", "russian federation": "RU",
}  # fmt: skip
"""Further names of countries."""


class RegionError(ValueError):
    """The region cannot be used: one sentence with fact, value, remedy."""


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the Earth."""

    name: str
    """As the user gave it."""
    geometry: shapely.Geometry
    """Polygon or MultiPolygon, degrees (lon, lat)."""
    land: shapely.Geometry = field(repr=False)
    """The part of it that is land."""

    def contains(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """True for points (degrees) inside or on the edge, shape (N,)."""
        shapely.prepare(self.geometry)
        return np.asarray(shapely.intersects_xy(self.geometry, lon, lat))

    def contains_land(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """True for points (degrees) on the region's land, shape (N,)."""
        shapely.prepare(self.land)
        return np.asarray(shapely.intersects_xy(self.land, lon, lat))

    @cached_property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """West, south, east, north of the land: one box, or two where it lies on both sides of the antimeridian."""
        bounds = np.array([part.bounds for part in _polygons(self.land)])
        bounds = bounds[np.argsort(bounds[:, 0])]
        reach = np.maximum.accumulate(bounds[:, 2])
        gaps = bounds[1:, 0] - reach[:-1]
        behind = 360 - (reach[-1] - bounds[0, 0])
        groups = [bounds]
        if len(gaps) and gaps.max() > behind:  # narrower the other way round
            cut = int(np.argmax(gaps)) + 1
            groups = [bounds[:cut], bounds[cut:]]
        return [(*group[:, :2].min(axis=0).tolist(), *group[:, 2:].max(axis=0).tolist()) for group in groups]


def find_region(text: str) -> Region:
    """Returns the region that a name, `west,south,east,north`, or a file stands for.

    Args:
        text: `world`, a continent, a country by ISO 3166 code or English name; degrees, west > east crosses the
            antimeridian; or a GeoJSON, GeoParquet or GeoPackage file of polygons.

    Raises:
        RegionError: with one sentence for the user.
    """
    if re.fullmatch(r"[-+.\deE ]+(,[-+.\deE ]+)*", text) and "," in text:
        return _clip_to_land(text, _parse_box(text))
    if Path(text).suffix.lower() in (".geojson", ".json", ".parquet", ".geoparquet", ".gpkg"):
        return _clip_to_land(text, _read_polygons(text))
    return _find_named(text)


def find_country(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> list[str | None]:
    """Returns the ISO 3166 alpha-2 code of the country that holds each point (degrees); None at sea."""
    codes = [code for _, code, _ in list_countries()]
    found: list[str | None] = [None] * len(lon)
    points, polygons = _country_tree().query(shapely.points(lon, lat), predicate="intersects")
    for point, polygon in zip(points.tolist(), polygons.tolist(), strict=True):
        found[point] = found[point] or codes[polygon]
    return found


def list_countries() -> list[tuple[str, str | None, shapely.Geometry]]:
    """Returns the short name, the ISO 3166 alpha-2 code (None where there is none) and the outline of each country."""
    countries = _countries()
    codes = [code if known else None for code, known in zip(countries.iso_a2, countries.iso_a2.notna(), strict=True)]
    return list(zip(countries.short_name.tolist(), codes, countries.geometry.to_numpy().tolist(), strict=True))


@cache
def _countries() -> "geopandas.GeoDataFrame":
    import geopandas  # loads pandas: only for those who ask for a place

    return geopandas.read_parquet(TABLE)


@cache
def _country_tree() -> shapely.STRtree:
    return shapely.STRtree(_countries().geometry.to_numpy())


@cache
def _all_land() -> shapely.Geometry:
    return shapely.union_all(_countries().geometry.to_numpy())


def _find_named(text: str) -> Region:
    names = _names()
    found = names.get(_fold(text))
    if found is None:
        close = difflib.get_close_matches(_fold(text), names, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise RegionError(
            f"Unknown region {text!r}: give world, a continent, a country (ISO code or English name), "
            f"west,south,east,north, or a GeoJSON, GeoParquet or GeoPackage file.{hint}"
        )
    countries = _countries()
    if found == "world":
        return Region(text, shapely.box(-180, -90, 180, 90), _all_land())
    if found == "Europe":
        land = shapely.union_all(countries.geometry[countries.continent == "Europe"].to_numpy())
        land = _only_polygons(land.intersection(shapely.box(*EUROPE_BOX)))
    elif found == "Asia":
        russia = countries.geometry[countries.iso_a2 == "RU"].iloc[0]
        beyond = russia.difference(shapely.box(*EUROPE_BOX))
        land = shapely.union_all([*countries.geometry[countries.continent == "Asia"], beyond])
    else:
        column = "continent" if found in set(countries.continent) else "name"
        land = shapely.union_all(countries.geometry[countries[column] == found].to_numpy())
    return Region(text, land, land)


@cache
def _names() -> dict[str, str]:
    """Every folded word that stands for a region, and the continent or country it stands for."""
    countries = _countries()
    names = {_fold(continent): continent for continent in countries.continent.unique()} | {"world": "world"}
    for column in ("name", "short_name", "iso_a3", "iso_a2"):
        named = countries[countries[column].notna()]
        names |= {
            _fold(word): name
            for word, name in zip(named[column], named["name"], strict=True)
            if _fold(word) not in names
        }
    return names | {alias: names[_fold(code)] for alias, code in ALIASES.items()}


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return " ".join(re.sub(r"[^a-z0-9]+", " ", plain.removeprefix("the ")).split())


def _parse_box(text: str) -> shapely.Geometry:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RegionError(f"The region {text!r} is no box: give four numbers, west,south,east,north.") from error
    if not (abs(west) <= 180 and abs(east) <= 180 and abs(south) <= 90 and abs(north) <= 90):
        swapped = abs(south) <= 180 and abs(north) <= 180 and abs(west) <= 90 and abs(east) <= 90
        hint = "; they look swapped" if swapped else ""
        raise RegionError(
            f"The region {text!r} leaves the Earth: longitudes lie in -180 ... 180, latitudes in -90 ... 90, "
            f"in the order west,south,east,north{hint}."
        )
    if south >= north or west == east:
        raise RegionError(f"The region {text!r} is empty: south must be less than north, and west differ from east.")
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _read_polygons(path: str) -> shapely.Geometry:
    import geopandas
    from pyogrio.errors import DataSourceError

    try:
        is_parquet = Path(path).suffix.lower() in (".parquet", ".geoparquet")
        table = geopandas.read_parquet(path) if is_parquet else geopandas.read_file(path)
    except (OSError, ValueError, DataSourceError) as error:
        reason = "there is no such file" if not Path(path).exists() else str(error).splitlines()[0]
        raise RegionError(
            f"The region file {path} cannot be read ({reason}): give GeoJSON, GeoParquet or GeoPackage."
        ) from error
    if not isinstance(table, geopandas.GeoDataFrame) or table.geometry.is_empty.all():
        raise RegionError(f"The region file {path} holds no geometry: give one with polygons.")
    united = _only_polygons(shapely.union_all(shapely.make_valid(table.geometry.to_numpy())))  # invalid ones raise
    if united.is_empty or united.area == 0:
        raise RegionError(f"The region file {path} holds no polygon with an area: give one with polygons.")
    if table.crs is not None and not table.crs.equals(4326, ignore_axis_order=True):
        united = _to_degrees(path, united, table.crs)
    west, south, east, north = united.bounds
    if south < -90 or north > 90 or west < -360 or east > 360:
        swapped = abs(west) <= 90 and abs(east) <= 90 and abs(south) <= 360 and abs(north) <= 360
        hint = "latitude and longitude look swapped" if swapped else "give degrees, or a file that names its CRS"
        raise RegionError(
            f"The region file {path} leaves the Earth with longitudes from {west} to {east} "
            f"and latitudes from {south} to {north}: {hint}."
        )
    return _wrap(united)


def _to_degrees(path: str, geometry: shapely.Geometry, crs: CRS) -> shapely.Geometry:
    """Reprojects to EPSG:4326; across the antimeridian a ring stays whole and its longitudes run on beyond 180."""
    # steps so short that a jump of more than 180 degrees can only be the antimeridian
    step = np.ptp(np.reshape(geometry.bounds, (2, 2)), axis=0).max() / 200
    transformer = Transformer.from_crs(crs, 4326, always_xy=True)
    polygons = []
    for polygon in _polygons(shapely.segmentize(geometry, step)):
        lonlat = np.column_stack(transformer.transform(*shapely.get_coordinates(polygon).T))
        lonlat[:, 0] = np.unwrap(lonlat[:, 0], period=360)  # shell first, so the holes come to its side
        turn = lonlat[len(polygon.exterior.coords) - 1, 0] - lonlat[0, 0]  # 0, or 360 round a pole
        if not np.isfinite(lonlat).all() or abs(turn) > 180:
            raise RegionError(
                f"The region file {path} has a polygon that encloses a pole or leaves the area of its CRS "
                f"({crs.name}): give it in EPSG:4326, cut at the antimeridian."
            )
        polygons.append(shapely.make_valid(shapely.set_coordinates(polygon, lonlat)))
    return _only_polygons(shapely.union_all(polygons))


def _wrap(geometry: shapely.Geometry) -> shapely.Geometry:
    """Brings what lies beyond 180 degrees back to the other side."""
    pieces = []
    for turn in (-360, 0, 360):
        moved = shapely.transform(geometry, lambda lonlat, turn=turn: lonlat + [turn, 0])
        pieces.append(moved.intersection(shapely.box(-180, -90, 180, 90)))
    return _only_polygons(shapely.union_all(pieces))


def _clip_to_land(name: str, geometry: shapely.Geometry) -> Region:
    land = _only_polygons(geometry.intersection(_all_land()))
    if land.is_empty:
        raise RegionError(f"The region {name!r} holds no land: choose one that does (coordinates are longitude first).")
    return Region(name, geometry, land)


def _polygons(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    return [part for part in getattr(geometry, "geoms", [geometry]) if part.geom_type == "Polygon"]


def _only_polygons(geometry: shapely.Geometry) -> shapely.Geometry:
    parts = [part for piece in getattr(geometry, "geoms", [geometry]) for part in _polygons(piece)]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
