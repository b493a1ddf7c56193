"""From a reference to an observation: read, judge, encode; what cannot be had or is not good enough becomes a drop."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geodata import cells
from geodata.grid import distance_m, make_grid, patch_lonlat
from geodata.judge import Thresholds, Verdict, cloud_share, judge_photo, judge_photo_size, judge_raster
from geodata.panorama import crop_panorama
from geodata.photo import PhotoError, decode_photo, describe_photo, open_photo
from geodata.raster import Raster, band_sums, encode_geotiff, encode_jpeg, picture_sums, valid_values
from geodata.sources.source import ReadError, Source
from schemas.drop import Drop, Reason, Stage
from schemas.modality import AERIAL, MODALITIES, PHOTO_SHORT_SIDE_PX, member_name
from schemas.reference import Item
from schemas.sample import Observation, parse_time


@dataclass(frozen=True)
class Encoding:
    """How observations are made."""

    aerial_gsd_m: float = AERIAL.gsd_m
    """Metres per pixel of the aerial patch."""
    photo_px: int = PHOTO_SHORT_SIDE_PX
    """Short side of a stored photo, pixels."""
    pano: str = "keep"
    """360-degree photos: keep (marked), crop (the view straight ahead), drop."""


@dataclass(frozen=True, eq=False)
class Content:
    """An observation, and what it showed before encoding: for statistics, and for comparisons that outlive a codec."""

    observation: Observation
    """The encoded observation."""
    sums: list[list[float]] | None
    """Count, sum and sum of squares of each band over the valid pixels; None for texts, and where there is none."""
    sha256: str
    """Of the decoded content: raster values with gaps as stored, pixels before JPEG, UTF-8 text."""


def observe(key: str, item: Item, source: Source, *, thresholds: Thresholds, encoding: Encoding) -> Content | Drop:
    """Returns the observation of a cell that an item gives, or why it gives none.

    Args:
        key: the H3 cell.
    """
    try:
        if MODALITIES[item.modality].is_raster:
            found = _observe_raster(key, item, source, thresholds=thresholds, encoding=encoding)
        elif item.modality == "street":
            found = _observe_photo(key, item, source, thresholds=thresholds, encoding=encoding)
        else:
            found = _observe_text(key, item, source)
    except ReadError as error:
        return Drop(
            key, item.modality, Stage.READ, error.reason, None, error.detail, item.source, item.item_id, error.retryable
        )
    if isinstance(found, Verdict):
        return Drop(
            key,
            item.modality,
            Stage.JUDGE,
            found.reason,
            round(found.value, 6),
            found.detail,
            item.source,
            item.item_id,
        )
    return found


def _observe_raster(
    key: str, item: Item, source: Source, *, thresholds: Thresholds, encoding: Encoding
) -> Content | Verdict:
    is_aerial = item.modality == AERIAL.name
    raster = source.read_raster(item, make_grid(key, item.modality, gsd_m=encoding.aerial_gsd_m if is_aerial else None))
    if (verdict := judge_raster(raster, key, item.modality, thresholds)) is not None:
        return verdict
    if is_aerial:
        payload = encode_jpeg(np.ascontiguousarray(raster.values.transpose(1, 2, 0), dtype=np.uint8))
    else:
        payload = encode_geotiff(raster, MODALITIES[item.modality], _tags(item, raster))
    lon, lat = patch_lonlat(raster.grid)
    observation = _observation(key, item, payload, lon, lat, raster)
    return Content(observation, _sums(valid_values(raster)), hashlib.sha256(raster.values.tobytes()).hexdigest())


def _observe_photo(
    key: str, item: Item, source: Source, *, thresholds: Thresholds, encoding: Encoding
) -> Content | Verdict:
    if item.is_pano and encoding.pano == "drop":
        return Verdict(Reason.PANORAMA, 360, "a 360-degree photo, and --pano drop leaves these out")
    is_cropped = bool(item.is_pano and encoding.pano == "crop")
    try:
        payload = source.read_bytes(item)
        with open_photo(payload) as image:
            facts = describe_photo(image)
            if (verdict := judge_photo_size(facts.width, facts.height, thresholds)) is not None:
                return verdict
            pixels = decode_photo(payload, image, 2 * encoding.photo_px if is_cropped else encoding.photo_px)
        if is_cropped:  # a quarter of the width becomes the whole picture
            pixels = crop_panorama(pixels, size_px=encoding.photo_px)
    except PhotoError as error:
        raise ReadError(Reason.UNREADABLE, str(error)) from error
    picture = Image.fromarray(pixels)
    sums = picture_sums(picture)
    if (verdict := judge_photo(pixels, sums, thresholds)) is not None:
        return verdict
    shown = replace(item, is_pano=False, note=_join(item.note, "cropped from a panorama")) if is_cropped else item
    observation = _observation(key, shown, encode_jpeg(picture), item.lon, item.lat)
    return Content(observation, sums.tolist(), hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest())


def _observe_text(key: str, item: Item, source: Source) -> Content:
    payload = source.read_text(item).encode()
    return Content(_observation(key, item, payload, item.lon, item.lat), None, hashlib.sha256(payload).hexdigest())


def _observation(
    key: str, item: Item, payload: bytes, lon: float, lat: float, raster: Raster | None = None
) -> Observation:
    return Observation(
        item.modality, member_name(key, item.modality), payload, lon, lat,
        parse_time(item.captured_at) if item.captured_at else None, item.source, item.item_id, item.licence,
        item.attribution, round(distance_m(*cells.centre(key), lon, lat), 3), item.synthetic,
        grid=raster.grid if raster else None,
        valid_share=round(float(raster.valid.mean()), 6) if raster else None,
        cloud_share=round(cloud_share(raster), 6) if raster and item.modality == "sentinel2" else None,
        heading_deg=item.heading_deg, is_pano=item.is_pano, title=item.title, note=_note(item, raster) or None,
    )  # fmt: skip


def _sums(values: NDArray[np.generic]) -> list[list[float]] | None:
    return band_sums(values).tolist() if values.size else None


def _note(item: Item, raster: Raster | None) -> str:
    return _join(item.note, raster.note if raster else "")


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _tags(item: Item, raster: Raster) -> dict[str, str]:
    """What a GeoTIFF member says of itself, so that it can be used alone."""
    tags = {
        "SOURCE": item.source, "ITEM_ID": item.item_id, "LICENCE": item.licence, "ATTRIBUTION": item.attribution,
        "CAPTURED_AT": item.captured_at or "", "NOTE": _note(item, raster),
    }  # fmt: skip
    return {name: value for name, value in tags.items() if value}
