import json

import pytest

from training.reporting import runs as module
from training.reporting.runs import Row, Runs


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
