import json
from dataclasses import replace

import numpy as np
import pytest

from training.locbench.tasks import Task
from training.reporting.labels import CLUSTERED, LabelPlan, Scored, divide, measure_labels, measure_task, tell_apart
from training.sphere import unit_vectors

RNG = np.random.default_rng(0)
LONLAT = np.stack([RNG.uniform(-60, 60, 240), RNG.uniform(-50, 60, 240)], 1)
BASELINES = ["mean or commonest", "5 nearest", "x, y, z"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labels that follow from the position."""
    folder = tmp_path_factory.mktemp("labels")
    rows = [f"{lon},{lat},{30 - abs(lat) / 2}" for lon, lat in LONLAT]
    (folder / "air_temperature.csv").write_text("\n".join(["lon,lat,mean_temperature_c", *rows]))
    rows = [f"{lon},{lat},{'R2' if lat > 0 else 'T1'}" for lon, lat in LONLAT]
    (folder / "eunis_habitats.csv").write_text("\n".join(["lon,lat,habitat", *rows]))
    return folder


def plan(folder, **more):
    tasks = ("air_temperature", "night_lights", "habitat_1")
    return LabelPlan(tasks, folder, ("xyz",), ("wrap",), **{"seeds": 2, "places": 200, "epochs": 2, **more})


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    kept, told = tmp_path_factory.mktemp("kept"), []
    return measure_labels(plan(folder), kept, told.append), kept, told


def test_every_method_is_scored_with_its_seeds(measured):
    found, _, told = measured
    expected = [("air_temperature", 0, [*BASELINES, "xyz, untrained", "wrap, trained"]),
                ("habitat_1", 0, [*BASELINES, "xyz, untrained", "wrap, trained"]),
                ("air_temperature", 1, [*BASELINES, "wrap, trained"]), ("habitat_1", 1, [*BASELINES, "wrap, trained"])]  # fmt: skip
    keys = [(one.task, one.seed, one.method) for one in found.scored]
    assert keys == [(task, seed, method) for task, seed, methods in expected for method in methods]
    assert [line.split()[2:] for line in told] == [[f"{task},", "seed", str(seed)] for task, seed, _ in expected]
    assert found.values("air_temperature", "5 nearest")[0] > 0.8 > found.values("air_temperature", "x, y, z")[0]
    assert found.values("habitat_1", "xyz, untrained")[0] > 0.9
    assert [(one.task, one.split, one.places) for one in found.tasks] == [
        ("air_temperature", "5", 200), ("habitat_1", "0.05", 200)
    ]  # fmt: skip
    assert all(one.median_km > 100 > 0 <= one.least_km for one in found.tasks)


def test_seeds_differ_in_folds_and_weights(measured):
    found = measured[0]
    for method in ("5 nearest", "wrap, trained"):
        one, two = found.values("air_temperature", method)
        assert one != two


def test_a_task_without_its_labels_is_left_out_with_the_reason(measured):
    assert list(measured[0].left_out) == ["night_lights"]
    assert "--labels" in (why := measured[0].left_out["night_lights"]) and "dryad" in why


def test_a_second_call_measures_only_what_is_missing_or_was_measured_otherwise(folder, measured):
    found, kept, _ = measured
    files = sorted(kept.rglob("*.json"))
    assert len(files) == len(found.scored)
    marked = kept / "air_temperature" / "5_nearest_0.json"
    record = json.loads(marked.read_text())
    marked.write_text(json.dumps(record | {"found": record["found"] | {"score": 0.125}}))
    (kept / "habitat_1" / "5_nearest_0.json").unlink()
    again = measure_labels(plan(folder), kept, lambda _: None)
    assert again.values("air_temperature", "5 nearest")[0] == 0.125
    changed = [(a.task, a.method) for a, b in zip(found.scored, again.scored, strict=True) if a.work_s != b.work_s]
    assert changed == [("habitat_1", "5 nearest")]
    longer = measure_labels(plan(folder, epochs=3), kept, lambda _: None)
    changed = {a.method for a, b in zip(again.scored, longer.scored, strict=True) if a.work_s != b.work_s}
    assert changed == {"wrap, trained"}
    fewer = measure_labels(plan(folder, places=150), kept, lambda _: None)
    assert fewer.values("air_temperature", "5 nearest")[0] != 0.125


def test_a_score_is_read_back_as_it_was(tmp_path):
    task = Task(CLUSTERED[0], LONLAT, (LONLAT[:, 0] > 0).astype(np.int64), "")
    asked = LabelPlan((), None, (), (CLUSTERED[1],), epochs=1)
    first, second = (list(measure_task(task, 0, asked, tmp_path)) for _ in range(2))
    assert first == second and all(isinstance(one, Scored) for one in first)
    assert [one.method for one in first if one.errors is not None] == ["sphereCplus, trained"]
    assert len(first[-1].finest_km) == 5 and set(first[-1].finest_km) <= {1000.0, 300.0, 30.0}


def test_habitats_have_smaller_blocks():
    task = Task("elevation", LONLAT, unit_vectors(LONLAT)[:, 2], "")
    assert (divide(task, 0).name, divide(replace(task, name="habitat_1"), 0).name) == ("5", "0.05")


@pytest.mark.parametrize(("name", "kept"), [("wrap", 1), ("spherical_harmonics", 1), ("rff", 2), ("tile", 2)])
def test_finest_distances_that_make_no_difference_are_tried_once(name, kept):
    assert tell_apart(name, LONLAT, (1000.0, 300.0)) == (1000.0, 300.0)[:kept]
