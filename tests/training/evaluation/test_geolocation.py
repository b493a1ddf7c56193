import numpy as np
import pytest

from tests.training.worlds import make_places, noisy_places, unit
from training.data.batch import VIEWS
from training.evaluation import geolocation
from training.evaluation.geolocation import (
    ENSEMBLES,
    RADII_M,
    Points,
    ensemble,
    geolocate,
    geolocate_ensembles,
    geolocate_views,
    to_json,
)

DEGREE_M = np.pi / 180 * 6_371_008.8


def test_accuracy_distance_and_chance_of_a_case_by_hand():
    points = Points("three", np.eye(3, dtype=np.float32), np.array([[0.0, 0.0], [0.0, 0.0005], [0.0, 10.0]]))
    z = unit([[1, 0, 0], [0, 0.1, 1]])
    found = geolocate("aerial", z, np.array([[0.0, 0.0005], [0.0, 0.0005]]), points)
    np.testing.assert_allclose(found.error_m, [0.0005 * DEGREE_M, 9.9995 * DEGREE_M])
    assert RADII_M == (100, 1e3, 25e3, 200e3, 750e3, 2500e3)
    assert found.accuracy == (0.5, 0.5, 0.5, 0.5, 0.5, 1.0)
    np.testing.assert_allclose(found.chance, [2 / 3] * 5 + [1])
    assert found.reachable == (1.0,) * 6
    assert found.median_km == pytest.approx(5 * DEGREE_M / 1000)
    assert (found.nearest_median_m, found.nearest_least_m) == (0, 0)
    assert (found.queries, found.gallery_size) == (2, 3)


def test_many_queries_are_measured_as_one_by_one(monkeypatch):
    rng = np.random.default_rng(0)
    points = Points("p", unit(rng.normal(size=(50, 8))), rng.uniform(-50, 50, (50, 2)))
    z, lonlat = unit(rng.normal(size=(600, 8))), rng.uniform(-50, 50, (600, 2))
    whole = geolocate("dem", z, lonlat, points)
    alone = [geolocate("dem", z[i : i + 1], lonlat[i : i + 1], points) for i in range(600)]
    np.testing.assert_allclose(whole.error_m, [a.median_km * 1000 for a in alone])
    np.testing.assert_allclose(whole.chance, np.mean([a.chance for a in alone], 0))
    assert whole.nearest_least_m == pytest.approx(min(a.nearest_least_m for a in alone))
    monkeypatch.setattr(geolocation, "_MOST", 150)  # three queries at a time
    np.testing.assert_array_equal(geolocate("dem", z, lonlat, points).error_m, whole.error_m)


def test_a_photo_lies_where_it_was_taken_and_all_else_at_the_centre():
    lonlat = np.stack([np.arange(20) * 1.0, np.zeros(20)], -1)
    places = noisy_places(20, noise=0, lonlat_N2=lonlat, photo_N2=lonlat + [0, 0.0005])
    points = Points("centres", places.z("location"), lonlat)
    rows = {row.query: row for row in geolocate_views(places, points)}
    assert list(rows) == [view for view in VIEWS if view != "location"]
    np.testing.assert_allclose(rows["street"].error_m, 0.0005 * DEGREE_M)
    assert rows["street"].nearest_least_m == pytest.approx(0.0005 * DEGREE_M)
    assert rows["dem"].error_m.max() == 0


def test_ensembles_follow_their_two_formulas():
    places = noisy_places(12, dim=5)
    rows, views = np.array([2, 5, 7]), ("aerial", "dem", "text")
    vectors = np.stack([places.z(view)[rows] for view in views])
    query = places.z("street")
    mean = ensemble(places, views, rows, renormalise=False)
    np.testing.assert_allclose(query @ mean.z_GD.T, np.mean([query @ v.T for v in vectors], axis=0), atol=1e-6)
    summed = ensemble(places, views, rows, renormalise=True)
    np.testing.assert_allclose(summed.z_GD, unit(vectors.sum(0)), atol=1e-6)
    assert summed.name == "aerial+dem+text"
    np.testing.assert_array_equal(summed.lonlat_G2, places.lonlat_N2[rows])


def test_an_ensemble_of_one_view_is_that_view():
    places = noisy_places(12)
    for renormalise in (True, False):
        one = ensemble(places, ("dem",), np.arange(12), renormalise=renormalise)
        np.testing.assert_allclose(one.z_GD, places.z("dem"), atol=1e-6)


def test_all_rows_of_the_table_have_one_gallery():
    present = np.ones((6, 30), bool)
    present[VIEWS.index("text"), :10] = False
    present[VIEWS.index("street"), 25:] = False
    rows = geolocate_ensembles(noisy_places(30, present_MN=present), renormalise=True)
    assert [row.gallery for row in rows] == ["+".join(views) for views in ENSEMBLES]
    assert {(row.queries, row.gallery_size) for row in rows} == {(15, 15)}


def test_more_noisy_views_together_find_more_than_one():
    rows = geolocate_ensembles(noisy_places(300, dim=16, noise=1.1), renormalise=True)
    found = {row.gallery: row.accuracy[0] for row in rows}
    assert found["aerial+dem+text+location"] > max(found[view] for view in ("aerial", "dem", "text", "location")) + 0.1


def test_a_view_that_no_place_has_takes_its_ensembles_along():
    present = np.ones((6, 30), bool)
    present[VIEWS.index("sentinel2")] = False
    rows = geolocate_ensembles(noisy_places(30, present_MN=present), renormalise=True)
    assert rows and not [row for row in rows if "sentinel2" in row.gallery]
    present[VIEWS.index("street")] = False
    assert geolocate_ensembles(noisy_places(30, present_MN=present), renormalise=True) == []


def test_plain_values_name_their_radii():
    places = make_places(np.random.default_rng(0).normal(size=(6, 5, 4)))
    plain = to_json(geolocate_views(places, Points("c", places.z("location"), places.lonlat_N2))[0])
    assert list(plain["accuracy"]) == ["0.1 km", "1 km", "25 km", "200 km", "750 km", "2500 km"]
    assert "error_m" not in plain
