import numpy as np

from geodata import cells


def test_keys_and_cells_round_trip_and_sort_alike():
    lonlat = np.random.default_rng(0).uniform((-180, -80), (180, 80), (500, 2))
    found = np.unique(cells.cells_at(lonlat, 10))
    keys = [cells.to_key(cell) for cell in found]
    assert [cells.to_cell(key) for key in keys] == found.tolist()
    assert sorted(keys) == keys


def test_a_cell_holds_its_centre():
    found = cells.cells_at(np.random.default_rng(1).uniform((-180, -89), (180, 89), (200, 2)), 10)
    assert cells.cells_at(cells.centres(found), 10).tolist() == found.tolist()


def test_hexagon_is_not_torn_at_the_antimeridian():
    outline = cells.hexagon(cells.cell_at(180.0, -17.0, 10))
    assert np.ptp(outline[:, 0]) < 0.01


def test_a_pentagon_has_five_corners_or_ten():
    assert len(cells.hexagon(cells.to_key(cells.h3.get_pentagons(10)[0]))) in (5, 10)


def test_hash_is_frozen():
    values = np.array([0, 1, 2**63], dtype=np.uint64)
    assert cells.hash64(values, "frozen").tolist() == [3986548235128559775, 1125229919777155884, 6430669101654449237]


def test_hash_is_uniform_and_salts_are_independent():
    values = np.arange(100_000, dtype=np.uint64)
    a, b = cells.hash_unit(values, "a"), cells.hash_unit(values, "b")
    assert abs(a.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.01
