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
_ABOUT_PX = 16  # side of the square about a place: 160 m, a little more than a cell
_PLACE_PX = 6  # side of the square whose mean is the height of a place
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

    def forward(self, stored_BCHW: Tensor, focus_B2: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standardises the int16 bit patterns (B, 12, 128, 128).

        Args:
            focus_B2: where the place lies, x to the right, y down, -1 ... 1; None: in the middle.

        Returns:
            Patches (B, L, C p p) float32, row by row; of each band the mean, the mean within 80 m of the place along
            both axes, and the deviation, without gaps: (B, 3 C).
        """
        stored_BLP = cut_planes(stored_BCHW, self.patch_px)
        values_BLP = stored_BLP.view(torch.uint16).float()
        is_gap_BLP = stored_BLP == 0
        values_BLP = values_BLP.sub_(self.mean_P).mul_(self.rate_P).masked_fill_(is_gap_BLP, 0.0)
        values_BHWCP = values_BLP.unflatten(1, self.grid).unflatten(3, (self.bands, -1))
        count_BC = (stored_BCHW[0, 0].numel() - count_flags(is_gap_BLP, self.bands)).clamp(min=1)
        mean_BC = values_BHWCP.sum((1, 2, 4)) / count_BC
        power_BC = torch.linalg.vector_norm(values_BHWCP, dim=(1, 2, 4)).square() / count_BC
        return values_BLP, torch.cat([mean_BC, self._about(stored_BCHW, focus_B2), _deviation(power_BC, mean_BC)], 1)

    def _about(self, stored_BCHW: Tensor, focus_B2: Tensor | None) -> Tensor:
        """Returns the standardised mean of each band about the place, (B, C); 0 where all is gap."""
        near_BCKK = cut_about(stored_BCHW, focus_B2, _ABOUT_PX)
        count_BC = (near_BCKK != 0).sum((2, 3))
        mean_BC = near_BCKK.view(torch.uint16).float().sum((2, 3)) / count_BC.clamp(min=1)
        step = self.patch_px**2  # the buffers hold each band's value once for every pixel of a patch
        return ((mean_BC - self.mean_P[::step]) * self.rate_P[::step]).where(count_BC > 0, 0.0)


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

    levels = ("mean", "lowest", "highest", "place", "deviation", "range", "above", "slope")
    """What is told of each raster, metres; of the place its height, that above the mean, and the rise over 100 m."""

    def __init__(self, patch_px: int) -> None:
        super().__init__()
        self.patch_px, self.grid = patch_px, _grid_of(DEM.size_px, patch_px)
        self.values, self.numbers = patch_px**2, len(self.levels)

    def forward(self, height_BCHW: Tensor, focus_B2: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standardises each raster by its own mean and deviation, and keeps what that took away.

        A value that is not finite is a gap like the stored one, so NaN cannot reach the loss.

        Args:
            focus_B2: where the place lies, x to the right, y down, -1 ... 1; None: in the middle.

        Returns:
            Patches (B, L, p p), and `levels` of each raster as `squash` gives them, (B, 8). A raster without any value
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
        above_B = cut_about(shape, focus_B2, _PLACE_PX).sum((1, 2, 3))
        above_B = above_B / cut_about(valid, focus_B2, _PLACE_PX).sum((1, 2, 3)).clamp(min=1)
        slope_B = _rise(*(cut_about(one, focus_B2, _ABOUT_PX)[:, 0] for one in (shape, valid))) * (100 / DEM.gsd_m)
        levels = [mean_B, mean_B + low_B, mean_B + high_B, mean_B + above_B, relief_B, high_B - low_B, above_B, slope_B]
        return patches_BLP, squash(torch.stack(levels, 1))


def cut_about(values_BCHW: Tensor, focus_B2: Tensor | None, side_px: int) -> Tensor:
    """Returns the square of so many pixels that lies about a position best without leaving its raster: (B, C, K, K).

    Args:
        focus_B2: x to the right, y down, -1 ... 1 between the outer edges; None: the middle.
    """
    size, _, height, width = values_BCHW.shape
    if focus_B2 is None:
        focus_B2 = torch.zeros(size, 2, device=values_BCHW.device)
    limits_2 = focus_B2.new_tensor([width, height])
    first_B2 = ((focus_B2 + 1) / 2 * limits_2 - side_px / 2).round().clamp(min=0).minimum(limits_2 - side_px).long()
    columns_BK, rows_BK = (first_B2[:, :, None] + torch.arange(side_px, device=first_B2.device)).unbind(1)
    each_B11 = torch.arange(size, device=first_B2.device)[:, None, None]
    return values_BCHW.permute(0, 2, 3, 1)[each_B11, rows_BK[:, :, None], columns_BK[:, None]].permute(0, 3, 1, 2)


def count_flags(flag_BLP: Tensor, parts: int) -> Tensor:
    """Returns how many flags are set in each of so many equal parts of the last axis, over the two last: (B, parts).

    On a CPU the sum of a bool tensor first makes eight bytes of each. Here eight flags are added at once as the bytes
    of one number, as often as a byte can hold.
    """
    size = flag_BLP.shape[-1] // parts
    if size % 8 == 0 and size // 8 <= 255:
        eights_BLC = flag_BLP.contiguous().view(torch.int64).unflatten(-1, (parts, size // 8)).sum(-1)
        flag_BLP, size = eights_BLC.view(torch.uint8), 8
    count_BC: Tensor = flag_BLP.unflatten(-1, (parts, size)).sum((1, 3))
    return count_BC


def _rise(height_BKK: Tensor, valid_BKK: Tensor) -> Tensor:
    """Returns how much a square rises along its steepest line, metres a pixel, from the means of its halves.

    Gaps are left out; a direction of which one half is nothing but gap counts as level.
    """
    half = height_BKK.shape[1] // 2
    rises = []
    for axis in (1, 2):
        parts = zip(height_BKK.split(half, axis), valid_BKK.split(half, axis), strict=True)
        (first_B, some_B), (second_B, more_B) = ((h.sum((1, 2)), v.sum((1, 2))) for h, v in parts)
        rise_B = second_B / more_B.clamp(min=1) - first_B / some_B.clamp(min=1)
        rises.append(rise_B.where((some_B > 0) & (more_B > 0), 0.0) / half)
    return torch.hypot(*rises)


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
