import numpy as np
import pytest

from geodata import cells
from geodata.grid import (
    distance_m,
    footprint,
    hexagon_mask,
    holds,
    local_crs,
    make_grid,
    patch_centres,
    patch_lonlat,
    pixel_position,
    transformer,
)
from schemas.modality import AERIAL, MODALITIES, SENTINEL2

RASTERS = [name for name, modality in MODALITIES.items() if modality.is_raster]
PENTAGON = cells.to_key(cells.h3.get_pentagons(10)[3])
PLACES = {
    "luxembourg": (6.13, 49.61), "south": (-48.1, -25.3), "antimeridian east": (179.9999, -17.0),
    "antimeridian west": (-179.9999, -17.0), "north pole": (10.0, 89.9), "south pole": (-70.0, -89.9),
    "svalbard": (15.6, 78.2), "equator": (36.0, 0.0001), "zone border": (6.00001, 50.0),
}  # fmt: skip
KEYS = {**{name: cells.cell_at(*lonlat, 10) for name, lonlat in PLACES.items()}, "pentagon": PENTAGON}


def random_keys(number, seed=0):
    rng = np.random.default_rng(seed)
    lonlat = np.stack([rng.uniform(-180, 180, number), np.degrees(np.arcsin(rng.uniform(-1, 1, number)))], -1)
    return [cells.to_key(cell) for cell in cells.cells_at(lonlat, 10)]


@pytest.mark.parametrize("modality", RASTERS)
@pytest.mark.parametrize("place", KEYS)
def test_patch_covers_its_hexagon(place, modality):
    grid = make_grid(KEYS[place], modality)
    for lon, lat in cells.hexagon(KEYS[place]):
        assert holds(grid, lon, lat)


@pytest.mark.parametrize("modality", RASTERS)
def test_patch_is_snapped_to_its_pixel(modality):
    for key in random_keys(50):
        grid = make_grid(key, modality)
        assert grid.left / grid.gsd_m == pytest.approx(round(grid.left / grid.gsd_m), abs=1e-6)
        assert grid.top / grid.gsd_m == pytest.approx(round(grid.top / grid.gsd_m), abs=1e-6)


def test_grid_is_a_pure_function():
    for key in random_keys(20):
        assert make_grid(key, "sentinel2") == make_grid(key, "sentinel2")
        assert make_grid(key, "sentinel2") == make_grid(key, "dem")


def test_positions_in_hexagons_cover_the_inner_three_quarters():
    keys = random_keys(4000)
    shares = []
    for key in keys:
        column, row = pixel_position(make_grid(key, "sentinel2"), *cells.centre(key))
        shares.append((column / SENTINEL2.size_px - 0.5, row / SENTINEL2.size_px - 0.5))
    shares = np.array(shares)
    assert np.abs(shares).max() < 0.385
    counts, _, _ = np.histogram2d(*shares.T, bins=8, range=[[-0.375, 0.375]] * 2)
    assert counts.min() > 0.6 * counts.mean()


def test_offset_leaves_the_aerial_image_centred():
    for key in random_keys(20):
        assert distance_m(*patch_lonlat(make_grid(key, "aerial")), *cells.centre(key)) < AERIAL.gsd_m


def test_vectorised_patch_centres_agree_with_the_grids():
    keys = [*random_keys(200), *KEYS.values()]
    centres = patch_centres(np.array([cells.to_cell(key) for key in keys], dtype=np.uint64), SENTINEL2)
    for key, (lon, lat) in zip(keys, centres.tolist(), strict=True):
        assert distance_m(lon, lat, *patch_lonlat(make_grid(key, "sentinel2"))) < SENTINEL2.gsd_m


@pytest.mark.parametrize(
    ("lonlat", "code"),
    [
        ((3.0, 50.0), 32631), ((-180.0, 10.0), 32601), ((179.99, 10.0), 32660), ((180.0, 10.0), 32601),
        ((5.3, 60.4), 32632), ((2.9, 60.4), 32631), ((15.6, 78.2), 32633), ((8.9, 78.0), 32631), ((9.0, 78.0), 32633),
        ((33.0, 78.0), 32637), ((0.0, 84.0), 32661), ((0.0, 83.99), 32631), ((0.0, -80.0), 32731), ((0.0, -80.1), 32761),
        ((-70.0, -33.4), 32719),
    ],
)  # fmt: skip
def test_zone_follows_the_universal_grids(lonlat, code):
    assert local_crs(*lonlat) == f"EPSG:{code}"


def test_grid_is_north_up_in_a_projected_crs():
    grid = make_grid(KEYS["luxembourg"], "sentinel2")
    south_west, _, _, north_west = footprint(grid)
    assert north_west[1] > south_west[1]
    assert transformer("EPSG:4326", grid.crs).transform(*south_west) == pytest.approx(
        (grid.left, grid.bottom), abs=1e-3
    )


@pytest.mark.parametrize("place", KEYS)
def test_hexagon_mask_has_the_area_of_the_cell(place):
    key = KEYS[place]
    grid = make_grid(key, "aerial")
    area_m2 = cells.h3.cell_area(cells.to_cell(key), unit="m^2")
    assert hexagon_mask(key, grid).sum() * grid.gsd_m**2 == pytest.approx(area_m2, rel=0.02)
