import json
import re

import numpy as np
import pytest

from tests.training.data.makers import make_keys, make_sample, write_corpus
from tests.training.untrained import make_corpus, make_run
from training.evaluate import EvaluateOptions, main
from training.options import OptionError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "small", places=22)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "small", corpus)


def test_a_run_is_measured_printed_written_and_drawn(run, corpus, tmp_path, capsys):
    (run / "log.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n')
    options = [
        "--gallery",
        "20",
        "--draws",
        "3",
        "--full",
        "--json",
        str(tmp_path / "deep" / "e.json"),
        "--plots",
        str(tmp_path / "p"),
    ]
    assert main([str(run), str(corpus), *options, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "## val: 22 places (sentinel2 22" in printed and "## test: 22 places" in printed
    found = json.loads((tmp_path / "deep" / "e.json").read_text())
    assert list(found["splits"]) == ["val", "test"] and found["options"]["gallery"] == 20
    val = found["splits"]["val"]
    for kind, size in (("random", 20), ("hard", 20), ("full", 22)):
        pairs = val["retrieval"][kind]["pairs"]
        assert len(pairs) == 30 and {pair["gallery_size"] for pair in pairs} == {size}
        assert [pair["query"] for pair in val["retrieval"][kind]["spots"]] == [
            "street", "spot_street", "text", "spot_text"
        ]  # fmt: skip
        assert [(p["query"], p["gallery"]) for p in val["baseline"][kind]["pairs"]] == [
            (p["query"], p["gallery"]) for p in pairs
        ]
    assert {row["query"] for row in val["geolocation"]} == {"sentinel2", "aerial", "dem", "street", "text"}
    street = next(row for row in val["geolocation"] if row["query"] == "street")
    assert 0 < street["nearest_least_m"] < 50 and street["gallery_size"] == 22
    assert {p.name for p in (tmp_path / "p").iterdir()} >= {"retrieval_val_random.png", "distance_test.png", "loss.png"}


def test_an_evaluation_is_a_function_of_run_corpus_and_options(run, corpus, tmp_path):
    for name, more in (("a", []), ("b", []), ("c", ["--batch", "7"])):
        arguments = [
            str(run),
            str(corpus),
            "--split",
            "val",
            "--gallery",
            "20",
            "--json",
            str(tmp_path / name),
            "--device",
            "cpu",
            *more,
        ]
        assert main(arguments) == 0
    a, b, c = (json.loads((tmp_path / name).read_text())["splits"] for name in "abc")
    assert a == b
    ranks = [
        [pair["mean_reciprocal_rank"] for pair in found["val"]["retrieval"]["random"]["pairs"]] for found in (a, c)
    ]
    np.testing.assert_allclose(*ranks, atol=0.02)


@pytest.mark.parametrize("points", ["train", "grid", "file"])
def test_galleries_of_points_can_be_chosen(run, corpus, tmp_path, points):
    (tmp_path / "p.csv").write_text("lon,lat\n" + "".join(f"{6 + i / 100},{49.5 + i / 100}\n" for i in range(40)))
    chosen = str(tmp_path / "p.csv") if points == "file" else points
    arguments = [str(run), str(corpus), "--split", "val", "--no_baseline", "--points", chosen, "--device", "cpu"]
    assert main([*arguments, "--grid_m", "200", "--grid_reach_km", "1", "--json", str(tmp_path / "e.json")]) == 0
    found = json.loads((tmp_path / "e.json").read_text())["splits"]["val"]
    assert found["baseline"] == {}
    for row in found["geolocation"]:
        assert row["nearest_least_m"] > 0
        assert row["gallery_size"] == {"train": 22, "file": 40}.get(points, row["gallery_size"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}/gone", "{corpus}"], "gone holds no checkpoint"),
        (["{run}", "{run}"], "holds no finished corpus"),
        (["{run}", "{corpus}", "--split", "dev"], "Unknown split 'dev'"),
        (["{run}", "{corpus}", "--gallery", "1"], "--gallery 1 is too small: give at least 2"),
        (["{run}", "{corpus}", "--points", "{run}/gone.csv"], r"gone\.csv cannot be read"),
        (["{run}", "{corpus}", "--points", "grid", "--grid_m", "0.1"], "give larger steps"),
        (["{run}", "{corpus}", "--device", "cuda:77"], "take --device cpu or auto"),
    ],
)
def test_bad_input_is_one_sentence(run, corpus, capsys, arguments, message):
    given = [argument.format(run=run, corpus=corpus) for argument in arguments]
    assert main([*given, "--no_baseline"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)


def test_option_names_are_pinned():
    assert list(vars(EvaluateOptions("run", "corpus"))) == [
        "run", "corpus", "split", "gallery", "draws", "near_km", "full", "points", "grid_m", "grid_reach_km",
        "no_baseline", "baseline_corpus", "baseline_places", "json", "plots", "weights", "device", "batch", "seed",
    ]  # fmt: skip
    with pytest.raises(OptionError, match="--near_km 0 must be above 0"):
        EvaluateOptions("run", "corpus", near_km=0)


def test_a_split_that_is_not_there_is_said_before_anything_is_measured(run, tmp_path, capsys):
    corpus = write_corpus(tmp_path / "half", [make_sample(key, split="val") for key in make_keys(4)])
    assert main([str(run), str(corpus), "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert "has no place of split 'test' that can be read: choose from val." in said.err and not said.out
    assert main([str(run), str(corpus), "--split", "val", "--device", "cpu"]) == 1
    assert "fitted on train: give --baseline_corpus, or leave it out by --no_baseline." in capsys.readouterr().err


def test_a_corpus_that_lies_elsewhere_is_measured_as_that_in_the_folder(run, corpus, tmp_path):
    found = []
    for number, where in enumerate((str(corpus), f"pipe:cat {corpus}/{{}}")):
        file = tmp_path / f"{number}.json"
        assert main([str(run), where, "--split", "val", "--device", "cpu", "--json", str(file)]) == 0
        found.append(json.loads(file.read_text())["splits"])
    assert found[0] == found[1]
