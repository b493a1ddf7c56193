"""The linear baseline: how far canonical correlation of simple statistics goes, with no network at all.

For each pair of views their features are projected onto the directions that correlate most over the places of `train`
(Hotelling, Biometrika 28, 1936), regularised as ridge regression is (Vinod, J. Econometrics 4, 1976), and compared by
cosine. Each pair has a space of its own, chosen for it alone: a stronger opponent than one space for all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.corpus import CorpusError
from training.data.batch import LOCATION, VIEWS, Batch
from training.evaluation.features import Features, describe_positions, gather_features
from training.evaluation.retrieval import rank

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Candidates for the share of the mean variance that is added to every variance; the best on held-out places wins."""
TEXT_WIDTH = 64
"""Directions that are kept of the word counts, the largest of their singular value decomposition."""
_MOST_DIRECTIONS = 48
_FEWEST = 20  # places with both views, below which a pair is not fitted
_LIMIT = 5.0  # standard deviations beyond which a feature is cut off


@dataclass(frozen=True, eq=False)
class Cca:
    """Canonical directions of two sets of features, F and G wide."""

    a_FK: Features
    b_GK: Features
    """Projections onto K directions, each weighed by its correlation."""
    correlations_K: Features
    """Canonical correlations, falling."""

    def project(self, x_NF: Features, y_NG: Features) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns unit vectors (N, K) of both sides."""
        return _unit(x_NF @ self.a_FK), _unit(y_NG @ self.b_GK)


def fit_cca(x_NF: Features, y_NG: Features, ridge: float) -> Cca:
    """Fits regularised canonical correlation.

    Args:
        x_NF: (N, F), of mean zero.
        y_NG: (N, G), of mean zero, the same places.
        ridge: times the mean variance of a side is added to the diagonal of its covariance.
    """
    whiten_FF, whiten_GG = _whiten(x_NF, ridge), _whiten(y_NG, ridge)
    u, correlations, vt = np.linalg.svd(whiten_FF @ (x_NF.T @ y_NG / len(x_NF)) @ whiten_GG, full_matrices=False)
    keep = min(_MOST_DIRECTIONS, len(correlations))
    return Cca(
        whiten_FF @ u[:, :keep] * correlations[:keep], whiten_GG @ vt[:keep].T * correlations[:keep],
        correlations[:keep],
    )  # fmt: skip


@dataclass
class Baseline:
    """Canonical correlation between every two views, fitted on places of `train`."""

    places: int
    """How many it was fitted on."""
    _scalers: dict[str, "_Scaler"] = field(repr=False)
    _features: dict[str, Features] = field(repr=False)
    _present_MN: NDArray[np.bool_] = field(repr=False)
    _fitted: dict[tuple[str, str], Cca | None] = field(default_factory=dict, repr=False)

    def sides(self, views: "Described", query: str, other: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns unit vectors (N, K) of two views, zeros for a pair too rare in `train` to be fitted."""
        first, second = sorted((query, other), key=VIEWS.index)
        cca = self._fit(first, second)
        if cca is None:
            nothing = np.zeros((len(views.keys), 1), np.float32)
            return nothing, nothing
        x_NF, y_NG = (self._scalers[view].apply(views.features[view]) for view in (first, second))
        a_NK, b_NK = cca.project(x_NF, y_NG)
        return (a_NK, b_NK) if query == first else (b_NK, a_NK)

    def _fit(self, first: str, second: str) -> Cca | None:
        if (first, second) not in self._fitted:
            both = self._present_MN[VIEWS.index(first)] & self._present_MN[VIEWS.index(second)]
            x_NF, y_NG = self._features[first][both], self._features[second][both]
            self._fitted[first, second] = _fit_best(x_NF, y_NG) if both.sum() >= _FEWEST else None
        return self._fitted[first, second]


@dataclass(frozen=True, eq=False)
class Described:
    """Features of the places of a split."""

    keys: list[str]
    features: dict[str, Features]
    """(N, F) by view; of the location the (lon, lat) of the cell's centre."""
    present_MN: NDArray[np.bool_]

    def in_order_of(self, keys: list[str]) -> "Described":
        """Returns the same places in another order.

        Raises:
            CorpusError: if one is not there, as where a connection broke in one pass and not in another.
        """
        at = {key: row for row, key in enumerate(self.keys)}
        lost = [key for key in keys if key not in at]
        if lost:
            raise CorpusError(
                f"{len(lost)} places could be read for the model and not for the baseline, first {lost[0]}: measure "
                "again, or copy the corpus to a folder."
            )
        rows = np.array([at[key] for key in keys])
        return Described(keys, {v: f[rows] for v, f in self.features.items()}, self.present_MN[:, rows])


