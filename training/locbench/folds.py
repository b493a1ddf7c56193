"""Which positions are held out together, and how far they lie from those that are learnt from."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.options import OptionError
from training.sphere import EARTH_RADIUS_M, LonLat, unit_vectors

FOLDS = 5
RANDOM = "random"
_CHUNK = 20_000_000  # distances held at once


@dataclass(frozen=True, eq=False)
class Split:
    """A division of N positions into folds: each is predicted by what was learnt from the others."""

    name: str
    """`random`, or the side of the blocks that stay together, in degrees."""
    fold_N: NDArray[np.int64]
    away_m_N: NDArray[np.float64]
    """How far each position is from the nearest one of another fold, metres."""

    @property
    def distances_km(self) -> tuple[float, float]:
        """Median and minimum of these distances."""
        return float(np.median(self.away_m_N)) / 1000, float(self.away_m_N.min()) / 1000


def split(lonlat_N2: LonLat, name: str, seed: int) -> Split:
    """Divides positions into `FOLDS` parts.

    Args:
        lonlat_N2: degrees east and north.
        name: `random`, or the side in degrees of the squares of longitude and latitude whose positions stay together.
        seed: decides which position, or which square, goes into which fold.

    Raises:
        OptionError: for another name, or if there are fewer squares than folds.
    """
    rng = np.random.default_rng(seed)
    group_N = np.arange(len(lonlat_N2)) if name == RANDOM else _find_blocks(lonlat_N2, name)
    groups = int(group_N.max()) + 1
    if groups < FOLDS:
        raise OptionError(f"Split {name}: {groups} blocks do not make {FOLDS} folds: give smaller blocks.")
    fold_N = (rng.permutation(groups) % FOLDS)[group_N]
    away_N = np.empty(len(fold_N))
    for fold in range(FOLDS):
        is_test = fold_N == fold
        away_N[is_test] = find_nearest(lonlat_N2[is_test], lonlat_N2[~is_test], 1)[1][:, 0]
    return Split(name, fold_N, away_N)


def find_nearest(query_Q2: LonLat, place_N2: LonLat, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns for each query the rows of the nearest places, nearest first, and the great-circle distances in metres.

    (Q, count) each; the order is that of the haversine formula, exact to 10 cm.
    """
    query_Q3, place_N3 = (torch.from_numpy(unit_vectors(lonlat)) for lonlat in (query_Q2, place_N2))
    rows, away = [], []
    for chunk_C3 in query_Q3.split(max(1, _CHUNK // max(1, len(place_N3)))):
        row_CK = (chunk_C3 @ place_N3.T).topk(count, dim=1).indices
        chord_CK = (place_N3[row_CK] - chunk_C3[:, None]).norm(dim=2)
        chord_CK, order_CK = chord_CK.sort(dim=1, stable=True)
        rows.append(row_CK.gather(1, order_CK).numpy())
        away.append(2 * EARTH_RADIUS_M * np.arcsin(np.minimum(chord_CK.numpy() / 2, 1.0)))
    return np.concatenate(rows), np.concatenate(away)


def _find_blocks(lonlat_N2: LonLat, name: str) -> NDArray[np.int64]:
    try:
        side_deg = float(name)
    except ValueError as error:
        raise OptionError(f"Unknown split {name!r}: write random, or the side of blocks in degrees.") from error
    if not 0.001 <= side_deg <= 90:
        raise OptionError(f"Split {name}: give blocks of 0.001 to 90 degrees.")
    block_N2 = np.floor((lonlat_N2 + [180, 90]) / side_deg).astype(np.int64)
    return np.unique(block_N2, axis=0, return_inverse=True)[1].reshape(-1)
