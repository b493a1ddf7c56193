"""Retrieval between views: how often, and how high, one view of a place finds the other among other places' views.

For an ordered pair of views every place of a gallery that has both is searched once, and the gallery holds the other
view of each place once (ids are distinct). The only right answer is the same place: a neighbour 140 m away, whose
Sentinel-2 patch overlaps by nine tenths, counts as wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from schemas.modality import SENTINEL2
from training.data.batch import LOCATION, SPOTS, VIEWS
from training.evaluation.embedded import Embedded
from training.evaluation.galleries import Gallery, GalleryRule, draw

PAIRS = tuple(permutations(VIEWS, 2))
"""The 30 ordered pairs (query, gallery) of six views."""
FIVE = ("aerial", "street", "dem", "text", LOCATION)
"""The views of UniGeoCLIP (arXiv 2604.11668): 20 ordered pairs, 12 without location and 8 with it."""
TIE = 1e-6
"""Similarities nearer than this are equal: one text in two batches differs by float32 rounding alone."""
_CHUNK = 1024

Ranks = NDArray[np.float64]
Sides = Callable[[str, str], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""For (query, gallery) the unit vectors of both, each (N, D)."""


@dataclass(frozen=True)
class Pair:
    """How one view finds another, over all galleries."""

    query: str
    gallery: str
    galleries: int
    """How many were averaged over."""
    gallery_size: float
    """Places in a gallery, the mean."""
    radius_km: float | None
    """Distance of a gallery's farthest place from its first, the median; None where not chosen by distance."""
    queries: int
    """Distinct places that searched."""
    recall_1: float
    recall_5: float
    recall_10: float
    """Share of searches whose right answer has at most this rank."""
    low_1: float
    high_1: float
    """95 % interval of recall_1, Wilson, as if each distinct query had searched once."""
    median_rank: float
    mean_reciprocal_rank: float
    chance_1: float
    chance_5: float
    chance_10: float
    """Recall of a blind guess."""

    @property
    def has_location(self) -> bool:
        """True where one of the two is the location."""
        return LOCATION in (self.query, self.gallery)


@dataclass(frozen=True)
class Mean:
    """Several pairs, each weighing the same."""

    pairs: int
    recall_1: float
    recall_10: float
    chance_1: float
    times_chance: float
    """Mean recall@1 over mean chance."""
    median_rank: float
    """Mean of the medians."""
    above_chance: int
    """Pairs whose 95 % interval lies above chance."""


def retrieve(
    places: Embedded, rule: GalleryRule, sides: Sides | None = None, asked: Sequence[tuple[str, str]] = PAIRS
) -> list[Pair]:
    """Measures the ordered pairs of views of which two places or more have both.

    Galleries depend on the rule, on which views there are and where the places lie, not on the embeddings: two models
    are asked the same.

    Args:
        sides: gives the vectors of a pair, for methods that have a space of their own for each; None takes
            `places.z_MND`.
        asked: the pairs (query, gallery), by default all.
    """
    pairs = []
    for query, other in asked:
        galleries = draw(rule, _candidates(places, query, other, rule), places.lonlat_N2)
        query_ND, gallery_ND = (places.z(query), places.z(other)) if sides is None else sides(query, other)
        measured = _measure(query_ND, gallery_ND, galleries, places.present_MN[VIEWS.index(query)])
        if measured is not None:
            pairs.append(_summarise(query, other, galleries, *measured))
    return pairs


def retrieve_spots(places: Embedded, rule: GalleryRule) -> list[Pair]:
    """Measures photo and article against the Sentinel-2 map where they are, both ways.

    GAIR (arXiv 2503.16683) trains the photo with it, the default variant both.

    Returns:
        Pairs of a view and `spot_` before its name; none where the model has no query.
    """
    pairs = []
    for name in SPOTS:
        moved = places.at_spot(name)
        if moved is not None:
            found = retrieve(moved, rule, asked=((name, SENTINEL2.name), (SENTINEL2.name, name)))
            spot = {SENTINEL2.name: f"spot_{name}", name: name}
            pairs += [replace(pair, query=spot[pair.query], gallery=spot[pair.gallery]) for pair in found]
    return pairs


