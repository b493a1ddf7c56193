"""europe_mini as a corpus: every real raster, photo and text is a sample's, or a drop with its reason."""

import csv
import io
import json
import tarfile
from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from PIL import Image
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy import ndimage

import schemas
from geodata.grid import distance_m, make_grid, pixel_position
from geodata.raster import decode_geotiff, decode_jpeg
from schemas.modality import SENTINEL2_BANDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def index(real_corpus):
    return pq.read_table(real_corpus / "index.parquet").to_pylist()


@pytest.fixture(scope="module")
def samples(real_corpus, index):
    """Every sample that holds more than a text."""
    keys = [row["key"] for row in index if row["modalities"] != ["text"]]
    return [schemas.read_sample(real_corpus, key) for key in keys]


def read_records(corpus):
    """Every record as it lies in its shard."""
    for shard in sorted(corpus.glob("*/*.tar")):
        with tarfile.open(shard) as tar:
            yield from (json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json"))


def observations(samples, modality):
    return [(sample, o) for sample in samples for o in sample.observations if o.modality == modality]


def test_every_record_is_kept_or_dropped(real_corpus, europe_mini, index):
    with (europe_mini / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = (europe_mini / "text/pleiades.tsv").read_text().splitlines()[1:]
    expected = {row["path"] for row in rows if row["modality"] != "text"}
    expected |= {f"text/pleiades.tsv#{line.split(chr(9))[0]}" for line in lines}
    drops = pq.read_table(real_corpus / "drops.parquet").to_pylist()
    records = {record["key"]: record for record in read_records(real_corpus)}
    assert records.keys() == {row["key"] for row in index}
    kept = {o["item_id"] for record in records.values() for o in record["observations"]}
    dropped = {row["item_id"] for row in drops}
    assert expected == (kept | dropped) - {""}
    assert all(row["reason"] and row["stage"] for row in drops)


def test_seen_is_kept_plus_dropped(real_corpus):
    manifest = json.loads((real_corpus / "manifest.json").read_text())
    assert set(manifest["records"]) == {"sentinel2", "aerial", "dem", "street", "text", "other"}
    assert manifest["records"]["sentinel2"]["seen"] == 17
    assert manifest["records"]["street"]["seen"] == 63
    assert manifest["records"]["text"]["seen"] == 4716
    for table in ("records", "observations"):
        for modality, row in manifest[table].items():
            assert row["seen"] == row["kept"] + row["dropped"], (table, modality)


def test_counts_agree_with_the_index(real_corpus, index):
    manifest = json.loads((real_corpus / "manifest.json").read_text())
    for split in ("train", "val", "test"):
        rows = [row for row in index if row["split"] == split]
        counts = Counter(name for row in rows for name in row["modalities"])
        assert manifest["counts"][split] == {**counts, "samples": len(rows)}


def test_places_with_two_rasters_hold_both(real_corpus, index):
    together = defaultdict(set)
    for sample in (schemas.read_sample(real_corpus, row["key"]) for row in index if "dem" in row["modalities"]):
        for o in sample.observations:
            together[o.item_id.rpartition("/")[2]].add(o.modality)
    pairs = {name: found for name, found in together.items() if name.endswith(".tif")}
    assert sum(found == {"sentinel2", "dem"} for name, found in pairs.items() if name.startswith("terramesh")) == 3
    assert sum(found == {"aerial", "dem"} for name, found in pairs.items() if name.startswith("glc22")) == 5
    both = Counter(frozenset(row["modalities"]) & {"sentinel2", "aerial", "dem"} for row in index)
    assert both[frozenset(["sentinel2", "dem"])] == 3 and both[frozenset(["aerial", "dem"])] == 5


def test_pixels_of_one_crs_and_size_are_those_of_the_file(samples, europe_mini):
    copied = 0
    for _, o in [*observations(samples, "sentinel2"), *observations(samples, "dem")]:
        raster = decode_geotiff(o.payload)
        with rasterio.open(europe_mini / o.item_id) as dataset:
            if dataset.crs != raster.grid.crs or dataset.res != (10.0, 10.0):
                continue
            column = (raster.grid.left - dataset.transform.c) / 10
            row = (dataset.transform.f - raster.grid.top) / 10
            assert (column, row) == pytest.approx((round(column), round(row)), abs=2e-3)
            window = rasterio.windows.Window(round(column), round(row), 128, 128)
            expected = dataset.read(window=window, boundless=True, fill_value=0)
        assert (raster.values[:, raster.valid] == expected[:, raster.valid]).all()
        assert raster.valid.mean() == pytest.approx(o.valid_share, abs=1e-5)
        copied += 1
    assert copied == 15 + 3  # two of the seventeen Sentinel-2 patches lie in their neighbour's zone


def test_own_phase_is_recorded_truly(samples, europe_mini):
    shifted = 0
    for sample, o in observations(samples, "sentinel2"):
        ours = make_grid(sample.key, "sentinel2")
        assert abs(o.grid.left - ours.left) <= 5 and abs(o.grid.top - ours.top) <= 5
        assert decode_geotiff(o.payload).grid == o.grid
        shifted += o.grid != ours
    assert shifted >= 10


def test_warped_pixels_are_not_shifted(samples, europe_mini):
    """Against GDAL's cubic warp of the same file, each band on its own: less than a tenth of a pixel."""
    compared = 0
    for _, o in observations(samples, "sentinel2"):
        raster = decode_geotiff(o.payload)
        with rasterio.open(europe_mini / o.item_id) as dataset:
            if dataset.crs == raster.grid.crs:
                continue
            for band, name in enumerate(SENTINEL2_BANDS):
                oracle = np.zeros((128, 128), np.float32)
                reproject(
                    dataset.read(band + 1).astype(np.float32), oracle, src_transform=dataset.transform, src_crs=dataset.crs,
                    dst_transform=rasterio.Affine(*raster.grid.affine), dst_crs=raster.grid.crs,
                    resampling=Resampling.cubic, src_nodata=0, tolerance=0,
                )  # fmt: skip
                both = raster.valid & (oracle > 0)
                assert np.hypot(*phase_shift(raster.values[band], oracle, both)) < 0.1, (o.item_id, name)
                compared += 1
    assert compared == 2 * 12


def phase_shift(a, b, valid):
    """Shift in pixels from the slope of the cross-power spectrum's phase, low frequencies only (Stone and others 2001)."""
    rows, columns = (slice(*extent) for extent in _inner_box(valid))
    a, b = (np.asarray(x, float)[rows, columns] for x in (a, b))
    window = np.outer(np.hanning(a.shape[0]), np.hanning(a.shape[1]))
    spectra = [np.fft.fft2((x - x.mean()) * window) for x in (a, b)]
    cross = spectra[0] * np.conj(spectra[1])
    fy, fx = np.meshgrid(*(np.fft.fftfreq(n) for n in a.shape), indexing="ij")
    low = (np.hypot(fy, fx) < 0.12) & (np.hypot(fy, fx) > 0)
    weight = np.abs(cross[low])
    matrix = -2 * np.pi * np.stack([fy[low], fx[low]], -1)
    return np.linalg.lstsq(matrix * weight[:, None], np.angle(cross[low]) * weight, rcond=None)[0]


def _inner_box(valid):
    """A large box of valid pixels around the valid middle."""
    row, column = (int(v) for v in ndimage.center_of_mass(valid))
    size = 8
    while row - size >= 0 and column - size >= 0 and row + size <= 128 and column + size <= 128:
        if not valid[row - size : row + size, column - size : column + size].all():
            break
        size += 1
    size -= 1
    return (row - size, row + size), (column - size, column + size)


def test_the_phase_meter_sees_a_quarter_of_a_pixel():
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(128, 128)), 2)
    moved = ndimage.shift(field, (0.25, -0.1), order=5)
    shift = phase_shift(moved, field, np.ones((128, 128), bool))
    assert shift == pytest.approx((0.25, -0.1), abs=0.03)


