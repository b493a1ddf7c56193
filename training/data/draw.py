"""What a batch holds, before a byte of it is decoded: which observations, where they lie, which places are near.

All of it follows from the metadata and from `training.data.chance`, so any rank can know it of the whole batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.modality import MODALITIES
from training.data.batch import GROUNDS, LOCATION, SPOTS, VIEWS
from training.data.chance import uniform
from training.data.order import Rows
from training.data.places import Places
from training.data.utm import project
from training.sphere import EARTH_RADIUS_M, unit_vectors

_INNER = 0.63
"""Radius of the circle that fits into every cell, over that of the circle within a regular hexagon of the resolution's
mean area: measured, the least is 0.633 at resolution 5 and 0.69 at 10, near the pentagons."""
_SENTINEL2, _STREET = VIEWS.index("sentinel2"), VIEWS.index("street")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Luck:
    """From where the random choices of a batch come."""

    seed: int
    """Of the run."""
    epoch: int
    """From 0."""
    jitter: bool = True
    """Places without a photo lie anywhere in their cell; otherwise in its centre."""
    modality_dropout: float = 0.0
    """Probability with which a view is left out, 0 ... 1; the location never is, nor is the last one beside it."""
    unpaired: tuple[str, ...] = ()
    """Views of which a place shows one alone beside its location, in all epochs the same; empty = all it has."""


@dataclass(frozen=True, eq=False)
class Draw:
    """B places of one batch."""

    rows_B: Rows
    """Rows of the places."""
    chosen_MB: Rows
    """Observation of each of the five modalities, -1 where there is none."""
    present_MB: NDArray[np.bool_]
    """Views that are there, (6, B) in the order of `VIEWS`."""
    crop_B: Floats
    """Where the square of the photo lies along its longer side, 0 ... 1."""
    lonlat_B2: Floats
    """Degrees east and north: of the chosen photo, else of the place."""
    spots_BS2: NDArray[np.float32]
    """Positions in the Sentinel-2 patch, -1 ... 1."""
    focus_BR2: NDArray[np.float32]
    """Position of the cell's centre in the Sentinel-2 and in the elevation patch, -1 ... 1."""
    inside_SB: NDArray[np.bool_]
    """Whether they are there and inside."""

    def cut(self, start: int, stop: int) -> "Draw":
        """Returns places start ... stop - 1."""
        here = slice(start, stop)
        return Draw(
            self.rows_B[here], self.chosen_MB[:, here], self.present_MB[:, here], self.crop_B[here],
            self.lonlat_B2[here], self.spots_BS2[here], self.focus_BR2[here],
            self.inside_SB[:, here],
        )  # fmt: skip


def draw(places: Places, rows_B: Rows, luck: Luck | None, views: tuple[str, ...] = VIEWS) -> Draw:
    """Chooses what a batch holds.

    Args:
        luck: None, as in evaluation, takes the first observation, the middle of the photo, the centre of the cell.
        views: those that are looked at; others count as absent.
    """
    chosen_MB = _choose(places, rows_B, luck)
    lonlat_B2 = _positions(places, rows_B, chosen_MB[_STREET], luck)
    wanted_M1 = np.array([[view in views] for view in VIEWS])
    stored_MB = np.vstack([chosen_MB >= 0, np.ones((1, len(rows_B)), bool)])
    present_MB = stored_MB & wanted_M1
    if luck and luck.unpaired:
        present_MB &= _choose_one(places.cells_N[rows_B], stored_MB, luck)
    if luck and luck.modality_dropout:
        present_MB &= _survivors(places.cells_N[rows_B], present_MB, luck)
    chosen_MB = np.where(present_MB[:-1], chosen_MB, -1)
    spots_BS2, inside_SB = _spots(places, chosen_MB)
    crop_B = np.full(len(rows_B), 0.5) if luck is None else _uniform(places, rows_B, luck, "crop")
    focus_BR2 = _focus(places, rows_B, chosen_MB)
    return Draw(rows_B, chosen_MB, present_MB, crop_B, lonlat_B2, spots_BS2, focus_BR2, inside_SB)


