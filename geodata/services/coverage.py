"""Mapillary's coverage tiles: where there are photos, without a search for each place.

Mapbox vector tiles of the set mly1_public: layer `sequence` (lines, zoom 6 to 14) and `image` (points, zoom 14 only).
A few tiles of a low zoom tell which of zoom 14 hold anything. Coordinates in a tile grow east and down
(Mapbox Vector Tile Specification 2.1, section 4.3).
"""

import logging
import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import mapbox_vector_tile
import mercantile
import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from geodata.services.mapillary import Photo, authorization, classify, parse_heading, parse_milliseconds
from geodata.services.session import Answer, Session, Transient

POINT_ZOOM = 14
"""The only zoom with points."""
LOW_ZOOM = 10
"""Of the lines that are read first: a tile is 256 of zoom 14, and up to 39 km wide."""
TOLERANCE = 1 / 256
"""By how much of a low tile's width a line may lie beside its photos: one pixel on a map, some 100 m at zoom 10.

A guess: Mapillary does not say how it simplifies its lines.
"""
_STEP = 0.25
"""Lines are followed in steps of this share of a tile."""

_LOG = logging.getLogger(__name__)


def read_sequences(session: Session, token: str, tile: mercantile.Tile) -> list[NDArray[np.float64]]:
    """Returns the lines of a tile: degrees (lon, lat), each of shape (N, 2), N >= 1. Raises ServiceError."""
    features = _read_layer(session, token, tile, "sequence")
    return [lonlat for _, parts in features for lonlat in parts]


def read_points(session: Session, token: str, tile: mercantile.Tile) -> list[Photo]:
    """Returns the photos of a tile of zoom 14: identifier, position of the device, time, heading, sequence.

    Raises:
        ServiceError: if the service fails.
    """
    found, bad = [], 0
    for properties, parts in _read_layer(session, token, tile, "image"):
        id_ = properties.get("id")
        if not isinstance(id_, int) or isinstance(id_, bool) or len(parts) != 1:
            bad += 1
            continue
        lon, lat = parts[0][0].tolist()
        sequence = properties.get("sequence_id")
        found.append(
            Photo(
                str(id_), lon, lat, False, parse_milliseconds(properties.get("captured_at")),
                parse_heading(properties.get("compass_angle")), bool(properties.get("is_pano", False)),
                sequence=str(sequence) if sequence else None,
            )
        )  # fmt: skip
    if bad:
        _LOG.warning("tile %d/%d/%d: %d of %d points have no identifier", *tile, bad, bad + len(found))
    return found


def covered_tiles(
    lines: Iterable[NDArray[np.float64]], zoom: int = POINT_ZOOM, *, low_zoom: int = LOW_ZOOM
) -> set[mercantile.Tile]:
    """Returns the tiles that lines pass, or may pass before they were simplified.

    Args:
        lines: degrees (lon, lat), each of shape (N, 2).
        zoom: of the tiles.
        low_zoom: of the tiles that the lines were read from.
    """
    n = 2**zoom
    reach = TOLERANCE * 2 ** (zoom - low_zoom) + _STEP / 2
    offsets = np.linspace(-reach, reach, math.ceil(2 * reach) + 1)
    found: set[tuple[int, int]] = set()
    for line in lines:
        points = _follow(_to_tile_units(line, n))
        columns = np.floor(points[:, :1] + offsets).astype(int) % n
        rows = np.clip(np.floor(points[:, 1:] + offsets), 0, n - 1).astype(int)
        pairs = np.stack(np.broadcast_arrays(columns[:, :, None], rows[:, None, :]), axis=-1)
        found |= {(column, row) for column, row in np.unique(pairs.reshape(-1, 2), axis=0).tolist()}
    return {mercantile.Tile(column, row, zoom) for column, row in found}


def _read_layer(session: Session, token: str, tile: mercantile.Tile, layer: str) -> list[tuple[dict[str, Any], Any]]:
    root = session.root("mapillary_tiles")
    return session.request(
        "mapillary_tiles", f"{root}/mly1_public/2/{tile.z}/{tile.x}/{tile.y}",
        parse=partial(_parse_layer, tile=tile, layer=layer), headers=authorization(token), accept=(200, 204, 404),
        classify=partial(classify, service="mapillary_tiles", token=token),
    )  # fmt: skip


def _parse_layer(answer: Answer, *, tile: mercantile.Tile, layer: str) -> list[tuple[dict[str, Any], Any]]:
    """Returns properties and parts of each feature; where there is no tile, there is nothing."""
    if answer.status != 200 or not answer.body:
        return []
    try:
        layers = mapbox_vector_tile.decode(answer.body, default_options={"y_coord_down": True})
    except (DecodeError, IndexError, ValueError, AssertionError) as error:
        kind = answer.headers.get("content-type", "no content type")
        raise Transient(f"no vector tile but {len(answer.body)} bytes of {kind}") from error
    found = layers.get(layer, {"extent": 4096, "features": []})
    return [
        (feature["properties"], [_to_lonlat(part, tile, found["extent"]) for part in _parts(feature["geometry"])])
        for feature in found["features"]
    ]


def _parts(geometry: dict[str, Any]) -> Iterator[NDArray[np.float64]]:
    """Yields the lines or points of a feature in tile units, each of shape (N, 2)."""
    kind, coordinates = geometry["type"], geometry["coordinates"]
    nested = {"Point": [[coordinates]], "LineString": [coordinates], "MultiPoint": [[c] for c in coordinates]}
    for part in nested.get(kind, coordinates if kind == "MultiLineString" else []):
        if len(part):
            yield np.asarray(part, dtype=np.float64).reshape(-1, 2)


def _to_lonlat(units: NDArray[np.float64], tile: mercantile.Tile, extent: int) -> NDArray[np.float64]:
    """Web Mercator, upside down as tiles are numbered: from a tile's units to degrees."""
    x = (tile.x + units[:, 0] / extent) / 2**tile.z
    y = (tile.y + units[:, 1] / extent) / 2**tile.z
    return np.stack([(x % 1) * 360 - 180, np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * y))))], axis=-1)


def _to_tile_units(lonlat: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Columns and rows with fractions; columns go on where a line passes the antimeridian."""
    lon, lat = np.unwrap(lonlat[:, 0], period=360), np.radians(lonlat[:, 1])
    return np.stack([(lon + 180) / 360 * n, (0.5 - np.arcsinh(np.tan(lat)) / (2 * np.pi)) * n], axis=-1)


def _follow(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the vertices of a line and points between them, no farther apart than a step on either axis."""
    run = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(points, axis=0)).max(axis=1))])
    at = np.union1d(run, np.arange(0, run[-1], _STEP))
    return np.stack([np.interp(at, run, points[:, 0]), np.interp(at, run, points[:, 1])], axis=-1)
