"""Bad input gets one clear sentence - fact, value, remedy - and a non-zero exit; what was finished stays valid."""

import csv
import hashlib
import os
import resource
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.build_shards import main
from tests.folders import CENTRE, make_photo, make_scene, write_folder, write_manifest, write_raster
from tests.runs import ROOT, run_build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=6)


def refuse(capsys, *arguments):
    """Runs a build that must fail and returns its one sentence."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--region": "atlantis"}, "Unknown region 'atlantis'"), ({"--region": "germny"}, "Did you mean germany"),
        ({"--region": "5,91,6,92"}, "leaves the Earth"), ({"--region": "8,47,8,48"}, "is empty"),
        ({"--region": "-40,40,-35,45"}, "holds no land"), ({"--region": "BR"}, "lie outside the region 'BR'"),
        ({"--modalities": "sentinel2,radar"}, "Unknown modality 'radar': choose from sentinel2, aerial"),
        ({"--require": "radar"}, "Unknown modality 'radar'"), ({"--sources": "folder:/nowhere/at/all"}, "is not there"),
        ({"--aerial_gsd": "0"}, "--aerial_gsd 0.0 is too small"), ({"--resolution": "6"}, "--resolution 6 must be finer"),
        ({"--photos_per_cell": "0"}, "is too small"), ({"--max_cloud_share": "30"}, "is no share"),
        ({"--output": "ftp://bucket/x"}, "is no folder, gs:// or s3://"), ({"--partition": "9/8"}, "is no part"), ({"--partition": "1/2"}, "holds no plan yet"), ({"--samples": "0"}, "--samples 0 is too small"), ({"--split_resolution": "7,4"}, "must rise"),
        ({"--split_resolution": "4"}, "two H3 levels"), ({"--unit_resolution": "11"}, "must be coarser"),
        ({"--runner": "DaskRunner"}, "silently loses outputs"), ({"--sampling": "file"}, "needs --places"),
        ({"--sampling": "file", "--places": "gone.csv"}, "gone.csv cannot be read"),
        ({"--frobnicate": "1"}, "Unknown option --frobnicate"), ({"--min_observations": "9"}, "ask for less"),
        ({"--output": "/sys/sameplace"}, "not permitted|denied.*choose another --output"),
    ],
)  # fmt: skip
def test_a_bad_option_gets_a_sentence(folder, tmp_path, capsys, changes, words):
    import re

    options = {"--region": "DE", "--sources": f"folder:{folder}", "--output": tmp_path / "out", **changes}
    sentence = refuse(capsys, *(part for pair in options.items() for part in pair))
    assert re.search(words, sentence), sentence
    assert not (tmp_path / "out").exists()


def test_a_region_without_sources_says_what_is_missing(tmp_path, capsys):
    assert "give --sources folder:PATH" in refuse(capsys, "--region", "europe", "--output", tmp_path / "out")


def test_a_folder_that_is_not_ours_is_left_alone(folder, tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    sentence = refuse(capsys, "--region", "DE", "--sources", f"folder:{folder}", "--output", tmp_path)
    assert "is not empty and holds no plan" in sentence
    assert os.listdir(tmp_path) == ["precious.txt"]


def test_synthetic_and_real_sources_are_not_mixed(folder, tmp_path, capsys):
    other = tmp_path / "synthetic"
    other.mkdir()
    (other / "a.jpg").write_bytes(make_photo(CENTRE))
    (other / "manifest.csv").write_text("path,modality,lat,lon,synthetic\na.jpg,street,,,true\n")
    sources = f"folder:{folder},folder:{other}"
    assert "mix synthetic and real" in refuse(
        capsys, "--region", "DE", "--sources", sources, "--output", tmp_path / "out"
    )


def test_a_plan_that_was_cut_off_is_made_anew(folder, tmp_path):
    (tmp_path / "out/plan").mkdir(parents=True)
    (tmp_path / "out/plan/000-00000.places.parquet").write_bytes(b"half")
    run_build("--region", "DE", "--sources", f"folder:{folder}", "--output", tmp_path / "out", "--workers", "1")
    assert (tmp_path / "out/manifest.json").exists()


def test_a_file_in_place_of_the_output_folder_is_refused(folder, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert "(" in refuse(capsys, "--region", "DE", "--sources", f"folder:{folder}", "--output", tmp_path / "out")


def test_places_off_the_earth_are_named_with_their_row(folder, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("lon,lat\n11.3,48.2\n48.2,111.3\n")
    options = ("--sampling", "file", "--places", tmp_path / "p.csv", "--output", tmp_path / "out")
    assert "Row 2" in refuse(capsys, "--region", "DE", "--sources", f"folder:{folder}", *options)


def test_a_manifest_of_which_nothing_is_usable_is_refused(tmp_path, capsys):
    write_manifest(tmp_path, [{"path": "gone.tif", "modality": "dem", "lat": 48, "lon": 11}])
    sentence = refuse(capsys, "--region", "DE", "--sources", f"folder:{tmp_path}", "--output", tmp_path / "out")
    assert "nothing usable (first: gone.tif" in sentence


@pytest.mark.slow
def test_faulty_rows_are_drops_and_the_rest_is_built(tmp_path):
    source = write_folder(tmp_path / "source", places=6)
    with (source / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    (source / "noise.jpg").write_bytes(b"\xff\xd8 not really")
    (source / "cut.jpg").write_bytes(make_photo((CENTRE[0] + 0.002, CENTRE[1]))[:4000])
    write_raster(source / "three.tif", make_scene(50)[:3])
    lon, lat = CENTRE
    rows += [
        {"path": "gone.tif", "modality": "dem", "lat": lat, "lon": lon}, {"path": "noise.jpg", "modality": "street", "lat": lat, "lon": lon},
        {"path": "cut.jpg", "modality": "street"}, {"path": "three.tif", "modality": "sentinel2"},
        {"path": "0.jpg", "modality": "street", "lat": 91, "lon": lon}, {"path": "1.jpg", "modality": "street", "lat": lon, "lon": lat},
        {"path": "a.las", "modality": "lidar"},
    ]  # fmt: skip
    write_manifest(source, rows)
    run_build("--region", "DE", "--sources", f"folder:{source}", "--output", tmp_path / "out", "--workers", "1")
    drops = {row["item_id"]: row for row in pq.read_table(tmp_path / "out/drops.parquet").to_pylist()}
    reasons = {
        name: drops[name]["reason"]
        for name in ("gone.tif", "noise.jpg", "cut.jpg", "three.tif", "0.jpg", "1.jpg", "a.las")
    }
    assert reasons == {
        "gone.tif": "missing_file", "noise.jpg": "unreadable", "cut.jpg": "unreadable", "three.tif": "wrong_bands",
        "0.jpg": "bad_coordinates", "1.jpg": "bad_coordinates", "a.las": "unknown_modality",
    }  # fmt: skip
    assert all(drops[name]["detail"] for name in reasons)
    assert len(pq.read_table(tmp_path / "out/index.parquet")) >= 5


@pytest.mark.slow
def test_a_file_that_vanishes_after_planning_is_a_drop(tmp_path):
    source = write_folder(tmp_path / "source", places=6)
    arguments = ("--region", "DE", "--sources", f"folder:{source}", "--output", tmp_path / "out", "--workers", "1")
    run_build(*arguments, "--dry_run")
    (source / "2.jpg").unlink()
    run_build(*arguments)
    drops = {row["item_id"]: row for row in pq.read_table(tmp_path / "out/drops.parquet").to_pylist()}
    assert (drops["2.jpg"]["stage"], drops["2.jpg"]["reason"]) == ("read", "missing_file")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_gets_a_sentence_and_finished_shards_stay(folder, tmp_path, workers):
    """A limit on the size of files stands for the full disk: the same error, at the same call."""
    output = tmp_path / "out"
    command = [
        sys.executable, "-m", "pipelines.build_shards", "--region", "DE", "--sources", f"folder:{folder}", "--output", output,
        "--samples_per_shard", "2", "--workers", workers,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run_build(*map(str, command[3:]))
    finished = {path: path.read_bytes() for path in output.glob("*/*.tar")}
    largest = max(finished, key=lambda path: len(finished[path]))
    next((output / "sidecars").glob(f"{largest.stem}.*")).unlink()
    limit = len(finished[largest]) // 2

    def lower():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, preexec_fn=lower
    )
    assert done.returncode == 1, done.stderr[-2000:]
    sentences = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(sentences) == 1 and "Traceback" not in done.stderr
    assert "cannot be written (File too large): make room or choose another --output" in sentences[0]
    assert not list(output.rglob("*.tmp"))
    for path, content in finished.items():
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()
    run_build(*map(str, command[3:]))
    assert {path: path.read_bytes() for path in output.glob("*/*.tar")} == finished


def test_names_from_outside_are_escaped_in_the_card(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.jpg").write_bytes(make_photo(CENTRE))
    evil = "<script>alert(1)</script>|[x](y)"
    write_manifest(source, [{"path": "a.jpg", "modality": "street", "licence": evil, "attribution": "two\nlines"}])
    run_build("--region", "DE", "--sources", f"folder:{source}", "--output", tmp_path / "out", "--workers", "1")
    card = (tmp_path / "out/README.md").read_text()
    assert "script" in card and "<script>" not in card and "[x](y)" not in card
    assert np.all([("lines" not in line) or ("two" in line) for line in card.splitlines()])
