"""From stored pixels to standardised patches, the tokens of a vision transformer, and a few numbers of the whole.

Patches are cut before anything is computed, while the pixels are still one or two bytes each. A gap is 0 after
standardising, that is the mean of the corpus. Each class takes the tensor of one field of `Batch`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schemas.modality import DEM, SENTINEL2
from training.towers.magnitude import squash

_FLAT_M = 1.0  # relief below a metre is not stretched: over water it is noise
_MIDDLE_PX = 16  # side of the square whose mean is the height of the middle
_BELTS = 4  # of a picture, from the top down


class Bands(nn.Module):
    """Sentinel-2 as it is stored, to patches."""

    def __init__(self, mean: list[float], std: list[float], patch_px: int) -> None:
        """Takes the mean and the standard deviation of each band in stored units (reflectance x 10000)."""
        super().__init__()
        self.patch_px, self.grid = patch_px, _grid_of(SENTINEL2.size_px, patch_px)
        self.bands, self.values, self.numbers = len(mean), len(mean) * patch_px**2, 3 * len(mean)
        self.mean_P: Tensor
        self.rate_P: Tensor
        self.register_buffer("mean_P", torch.tensor(mean).repeat_interleave(patch_px**2), persistent=False)
        self.register_buffer("rate_P", 1 / torch.tensor(std).repeat_interleave(patch_px**2), persistent=False)

    def forward(self, stored_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Standardises the int16 bit patterns (B, 12, 128, 128).

        Returns:
            Patches (B, L, C p p) float32, row by row; of each band the mean, the mean over the four patches in the
            middle, and the deviation, without gaps: (B, 3 C).
        """
        stored_BLP = cut_planes(stored_BCHW, self.patch_px)
        values_BLP = stored_BLP.view(torch.uint16).float()
        is_gap_BLP = stored_BLP == 0
        values_BLP = values_BLP.sub_(self.mean_P).mul_(self.rate_P).masked_fill_(is_gap_BLP, 0.0)
        values_BHWCP = values_BLP.unflatten(1, self.grid).unflatten(3, (self.bands, -1))
        valid_BHWC = (~is_gap_BLP).unflatten(1, self.grid).unflatten(3, (self.bands, -1)).sum(4)
        total_BHWC, (top, left) = values_BHWCP.sum(4), (side // 2 - 1 for side in self.grid)
        middle = (slice(None), slice(top, top + 2), slice(left, left + 2))
        count_BC = valid_BHWC.sum((1, 2)).clamp(min=1)
        mean_BC = total_BHWC.sum((1, 2)) / count_BC
        middle_BC = total_BHWC[middle].sum((1, 2)) / valid_BHWC[middle].sum((1, 2)).clamp(min=1)
        power_BC = torch.linalg.vector_norm(values_BHWCP, dim=(1, 2, 4)).square() / count_BC
        return values_BLP, torch.cat([mean_BC, middle_BC, _deviation(power_BC, mean_BC)], 1)


class Picture(nn.Module):
    """An sRGB square to patches."""

    def __init__(self, mean: list[float], std: list[float], size_px: int, patch_px: int) -> None:
        """Takes the mean and the standard deviation of each colour in stored units (0 ... 255)."""
        super().__init__()
        self.patch_px, self.grid = patch_px, _grid_of(size_px, patch_px)
        self.values, self.numbers = len(mean) * patch_px**2, (2 + _BELTS) * len(mean)
        self.mean_P: Tensor
        self.rate_P: Tensor
        self.register_buffer("mean_P", torch.tensor(mean).repeat(patch_px**2), persistent=False)
        self.register_buffer("rate_P", 1 / torch.tensor(std).repeat(patch_px**2), persistent=False)

    def forward(self, stored_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Standardises uint8 (B, H, W, 3).

        Returns:
            Patches (B, L, p p C) float32, row by row; of each colour the mean, the deviation, and the means of four
            belts from the top down: (B, 6 C).
        """
        size, p = len(stored_BHWC), self.patch_px
        rows, columns = stored_BHWC.shape[1] // p, stored_BHWC.shape[2] // p
        cut = stored_BHWC.reshape(size, rows, p, columns, p, 3).transpose(2, 3).reshape(size, rows * columns, -1)
        values_BLP = cut.float().sub_(self.mean_P).mul_(self.rate_P)
        row_BHC = values_BLP.view(size, rows, -1, 3).mean(2)
        mean_BC = row_BHC.mean(1)
        power_BC = torch.linalg.vector_norm(values_BLP.view(size, -1, 3), dim=1).square() / (columns * rows * p * p)
        belts_BCK = F.adaptive_avg_pool1d(row_BHC.transpose(1, 2), _BELTS)
        return values_BLP, torch.cat([mean_BC, _deviation(power_BC, mean_BC), belts_BCK.flatten(1)], 1)


class Heights(nn.Module):
    """Elevation to patches of its shape, and its heights in metres beside them."""

    levels = ("mean", "lowest", "highest", "middle", "deviation", "range")
    """What is told of each raster, metres."""

    def __init__(self, patch_px: int) -> None:
        super().__init__()
        self.patch_px, self.grid = patch_px, _grid_of(DEM.size_px, patch_px)
        self.values, self.numbers = patch_px**2, len(self.levels)

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


def _deviation(power: Tensor, mean: Tensor) -> Tensor:
    """Returns the standard deviation for the mean of the squares and the mean."""
    return (power - mean.square()).clamp(min=1e-8).sqrt()


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
