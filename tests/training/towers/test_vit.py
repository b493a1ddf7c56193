import numpy as np
import pytest
import torch
from torch import nn

from schemas.modality import DEM
from training.towers.pixels import Bands, Heights, Picture, count_flags
from training.towers.vit import VisionTower, VitShape

SHAPE = VitShape(32, 2, 2, 16)
BANDS = Bands([1000.0] * 12, [500.0] * 12, 16)
PICTURE = Picture([100.0, 110.0, 120.0], [50.0, 60.0, 70.0], 32, 8)
HEIGHTS = Heights(16)


def make_bands(*values):
    stored = torch.full((len(values), 12, 128, 128), 1000, dtype=torch.int32)
    stored[:, 0, 0, 0] = torch.tensor(values)
    return stored.to(torch.int16)


def test_bands_are_standardised_and_gaps_are_zero():
    patches_BLP, _ = BANDS(make_bands(1500, 0, 1, 65535))
    assert patches_BLP.shape == (4, 64, 12 * 256)
    assert patches_BLP[:, 0, 0].tolist() == pytest.approx([1.0, 0.0, -1.998, 129.07])
    assert not patches_BLP[:, 0, 1:].any()


@pytest.mark.parametrize(("pixels", "stored", "planes"), [
    (Bands([0.0] * 12, [1.0] * 12, 16), torch.randint(1, 9000, (2, 12, 128, 128)).to(torch.int16), lambda s: s.float()),
    (Picture([0.0] * 3, [1.0] * 3, 32, 8), torch.randint(0, 256, (2, 32, 32, 3)).to(torch.uint8), lambda s: s.permute(0, 3, 1, 2).float()),
], ids=["bands", "picture"])  # fmt: skip
def test_patches_are_those_of_a_convolution(pixels, stored, planes):
    p = pixels.patch_px
    patches_BLP, _ = pixels(stored)
    channels = planes(stored).shape[1]
    weight = torch.randn(5, channels, p, p)
    expected = nn.functional.conv2d(planes(stored), weight, stride=p).flatten(2).transpose(1, 2)
    order = weight if isinstance(pixels, Bands) else weight.permute(0, 2, 3, 1)
    assert torch.allclose(patches_BLP @ order.flatten(1).T, expected, rtol=1e-3, atol=1.0)


def test_numbers_of_bands_leave_gaps_out():
    stored = torch.randint(1, 9000, (3, 12, 128, 128))
    stored[1, :, :, 40:] = 0
    stored[2] = 0
    mean_BC, middle_BC, deviation_BC = BANDS(stored.to(torch.int16))[1].split(12, 1)
    values = (stored.double() - 1000) / 500
    for row, columns in ((0, slice(None)), (1, slice(40))):
        there = values[row, :, :, columns].flatten(1)
        assert torch.allclose(mean_BC[row].double(), there.mean(1), atol=1e-3)
        assert torch.allclose(deviation_BC[row].double(), there.std(1, correction=0), rtol=1e-3)
    assert torch.allclose(middle_BC[0].double(), values[0, :, 56:72, 56:72].mean((1, 2)), atol=1e-3)
    assert not middle_BC[1:].any() and not mean_BC[2].any()


