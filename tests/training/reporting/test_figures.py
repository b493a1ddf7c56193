import math

import numpy as np
import pytest
from scipy import stats

from training.reporting.figures import judge, judge_pairs, subtract, summarise


def test_the_interval_is_students():
    figure = summarise([0.1, 0.2, 0.3])
    assert figure.mean == pytest.approx(0.2)
    assert figure.half == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert figure.show() == "20.0 ± 24.8"


def test_one_seed_has_no_interval_and_none_no_mean():
    assert summarise([0.5]).show() == "50.0"
    assert summarise([]).show() == "-"


def test_the_interval_of_a_difference_is_welchs():
    first, second = (20.1, 22.4, 21.7, 23.0), (18.0, 19.9, 17.2, 20.5, 18.8)
    expected = stats.ttest_ind(first, second, equal_var=False)
    found = subtract(summarise(first), summarise(second))
    se = (np.mean(first) - np.mean(second)) / expected.statistic
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.half == pytest.approx(stats.t.ppf(0.975, int(expected.df)) * se, rel=1e-3)


@pytest.mark.parametrize(("first", "second", "verdict"), [
    ((0.5, 0.7, 0.6), (0.1, 0.2, 0.15), "reproduced: the interval of the difference lies above 0"),
    ((0.1, 0.2, 0.15), (0.5, 0.7, 0.6), "not reproduced: it is the other way round"),
    ((0.5, 0.7, 0.6), (0.3, 0.7, 0.5), "in that order, but"),
    ((0.3, 0.7, 0.5), (0.5, 0.7, 0.6), "not in that order, but"),
    ((0.3, 0.3), (0.1, 0.1), "reproduced"),
    ((0.5,), (0.1,), "in that order with one seed: not decided"),
    ((0.5, 0.4), (0.1,), "in that order with one seed: not decided"),
    ((), (0.5, 0.1), "not measured"),
])  # fmt: skip
def test_orderings_are_judged_by_the_interval_of_their_difference(first, second, verdict):
    assert judge(summarise(first), summarise(second)).startswith(verdict)


@pytest.mark.parametrize(("first", "second", "verdict"), [
    ((0.5, 0.7, 0.9), (0.4, 0.59, 0.81), "reproduced: the interval of the difference"),
    ((0.4, 0.59, 0.81), (0.5, 0.7, 0.9), "not reproduced: it is the other way round"),
    ((0.5, 0.7, 0.9), (0.4, 0.8, 0.7), "in that order, but"),
    ((0.4, 0.8, 0.7), (0.5, 0.7, 0.9), "not in that order, but"),
    ((0.5,), (0.1,), "in that order with one seed: not decided"),
    ((), (0.1,), "not measured"),
])  # fmt: skip
def test_values_of_the_same_folds_are_judged_by_their_differences(first, second, verdict):
    assert judge_pairs(first, second)[1].startswith(verdict)


def test_what_moves_both_of_a_pair_does_not_blur_their_difference():
    difference, _ = judge_pairs((0.5, 0.7, 0.9), (0.4, 0.6, 0.8))
    assert difference.show(1, 3) == "0.100 ± 0.000"
