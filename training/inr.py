"""The implicit query of a feature map at points between its cells: LIIF's local ensemble, as GAIR uses it.

Two forms give the same numbers: gather the neighbourhoods of the points, or convolve the whole map first.
"""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Half a cell right and down from a point to the cells around it; turned around, each meets its opposite."""
_SHIFT = 1e-6
"""Keeps points off the ties in the middle of cells and on the border; LIIF's value."""
_LEAST_AREA = 1e-9
"""LIIF's value."""


class Predictor(nn.Module):
    """Reads the embedding of a point from the 3 x 3 cells around a corner and the way from that corner to the point.

    GAIR's released one is a single linear layer: inside the map it comes down to bilinear interpolation. LIIF's has
    hidden layers. Inputs are 9 C values, channel by channel, each row by row, then the way (x, y) in half cells.
    """

    def __init__(self, channels: int, dim: int, hidden: int | None = None, layers: int = 2) -> None:
        """Takes C and D; the width and the number of hidden layers (ReLU), `hidden` None has none."""
        super().__init__()
        widths = [hidden] * layers if hidden else []
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip([9 * channels + 2, *widths], [*widths, dim], strict=True)
        )

    def forward(self, values: Tensor, share: Tensor, done: int = 0) -> Tensor:
        """Maps the inputs of four corners, or what the first `done` layers made of them, to one embedding.

        The last layer is linear and the shares add up to 1, so that corners are blended before it.

        Args:
            values: (..., 4, 9 C + 2), or the width of layer `done`.
            share: (..., 4).
            done: layers that were applied elsewhere; after the last there is no ReLU.
        """
        for layer in self.layers[done:-1]:
            values = F.relu(layer(values))
        blended = (values * share[..., None]).sum(-2)
        embedding: Tensor = self.layers[-1](blended) if done < len(self.layers) else blended
        return embedding


def query(
    features_BCHW: Tensor, xy_BQ2: Tensor, predictor: Predictor, *, form: Literal["auto", "gather", "conv"] = "auto"
) -> Tensor:
    """Returns the embeddings (B, Q, D) of points in a feature map (LIIF, arXiv 2012.09161; GAIR, arXiv 2503.16683).

    The predictor answers from each of the four cells around a point; an answer counts by the area of the rectangle
    between the point and the opposite cell.

    Args:
        features_BCHW: the map; beyond its border it counts as 0.
        xy_BQ2: x along rows, y down columns, both -1 ... 1 between the outer edges of the map.
        predictor: made for C channels.
        form: gather reads the 3 x 3 cells around each corner, conv applies the first layer to the whole map; auto takes
            that with fewer places to apply it at. They differ only by rounding.
    """
    if form not in ("auto", "gather", "conv"):
        raise ValueError(f"Form {form!r} is not known: choose 'auto', 'gather' or 'conv'.")
    height, width = features_BCHW.shape[2:]
    cell_BQ42, way_BQ42, share_BQ4 = _corners(xy_BQ2, height, width)
    way_BQ42, share_BQ4 = way_BQ42.to(features_BCHW.dtype), share_BQ4.to(features_BCHW.dtype)
    if form == "auto":
        form = "gather" if 4 * xy_BQ2.shape[1] < height * width else "conv"
    if form == "gather":
        around_BQ4N = _neighbourhoods(features_BCHW, cell_BQ42)
        return predictor.forward(torch.cat([around_BQ4N, way_BQ42], -1), share_BQ4)
    first = cast(nn.Linear, predictor.layers[0])
    kernel = first.weight[:, :-2].reshape(len(first.weight), -1, 3, 3)
    map_BHWN = F.conv2d(features_BCHW, kernel, first.bias, padding=1).permute(0, 2, 3, 1)
    values_BQ4N = _pick(map_BHWN, cell_BQ42) + F.linear(way_BQ42, first.weight[:, -2:])
    return predictor.forward(F.relu(values_BQ4N) if len(predictor.layers) > 1 else values_BQ4N, share_BQ4, done=1)


def _corners(xy_BQ2: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns of the four cells around each point: column and row, half cells to the point, and their share."""
    xy_BQ12 = xy_BQ2.double().unsqueeze(2)
    cells_2, step_42 = xy_BQ12.new_tensor([width, height]), xy_BQ12.new_tensor(_CORNERS)
    at_BQ42 = (xy_BQ12 + step_42 / cells_2 + _SHIFT).clamp(_SHIFT - 1, 1 - _SHIFT)
    cell_BQ42 = ((at_BQ42 + 1) / 2 * cells_2).long()
    way_BQ42 = (xy_BQ12 + 1) * cells_2 - (2 * cell_BQ42 + 1)  # LIIF counts half cells: -2 ... 2
    area_BQ4 = way_BQ42.prod(-1).abs() + _LEAST_AREA
    return cell_BQ42, way_BQ42, area_BQ4.flip(-1) / area_BQ4.sum(-1, keepdim=True)


def _neighbourhoods(features_BCHW: Tensor, cell_BQ42: Tensor) -> Tensor:
    """Returns the 3 x 3 cells around each cell, (B, Q, 4, 9 C), channel by channel."""
    padded_BHWC = F.pad(features_BCHW.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    steps_92 = torch.cartesian_prod(*[torch.arange(3, device=cell_BQ42.device)] * 2).flip(-1)  # row by row
    return _pick(padded_BHWC, cell_BQ42.unsqueeze(-2) + steps_92).transpose(-1, -2).flatten(-2)


def _pick(map_BHWC: Tensor, cell: Tensor) -> Tensor:
    """Returns the values of cells (B, ..., 2), given as column and row, as (B, ..., C)."""
    size, height, width, _ = map_BHWC.shape
    sample = torch.arange(size, device=cell.device).view(-1, *[1] * (cell.dim() - 2))
    index = (sample * height + cell[..., 1]) * width + cell[..., 0]
    return map_BHWC.flatten(0, 2).index_select(0, index.flatten()).view(*index.shape, -1)
