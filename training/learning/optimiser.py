"""AdamW with groups by name pattern, or Muon beside it; the learning rate over the steps; the average of the weights.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) moves a matrix along its momentum made orthogonal, so that
what few samples ask for is learnt as fast as what all ask for. Its steps are scaled to the size of AdamW's (Liu et al.,
arXiv 2502.16982, eq. 4), so both take one rate.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.learning.config import FitOptions, factors_by_pattern
from training.model import NO_DECAY, PRETRAINED
from training.options import OptionError

WARMUP_OF_EMA = 10
"""The average of step t decays by at most (1 + t) / (this + t), so that the random start is soon forgotten."""


def make_optimisers(model: nn.Module, options: FitOptions) -> list[torch.optim.Optimizer]:
    """Returns AdamW; with `--optimiser muon` also Muon, for matrices that multiply and were not pretrained.

    Matrices decay, what has one dimension (biases, norms, the logit scale) does not. Parameters named by a `--lr_of`
    pattern learn at that factor of the rate; factor 0 freezes them.

    Raises:
        OptionError: if nothing is left to learn.
    """
    takes_muon = options.optimiser == "muon"
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = find_factor(name, options)
        parameter.requires_grad_(parameter.requires_grad and factor > 0)
        if parameter.requires_grad:
            is_matrix = decays(name, parameter)
            by_muon = takes_muon and is_matrix and parameter.ndim == 2 and not re.search(PRETRAINED, name)
            decay = options.weight_decay if is_matrix else 0.0
            groups.setdefault((by_muon, factor, decay), []).append(parameter)
    settings: dict[bool, list[dict[str, Any]]] = {}
    for (by_muon, factor, decay), parameters in groups.items():
        settings.setdefault(by_muon, []).append({"params": parameters, "weight_decay": decay, "factor": factor})
    if not settings:
        raise OptionError("--lr_of holds every parameter fast: there is nothing to learn; leave out a pattern.")
    is_cuda = next(model.parameters()).is_cuda
    made: list[torch.optim.Optimizer] = []
    if False in settings:
        betas = (0.9, options.beta2)
        made.append(torch.optim.AdamW(settings[False], lr=options.lr, betas=betas, fused=is_cuda or None))
    if True in settings:
        made.append(torch.optim.Muon(settings[True], lr=options.lr, adjust_lr_fn="match_rms_adamw"))
    return made


def find_factor(name: str, options: FitOptions) -> float:
    """Returns the factor of the learning rate of a parameter: of the last pattern that its name holds."""
    factor = options.pretrained_lr if re.search(PRETRAINED, name) else 1.0
    for pattern, given in factors_by_pattern(options):
        if pattern.search(name):
            factor = given
    return factor


def decays(name: str, parameter: Tensor) -> bool:
    """Returns whether weight decay pulls at a parameter: at matrices that multiply, not at positions and norms."""
    return parameter.ndim >= 2 and not re.search(NO_DECAY, name)


def learning_rate(step: int, steps: int, options: FitOptions) -> float:
    """Returns the rate of a step: rising in a line, then a cosine to zero (Loshchilov and Hutter, arXiv 1608.03983)."""
    warmup = max(1, round(options.warmup * steps))
    if step < warmup:
        return options.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return options.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_learning_rate(optimisers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Gives each group its factor of a rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]


class MovingAverage:
    """An exponential moving average of the parameters in float32; buffers do not change in training."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone().float() for name, p in _learning(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves towards the weights of a step."""
        decay = min(self.decay, (1 + step) / (WARMUP_OF_EMA + step))
        pairs = [(self.shadow[name], p.detach().float()) for name, p in _learning(model)]
        torch._foreach_lerp_([mine for mine, _ in pairs], [theirs for _, theirs in pairs], 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Puts the average into the model and the model's weights here; twice changes nothing."""
        for name, parameter in _learning(model):
            kept = parameter.detach().clone().float()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)


def _learning(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)
