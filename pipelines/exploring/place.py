"""One place as the page shows it: its record, pictures of its views, where photo and article lie in them, its drops."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.errors import RasterioIOError

from geodata import cells
from geodata.grid import pixel_position
from geodata.raster import Raster, decode_geotiff
from pipelines.exploring.pictures import draw_false_colour, draw_relief, draw_true_colour, encode_webp
from schemas.grid import Grid
from schemas.sample import Observation, Sample, format_time

MOST_TEXT = 20_000
"""Characters of an article that are shown."""


@dataclass(frozen=True)
class _Picture:
    """A picture and what is said below it."""

    kind: str
    """What it shows."""
    media: str
    """Its media type."""
    payload: bytes
    """The encoded picture."""
    says: str = ""
    """What the reader should know of it."""

    def as_json(self) -> dict[str, str]:
        data = base64.b64encode(self.payload).decode()
        return {"kind": self.kind, "src": f"data:{self.media};base64,{data}", "says": self.says}


def describe_place(sample: Sample, drops: list[dict[str, Any]], *, with_pictures: bool = True) -> dict[str, Any]:
    """Returns what the page shows of a place, for `pack.script`.

    Args:
        drops: rows of `drops.parquet` that concern the cell.
        with_pictures: False leaves the pictures out.
    """
    return {
        "key": sample.key, "split": sample.split, "lon": sample.lon, "lat": sample.lat, "country": sample.country,
        "observations": [_describe(sample, one, with_pictures) for one in sample.observations],
        "drops": [{name: row[name] for name in ("modality", "stage", "reason", "detail", "count")} for row in drops],
        "pictures": with_pictures,
    }  # fmt: skip


def _describe(sample: Sample, one: Observation, with_pictures: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "modality": one.modality, "title": one.title, "source": one.source, "item": one.item_id, "lon": one.lon,
        "lat": one.lat, "date": format_time(one.captured_at), "licence": one.licence, "credit": one.attribution,
        "distance_m": round(one.distance_m), "cloud": one.cloud_share, "valid": one.valid_share, "note": one.note,
        "heading": one.heading_deg, "is_pano": one.is_pano, "synthetic": one.synthetic, "pictures": [],
    }  # fmt: skip
    if one.modality == "text":
        text = one.payload.decode("utf-8", "replace")
        told["text"] = text[:MOST_TEXT] + (" ..." if len(text) > MOST_TEXT else "")
    elif with_pictures:
        try:
            told["pictures"] = [picture.as_json() for picture in _DRAW[one.modality](one)]
        except (RasterioIOError, ValueError, IndexError) as error:
            told["damage"] = f"cannot be drawn: {error}"
    if one.grid is not None:
        told["grid"] = {"crs": one.grid.crs, "gsd_m": one.grid.gsd_m, "px": one.grid.width}
        told["hexagon"] = [_share(one.grid, lon, lat) for lon, lat in cells.hexagon(sample.key).tolist()]
        told["marks"] = [mark for other in sample.observations if (mark := _mark(one.grid, other))]
    return told


def _mark(grid: Grid, other: Observation) -> dict[str, Any] | None:
    """Returns where a photo or an article lies in a patch, None for what is no point or lies outside."""
    if other.modality not in ("street", "text"):
        return None
    at = _share(grid, other.lon, other.lat)
    if not (0 <= at[0] <= 1 and 0 <= at[1] <= 1):
        return None
    return {"modality": other.modality, "at": at, "heading": other.heading_deg}


def _share(grid: Grid, lon: float, lat: float) -> tuple[float, float]:
    """Returns a position as shares of the patch's width and height, from its upper left corner."""
    column, row = pixel_position(grid, lon, lat)
    return round(column / grid.width, 5), round(row / grid.height, 5)


def _draw_sentinel2(one: Observation) -> list[_Picture]:
    raster = decode_geotiff(one.payload)
    return [
        _webp("true colour", draw_true_colour(raster)),
        _webp("false colour", draw_false_colour(raster), "near infrared, red, green: plants are red"),
    ]


def _draw_elevation(one: Observation) -> list[_Picture]:
    raster = decode_geotiff(one.payload)
    picture, steeper = draw_relief(raster)
    says = f"{_range(raster)}, light from north-west" + (f", slopes x {steeper:.1f}" if steeper > 1.05 else "")
    return [_webp("relief", picture, says)]


def _range(raster: Raster) -> str:
    heights = raster.values[0][raster.valid]
    return f"{np.min(heights):.0f} ... {np.max(heights):.0f} m" if heights.size else "no heights"


def _webp(kind: str, picture: Any, says: str = "") -> _Picture:
    return _Picture(kind, "image/webp", encode_webp(picture), says)


def _as_it_is(one: Observation) -> list[_Picture]:
    return [_Picture("photo" if one.modality == "street" else "aerial image", "image/jpeg", one.payload)]


_DRAW: dict[str, Callable[[Observation], list[_Picture]]] = {
    "sentinel2": _draw_sentinel2, "dem": _draw_elevation, "aerial": _as_it_is, "street": _as_it_is,
}  # fmt: skip
