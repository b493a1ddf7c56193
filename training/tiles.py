"""Softmax cross-entropies between the places of two views, tile by tile: what `training.losses` is made of.

The first pass over a block takes the peak and the sum of every row's and column's softmax, the second its gradient. A
block of moderate size keeps its logits from one to the other, and both are done by the forward pass: three products of
matrices instead of four. Of a larger one there is never more than one tile; the backward pass computes each once more.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

KEPT = 2**26
"""Logits scale * a b' of a block that are kept, at most: 256 MiB in float32, one block at a time."""


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
        """Keeps the softmaxes of all blocks, and the sum of the gradients of moderate ones."""
        ctx.save_for_backward(z_MBD, scale)
        ctx.tile, ctx.blocks, ctx.ahead = tile, [], None
        loss = torch.zeros((), dtype=_precision(z_MBD), device=z_MBD.device)
        for block in blocks:
            a_ND, b_ND = _operands(z_MBD, block)
            is_kept = any(ctx.needs_input_grad) and len(a_ND) * len(b_ND) <= KEPT
            memory = a_ND.new_empty(max(tile * tile, len(a_ND) * len(b_ND) * is_kept))
            positive_N, softmaxes = _contrast(a_ND, b_ND, scale, block, tile, memory)
            kept = []
            for weight, (peak_N, sum_N) in zip((block.forth, block.back), softmaxes, strict=False):
                anchors = slice(block.anchors)
                loss += weight * (peak_N[anchors] - positive_N + sum_N[anchors].log()).sum()
                sum_N[block.anchors :] = math.inf  # the others have no loss: a share of 0
                kept.append((peak_N, weight / sum_N))
            ctx.blocks.append((block, kept, is_kept))
            if is_kept:
                dz_MBD, dscale = ctx.ahead = ctx.ahead or _zeros(z_MBD, scale)
                tiles = _tiles(a_ND, b_ND, scale, block, tile, memory, is_there=True)
                _add_gradient(dz_MBD, dscale, a_ND, b_ND, tiles, block, tile, kept)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Computes each tile of the larger blocks again, of all where it is called again, and adds their gradients."""
        z_MBD, scale = ctx.saved_tensors
        is_ahead, (dz_MBD, dscale) = ctx.ahead is not None, ctx.ahead or _zeros(z_MBD, scale)
        ctx.ahead = None  # overwritten below
        for block, kept, is_kept in ctx.blocks:
            if not (is_ahead and is_kept):
                a_ND, b_ND = _operands(z_MBD, block)
                tiles = _tiles(a_ND, b_ND, scale, block, ctx.tile, a_ND.new_empty(ctx.tile**2))
                _add_gradient(dz_MBD, dscale, a_ND, b_ND, tiles, block, ctx.tile, kept)
        return dz_MBD.mul_(grad * scale).to(z_MBD.dtype), dscale * grad, None, None


def _precision(z_MBD: Tensor) -> torch.dtype:
    return torch.promote_types(z_MBD.dtype, torch.float32)


def _zeros(z_MBD: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(z_MBD, dtype=_precision(z_MBD)), torch.zeros_like(scale)


def _operands(z_MBD: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    dtype = _precision(z_MBD)
    return z_MBD[block.i][block.rows_N].to(dtype), z_MBD[block.j][block.columns_N].to(dtype)


def _contrast(
    a_ND: Tensor, b_ND: Tensor, scale: Tensor, block: Block, tile: int, memory: Tensor
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Returns the logits of the positives, and peak and sum of each row's softmax, then of each column's."""
    positive_N = a_ND.new_empty(block.anchors)
    rows, columns = _Softmax(a_ND, len(b_ND), tile), _Softmax(b_ND, len(a_ND), tile)
    spare = a_ND.new_empty(tile * tile)
    for r, c, logits in _tiles(a_ND, b_ND, scale, block, tile, memory):
        start, diagonal = _positives(logits, r, c, block)
        positive_N[start : start + len(diagonal)] = diagonal
        rows.see(logits, 1, r, c, spare)
        if block.back:
            columns.see(logits, 0, c, r, spare)
    return positive_N, [rows.merge(), columns.merge()] if block.back else [rows.merge()]


def _add_gradient(
    dz_MBD: Tensor, dscale: Tensor, a_ND: Tensor, b_ND: Tensor, tiles: "Iterator[_Tile]", block: Block, tile: int,
    kept: list[tuple[Tensor, Tensor]],
) -> None:  # fmt: skip
    """Adds the gradients of a block: of both views, divided by the scale, and of the scale. Overwrites a_ND."""
    da_ND, db_ND = torch.zeros_like(a_ND), torch.zeros_like(b_ND)
    spare = a_ND.new_empty(tile * tile)
    (row_peak_N, row_share_N), *columns = kept
    for r, c, logits in tiles:
        slope = torch.sub(logits, row_peak_N[r, None], out=_shaped(spare, logits))
        slope.exp_().mul_(row_share_N[r, None])
        for peak_N, share_N in columns:
            slope.addcmul_(logits.sub_(peak_N[c]).exp_(), share_N[c])
        _positives(slope, r, c, block)[1].sub_(block.forth + block.back)
        da_ND[r].addmm_(slope, b_ND[c])
        db_ND[c].addmm_(slope.T, a_ND[r])
    dz_MBD[block.i].index_add_(0, block.rows_N, da_ND)
    dz_MBD[block.j].index_add_(0, block.columns_N, db_ND)
    dscale += a_ND.mul_(da_ND).sum()


_Tile = tuple[slice, slice, Tensor]
"""Rows, columns, and the logits between them."""


def _tiles(
    a_ND: Tensor, b_ND: Tensor, scale: Tensor, block: Block, tile: int, memory: Tensor, *, is_there: bool = False
) -> Iterator[_Tile]:
    """Yields all tiles of a block.

    Args:
        memory: for one tile, or for all: then each has its own place.
        is_there: they have been computed into their places before.
    """
    keeps, start = len(memory) >= len(a_ND) * len(b_ND), 0
    for top in range(0, len(a_ND), tile):
        for left in range(0, len(b_ND), tile):
            if top >= block.anchors and left >= block.anchors:
                continue  # no anchor is here
            r, c = slice(top, min(top + tile, len(a_ND))), slice(left, min(left + tile, len(b_ND)))
            shape = (r.stop - r.start, c.stop - c.start)
            logits = memory[start : start + math.prod(shape)].view(shape)
            start += logits.numel() * keeps
            if not is_there:
                torch.mm(a_ND[r], b_ND[c].T, out=logits).mul_(scale)
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
