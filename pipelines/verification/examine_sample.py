"""One sample of a finished corpus: whether its members decode and say what the house rules say of its cell.

It knows nothing of tars or tables.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from geodata import cells
from geodata.grid import distance_m, holds, make_grid, patch_lonlat
from geodata.licences import ALL, allows
from geodata.raster import decode_geotiff, decode_jpeg, valid_values
from schemas.grid import Grid
from schemas.modality import AERIAL, MODALITIES, SENTINEL2, Belongs
from schemas.sample import Observation, Sample, decode_metadata

DISTANCE_TOLERANCE_M = 0.01
"""Stored distances are rounded to millimetres; another release of PROJ may move them by as much again."""
LONLAT_TOLERANCE_DEG = 1e-7
"""A centimetre: the same for the middle of a patch."""

Found = tuple[str, str]
"""Check and what is wrong."""


@dataclass(frozen=True)
class Layout:
    """What the corpus was asked to be."""

    resolution: int
    """H3 level of the places."""
    aerial_gsd_m: float
    """Metres per pixel of the aerial patch."""
    licences: str = ALL
    """Rule of `geodata.licences`."""


@dataclass(eq=False)
class Evidence:
    """What was found in one sample."""

    sample: Sample | None = None
    """The record; None where it does not decode."""
    faults: list[Found] = field(default_factory=list)
    """All that is wrong."""
    values: dict[str, list[NDArray[np.generic]]] = field(default_factory=dict)
    """Valid values per modality, each of shape (bands, N)."""
    pixels: dict[str, list[NDArray[np.generic]]] = field(default_factory=dict)
    """The same with the gaps, which a retried build counts of pictures that it kept."""
    contents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the decoded content by member, where the member still tells: not of JPEG."""