def find_near(lonlat_B2: Floats, within_m: float) -> Rows:
    """Returns pairs of different rows nearer than a great-circle distance, both orders, ascending, shape (K, 2).

    Rows are swept by latitude, each beside those that can still be near.
    """
    if within_m <= 0 or len(lonlat_B2) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    angle = min(within_m / EARTH_RADIUS_M, np.pi)
    order = np.argsort(lonlat_B2[:, 1], kind="stable")
    lat = np.radians(lonlat_B2[order, 1])
    xyz_B3 = unit_vectors(lonlat_B2[order])
    pairs = []
    for shift in range(1, len(order)):
        first = np.flatnonzero(lat[shift:] - lat[:-shift] <= angle)
        if not len(first):
            break  # the rows are sorted: a wider step is wider everywhere
        chord = np.linalg.norm(xyz_B3[first + shift] - xyz_B3[first], axis=1)
        near = first[chord < 2 * np.sin(angle / 2)] if angle < np.pi else first
        pairs.append(np.stack([order[near], order[near + shift]], axis=-1))
    found = np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)
    both = np.concatenate([found, found[:, ::-1]])
    return both[np.lexsort((both[:, 1], both[:, 0]))]


def jitter(lonlat_N2: Floats, cells_N: NDArray[np.uint64], luck_N2: Floats) -> Floats:
    """Moves cell centres to where `luck_N2` (0 ... 1) says, uniformly in a circle that lies inside the cell.

    The circle is smaller than the hexagon (a third of its area on average), because its true outline needs H3. A key
    holds its resolution in bits 52 to 55 (H3 core library, index bit layout), and there are 2 + 120 x 7^resolution
    cells.
    """
    resolution_N = ((cells_N >> np.uint64(52)) & np.uint64(15)).astype(np.float64)
    area_N = 4 * np.pi / (2 + 120 * 7**resolution_N)  # on the unit sphere
    distance = _INNER * np.sqrt(area_N / (2 * np.sqrt(3))) * np.sqrt(luck_N2[:, 0])
    bearing = 2 * np.pi * luck_N2[:, 1]
    lon, lat = np.radians(lonlat_N2).T
    sin_lat = np.clip(np.sin(lat) * np.cos(distance) + np.cos(lat) * np.sin(distance) * np.cos(bearing), -1, 1)
    east = np.arctan2(np.sin(bearing) * np.sin(distance) * np.cos(lat), np.cos(distance) - np.sin(lat) * sin_lat)
    moved: Floats = np.degrees(np.stack([lon + east, np.arcsin(sin_lat)], axis=-1))
    moved[:, 0] = (moved[:, 0] + 180) % 360 - 180
    return moved


def _choose(places: Places, rows_B: Rows, luck: Luck | None) -> Rows:
    """Returns one observation of each modality, one of several by chance."""
    counts_MB = places.count_MN[:, rows_B]
    starts_MB = places.first_N[rows_B] + np.cumsum(counts_MB, axis=0) - counts_MB
    numbers_MB = np.zeros_like(counts_MB)
    if luck is not None:
        for number, view in enumerate(MODALITIES):
            if counts_MB[number].max(initial=0) > 1:
                numbers_MB[number] = counts_MB[number] * _uniform(places, rows_B, luck, f"choice {view}")
    return np.where(counts_MB > 0, starts_MB + numbers_MB, -1)


def _positions(places: Places, rows_B: Rows, street_B: Rows, luck: Luck | None) -> Floats:
    """Returns where each place is: its photo, or its cell."""
    lonlat_B2 = places.lonlat_N2[rows_B]
    if luck is not None and luck.jitter:
        luck_B2 = np.stack([_uniform(places, rows_B, luck, f"jitter {axis}") for axis in (0, 1)], axis=-1)
        lonlat_B2 = jitter(lonlat_B2, places.cells_N[rows_B], luck_B2)
    with_photo = np.flatnonzero(street_B >= 0)
    lonlat_B2[with_photo] = places.anchor_K2[street_B[with_photo]]
    return lonlat_B2


