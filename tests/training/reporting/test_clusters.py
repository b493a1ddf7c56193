import numpy as np

from training.reporting.clusters import SHUFFLES, compare_clusters, score_errors

RNG = np.random.default_rng(0)
LONLAT = np.stack([RNG.uniform(0, 20, 120), RNG.uniform(0, 20, 120)], 1)
IN_PATCHES = (LONLAT // 5).sum(1) % 2 > 0
"""Right in every other square of 5 degrees."""


def test_errors_that_cluster_score_above_the_same_errors_shuffled():
    several = [score_errors(LONLAT, IN_PATCHES, seed) for seed in range(3)]
    lying, shuffled, verdict = compare_clusters(several)
    assert lying.mean > 1.5 * shuffled.mean > 0 and shuffled.seeds == 3
    assert len({one.as_they_lie for one in several}) == 1 and len({one.shuffled for one in several}) == 3
    assert all(len(one.shuffled) == SHUFFLES for one in several)
    assert verdict.startswith("reproduced")


def test_errors_dealt_out_by_chance_do_not():
    several = [score_errors(LONLAT, np.random.default_rng(9 + seed).permutation(IN_PATCHES), seed) for seed in range(3)]
    lying, shuffled, verdict = compare_clusters(several)
    assert lying.mean < 1.5 * shuffled.mean and not verdict.startswith("reproduced")


def test_nothing_is_compared_where_nothing_was_scored():
    assert compare_clusters([])[2] == "not measured"
