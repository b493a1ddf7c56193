import json
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.training.worlds import noisy_places
from training.data.batch import VIEWS
from training.evaluation.galleries import GalleryRule
from training.evaluation.geolocation import Points, geolocate_ensembles, geolocate_views
from training.evaluation.report import Evaluation, Search, write_markdown


def make_evaluation(n=60, noise=0.8, *, has_spots=False, **more):
    places = noisy_places(n, noise=noise, **more)
    if has_spots:
        places = replace(places, spots_SND=places.z_MND[:2])
    rules = [GalleryRule(kind, size=40, draws=3) for kind in ("random", "hard", "near")]
    searches = [Search.of(rule, places) for rule in rules]
    rows = places.rows("location")
    points = Points("centres", places.z("location")[rows], places.lonlat_N2[rows])
    return Evaluation(
        "val", n, {view: len(places.rows(view)) for view in VIEWS}, searches, searches,
        geolocate_views(places, points), geolocate_ensembles(places, renormalise=True),
        geolocate_ensembles(places, renormalise=False),
    )  # fmt: skip


def _tables(text):
    """Returns the tables of a Markdown text, rows of cells."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_every_number_of_the_tables_is_the_one_that_was_measured():
    found = make_evaluation()
    matrix, means, *_ = _tables(write_markdown(found))
    for pair in found.searches[0].pairs:
        cell = matrix[2 + VIEWS.index(pair.query)][1 + VIEWS.index(pair.gallery)]
        assert float(cell.split(" ± ")[0]) == pytest.approx(100 * pair.recall_1, abs=0.051)
    assert matrix[2][1] == "" and matrix[0] == ["query", *VIEWS]
    expected = found.searches[0].means()
    for row in means[2:]:
        assert float(row[2]) == pytest.approx(100 * expected[row[0]].recall_1, abs=0.0051)
        assert row[4] == "2.50"  # one of forty
    assert [row[1] for row in means[2:]] == ["20", "10", "12", "8"]


def test_sentinel2_at_photo_and_article_has_a_table_where_there_is_a_query():
    found = make_evaluation(has_spots=True)
    tables = [table for table in _tables(write_markdown(found)) if table[0][0] == "Sentinel-2 at its spot"]
    assert len(tables) == 2  # random and hard
    assert [row[0] for row in tables[0][2:]] == [
        "found by the photo", "finds the photo", "found by the article", "finds the article"
    ]  # fmt: skip
    for row, pair in zip(tables[0][2:], found.searches[0].spots, strict=True):
        assert float(row[2].split(" ± ")[0]) == pytest.approx(100 * pair.recall_1, abs=0.051)
        assert row[3] == "2.50" and row[1] == str(pair.queries)
    assert "at its spot" not in write_markdown(make_evaluation())
    assert [p["query"] for p in found.to_json()["retrieval"]["random"]["spots"]][:2] == ["street", "spot_street"]


def test_tables_are_rectangular_and_aligned():
    for table in _tables(write_markdown(make_evaluation())):
        assert len({len(row) for row in table}) == 1
    lines = [line for line in write_markdown(make_evaluation()).splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in lines)


def test_the_report_says_which_galleries_were_searched():
    text = write_markdown(make_evaluation())
    assert "random galleries (drawn from the whole split): 40 places, 3 of them\n" in text
    low, high = re.search(r"nearest neighbours\): 40 places, 3 of them, radius (\S+) \.\.\. (\S+) km\n", text).groups()
    assert float(low) + 0.1 >= 20 * 1.112 and float(low) <= float(high) <= 39 * 1.112 + 0.1  # in a row, 1.112 km apart
    assert "among 60 points (centres)" in text
    assert "60 queries, 60 places that have all views" in text
    assert "No near galleries: none with as many places." in text  # places are 1.1 km apart


def test_a_split_of_one_view_is_counted_and_nothing_is_searched():
    present = np.zeros((6, 60), bool)
    present[VIEWS.index("location")] = True
    found = make_evaluation(present_MN=present)
    assert write_markdown(found).count("none with as many places") == 3 and _tables(write_markdown(found)) == []
    assert write_markdown(found).startswith(
        "## val: 60 places (sentinel2 0, aerial 0, dem 0, street 0, text 0, location 60)"
    )


def test_plain_values_survive_json():
    plain = make_evaluation().to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["retrieval"]["random"]["rule"]["size"] == 40
    assert set(plain["ensembles"]) == {"sum, renormalised", "mean of similarities"}
