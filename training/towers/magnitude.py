"""Numbers as vectors: metres above the sea, figures in a text.

A number is shown to a network as waves of its logarithm, of a whole octave of wavelengths: near numbers look alike, a
number never seen before lies between those that were. Vaswani et al. 2017 place positions so; Golkar et al. 2023
(xVal, arXiv 2310.02989) show why figures in a text should not be words.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LONGEST, _COUNT = 16.0, 9
RATES = [2 * math.pi / (_LONGEST / 2**k) for k in range(_COUNT)]  # the shortest wave, 1/16, tells a hundred from 101
FEATURES = 2 * _COUNT + 1
"""Width of `wave`."""


def squash(numbers: Tensor) -> Tensor:
    """Returns sign(v) log(1 + |v|), of the same shape."""
    return numbers.sign() * numbers.abs().log1p()


def wave(logarithms: Tensor, rates_R: Tensor) -> Tensor:
    """Returns cosines and sines of `squash`ed numbers, and these themselves over ten: (...) to (..., FEATURES).

    Args:
        logarithms: any shape.
        rates_R: `RATES`, as a tensor of the same type and device.
    """
    phase = logarithms[..., None] * rates_R
    return torch.cat([phase.cos(), phase.sin(), logarithms[..., None] / 10], -1)


class Magnitudes(nn.Module):
    """Several numbers of one thing to one vector."""

    rates_R: Tensor

    def __init__(self, numbers: int, width: int, *, hidden: int = 0) -> None:
        """Takes the width of a layer in between, with GELU; 0 for none."""
        super().__init__()
        sizes = [numbers * FEATURES, *([hidden] if hidden else []), width]
        self.register_buffer("rates_R", torch.tensor(RATES), persistent=False)
        self.layers = nn.ModuleList(nn.Linear(size, following) for size, following in pairwise(sizes))

    def forward(self, logarithms_BN: Tensor) -> Tensor:
        """Returns (..., width) for `squash`ed numbers (..., N)."""
        x_BD = wave(logarithms_BN.float(), self.rates_R).flatten(-2)
        for layer in self.layers[:-1]:
            x_BD = F.gelu(layer(x_BD))
        out_BD: Tensor = self.layers[-1](x_BD)
        return out_BD


def make_mixer(numbers: int, width: int, *, hidden: int, dropout: float) -> nn.Sequential:
    """Returns what takes standardised numbers (..., N) to vectors (..., width): two hidden layers, with dropout."""
    return nn.Sequential(
        nn.Linear(numbers, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.GELU(),
        nn.Linear(hidden, width, bias=False),
    )  # fmt: skip
