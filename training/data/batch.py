"""A batch of places: what the loader fills and the towers read.

The views of a place are the five modalities of a corpus and its location. Where a view is absent its rows hold zeros
and `present_MB` is False there; towers look only at present rows.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from schemas.modality import MODALITIES

LOCATION = "location"
VIEWS = (*MODALITIES, LOCATION)
"""sentinel2, aerial, dem, street, text, location: the order of M everywhere."""
SPOTS = ("street", "text")
"""Views with a position of their own inside the Sentinel-2 patch: the order of S."""
GROUNDS = ("sentinel2", "dem")
"""Views whose patch is shifted against the cell: the order of R."""
VIEW_FIELDS = {
    "sentinel2": "sentinel2_BCHW", "aerial": "aerial_BHWC", "dem": "dem_BCHW", "street": "street_BHWC",
    "text": "text_BL", LOCATION: "lonlat_B2",
}  # fmt: skip
"""The field of `Batch` that holds each view."""


@dataclass
class Batch:
    """One batch of B places on the CPU or a GPU; a plain record of tensors."""

    keys: list[str]
    """H3 cells, one for each place."""
    present_MB: Tensor
    """bool, (M, B): which views there are, in the order of `VIEWS`."""
    sentinel2_BCHW: Tensor
    """int16 bit pattern of the stored uint16 (torch indexes no uint16), (B, 12, 128, 128), reflectance x 10000;
    0 = gap."""
    aerial_BHWC: Tensor
    """uint8, (B, size, size, 3), sRGB."""
    dem_BCHW: Tensor
    """float32, (B, 1, 128, 128), metres, -32768 = gap."""
    street_BHWC: Tensor
    """uint8, (B, size, size, 3), sRGB: a square of the photo."""
    text_BL: Tensor
    """int64, (B, L): tokens, 0 = padding."""
    lonlat_B2: Tensor
    """float64, (B, 2): degrees east and north, WGS 84: of the photo where there is one, else of the cell's centre."""
    spots_BS2: Tensor
    """float32, (B, S, 2): where photo and article lie in the Sentinel-2 patch; x along its rows, y down its columns;
    the patch is -1 ... 1 in both, measured at the outer edges of its pixels."""
    focus_BR2: Tensor
    """float32, (B, R, 2): where the centre of the cell lies in the Sentinel-2 and in the elevation patch, measured as
    `spots_BS2`; 0, the middle, where that is not known."""
    inside_SB: Tensor
    """bool, (S, B): the photo, the article is there, and lies inside a Sentinel-2 patch that is there."""
    near_K2: Tensor
    """int64, (K, 2): pairs of different rows (both orders) that are too near to be negatives of each other."""

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str) -> "Batch":
        """Returns the batch on a device; copies from pinned memory do not wait."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = value.to(device, non_blocking=True)
        return Batch(**values)

    def rows(self, start: int, stop: int) -> "Batch":
        """Returns places start ... stop - 1, the same memory, without `near_K2`, which is of whole batches."""
        cut = {
            f.name: getattr(self, f.name)[..., start:stop]
            if f.name.endswith("B")
            else getattr(self, f.name)[start:stop]
            for f in fields(self)
            if f.name != "near_K2"
        }
        return Batch(**cut, near_K2=self.near_K2[:0])
