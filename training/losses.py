"""The contrast between all views of a batch: exact, with the logits of one pair of views at most (`training.tiles`).

Knows which rows of which views meet, and with which weight; does not know how the embeddings were made.
"""

import itertools
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from training.tiles import Block, Contrast

TILE = {"cpu": 512, "cuda": 4096}
"""Rows and columns of logits at a time: one megabyte stays in a core's cache; a GPU wants few, large products."""


def all_to_all(
    z_MBD: Tensor,
    present_MB: Tensor,
    scale: Tensor | float,
    *,
    include_self: bool = False,
    weights_MM: Tensor | None = None,
    negatives: Literal["pair", "candidate"] = "pair",
    per: Literal["pair", "anchor"] = "pair",
    near_K2: Tensor | None = None,
    tile: int | None = None,
    rows: tuple[int, int] | None = None,
) -> Tensor:
    """Returns the InfoNCE loss between all views, as UniGeoCLIP has it (arXiv 2604.11668): a mean over ordered pairs.

    The anchors of a pair of views (i, j) are the places that have both. With w_ij over the pairs in use, which are
    those with a weight and at least two anchors, the loss is sum w_ij L_ij / sum w_ij, where
    L_ij = mean over anchors b of [log sum_c exp(scale z_ib . z_jc) - scale z_ib . z_jb].
    With two views it is CLIP's (arXiv 2103.00020, figure 3). Differentiable once, in z_MBD and scale.

    Args:
        z_MBD: unit vectors; rows of absent views are not read. Computed in float32, or in float64 if given so.
        present_MB: bool; read on the CPU, so that on a GPU the call waits for it unless it is there already.
        scale: factor of the cosines: the inverse of the temperature.
        include_self: also the pairs i = j, which push the places of one view apart.
        weights_MM: w from rows to columns, constants; None = 1. Nothing is computed for a weight of 0.
        negatives: c runs over the anchors of the pair ("pair") or over all places that have view j ("candidate").
        per: what weighs the same: every pair of views, or every anchor. Per anchor w_ij is multiplied by the number of
            anchors, and one is enough: with "candidate" and w from views to one hub this is NT-Xent over the
            observations of all views together.
        near_K2: int64, pairs (b, c) of places, in both orders, that are not negatives of each other in any pair.
        tile: rows and columns of logits at a time; None = `TILE`.
        rows: first and last + 1 of the places that are this process's anchors. The losses of processes that share out
            all places add up to the loss, and so do their gradients.

    Returns:
        A scalar; where no pair is in use, a 0 whose gradients are 0.

    Raises:
        ValueError: if shapes do not belong together, a weight is negative, or `negatives` is another word.
    """
    if present_MB.shape != z_MBD.shape[:2]:
        raise ValueError(f"present_MB has the shape {(*present_MB.shape,)}: z_MBD, {(*z_MBD.shape,)}, has other rows.")
    if negatives not in ("pair", "candidate"):
        raise ValueError(f"Negatives {negatives!r} are not known: choose 'pair' or 'candidate'.")
    device, tile = z_MBD.device, min(tile or TILE.get(z_MBD.device.type, 512), z_MBD.shape[1])
    here_MB = present_MB.cpu()
    blocks = []
    for i, j, forth, back in _pairs(_weigh(here_MB, weights_MM, include_self, per), is_shared=rows is not None):
        rows_N, columns_N, first = _meet(here_MB[i], here_MB[j], both_ways=back > 0, negatives=negatives, rows=rows)
        anchors = min(len(rows_N), int((here_MB[i] & here_MB[j]).sum()))
        near = {} if near_K2 is None else _by_tile(near_K2.cpu(), rows_N, columns_N, z_MBD.shape[1], tile)
        near = {corner: at_2K.to(device) for corner, at_2K in near.items()}
        blocks.append(Block(i, j, rows_N.to(device), columns_N.to(device), anchors, forth, back, first, near))
    factor = torch.as_tensor(scale).to(device, torch.promote_types(z_MBD.dtype, torch.float32))
    loss: Tensor = Contrast.apply(z_MBD, factor, blocks, tile)
    return loss


def _weigh(here_MB: Tensor, weights_MM: Tensor | None, include_self: bool, per: str) -> list[list[float]]:
    """Returns, for each ordered pair, the weight of one anchor's cross-entropy; over all anchors they add up to 1."""
    anchors_MM = here_MB.double() @ here_MB.double().T
    weights_MM = torch.ones_like(anchors_MM) if weights_MM is None else weights_MM.detach().to(anchors_MM)
    if (weights_MM < 0).any():
        raise ValueError(f"A pair of views has the weight {weights_MM.min():g}: give 0 (not used) or more.")
    weights_MM = weights_MM * (anchors_MM if per == "anchor" else anchors_MM >= 2)
    if not include_self:
        weights_MM.fill_diagonal_(0)
    weights: list[list[float]] = torch.where(weights_MM > 0, weights_MM / anchors_MM / weights_MM.sum(), 0).tolist()
    return weights


def _pairs(weights: list[list[float]], *, is_shared: bool) -> Iterator[tuple[int, int, float, float]]:
    """Yields pairs of views with the weights forth (never 0) and back: one logit serves both ways.

    Not if places are shared out: then a process has whole rows of logits, but of the columns only a part.
    """
    for i, j in itertools.combinations_with_replacement(range(len(weights)), 2):
        forth, back = weights[i][j], weights[j][i] if i != j else 0.0
        if forth and back and not is_shared:
            yield i, j, forth, back
        else:
            yield from ((i, j, forth, 0.0),) if forth else ()
            yield from ((j, i, back, 0.0),) if back else ()


def _meet(
    i_B: Tensor, j_B: Tensor, *, both_ways: bool, negatives: str, rows: tuple[int, int] | None
) -> tuple[Tensor, Tensor, int]:
    """Returns the places of the rows, those of the columns, and the column of the first row's positive."""
    rows_N = columns_N = (i_B & j_B).nonzero().flatten()
    if negatives == "candidate":
        rows_N = torch.cat([rows_N, (i_B & ~j_B).nonzero().flatten()]) if both_ways else rows_N
        columns_N = torch.cat([columns_N, (j_B & ~i_B).nonzero().flatten()])
    if rows is None:
        return rows_N, columns_N, 0
    first, last = torch.searchsorted(rows_N, torch.tensor(rows)).tolist()
    return rows_N[first:last], columns_N, first


def _by_tile(
    near_K2: Tensor, rows_N: Tensor, columns_N: Tensor, places: int, tile: int
) -> dict[tuple[int, int], Tensor]:
    """Returns, for the corner of each tile that has any, the rows and columns (2, K) of near pairs inside it."""
    line_2B = torch.full((2, places), -1)
    line_2B[0, rows_N], line_2B[1, columns_N] = torch.arange(len(rows_N)), torch.arange(len(columns_N))
    near_K2 = near_K2[near_K2[:, 0] != near_K2[:, 1]]
    at_2K = line_2B.gather(1, near_K2.T)
    at_2K = at_2K[:, (at_2K >= 0).all(0)]
    at_2K = at_2K[:, (at_2K[0] // tile * places + at_2K[1] // tile).argsort()]
    corners_2T, counts_T = torch.unique_consecutive(at_2K // tile * tile, dim=1, return_counts=True)
    parts = torch.split(at_2K % tile, counts_T.tolist(), dim=1)
    return {(top, left): part for (top, left), part in zip(corners_2T.T.tolist(), parts, strict=True)}
