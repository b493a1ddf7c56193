import numpy as np
import pytest

from geodata import cells
from geodata.grid import make_grid
from geodata.raster import Raster, decode_geotiff, decode_jpeg, encode_geotiff, encode_jpeg
from schemas.modality import DEM, SENTINEL2
from training import decode

KEY = cells.cell_at(6.13, 49.61, 10)


def make_raster(modality, seed=0):
    rng = np.random.default_rng(seed)
    grid = make_grid(KEY, modality.name)
    values = rng.normal(1000, 300, (len(modality.bands), *grid.shape)).clip(1).astype(modality.dtype)
    valid = rng.random(grid.shape) > 0.2
    return Raster(np.where(valid, values, np.array(modality.nodata, modality.dtype)), valid, grid)


@pytest.mark.parametrize("modality", [SENTINEL2, DEM], ids=lambda m: m.name)
def test_rasters_round_trip_with_and_without_gdal(modality):
    raster = make_raster(modality)
    payload = encode_geotiff(raster, modality, {"SOURCE": "test"})
    stored = raster.values
    assert (stored[:, ~raster.valid] == modality.nodata).all()
    with_gdal = decode_geotiff(payload)
    assert (with_gdal.values == stored).all() and (with_gdal.valid == raster.valid).all()
    assert with_gdal.grid == raster.grid
    assert (decode.decode_geotiff(payload) == stored).all()
    out = np.empty_like(stored)
    assert decode.decode_geotiff(payload, out) is out
    assert (out == stored).all()


def test_encoding_is_deterministic():
    payloads = {encode_geotiff(make_raster(SENTINEL2), SENTINEL2, {"A": "b", "C": "d"}) for _ in range(3)}
    assert len(payloads) == 1


def test_pictures_are_decoded_alike():
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    one, two = decode.decode_jpeg(encode_jpeg(pixels)), decode_jpeg(encode_jpeg(pixels))
    assert one.shape == (64, 96, 3)
    assert np.abs(one.astype(int) - two.astype(int)).max() <= 2


@pytest.mark.parametrize("payload", [b"", b"MM\x00*rest", b"not a tiff at all"])
def test_other_bytes_are_refused(payload):
    with pytest.raises(decode.LayoutError):
        decode.decode_geotiff(payload)


def test_another_layout_is_refused(tmp_path):
    import rasterio

    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        count=1,
        height=64,
        width=64,
        dtype="uint16",
        crs="EPSG:32632",
        transform=rasterio.Affine(1, 0, 5, 0, -1, 5),
        compress="deflate",
    ) as dataset:
        dataset.write(np.ones((1, 64, 64), np.uint16))
    with pytest.raises(decode.LayoutError, match="compression 8"):
        decode.decode_geotiff((tmp_path / "a.tif").read_bytes())
