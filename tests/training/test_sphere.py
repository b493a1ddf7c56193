import numpy as np
import pytest

from training.sphere import EARTH_RADIUS_M, distance_m, find_nearest, lattice


def test_a_quarter_and_half_of_a_great_circle():
    quarter = np.pi / 2 * EARTH_RADIUS_M
    assert distance_m(np.array([0.0, 0.0]), np.array([90.0, 0.0])) == pytest.approx(quarter)
    assert distance_m(np.array([33.0, 90.0]), np.array([-120.0, 0.0])) == pytest.approx(quarter)
    assert distance_m(np.array([10.0, 20.0]), np.array([-170.0, -20.0])) == pytest.approx(2 * quarter)
    assert distance_m(np.array([10.0, 20.0]), np.array([10.0, 20.0])) == 0


def test_paris_to_london_is_343_6_km():
    paris, london = np.array([2.3522, 48.8566]), np.array([-0.1278, 51.5074])
    assert distance_m(paris, london) == pytest.approx(343_556, abs=20)


def test_distance_agrees_with_the_ellipsoid_within_its_flattening():
    pyproj = pytest.importorskip("pyproj")
    rng = np.random.default_rng(0)
    a, b = (np.stack([rng.uniform(-180, 180, 200), np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))], -1) for _ in "ab")
    true = np.array([pyproj.Geod(ellps="WGS84").inv(*p, *q)[2] for p, q in zip(a, b, strict=True)])
    assert np.abs(distance_m(a, b) / true - 1).max() < 0.006


def test_the_antimeridian_is_no_border():
    assert distance_m(np.array([179.999, 0.0]), np.array([-179.999, 0.0])) == pytest.approx(222.39, abs=0.01)


def test_nearest_starts_with_the_place_itself_even_beside_its_double():
    lonlat = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.1]])
    rows, away = find_nearest(lonlat, 1, 3)
    assert rows.tolist() == [1, 0, 3]
    assert away[:2].tolist() == [0, 0] and away[2] == pytest.approx(0.1 * np.pi / 180 * EARTH_RADIUS_M)


@pytest.mark.parametrize("place", [(2.3, 48.9), (-179.9999, 10.0), (30.0, 89.99), (0.0, 0.0), (-70.0, -89.99)])
def test_every_place_has_a_lattice_point_within_half_a_diagonal(place):
    points = lattice(np.array([place]), step_m=100, reach_m=1000)
    away = distance_m(points, np.array(place))
    assert away.min() <= 75 and away.max() <= 1000
    assert len(points) == pytest.approx(np.pi * 10**2, rel=0.1)
    assert points[:, 0].min() >= -180 and points[:, 0].max() < 180


def test_the_lattice_is_one_whichever_places_ask_for_it():
    one, other = np.array([[2.3, 48.9]]), np.array([[2.305, 48.9]])
    both = lattice(np.concatenate([one, other]), step_m=100, reach_m=1000)
    apart = np.concatenate([lattice(one, step_m=100, reach_m=1000), lattice(other, step_m=100, reach_m=1000)])
    np.testing.assert_array_equal(both, np.unique(apart, axis=0))
    assert len(both) < len(apart)


def test_a_lattice_too_fine_is_refused():
    with pytest.raises(ValueError, match="give larger steps"):
        lattice(np.zeros((1000, 2)), step_m=1, reach_m=5000)
