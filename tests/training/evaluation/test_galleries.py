import numpy as np
import pytest

from training.evaluation.galleries import GalleryRule, draw
from training.sphere import distance_m


def _spread(n, seed=0):
    return np.random.default_rng(seed).uniform([-10, 40], [10, 50], (n, 2))


def test_random_galleries_are_disjoint_as_long_as_the_split_suffices():
    rows = np.arange(0, 400, 2)
    galleries = draw(GalleryRule("random", size=50, draws=4), rows, _spread(400))
    assert [len(g.rows_G) for g in galleries] == [50] * 4
    together = np.concatenate([g.rows_G for g in galleries])
    assert sorted(together) == rows.tolist()


def test_more_random_galleries_than_fit_hold_distinct_places_each():
    galleries = draw(GalleryRule("random", size=70, draws=5), np.arange(100), _spread(100))
    assert len(galleries) == 5
    assert all(len(set(g.rows_G.tolist())) == 70 for g in galleries)


@pytest.mark.parametrize("kind", ["random", "hard"])
def test_a_split_no_larger_than_a_gallery_is_one_gallery(kind):
    (gallery,) = draw(GalleryRule(kind, size=200), np.arange(150), _spread(150))
    assert sorted(gallery.rows_G) == list(range(150))


def test_hard_galleries_are_the_nearest_of_a_place_and_say_their_radius():
    lonlat, rows = _spread(300), np.arange(1, 300)
    for gallery in draw(GalleryRule("hard", size=40, draws=3), rows, lonlat):
        away = np.sort(distance_m(lonlat[rows], lonlat[gallery.rows_G[0]]))
        assert gallery.radius_m == pytest.approx(away[39])
        assert distance_m(lonlat[gallery.rows_G], lonlat[gallery.rows_G[0]]).max() == pytest.approx(away[39])
        assert 0 not in gallery.rows_G


def test_near_galleries_are_whole_clusters_each_taken_once():
    centres = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    sizes = [30, 12, 5, 25]
    rng = np.random.default_rng(1)
    lonlat = np.concatenate([c + rng.uniform(-0.01, 0.01, (n, 2)) for c, n in zip(centres, sizes, strict=True)])
    galleries = draw(GalleryRule("near", size=28, draws=10, fewest=10), np.arange(len(lonlat)), lonlat)
    assert sorted(len(g.rows_G) for g in galleries) == [12, 25, 28]
    assert all(g.radius_m <= 5000 and np.ptp(lonlat[g.rows_G, 0]) < 0.1 for g in galleries)


def test_galleries_are_a_function_of_the_seed():
    lonlat, rows = _spread(300), np.arange(300)
    for kind in ("random", "hard"):
        first, again, other = (
            [g.rows_G.tolist() for g in draw(GalleryRule(kind, size=20, draws=3, seed=s), rows, lonlat)]
            for s in (7, 7, 8)
        )
        assert first == again != other


def test_fewer_than_two_places_are_no_gallery():
    for kind in ("random", "hard", "near", "full"):
        assert draw(GalleryRule(kind), np.array([3]), _spread(5)) == []


def test_rules_that_measure_nothing_are_refused():
    with pytest.raises(ValueError, match="Unknown galleries 'easy': choose from random"):
        GalleryRule("easy")
    with pytest.raises(ValueError, match="10 galleries of 1 places"):
        GalleryRule(size=1)
