import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geodata import cells
from geodata.grid import make_grid, pixel_position
from geodata.window import BandError, choose_resampling, read_window
from schemas.modality import SENTINEL2_BANDS
from tests.folders import CENTRE, make_scene, write_raster

KEY = cells.cell_at(*CENTRE, 10)
GRID = make_grid(KEY, "sentinel2")


def read(path, grid=GRID, modality="sentinel2"):
    with rasterio.open(path) as dataset:
        return read_window(dataset, grid, modality)


def test_a_window_on_our_lattice_is_copied(tmp_path):
    write_raster(tmp_path / "a.tif", scene := make_scene(400), nodata=0)
    raster = read(tmp_path / "a.tif")
    assert raster.grid == GRID and raster.valid.all()
    with rasterio.open(tmp_path / "a.tif") as dataset:
        row, column = (round(v) for v in dataset.index(GRID.left, GRID.top, op=float))
    assert (raster.values == scene[:, row : row + 128, column : column + 128]).all()


@pytest.mark.parametrize("phase_m", [(3.7, -2.1), (5.0, 5.0), (-4.9, 0.2)])
def test_a_lattice_off_by_part_of_a_pixel_keeps_its_own_phase(tmp_path, phase_m):
    write_raster(tmp_path / "a.tif", scene := make_scene(400), nodata=0, phase_m=phase_m)
    raster = read(tmp_path / "a.tif")
    assert raster.grid != GRID
    assert abs(raster.grid.left - GRID.left) <= 5 and abs(raster.grid.top - GRID.top) <= 5
    with rasterio.open(tmp_path / "a.tif") as dataset:
        row, column = dataset.index(raster.grid.left + 5, raster.grid.top - 5)
        assert dataset.transform.c + column * 10 == pytest.approx(raster.grid.left, abs=1e-6)
    assert (raster.values == scene[:, row : row + 128, column : column + 128]).all()


def test_a_patch_over_the_edge_is_padded_and_masked(tmp_path):
    write_raster(tmp_path / "a.tif", make_scene(100), nodata=0)
    raster = read(tmp_path / "a.tif")
    assert 0 < raster.valid.mean() < 1
    assert (raster.values[:, ~raster.valid].max(initial=0)) <= 1
    with rasterio.open(tmp_path / "a.tif") as dataset:
        inside = np.argwhere(raster.valid)
        for row, column in inside[:: len(inside) // 20]:
            x, y = GRID.left + 10 * column + 5, GRID.top - 10 * row - 5
            assert (next(dataset.sample([(x, y)])) == raster.values[:, row, column]).all()


def test_a_patch_beside_the_raster_is_empty(tmp_path):
    write_raster(tmp_path / "a.tif", make_scene(100), lonlat=(CENTRE[0] + 0.1, CENTRE[1]), nodata=0)
    assert not read(tmp_path / "a.tif").valid.any()


def test_gaps_are_masked_and_valid_zeros_become_one(tmp_path):
    scene = make_scene(400)
    scene[:, 180:220, 180:220] = 0
    scene[3, 230:240, 230:240] = 0
    write_raster(tmp_path / "a.tif", scene, nodata=0)
    raster = read(tmp_path / "a.tif")
    assert (raster.values[:, raster.valid] >= 1).all()
    assert 0 < (~raster.valid).sum() <= 1600


@pytest.mark.parametrize(
    ("crs", "gsd_m"), [("EPSG:32631", 10.0), ("EPSG:3035", 10.0), ("EPSG:32632", 4.0), ("EPSG:32632", 20.0)]
)
def test_warping_does_not_shift(tmp_path, crs, gsd_m):
    """The oracle is GDAL's own warp of a smooth field; positions agree to a tenth of a pixel."""
    size = int(6000 / gsd_m)
    field = _smooth(size, gsd_m)
    write_raster(tmp_path / "a.tif", np.repeat(field[None], 12, 0), crs=crs, gsd_m=gsd_m, nodata=0)
    raster = read(tmp_path / "a.tif")
    assert raster.grid == GRID and raster.valid.all()
    with rasterio.open(tmp_path / "a.tif") as dataset:
        column, row = pixel_position(GRID, *CENTRE)
        assert 0 < column < 128 and 0 < row < 128
        oracle = np.zeros((128, 128), np.float32)
        reproject(
            dataset.read(1).astype(np.float32), oracle, src_transform=dataset.transform, src_crs=dataset.crs,
            dst_transform=rasterio.Affine(*GRID.affine), dst_crs=GRID.crs, resampling=Resampling.cubic, tolerance=0,
        )  # fmt: skip
    assert np.hypot(*_shift(raster.values[0].astype(float), oracle.astype(float))) < 0.1


@pytest.mark.parametrize("lon", [179.99, -179.99, 180.0])
def test_a_geographic_raster_across_the_antimeridian_is_read_on_both_sides(tmp_path, lon):
    key = cells.cell_at(lon, -17.0, 10)
    grid = make_grid(key, "dem")
    columns = np.mgrid[:400, :400][1]
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", dtype="float32", count=1, height=400, width=400, crs="EPSG:4326",
        transform=rasterio.Affine(0.0005, 0, 179.9, 0, -0.0005, -16.9),
    ) as dataset:  # fmt: skip
        dataset.write((1000 * (179.9 + 0.0005 * (columns + 0.5)))[None].astype(np.float32))
    raster = read(tmp_path / "a.tif", grid, "dem")
    assert raster.valid.all()
    column, row = (int(v) for v in pixel_position(grid, *cells.centre(key)))
    assert raster.values[0, row, column] / 1000 == pytest.approx(cells.centre(key)[0] % 360, abs=0.0003)


