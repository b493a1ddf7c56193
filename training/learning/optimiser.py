"""AdamW with groups by name pattern, the learning rate over the steps, and the moving average of the weights."""

import math
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.learning.config import FitOptions, factors_by_pattern
from training.model import NO_DECAY, PRETRAINED

WARMUP_OF_EMA = 10
"""The average of step t decays by at most (1 + t) / (this + t), so that the random start is soon forgotten."""


def make_optimiser(model: nn.Module, options: FitOptions) -> torch.optim.AdamW:
    """Returns AdamW; matrices decay, what has one dimension (biases, norms, the logit scale) does not.

    Parameters named by a `--lr_of` pattern learn at that factor of the rate; factor 0 freezes them.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = find_factor(name, options)
        parameter.requires_grad_(parameter.requires_grad and factor > 0)
        if parameter.requires_grad:
            decay = options.weight_decay if decays(name, parameter) else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    settings = [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in groups.items()
    ]
    is_cuda = next(model.parameters()).is_cuda
    return torch.optim.AdamW(settings, lr=options.lr, betas=(0.9, options.beta2), fused=is_cuda or None)


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


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Gives each group its factor of a rate."""
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
