import math
from itertools import permutations

import numpy as np
import pytest
import torch

from training.geobias.moran import analytic_moments, numerator, permutation_moments, surprisal

KEPT = {"two_sided": (0, 1.0), "pdf": (1, 0.0)}
"""Each convention's number in the stored rows, and what its code adds to the deviation."""


@pytest.mark.parametrize("stage", range(15))
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("convention", KEPT)
def test_equals_the_published_code_in_every_stage(stages, stage, marked, convention):
    number, added = KEPT[convention]
    (row,) = [r for r in stages["rows"] if (r[0], r[2], r[3]) == (stage, marked, number)]
    neighbour_CNk = torch.from_numpy(stages[f"s{stage}_Wij"][:, 1].astype(np.int64)).reshape(1, -1, 4)
    value_CP = torch.from_numpy(stages[f"s{stage}_values"])[None]
    value_CP = value_CP if marked else torch.ones_like(value_CP)
    count = neighbour_CNk.shape[1]
    found_C = numerator(torch.nn.functional.pad(value_CP, (0, count - value_CP.shape[1])), neighbour_CNk)
    mean_C, var_C = analytic_moments(value_CP, count)
    score_C = surprisal(found_C, mean_C, var_C, convention)
    assert np.allclose(torch.cat([found_C, mean_C, var_C.sqrt() + added]), row[4:7], rtol=1e-12, atol=1e-12)
    assert np.allclose(score_C, row[8], rtol=1e-12, atol=1e-12, equal_nan=True)


def test_the_numerator_is_the_double_sum_over_the_weights():
    generator = torch.Generator().manual_seed(0)
    value_CN = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    neighbour_CNk = torch.stack([draw_neighbours(12, 4, generator) for _ in range(3)])
    a_CN = value_CN - value_CN.mean(1, keepdim=True)
    weight_CNN = torch.zeros(3, 12, 12, dtype=torch.float64).scatter_(2, neighbour_CNk, 1.0)
    assert torch.allclose(numerator(value_CN, neighbour_CNk), torch.einsum("ci,cij,cj->c", a_CN, weight_CNN, a_CN))


def test_permutation_moments_are_those_over_all_orders():
    generator = torch.Generator().manual_seed(1)
    neighbour_CNk = draw_neighbours(6, 2, generator)[None]
    value_CN = torch.tensor([[1.0, -1.0, 1.0, 0.0, 0.0, 2.5]], dtype=torch.float64)
    orders = torch.tensor(list(permutations(range(6))))
    all_720 = numerator(value_CN[0][orders], neighbour_CNk.expand(len(orders), -1, -1))
    mean_C, var_C = permutation_moments(value_CN, neighbour_CNk)
    assert torch.allclose(mean_C, all_720.mean()) and torch.allclose(var_C, all_720.var(correction=0))


def test_many_values_and_few_give_the_same_published_moments():
    few_CP = torch.tensor([[1.0, 1.0, -1.0, 0.0, 2.0, 2.0, 2.0]], dtype=torch.float64)
    crowd_CP = torch.arange(70, dtype=torch.float64).reshape(10, 7) + 10
    for alone, together in zip(
        analytic_moments(few_CP, 40), analytic_moments(torch.cat([few_CP, crowd_CP]), 40), strict=True
    ):
        assert torch.allclose(alone, together[:1], rtol=1e-13)


def test_one_distinct_value_and_a_variance_of_none_have_no_score():
    zeros_CP, ones_CP = torch.zeros(1, 5, dtype=torch.float64), torch.ones(1, 5, dtype=torch.float64)
    mean_C, var_C = analytic_moments(zeros_CP, 30)
    assert surprisal(mean_C, mean_C, var_C, "pdf").isnan() and surprisal(mean_C, mean_C, var_C, "two_sided").isnan()
    mean_C, var_C = analytic_moments(ones_CP, 10)  # 5 of 10 places: above 3 / 8
    assert var_C < 0 and surprisal(mean_C, mean_C, var_C, "two_sided").isnan()
    value_CN, neighbour_CNk = torch.zeros(1, 6, dtype=torch.float64), draw_neighbours(6, 2, torch.Generator())[None]
    assert permutation_moments(value_CN, neighbour_CNk)[1].isnan()


def test_the_conventions_are_density_and_tail():
    zero_C, one_C = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert math.isclose(float(surprisal(zero_C, zero_C, one_C, "pdf")), 0.5 * math.log(2 * math.pi))
    assert abs(float(surprisal(zero_C, zero_C, one_C, "two_sided"))) < 1e-12
    assert math.isclose(float(surprisal(2 * 1.959963984540054 * one_C, zero_C, one_C, "two_sided")), -math.log(0.05))
    assert math.isclose(float(surprisal(1e9 * one_C, zero_C, one_C, "pdf")), 256 * math.log(10))


def draw_neighbours(count, k, generator):
    away_NN = torch.rand(count, count, generator=generator).fill_diagonal_(torch.inf)
    return away_NN.topk(k, largest=False)[1]
