import json

import pytest

from tests.training.data.makers import make_keys, make_sample, write_corpus
from tests.training.untrained import make_corpus, make_run
from training.evaluate import main as evaluate
from training.options import OptionError
from training.robustness import RobustnessOptions, main


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness")
    corpus = make_corpus(folder / "small", places=12)
    run = make_run(folder / "run", corpus)
    same = ["--gallery", "8", "--draws", "3", "--device", "cpu"]
    more = ["--distances", "0,200", "--missing", "0,0.5", "--seeds", "2", "--plots", str(folder / "p")]
    assert main([str(run), str(corpus), *same, *more, "--json", str(folder / "r.json")]) == 0
    assert (
        evaluate([str(run), str(corpus), "--split", "val", "--no_baseline", *same, "--json", str(folder / "e.json")])
        == 0
    )
    return folder, json.loads((folder / "r.json").read_text()), json.loads((folder / "e.json").read_text())


def test_curves_are_written_and_drawn(found):
    folder, record, _ = found
    assert [curve["at"] for curve in record["curves"]] == [[0, 200], [0, 200], [0, 200], [0, 0.5]]
    assert all(
        0 <= share <= 1
        for curve in record["curves"]
        for line in curve["lines"].values()
        for share in line
        if share is not None
    )
    assert (folder / "p" / "robustness_val.png").stat().st_size > 10_000
    rasters = record["curves"][1]["lines"]
    assert rasters["aerial, finds the other views"][1] is None and rasters["dem, finds the other views"][1] is not None


def test_undisturbed_curves_begin_at_the_figures_of_an_evaluation(found):
    _, record, evaluation = found
    pairs = evaluation["splits"]["val"]["retrieval"]["random"]["pairs"]

    def mean(query, others):
        figures = [p["recall_1"] for p in pairs if p["query"] == query and p["gallery"] in others]
        assert len(figures) == len(others)
        return sum(figures) / len(figures)

    wrong, rasters = record["curves"][0]["lines"], record["curves"][1]["lines"]
    views = ["sentinel2", "aerial", "dem", "street", "text"]
    assert wrong["location, finds the other views"][0] == pytest.approx(mean("location", views))
    for view in ("sentinel2", "aerial", "dem"):
        assert rasters[f"{view}, finds the other views"][0] == pytest.approx(
            mean(view, [v for v in views if v != view])
        )
        assert rasters[f"{view}, finds the location"][0] == pytest.approx(mean(view, ["location"]))


@pytest.mark.parametrize("wrong", [{"distances": "a"}, {"distances": "-1"}, {"missing": "1"}, {"seeds": 0}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        RobustnessOptions("run", "corpus", **wrong)


def test_no_run_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "none"), str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_split_of_which_no_two_places_have_all_views_is_said_to_be_unmeasured(tmp_path, capsys):
    keys = make_keys(8)
    views = [("sentinel2", "street"), ("aerial", "text"), ("dem", "text"), ("street", "text")]
    samples = [make_sample(key, split="val", views=views[n % 4]) for n, key in enumerate(keys)]
    corpus = write_corpus(tmp_path / "thin", [*samples, *(make_sample(key) for key in make_keys(3, start=(7, 50)))])
    run = make_run(tmp_path / "run", corpus)
    same = ["--distances", "0", "--missing", "0", "--seeds", "1", "--device", "cpu", "--plots", str(tmp_path / "p")]
    assert main([str(run), str(corpus), *same]) == 0
    assert "### Missing views: not measured, 0 places have all it takes" in capsys.readouterr().out
