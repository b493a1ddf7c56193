"""Softmax cross-entropies between the places of two views, tile by tile: what `training.losses` is made of.

Of the matrix of logits scale * a b' there is never more than one tile. The forward pass keeps the peak and the sum of
every row's and column's softmax; the backward pass computes each tile once more.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True, eq=False)
class Block:
    """The logits between two views: a row for each place in `rows_N`, a column for each in `columns_N`."""

    i: int
    """View of the rows."""
    j: int
    """View of the columns."""
    rows_N: Tensor
    """int64, places of the batch; the anchors, which have both views, come first."""
    columns_N: Tensor
    """int64, places of the batch; those with both views come first, in the same order."""
    anchors: int
    """How many rows have a positive; with `back`, as many columns have theirs."""
    forth: float
    """Weight of the cross-entropy of each anchor among the rows, over the columns: i -> j."""
    back: float = 0.0
    """Weight of the cross-entropy of each anchor among the columns, over the rows: j -> i; 0 = not computed."""
    first: int = 0
    """The column of the positive of row 0; row 1 has the next one."""
    near: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    """Logits that count as minus infinity: their rows and columns (2, K) inside the tile that starts at that corner."""


class Contrast(torch.autograd.Function):
    """Sum of the weighted cross-entropies of all blocks: (z_MBD, scale, blocks, tile) -> scalar.

    With p and q the softmax of the logits T along rows and columns, dL/dT = forth p + back q - (forth + back) at the
    positives. The gradients of a and b are two products with it, and that of the scale is read off one of them:
    dL/dscale = <dL/dT, a b'> = <a, dL/da> / scale.
    """

    @staticmethod
    def forward(ctx: Any, z_MBD: Tensor, scale: Tensor, blocks: list[Block], tile: int) -> Tensor:
        """Keeps the softmaxes of each block, not its logits."""
        ctx.save_for_backward(z_MBD, scale)
        ctx.blocks, ctx.tile, ctx.kept = blocks, tile, []
        loss = torch.zeros((), dtype=_precision(z_MBD), device=z_MBD.device)
        for block in blocks:
            positive_N, softmaxes = _contrast(*_operands(z_MBD, block), scale, block, tile)
            kept = []
            for weight, (peak_N, sum_N) in zip((block.forth, block.back), softmaxes, strict=False):
                anchors = slice(block.anchors)
                loss += weight * (peak_N[anchors] - positive_N + sum_N[anchors].log()).sum()
                sum_N[block.anchors :] = math.inf  # the others have no loss: a share of 0
                kept.append((peak_N, weight / sum_N))
            ctx.kept.append(kept)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Computes each tile again and multiplies its gradient into both views."""
        z_MBD, scale = ctx.saved_tensors
        dz_MBD = torch.zeros_like(z_MBD, dtype=_precision(z_MBD))
        dscale = torch.zeros_like(scale)
        for block, kept in zip(ctx.blocks, ctx.kept, strict=True):
            a_ND, b_ND = _operands(z_MBD, block)
            da_ND, db_ND = _differentiate(a_ND, b_ND, scale, block, ctx.tile, kept)
            dscale += a_ND.mul_(da_ND).sum()
            dz_MBD[block.i].index_add_(0, block.rows_N, da_ND)
            dz_MBD[block.j].index_add_(0, block.columns_N, db_ND)
        return dz_MBD.mul_(grad * scale).to(z_MBD.dtype), dscale * grad, None, None


def _precision(z_MBD: Tensor) -> torch.dtype:
    return torch.promote_types(z_MBD.dtype, torch.float32)


