"""Geolocation: where on the Earth a view lies, found as the most similar point of a gallery of points.

The gallery is of points chosen without regard to the queries' own positions: the centres of cells, a lattice, a file.
The same weights gain threefold at 1 km when the queries' own coordinates are in the gallery (GeoCLIP,
arXiv 2309.16020), so every result carries how far the queries lie from the nearest point of the gallery: it is the
best that can be reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.batch import LOCATION, VIEWS
from training.evaluation.embedded import Embedded
from training.sphere import distance_m

RADII_M = (100.0, 1e3, 25e3, 200e3, 750e3, 2500e3)
"""Distances at which accuracy is counted: a street, a city, a region, a country, a continent (Vo et al., ICCV 2017),
and 100 m (UniGeoCLIP)."""
ENSEMBLES: tuple[tuple[str, ...], ...] = (
    ("aerial",), ("dem",), ("text",), ("sentinel2",), (LOCATION,), ("aerial", LOCATION), ("aerial", "text"),
    ("aerial", "dem", "text"), ("aerial", "dem", "text", LOCATION),
    ("sentinel2", "aerial", "dem", "text"), ("sentinel2", "aerial", "dem", "text", LOCATION),
)  # fmt: skip
"""Views of the gallery's places that are taken together; aerial+dem+text+location is that of UniGeoCLIP's table 1."""
_CHUNK, _MOST = 256, 2**22
"""Queries that are measured at once, and how many distances to points of the gallery, at most."""


@dataclass(frozen=True, eq=False)
class Points:
    """A gallery of embedded points."""

    name: str
    """What the points are."""
    z_GD: NDArray[np.float32]
    """(G, D) unit vectors."""
    lonlat_G2: NDArray[np.float64]
    """(G, 2): degrees east and north, WGS 84."""


@dataclass(frozen=True, eq=False)
class Geolocation:
    """How far from the truth the best point of the gallery lies."""

    query: str
    gallery: str
    queries: int
    gallery_size: int
    accuracy: tuple[float, ...]
    """Share of queries whose best point lies within each of `RADII_M`."""
    chance: tuple[float, ...]
    """Share of the gallery within each of `RADII_M` of a query, the mean over queries: a blind guess."""
    reachable: tuple[float, ...]
    """Share of queries with any point of the gallery within each of `RADII_M`: the best that can be reached."""
    median_km: float
    """Median distance from the query to its best point."""
    nearest_median_m: float
    """Median distance from the query to the nearest point of the gallery."""
    nearest_least_m: float
    """The smallest: 0 where a query's own position is in the gallery."""
    error_m: NDArray[np.float64] = field(repr=False)
    """(Q,): distance from each query to its best point, metres."""


def geolocate(query: str, z_QD: NDArray[np.float32], lonlat_Q2: NDArray[np.float64], points: Points) -> Geolocation:
    """Measures where queries are placed.

    Args:
        query: name of their view.
        z_QD: (Q, D) unit vectors, Q at least 1.
        lonlat_Q2: (Q, 2), where they truly lie, degrees east and north, WGS 84.
    """
    error, nearest, within = [], [], []
    rows = max(1, min(_CHUNK, _MOST // max(1, len(points.z_GD))))
    for start in range(0, len(z_QD), rows):
        stop = start + rows
        best_Q = (z_QD[start:stop] @ points.z_GD.T).argmax(1)
        error.append(distance_m(lonlat_Q2[start:stop], points.lonlat_G2[best_Q]))
        away_QG = distance_m(lonlat_Q2[start:stop, None], points.lonlat_G2)
        nearest.append(away_QG.min(1))
        within.append(np.stack([(away_QG <= radius).mean(1) for radius in RADII_M]))
    error_Q, nearest_Q = np.concatenate(error), np.concatenate(nearest)
    return Geolocation(
        query, points.name, len(z_QD), len(points.z_GD), _shares(error_Q),
        tuple(np.concatenate(within, axis=1).mean(1).tolist()), _shares(nearest_Q),
        float(np.median(error_Q)) / 1000, float(np.median(nearest_Q)), float(nearest_Q.min()), error_Q,
    )  # fmt: skip


def geolocate_views(places: Embedded, points: Points) -> list[Geolocation]:
    """Measures every view but the location itself. A photo lies where it was taken, all else at the cell's centre."""
    found = []
    for view in VIEWS:
        rows = places.rows(view)
        if view != LOCATION and len(rows):
            found.append(geolocate(view, places.z(view)[rows], places.query_lonlat(view)[rows], points))
    return found


def ensemble(places: Embedded, views: Sequence[str], rows_G: NDArray[np.intp], *, renormalise: bool) -> Points:
    """Returns places as a gallery, several views of each taken together.

    Args:
        views: which, at least one; the places must have them all.
        renormalise: True: the sum of the unit vectors, made a unit vector; False: their mean, so that a score is the
            mean of the similarities. Both are readings of UniGeoCLIP's table 1, which does not say.
    """
    summed_GD = np.sum([places.z(view)[rows_G] for view in views], axis=0)
    scale = np.linalg.norm(summed_GD, axis=1, keepdims=True) if renormalise else float(len(views))
    z_GD = summed_GD / np.maximum(scale, 1e-12)
    return Points("+".join(views), z_GD.astype(np.float32), places.lonlat_N2[rows_G])


def geolocate_ensembles(places: Embedded, *, renormalise: bool, query: str = "street") -> list[Geolocation]:
    """Measures a photo against places of which several views are taken together (UniGeoCLIP, table 1).

    Queries and gallery are the places that have every view of every row, so that rows compare. An ensemble with a view
    that no place of the split has is left out.

    Returns:
        One row for each of `ENSEMBLES`; none where fewer than two places have all views.
    """
    ensembles = [views for views in ENSEMBLES if all(len(places.rows(view)) for view in views)]
    needed = {query, *(view for views in ensembles for view in views)}
    rows = np.flatnonzero(places.present_MN[[VIEWS.index(view) for view in sorted(needed)]].all(0))
    if len(rows) < 2:
        return []
    z_QD, lonlat_Q2 = places.z(query)[rows], places.query_lonlat(query)[rows]
    targets = (ensemble(places, views, rows, renormalise=renormalise) for views in ensembles)
    return [geolocate(query, z_QD, lonlat_Q2, target) for target in targets]


def to_json(row: Geolocation) -> dict[str, object]:
    """Returns one result as plain values, without the distance of each query."""
    keep = (
        "query", "gallery", "queries", "gallery_size", "median_km", "nearest_median_m", "nearest_least_m",
    )  # fmt: skip
    shares = {
        name: {f"{radius / 1000:g} km": share for radius, share in zip(RADII_M, getattr(row, name), strict=True)}
        for name in ("accuracy", "chance", "reachable")
    }
    return {name: getattr(row, name) for name in keep} | shares


def _shares(away_Q: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float((away_Q <= radius).mean()) for radius in RADII_M)
