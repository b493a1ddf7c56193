import math

import pytest
import torch
import torch.nn.functional as F

from training.towers.networks import Ffn, ResidualNet, ScaleMlps, Siren, TileNet


def test_ffn_is_the_published_one_with_a_linear_end():
    net, x_BF = Ffn(6, 5, 8), torch.randn(7, 6)
    hidden_BD = F.layer_norm(F.relu(x_BF @ net.first.weight.T + net.first.bias), (8,))
    torch.testing.assert_close(net(x_BF), hidden_BD @ net.last.weight.T + net.last.bias)
    assert (net(x_BF) < 0).any()


def test_ffn_adds_its_input_where_widths_match():
    net, x_BF = Ffn(8, 5, 8), torch.randn(7, 8)
    hidden_BD = F.layer_norm(F.relu(net.first(x_BF)) + x_BF, (8,))
    torch.testing.assert_close(net(x_BF), net.last(hidden_BD))


def test_residual_net_is_the_published_one():
    net, x_BF = ResidualNet(4, 5, 8), torch.randn(7, 4)
    hidden_BD = net.first(x_BF).relu()
    for block in net.blocks:
        hidden_BD = hidden_BD + block[3](block[0](hidden_BD).relu()).relu()
    assert len(net.blocks) == 4
    torch.testing.assert_close(net(x_BF), net.last(hidden_BD))


def test_siren_is_the_published_one():
    net, x_BF = Siren(100, 5, 64), torch.randn(7, 100)
    expected = net.last(net.second((30 * net.first(x_BF)).sin()).sin())
    torch.testing.assert_close(net(x_BF), expected)
    for linear, bound in ((net.first, 1 / 100), (net.second, math.sqrt(6 / 64)), (net.last, math.sqrt(6 / 64))):
        assert linear.weight.abs().max() <= bound
        assert linear.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_siren_keeps_unit_variance_through_its_layers():
    net = Siren(100, 256, 512)
    out_BD = net(torch.randn(200, 100))
    assert out_BD.std().item() == pytest.approx(1.0, abs=0.2)


def test_scales_have_networks_of_their_own_and_are_summed():
    net, x_BF = ScaleMlps(12, 5, 8, scales=3), torch.randn(7, 12)
    parts = [mlp(x_BF[:, 4 * k : 4 * k + 4]) for k, mlp in enumerate(net.scales)]
    torch.testing.assert_close(net(x_BF), parts[0] + parts[1] + parts[2])
    assert [type(layer).__name__ for layer in net.scales[0]] == ["Linear", "ReLU"] * 3 + ["Linear"]
    assert len({parameter.data_ptr() for parameter in net.parameters()}) == 3 * 8


def test_points_of_a_tile_are_one():
    net = TileNet(9, 5, 8, width=400)
    out_BD = net(torch.tensor([4.0, 4.0, 5.0], dtype=torch.float64))
    assert torch.equal(out_BD[0], out_BD[1]) and not torch.equal(out_BD[0], out_BD[2])
    assert net.embedding.weight.std().item() == pytest.approx(1 / 20, rel=0.1)


@pytest.mark.parametrize("kind", [Ffn, ResidualNet, Siren])
def test_the_first_layer_is_exact_under_autocast(kind):
    torch.manual_seed(0)
    net = kind(3, 32, 64)
    x_BF = torch.tensor([[0.641, 0.07, 0.76], [0.64, 0.07, 0.76]])  # bfloat16 knows no difference
    with torch.autocast("cpu", torch.bfloat16):
        out_BD = net(x_BF)
        rounded_BD = net(x_BF.bfloat16())
    assert torch.equal(rounded_BD[0], rounded_BD[1])
    assert not torch.equal(out_BD[0], out_BD[1])


@pytest.mark.parametrize("kind", [Ffn, ResidualNet, Siren])
def test_dropout_acts_in_training_alone_and_not_on_the_embedding(kind):
    torch.manual_seed(0)
    net, x_BF = kind(6, 5, 32, dropout=0.5), torch.randn(7, 6)
    assert not torch.equal(net(x_BF), net(x_BF))
    assert (net(x_BF) != 0).all()
    assert torch.equal(net.eval()(x_BF), net(x_BF))