def examine_sample(key: str, payloads: Mapping[str, bytes], layout: Layout) -> Evidence:
    """Decodes a sample.

    Args:
        key: the H3 cell that its members are named after.
        payloads: all members by name.
    """
    evidence = Evidence()
    metadata = payloads.get(f"{key}.json")
    others = {name: payload for name, payload in payloads.items() if name != f"{key}.json"}
    if metadata is None:
        evidence.faults.append(("samples", f"has no {key}.json"))
        return evidence
    try:
        named = {str(row["member"]) for row in json.loads(metadata)["observations"]}
        evidence.sample = decode_metadata(metadata, others | dict.fromkeys(named - set(others), b""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        evidence.faults.append(("samples", f"{key}.json does not decode ({type(error).__name__}: {error})"))
        return evidence
    evidence.faults += [("samples", f"lacks {name}, which its record names") for name in sorted(named - set(others))]
    evidence.faults += [
        ("samples", f"holds {name}, which its record does not name") for name in sorted(set(others) - named)
    ]
    evidence.faults += [("samples", what) for what in _examine_place(key, evidence.sample, layout)]
    for observation in evidence.sample.observations:
        if not allows(layout.licences, observation.licence):
            what = f"{observation.member} is under {observation.licence!r}, which --licences {layout.licences} bars"
            evidence.faults.append(("credits", what))
        if observation.member in others:
            evidence.faults += [
                ("observations", f"{observation.member} {what}")
                for what in _examine_observation(key, observation, layout, evidence)
            ]
    return evidence


def _examine_place(key: str, sample: Sample, layout: Layout) -> Iterator[str]:
    if not cells.is_key(key, layout.resolution):
        yield f"is named {key}, which is no H3 cell of resolution {layout.resolution}"
    if sample.key != key:
        yield f"calls itself {sample.key}"
    elif cells.cell_at(sample.lon, sample.lat, layout.resolution) != key:
        yield f"says {sample.lon}, {sample.lat}, which lies outside its cell"
    if not sample.observations:
        yield "has no observation"


def _examine_observation(key: str, observation: Observation, layout: Layout, evidence: Evidence) -> Iterator[str]:
    modality = MODALITIES[observation.modality]
    try:
        if modality.suffix.endswith("geotiff"):
            yield from _examine_geotiff(observation, evidence)
        elif modality.suffix.endswith("jpg"):
            yield from _examine_picture(observation, evidence)
        else:
            yield from _examine_text(observation, evidence)
    except (RasterioError, OSError, SyntaxError, ValueError, AttributeError) as error:
        yield f"does not decode ({type(error).__name__}: {error})"
    if not cells.is_key(key, layout.resolution):
        return
    if modality.is_raster:
        yield from _examine_grid(key, observation, layout)
    elif modality.belongs is Belongs.HEXAGON:
        if cells.cell_at(observation.lon, observation.lat, layout.resolution) != key:
            yield f"was taken at {observation.lon}, {observation.lat}, outside its cell"
    elif not holds(make_grid(key, SENTINEL2.name), observation.lon, observation.lat):
        yield f"tells of {observation.lon}, {observation.lat}, outside the patch of its cell"
    distance = distance_m(*cells.centre(key), observation.lon, observation.lat)
    if abs(distance - observation.distance_m) > DISTANCE_TOLERANCE_M:
        yield f"says that it lies {observation.distance_m} m from the cell's centre, and lies at {distance:.3f} m"


def _examine_geotiff(observation: Observation, evidence: Evidence) -> Iterator[str]:
    modality = MODALITIES[observation.modality]
    raster = decode_geotiff(observation.payload)
    if (len(raster.values), str(raster.values.dtype)) != (len(modality.bands), modality.dtype):
        yield f"has {len(raster.values)} bands of {raster.values.dtype}, not {len(modality.bands)} of {modality.dtype}"
    if raster.grid != observation.grid:
        yield f"lies on {_describe(raster.grid)}, its record says {_describe(observation.grid)}"
    share = round(float(raster.valid.mean()), 6)
    if share != observation.valid_share:
        yield f"has a valid share of {share}, its record says {observation.valid_share}"
    evidence.values.setdefault(modality.name, []).append(valid_values(raster))
    evidence.pixels.setdefault(modality.name, []).append(valid_values(raster))
    evidence.contents[observation.member] = sha256(raster.values.tobytes()).hexdigest()


def _examine_picture(observation: Observation, evidence: Evidence) -> Iterator[str]:
    pixels = decode_jpeg(observation.payload)
    if observation.grid is not None and pixels.shape[:2] != observation.grid.shape:
        yield f"has {pixels.shape[0]} x {pixels.shape[1]} pixels, its record says {_describe(observation.grid)}"
    values = pixels.reshape(-1, 3).T
    gaps = round((1 - (1.0 if observation.valid_share is None else observation.valid_share)) * values.shape[1])
    lightest = np.argsort(values.max(axis=0), kind="stable")[gaps:]  # gaps are black, but for what JPEG smears
    evidence.values.setdefault(observation.modality, []).append(values[:, lightest] if gaps else values)
    evidence.pixels.setdefault(observation.modality, []).append(values)


def _examine_text(observation: Observation, evidence: Evidence) -> Iterator[str]:
    if not observation.payload.decode("utf-8").strip():
        yield "is empty"
    evidence.contents[observation.member] = sha256(observation.payload).hexdigest()


def _examine_grid(key: str, observation: Observation, layout: Layout) -> Iterator[str]:
    """A source off our lattice keeps its own phase, so a grid may differ from its cell's by a part of a pixel."""
    is_aerial = observation.modality == AERIAL.name
    wanted = make_grid(key, observation.modality, gsd_m=layout.aerial_gsd_m if is_aerial else None)
    grid = observation.grid
    if grid is None:
        yield "has no grid in its record"
        return
    same = (grid.crs, grid.shape, grid.gsd_m) == (wanted.crs, wanted.shape, wanted.gsd_m)
    if not same or max(abs(grid.left - wanted.left), abs(grid.top - wanted.top)) >= wanted.gsd_m:
        yield f"lies on {_describe(grid)}, its cell's is {_describe(wanted)}"
    lon, lat = patch_lonlat(grid)
    if max(abs(lon - observation.lon), abs(lat - observation.lat)) > LONLAT_TOLERANCE_DEG:
        yield f"says {observation.lon}, {observation.lat}, which is not the middle of its grid"


def _describe(grid: Grid | None) -> str:
    if grid is None:
        return "no grid"
    return f"{grid.crs} {grid.left:.2f}, {grid.top:.2f}, {grid.height} x {grid.width} at {grid.gsd_m} m"
