"""The real scene 29RKH: a STAC item whose 10 m bands are decimated to 100 m and five of whose bands are not there."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

import schemas
from geodata.raster import decode_geotiff
from geodata.sources import SourceError
from geodata.sources.stac import scan_stac
from schemas.drop import Reason
from tests.runs import SHARED, run_build

SCENE = SHARED / "stac_29RKH"
STAND_IN = {"B01": "B02", "B06": "B05", "B07": "B05", "B8A": "B08", "B09": "B05"}
"""Real bands that stand for those that are not there."""


@pytest.fixture
def scene(tmp_path):
    if not SCENE.is_dir():
        pytest.skip("../shared/data/stac_29RKH is not beside this checkout")
    folder = tmp_path / "scene"
    folder.mkdir()
    for path in SCENE.glob("B*.tif"):
        (folder / path.name).symlink_to(path)
    for name, real in STAND_IN.items():
        (folder / f"{name}.tif").symlink_to(SCENE / f"{real}.tif")
    shutil.copy(SCENE / "item.json", folder / "item.json")
    return folder / "item.json"


def edit(path, **properties):
    item = json.loads(path.read_text())
    item["properties"] |= properties
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))


def test_the_real_item_lacks_five_bands():
    if not SCENE.is_dir():
        pytest.skip("../shared/data/stac_29RKH is not beside this checkout")
    catalogue = scan_stac("scene", SCENE / "item.json", resolution=10)
    assert [(drop.modality, drop.reason) for drop in catalogue.drops] == [("sentinel2", Reason.MISSING_FILE)]
    assert all(band in catalogue.drops[0].detail for band in STAND_IN)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["02.14", "05.09"])
def test_a_scene_of_single_bands_becomes_a_patch(scene, tmp_path, baseline):
    edit(scene, **{"s2:processing_baseline": baseline, "earthsearch:boa_offset_applied": False})
    places = tmp_path / "places.csv"
    places.write_text("lon,lat\n-11.4,24.9\n-11.45,24.8\n")
    out = tmp_path / "out"
    run_build(
        "--region", "world", "--sources", f"stac:{scene}", "--output", out, "--sampling", "file", "--places", places,
        "--workers", "1", "--min_std", "0",
    )  # fmt: skip
    keys = pq.read_table(out / "index.parquet")["key"].to_pylist()
    assert keys
    offset = 1000 if baseline >= "04.00" else 0
    for key in keys:
        o = schemas.read_sample(out, key).sentinel2
        raster = decode_geotiff(o.payload)
        assert raster.valid.all() and o.captured_at.year == 2020
        with rasterio.open(SCENE / "B04.tif") as band:
            middle = [(raster.grid.left + 645, raster.grid.top - 645)]
            near = band.read(1, window=rasterio.windows.from_bounds(*raster.grid.bounds, band.transform))
            assert (
                near.min() - offset - 1 <= raster.values[3].min()
                and raster.values[3].max() <= near.max() - offset + 200
            )
            assert abs(int(raster.values[3][64, 64]) + offset - int(next(band.sample(middle))[0])) < 200
        assert np.unique(raster.values[3]).size > 5


@pytest.mark.parametrize("text", ["{", "{}", '{"type": "FeatureCollection"}'])
def test_what_is_no_stac_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SourceError, match="is no STAC"):
        scan_stac("x", tmp_path / "x.json", resolution=10)
