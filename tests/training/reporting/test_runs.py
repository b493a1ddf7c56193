import json
import subprocess

import pytest

from training.reporting import runs as module
from training.reporting.runs import Row, RunError, Runs


@pytest.mark.parametrize(("kept", "asked"), [
    (None, 1),
    ({"pairs": []}, 1),  # of a report that was made before spots were measured
    ({"pairs": [], "spots": []}, 0),
])  # fmt: skip
def test_an_evaluation_is_made_where_none_or_an_older_one_is_kept(tmp_path, monkeypatch, kept, asked):
    calls = []

    def evaluate(arguments):
        calls.append(arguments)
        file.write_text(json.dumps({"splits": {}}))
        return 0

    monkeypatch.setattr(module, "evaluate", evaluate)
    runs, row = Runs("corpus", tmp_path, ()), Row("hub", "")
    file = runs.path(row, 0) / "evaluation.json"
    file.parent.mkdir()
    if kept is not None:
        file.write_text(json.dumps({"splits": {"val": {"retrieval": {"random": kept}}}}))
    found = runs.measure(row, 0)
    assert len(calls) == asked and (found == {"splits": {}}) == bool(asked)


def test_a_run_of_another_budget_is_not_taken_for_this_one(tmp_path, monkeypatch):
    def run(command, **_):
        trained.append(command)
        (tmp_path / "hub_0").mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    trained: list[list[str]] = []
    monkeypatch.setattr(module.subprocess, "run", run)
    row = Row("hub", "", ("--pairs", "hub"))
    short, long = (Runs("corpus", tmp_path, ("--steps", steps)) for steps in ("2", "3"))
    assert short.train(row, 0) == short.train(row, 0) == tmp_path / "hub_0" and len(trained) == 1
    with pytest.raises(RunError, match="hub_0 was trained with --seed 0 --steps 2 --pairs hub, not --seed 0 --steps 3"):
        long.train(row, 0)


def test_a_run_of_another_corpus_is_not_taken_for_this_ones(tmp_path, monkeypatch):
    corpus, row = tmp_path / "corpus", Row("hub", "", ("--pairs", "hub"))
    (corpus / "train").mkdir(parents=True)
    (corpus / "train/a.tar").write_bytes(b"first")

    def run(command, **_):
        (tmp_path / "hub_0").mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module.subprocess, "run", run)
    Runs(str(corpus), tmp_path, ()).train(row, 0)
    assert Runs(str(corpus), tmp_path, ()).train(row, 0) == tmp_path / "hub_0"
    finished = tmp_path / "hub_0" / "finished"
    (corpus / "train/a.tar").write_bytes(b"built anew")
    with pytest.raises(RunError, match=r"hub_0 was not trained on .*corpus as it is now"):
        Runs(str(corpus), tmp_path, ()).train(row, 0)
    finished.write_text(finished.read_text().partition("\n")[0])  # of an earlier version
    with pytest.raises(RunError, match="hub_0 does not say on which corpus"):
        Runs(str(corpus), tmp_path, ()).train(row, 0)
