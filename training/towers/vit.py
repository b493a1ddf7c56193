"""Compact vision transformers with register tokens, one for every raster modality.

Registers: Darcet et al. 2024, "Vision Transformers Need Registers". Patches enter through a linear layer, which on a
CPU is cheaper than the equal convolution; their places through a learned row and a learned column embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.towers.magnitude import Magnitudes, make_mixer
from training.towers.pixels import Bands, Heights, Picture
from training.towers.transformer import Transformer


@dataclass(frozen=True)
class VitShape:
    """What a vision transformer is made of."""

    width: int
    depth: int
    heads: int
    dim: int
    """Width of the joint space."""
    registers: int = 4
    pool: str = "mean"
    """mean: the embedding is the mean of the patches; cls: a token of its own."""
    dropout: float = 0.0
    keep: float = 1.0
    """Share of the patches that training looks at, drawn anew each time (Liu et al., arXiv 2208.07220; Li et al.,
    arXiv 2212.00794): cheaper, and nothing is learnt by heart. Of elevation, also the share of the rasters whose shape
    is looked at: where it is always there, heights are hardly learnt from. Of pictures, what is left out also sets the
    dropout of what is read from their mean colours, 0.4 of it."""
    checkpointing: bool = False


class VisionTower(nn.Module):
    """One raster modality to the joint space: what its patches say, plus what a few numbers of the whole say.

    Mean colours and heights are hardly learnt from tokens in a short run; a perceptron of their own reads them.
    """

    def __init__(self, pixels: Bands | Picture | Heights, shape: VitShape) -> None:
        """Takes what cuts the stored pixels into patches, and the shape of the transformer."""
        super().__init__()
        self.pixels, self.width = pixels, shape.width
        rows, columns = pixels.grid
        self.rows_H1D = nn.Parameter(torch.randn(rows, 1, shape.width) * 0.02)
        self.columns_1WD = nn.Parameter(torch.randn(1, columns, shape.width) * 0.02)
        self.kept = max(1, round(shape.keep * rows * columns))
        self.pools_mean = shape.pool == "mean"
        self.registers_RD = nn.Parameter(torch.randn(shape.registers + (not self.pools_mean), shape.width) * 0.02)
        self.patch = nn.Linear(pixels.values, shape.width)
        self.hidden_share = 1 - shape.keep if isinstance(pixels, Heights) else 0.0
        self.summary: nn.Module
        if isinstance(pixels, Heights):
            self.summary = Magnitudes(pixels.numbers, shape.dim, hidden=2 * shape.width)
        else:
            self.summary = make_mixer(
                pixels.numbers, shape.dim, hidden=min(2 * shape.width, 512), dropout=0.4 * (1 - shape.keep)
            )
        self.transformer = Transformer(
            shape.width, shape.depth, shape.heads, dropout=shape.dropout, checkpointing=shape.checkpointing
        )
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.dim, bias=False)

    def forward(self, stored: Tensor, focus_B2: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Encodes the tensor of one field of `Batch`.

        Args:
            focus_B2: where in its patch the place lies, x to the right, y down, -1 ... 1; None: in the middle.

        Returns:
            (B, dim), not normalised, and the map of the patches (B, width, H, W), row 0 in the north; None where only
            some were looked at.
        """
        patches_BLP, numbers_BN = self.pixels(stored) if focus_B2 is None else self.pixels(stored, focus_B2)
        tokens_BLD = self.patch(patches_BLP)
        tokens_BLD = tokens_BLD + (self.rows_H1D + self.columns_1WD).flatten(0, 1)
        is_whole = not self.training or self.kept == tokens_BLD.shape[1]
        if not is_whole:
            tokens_BLD = draw_tokens(tokens_BLD, self.kept)
        registers_BRD = self.registers_RD.to(tokens_BLD.dtype).expand(len(stored), -1, -1)
        tokens_BLD = self.norm(self.transformer(torch.cat([registers_BRD, tokens_BLD], 1)))
        patches_BLD = tokens_BLD[:, len(self.registers_RD) :]
        out_BD = self.head(patches_BLD.mean(1) if self.pools_mean else tokens_BLD[:, 0])
        if self.training and self.hidden_share:
            out_BD = out_BD * (torch.rand(len(stored), 1, device=stored.device) >= self.hidden_share)
        return out_BD + self.summary(numbers_BN), patches_BLD.transpose(1, 2).unflatten(
            2, self.pixels.grid
        ) if is_whole else None

    def flops(self) -> int:
        """Returns the operations of the forward pass of one sample; in training of the patches that are kept."""
        rows, columns = self.pixels.grid
        tokens = (self.kept if self.training else rows * columns) + len(self.registers_RD)
        return self.transformer.flops(tokens) + 2 * (rows * columns * self.patch.weight.numel())


def draw_tokens(tokens_BLD: Tensor, count: int) -> Tensor:
    """Returns so many tokens of each sample (B, count, D), drawn by torch's default generator."""
    order_BL = torch.rand(tokens_BLD.shape[:2], device=tokens_BLD.device).argsort(1)[:, :count]
    return tokens_BLD.gather(1, order_BL[:, :, None].expand(-1, -1, tokens_BLD.shape[2]))
