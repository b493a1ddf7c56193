"""The demo as a user builds it, small."""

import csv
import io
import json
import re
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import schemas
from geodata import cells
from geodata.demo.places import PLACES_PER_CLUSTER, find_cluster
from geodata.grid import holds, make_grid
from geodata.raster import decode_geotiff
from geodata.splits import SplitRule
from schemas.modality import SENTINEL2_BANDS
from tests.runs import run_build

SAMPLES = 150


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """What a dry run says, before anything is built."""
    output = tmp_path_factory.mktemp("shards") / "demo"
    run_build("--region", "demo", "--output", output, "--samples", SAMPLES, "--dry_run")
    assert not (output / "manifest.json").exists()
    return output


@pytest.fixture(scope="module")
def estimate(planned):
    return json.loads((planned / "plan" / "plan.json").read_text())["estimate"]


@pytest.fixture(scope="module")
def corpus(planned, estimate):
    run_build("--region", "demo", "--output", planned, "--samples", SAMPLES)
    return planned


@pytest.fixture(scope="module")
def samples(corpus):
    keys = pq.read_table(corpus / "index.parquet")["key"].to_pylist()
    return [schemas.read_sample(corpus, key) for key in keys]


def test_three_thousand_places_hold_enough_of_every_split():
    """The world is not written for this: clusters say where they lie."""
    counts = Counter()
    for number in range(3000 // PLACES_PER_CLUSTER):
        places = np.array([cells.to_cell(key) for key in find_cluster(number, 0).keys], np.uint64)
        counts.update(SplitRule().assign(places).tolist())
    assert counts["val"] >= 250 and counts["test"] >= 250 and counts[""] == 0


@pytest.mark.slow
def test_every_place_becomes_a_sample_of_its_split(corpus, samples):
    assert len(samples) == SAMPLES
    assert Counter(sample.split for sample in samples).keys() == {"train", "val", "test"}
    splits = SplitRule().assign(np.array([cells.to_cell(sample.key) for sample in samples], np.uint64))
    assert splits.tolist() == [sample.split for sample in samples]


@pytest.mark.slow
def test_every_record_says_that_it_is_synthetic(corpus, samples):
    assert json.loads((corpus / "manifest.json").read_text())["synthetic"] is True
    assert "**Synthetic**" in (corpus / "README.md").read_text()
    assert all(o.synthetic and o.licence == "CC0-1.0" for sample in samples for o in sample.observations)
    assert all(sample.country is None for sample in samples)


@pytest.mark.slow
def test_all_five_views_are_common_and_each_may_be_missing(corpus, samples):
    found = Counter(o.modality for sample in samples for o in sample.observations)
    assert all(0.75 * SAMPLES < found[name] <= SAMPLES for name in schemas.MODALITIES)
    assert min(found.values()) < SAMPLES
    assert sum(len(sample.observations) == 5 for sample in samples) > SAMPLES / 2
    reasons = set(pq.read_table(corpus / "drops.parquet")["reason"].to_pylist())
    assert {"stub", "not_chosen"} <= reasons


@pytest.mark.slow
def test_views_of_a_place_tell_of_the_same_place(samples):
    """Water in the text and water in the Sentinel-2 patch; the elevation in the text and in the DEM."""
    heights = []
    for sample in samples:
        if sample.text and sample.dem and (said := re.search(r"(\d+) m above", sample.text.payload.decode())):
            heights.append((int(said[1]), float(np.median(decode_geotiff(sample.dem.payload).values))))
    said, measured = np.array(heights).T
    assert len(heights) > SAMPLES / 2
    assert np.corrcoef(said, measured)[0, 1] > 0.95


@pytest.mark.slow
def test_photos_and_articles_lie_in_their_patch(samples):
    for sample in samples:
        for o in (sample.street, sample.text):
            assert o is None or holds(make_grid(sample.key, "sentinel2"), o.lon, o.lat)
        if sample.street:
            assert cells.cell_at(sample.street.lon, sample.street.lat, 10) == sample.key
            assert 0 <= sample.street.heading_deg < 360


@pytest.mark.slow
def test_pictures_are_no_two_alike(samples):
    red = SENTINEL2_BANDS.index("B04")
    views = [decode_geotiff(s.sentinel2.payload).values[red].tobytes() for s in samples if s.sentinel2]
    photos = [np.asarray(Image.open(io.BytesIO(s.street.payload))).tobytes() for s in samples if s.street]
    assert len(set(views)) == len(views) and len(set(photos)) == len(photos)


@pytest.mark.slow
def test_the_world_is_written_once_and_beside_the_corpus(corpus):
    world = corpus.parent / ".demo-world-0"
    with (world / "manifest.csv").open() as file:
        assert all(row["synthetic"] == "true" for row in csv.DictReader(file))
    assert not list(corpus.rglob("*.tif"))
    assert str(world) not in (corpus / "manifest.json").read_text()


@pytest.mark.slow
def test_a_dry_run_tells_the_size_of_the_corpus(estimate, corpus):
    manifest = json.loads((corpus / "manifest.json").read_text())
    assert estimate["bytes"] == pytest.approx(sum(shard["bytes"] for shard in manifest["shards"]), rel=0.15)
    for name, row in manifest["observations"].items():
        seen = estimate["per_modality"][name]["observations"]
        assert seen == pytest.approx(row["kept"], rel=0.15)
    assert not estimate["services"]
