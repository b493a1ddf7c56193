"""Networks over position encodings, each with the form its publishers gave it.

In the first layer numbers may be told apart in their last digits (four values of `wrap` say where on Earth a point is),
so it is computed outside autocast: bfloat16 would round the position by kilometres.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Ffn(nn.Module):
    """TorchSpatial's: linear, ReLU, dropout, the input added where widths match, layer norm; then a linear layer.

    In the published code the last layer too ends in ReLU and dropout, against its own comment. Here it does not: behind
    a ReLU no two embeddings could point apart, and dropout would hide parts of an embedding from the contrast.
    """

    def __init__(self, features: int, dim: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(hidden)
        self.last = nn.Linear(hidden, dim)
        for linear in (self.first, self.last):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Returns (B, dim)."""
        hidden_BD = self.dropout(F.relu(_exactly(self.first, x_BF)))
        if hidden_BD.shape == x_BF.shape:
            hidden_BD = hidden_BD + x_BF
        out_BD: Tensor = self.last(self.norm(hidden_BD))
        return out_BD


class ResidualNet(nn.Module):
    """Mac Aodha et al. 2019 (arXiv 1906.05272), TorchSpatial's wrap: linear, ReLU, four blocks x + ReLU(W ReLU(V x)).

    A linear layer follows, in the place of the published classifier.
    """

    def __init__(self, features: int, dim: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(features, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()
            )
            for _ in range(4)
        )
        self.last = nn.Linear(hidden, dim, bias=False)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Returns (B, dim)."""
        hidden_BD = F.relu(_exactly(self.first, x_BF))
        for block in self.blocks:
            hidden_BD = hidden_BD + block(hidden_BD)
        out_BD: Tensor = self.last(hidden_BD)
        return out_BD


class Siren(nn.Module):
    """Sitzmann et al. 2020 (arXiv 2006.09661) with SatCLIP's sizes: two sine layers, the first 30 times as fast.

    Weights are drawn as published: U(-1/d, 1/d) in the first layer, U(-sqrt(6/d), sqrt(6/d)) in the others, d inputs,
    and biases with them.
    """

    def __init__(self, features: int, dim: int, hidden: int, *, dropout: float = 0.0, speed: float = 30.0) -> None:
        super().__init__()
        self.speed, self.dropout = speed, nn.Dropout(dropout)
        self.first, self.second = nn.Linear(features, hidden), nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, dim)
        bounds = 1 / features, math.sqrt(6 / hidden), math.sqrt(6 / hidden)
        for linear, bound in zip((self.first, self.second, self.last), bounds, strict=True):
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.uniform_(linear.bias, -bound, bound)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Returns (B, dim)."""
        hidden_BD = self.dropout((self.speed * _exactly(self.first, x_BF)).sin())
        out_BD: Tensor = self.last(self.dropout(self.second(hidden_BD).sin()))
        return out_BD


class ScaleMlps(nn.Module):
    """GeoCLIP's (arXiv 2309.16020): for each scale three layers with ReLU and a linear one; the outputs are summed."""

    def __init__(self, features: int, dim: int, hidden: int, *, scales: int) -> None:
        """Takes the features of all scales, one after the other, in `scales` equal parts."""
        super().__init__()
        sizes = [features // scales, hidden, hidden, hidden]
        self.scales = nn.ModuleList()
        for _ in range(scales):
            layers: list[nn.Module] = []
            for size, following in pairwise(sizes):
                layers += [nn.Linear(size, following), nn.ReLU()]
            self.scales.append(nn.Sequential(*layers, nn.Linear(hidden, dim)))

    def forward(self, x_BF: Tensor) -> Tensor:
        """Returns (B, dim)."""
        parts = x_BF.chunk(len(self.scales), 1)
        return torch.stack([mlp(part) for mlp, part in zip(self.scales, parts, strict=True)]).sum(0)


class TileNet(nn.Module):
    """TorchSpatial's tile: a learned row for each tile, from N(0, 1 / width), through its `Ffn`."""

    def __init__(self, tiles: int, dim: int, hidden: int, *, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tiles, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.ffn = Ffn(width, dim, hidden, dropout=dropout)

    def forward(self, tile_B: Tensor) -> Tensor:
        """Returns (B, dim) for the numbers of tiles (B,), of any type."""
        out_BD: Tensor = self.ffn(self.embedding(tile_B.long()))
        return out_BD


def _exactly(linear: nn.Linear, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.to(linear.weight.dtype), linear.weight, linear.bias)