def rank(query_QD: NDArray[np.float32], gallery_GD: NDArray[np.float32], right_Q: NDArray[np.intp]) -> Ranks:
    """Returns the rank of each query's right answer among the gallery, 1 = best; ties have their mean rank.

    Args:
        query_QD: (Q, D) unit vectors.
        gallery_GD: (G, D) unit vectors.
        right_Q: (Q,), row of the right answer in the gallery.

    Returns:
        (Q,) float64: 1 + the number of better answers + half the number of other equal ones (`TIE`); G where the right
        answer's score is not finite.
    """
    ranks_Q = np.empty(len(query_QD))
    for start in range(0, len(query_QD), _CHUNK):
        stop = start + _CHUNK
        s_QG = query_QD[start:stop] @ gallery_GD.T
        right_Q1 = s_QG[np.arange(len(s_QG)), right_Q[start:stop]][:, None]
        better_Q = (s_QG > right_Q1 + TIE).sum(1)
        equal_Q = (np.abs(s_QG - right_Q1) <= TIE).sum(1)
        ranks_Q[start:stop] = np.where(
            np.isfinite(right_Q1[:, 0]), 1 + better_Q + (equal_Q - 1) / 2, float(len(gallery_GD))
        )
    return ranks_Q


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns the score interval of a share of `count` trials (Wilson, JASA 22, 1927); 95 % by default."""
    middle = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    whole = 1 + z**2 / count
    return max(0.0, float((middle - half) / whole)), min(1.0, float((middle + half) / whole))


def average(pairs: Sequence[Pair]) -> Mean | None:
    """Returns the mean of several pairs, None of none."""
    if not pairs:
        return None
    recall_1 = float(np.mean([p.recall_1 for p in pairs]))
    chance_1 = float(np.mean([p.chance_1 for p in pairs]))
    return Mean(
        len(pairs), recall_1, float(np.mean([p.recall_10 for p in pairs])), chance_1, recall_1 / chance_1,
        float(np.mean([p.median_rank for p in pairs])), sum(p.low_1 > p.chance_1 for p in pairs),
    )  # fmt: skip


def group(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Returns the pairs by the groups that are averaged: all six views, and UniGeoCLIP's five."""
    five = [p for p in pairs if {p.query, p.gallery} <= set(FIVE)]
    return {
        "six views, without location": [p for p in pairs if not p.has_location],
        "six views, with location": [p for p in pairs if p.has_location],
        "five views, without location": [p for p in five if not p.has_location],
        "five views, with location": [p for p in five if p.has_location],
    }


def to_json(pairs: Sequence[Pair]) -> dict[str, object]:
    """Returns pairs and means as plain values."""
    means = {name: average(members) for name, members in group(pairs).items()}
    return {"pairs": [asdict(p) for p in pairs], "means": {n: m and asdict(m) for n, m in means.items()}}


def _candidates(places: Embedded, query: str, other: str, rule: GalleryRule) -> NDArray[np.intp]:
    rows_N = places.rows(other)
    has_both_N = places.present_MN[VIEWS.index(query)][rows_N]
    if has_both_N.sum() < 2:
        return rows_N[:0]
    return rows_N if rule.kind == "full" else rows_N[has_both_N]


def _measure(
    query_ND: NDArray[np.float32],
    gallery_ND: NDArray[np.float32],
    galleries: list[Gallery],
    has_query_N: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64], int] | None:
    """Returns rank and size of its gallery for each search, and how many distinct places searched."""
    ranks, sizes, searched = [], [], set()
    for gallery in galleries:
        right_Q = np.flatnonzero(has_query_N[gallery.rows_G])
        rows_Q = gallery.rows_G[right_Q]
        ranks.append(rank(query_ND[rows_Q], gallery_ND[gallery.rows_G], right_Q))
        sizes.append(np.full(len(rows_Q), float(len(gallery.rows_G))))
        searched.update(rows_Q.tolist())
    return (np.concatenate(ranks), np.concatenate(sizes), len(searched)) if ranks else None


def _summarise(
    query: str,
    other: str,
    galleries: list[Gallery],
    ranks_R: NDArray[np.float64],
    sizes_R: NDArray[np.float64],
    queries: int,
) -> Pair:
    recall = {k: float((ranks_R <= k).mean()) for k in (1, 5, 10)}
    chance = {k: float(np.minimum(1.0, k / sizes_R).mean()) for k in (1, 5, 10)}
    low, high = wilson(recall[1], queries)
    radii = [g.radius_m for g in galleries if g.radius_m is not None]
    return Pair(
        query, other, len(galleries), float(np.mean([len(g.rows_G) for g in galleries])),
        float(np.median(radii)) / 1000 if radii else None, queries, recall[1], recall[5], recall[10], low, high,
        float(np.median(ranks_R)), float((1 / ranks_R).mean()), chance[1], chance[5], chance[10],
    )  # fmt: skip
