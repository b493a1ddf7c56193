"""Numbers as a page reads them, in base64, and the outlines of countries in that form."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.countries import read_outlines

_STEPS = 65535
"""A longitude is one of so many steps of the way round, a latitude of the way from pole to pole."""


def pack_numbers(values: NDArray[Any], kind: str) -> list[str]:
    """Returns the kind of number (u1, u2, u4, i2, f4) and its little-endian bytes in base64."""
    return [kind, base64.b64encode(np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()).decode()]


def pack_outlines() -> dict[str, Any]:
    """Returns the outlines of all countries (Natural Earth 1:50m): rings of (longitude, latitude) in 16 bits each.

    A label is a name, where it stands (longitude, latitude), and how wide its country's largest part is, in degrees.
    """
    points: list[NDArray[np.float64]] = []
    labels: list[tuple[str, float, float, float]] = []
    for country in read_outlines():
        points += [_quantise(ring) for rings in country.polygons for ring in rings]
        lon, lat = country.label_lonlat
        labels.append((country.name, round(lon, 2), round(lat, 2), round(float(np.ptp(country.largest[0][:, 0])), 2)))
    return {
        "lengths": pack_numbers(np.array([len(ring) for ring in points]), "u4"),
        "points": pack_numbers(np.concatenate(points), "u2"),
        "labels": labels,
    }


def _quantise(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns steps without repetitions; neighbours share their border's points, so they share the steps too."""
    steps = np.round((lonlat - (-180, -90)) / (360, 180) * _STEPS)
    keep = np.ones(len(steps), dtype=bool)
    keep[1:] = (np.diff(steps, axis=0) != 0).any(axis=1)
    return steps[keep]
