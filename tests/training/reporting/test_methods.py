import pytest

from training.reporting.methods import Row, add_methods, add_orderings, roughness
from training.reporting.page import Page


def make_evaluation(spot=None, views=0.1):
    """What `training.evaluate` writes, with a few numbers."""
    pairs = [
        {"query": query, "gallery": gallery, "recall_1": recall, "chance_1": 0.005}
        for query, gallery, recall in (("street", "aerial", views), ("street", "location", 0.02))
    ]
    spots = [
        {"query": query, "gallery": gallery, "recall_1": share}
        for query, gallery, share in (("street", "spot_street", spot), ("spot_street", "street", spot), ("text", "spot_text", 0.9))
        if share is not None
    ]  # fmt: skip
    split = {"retrieval": {"random": {"pairs": pairs, "spots": spots}},
             "geolocation": [{"query": "sentinel2", "accuracy": {"25 km": 0.25}}],
             "ensembles": {"sum, renormalised": []}}  # fmt: skip
    return {"splits": {"val": split, "test": split}}


class Curves:
    """Losses of runs, by name."""

    def losses(self, row, seed):
        return {"cyclic": [4, 3, 3.5, 2, 3], "fused_ntxent": [4, 3.9, 3.8, 3.7, 3.6]}[row.name]


@pytest.fixture
def found():
    """Three seeds of three methods."""
    return {
        "sameplace": [make_evaluation(spot) for spot in (0.08, 0.09, 0.10)],
        "linear_query": [make_evaluation(spot) for spot in (0.07, 0.08, 0.09)],
        "unigeoclip": [make_evaluation() for _ in range(3)],
        **{name: [make_evaluation()] * 3 for name in ("cyclic", "fused_ntxent")},
    }


def test_the_table_has_views_location_and_the_spot(found, tmp_path):
    page = Page("t")
    add_methods(page, [Row("sameplace", "ours"), Row("unigeoclip", "theirs")], found, 3)
    text = page.write(tmp_path / "page.html").read_text()
    mine, theirs = (line for line in text.split("<tr>") if "ours" in line or "theirs" in line)
    for cell in ("10.0 ± 0.0", "2.0 ± 0.0", "9.0 ± 2.5", "25.0 ± 0.0"):
        assert f"<td>{cell}</td>" in mine
    assert "9.0" not in theirs and "<td>-</td>" in theirs  # it has no query


@pytest.mark.parametrize(("what", "verdict"), [
    ("the query with hidden layers beats the linear one", "in that order, but"),
    ("all pairs beat location as the hub", "not measured"),
    ("MELT", "reproduced"),
])  # fmt: skip
def test_orderings_are_told_from_the_seeds(found, tmp_path, what, verdict):
    page = Page("t")
    add_orderings(page, found, Curves())
    (line,) = (line for line in page.write(tmp_path / "page.html").read_text().split("<tr>") if f">{what}" in line)
    assert f"<td>{verdict}" in line or f"<td class=words>{verdict}" in line


def test_a_query_that_is_clearly_better_is_told_apart(found, tmp_path):
    found["linear_query"] = [make_evaluation(spot) for spot in (0.010, 0.011, 0.012)]
    page = Page("t")
    add_orderings(page, found, Curves())
    text = page.write(tmp_path / "page.html").read_text()
    assert "hidden 9.0 ± 2.5; linear 1.1 ± 0.2</td><td class=words>reproduced" in text


def test_a_straight_curve_is_smooth_and_a_short_one_tells_nothing():
    assert roughness([4, 3, 2, 1]) == 0 and roughness([1, 2, 3]) is None
