"""One place into a row of a batch: decoding straight into its memory, nothing kept in between."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from schemas.modality import AERIAL, DEM, MODALITIES, SENTINEL2, STREET, TEXT
from training.data.batch import GROUNDS, SPOTS, VIEW_FIELDS, VIEWS, Batch
from training.data.draw import Draw
from training.data.tars import Damage
from training.decode import FAULTS, LayoutError, decode_geotiff

_STORED = tuple(MODALITIES)
_PIXELS = (SENTINEL2.name, AERIAL.name, DEM.name, STREET.name)
Tokenize = Callable[[list[str]], Tensor]
Pixels = NDArray[np.uint8]


class Source(Protocol):
    """Where the bytes of observations come from."""

    def read(self, observation: int) -> memoryview:
        """Returns an observation's bytes."""

    def describe(self, observation: int, cause: str) -> Damage:
        """Returns a record of damage that names an observation."""


@dataclass(frozen=True)
class Shape:
    """What the rows of a batch look like."""

    image_px: Mapping[str, int]
    """Side of the squares for aerial and street."""
    tokens: int
    """L."""

    def __post_init__(self) -> None:
        px, step = self.image_px["aerial"], AERIAL.size_px // 8
        if not (0 < px <= AERIAL.size_px and px % step == 0 and self.image_px["street"] > 0):
            raise ValueError(
                f"Aerial images are decoded to multiples of {step} up to {AERIAL.size_px} pixels and photos to 1 or "
                f"more, not {px} and {self.image_px['street']}."
            )


