"""Builds that stop, fail in part, are shared out, or grow: in processes of their own, from small folders."""

import json
import os
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from geodata import cells
from pipelines.build_shards import main
from pipelines.building import shards
from pipelines.corpus import removal as remove_module
from pipelines.engine.run import BuildError
from pipelines.plan.options import Options
from pipelines.plan.plan import PlanWriter, SourceSpec, commit, read_plan, read_plan_drops, read_shard_rows
from pipelines.planning import make as planning
from pipelines.planning import retry
from pipelines.planning.search import Found, search
from pipelines.planning.tasks import Places
from pipelines.sources.words import scan_source
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Reference
from tests.folders import write_folder
from tests.pipelines.test_build_folder import build, digests
from tests.runs import read_plan_table, run_build, run_module

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=14)


@pytest.fixture(scope="module")
def corpus(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("corpus") / "one"
    build(folder, output, "--workers", "1", is_program=True)
    return output


def finish(output, expect=0):
    done = run_module("pipelines.finish", output, limit_s=100)
    assert done.returncode == expect, done.stderr
    return done.stderr


def statistics(output):
    """What the sidecars say: pictures count as they were before JPEG, without their gaps."""
    return [json.loads(path.read_text())["statistics"] for path in sorted(output.glob("sidecars/*.json"))]


def test_parts_built_apart_merge_into_the_same_corpus_and_a_missing_one_is_named(folder, corpus, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    build(folder, one, "--workers", "1", "--plan_only")
    shutil.copytree(one, other)  # another machine
    said = build(folder, one, "--workers", "1", "--partition", "1/3")
    assert "part 1/3" in said and "pipelines.finish" in said and not (one / "manifest.json").exists()
    build(folder, other, "--workers", "1", "--partition", "3/3")
    shutil.copytree(other, one, dirs_exist_ok=True)
    said = finish(one, expect=1)
    assert said.startswith("error: 1 of 4 shards are missing (") and "--partition 2/3 again" in said
    build(folder, one, "--workers", "1", "--partition", "2/3")
    assert "14 samples" in finish(one)
    assert digests(one) == digests(corpus)
    ours, theirs = (json.loads((path / "manifest.json").read_text()) for path in (one, corpus))
    assert {**ours, "name": ""} == {**theirs, "name": ""}


def test_a_corpus_grows_by_shards_of_a_new_generation(folder, tmp_path):
    output = tmp_path / "out"
    build(folder, output, "--workers", "1", "--samples", "6")
    before = digests(output)
    first = pq.read_table(output / "index.parquet")["key"].to_pylist()
    said = build(folder, output, "--workers", "1", "--samples", "11")
    assert f"{len(before)} of " in said and "finished already" in said
    after = digests(output)
    assert {name: after[name] for name in before} == before and len(after) > len(before)
    keys = pq.read_table(output / "index.parquet")["key"].to_pylist()
    assert set(first) < set(keys) and len(keys) == len(set(keys)) == 11
    manifest = json.loads((output / "manifest.json").read_text())
    assert Counter(shard.get("generation", 0) for shard in manifest["shards"]).keys() == {0, 1}
    articles = Counter(
        r["item_id"] for r in read_plan_table(output, "references").to_pylist() if r["modality"] == "text"
    )
    assert max(articles.values()) == 1
    at_once = tmp_path / "at_once"
    build(folder, at_once, "--workers", "1", "--samples", "11")
    assert pq.read_table(at_once / "index.parquet")["key"].to_pylist() == sorted(keys)
    other = json.loads((at_once / "manifest.json").read_text())
    assert {k: row["seen"] for k, row in manifest["records"].items()} == {
        k: row["seen"] for k, row in other["records"].items()
    }
    assert not list(output.rglob("*.tmp")) and not (output / "plan" / "search").exists()


def test_an_article_that_a_search_finds_late_stays_with_the_place_that_took_it_meanwhile(folder, tmp_path, monkeypatch):
    """Its own place's search failed, the corpus grew and another place has it: after a retry it is there once."""
    output = str(tmp_path / "out")
    for samples in ("6", "11"):
        build(folder, output, "--workers", "1", "--samples", samples, "--plan_only", "--texts_per_cell", "3")
    plan = read_plan(output)
    old, new = ([s for s in plan.shards if s.generation == generation] for generation in (0, 1))
    place = read_shard_rows(output, old[0]).places[0]
    rows = next(
        rows for s in new for rows in [read_shard_rows(output, s)] if any(r.modality == "text" for r in rows.references)
    )
    article = next(item for item in rows.items if item.modality == "text")
    fresh = replace(article, item_id="fresh")
    writer = PlanWriter(output, plan.revision + 1)
    writer.drop([Drop(place.key, "text", Stage.FIND, Reason.SERVICE, None, "is down", article.source, retryable=True)])
    writer.close()
    failed = replace(plan, drops=[*plan.drops, *writer.drops], revision=plan.revision + 1)
    commit(output, failed)
    found = Found([Reference(place.key, "text", 0, i.source, i.item_id) for i in (article, fresh)], [article, fresh])

    class Answers:
        def units(self):
            return [cells.to_cell(place.unit)]

        def read(self, unit):
            return found if unit == cells.to_cell(place.unit) else Found()

        def close(self):
            pass

    monkeypatch.setattr(retry, "search", lambda *_, **__: Answers())
    options = Options(**{**plan.options, "output": output, "workers": 1})
    mended = retry.retry_searches(options, failed, [])
    references = [
        r for shard in mended.shards for r in read_shard_rows(output, shard).references if r.modality == "text"
    ]
    assert [r.key for r in references if r.item_id == "fresh"] == [place.key]
    assert len([r for r in references if r.item_id == article.item_id]) == 1
    assert all(r.key != place.key for r in references if r.item_id == article.item_id)
    drops = [drop for _, drops in read_plan_drops(output, mended.drops) for drop in drops]
    assert "an earlier generation has it" in [d.detail for d in drops if d.key == place.key]
    assert not any(drop.retryable for drop in drops)


def test_a_smaller_corpus_or_two_changes_are_refused_with_the_difference(folder, tmp_path):
    output = tmp_path / "out"
    build(folder, output, "--workers", "1", "--samples", "6", "--plan_only")
    said = build(folder, output, "--samples", "5", expect=1)
    assert "was planned with --samples 6, not 5" in said and "Traceback" not in said
    assert "--samples 6, not 7; --photo_px 256, not 128" in build(
        folder, output, "--samples", "7", "--photo_px", "128", expect=1
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_shard_that_fails_fails_alone_and_the_same_command_completes(folder, corpus, tmp_path, workers):
    output = tmp_path / "out"
    build(folder, output, "--workers", workers, "--plan_only")
    blocked = sorted(digests(corpus))[1]
    (output / blocked).mkdir(parents=True)  # nothing can be renamed over a folder that holds a file
    (output / blocked / "stone").touch()
    said = build(folder, output, "--workers", workers, expect=1)
    sentences = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(sentences) == 1 and "Traceback" not in said
    assert sentences[0].startswith(f"error: 1 of 4 shards failed twice, the others are built ({blocked}: The shard ")
    assert len([path for path in output.glob("*/*.tar") if path.is_file()]) == 3
    shutil.rmtree(output / blocked)
    build(folder, output, "--workers", workers)
    assert digests(output) == digests(corpus) and not (output / "failures").exists()


def test_a_source_that_hangs_is_given_up_and_a_retry_gives_what_it_kept_back(folder, corpus, tmp_path):
    """A named pipe that nobody writes to stands for a file on a dead network drive."""
    source = tmp_path / "mine"
    shutil.copytree(folder, source)
    output = tmp_path / "out"
    build(source, output, "--workers", "1", "--plan_only")
    photos = sorted(source.rglob("*.jpg"))
    hanging = [path for path in photos if "street" in path.as_posix()] or photos
    for path in hanging:
        path.unlink()
        os.mkfifo(path)
    said = build(source, output, "--workers", "1", "--overdue", "1", limit_s=100)
    assert "read.overdue" in said
    drops = [row for row in pq.read_table(output / "drops.parquet").to_pylist() if row["reason"] == "overdue"]
    assert drops and all(row["retryable"] for row in drops)
    assert any("not asked again in this run" in row["detail"] for row in drops)
    for path in hanging:
        path.unlink()
        shutil.copy(folder / path.relative_to(source), path)
    build(source, output, "--workers", "1", "--retry_failed")
    assert digests(output) == digests(corpus)
    assert statistics(output) == statistics(corpus) and any("aerial" in bands for bands in statistics(corpus))


def test_a_search_goes_on_where_it_was_cut_off(folder, tmp_path):
    options = Options(region="DE", output=str(tmp_path), workers=1, unit_resolution=8)
    spec = SourceSpec("folder", "mine", str(folder))
    catalogue = scan_source(spec, resolution=10, thresholds=options.thresholds)
    chosen = np.unique(cells.cells_at(np.array([(item.lon, item.lat) for item in catalogue.items]), 10))
    places = Places(chosen, ["test"] * len(chosen), 8)
    search(options, [spec], [], places, [catalogue]).close()
    results = tmp_path / "plan" / "search"
    tables = {path.name: path.stat().st_mtime_ns for path in results.glob("0*.parquet")}
    whole = {path.name: path.read_bytes() for path in results.glob("0*.parquet")}
    (results / "00000.drops.parquet").unlink()
    search(options, [spec], [], places, [catalogue]).close()
    assert {path.name: path.read_bytes() for path in results.glob("0*.parquet")} == whole
    renewed = {path.name for path in results.glob("0*.parquet") if path.stat().st_mtime_ns != tables[path.name]}
    assert renewed == {"00000.references.parquet", "00000.items.parquet", "00000.drops.parquet"}
    stamp = (results / "00000.drops.parquet").stat().st_mtime_ns
    search(options, [spec], [], places, [catalogue]).close()
    assert (results / "00000.drops.parquet").stat().st_mtime_ns == stamp


def test_json_lines_tell_the_whole_build(folder, tmp_path):
    lines = [json.loads(line) for line in build(folder, tmp_path / "out", "--workers", "1", "--log_json").splitlines()]
    events = [line["event"] for line in lines]
    assert list(dict.fromkeys(events)) == ["plan", "note", "progress", "done"]
    assert lines[-1]["counts"]["test"]["samples"] == 14 and lines[-2]["samples"] == lines[-2]["of"] == 14
    refused = run_build("--region", "nowhere", "--output", tmp_path / "x", "--log_json", expect=1).splitlines()
    assert json.loads(refused[-1])["event"] == "error" and len(refused) == 1


class KilledError(BaseException):
    """Stands for a SIGKILL at a chosen point of one process."""


def kill_at(monkeypatch, ending):
    real = os.replace

    def replace(source, target):
        if str(target).endswith(ending):
            raise KilledError(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("killed_at", [".json", ".tar", "nowhere"])
def test_a_shard_that_is_built_anew_is_always_vouched_for(folder, tmp_path, monkeypatch, killed_at):
    """Whatever a kill hits, the old shard or the new one counts, with its own sidecar, and nothing is fetched again."""
    output = tmp_path / "out"
    build(folder, output, "--workers", "1")
    plan = read_plan(str(output))
    shard = plan.shards[0]
    before = digests(output)
    photo = next(r for r in read_shard_rows(str(output), shard).references if r.modality == "street")
    renewed = remove_module._renew(str(output), plan, {photo.item_id})
    new = next(one for one in renewed.shards if one.name == shard.name)
    recipe = Options(region="DE", output=str(output)).recipe
    with monkeypatch.context() as patch:
        kill_at(patch, killed_at)
        if killed_at == "nowhere":
            shards.write_shard(str(output), new, {}, recipe)
        else:
            with pytest.raises(KilledError):
                shards.write_shard(str(output), new, {}, recipe)
            assert digests(output) == before
            assert new not in shards.Finished(str(output))
            assert shards.Finished(str(output)).sidecar(new, of_any_plan=True) is not None
    shards.write_shard(str(output), new, {}, recipe)
    assert new in shards.Finished(str(output))
    assert digests(output)[shard.name] != before[shard.name]
    assert len(list((output / "sidecars").glob(f"{shard.name.rpartition('/')[2][:-4]}.*"))) == 1


def test_two_sidecars_of_one_size_are_told_apart_by_the_digest(folder, corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    plan = read_plan(str(copy))
    shard = plan.shards[0]
    real = next((copy / "sidecars").glob(f"{shard.name.rpartition('/')[2][:-4]}.*"))
    stem, digest, size, _, _ = real.name.split(".")
    real.with_name(f"{stem}.{digest}.{size}.{'0' * 16}.json").write_text("{}")
    assert shards.Finished(str(copy)).sidecar(shard) == real.name
    real.unlink()
    (copy / "sidecars" / f"{stem}.{'f' * 16}.{size}.{'1' * 16}.json").write_text("{}")
    assert shard not in shards.Finished(str(copy))


def test_a_part_that_did_not_build_its_shards_fails_whatever_others_report(folder, tmp_path):
    output = tmp_path / "out"
    build(folder, output, "--workers", "1", "--plan_only")
    names = [shard.name for shard in read_plan(str(output)).shards]
    (output / names[0]).mkdir(parents=True)
    (output / names[0] / "stone").touch()
    assert "failed twice" in build(folder, output, "--workers", "1", "--partition", "1/2", expect=1)
    build(folder, output, "--workers", "1", "--partition", "2/2")
    assert len(list((output / "failures").iterdir())) == 1  # that of the other part stays
    finish(output, expect=1)
    shutil.rmtree(output / names[0])
    build(folder, output, "--workers", "1", "--partition", "1/2")
    finish(output)
    assert not (output / "failures").exists()


def test_growth_is_neither_priced_nor_mended_in_place(folder, tmp_path):
    output = tmp_path / "out"
    build(folder, output, "--workers", "1", "--samples", "5", "--plan_only")
    plan = (output / "plan" / "plan.json").read_bytes()
    for more in ("--dry_run", "--retry_failed"):
        said = build(folder, output, "--samples", "9", more, expect=1)
        assert "would grow to 9 samples" in said and "Traceback" not in said
    assert (output / "plan" / "plan.json").read_bytes() == plan


def test_what_a_search_found_stays_when_another_fails(folder, tmp_path, monkeypatch, capsys):
    """A worker that dies, or a service that refuses, must not cost what others found."""
    output = tmp_path / "out"
    done = []

    def fail(*_, **__):
        results = output / "plan" / "search"
        results.mkdir(parents=True)
        (results / "00000.drops.parquet").write_bytes(b"found")
        done.append(results)
        raise BuildError("A worker process was ended")

    monkeypatch.setattr(planning, "search", fail)
    options = ["--region", "DE", "--sources", f"folder:{folder}", "--output", str(output), "--workers", "1"]
    assert main(options) == 1 and "A worker process was ended" in capsys.readouterr().err
    assert (done[0] / "00000.drops.parquet").exists()
    assert main([*options[:-4], "--output", str(tmp_path / "none"), "--region", "nowhere"]) == 1
    assert not (tmp_path / "none").exists()
