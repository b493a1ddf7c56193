"""Whole builds of small folders, each in a process of its own with a time limit."""

import hashlib
import json
import shutil

import geopandas
import pyarrow.parquet as pq
import pytest

import schemas
from geodata import cells
from schemas.corpus import open_corpora
from tests.folders import CENTRE, make_photo, write_folder, write_manifest
from tests.runs import read_plan_table, run_build

pytestmark = pytest.mark.slow
PAGES = ("README.md", "ATTRIBUTION.md", "croissant.json", "collection.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=14)


def build(folder, output, *more, **kwargs):
    options = ("--region", "DE", "--sources", f"folder:{folder}", "--output", output, "--samples_per_shard", "4")
    return run_build(*options, *more, **kwargs)


def digests(output):
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.glob("*/*.tar"))
    }


@pytest.fixture(scope="module")
def corpus(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("corpus") / "one"
    build(folder, output, "--workers", "1", is_program=True)
    return output


def test_manifest_says_what_is_there(corpus):
    manifest = json.loads((corpus / "manifest.json").read_text())
    index = pq.read_table(corpus / "index.parquet").to_pylist()
    assert len(index) >= 14
    assert sum(shard["samples"] for shard in manifest["shards"]) == len(index)
    assert {shard["name"]: shard["sha256"] for shard in manifest["shards"]} == digests(corpus)
    for modality, row in manifest["observations"].items():
        assert row["seen"] == row["kept"] + row["dropped"], modality
    assert not list(corpus.rglob("*.tmp"))


def test_what_is_published_names_folders_without_their_paths(corpus, folder):
    manifest = json.loads((corpus / "manifest.json").read_text())
    assert manifest["options"]["sources"] == "folder:mine"
    assert manifest["options"]["region"] == "DE" and manifest["options"]["places"] == ""
    private = str(folder.parent).encode()
    assert private in (corpus / "plan" / "plan.json").read_bytes()  # to go on, it must be known
    for path in (path for path in corpus.rglob("*") if path.is_file() and path.name != "plan.json"):
        is_table = path.suffix == ".parquet"
        text = json.dumps(pq.read_table(path).to_pylist(), default=str).encode() if is_table else path.read_bytes()
        assert private not in text, path


@pytest.mark.parametrize(
    "more",
    [("--workers", "1"), ("--workers", "2"), ("--workers", "2", "--direct_runner_bundle_repeat=1"), ("--workers", "1", "--direct_runner_bundle_repeat=1")],
    ids=["again", "two workers", "two workers, repeated bundles", "repeated bundles"],
)  # fmt: skip
def test_every_run_gives_the_same_bytes(folder, corpus, tmp_path, more):
    build(folder, tmp_path / "two", *more)
    assert len(digests(corpus)) >= 4
    assert digests(tmp_path / "two") == digests(corpus)
    for name in ("index.parquet", "drops.parquet", "attribution.parquet", *PAGES):
        one, two = ((path / name).read_bytes() for path in (corpus, tmp_path / "two"))
        for before in (b"# ", b"# Attribution of ", b'"'):
            two = two.replace(before + b"two", before + b"one")
        assert one == two, name


def test_only_what_is_missing_is_built_again(folder, corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    before = digests(copy)
    victim, *kept = sorted(copy.glob("sidecars/*.json"))
    victim.unlink()
    times = {path: path.stat().st_mtime_ns for path in kept}
    (copy / "manifest.json").unlink()
    report = build(folder, copy, "--workers", "1")
    assert f"{len(kept)} of {len(kept) + 1} shards are finished already" in report
    assert digests(copy) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == times


@pytest.mark.parametrize("damage", ["truncated shard", "empty sidecar"])
def test_a_damaged_shard_is_built_again(folder, corpus, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    before = digests(copy)
    path = sorted(copy.glob("*/*.tar" if damage == "truncated shard" else "sidecars/*.json"))[0]
    path.write_bytes(path.read_bytes()[: 1000 if damage == "truncated shard" else 0])
    build(folder, copy, "--workers", "1")
    assert digests(copy) == before


def test_a_text_file_changed_after_planning_gives_drops_and_no_wrong_text(folder, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(folder, source)
    build(source, tmp_path / "out", "--dry_run")
    lines = (source / "texts.jsonl").read_text().splitlines(keepends=True)
    (source / "texts.jsonl").write_text("".join(lines[::-1]))
    build(source, tmp_path / "out", "--workers", "1")
    reasons = [
        row["detail"] for row in pq.read_table(tmp_path / "out/drops.parquet").to_pylist() if row["stage"] == "read"
    ]
    assert len(reasons) >= 10
    for row in pq.read_table(tmp_path / "out/index.parquet").to_pylist():
        if text := schemas.read_sample(tmp_path / "out", row["key"]).text:
            assert f"Article {text.item_id.rpartition('#')[2]} " in text.payload.decode()


def test_two_sources_share_the_limit_of_a_cell(tmp_path):
    for number in range(2):
        source = tmp_path / f"source{number}"
        source.mkdir()
        (source / "a.jpg").write_bytes(make_photo(CENTRE, seed=number))
        write_manifest(source, [{"path": "a.jpg", "modality": "street"}])
    sources = f"folder:{tmp_path / 'source0'},folder:{tmp_path / 'source1'}"
    run_build("--region", "DE", "--sources", sources, "--output", tmp_path / "out", "--workers", "1")
    row = pq.read_table(tmp_path / "out/index.parquet").to_pylist()[0]
    assert [member["name"].partition(".")[2] for member in row["members"]] == ["json", "street.jpg"]
    drops = pq.read_table(tmp_path / "out/drops.parquet")["reason"].to_pylist()
    assert drops == ["not_needed"]


def test_a_good_photo_takes_the_place_of_a_bad_one(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.jpg").write_bytes(make_photo(CENTRE, seed=number))
    write_manifest(source, [{"path": f"{number}.jpg", "modality": "street"} for number in range(6)])
    build(source, tmp_path / "out", "--dry_run")
    first = read_plan_table(tmp_path / "out", "references")["item_id"].to_pylist()[0]
    (source / first).write_bytes((source / first).read_bytes()[:3000])
    build(source, tmp_path / "out", "--workers", "1")
    row = pq.read_table(tmp_path / "out/index.parquet").to_pylist()[0]
    assert row["modalities"] == ["street"]
    assert schemas.read_sample(tmp_path / "out", row["key"]).street.item_id != first


@pytest.mark.parametrize("unit_resolution", ["5", "8"])
def test_an_article_belongs_to_one_place_whatever_the_unit(folder, tmp_path, unit_resolution):
    build(
        folder,
        tmp_path / "u",
        "--unit_resolution",
        unit_resolution,
        "--anchors",
        "raster",
        "--texts_per_cell",
        "9",
        "--dry_run",
    )
    table = read_plan_table(tmp_path / "u", "references").to_pylist()
    texts = sorted((row["item_id"], row["key"]) for row in table if row["modality"] == "text")
    assert len({item for item, _ in texts}) == len(texts) == 14


def test_a_changed_option_is_refused_and_named(folder, corpus):
    before = digests(corpus)
    report = build(folder, corpus, "--seed", "5", expect=1)
    assert report.count("error:") == 1 and "--seed 0, not 5" in report
    assert digests(corpus) == before


def test_growing_the_number_keeps_the_places_chosen(folder, tmp_path):
    keys = []
    for samples in ("5", "9"):
        build(folder, tmp_path / samples, "--samples", samples, "--workers", "1")
        keys.append(set(pq.read_table(tmp_path / samples / "index.parquet")["key"].to_pylist()))
    assert len(keys[0]) == 5 and len(keys[1]) == 9
    assert keys[0] < keys[1]


def test_a_dry_run_plans_and_builds_nothing(folder, tmp_path):
    report = build(folder, tmp_path / "dry", "--dry_run")
    assert "plan:" in report and "sentinel2" in report
    assert not list((tmp_path / "dry").rglob("*.tar"))


def test_required_views_are_there(folder, tmp_path):
    build(folder, tmp_path / "r", "--require", "sentinel2,street", "--workers", "1")
    modalities = pq.read_table(tmp_path / "r" / "index.parquet")["modalities"].to_pylist()
    assert modalities and all({"sentinel2", "street"} <= set(row) for row in modalities)
    reasons = pq.read_table(tmp_path / "r" / "drops.parquet").to_pylist()
    assert any(row["reason"] == "no_observation" and row["modality"] == "" for row in reasons)


def test_modalities_not_asked_for_are_not_collected(folder, tmp_path):
    build(folder, tmp_path / "m", "--modalities", "dem,text", "--workers", "1")
    found = {name for row in pq.read_table(tmp_path / "m" / "index.parquet")["modalities"].to_pylist() for name in row}
    assert found == {"dem", "text"}


def test_a_small_region_is_told_how_to_get_all_splits(folder, tmp_path):
    report = build(folder, tmp_path / "s", "--dry_run", "--samples", "999")
    assert "of the 999 places asked for were found" in report
    assert "no place is in train or val" in report and "--split_resolution 5,8" in report


@pytest.mark.parametrize(
    ("anchors", "least", "most"), [("photo", 10, 14), ("article", 10, 14), ("both", 10, 14), ("raster", 10, 16)]
)
def test_anchors_are_the_cells_of_what_was_asked_for(folder, tmp_path, anchors, least, most):
    build(folder, tmp_path / "a", "--anchors", anchors, "--dry_run")
    assert least <= len(read_plan_table(tmp_path / "a", "places")) <= most


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_listed_places_are_taken_in_their_order(folder, tmp_path, suffix):
    lonlat = [(11.31, 48.21), (11.32, 48.215), (11.31, 48.21), (11.3, 48.2)]
    places = tmp_path / f"p.{suffix}"
    if suffix == "csv":
        places.write_text("lon,lat\n" + "".join(f"{lon},{lat}\n" for lon, lat in lonlat))
    else:
        geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(*zip(*lonlat, strict=True)), crs=4326).to_parquet(
            places
        )
    build(folder, tmp_path / "l", "--sampling", "file", "--places", str(places), "--dry_run", "--samples", "2")
    keys = set(read_plan_table(tmp_path / "l", "places")["key"].to_pylist())
    assert keys == {cells.cell_at(*point, 10) for point in lonlat[:2]}


def test_one_range_read_gives_a_sample(corpus):
    for row in pq.read_table(corpus / "index.parquet").to_pylist():
        sample = schemas.read_sample(corpus, row["key"])
        assert (sample.key, sample.split) == (row["key"], row["split"])
        assert sorted({o.modality for o in sample.observations}) == sorted(row["modalities"])
        for observation in sample.observations:
            assert observation.payload and observation.licence == "CC0-1.0" and not observation.synthetic


def test_several_photos_of_a_cell_get_members_of_their_own(tmp_path):
    source = tmp_path / "photos"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.jpg").write_bytes(make_photo(CENTRE, heading=100.0 * number, seed=number))
    write_manifest(source, [{"path": f"{number}.jpg", "modality": "street"} for number in range(3)])
    build(source, tmp_path / "out", "--photos_per_cell", "2", "--workers", "1")
    row = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()[0]
    names = [member["name"].partition(".")[2] for member in row["members"]]
    assert names == ["json", "street0.jpg", "street1.jpg"]
    assert len(schemas.read_sample(tmp_path / "out", row["key"]).observations) == 2


def test_a_union_of_corpora_is_read_as_one_unless_keys_clash(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "a")
    assert len(open_corpora(tmp_path)) == 1
    shutil.copytree(corpus, tmp_path / "b")
    with pytest.raises(schemas.CorpusError, match=r"is in .*a and in .*b"):
        open_corpora(tmp_path)