def test_numbers_of_a_picture_go_from_the_top_down():
    stored = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    stored[:, :8, :, 2], stored[:, 24:, :16, 0] = 240, 200
    mean, deviation, belts = PICTURE(stored)[1].split((3, 3, 12), 1)
    values = (stored[0].double() - torch.tensor([100.0, 110, 120])) / torch.tensor([50.0, 60, 70])
    assert torch.allclose(mean[0].double(), values.mean((0, 1)), atol=1e-5)
    assert torch.allclose(deviation[0].double(), values.flatten(0, 1).std(0, correction=0), atol=5e-3)
    assert torch.allclose(belts[0].view(3, 4).T.double(), values.unflatten(0, (4, 8)).mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize(("pixels", "stored"), [
    (BANDS, torch.randint(1, 9000, (3, 12, 128, 128)).to(torch.int16)),
    (PICTURE, torch.randint(0, 256, (3, 32, 32, 3)).to(torch.uint8)),
], ids=["bands", "picture"])  # fmt: skip
def test_an_embedding_is_what_patches_say_plus_what_numbers_say(pixels, stored):
    tower = VisionTower(pixels, SHAPE).eval()
    whole_BD, _ = tower(stored)
    said_BD = tower.summary(pixels(stored)[1])
    tower.summary[-1].weight.data.zero_()
    assert torch.allclose(tower(stored)[0] + said_BD, whole_BD, atol=1e-5) and said_BD.abs().max() > 1e-3


def test_heights_keep_shape_and_level_apart():
    ramp = torch.linspace(0, 100, 128).expand(1, 1, 128, 128)
    low, low_levels = HEIGHTS(ramp)
    high, high_levels = HEIGHTS(ramp + 3000)
    assert torch.allclose(low, high, atol=1e-3)
    mean, lowest, highest, place, deviation, extent, above, slope = low_levels.expm1()[0].tolist()
    assert (mean, lowest, highest, place, extent) == pytest.approx((50, 0, 100, 50, 100), abs=1e-2)
    assert above == pytest.approx(0, abs=1e-3) and slope == pytest.approx(100 / 127 * 10, rel=1e-3)  # metres in 100 m
    assert deviation == pytest.approx(float(ramp[0, 0, 0].std(correction=0)), rel=1e-3)
    assert high_levels.expm1()[0].tolist() == pytest.approx(
        [3050, 3000, 3100, 3050, deviation, 100, 0, slope], rel=1e-3, abs=1e-3
    )
    assert float(low.std()) == pytest.approx(1.0, abs=0.05)


def test_what_lies_about_the_place_is_told_by_itself():
    focus_B2 = torch.tensor([[0.5, -0.5], [0.0, 0.0], [1.0, 1.0], [-1.0, 0.3]])  # x to the right, y down
    stored = torch.randint(1, 9000, (4, 12, 128, 128)).to(torch.int16)
    height = torch.rand(4, 1, 128, 128) * 100 + 500
    about_BC = BANDS(stored, focus_B2)[1].split(12, 1)[1]
    place_B = HEIGHTS(height, focus_B2)[1].expm1()[:, HEIGHTS.levels.index("place")]
    for row, (x, y) in enumerate([(96, 32), (64, 64), (128, 128), (0, 83)]):
        top, left = min(max(y - 8, 0), 112), min(max(x - 8, 0), 112)
        values = (stored[row, :, top : top + 16, left : left + 16].double() - 1000) / 500
        assert torch.allclose(about_BC[row].double(), values.mean((1, 2)), atol=1e-3)
        top, left = min(max(y - 3, 0), 122), min(max(x - 3, 0), 122)
        assert place_B[row] == pytest.approx(float(height[row, 0, top : top + 6, left : left + 6].mean()), rel=1e-4)
    for pixels, values in ((BANDS, stored), (HEIGHTS, height)):
        middle = pixels(values, torch.zeros(4, 2))
        assert all(torch.equal(a, b) for a, b in zip(pixels(values), middle, strict=True))


def test_the_slope_is_that_of_the_ground_beside_a_gap():
    ramp = (torch.arange(128.0) * 2).expand(1, 1, 128, 128).clone()  # 20 m in 100 m
    slopes = []
    for gap in (slice(0, 0), slice(0, 64), slice(60, 128)):  # of the rows: none, half and nearly all about the place
        height = ramp.clone()
        height[:, :, gap] = DEM.nodata
        slopes.append(float(HEIGHTS(height)[1].expm1()[0, HEIGHTS.levels.index("slope")]))
    assert slopes == pytest.approx([20, 20, 20], rel=1e-3)
    half = ramp.clone()
    half[..., 64:] = DEM.nodata  # of one half nothing is known
    assert HEIGHTS(half)[1][0, HEIGHTS.levels.index("slope")] == 0


@pytest.mark.parametrize("gap", [DEM.nodata, float("nan"), float("inf")])
def test_gaps_of_heights_are_zero_and_change_nothing_else(gap):
    height = torch.rand(1, 1, 128, 128) * 100 + 500
    height[0, 0, :, 64:] = gap
    patches_BLP, levels_BN = HEIGHTS(height)
    left, left_levels_BN = HEIGHTS(height[..., :64].repeat(1, 1, 1, 2))
    assert not patches_BLP.view(8, 8, -1)[:, 4:].any()
    assert torch.allclose(patches_BLP.view(8, 8, -1)[:, :4], left.view(8, 8, -1)[:, :4], atol=1e-4)
    whole = [HEIGHTS.levels.index(name) for name in ("mean", "lowest", "highest", "deviation", "range")]
    assert torch.allclose(levels_BN[:, whole], left_levels_BN[:, whole], atol=1e-4)
    west = HEIGHTS(height, torch.tensor([[-0.5, 0.0]]))[1].expm1()[0]
    assert west[HEIGHTS.levels.index("place")] == pytest.approx(float(height[0, 0, 61:67, 29:35].mean()), rel=1e-4)


@pytest.mark.parametrize("value", [DEM.nodata, float("nan"), 12.0])
def test_empty_and_flat_heights_stay_finite(value):
    tower = VisionTower(HEIGHTS, SHAPE)
    out_BD, _ = tower(torch.full((1, 1, 128, 128), value))
    out_BD.sum().backward()
    assert out_BD.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in tower.parameters() if parameter.grad is not None)


def test_the_map_has_north_first_and_columns_to_the_east():
    tower = VisionTower(BANDS, SHAPE)
    tower.transformer = nn.Identity()
    tower.rows_H1D.data.zero_(), tower.columns_1WD.data.zero_()
    stored = torch.full((1, 12, 128, 128), 1000, dtype=torch.int16)
    stored[:, :, 16:32, 80:96] = 3000
    _, map_BCHW = tower(stored)
    assert map_BCHW.shape == (1, 32, 8, 8)
    odd = (map_BCHW - map_BCHW[:, :, :1, :1]).abs().sum(1)[0] > 1e-4
    assert odd.nonzero().tolist() == [[1, 5]]


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_gradients_reach_every_parameter(pool):
    tower = VisionTower(HEIGHTS, VitShape(32, 2, 2, 16, pool=pool))
    tower(torch.rand(3, 1, 128, 128) * 100)[0].square().sum().backward()
    missing = [
        name for name, parameter in tower.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert missing == []


def test_patches_divide_the_square():
    with pytest.raises(ValueError, match="Patches of 48 px do not divide 64 px"):
        Picture([0.0] * 3, [1.0] * 3, 64, 48)


@pytest.mark.parametrize("patch_px", [16, 8, 4, 2])  # of the last a flag is read by itself
@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 1.0])
def test_flags_are_counted_band_by_band(patch_px, share):
    flag_BLP = torch.rand(3, 64, 12 * patch_px**2, generator=torch.Generator().manual_seed(0)) < share
    expected = flag_BLP.numpy().reshape(3, 64, 12, -1).sum((1, 3))
    np.testing.assert_array_equal(count_flags(flag_BLP, 12).numpy(), expected)