class Buffer:
    """The memory of one batch, used again and again."""

    def __init__(self, size: int, shape: Shape, *, pin: bool) -> None:
        aerial, street = (shape.image_px[view] for view in ("aerial", "street"))

        def make(*sizes: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(*sizes, dtype=dtype, pin_memory=pin)

        self._pin = pin
        self.batch = Batch(
            keys=[],
            present_MB=make(len(VIEWS), size, dtype=torch.bool),
            sentinel2_BCHW=make(size, *_raster_shape("sentinel2"), dtype=torch.int16),
            aerial_BHWC=make(size, aerial, aerial, 3, dtype=torch.uint8),
            dem_BCHW=make(size, *_raster_shape("dem"), dtype=torch.float32),
            street_BHWC=make(size, street, street, 3, dtype=torch.uint8),
            text_BL=make(size, shape.tokens, dtype=torch.int64),
            lonlat_B2=make(size, 2, dtype=torch.float64),
            spots_BS2=make(size, len(SPOTS), 2, dtype=torch.float32),
            focus_BR2=make(size, len(GROUNDS), 2, dtype=torch.float32),
            inside_SB=make(len(SPOTS), size, dtype=torch.bool),
            near_K2=make(0, 2, dtype=torch.int64),
        )
        arrays = {view: getattr(self.batch, VIEW_FIELDS[view]).numpy() for view in _PIXELS}
        arrays["sentinel2"] = arrays["sentinel2"].view(np.uint16)
        self._rows: dict[str, NDArray[Any]] = arrays

    def fill(self, start: int, draw: Draw, source: Source, tokenize: Tokenize) -> list[tuple[int, str]]:
        """Decodes the places of a draw into rows start, start + 1 ...

        Returns:
            What could not be decoded: observation and cause; those views are absent then.
        """
        failures: list[tuple[int, str]] = []
        texts: dict[int, str] = {}
        present_MB = draw.present_MB.copy()
        for row, (chosen, crop) in enumerate(zip(draw.chosen_MB.T.tolist(), draw.crop_B.tolist(), strict=True)):
            for number, observation in enumerate(chosen):
                view = _STORED[number]
                if observation >= 0:
                    try:
                        self._decode(view, start + row, source.read(observation), crop, texts)
                        continue
                    except FAULTS as error:
                        failures.append((observation, str(error) or type(error).__name__))
                        present_MB[number, row] = False
                if view in self._rows:
                    self._rows[view][start + row] = 0
        stop = start + len(draw.rows_B)
        self._write_texts(start, stop, texts, tokenize)
        there = present_MB[VIEWS.index("sentinel2")] & np.stack([present_MB[VIEWS.index(view)] for view in SPOTS])
        batch = self.batch
        batch.present_MB.numpy()[:, start:stop] = present_MB
        batch.lonlat_B2.numpy()[start:stop] = draw.lonlat_B2
        batch.inside_SB.numpy()[:, start:stop] = draw.inside_SB & there
        batch.spots_BS2.numpy()[start:stop] = draw.spots_BS2 * (draw.inside_SB & there).T[:, :, None]
        batch.focus_BR2.numpy()[start:stop] = draw.focus_BR2
        return failures

    def finish(self, keys: list[str], near_K2: NDArray[np.int64]) -> Batch:
        """Returns the batch with as many rows as keys; its tensors are views of this memory."""
        near = torch.from_numpy(near_K2)
        whole = self.batch
        here = {field.name: getattr(whole, field.name) for field in fields(Batch)}
        if len(keys) < len(whole.present_MB[0]):
            here = vars(whole.rows(0, len(keys)))
        return Batch(**here | {"keys": keys, "near_K2": near.pin_memory() if self._pin else near})

    def _decode(self, view: str, row: int, payload: memoryview, crop: float, texts: dict[int, str]) -> None:
        if view == TEXT.name:
            texts[row] = str(payload, "utf-8")
        elif view in (SENTINEL2.name, DEM.name):
            decode_geotiff(payload, self._rows[view][row])
        else:
            decode_square(payload, self._rows[view][row], crop)

    def _write_texts(self, start: int, stop: int, texts: dict[int, str], tokenize: Tokenize) -> None:
        tokens_BL = self.batch.text_BL
        tokens_BL[start:stop] = 0
        if texts:
            tokens_BL[torch.tensor(list(texts))] = tokenize(list(texts.values()))


def decode_square(payload: memoryview, out: Pixels, crop: float) -> None:
    """Decodes a square of a picture.

    The decoder itself reduces by eighths, to the smallest size whose shorter side is still that of the square; what is
    then longer is cut off. A smaller picture is enlarged.

    Args:
        out: shape (px, px, 3), sRGB.
        crop: where the square lies, 0 ... 1 along what is cut off; 0.5 is the middle.
    """
    px = len(out)
    height, width, _, _ = simplejpeg.decode_jpeg_header(payload, min_height=px, min_width=px)
    if (height, width) == (px, px):
        simplejpeg.decode_jpeg(payload, "RGB", min_height=px, min_width=px, buffer=out)
        return
    pixels = simplejpeg.decode_jpeg(payload, "RGB", min_height=px, min_width=px)
    if pixels.shape[:2] != (height, width) or min(height, width) == 0:
        raise LayoutError(f"Expected a picture of {height} x {width} pixels, found {pixels.shape}.")
    if min(height, width) < px:
        pixels = _enlarge(pixels, px)
        height, width, _ = pixels.shape
    top, left = round(crop * (height - px)), round(crop * (width - px))
    out[:] = pixels[top : top + px, left : left + px]


def _enlarge(pixels: Pixels, px: int) -> Pixels:
    """Returns a picture whose shorter side has that many pixels: bilinear, edges of pixels aligned."""
    height, width, _ = pixels.shape
    scale = px / min(height, width)
    size = [max(px, round(height * scale)), max(px, round(width * scale))]
    image_1CHW = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    larger = F.interpolate(image_1CHW, size, mode="bilinear", align_corners=False)
    result: Pixels = larger[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    return result


def _raster_shape(view: str) -> tuple[int, int, int]:
    modality = MODALITIES[view]
    return len(modality.bands), modality.size_px, modality.size_px
