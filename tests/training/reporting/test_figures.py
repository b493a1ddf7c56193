import math

import pytest

from training.reporting.figures import Figure, judge, judge_pairs, summarise


def test_the_interval_is_students():
    figure = summarise([0.1, 0.2, 0.3])
    assert figure.mean == pytest.approx(0.2)
    assert figure.half == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert figure.show() == "20.0 ± 24.8"


def test_one_seed_has_no_interval_and_none_no_mean():
    assert summarise([0.5]).show() == "50.0"
    assert summarise([]).show() == "-"


@pytest.mark.parametrize(("first", "second", "verdict"), [
    ((0.5, 0.1), (0.3, 0.05), "reproduced: the intervals do not meet"),
    ((0.3, 0.05), (0.5, 0.1), "not reproduced: it is the other way round"),
    ((0.5, 0.2), (0.3, 0.2), "in that order, but"),
    ((0.3, 0.2), (0.5, 0.2), "not in that order, but"),
    ((0.5, math.nan), (0.1, math.nan), "in that order with one seed: not decided"),
    ((math.nan, math.nan), (0.5, 0.1), "not measured"),
])  # fmt: skip
def test_orderings_are_judged_by_their_intervals(first, second, verdict):
    assert judge(Figure(*first, 3), Figure(*second, 3)).startswith(verdict)


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