def _operands(z_MBD: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    dtype = _precision(z_MBD)
    return z_MBD[block.i][block.rows_N].to(dtype), z_MBD[block.j][block.columns_N].to(dtype)


def _contrast(
    a_ND: Tensor, b_ND: Tensor, scale: Tensor, block: Block, tile: int
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Returns the logits of the positives, and peak and sum of each row's softmax, then of each column's."""
    positive_N = a_ND.new_empty(block.anchors)
    rows, columns = _Softmax(a_ND, len(b_ND), tile), _Softmax(b_ND, len(a_ND), tile)
    spare = a_ND.new_empty(tile * tile)
    for r, c, logits in _tiles(a_ND, b_ND, scale, block, tile):
        start, diagonal = _positives(logits, r, c, block)
        positive_N[start : start + len(diagonal)] = diagonal
        rows.see(logits, 1, r, c, spare)
        if block.back:
            columns.see(logits, 0, c, r, spare)
    return positive_N, [rows.merge(), columns.merge()] if block.back else [rows.merge()]


def _differentiate(
    a_ND: Tensor, b_ND: Tensor, scale: Tensor, block: Block, tile: int, kept: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Returns the gradients of a_ND and b_ND, divided by the scale."""
    da_ND, db_ND = torch.zeros_like(a_ND), torch.zeros_like(b_ND)
    spare = a_ND.new_empty(tile * tile)
    (row_peak_N, row_share_N), *columns = kept
    for r, c, logits in _tiles(a_ND, b_ND, scale, block, tile):
        slope = torch.sub(logits, row_peak_N[r, None], out=_shaped(spare, logits))
        slope.exp_().mul_(row_share_N[r, None])
        for peak_N, share_N in columns:
            slope.addcmul_(logits.sub_(peak_N[c]).exp_(), share_N[c])
        _positives(slope, r, c, block)[1].sub_(block.forth + block.back)
        da_ND[r].addmm_(slope, b_ND[c])
        db_ND[c].addmm_(slope.T, a_ND[r])
    return da_ND, db_ND


def _tiles(a_ND: Tensor, b_ND: Tensor, scale: Tensor, block: Block, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yields rows, columns and logits of each tile, always in the same memory."""
    memory = a_ND.new_empty(tile * tile)
    for top in range(0, len(a_ND), tile):
        for left in range(0, len(b_ND), tile):
            if top >= block.anchors and left >= block.anchors:
                continue  # no anchor is here
            r, c = slice(top, min(top + tile, len(a_ND))), slice(left, min(left + tile, len(b_ND)))
            shape = (r.stop - r.start, c.stop - c.start)
            logits = torch.mm(a_ND[r], b_ND[c].T, out=memory[: math.prod(shape)].view(shape)).mul_(scale)
            if (top, left) in block.near:
                logits[tuple(block.near[top, left])] = -math.inf
            yield r, c, logits


def _shaped(memory: Tensor, like: Tensor) -> Tensor:
    return memory[: like.numel()].view(like.shape)


def _positives(tile: Tensor, r: slice, c: slice, block: Block) -> tuple[int, Tensor]:
    """Returns the first anchor that has its positive in a tile, and a view of these positives (there may be none)."""
    offset = block.first + r.start - c.start
    return r.start + max(0, -offset), tile[: max(0, block.anchors - r.start)].diagonal(offset)


class _Softmax:
    """Peak and sum of exponentials of N lines of logits that are seen in pieces."""

    def __init__(self, line_ND: Tensor, length: int, tile: int) -> None:
        self.lowest, self.tile = torch.finfo(line_ND.dtype).min, tile
        self.peak_KN = line_ND.new_full((math.ceil(length / tile), len(line_ND)), self.lowest)
        self.sum_KN = torch.zeros_like(self.peak_KN)

    def see(self, logits: Tensor, dim: int, lines: slice, at: slice, spare: Tensor) -> None:
        """Takes in a piece of some lines, which run along `dim`."""
        piece = at.start // self.tile
        peak = logits.amax(dim, keepdim=True).clamp_min_(self.lowest)  # where all is -inf
        self.peak_KN[piece, lines] = peak.squeeze(dim)
        self.sum_KN[piece, lines] = torch.sub(logits, peak, out=_shaped(spare, logits)).exp_().sum(dim)

    def merge(self) -> tuple[Tensor, Tensor]:
        """Returns peak and sum of whole lines."""
        peak_N = self.peak_KN.amax(0)
        return peak_N, self.sum_KN.mul_((self.peak_KN - peak_N).exp_()).sum(0)
