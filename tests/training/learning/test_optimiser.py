import math

import pytest
import torch
from torch import nn

from training.learning.config import FitOptions
from training.learning.optimiser import MovingAverage, find_factor, learning_rate, make_optimisers, set_learning_rate
from training.options import OptionError


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.registers = nn.Parameter(torch.zeros(2, 3))
        self.towers = nn.ModuleDict({"text": nn.ModuleDict({"body": nn.ModuleDict({"x": nn.Linear(3, 3)})})})
        self.log_scale = nn.Parameter(torch.zeros(()))


def options(**given):
    return FitOptions("shards", **given)


def test_only_matrices_that_multiply_decay():
    model = Small()
    (optimiser,) = make_optimisers(model, options(weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    found = {name for name, p in model.named_parameters() if decay[id(p)] > 0}
    assert found == {"layer.weight", "towers.text.body.x.weight"}


def test_patterns_scale_and_freeze():
    model = Small()
    (optimiser,) = make_optimisers(model, options(lr_of=("layer=0", "norm.weight=0.5"), pretrained_lr=0.25))
    set_learning_rate([optimiser], 2.0)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    names = {name: rates.get(id(p)) for name, p in model.named_parameters()}
    assert names["layer.weight"] is None and not model.layer.weight.requires_grad
    assert names["norm.weight"] == 1.0 and names["norm.bias"] == 2.0 and names["towers.text.body.x.bias"] == 0.5
    assert find_factor("x", options()) == 1.0


def test_a_model_of_which_nothing_learns_is_refused():
    with pytest.raises(OptionError, match="there is nothing to learn"):
        make_optimisers(Small(), options(lr_of=(".=0",)))


def test_muon_takes_the_matrices_that_multiply_and_were_not_pretrained():
    model = Small()
    adamw, muon = make_optimisers(model, options(optimiser="muon", lr_of=("norm=0.5",)))
    names = {id(p): name for name, p in model.named_parameters()}
    held = [{names[id(p)] for group in one.param_groups for p in group["params"]} for one in (adamw, muon)]
    assert isinstance(muon, torch.optim.Muon) and held[1] == {"layer.weight"}
    assert held[0] == set(names.values()) - held[1]
    set_learning_rate((adamw, muon), 2.0)
    assert {group["lr"] for group in muon.param_groups} == {2.0}


def test_the_first_step_of_muon_is_orthogonal_and_of_the_size_of_adamws():
    torch.manual_seed(0)
    layer = nn.Linear(64, 32, bias=False)
    (muon,) = make_optimisers(layer, options(optimiser="muon", lr=0.1, weight_decay=0.0))
    before = layer.weight.detach().clone()
    (layer(torch.randn(200, 64)) * torch.logspace(0, -0.5, 32)).square().sum().backward()  # rows of unlike weight
    muon.step()
    step = (before - layer.weight.detach()) / 0.1
    values = torch.linalg.svdvals(step) / (0.2 * 64**0.5)  # Liu et al., eq. 4
    assert values.min() > 0.3 and values.max() < 1.5
    assert float(step.square().mean().sqrt()) == pytest.approx(0.2, rel=0.4)


def test_the_rate_rises_and_falls_to_nothing():
    rates = [learning_rate(step, 100, options(lr=1.0, warmup=0.1)) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2))) and rates[100] == pytest.approx(0)


def test_the_average_is_the_published_recursion():
    model = Small()
    average = MovingAverage(model, 0.5)
    start = average.shadow["layer.weight"].clone()
    with torch.no_grad():
        model.layer.weight.add_(1)
    average.update(model, step=100)
    torch.testing.assert_close(average.shadow["layer.weight"], 0.5 * start + 0.5 * model.layer.weight)


def test_the_first_average_is_nearly_the_first_weights():
    model = Small()
    average = MovingAverage(model, 0.999)
    with torch.no_grad():
        model.layer.weight.fill_(7)
    average.update(model, step=0)
    assert (average.shadow["layer.weight"] - 7).abs().max() < 0.1 * 8


def test_swapping_twice_changes_nothing():
    model = Small()
    average = MovingAverage(model, 0.5)
    with torch.no_grad():
        model.layer.weight.add_(1)
    kept = model.layer.weight.detach().clone()
    average.swap(model)
    assert not torch.equal(model.layer.weight, kept)
    average.swap(model)
    assert torch.equal(model.layer.weight, kept)
