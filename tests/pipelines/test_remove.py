"""Takedowns: what is removed is gone from every file, the rest is as it was, and it does not come back."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest

import schemas
from pipelines.corpus import removal
from pipelines.engine.log import Log
from schemas.corpus import read_sample
from tests.folders import write_folder
from tests.pipelines.test_build_folder import build, digests
from tests.runs import read_plan_table, run_module

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=14)


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("corpus") / "one"
    build(folder, output, "--workers", "1", "--samples", "9")
    return output


def remove(output, tmp_path, *ids, expect=0):
    (tmp_path / "ids.txt").write_text("# a letter of today\n" + "\n".join(ids) + "\n")
    done = run_module("pipelines.remove", output, "--ids", tmp_path / "ids.txt", limit_s=100)
    assert done.returncode == expect, done.stderr
    return done.stderr


def find_observation(corpus, modality):
    for key in pq.read_table(corpus / "index.parquet")["key"].to_pylist():
        for observation in read_sample(corpus, key).observations:
            if observation.modality == modality:
                return key, observation
    raise AssertionError(modality)


def test_a_photo_an_article_and_a_cell_are_gone_and_the_rest_is_as_it_was(built, folder, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    before = {key: read_sample(output, key) for key in pq.read_table(output / "index.parquet")["key"].to_pylist()}
    photo_key, photo = find_observation(output, "street")
    text_key, article = find_observation(output, "text")
    cell = next(key for key in reversed(before) if key not in (photo_key, text_key))
    old = digests(output)
    os.rename(folder, folder.with_name("away"))  # nothing is fetched
    try:
        said = remove(output, tmp_path, photo.item_id, article.item_id, cell, "unknown-id")
    finally:
        os.rename(folder.with_name("away"), folder)
    assert "1 of 4 identifiers are not in this corpus (unknown-id)" in said
    after = {key: read_sample(output, key) for key in pq.read_table(output / "index.parquet")["key"].to_pylist()}
    assert set(after) == set(before) - {cell}
    for key, sample in after.items():
        gone = {photo.item_id, article.item_id}
        kept = [(o.modality, o.payload) for o in before[key].observations if o.item_id not in gone]
        assert [(o.modality, o.payload) for o in sample.observations] == kept
    touched = {before[key].split for key in (photo_key, text_key, cell)}
    assert touched and any(old[name] != digest for name, digest in digests(output).items())
    for path in [
        *output.glob("*/*.tar"),
        *output.glob("sidecars/*"),
        *output.glob("plan/*.items.parquet"),
        output / "README.md",
    ]:
        assert photo.payload[len(photo.payload) // 2 :][:200] not in path.read_bytes()
        assert article.payload[:60] not in path.read_bytes()
    drops = pq.read_table(output / "drops.parquet").to_pylist()
    assert {(d["modality"], d["item_id"]) for d in drops if d["reason"] == "removed"} >= {
        ("street", photo.item_id), ("text", article.item_id), ("", ""),
    }  # fmt: skip
    manifest = json.loads((output / "manifest.json").read_text())
    for row in manifest["observations"].values():
        assert row["seen"] == row["kept"] + row["dropped"]
    assert sum(counts.get("samples", 0) for counts in manifest["counts"].values()) == len(after)


def test_shards_without_it_are_not_touched_and_it_does_not_come_back(built, folder, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    key, photo = find_observation(output, "street")
    _, article = find_observation(output, "text")
    stamps = {path: path.stat().st_mtime_ns for path in output.glob("*/*.tar")}
    remove(output, tmp_path, photo.item_id)
    changed = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert len(changed) == 1
    after = digests(output)
    said = build(folder, output, "--workers", "1", "--samples", "9", "--retry_failed")
    assert digests(output) == after and "finished already" in said
    remove(output, tmp_path, article.item_id, key)
    build(folder, output, "--workers", "1", "--samples", "14")  # a new generation
    items = {
        o.item_id
        for k in pq.read_table(output / "index.parquet")["key"].to_pylist()
        for o in read_sample(output, k).observations
    }
    assert not {photo.item_id, article.item_id} & items
    assert key not in pq.read_table(output / "index.parquet")["key"].to_pylist()
    lines = (output / "tombstones.txt").read_text().splitlines()[1:]
    assert set(lines) == {photo.item_id, article.item_id, key}
    with pytest.raises(KeyError):
        schemas.read_sample(output, key)


class KilledError(BaseException):
    """Stands for a SIGKILL at a chosen step."""


@pytest.mark.parametrize("step", ["commit", "run", "finish_corpus"])
def test_a_removal_that_was_cut_off_goes_on_and_leaves_nothing_over(built, tmp_path, monkeypatch, step):
    def die(*_, **__):
        raise KilledError(step)

    ids = [find_observation(built, "street")[1].item_id, find_observation(built, "text")[1].item_id]
    whole, cut = tmp_path / "whole" / "out", tmp_path / "cut" / "out"
    for output in (whole, cut):
        shutil.copytree(built, output)
    remove(whole, tmp_path, *ids)
    with monkeypatch.context() as patch:
        patch.setattr(removal, step, die)
        with pytest.raises(KilledError):
            removal.remove(str(cut), ids, [], Log())
    before = {path.relative_to(cut).as_posix() for path in cut.rglob("*") if path.is_file()}
    assert "manifest.json" not in before and "tombstones.txt" in before
    remove(cut, tmp_path, *ids)
    assert digests(cut) == digests(whole)
    names, expected = (sorted(p.relative_to(top).as_posix() for p in top.rglob("*")) for top in (cut, whole))
    assert names == expected
    for name in ("manifest.json", "drops.parquet", "index.parquet", "tombstones.txt"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_corpus_that_is_not_there_or_an_empty_list_gets_a_sentence(built, tmp_path):
    assert "holds no finished corpus" in remove(tmp_path / "nowhere", tmp_path, "x", expect=1)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for path, words in ((tmp_path / "empty.txt", "names nothing"), (tmp_path / "gone.txt", "cannot be read")):
        done = run_module("pipelines.remove", built, "--ids", path)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_cell_that_was_removed_before_it_was_chosen_stays_out(built, folder, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    at_once = tmp_path / "all"
    build(folder, at_once, "--workers", "1", "--samples", "14", "--plan_only")
    mine = set(pq.read_table(output / "index.parquet")["key"].to_pylist())
    later = sorted(set(read_plan_table(at_once, "places")["key"].to_pylist()) - mine)[:2]
    assert "2 of 2 identifiers are not in this corpus" in remove(output, tmp_path, later[0].upper(), later[1])
    build(folder, output, "--workers", "1", "--samples", "14")
    keys = set(pq.read_table(output / "index.parquet")["key"].to_pylist())
    assert mine < keys and not keys & set(later)


def test_a_flag_that_is_none_changes_nothing(built, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    (tmp_path / "ids.txt").write_text("x\n")
    done = run_module("pipelines.remove", output, "--ids", tmp_path / "ids.txt", "--bogus")
    assert done.returncode == 1 and "Unknown option --bogus" in done.stderr
    assert not (output / "tombstones.txt").exists() and (output / "manifest.json").exists()
