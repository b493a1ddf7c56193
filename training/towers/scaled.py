"""Location encoders: UniGeoCLIP's scaled encoder, and a plain one to compare it with.

Positions stay outside autocast until they are features: see `training.location`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.location import (
    Extent,
    centre_and_half_size,
    draw_matrices,
    fourier_features,
    project_equal_earth,
)
from training.towers.transformer import Transformer


class ScaledEncoder(nn.Module):
    """UniGeoCLIP's latitude-longitude encoder (arXiv 2604.11668): one token for each scale, mixed by a transformer.

    The state dict has the published module's names and shapes (with the batch-first layer of its later version), the
    frozen Gaussian matrices included. The output is the mean of the scale tokens, not normalised.
    """

    def __init__(
        self, sigmas: Sequence[float], width: int = 768, depth: int = 12, heads: int = 12, *,
        hidden: int = 0, registers: int = 4, dropout: float = 0.0, checkpointing: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.loc_enc = nn.ModuleList(_Frequencies(matrix) for matrix in draw_matrices(sigmas, width // 2))
        self.registers = nn.Parameter(torch.randn(registers, width) * 0.02)
        self.transformer = Transformer(width, depth, heads, hidden=hidden, dropout=dropout, checkpointing=checkpointing)

    def forward(self, lonlat_B2: Tensor) -> Tensor:
        """Returns (B, width) for degrees east and north (B, 2); give them in float64."""
        tokens_BKD = self.features(lonlat_B2)
        registers_BRD = self.registers.expand(len(lonlat_B2), -1, -1)
        out_BLD: Tensor = self.transformer(torch.cat([registers_BRD, tokens_BKD], 1))
        return out_BLD[:, len(self.registers) :].mean(1)

    def features(self, lonlat_B2: Tensor) -> Tensor:
        """Returns the tokens of the scales, (B, K, width), computed in float64 and rounded to the weights' type."""
        with torch.autocast(lonlat_B2.device.type, enabled=False):
            matrices = [part.mat for part in self.loc_enc if isinstance(part, _Frequencies)]
            return fourier_features(lonlat_B2, matrices).to(self.registers.dtype)

    def flops(self) -> int:
        """Returns the floating-point operations of the forward pass of one position."""
        return self.transformer.flops(len(self.registers) + len(self.loc_enc))


class PlainEncoder(nn.Module):
    """The baseline: Equal Earth x and y, centred on the extent and scaled to it, through an MLP."""

    def __init__(self, extent: Extent, width: int) -> None:
        super().__init__()
        centre_2, half_size = centre_and_half_size(extent)
        self.centre_2: Tensor
        self.register_buffer("centre_2", centre_2, persistent=False)
        self.half_size = half_size
        self.mlp = nn.Sequential(
            nn.Linear(2, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, lonlat_B2: Tensor) -> Tensor:
        """Returns (B, width) for degrees east and north (B, 2); give them in float64."""
        with torch.autocast(lonlat_B2.device.type, enabled=False):
            xy_B2 = (project_equal_earth(lonlat_B2) - self.centre_2) / self.half_size
            hidden_BD = self.mlp[0](xy_B2.float())
        out_BD: Tensor = self.mlp[1:](hidden_BD)
        return out_BD

    def flops(self) -> int:
        """Returns the floating-point operations of the forward pass of one position."""
        return 2 * sum(layer.weight.numel() for layer in self.mlp if isinstance(layer, nn.Linear))


class _Frequencies(nn.Module):
    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.mat: Tensor
        self.register_buffer("mat", matrix)
