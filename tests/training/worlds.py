"""Small embedded worlds for the tests of what is measured."""

import numpy as np

from training.data.batch import VIEWS
from training.evaluation.embedded import Embedded


def unit(z):
    z = np.asarray(z, np.float32)
    return z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12)


def make_places(z_MND, present_MN=None, lonlat_N2=None, photo_N2=None):
    n = z_MND.shape[1]
    present = np.ones((len(VIEWS), n), bool) if present_MN is None else present_MN
    lonlat = np.stack([np.arange(n) * 0.01, np.zeros(n)], -1) if lonlat_N2 is None else np.asarray(lonlat_N2, float)
    z = unit(z_MND) * present[..., None]
    return Embedded([f"{i:015x}" for i in range(n)], z, present, lonlat, lonlat if photo_N2 is None else photo_N2)


def noisy_places(n=60, dim=16, noise=0.3, seed=0, **more):
    """Embedded whose views agree but for noise."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(1, n, dim))
    return make_places(shared + noise * rng.normal(size=(len(VIEWS), n, dim)), **more)
