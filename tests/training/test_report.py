import json

import pytest

from tests.training.untrained import make_corpus
from training.options import OptionError
from training.report import ReportOptions, main


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "small", places=14)


def test_a_report_is_written_and_goes_on(corpus, tmp_path, capsys):
    small = ["--steps", "2", "--batch", "8", "--encoder_steps", "2", "--encoders", "scaled,plain"]
    (tmp_path / "given").mkdir()
    rows = [f"{lon},{lat},{lat / 2}" for lon in range(-60, 60, 10) for lat in range(-40, 40, 10)]
    (tmp_path / "given" / "air_temperature.csv").write_text("\n".join(["lon,lat,mean_temperature_c", *rows]))
    small += ["--labels", str(tmp_path / "given"), "--label_tasks", "air_temperature,habitat_1"]
    small += ["--label_encoders", "wrap", "--label_seeds", "1", "--label_epochs", "1"]
    same = [str(corpus), "--output", str(tmp_path), *small]
    assert main([*same, "--seeds", "1", "--rows", "geoclip"]) == 0
    run = tmp_path / "runs" / "geoclip_0"
    score = tmp_path / "labels" / "air_temperature" / "wrap_trained_0.json"
    encoder = tmp_path / "encoders" / "geoclip_0" / "scaled_depth_2_0.json"
    kept = [path.stat().st_mtime_ns for path in (run / "finished", score, encoder)]
    assert main([*same, "--seeds", "1", "--rows", "geoclip,csp"]) == 0
    assert [path.stat().st_mtime_ns for path in (run / "finished", score, encoder)] == kept
    assert capsys.readouterr().out.split() == [str(tmp_path / "report.html")] * 2
    record = json.loads((tmp_path / "report.json").read_text())
    assert {name: len(several) for name, several in record["methods"].items()} == {"geoclip": 1, "csp": 1}
    assert set(record["encoders"]) == {"scaled", "plain", *(f"scaled, depth {depth}" for depth in (0, 1, 2))}
    methods = ["mean or commonest", "5 nearest", "x, y, z", "scaled, untrained", "plain, untrained", "wrap, trained"]
    assert [one["method"] for one in record["labels"]["scored"]] == methods
    assert list(record["labels"]["left_out"]) == ["habitat_1"]
    page = (tmp_path / "report.html").read_text()
    for word in (
        "geoclip",
        "csp",
        "Location encoders",
        "Orderings",
        "not measured",
        "habitat_1 is left out",
        "sphereCplus beats wrap on air_temperature",
    ):
        assert word in page


@pytest.mark.parametrize(
    "wrong",
    [
        {"seeds": 0},
        {"rows": "clip"},
        {"encoders": "scaled,foo"},
        {"label_tasks": "soil"},
        {"label_encoders": "foo"},
        {"label_seeds": 0},
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        ReportOptions("corpus", **wrong)


def test_no_corpus_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
