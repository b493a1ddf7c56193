import numpy as np
import pytest
import rasterio
from PIL import Image

from geodata import cells
from geodata.grid import hexagon_mask, make_grid, transformer
from geodata.judge import Thresholds, cloud_share, hexagon_valid_share, judge_photo, judge_raster, sharpness
from geodata.raster import Raster, band_sums, picture_sums
from geodata.window import read_window
from schemas.drop import Reason

KEY = cells.cell_at(6.13, 49.61, 10)
GRID = make_grid(KEY, "sentinel2")


def land(seed=0):
    return np.random.default_rng(seed).integers(300, 1500, (12, 128, 128)).astype(np.uint16)


def test_clear_land_is_good():
    assert judge_raster(Raster(land(), np.ones((128, 128), bool), GRID), KEY, "sentinel2", Thresholds()) is None


def test_a_gap_counts_where_the_hexagon_is():
    mask = hexagon_mask(KEY, GRID)
    assert judge_raster(Raster(land(), mask, GRID), KEY, "sentinel2", Thresholds()) is None
    verdict = judge_raster(Raster(land(), ~mask, GRID), KEY, "sentinel2", Thresholds())
    assert (verdict.reason, verdict.value) == (Reason.NODATA, 0.0)


def test_the_valid_share_is_that_of_the_hexagon():
    valid = np.ones((128, 128), bool)
    rows, columns = np.nonzero(hexagon_mask(KEY, GRID))
    valid[rows[: len(rows) // 4], columns[: len(rows) // 4]] = False
    assert hexagon_valid_share(Raster(land(), valid, GRID), KEY) == pytest.approx(0.75, abs=0.01)


def test_a_constant_picture_is_dropped():
    flat = Raster(np.full((12, 128, 128), 700, np.uint16), np.ones((128, 128), bool), GRID)
    assert judge_raster(flat, KEY, "sentinel2", Thresholds()).reason == Reason.CONSTANT


def test_flat_ground_is_no_fault():
    flat = Raster(np.zeros((1, 128, 128), np.float32), np.ones((128, 128), bool), GRID)
    assert judge_raster(flat, KEY, "dem", Thresholds()) is None


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
def test_white_pixels_are_cloud(share):
    values = land()
    values[:, : int(128 * share)] = 6000
    assert cloud_share(Raster(values, np.ones((128, 128), bool), GRID)) == pytest.approx(
        int(128 * share) / 128, abs=0.01
    )


def test_snow_and_desert_are_no_cloud():
    snow, desert = land(), land()
    snow[:9], snow[10:] = 8000, 300
    desert[:4], desert[4:] = 3000, 6000
    for values in (snow, desert):
        assert cloud_share(Raster(values, np.ones((128, 128), bool), GRID)) == 0


@pytest.mark.parametrize(("name", "least", "most"), [("satclip_patch_511198", 0.3, 0.7), ("satclip_patch_25630", 0, 0.01), ("satclip_patch_759128", 0, 0.05), ("satclip_patch_502692", 0, 0.01), ("terramesh_282D_485L_3_3", 0, 0.05)])  # fmt: skip
def test_real_patches_are_judged_as_a_person_would(europe_mini, name, least, most):
    """511198 is half under cumulus; 25630 is an ice sheet, 759128 a sand desert, 282D a beach."""
    with rasterio.open(europe_mini / f"sentinel2/{name}.tif") as dataset:
        values = dataset.read()
    whole = Raster(values, np.ones(values.shape[1:], bool), _grid(values.shape))
    assert least <= cloud_share(whole) <= most


def _grid(shape):
    from schemas.grid import Grid

    return Grid(GRID.crs, 0, 0, 10.0, shape[1], shape[2])


def test_every_real_patch_is_clear_at_its_middle_but_the_cloudy_one(europe_mini):
    for path in sorted((europe_mini / "sentinel2").glob("*.tif")):
        with rasterio.open(path) as dataset:
            x, y = dataset.xy(dataset.height // 2, dataset.width // 2)
            key = cells.cell_at(*transformer(dataset.crs.to_string(), "EPSG:4326").transform(x, y), 10)
            raster = read_window(dataset, make_grid(key, "sentinel2"), "sentinel2")
        verdict = judge_raster(raster, key, "sentinel2", Thresholds(max_cloud_share=0.1))
        assert (verdict is not None) == ("511198" in path.name)


def test_blur_lowers_sharpness_and_drops_the_photo():
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 3, axis=2).repeat(256, axis=0)
    assert sharpness(noise) > 100 * sharpness(ramp)
    assert judge_photo(noise, picture_sums(Image.fromarray(noise)), Thresholds()) is None
    assert judge_photo(ramp, picture_sums(Image.fromarray(ramp)), Thresholds()).reason == Reason.BLUR
    flat = np.full_like(ramp, 9)
    assert judge_photo(flat, picture_sums(Image.fromarray(flat)), Thresholds()).reason == Reason.CONSTANT


def test_sums_of_a_picture_are_those_of_its_bands():
    pixels = np.random.default_rng(0).integers(0, 256, (37, 23, 3)).astype(np.uint8)
    assert (picture_sums(Image.fromarray(pixels)) == band_sums(pixels.reshape(-1, 3).T)).all()
