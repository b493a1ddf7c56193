"""The score of every place: neighbourhoods are found, put into their background, and scored many at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.geobias.background import Background, to_frames
from training.geobias.moran import (
    CONVENTIONS,
    NULLS,
    analytic_moments,
    numerator,
    permutation_moments,
    surprisal,
)
from training.location.spherical import encode_xyz
from training.sphere import EARTH_RADIUS_M, LonLat

_CHUNK = 500_000  # distances held at once


class GeoBiasError(ValueError):
    """Places or values cannot be scored: one sentence with fact, value and remedy."""


@dataclass(frozen=True)
class Rule:
    """How a neighbourhood is taken and scored."""

    radius_km: float
    """Reach of a neighbourhood, on the sphere of 6,371.0088 km; 0.05 radian of the released tables are 318.55 km."""
    neighbours: int = 100
    """Most places of a neighbourhood, its centre included."""
    k: int = 4
    """Neighbours of a member in Moran's weights."""
    density: float = 5.0
    """Background points per place; below 5 / 3 the published variance is not positive."""
    convention: str = "pdf"
    """One of `CONVENTIONS`."""
    null: str = "analytic"
    """One of `NULLS`."""

    def __post_init__(self) -> None:
        for name, known in (("convention", CONVENTIONS), ("null", NULLS)):
            if getattr(self, name) not in known:
                raise GeoBiasError(f"Unknown {name} {getattr(self, name)!r}: choose from {', '.join(known)}.")
        if not 0 < self.radius_km <= 10_000:
            raise GeoBiasError(f"radius_km is {self.radius_km}: give more than 0 and at most 10000.")
        for name in ("neighbours", "k", "density"):
            if not getattr(self, name) > 0:
                raise GeoBiasError(f"{name} is {getattr(self, name)}: give more than 0.")

    @property
    def radius(self) -> float:
        """The reach in radians."""
        return self.radius_km * 1000 / EARTH_RADIUS_M


@dataclass(frozen=True, eq=False)
class GeoBias:
    """Scores of N places, and their means weighted by the sizes of the neighbourhoods."""

    unmarked: NDArray[np.float64]
    """(N,): how far the neighbours are from lying evenly; NaN where undefined."""
    marked: NDArray[np.float64]
    """(N,): how far their values are from being mixed; NaN where undefined, as where all of them are 0."""
    neighbours: NDArray[np.int64]
    """(N,): places of each neighbourhood, the centre included: the weight of its scores."""

    @property
    def unmarked_mean(self) -> float:
        """Mean of the unmarked scores that are defined, weighted by `neighbours`; NaN where none is."""
        return _weighted_mean(self.unmarked, self.neighbours)

    @property
    def marked_mean(self) -> float:
        """Mean of the marked scores that are defined, weighted by `neighbours`; NaN where none is."""
        return _weighted_mean(self.marked, self.neighbours)

    @property
    def undefined(self) -> dict[str, int]:
        """How many scores of each kind are NaN."""
        return {"unmarked": int(np.isnan(self.unmarked).sum()), "marked": int(np.isnan(self.marked).sum())}

    def columns(self) -> dict[str, NDArray[Any]]:
        """Returns columns in the order of the places: `frame.assign(**table.columns())`."""
        return {"unmarked": self.unmarked, "marked": self.marked, "neighbours": self.neighbours}