def _survivors(cells_B: NDArray[np.uint64], present_MB: NDArray[np.bool_], luck: Luck) -> NDArray[np.bool_]:
    """Returns the views that dropout leaves: each by itself, and at least two where there were two."""
    chance_MB = np.stack([uniform(cells_B, luck.seed, luck.epoch, f"dropout {view}") for view in VIEWS])
    chance_MB[VIEWS.index(LOCATION)] = 1.0
    chance_MB[~present_MB] = -1.0
    second_B = np.sort(chance_MB, axis=0)[-2]
    survivors: NDArray[np.bool_] = (chance_MB >= luck.modality_dropout) | (chance_MB >= second_B)
    return survivors


def _choose_one(cells_B: NDArray[np.uint64], stored_MB: NDArray[np.bool_], luck: Luck) -> NDArray[np.bool_]:
    """Returns the location and one of the unpaired views that are stored, by chance that knows no epoch."""
    chance_MB = np.stack([uniform(cells_B, luck.seed, f"unpaired {view}") for view in VIEWS])
    chance_MB[~stored_MB | np.array([[view not in luck.unpaired or view == LOCATION] for view in VIEWS])] = -1.0
    one_MB: NDArray[np.bool_] = chance_MB == chance_MB.max(axis=0)
    one_MB[VIEWS.index(LOCATION)] = True
    return one_MB


def _spots(places: Places, chosen_MB: Rows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Returns where photo and article lie in the Sentinel-2 patch, and whether inside it."""
    patch_B = chosen_MB[_SENTINEL2]
    spots_BS2 = np.zeros((len(patch_B), len(SPOTS), 2), dtype=np.float32)
    inside_SB = np.zeros((len(SPOTS), len(patch_B)), dtype=bool)
    for number, view in enumerate(SPOTS):
        spot_B = chosen_MB[VIEWS.index(view)]
        here = np.flatnonzero((patch_B >= 0) & (spot_B >= 0))
        patch, spot = patch_B[here], spot_B[here]
        xy = _locate(places, places.anchor_K2[spot], patch)
        inside_SB[number, here] = (np.abs(xy) < 1).all(axis=1)
        spots_BS2[here, number] = np.where(inside_SB[number, here, None], xy, 0)
    return spots_BS2, inside_SB


def _focus(places: Places, rows_B: Rows, chosen_MB: Rows) -> NDArray[np.float32]:
    """Returns where the cell's centre lies in each patch; the middle where there is none, or none that is known."""
    focus_BR2 = np.zeros((len(rows_B), len(GROUNDS), 2), dtype=np.float32)
    for number, view in enumerate(GROUNDS):
        patch_B = chosen_MB[VIEWS.index(view)]
        here = np.flatnonzero(patch_B >= 0)
        xy = _locate(places, places.lonlat_N2[rows_B[here]], patch_B[here])
        focus_BR2[here, number] = np.where((np.abs(xy) < 1).all(axis=1, keepdims=True), xy, 0)
    return focus_BR2


def _locate(places: Places, lonlat_Q2: Floats, patch_Q: Rows) -> Floats:
    """Returns where positions lie in patches, -1 ... 1 inside; not finite for a patch in a CRS that is not known."""
    share = (project(lonlat_Q2, places.epsg_K[patch_Q]) - places.anchor_K2[patch_Q]) * (2, -2)
    with np.errstate(invalid="ignore", divide="ignore"):
        xy: Floats = share / places.side_K2[patch_Q] - 1
    return xy


def _uniform(places: Places, rows_B: Rows, luck: Luck, purpose: str) -> Floats:
    return uniform(places.cells_N[rows_B], luck.seed, luck.epoch, purpose)
