"""Whole builds of a piece of Luxembourg, with every service on loopback."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import schemas
from geodata.raster import decode_geotiff, decode_jpeg
from geodata.sources.live import TOKEN
from tests.benchmarks.requests import compare, count_requests
from tests.runs import SHARED, read_plan_table, run_module
from tests.services.luxembourg import Luxembourg
from tests.services.mapillary import TOKEN as SECRET
from tests.services.server import Fault
from tests.services.stac import missing

pytestmark = [
    pytest.mark.slow, pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not beside this checkout"),
]  # fmt: skip
REASON = missing()
FIVE = {"sentinel2", "aerial", "dem", "street", "text"}


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    if REASON:
        pytest.skip(REASON)
    services = Luxembourg(tmp_path_factory.mktemp("luxembourg"))
    yield services
    services.close()


@pytest.fixture(autouse=True)
def _quiet(services):
    for server in services.servers().values():
        server.faults.clear()
    services.forget()


def build(services, output, *arguments, expect=0, limit_s=150):
    """Builds as a user types it; returns what was said on both outputs."""
    done = run_module(
        "pipelines.build_shards", "--region", "luxembourg", "--output", output, "--contact", "me@example.org",
        "--samples_per_shard", "16", *services.arguments(), *arguments, limit_s=limit_s, environment={TOKEN: SECRET},
    )  # fmt: skip
    assert done.returncode == expect, done.stderr[-3000:]
    return done.stdout + done.stderr


def shas(corpus):
    return {s["name"]: s["sha256"] for s in json.loads((Path(corpus) / "manifest.json").read_text())["shards"]}


@pytest.fixture(scope="module")
def corpus(services, tmp_path_factory):
    output = tmp_path_factory.mktemp("corpus") / "lux"
    said = build(services, output)
    (output.parent / "said").write_text(said)
    return output


def test_five_views_of_the_same_places_lie_in_one_record(corpus):
    index = pq.read_table(corpus / "index.parquet").to_pylist()
    assert len(index) >= 20
    whole = [row["key"] for row in index if set(row["modalities"]) == FIVE]
    assert len(whole) >= 5
    sample = schemas.read_sample(corpus, whole[0])
    assert {o.modality for o in sample.observations} == FIVE
    for observation in sample.observations:
        assert observation.licence
        assert observation.attribution
        assert not observation.synthetic
    assert sample.text.attribution.startswith("Wikipedia contributors, https://")
    assert "Mapillary, @mapper" in sample.street.attribution
    assert sample.dem.note == "Copernicus DEM GLO-30"
    assert "baseline 05.10, offset -1000" in sample.sentinel2.note
    assert sample.country == "LU"


def test_the_cloudy_scene_was_judged_and_the_next_one_taken(corpus):
    drops = pq.read_table(corpus / "drops.parquet").to_pylist()
    assert not [d for d in drops if d["retryable"]]
    rows = pq.read_table(corpus / "index.parquet", columns=["key"]).to_pylist()
    clouded = [d for d in drops if d["reason"] == "cloud"]
    assert len(clouded) == len(rows)
    assert all("20240801" in d["item_id"] and d["value"] == 1 for d in clouded)
    for row in rows[:5]:
        assert "20240711" in schemas.read_sample(corpus, row["key"]).sentinel2.item_id


def test_an_article_that_turns_out_empty_gives_way_to_the_next(corpus):
    drops = pq.read_table(corpus / "drops.parquet").to_pylist()
    assert sum(d["modality"] == "text" and d["reason"] == "stub" for d in drops) >= 10
    counts = json.loads((corpus / "manifest.json").read_text())["counts"]
    assert sum(split.get("text", 0) for split in counts.values()) >= 10


def test_pixels_are_those_of_the_services(corpus):
    from tests.services.world import TAKES, colour, dn, height_m

    checked = Counter()
    for row in pq.read_table(corpus / "index.parquet", columns=["key"]).to_pylist()[:6]:
        sample = schemas.read_sample(corpus, row["key"])
        for observation in (sample.sentinel2, sample.dem, sample.aerial):
            if observation is None:
                continue
            lon, lat = _lonlat(observation.grid)
            if observation.modality == "aerial":
                gap = np.abs(decode_jpeg(observation.payload).transpose(2, 0, 1) - colour(lon, lat))
                assert gap.mean() < 3
            else:
                values = decode_geotiff(observation.payload).values
                truth = height_m(lon, lat) if observation.modality == "dem" else dn("B04", lon, lat, TAKES[0]) - 1000
                gap = np.abs(values[0 if observation.modality == "dem" else 3] - truth)
                assert gap.max() < 0.6
            checked[observation.modality] += 1
    assert set(checked) == {"sentinel2", "dem", "aerial"}


def test_seen_is_kept_and_dropped_for_all_views(corpus):
    manifest = json.loads((corpus / "manifest.json").read_text())
    for table in (manifest["records"], manifest["observations"]):
        assert set(table) >= FIVE
        assert all(row["seen"] == row["kept"] + row["dropped"] for row in table.values())


def test_a_second_build_has_the_same_bytes(services, corpus, tmp_path):
    build(services, tmp_path / "again", "--workers", "1", "--threads", "3")
    assert shas(tmp_path / "again") == shas(corpus)


def test_no_secret_is_in_any_output(services, corpus, tmp_path):
    cache = tmp_path / "cache"
    said = build(services, tmp_path / "out", "--cache", str(cache))
    signatures = list(services.sas.signatures)
    assert len(signatures) >= 2
    outputs = [path for folder in (tmp_path, corpus.parent) for path in folder.rglob("*") if path.is_file()]
    assert len(outputs) > 50
    texts = [path.read_bytes() for path in outputs] + [said.encode()]
    for secret in (SECRET, SECRET.rpartition("|")[2], *signatures):
        assert not any(secret.encode() in text for text in texts)
    assert services.mapillary.offences == []
    assert not any(
        b"me@example.org" in text for path, text in zip(outputs, texts, strict=False) if cache not in path.parents
    )


def test_with_a_cache_a_second_run_asks_nothing_again(services, corpus, tmp_path):
    cache = ("--cache", str(tmp_path / "cache"))
    build(services, tmp_path / "one", *cache)
    for server in services.servers().values():
        server.requests.clear()
    build(services, tmp_path / "two", *cache)
    assert shas(tmp_path / "one") == shas(tmp_path / "two") == shas(corpus)
    asked = {name: len(server.requests) for name, server in services.servers().items()}
    probes = {"stac": 1, "mapillary": 2, "wikipedia": 1}  # whether they are there is asked each time
    assert asked == {name: probes.get(name, 0) for name in asked}


def test_faults_of_every_service_lose_and_double_nothing(services, corpus, tmp_path):
    kinds = [
        ("status", 429, {}), ("reset", 0, {}), ("html", 0, {}), ("status", 503, {"Retry-After": "1"}),
        ("truncated", 0, {}), ("status", 500, {}), ("wrong_length", 0, {}), ("status", 502, {}),
    ]  # fmt: skip
    for name, server in services.servers().items():
        pause = 4 if name in ("blob", "aerial", "mapillary_images") else 1
        for action, status, headers in kinds:
            if (action, name) != ("html", "blob"):  # a store of files does not sit behind such a proxy
                server.faults.append(Fault(action, 1, status=status or 503, headers=headers, after=pause))
    build(services, tmp_path / "out", "--attempts", "6")
    assert shas(tmp_path / "out") == shas(corpus)
    met = {name: sum(f.times == 0 for f in server.faults) for name, server in services.servers().items()}
    assert met["blob"] == 7
    assert met["aerial"] == met["mapillary"] == 8
    assert min(met.values()) >= 1, met


def test_a_run_longer_than_a_tokens_life_completes(services, corpus, tmp_path):
    services.sas.lifetime_s = 3  # each file is signed anew, and what was open is refused in the middle
    try:
        build(services, tmp_path / "out")
    finally:
        services.sas.lifetime_s = 45 * 60
    assert shas(tmp_path / "out") == shas(corpus)
    assert services.sas.asked() > 2


def test_photos_that_are_down_for_the_whole_run_come_with_retry_failed(services, corpus, tmp_path):
    services.mapillary.images.faults.append(Fault("status", 10**6, status=503))
    build(services, tmp_path / "out", "--attempts", "2", "--patience", "0")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "street" not in manifest["counts"]["train"]
    assert manifest["drops"]["street"]["read.service"] > 20
    services.mapillary.images.faults.clear()
    blobs = len(services.blobs.server.requests)
    build(services, tmp_path / "out", "--retry_failed")
    assert shas(tmp_path / "out") == shas(corpus)
    assert len(services.blobs.server.requests) == blobs  # the good members were not read again


def test_texts_that_could_not_be_searched_come_with_retry_failed(services, corpus, tmp_path):
    services.wikipedia.server.faults.append(Fault("status", 10**6, status=503, after=1))
    build(services, tmp_path / "out", "--attempts", "2", "--patience", "0")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "text" not in manifest["counts"]["train"]
    assert manifest["drops"]["text"]["find.service"] >= 20
    services.wikipedia.server.faults.clear()
    build(services, tmp_path / "out", "--retry_failed")
    assert shas(tmp_path / "out") == shas(corpus)
    services.wikipedia.server.requests.clear()
    build(services, tmp_path / "out", "--retry_failed")
    assert shas(tmp_path / "out") == shas(corpus)


def test_searches_are_made_per_unit_and_headers_read_once_per_shard(services, tmp_path):
    build(services, tmp_path / "out", "--workers", "1", "--samples_per_shard", "256")
    plan = json.loads((tmp_path / "out" / "plan" / "plan.json").read_text())
    places = read_plan_table(tmp_path / "out", "places")
    units = len(set(places["unit"].to_pylist()))
    searches = [r for r in services.stac.server.requests if r.path == "/search"]
    assert len(searches) <= units * 4  # scenes, elevation; an empty page now and then
    headers = [sum(entry.startswith("bytes=0-") for entry in ranges) for ranges in services.blobs.ranges.values()]
    assert max(headers) == 1
    assert len(plan["shards"]) == 1
    blocks = sum(not e.startswith("bytes=0-") and e != "HEAD" for r in services.blobs.ranges.values() for e in r)
    windows = 14 * places.num_rows
    assert blocks / windows <= 1.3


def test_a_dry_run_reads_a_pilot_and_its_price_is_what_the_build_costs(services, tmp_path):
    said = build(services, tmp_path / "out", "--dry_run", "--workers", "1")  # nobody knows who of two gets which shard
    for text in (
        "views found per place:",
        "licence: street: CC-BY-SA-4.0",
        "at the polite rate",
        "Dataflow: ",
    ):
        assert text in said
    assert not (tmp_path / "out" / "train").exists()
    estimate = json.loads((tmp_path / "out" / "plan" / "plan.json").read_text())["estimate"]
    assert not estimate["notes"]
    planned = Counter(kind for kind, number in count_requests(services).items() for _ in range(number))
    asked = estimate["asked"]["requests"]
    assert asked["mapillary"] == planned["mapillary records"]
    assert asked["mapillary_tiles"] == planned["mapillary tile z10"] + planned["mapillary tile z14"]
    assert asked["wikipedia"] == planned["wikipedia search"] + planned["wikipedia info"]
    services.forget()
    build(services, tmp_path / "out", "--workers", "1")
    for name, requests, requests_sent, size, size_sent in compare(services, estimate):
        assert requests == pytest.approx(requests_sent, rel=0.15), name
        assert size == pytest.approx(size_sent, rel=0.15), name
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert estimate["bytes"] == pytest.approx(sum(shard["bytes"] for shard in manifest["shards"]), rel=0.15)


def test_a_dry_run_prices_a_build_whose_photos_are_down_and_says_so(services, tmp_path):
    services.mapillary.images.faults.append(Fault("status", 10**6, status=503))
    said = build(services, tmp_path / "out", "--dry_run")
    assert "note: street could not be measured" in said
    assert "mapillary_images" in said


def test_only_places_with_what_is_required_are_kept(services, tmp_path):
    build(services, tmp_path / "out", "--min_modalities", "5", "--max_days_apart", "500", "--pano", "crop")
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert index
    for row in index:
        sample = schemas.read_sample(tmp_path / "out", row["key"])
        assert set(row["modalities"]) == FIVE
        assert sample.street.is_pano is False
        assert abs((sample.street.captured_at - sample.sentinel2.captured_at).days) <= 500
    drops = pq.read_table(tmp_path / "out" / "drops.parquet").to_pylist()
    assert {"no_observation", "days_apart"} & {d["reason"] for d in drops}


def test_an_indexed_dump_gives_the_texts_without_a_single_call(services, tmp_path):
    from tests.geodata.test_wikipedia_dump import page_xml, tag, write_geo_tags, write_xml
    from tests.pipelines.test_index_wikipedia import run_index
    from tests.services.luxembourg import make_articles

    articles = make_articles()[:24]
    write_geo_tags(tmp_path / "geo_tags.sql.gz", [tag(a.page_id, a.lat, a.lon) for a in articles])
    write_xml(tmp_path / "pages.xml.bz2", [page_xml(a.page_id, a.title, a.extract) for a in articles])
    inputs = ("--geo_tags", tmp_path / "geo_tags.sql.gz", "--pages", tmp_path / "pages.xml.bz2")
    run_index(*inputs, "--output", tmp_path / "enwiki")
    build(services, tmp_path / "out", "--sources", f"live,wikipedia:{tmp_path / 'enwiki'}")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["train"]["text"] >= 5
    assert not services.wikipedia.server.requests


def test_seasons_and_several_photos_have_members_of_their_own(services, tmp_path):
    build(services, tmp_path / "out", "--seasons", "4", "--photos_per_cell", "3", "--samples", "20")
    names = [m["name"] for row in pq.read_table(tmp_path / "out" / "index.parquet").to_pylist() for m in row["members"]]
    assert any(name.endswith(".sentinel2_1.geotiff") for name in names)
    assert any(name.endswith(".street1.jpg") for name in names)


def _lonlat(grid):
    from geodata.grid import transformer

    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    at = transformer(grid.crs, "EPSG:4326").transform(grid.left + columns * grid.gsd_m, grid.top - rows * grid.gsd_m)
    return np.asarray(at[0]), np.asarray(at[1])
