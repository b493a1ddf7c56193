"""Where a query could lie, as a map: over a region, and inside one Sentinel-2 patch.

The region is seen through the location tower, the patch through the query of its map (GAIR's figure 4).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray
from torch import Tensor

from schemas.modality import SENTINEL2
from schemas.page.pictures import Colours, show_true_colour
from training.data.batch import LOCATION
from training.evaluation.canvas import new_figure, save_figure

_GREY = "#555555"
_HEXAGONS = (36, 21)
"""Across and upwards: about regular where the area is about square."""


class Localises(Protocol):
    """What a model must be able to do."""

    def encode(self, view: str, values: Tensor) -> Tensor:
        """Returns unit vectors (N, D) of one view."""
        ...

    def localise(self, stored_BCHW: Tensor, xy_BQ2: Tensor) -> Tensor:
        """Returns unit vectors (B, Q, D) of points in Sentinel-2 patches."""
        ...


@dataclass(frozen=True, eq=False)
class Heat:
    """Cosine similarity of one query over an area, row 0 in the north."""

    similarity_HW: NDArray[np.float32]
    extent: tuple[float, float, float, float]
    """West, south, east, north of the outer edges: degrees, or -1 ... 1 inside a patch (y to the south)."""


def map_region(
    model: Localises, z_D: NDArray[np.float32], extent: tuple[float, float, float, float], *, columns: int = 200
) -> Heat:
    """Returns how alike a query and the locations of a region are.

    Args:
        z_D: unit vector of the query.
        extent: west, south, east, north in degrees, west < east.
        columns: of the map; its rows follow from a cosine of the middle latitude, so that cells are about square.
    """
    return Heat(embed_region(model, extent, columns=columns) @ z_D, extent)


@torch.inference_mode()
def embed_region(
    model: Localises, extent: tuple[float, float, float, float], *, columns: int = 200
) -> NDArray[np.float32]:
    """Returns the unit vectors (H, W, D) of the locations that `map_region` compares, for many queries."""
    west, south, east, north = extent
    squeeze = np.cos(np.radians((south + north) / 2))
    rows = max(1, round(columns * (north - south) / ((east - west) * squeeze)))
    lon = west + (np.arange(columns) + 0.5) * (east - west) / columns
    lat = north - (np.arange(rows) + 0.5) * (north - south) / rows
    lonlat = torch.from_numpy(np.stack(np.meshgrid(lon, lat), -1).reshape(-1, 2))
    z_HWD: NDArray[np.float32] = torch.cat([model.encode(LOCATION, part) for part in lonlat.split(4096)]).numpy()
    return z_HWD.reshape(rows, columns, -1)


@torch.inference_mode()
def map_patch(model: Localises, z_D: NDArray[np.float32], stored_CHW: Tensor, *, cells: int = 64) -> Heat:
    """Returns how alike a query and the points of a Sentinel-2 patch are, as (cells, cells)."""
    at = (torch.arange(cells) + 0.5) / cells * 2 - 1
    xy_Q2 = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1).reshape(-1, 2)
    z_QD = model.localise(stored_CHW[None], xy_Q2[None])[0]
    return Heat((z_QD @ torch.from_numpy(z_D)).reshape(cells, cells).numpy(), (-1.0, 1.0, 1.0, -1.0))


def draw_true_colour(values_CHW: NDArray[np.generic]) -> Colours:
    """Returns red, green and blue of a Sentinel-2 patch (12 bands, uint16), (H, W, 3), gaps black."""
    return show_true_colour(values_CHW, (values_CHW != SENTINEL2.nodata).any(axis=0))


def draw_query(
    photo_HWC: NDArray[np.uint8], region: Heat, patch: Heat, stored_CHW: Tensor, path: Path, *,
    lonlat: tuple[float, float], spot: tuple[float, float] | None,
) -> Path:  # fmt: skip
    """Draws a photo, its similarity over the region and inside its patch; stars mark the truth."""
    figure = new_figure((13.0, 3.6))
    seen, over, true_colour, inside = figure.subplots(1, 4, width_ratios=[1, 1.5, 1, 1.15])
    seen.imshow(photo_HWC)
    shown = _show(over, region, aspect=1 / np.cos(np.radians((region.extent[1] + region.extent[3]) / 2)))
    over.plot(*lonlat, "*", color="white", mec="black", ms=15)
    figure.colorbar(shown, ax=over, shrink=0.8)
    true_colour.imshow(draw_true_colour(stored_CHW.numpy().view(np.uint16)), extent=(-1, 1, 1, -1))
    shown = _show(inside, patch, aspect="equal")
    figure.colorbar(shown, ax=inside, shrink=0.8)
    if spot is not None:
        for axes in (true_colour, inside):
            axes.plot(*spot, "*", color="white", mec="black", ms=15)
    titles = ("the photo that searches", "similarity of locations", "Sentinel-2", "similarity inside the patch")
    for axes, title in zip((seen, over, true_colour, inside), titles, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(labelsize=8, colors=_GREY)
        if axes is not over:
            axes.set_xticks([]), axes.set_yticks([])
    return save_figure(figure, path)


def draw_errors(lonlat_N2: NDArray[np.float64], error_km_N: NDArray[np.float64], title: str, path: Path) -> Path:
    """Draws how far off queries were placed, on a logarithmic scale: the median of those in each hexagon."""
    figure = new_figure((6.4, 5.4))
    axes = figure.subplots()
    (west, south), (east, north) = lonlat_N2.min(axis=0).tolist(), lonlat_N2.max(axis=0).tolist()
    rim = max(0.05, 0.04 * (east - west), 0.04 * (north - south))
    digits_N = np.log10(np.maximum(error_km_N, 0.01))
    ticks = np.arange(np.floor(digits_N.min()), np.ceil(digits_N.max()) + 1)
    shown = draw_hexagons(
        axes, lonlat_N2, digits_N, (west - rim, south - rim, east + rim, north + rim), (ticks[0], ticks[-1])
    )
    bar = figure.colorbar(shown, ax=axes, ticks=ticks)
    bar.ax.set_yticklabels([f"{10.0**tick:g} km" for tick in ticks], fontsize=9)
    axes.set_aspect(1 / np.cos(np.radians(float(lonlat_N2[:, 1].mean()))))
    axes.set_xlabel("longitude, degrees", fontsize=10)
    axes.set_ylabel("latitude, degrees", fontsize=10)
    axes.tick_params(labelsize=9, colors=_GREY)
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    return save_figure(figure, path)


def draw_hexagons(
    axes: Axes, lonlat_N2: NDArray[np.float64], value_N: NDArray[np.float64],
    extent: tuple[float, float, float, float], limits: tuple[float, float],
) -> PolyCollection:  # fmt: skip
    """Draws the median of the values in each hexagon that holds a position.

    Args:
        extent: west, south, east, north in degrees.
        limits: the values that have the first and the last colour.
    """
    west, south, east, north = extent
    axes.set(xlim=(west, east), ylim=(south, north))
    return axes.hexbin(
        lonlat_N2[:, 0], lonlat_N2[:, 1], value_N, gridsize=_HEXAGONS, extent=(west, east, south, north),
        reduce_C_function=np.median, cmap="viridis_r", vmin=limits[0], vmax=limits[1], linewidths=0.2,
    )  # fmt: skip


def _show(axes: Axes, heat: Heat, aspect: Any) -> Any:
    west, south, east, north = heat.extent
    return axes.imshow(heat.similarity_HW, cmap="magma", extent=(west, east, south, north), aspect=aspect)
