import io
import math

import mercantile
import numpy as np
import pytest
from PIL import Image
from rasterio.enums import Resampling

from geodata import cells
from geodata.grid import make_grid, patch_lonlat, transformer
from geodata.services.orthophotos import Orthophoto
from geodata.services.tiles import (
    TileError,
    TilePicture,
    choose_zoom,
    decode_tile,
    ground_size_m,
    is_blank,
    stitch,
    tile_url,
    tiles_over,
)
from geodata.window import choose_resampling
from schemas.grid import Grid

SERVICE = Orthophoto("test", ("LU",), "https://host/{z}/{x}/{y}", 10, 21, "CC0-1.0", "", "", "")
PLACES = {
    "luxembourg": (6.13, 49.61), "helsinki": (24.94, 60.17), "svalbard": (15.6, 78.2), "south": (-48.1, -25.3),
    "equator": (36.0, 0.0001), "zone border": (6.00001, 50.0), "antimeridian east": (179.9999, -17.0),
    "antimeridian west": (-179.9999, -17.0), "on the antimeridian": (180.0, 65.0),
}  # fmt: skip
GRIDS = {name: make_grid(cells.cell_at(*lonlat, 10), "aerial") for name, lonlat in PLACES.items()}
LUXEMBOURG = GRIDS["luxembourg"]
PERIOD_PX = 48


def paint(grid):
    """Returns an analytic picture, levels (lon, lat) -> (3, ...): waves east, north and diagonal, whole turns round."""
    lat_0 = patch_lonlat(grid)[1]
    turns = 111_320 * 360 / (PERIOD_PX * grid.gsd_m)
    around, diagonal = (round(turns * math.cos(math.radians(lat_0)) * share) for share in (1, math.sqrt(0.5)))

    def levels(lon, lat):
        lon, north = np.radians(lon), turns * np.radians(lat - lat_0)
        waves = np.sin(around * lon), np.sin(north), np.cos(diagonal * lon + math.sqrt(0.5) * north)
        return 127.5 + 100 * np.stack(waves)

    return levels


def tile_lonlat(tile, size):
    """Returns the middles of a tile's pixels by the formulas of the slippy map, without PROJ."""
    steps = (np.arange(size) + 0.5) / size
    lon = (tile.x + steps) / 2**tile.z * 360 - 180
    lat = np.degrees(np.arctan(np.sinh(math.pi * (1 - 2 * (tile.y + steps) / 2**tile.z))))
    return np.meshgrid(lon, lat)


def cut(picture, tiles, size=256):
    return {tile: as_tile(picture(*tile_lonlat(tile, size))) for tile in tiles}


def as_tile(levels):
    pixels = np.rint(levels).astype(np.uint8).transpose(1, 2, 0)
    return TilePicture(pixels, np.ones(pixels.shape[:2], dtype=bool))


def pixel_lonlat(grid):
    x = grid.left + grid.gsd_m * (np.arange(grid.width) + 0.5)
    y = grid.top - grid.gsd_m * (np.arange(grid.height) + 0.5)
    return transformer(grid.crs, "EPSG:4326").transform(*np.meshgrid(x, y))


