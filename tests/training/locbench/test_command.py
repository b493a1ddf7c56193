import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.untrained import make_corpus, make_run
from training.locbench.__main__ import LocbenchOptions, main, measure
from training.locbench.encoders import Table
from training.locbench.report import Divided, Result, mean_ranks, write_markdown
from training.locbench.tasks import Task
from training.options import OptionError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    lonlat_N2 = np.stack([rng.uniform(-20, 30, 300), rng.uniform(35, 60, 300)], 1)
    rows = [f"{i},{lon},{lat},{lat * 2},{'east' if lon > 5 else 'west'}" for i, (lon, lat) in enumerate(lonlat_N2)]
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "own.csv").write_text("\n".join(["key,lon,lat,twice,side", *rows]))
    z_ND = np.concatenate([lonlat_N2, rng.normal(size=(300, 3))], 1).astype(np.float32)
    columns = {"lon": lonlat_N2[:, 0], "lat": lonlat_N2[:, 1], "modality": ["dem"] * 300, "z": list(z_ND)}
    pq.write_table(pa.table(columns), tmp_path / "z.parquet")
    return tmp_path


def test_every_method_is_measured_on_every_split(folder, capsys):
    options = LocbenchOptions(
        location="plain",
        tasks=f"folder:{folder / 'tasks'}",
        splits="random,10",
        json=str(folder / "out.json"),
        finest_km="100",
    )
    found = {(one.task, one.split, one.method): one for one in measure(options)}
    methods = ["mean or commonest", "5 nearest", "x, y, z", "plain, untrained"]
    assert list(found) == [(t, s, m) for t in ("twice", "side") for s in ("random", "10") for m in methods]
    assert found["twice", "random", "x, y, z"].score > 0.9 and found["side", "random", "5 nearest"].score > 0.9
    assert -0.5 < found["twice", "10", "mean or commonest"].score <= 0
    assert {one.metric for one in found.values()} == {"R2", "accuracy"}
    written = json.loads((folder / "out.json").read_text())
    assert len(written["results"]) == 16 and len(written["splits"]) == 4 and written["options"]["splits"] == "random,10"
    printed = capsys.readouterr().out
    assert "| twice | blocks of 10° | R2 |" in printed and "mean rank" in printed


def test_trained_encoders_stand_beside_with_their_cost(folder, capsys):
    tasks = f"folder:{folder / 'tasks'}"
    assert (
        main(
            ["--location", "wrap", "--train", "--tasks", tasks, "--splits", "10", "--finest_km", "100", "--epochs", "3"]
        )
        == 0
    )
    assert "wrap, trained" in (printed := capsys.readouterr().out) and "s of the processor" in printed


def test_embeddings_of_any_view_are_probed_where_they_lie(folder):
    options = LocbenchOptions(embeddings=str(folder / "z.parquet"), tasks=f"folder:{folder / 'tasks'}", splits="10")
    found = {one.method: one.score for one in measure(options) if one.task == "twice at dem"}
    assert found["dem"] > 0.99


def test_the_location_embeddings_of_a_run_are_probed(folder, capsys):
    run = make_run(folder / "run", make_corpus(folder / "corpus", places=3))
    assert main([str(run), "--tasks", f"folder:{folder / 'tasks'}", "--splits", "10"]) == 0
    assert f"| {run}, location |" in capsys.readouterr().out


def test_a_table_is_joined_by_key_or_by_the_nearest_position():
    table = Table("dem", np.eye(3, dtype=np.float32), np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]]), ("a", "b", "c"))
    keyed = Task("t", np.array([[50.0, 0.0], [51.0, 0.0], [52.0, 0.0]]), np.array([1.0, 2.0, 3.0]), "", ("c", "x", "a"))
    task, z_ND = table.join(keyed, 1.0)
    assert task.target_N.tolist() == [1, 3] and z_ND.argmax(1).tolist() == [2, 0]
    near = Task("t", np.array([[10.005, 0.0], [15.0, 0.0], [0.0, 0.005]]), np.array([1.0, 2.0, 3.0]), "")
    task, z_ND = table.join(near, 1.0)
    assert task.target_N.tolist() == [1, 3] and z_ND.argmax(1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--location", "nope"], "Unknown location encoder 'nope'"),
        (["--train"], "no encoder to train"),
        (["--finest_km", "fine"], "no list of numbers"),
        (["--tasks", "nope"], "Unknown task"),
        (["--tasks", "night_lights"], "--labels"),
        (["--epochs", "0"], "too small"),
    ],
)
def test_says_in_one_sentence_what_cannot_be_done(arguments, said, capsys):
    assert main(arguments) == 1
    assert said in (error := capsys.readouterr().err) and error.startswith("error: ") and error.count("\n") == 1


def test_the_options_are_these():
    names = "run location train embeddings join_km tasks labels splits finest_km epochs members most json weights device seed"
    assert list(LocbenchOptions.__dataclass_fields__) == names.split()
    with pytest.raises(OptionError):
        LocbenchOptions(finest_km="0")


def test_ranks_are_means_over_tasks_with_ties_shared():
    scores = {"a": {"x": 0.9, "y": 0.5, "z": 0.5}, "b": {"x": 0.1, "y": 0.2, "z": 0.3}, "c": {"x": 0.1, "y": 0.2}}
    results = [Result(t, "5", m, "R2", s, (s,)) for t in ("a", "b") for m, s in scores[t].items()]
    assert mean_ranks(results) == {("5", "x"): 2.0, ("5", "y"): 2.25, ("5", "z"): 1.75}
    more = [*results, *(Result("c", "5", m, "R2", s, (s,)) for m, s in scores["c"].items())]
    assert ("5", "z") not in mean_ranks(more)
    assert "**0.900 ± 0.000**" in write_markdown([Divided("a", "5", 10, 0, 1.0, 0.1, "s")], results)