def scores(places: Any, values: Any, rule: Rule) -> GeoBias:
    """Scores every place.

    Args:
        places: (N, 2) degrees east and north, WGS 84; or a GeoDataFrame of points (anything with `.geometry`), which is
            taken to EPSG:4326 if it says that it is in another CRS.
        values: (N,) numbers, or the name of a column of the frame. 0 is the value of the background: hits are +1 and
            misses -1; with 1 and 0, as in the released tables, a miss counts as background.
        rule: how neighbourhoods are taken and scored.

    Raises:
        GeoBiasError: unless they are that.
    """
    lonlat_N2, value_N = _read(places, values)
    xyz_N3 = encode_xyz(torch.from_numpy(lonlat_N2))
    score_N2, size_N = np.full((len(value_N), 2), np.nan), np.zeros(len(value_N), np.int64)
    groups: dict[int, list[tuple[int, NDArray[np.int64]]]] = {}
    for centre, members in find_neighbourhoods(xyz_N3, rule.radius, rule.neighbours):
        size_N[centre] = len(members)
        groups.setdefault(len(members), []).append((centre, members))
    for size, group in groups.items():
        background = Background.around(size, rule.radius, density=rule.density, k=rule.k)
        step = max(1, _CHUNK // ((size + len(background)) * (size + rule.k)))
        for start in range(0, len(group), step):
            chunk = group[start : start + step]
            rows = np.array([centre for centre, _ in chunk])
            member_CP = torch.from_numpy(np.stack([members for _, members in chunk]))
            local_CP3 = to_frames(xyz_N3[member_CP], xyz_N3[rows])
            value_CP = torch.from_numpy(value_N)[member_CP]
            score_N2[rows] = score_neighbourhoods(local_CP3, value_CP, background, rule).numpy()
    return GeoBias(score_N2[:, 0].copy(), score_N2[:, 1].copy(), size_N)


def score_neighbourhoods(local_CP3: Tensor, value_CP: Tensor, background: Background, rule: Rule) -> Tensor:
    """Returns unmarked and marked scores of C neighbourhoods of P places in the frames of their centres: (C, 2)."""
    neighbour_CNk = background.join(local_CP3)
    found = []
    for mark_CP in (torch.ones_like(value_CP), value_CP):
        value_CN = torch.nn.functional.pad(mark_CP, (0, len(background)))
        if rule.null == "analytic":
            mean_C, var_C = analytic_moments(mark_CP, value_CN.shape[1])
        else:
            mean_C, var_C = permutation_moments(value_CN, neighbour_CNk)
        found.append(surprisal(numerator(value_CN, neighbour_CNk), mean_C, var_C, rule.convention))
    return torch.stack(found, 1)


def find_neighbourhoods(xyz_N3: Tensor, radius: float, most: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yields for every place its row and the rows of the `most` nearest places within the radius.

    Places are put into cubes as wide as the reach, so only those of 27 cubes are looked at.

    Args:
        xyz_N3: unit vectors.
        radius: reach, radians.
        most: most members, the place itself included; of several in one spot those of lower rows.
    """
    reach = 2 * np.sin(radius / 2)
    cube_N3 = np.floor(xyz_N3.numpy() / reach).astype(np.int64)
    wide = int(2 / reach) + 5
    key_N = ((cube_N3 + wide) * [4 * wide * wide, 2 * wide, 1]).sum(1)
    order_N = np.argsort(key_N, kind="stable")
    sorted_N3, key_N = xyz_N3.numpy()[order_N], key_N[order_N]
    columns_9 = [x * 4 * wide * wide + y * 2 * wide for x in (-1, 0, 1) for y in (-1, 0, 1)]
    low_N9 = np.stack([np.searchsorted(key_N, key_N + column - 1, "left") for column in columns_9], 1)
    high_N9 = np.stack([np.searchsorted(key_N, key_N + column + 1, "right") for column in columns_9], 1)
    count_N = (high_N9 - low_N9).sum(1)
    chunk_N = np.cumsum(count_N) // _CHUNK
    for rows in np.split(np.arange(len(order_N)), np.nonzero(np.diff(chunk_N))[0] + 1):
        count_R9 = (high_N9[rows] - low_N9[rows]).ravel()
        starts = np.cumsum(count_R9) - count_R9
        other = np.arange(count_R9.sum()) + np.repeat(low_N9[rows].ravel() - starts, count_R9)
        one = np.repeat(rows, count_N[rows])
        square = ((sorted_N3[one] - sorted_N3[other]) ** 2).sum(1)
        square[one == other] = -1.0
        is_near = square <= reach**2
        other, square, size_R = order_N[other[is_near]], square[is_near], np.bincount(one[is_near] - rows[0])
        for row, end, size in zip(rows, np.cumsum(size_R), size_R, strict=True):
            members = other[end - size : end]
            if size > most:
                members = members[np.argsort(square[end - size : end], kind="stable")[:most]]
            yield int(order_N[row]), members


def _read(places: Any, values: Any) -> tuple[LonLat, NDArray[np.float64]]:
    if isinstance(values, str):
        try:
            values = places[values]
        except (KeyError, IndexError, TypeError) as error:
            raise GeoBiasError(f"The places have no column {values!r}: name one, or give the values.") from error
    if hasattr(places, "geometry"):
        crs = getattr(places, "crs", None)
        geometry = places.geometry if crs is None else places.to_crs(4326).geometry
        places = np.stack([np.asarray(geometry.x), np.asarray(geometry.y)], 1)
    lonlat_N2, value_N = np.array(places, np.float64), np.array(values, np.float64)
    if lonlat_N2.ndim != 2 or lonlat_N2.shape[1:] != (2,) or value_N.shape != lonlat_N2.shape[:1]:
        raise GeoBiasError(
            f"Places have the shape {lonlat_N2.shape} and values {value_N.shape}: give pairs (lon, lat) and a number "
            "for each."
        )
    if not (np.abs(lonlat_N2) <= [360, 90]).all():
        raise GeoBiasError("A place lies outside of 360 degrees east and 90 north: give pairs (lon, lat) in degrees.")
    if not np.isfinite(value_N).all():
        raise GeoBiasError(f"{(~np.isfinite(value_N)).sum()} values are not finite: leave these places out.")
    return lonlat_N2, value_N


def _weighted_mean(score_N: NDArray[np.float64], weight_N: NDArray[np.int64]) -> float:
    is_N = ~np.isnan(score_N)
    return float(np.average(score_N[is_N], weights=weight_N[is_N])) if is_N.any() else float("nan")