def encode(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("finer", [0, 1, 2], ids=["chosen zoom", "one finer", "two finer"])
@pytest.mark.parametrize("place", GRIDS)
def test_each_pixel_shows_what_lies_at_its_own_position(place, finer):
    grid, picture = GRIDS[place], paint(GRIDS[place])
    zoom = choose_zoom(patch_lonlat(grid)[1], grid.gsd_m, SERVICE) + finer
    raster = stitch(cut(picture, tiles_over(grid, zoom)), zoom, grid)
    assert raster.grid == grid and raster.valid.all() and raster.values.dtype == np.uint8
    expected = picture(*pixel_lonlat(grid))
    error = raster.values - expected
    slope = 100 * 2 * math.pi / PERIOD_PX
    assert np.abs(error).max() < 0.3 * slope + 1
    assert abs(error.mean()) < 0.1, "rounded to one side"
    for axis in (1, 2):
        gradient = np.gradient(expected, axis=axis)
        assert abs((error * gradient).sum() / (gradient**2).sum()) < 0.02, "shifted, in pixels"


def test_both_kernels_are_tested_above():
    chosen = {
        choose_resampling(ground_size_m(lat, choose_zoom(lat, 0.75, SERVICE) + finer), 0.75)
        for _, lat in PLACES.values()
        for finer in (0, 1, 2)
    }
    assert chosen == {Resampling.bilinear, Resampling.average}


@pytest.mark.parametrize("place", ["equator", "luxembourg", "helsinki", "svalbard"])
def test_fine_tiles_are_averaged_by_their_size_on_the_ground(place):
    grid, rng = GRIDS[place], np.random.default_rng(0)
    lat = patch_lonlat(grid)[1]
    zoom = choose_zoom(lat, grid.gsd_m, SERVICE) + 1
    noise = {tile: as_tile(rng.normal(127.5, 30, (3, 256, 256)).clip(0, 255)) for tile in tiles_over(grid, zoom)}
    # A mean over w x w independent pixels, those at its edges in part, has this share of their spread (integral of the
    # squared weights over all phases); GDAL's triangle of the bilinear kernel would have two thirds of 1 / w.
    width = grid.gsd_m / ground_size_m(lat, zoom)
    expected = 1 / width - 1 / (3 * width**2)
    assert width > 1.5
    assert stitch(noise, zoom, grid).values.std() / 30 == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("place", GRIDS)
def test_where_tiles_are_cut_changes_nothing(place):
    grid, picture = GRIDS[place], paint(GRIDS[place])
    zoom = choose_zoom(patch_lonlat(grid)[1], grid.gsd_m, SERVICE)
    large = stitch(cut(picture, tiles_over(grid, zoom), 512), zoom, grid)
    small = stitch(cut(picture, tiles_over(grid, zoom + 1)), zoom + 1, grid)
    assert np.abs(large.values.astype(int) - small.values).max() <= 1
    assert (large.values == small.values).mean() > 0.999


@pytest.mark.parametrize("place", GRIDS)
def test_tiles_over_hold_every_pixel_and_no_tile_is_far(place):
    grid = GRIDS[place]
    lat = patch_lonlat(grid)[1]
    zoom = choose_zoom(lat, grid.gsd_m, SERVICE)
    tiles = tiles_over(grid, zoom)
    assert tiles == sorted(set(tiles))
    needed = {
        mercantile.tile(lon, lat, zoom) for lon, lat in zip(*(a.ravel() for a in pixel_lonlat(grid)), strict=True)
    }
    assert needed <= set(tiles)
    widest = math.ceil(grid.width * grid.gsd_m * 1.05 / (256 * ground_size_m(lat, zoom))) + 2
    assert len(tiles) <= widest**2


def test_a_patch_on_the_antimeridian_has_tiles_from_both_ends():
    columns = {tile.x for tile in tiles_over(GRIDS["on the antimeridian"], 17)}
    assert {0, 2**17 - 1} <= columns and len(columns) <= 4


@pytest.mark.parametrize(("inside_px", "expected"), [(1.5, 2), (10, 1)])
def test_the_kernel_reaches_into_the_neighbour_and_no_farther(inside_px, expected):
    tile = tiles_over(LUXEMBOURG, 17)[0]
    west, south, _, north = mercantile.bounds(tile)
    lon, lat = west + inside_px * (360 / 2**17 / 256), (south + north) / 2
    x, y = transformer("EPSG:4326", LUXEMBOURG.crs).transform(lon, lat)
    pixel = Grid(LUXEMBOURG.crs, x - 0.375, y + 0.375, 0.75, 1, 1)
    assert tiles_over(pixel, 17) == [mercantile.Tile(tile.x - 1, tile.y, 17), tile][-expected:]


def test_tiles_beyond_the_patch_change_nothing():
    picture, tiles = paint(LUXEMBOURG), tiles_over(LUXEMBOURG, 17)
    around = {neighbour for tile in tiles for neighbour in mercantile.neighbors(tile)}
    raster, wide = (stitch(cut(picture, some), 17, LUXEMBOURG) for some in (tiles, around | set(tiles)))
    assert (raster.values == wide.values).all()


def test_a_missing_tile_is_a_gap_and_nothing_else():
    pictures = cut(paint(LUXEMBOURG), tiles_over(LUXEMBOURG, 17))
    whole = stitch(pictures, 17, LUXEMBOURG)
    gone = max(pictures, key=lambda tile: (~stitch({**pictures, tile: empty()}, 17, LUXEMBOURG).valid).sum())
    without = stitch({tile: picture for tile, picture in pictures.items() if tile != gone}, 17, LUXEMBOURG)
    west, south, east, north = mercantile.bounds(gone)
    lon, lat = pixel_lonlat(LUXEMBOURG)
    reach = 3 * (east - west) / 256
    deep = (lon > west + reach) & (lon < east - reach) & (lat > south + reach) & (lat < north - reach)
    far = (lon < west - reach) | (lon > east + reach) | (lat < south - reach) | (lat > north + reach)
    assert deep.any() and far.any() and not without.valid[deep].any() and without.valid[far].all()
    assert (without.values[:, ~without.valid] == 0).all()
    assert (without.values[:, far] == whole.values[:, far]).all()
    assert (without.valid == stitch({**pictures, gone: empty()}, 17, LUXEMBOURG).valid).all()


def empty():
    return TilePicture(np.full((256, 256, 3), 255, dtype=np.uint8), np.zeros((256, 256), dtype=bool))


def test_a_patch_without_tiles_is_empty():
    raster = stitch({}, 17, LUXEMBOURG)
    assert not raster.valid.any() and not raster.values.any() and raster.values.shape == (3, 256, 256)


def test_tiles_of_two_sizes_do_not_fit():
    first, *others = tiles_over(LUXEMBOURG, 17)
    mixed = {**cut(paint(LUXEMBOURG), others), **cut(paint(LUXEMBOURG), [first], 512)}
    with pytest.raises(TileError, match=r"different sizes: \[256, 512\]"):
        stitch(mixed, 17, LUXEMBOURG)


@pytest.mark.parametrize("lat", [89.999, 86.0, -86.0, -89.999])
def test_beyond_web_mercator_there_are_no_tiles(lat):
    grid = make_grid(cells.cell_at(10.0, lat, 10), "aerial")
    assert tiles_over(grid, 17) == []
    assert not stitch({}, 17, grid).valid.any()


def test_zoom_is_the_coarsest_that_is_fine_enough():
    for lat in np.linspace(-85, 85, 69):
        zoom = choose_zoom(lat, 0.75, SERVICE)
        assert ground_size_m(lat, zoom) <= 0.825 < ground_size_m(lat, zoom - 1)


def test_ground_size_is_the_published_one():
    assert ground_size_m(0, 0) == pytest.approx(156543.03392, abs=1e-5)
    assert ground_size_m(60, 17) == pytest.approx(156543.03392 / 2 / 2**17)


def test_zoom_stays_within_the_service():
    assert choose_zoom(50.0, 0.001, SERVICE) == 21
    assert choose_zoom(50.0, 1000.0, SERVICE) == 10


def test_address_counts_rows_from_either_side():
    tile = mercantile.Tile(3, 1, 2)
    assert tile_url("https://h/{z}/{x}/{y}.png", tile) == "https://h/2/3/1.png"
    assert tile_url("https://h/a@b%3A{z}?r={-y}&c={x}", tile) == "https://h/a@b%3A2?r=2&c=3"


@pytest.mark.parametrize("size", [256, 512])
def test_a_png_comes_back_as_it_was(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    tile = decode_tile(encode(pixels))
    assert (tile.pixels == pixels).all() and tile.valid.all()


def test_transparent_pixels_are_gaps():
    rgba = np.random.default_rng(0).integers(1, 256, (256, 256, 4), dtype=np.uint8)
    rgba[10:20, 30:40, 3] = 0
    tile = decode_tile(encode(rgba))
    assert (tile.pixels == rgba[..., :3]).all()
    assert not tile.valid[10:20, 30:40].any() and tile.valid.sum() == 256 * 256 - 100


def test_grey_palette_and_jpeg_are_read():
    grey = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    assert (decode_tile(encode(grey)).pixels == grey[..., None]).all()
    palette = Image.fromarray(grey).convert("P")
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=0)
    assert not decode_tile(buffer.getvalue()).valid[:, 0].any()
    assert np.abs(decode_tile(encode(grey, "JPEG", quality=95)).pixels.astype(int) - grey[..., None]).max() < 8


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"<ServiceExceptionReport/>",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        encode(np.zeros((256, 256, 3), np.uint8))[:60],
    ],
    ids=["nothing", "xml", "broken png", "cut png"],
)
def test_what_is_no_picture_is_an_error(payload):
    with pytest.raises(TileError, match="no picture"):
        decode_tile(payload)


def test_a_cut_jpeg_is_an_error():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with pytest.raises(TileError, match="no picture"):
        decode_tile(encode(noise, "JPEG")[:5000])


def test_a_picture_of_another_size_is_an_error():
    with pytest.raises(TileError, match="1 x 1"):
        decode_tile(encode(np.zeros((1, 1, 3), np.uint8)))


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (12, 40, 90)])
def test_one_colour_is_blank_in_png_and_jpeg(colour):
    pixels = np.full((256, 256, 3), colour, dtype=np.uint8)
    for kind in ("PNG", "JPEG"):
        assert is_blank(decode_tile(encode(pixels, kind)).pixels)
    pixels[100, 100] += 1
    assert not is_blank(pixels)
