"""Do errors cluster: the Geo-Bias Score of errors as they lie against the same errors dealt out anew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.geobias import Rule, scores
from training.reporting.figures import Figure, judge, summarise
from training.sphere import LonLat

RULE = Rule(radius_km=500)
"""At 20,000 places on land a neighbourhood has about 100 of them."""
SHUFFLES = 5


@dataclass(frozen=True)
class Clustered:
    """Marked scores of one set of predictions."""

    as_they_lie: float
    shuffled: tuple[float, ...]
    """With the same number of errors at places drawn by chance, for each drawing."""


def score_errors(lonlat_N2: LonLat, is_right_N: NDArray[np.bool_], seed: int) -> Clustered:
    """Returns the mean marked score of right (+1) and wrong (-1) places, and of `SHUFFLES` shuffles of them."""
    mark_N, rng = np.where(is_right_N, 1.0, -1.0), np.random.default_rng(seed)
    shuffled = [scores(lonlat_N2, rng.permutation(mark_N), RULE).marked_mean for _ in range(SHUFFLES)]
    return Clustered(scores(lonlat_N2, mark_N, RULE).marked_mean, tuple(shuffled))


def compare_clusters(several: Sequence[Clustered]) -> tuple[Figure, Figure, str]:
    """Returns the means over seeds as errors lie and shuffled, and whether the first is above."""
    lying = summarise([one.as_they_lie for one in several])
    shuffled = summarise([float(np.mean(one.shuffled)) for one in several])
    return lying, shuffled, judge(lying, shuffled)
