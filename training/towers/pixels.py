"""From stored pixels to standardised patches, the tokens of a vision transformer.

Patches are cut before anything is computed, while the pixels are still one or two bytes each. A gap is 0 after
standardising, that is the mean of the corpus. Each class takes the tensor of one field of `Batch`.
"""

import torch
from torch import Tensor, nn

from schemas.modality import DEM, SENTINEL2
from training.towers.magnitude import squash

_FLAT_M = 1.0  # relief below a metre is not stretched: over water it is noise
_MIDDLE_PX = 16  # side of the square whose mean is the height of the middle


class Bands(nn.Module):
    """Sentinel-2 as it is stored, to patches."""

    def __init__(self, mean: list[float], std: list[float], patch_px: int) -> None:
        """Takes the mean and the standard deviation of each band in stored units (reflectance x 10000)."""
        super().__init__()
        self.patch_px, self.grid = patch_px, _grid_of(SENTINEL2.size_px, patch_px)
        self.values = len(mean) * patch_px**2
        self.mean_P: Tensor
        self.rate_P: Tensor
        self.register_buffer("mean_P", torch.tensor(mean).repeat_interleave(patch_px**2), persistent=False)
        self.register_buffer("rate_P", 1 / torch.tensor(std).repeat_interleave(patch_px**2), persistent=False)

    def forward(self, stored_BCHW: Tensor) -> Tensor:
        """Returns (B, L, C p p) float32 from the int16 bit patterns (B, 12, 128, 128), row by row of the patches."""
        stored_BLP = cut_planes(stored_BCHW, self.patch_px)
        values_BLP = stored_BLP.view(torch.uint16).float()
        return values_BLP.sub_(self.mean_P).mul_(self.rate_P).masked_fill_(stored_BLP == 0, 0.0)


class Picture(nn.Module):
    """An sRGB square to patches."""

    def __init__(self, mean: list[float], std: list[float], size_px: int, patch_px: int) -> None:
        """Takes the mean and the standard deviation of each colour in stored units (0 ... 255)."""
        super().__init__()
        self.patch_px, self.grid = patch_px, _grid_of(size_px, patch_px)
        self.values = len(mean) * patch_px**2
        self.mean_P: Tensor
        self.rate_P: Tensor
        self.register_buffer("mean_P", torch.tensor(mean).repeat(patch_px**2), persistent=False)
        self.register_buffer("rate_P", 1 / torch.tensor(std).repeat(patch_px**2), persistent=False)

    def forward(self, stored_BHWC: Tensor) -> Tensor:
        """Returns (B, L, p p C) float32 from uint8 (B, H, W, 3), row by row of the patches."""
        size, p = len(stored_BHWC), self.patch_px
        rows, columns = stored_BHWC.shape[1] // p, stored_BHWC.shape[2] // p
        cut = stored_BHWC.reshape(size, rows, p, columns, p, 3).transpose(2, 3).reshape(size, rows * columns, -1)
        return cut.float().sub_(self.mean_P).mul_(self.rate_P)


class Heights(nn.Module):
    """Elevation to patches of its shape, and its heights in metres beside them."""

    levels = ("mean", "lowest", "highest", "middle", "deviation", "range")
    """What is told of each raster, metres."""

    def __init__(self, patch_px: int) -> None:
        super().__init__()
        self.patch_px, self.grid = patch_px, _grid_of(DEM.size_px, patch_px)
        self.values = patch_px**2

    def forward(self, height_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Standardises each raster by its own mean and deviation, and keeps what that took away.

        A value that is not finite is a gap like the stored one, so NaN cannot reach the loss.

        Returns:
            Patches (B, L, p p), and `levels` of each raster as `squash` gives them, (B, 6). A raster without any value
            gives zeros.
        """
        valid = height_BCHW.isfinite() & (height_BCHW != DEM.nodata)
        height = height_BCHW.where(valid, 0.0)
        count_B = valid.sum((1, 2, 3)).clamp(min=1)
        mean_B = height.sum((1, 2, 3)) / count_B
        shape = (height - mean_B[:, None, None, None]) * valid  # gaps stand at the mean
        relief_B = (shape.square().sum((1, 2, 3)) / count_B).sqrt()
        patches_BLP = cut_planes(shape / (relief_B + _FLAT_M)[:, None, None, None], self.patch_px)
        low_B, high_B = shape.amin((1, 2, 3)), shape.amax((1, 2, 3))
        edge = (height_BCHW.shape[2] - _MIDDLE_PX) // 2
        middle_B = shape[:, :, edge : edge + _MIDDLE_PX, edge : edge + _MIDDLE_PX].mean((1, 2, 3))
        levels = [mean_B, mean_B + low_B, mean_B + high_B, mean_B + middle_B, relief_B, high_B - low_B]
        return patches_BLP, squash(torch.stack(levels, 1))


def cut_planes(values_BCHW: Tensor, patch_px: int) -> Tensor:
    """Returns squares of `patch_px` pixels as tokens: (B, L, C p p), row by row."""
    size, channels, height, width = values_BCHW.shape
    p = patch_px
    cut = values_BCHW.reshape(size, channels, height // p, p, width // p, p)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(size, (height // p) * (width // p), channels * p * p)


def _grid_of(size_px: int, patch_px: int) -> tuple[int, int]:
    if size_px % patch_px:
        raise ValueError(f"Patches of {patch_px} px do not divide {size_px} px: choose a divisor.")
    return size_px // patch_px, size_px // patch_px