def test_photos_lie_where_their_exif_says(samples, europe_mini):
    seen = 0
    with (europe_mini / "manifest.csv").open() as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for sample, o in observations(samples, "street"):
        gps = Image.open(europe_mini / o.item_id).getexif().get_ifd(0x8825)
        lat, lon = float(rows[o.item_id]["lat"]), float(rows[o.item_id]["lon"])
        if 2 in gps:
            lat, lon = (sign * sum(float(v) / 60**i for i, v in enumerate(gps[tag])) for tag, sign in
                        ((2, -1 if gps[1] == "S" else 1), (4, -1 if gps[3] == "W" else 1)))  # fmt: skip
            seen += 1
        assert distance_m(o.lon, o.lat, lon, lat) < 0.2
        column, row = pixel_position(make_grid(sample.key, "sentinel2"), o.lon, o.lat)
        assert 0 <= column < 128 and 0 <= row < 128
        assert o.distance_m < 90
        assert min(decode_jpeg(o.payload).shape[:2]) == 256
    assert seen >= 8


def test_geotiff_members_open_in_rasterio_with_all_they_need(samples):
    for _, o in [*observations(samples, "sentinel2"), *observations(samples, "dem")]:
        with rasterio.open(io.BytesIO(o.payload)) as dataset:
            assert dataset.crs.is_projected and dataset.res == (10.0, 10.0) and dataset.shape == (128, 128)
            assert dataset.descriptions == (SENTINEL2_BANDS if o.modality == "sentinel2" else ("height",))
            assert dataset.nodata == (0 if o.modality == "sentinel2" else -32768)
            assert dataset.tags()["ITEM_ID"] == o.item_id
            assert dataset.tags()["LICENCE"] == o.licence


def test_heights_are_plausible_metres(samples):
    for _, o in observations(samples, "dem"):
        raster = decode_geotiff(o.payload)
        assert raster.values.dtype == np.float32
        assert -100 < raster.values[0][raster.valid].min() <= raster.values[0][raster.valid].max() < 5000


def test_texts_are_those_of_the_file(real_corpus, europe_mini, index):
    lines = [line.split("\t") for line in (europe_mini / "text/pleiades.tsv").read_text().splitlines()[1:]]
    texts = {f"text/pleiades.tsv#{fields[0]}": fields for fields in lines}
    for row in [row for row in index if "text" in row["modalities"]][::200]:
        o = schemas.read_sample(real_corpus, row["key"]).text
        assert o.payload.decode() == texts[o.item_id][4].strip()
        assert o.title == texts[o.item_id][1]


def test_the_index_is_geoparquet(real_corpus, index):
    import geopandas

    table = geopandas.read_parquet(real_corpus / "index.parquet")
    assert table.crs == "OGC:CRS84"
    assert table.geometry.x.tolist() == [row["lon"] for row in index]
    assert set(table.columns) >= {"key", "split", "shard", "lon", "lat", "geometry", "country", "modalities", "members"}