def describe_places(
    batches: Iterable[Batch], centres: Mapping[str, tuple[float, float]], most: int | None = None
) -> Described:
    """Reads the features of a split; batches must have been read with `features.hash_words` as their tokenize."""
    keys, features, present_MN = gather_features(batches, most)
    features[LOCATION] = np.array([centres[key] for key in keys], float)
    return Described(keys, features, present_MN)


def fit_baseline(train: Described) -> Baseline:
    """Fits the baseline; a pair of views is fitted when it is first asked for."""
    scalers = {view: _Scaler.fit(view, train.features[view][train.present_MN[m]]) for m, view in enumerate(VIEWS)}
    scaled = {view: scalers[view].apply(train.features[view]) for view in VIEWS}
    return Baseline(len(train.keys), scalers, scaled, train.present_MN)


@dataclass(frozen=True, eq=False)
class _Scaler:
    """Brings raw features of a view to mean zero and deviation one."""

    over: tuple[float, float, float, float] | None
    """West, south, east, north of the places it was fitted on; only of the location."""
    basis_FK: Features | None
    """Directions that are kept of word counts; only of texts."""
    mean_K: Features
    std_K: Features

    @classmethod
    def fit(cls, view: str, raw_NF: Features) -> "_Scaler":
        """Fits it on the places that have the view."""
        over = basis_FK = None
        if len(raw_NF) == 0:
            return cls(None, None, np.zeros(1), np.ones(1))
        if view == LOCATION:
            over = (*raw_NF.min(0).tolist(), *raw_NF.max(0).tolist())
        elif view == "text":
            basis_FK = _principal(raw_NF, TEXT_WIDTH)
        plain = cls(over, basis_FK, np.zeros(1), np.ones(1))._spread(raw_NF)
        return cls(over, basis_FK, plain.mean(0), np.maximum(plain.std(0), 1e-9))

    def apply(self, raw_NF: Features) -> Features:
        """Returns (N, K)."""
        return np.clip((self._spread(raw_NF) - self.mean_K) / self.std_K, -_LIMIT, _LIMIT)

    def _spread(self, raw_NF: Features) -> Features:
        if self.over is not None:
            return describe_positions(raw_NF, self.over)
        return raw_NF if self.basis_FK is None else raw_NF @ self.basis_FK


def _fit_best(x_NF: Features, y_NG: Features) -> Cca:
    """Chooses the ridge by mean reciprocal rank over a held-out fifth of the places, then fits on all."""
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(x_NF))
    held, rest = order[: len(order) // 5][:500], order[len(order) // 5 :]

    def judge(ridge: float) -> float:
        a_NK, b_NK = fit_cca(x_NF[rest], y_NG[rest], ridge).project(x_NF[held], y_NG[held])
        right = np.arange(len(held))
        return float((1 / rank(a_NK, b_NK, right)).mean() + (1 / rank(b_NK, a_NK, right)).mean())

    return fit_cca(x_NF, y_NG, max(RIDGES, key=judge))


def _principal(raw_NF: Features, width: int) -> Features:
    """Returns the first right singular vectors, (F, width at most), through the smaller of the two Gram matrices."""
    if len(raw_NF) >= raw_NF.shape[1]:
        vectors_FF: Features = np.linalg.eigh(raw_NF.T @ raw_NF)[1]
        return vectors_FF[:, ::-1][:, :width]
    values, vectors_NN = np.linalg.eigh(raw_NF @ raw_NF.T)
    keep = [i for i in range(len(values))[::-1][:width] if values[i] > 1e-9 * values[-1]]
    basis_FK: Features = raw_NF.T @ vectors_NN[:, keep] / np.sqrt(values[keep])
    return basis_FK


def _whiten(x_NF: Features, ridge: float) -> Features:
    covariance = x_NF.T @ x_NF / len(x_NF)
    values, vectors = np.linalg.eigh(covariance)
    lift = ridge * max(float(values.mean()), 1e-12)
    whitening: Features = (vectors / np.sqrt(np.maximum(values, 0.0) + lift)) @ vectors.T
    return whitening


def _unit(z_NK: Features) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (z_NK / np.maximum(np.linalg.norm(z_NK, axis=1, keepdims=True), 1e-12)).astype("f4")
    return unit
