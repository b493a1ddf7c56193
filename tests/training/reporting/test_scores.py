import pytest

from training.locbench.report import Divided
from training.reporting.clusters import Clustered
from training.reporting.labels import Labelled, LabelPlan, Scored
from training.reporting.page import Page
from training.reporting.scores import add_labels, label_orderings

TRAINED = {"tile": 0.2, "wrap": 0.4, "spherical_harmonics": 0.41, "sphereCplus": 0.6}
PLAN = LabelPlan((), None, ("xyz",), tuple(TRAINED))


def make(control=0.01):
    """Three seeds around known scores."""
    spread = {"spherical_harmonics": (0.01, 0.0, -0.01)}  # of the others the other way round
    scored = [
        Scored(task, "R2", method, seed, score + spread.get(method.split(",")[0], (-0.01, 0.0, 0.01))[seed], 2.0)
        for task, factor in (("elevation", 1.0), ("log_population", control))
        for method, score in [("5 nearest", 0.5), *((f"{name}, trained", s) for name, s in TRAINED.items())]
        for seed, score in [(seed, score * factor) for seed in range(3)]
    ]
    scored.append(Scored("elevation", "R2", "xyz, untrained", 0, 0.7, 1.0))
    scored.append(Scored("log_population", "R2", "xyz, untrained", 0, -0.2, 1.0))
    errors = [Clustered(5.0 + seed / 10, (2.0, 2.2)) for seed in range(3)]
    scored += [
        Scored("land_cover", "accuracy", "sphereCplus, trained", i, 0.5, 1.0, (), one) for i, one in enumerate(errors)
    ]
    divided = (Divided("elevation", "5", 800, 0, 133.26, 1.16, "metres"),
               Divided("log_population", "5", 700, 0, 128.4, 1.4, "people"))  # fmt: skip
    return Labelled(divided, {"night_lights": "It is not there: name it with --labels."}, tuple(scored))


def write(found, tmp_path):
    page = Page("t")
    add_labels(page, found, PLAN)
    return page.write(tmp_path / "page.html").read_text()


def test_the_page_has_distances_scores_with_intervals_and_what_was_left_out(tmp_path):
    text = write(make(), tmp_path)
    for shown in ("<td>133</td><td>1.16</td>", "0.600 ± 0.025", "<td>0.700</td>", "night_lights is left out. It is not",
                  "negative control", "no more than countries explain"):  # fmt: skip
        assert shown in text
    assert text.index("xyz") < text.index("sphereCplus, trained")


def test_a_control_that_is_predicted_is_called_out(tmp_path):
    text = write(make(control=1.0), tmp_path)
    assert "too much" in text and "no more than" not in text and "sphereCplus, trained, reaches 0.600 ±" in text


@pytest.mark.parametrize(("what", "verdict"), [
    ("sphereCplus beats wrap on elevation", "reproduced: the interval of the difference"),
    ("spherical_harmonics beats wrap on elevation", "in that order, but"),
    ("wrap beats tile on elevation", "reproduced: the interval of the difference"),
    ("the best of 4 encoders that learnt, by these scores, beats the 5 nearest places on elevation",
     "reproduced: the interval of the difference"),
    ("sphereCplus beats the 5 nearest places on elevation", "reproduced: the interval of the difference"),
    ("Geo-Bias rises when errors cluster", "reproduced: the interval of the difference"),
])  # fmt: skip
def test_orderings_follow_from_the_scores(what, verdict):
    rows = [row for row in label_orderings(make()) if row[0].startswith(what)]
    assert len(rows) == 1 and rows[0][2].startswith(verdict)
    assert "±" in rows[0][1] and ("difference in the same folds" in rows[0][1]) == (" beats" in what)


def test_what_was_not_measured_is_said(tmp_path):
    nothing = Labelled((), {}, ())
    assert [row[2] for row in label_orderings(nothing)] == ["not measured"]
    without = Labelled(make().tasks, {}, tuple(one for one in make().scored if not one.method.startswith("wrap")))
    verdicts = {what.split(",")[0]: verdict for what, _, verdict in label_orderings(without)}
    assert verdicts["sphereCplus beats wrap on elevation"] == "not measured"
