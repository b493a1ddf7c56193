"""query against LIIF's and GAIR's own numbers, and its two forms against each other."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.runs import SHARED
from training.inr import Predictor, query

FORMS = ("gather", "conv")


@pytest.fixture(scope="module")
def golden():
    path = SHARED / "golden" / "liif_nili.npz"
    if not path.is_file():
        pytest.skip("../shared/data is not beside this checkout")
    return {name: torch.tensor(values) for name, values in np.load(path).items()}


def _make(channels, dim, hidden=None, layers=2, seed=0):
    torch.manual_seed(seed)
    return Predictor(channels, dim, hidden, layers).double()


def _load(predictor, weights):
    for layer, (weight, bias) in zip(predictor.layers, weights, strict=True):
        layer.weight.data, layer.bias.data = weight, bias
    return predictor


def _points(sizes=(3, 40), reach=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return reach * (2 * torch.rand(*sizes, 2, generator=generator, dtype=torch.float64) - 1)


@pytest.mark.parametrize("form", FORMS)
def test_equals_liif(golden, form):
    name = "liif_le1_fu1_cd0"
    weights = [(golden[f"{name}_W{k}"], golden[f"{name}_b{k}"]) for k in range(3)]
    weights[0] = (torch.cat([weights[0][0][:, :-2], weights[0][0][:, -2:].flip(1)], 1), weights[0][1])  # y before x
    predictor = _load(_make(6, 5, 32), weights)
    found = query(golden["feat"], golden["coord"].flip(-1), predictor, form=form)
    torch.testing.assert_close(found, golden[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_equals_gair(golden, form):
    tokens_BLC = golden["gair_tokens"]
    features_BCHW = tokens_BLC.transpose(1, 2).unflatten(2, (12, 12))
    predictor = _load(_make(12, 12), [(golden["gair_W"], golden["gair_b"])])
    xy_BQ2 = 2 * golden["gair_rel01"][:, None] - 1
    found = query(features_BCHW, xy_BQ2, predictor, form=form)
    torch.testing.assert_close(found[:, 0], golden["gair_nili"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("points", [2, 40])
@pytest.mark.parametrize(("hidden", "layers"), [(None, 0), (7, 1), (7, 2)])
def test_forms_are_the_same_and_so_are_their_gradients(hidden, layers, points):
    torch.manual_seed(1)
    predictor, features_BCHW = _make(5, 4, hidden, layers), torch.randn(3, 5, 4, 6, dtype=torch.float64)
    xy_BQ2 = _points((3, points))
    results = []
    for form in (*FORMS, "auto"):
        inputs = [features_BCHW.clone().requires_grad_(), xy_BQ2.clone().requires_grad_(), *predictor.parameters()]
        embedding_BQD = query(*inputs[:2], predictor, form=form)
        results.append([embedding_BQD, *torch.autograd.grad(embedding_BQD.square().sum(), inputs)])
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("points", "convolutions"), [(3, 0), (4, 1)])
def test_auto_applies_the_first_layer_at_fewer_places(monkeypatch, points, convolutions):
    calls = []
    monkeypatch.setattr(F, "conv2d", lambda *a, conv2d=F.conv2d, **k: calls.append(a) or conv2d(*a, **k))
    query(torch.zeros(1, 2, 4, 4, dtype=torch.float64), _points((1, points)), _make(2, 3, 8))
    assert len(calls) == convolutions


def test_a_linear_predictor_is_bilinear_inside():
    """The sum of shares times ways is 0 there, and that of shares times neighbourhoods their bilinear sample."""
    torch.manual_seed(2)
    predictor, features_BCHW = _make(4, 3), torch.randn(3, 4, 8, 6, dtype=torch.float64)
    inside = torch.tensor([1 - 1 / 6, 1 - 1 / 8])  # half a cell off the border
    xy_BQ2 = _points() * inside
    unfolded_BNHW = F.unfold(features_BCHW, 3, padding=1).unflatten(2, (8, 6))
    sample_BQN = F.grid_sample(unfolded_BNHW, xy_BQ2[:, None], align_corners=False)[:, :, 0].transpose(1, 2)
    expected = predictor.layers[0](F.pad(sample_BQN, (0, 2)))
    torch.testing.assert_close(query(features_BCHW, xy_BQ2, predictor), expected, rtol=0, atol=1e-7)
    outside = query(features_BCHW, torch.ones_like(xy_BQ2), predictor)
    assert not torch.allclose(outside, expected, atol=1e-2)


def test_hidden_layers_are_not_bilinear():
    torch.manual_seed(2)
    features_BCHW, predictor = torch.randn(1, 4, 8, 8, dtype=torch.float64), _make(4, 3, 16)
    quarter, half, three = (query(features_BCHW, torch.tensor([[[x / 16, 0.3]]]), predictor) for x in (1.5, 2.0, 2.5))
    assert not torch.allclose(half, (quarter + three) / 2, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_x_runs_along_rows_and_y_down(form):
    """A map whose only channel is the column (the row): its centre cell, read by a predictor that copies it."""
    predictor = _make(1, 1)
    predictor.layers[0].weight.data.zero_()[0, 4] = 1
    predictor.layers[0].bias.data.zero_()
    columns_HW = torch.arange(5, dtype=torch.float64).expand(3, 5)
    rows_HW = torch.arange(3, dtype=torch.float64)[:, None].expand(3, 5)
    features_BCHW = torch.stack([columns_HW, rows_HW])[:, None]
    for column, row in itertools.product(range(1, 4), [1]):
        xy_BQ2 = torch.tensor([[[(2 * column + 1) / 5 - 1, (2 * row + 1) / 3 - 1]]], dtype=torch.float64).expand(
            2, 1, 2
        )
        assert query(features_BCHW, xy_BQ2, predictor, form=form).flatten().tolist() == pytest.approx([column, row])


@pytest.mark.parametrize("form", FORMS)
def test_corners_of_the_map_and_points_beyond_are_finite(form):
    predictor, features_BCHW = _make(2, 3, 4).float(), torch.randn(1, 2, 4, 4)
    xy_BQ2 = torch.tensor([[[-1.0, -1], [1, 1], [-1, 1], [3, -5]]])
    assert query(features_BCHW, xy_BQ2, predictor, form=form).isfinite().all()


def test_runs_in_bfloat16_under_autocast():
    predictor, features_BCHW, xy_BQ2 = _make(8, 4, 16).float(), torch.randn(3, 8, 4, 4), _points().float()
    exact = query(features_BCHW, xy_BQ2, predictor)
    with torch.autocast("cpu", torch.bfloat16):
        for form in FORMS:
            found = query(features_BCHW.bfloat16(), xy_BQ2, predictor, form=form)
            torch.testing.assert_close(found.float(), exact, rtol=0, atol=0.05)


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="fourier"):
        query(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 2), Predictor(2, 3), form="fourier")