def _smooth(size, gsd_m):
    y, x = np.mgrid[:size, :size] * gsd_m
    waves = np.random.default_rng(0).uniform(0.5, 2, (12, 2)) * 2 * np.pi / 400
    return (3000 + sum(200 * np.sin(x * a + y * b + i) for i, (a, b) in enumerate(waves))).astype(np.uint16)


def _shift(a, b):
    """Shift in pixels between two pictures, from the gradient equations (Lucas and Kanade)."""
    gy, gx = np.gradient(b)
    inner = np.s_[4:-4, 4:-4]
    matrix = np.stack([gx[inner].ravel(), gy[inner].ravel()], -1)
    return np.linalg.lstsq(matrix, (b - a)[inner].ravel(), rcond=None)[0]


def test_the_shift_meter_sees_a_fifth_of_a_pixel():
    field = _smooth(256, 5.0).astype(float)
    apart = _shift(field[::2, ::2][:100, :100], field[::2, 1::2][:100, :100])
    assert abs(apart[0]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [(10, 10, "bilinear"), (1, 0.75, "bilinear"), (1, 10, "average"), (30, 10, "bilinear"), (0.2, 0.75, "average")],
)
def test_resampling_averages_what_becomes_coarser(source, target, expected):
    assert choose_resampling(source, target).name == expected


def test_bands_are_found_by_name_in_any_order(tmp_path):
    scene = make_scene(200)
    order = list(reversed(SENTINEL2_BANDS))
    write_raster(tmp_path / "a.tif", scene[::-1].copy(), nodata=0, names=order)
    write_raster(tmp_path / "b.tif", scene, nodata=0, names=SENTINEL2_BANDS)
    assert (read(tmp_path / "a.tif").values == read(tmp_path / "b.tif").values).all()


@pytest.mark.parametrize("count", [1, 3, 11, 13])
def test_a_raster_with_other_bands_is_refused(tmp_path, count):
    write_raster(tmp_path / "a.tif", np.ones((count, 100, 100), np.uint16))
    with pytest.raises(BandError, match=f"the raster has {count}"):
        read(tmp_path / "a.tif")
