"""What people have - paths, arrays, strings, positions - as the tensors that a model's towers take.

Pictures are decoded at reduced scale, the middle square is taken and brought to the side that the model asks for. The
loader gives the same for pictures of that side, or 2, 4 or 8 times as large; of others it cuts off what decoding by
eighths leaves over, where all of the square is kept here. Rasters are members as the corpus writes them, or arrays of
stored values; nothing is reprojected here.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from schemas.modality import MODALITIES
from schemas.sample import check_lonlat
from training.data.batch import GROUNDS
from training.decode import FAULTS, decode_geotiff

Picture = str | Path | bytes | NDArray[np.uint8]
Raster = str | Path | bytes | NDArray[np.uint16] | NDArray[np.float32]


class InputError(ValueError):
    """What was given cannot be embedded: one sentence with fact, value and remedy."""


def read_pictures(pictures: Sequence[Picture], size_px: int) -> Tensor:
    """Returns the middle squares of pictures: (N, size_px, size_px, 3) uint8, sRGB.

    Args:
        pictures: paths or bytes of JPEG files, or arrays (height, width, 3) uint8.

    Raises:
        InputError: for what is no such picture.
    """
    return torch.stack([_square(_read_picture(one, size_px), size_px) for one in pictures])


def read_rasters(rasters: Sequence[Raster], view: str) -> Tensor:
    """Returns patches as the towers take them.

    Args:
        rasters: paths or bytes of GeoTIFF members as the corpus writes them, or arrays of their stored values:
            sentinel2 (12, 128, 128) uint16, reflectance x 10000, 0 = gap; dem (1, 128, 128) or (128, 128) float32,
            metres, -32768 = gap; 10 m a pixel in UTM or UPS, north up.
        view: sentinel2 or dem.

    Returns:
        (N, C, 128, 128): the int16 bit patterns of the stored uint16, or float32.

    Raises:
        InputError: for a raster of another shape or type.
    """
    return torch.stack([torch.from_numpy(_read_raster(one, view)) for one in rasters])


def read_positions(lonlat_N2: object) -> Tensor:
    """Returns positions as (N, 2) float64.

    Args:
        lonlat_N2: N pairs of degrees east and degrees north, WGS 84, in this order.

    Raises:
        InputError: unless they are that.
    """
    try:
        values = np.asarray(lonlat_N2, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"Positions are no array of numbers ({error}): give pairs (lon, lat), in degrees.") from error
    if values.ndim != 2 or values.shape[1] != 2:
        raise InputError(f"Positions have the shape {values.shape}: give pairs (lon, lat), in degrees.")
    for row, (lon, lat) in enumerate(values.tolist()):
        try:
            check_lonlat(lon, lat)
        except ValueError as error:
            raise InputError(f"Position {row}: {error}") from error
    return torch.from_numpy(values.copy())


def read_focus(focus_N2: object, view: str, count: int) -> Tensor:
    """Returns where places lie in their patches as (N, 2) float32.

    Args:
        focus_N2: N pairs, x to the east, y to the south, -1 ... 1 between the outer edges of a patch.
        view: sentinel2 or dem; of other views the place lies in the middle.
        count: N.

    Raises:
        InputError: unless they are that.
    """
    if view not in GROUNDS:
        raise InputError(f"A place lies nowhere but in the middle of {view}: leave focus_N2 out.")
    try:
        values = np.array(focus_N2, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"focus_N2 is no array of numbers ({error}): give ({count}, 2) of -1 ... 1.") from error
    if values.shape != (count, 2):
        raise InputError(f"focus_N2 has the shape {values.shape}: give ({count}, 2).")
    if not (np.abs(values) <= 1).all():
        raise InputError(f"focus_N2 holds {values.min():g} ... {values.max():g}: give numbers of -1 ... 1.")
    return torch.from_numpy(values)


def check_order(lonlat_N2: Tensor, extent: tuple[float, float, float, float], where: str) -> None:
    """Raises InputError where positions look swapped: none lies in the model's extent, all would the other way round.

    Args:
        extent: west, south, east, north of the corpus that the model learnt from, degrees.
    """
    if len(lonlat_N2) and not _inside(lonlat_N2, extent).any() and _inside(lonlat_N2.flip(1), extent).all():
        lon, lat = lonlat_N2[0].tolist()
        raise InputError(
            f"{where}: longitude {lon:g}, latitude {lat:g} look swapped, as the model learnt between "
            f"{extent[0]:g} and {extent[2]:g} east, {extent[1]:g} and {extent[3]:g} north: give the longitude as lon."
        )


def read_points(path: Path, chunk: int) -> Iterator[Tensor]:
    """Yields positions of a CSV file with columns lon and lat (others are passed over), (N, 2) float64, N <= chunk.

    Raises:
        InputError: naming the line, for a missing column, what is no number, or no position on the Earth.
    """
    for rows in _chunks(_read_csv(path, ("lon", "lat")), chunk):
        lonlat = []
        for line, (lon_text, lat_text) in rows:
            try:
                lon, lat = float(lon_text), float(lat_text)
                check_lonlat(lon, lat)
            except ValueError as error:
                raise InputError(f"{path}, line {line}: {error}") from error
            lonlat.append((lon, lat))
        yield torch.tensor(lonlat, dtype=torch.float64)


def read_texts(path: Path) -> Iterator[str]:
    """Yields texts: the column text of a CSV file, row by row, or the whole of any other file.

    Raises:
        InputError: if it is not UTF-8, or a CSV file has no such column.
    """
    if path.suffix.lower() == ".csv":
        yield from (text for _, (text,) in _read_csv(path, ("text",)))
        return
    try:
        yield path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): write it so.") from error


def _read_picture(picture: Picture, size_px: int) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise InputError(f"A picture has shape {picture.shape}, {picture.dtype}: give (height, width, 3) of uint8.")
        return picture
    payload, name = _read(picture)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            payload, colorspace="RGB", min_height=size_px, min_width=size_px
        )
    except ValueError as error:
        raise InputError(f"{name} is no JPEG that can be read ({error}): convert it.") from error
    return pixels


def _square(pixels_HWC: NDArray[np.uint8], size_px: int) -> Tensor:
    height, width = pixels_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(np.ascontiguousarray(pixels_HWC[top : top + side, left : left + side]))
    if side == size_px:
        return square
    scaled = F.interpolate(
        square.permute(2, 0, 1)[None].float(), (size_px, size_px), mode="bilinear", antialias=True, align_corners=False
    )
    return scaled[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)


def _read_raster(raster: Raster, view: str) -> NDArray[np.int16] | NDArray[np.float32]:
    modality = MODALITIES[view]
    name = "an array"
    if isinstance(raster, np.ndarray):
        values: NDArray[np.generic] = raster[None] if raster.ndim == 2 else raster
    else:
        payload, name = _read(raster)
        try:
            values = decode_geotiff(payload)
        except FAULTS as error:
            raise InputError(
                f"{name} is no {modality.suffix} as the corpus writes it ({error or type(error).__name__}): give an "
                "array of its values, or a file with one ZSTD strip a band (GDAL: COMPRESS=ZSTD, PREDICTOR=YES, "
                "INTERLEAVE=BAND, one block a band)."
            ) from error
    shape = (len(modality.bands), modality.size_px, modality.size_px)
    if values.shape != shape or values.dtype != np.dtype(modality.dtype):
        raise InputError(
            f"{name} has shape {values.shape}, {values.dtype}: {view} is {shape} of {modality.dtype}, in "
            f"{modality.unit}, at {modality.gsd_m:g} m a pixel."
        )
    whole = np.ascontiguousarray(values)
    return whole.view(np.int16) if modality.dtype == "uint16" else whole.astype(np.float32)


def _read(source: str | Path | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, "The payload"
    if not isinstance(source, str | Path):
        raise InputError(f"A value is of type {type(source).__name__}: give paths, bytes or arrays.")
    try:
        return Path(source).read_bytes(), str(source)
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}): check the path.") from error


def _read_csv(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields the line number and the values of the columns, row by row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                raise InputError(
                    f"{path} has no column {' and no column '.join(missing)} (its first line is {','.join(header)!r}): "
                    f"write {','.join(columns)} there."
                )
            at = [header.index(name) for name in columns]
            for row in rows:
                if not row:
                    continue
                if len(row) <= max(at):
                    raise InputError(f"{path}, line {rows.line_num}: {len(row)} values, the header has {len(header)}.")
                yield rows.line_num, tuple(row[i] for i in at)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8 ({error}): write it so.") from error


def _chunks(rows: Iterator[tuple[int, tuple[str, ...]]], size: int) -> Iterator[list[tuple[int, tuple[str, ...]]]]:
    while found := list(islice(rows, size)):
        yield found


def _inside(lonlat_N2: Tensor, extent: tuple[float, float, float, float]) -> Tensor:
    west, south, east, north = extent
    lon, lat = lonlat_N2.unbind(1)
    is_between = (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
    return is_between & (lat >= south) & (lat <= north)
