import numpy as np
import pytest

from geodata import cells
from schemas.corpus import CorpusError
from training.data.chance import uniform
from training.data.order import NEAR_LEVELS, Order, find_ancestors, join_groups

CELLS = np.random.default_rng(0).permutation(10**6)[:1000].astype(np.uint64)
ALONE = np.full(1000, -1)


def _epoch(order, epoch):
    start = epoch * order.steps_per_epoch
    return [order.rows(step) for step in range(start, start + order.steps_per_epoch)]


def test_every_place_comes_at_most_once_in_an_epoch_and_only_the_rest_is_missing():
    order = Order(CELLS, ALONE, batch_size=64, seed=1)
    left_out = []
    for epoch in range(3):
        rows = np.concatenate(_epoch(order, epoch))
        assert len(rows) == len(np.unique(rows)) == 1000 // 64 * 64
        left_out.append(set(range(1000)) - set(rows.tolist()))
    assert left_out[0] != left_out[1] != left_out[2]


def test_the_order_is_a_function_of_seed_and_step_alone():
    one, two = (Order(CELLS, ALONE, batch_size=64, seed=1) for _ in range(2))
    steps = [40, 3, 17, 16, 40]
    assert all((one.rows(step) == two.rows(step)).all() for step in steps)
    assert (one.rows(40) == Order(CELLS, ALONE, batch_size=64, seed=1).rows(40)).all()
    assert (one.rows(40) != Order(CELLS, ALONE, batch_size=64, seed=2).rows(40)).any()
    assert (one.rows(0) != one.rows(one.steps_per_epoch)).any()


def test_the_order_does_not_depend_on_how_places_are_stored():
    groups = np.where(np.arange(1000) < 300, np.arange(1000) % 100, -1)
    shuffled = np.random.default_rng(5).permutation(1000)
    one = Order(CELLS, groups, batch_size=50, seed=1)
    two = Order(CELLS[shuffled], groups[shuffled], batch_size=50, seed=1)
    for step in (0, 7, 25):
        assert (CELLS[one.rows(step)] == CELLS[shuffled][two.rows(step)]).all()


def test_neighbours_in_the_files_are_none_in_the_order():
    rows = np.concatenate(_epoch(Order(np.arange(1000, dtype=np.uint64), ALONE, batch_size=10, seed=0), 0))
    assert abs(np.corrcoef(rows, np.arange(len(rows)))[0, 1]) < 0.1
    assert (np.abs(np.diff(rows)) <= 5).mean() < 0.03


@pytest.mark.parametrize("seed", range(5))
def test_no_two_of_a_group_meet_in_a_batch(seed):
    rng = np.random.default_rng(seed)
    groups = np.where(rng.random(1000) < 0.5, rng.integers(0, 80, 1000), -1)
    order = Order(CELLS, groups, batch_size=60, seed=seed)
    assert order.steps_per_epoch == 1000 // 60
    seen = []
    for rows in _epoch(order, 1):
        bound = groups[rows][groups[rows] >= 0]
        assert len(rows) == 60 and len(bound) == len(np.unique(bound))
        seen += rows.tolist()
    assert len(seen) == len(set(seen))
    assert (groups[seen] >= 0).sum() > 400


def test_a_group_larger_than_the_epoch_shortens_it():
    groups = np.where(np.arange(1000) < 950, 7, -1)
    order = Order(CELLS, groups, batch_size=10, seed=0)
    assert order.steps_per_epoch == 5  # 5 of the group and 45 others
    assert all((groups[rows] >= 0).sum() == 1 for rows in _epoch(order, 0))
    with pytest.raises(CorpusError, match="A batch of 60 is larger than the 51 places"):
        Order(CELLS, groups, batch_size=60, seed=0)


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(CorpusError, match="A batch of 1001 is larger than the 1000 places"):
        Order(CELLS, ALONE, batch_size=1001, seed=0)


def test_places_are_joined_by_what_they_share_over_any_number_of_steps():
    things = [("a", 0), ("a", 1), ("b", 1), ("b", 2), ("c", 4), ("d", 5), ("d", 5), ("e", 6), ("e", 7)]
    rows = np.array([row for _, row in things])
    names = np.array(["abcde".index(name) for name, _ in things])
    groups = join_groups(rows, names, 8)
    assert groups[0] == groups[1] == groups[2] >= 0
    assert groups[6] == groups[7] >= 0 and groups[6] != groups[0]
    assert groups[3] == groups[4] == groups[5] == -1
    assert (join_groups(rows[:0], names[:0], 3) == -1).all()


def test_chance_is_uniform_and_its_purposes_are_independent():
    cells = np.arange(20_000, dtype=np.uint64)
    one, two = uniform(cells, 0, 1, "a"), uniform(cells, 0, 1, "b")
    assert one.min() >= 0 and one.max() < 1
    assert np.abs(np.histogram(one, 10, (0, 1))[0] - 2000).max() < 250
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03


def _disk(lon, rings):
    return np.array(cells.disk(cells.to_cell(cells.cell_at(lon, 49.61, 10)), rings), np.uint64)


def test_ancestors_are_those_of_h3():
    found = _disk(6.13, 60)
    same = find_ancestors(found)[:, None] == find_ancestors(found)
    wanted = cells.ancestors(found, 10 - NEAR_LEVELS)
    assert (same == (wanted[:, None] == wanted)).all() and not same.all()


def test_neighbours_come_together_and_each_place_once():
    found = np.concatenate([_disk(6.13 + i / 3, 5)[:64] for i in range(16)])
    order = Order(found, np.full(len(found), -1), batch_size=64, seed=3, neighbours=16)
    first = np.stack([order.rows(step) for step in range(order.steps_per_epoch)])
    assert sorted(first.ravel().tolist()) == list(range(len(found)))
    alone = Order(found, np.full(len(found), -1), batch_size=64, seed=3)
    towns, usual = (np.mean([len(np.unique(o.rows(step) // 64)) for step in range(16)]) for o in (order, alone))
    assert towns < 8 and usual > 14  # of sixteen
    again = np.stack([order.rows(step) for step in range(order.steps_per_epoch, 2 * order.steps_per_epoch)])
    assert set(map(frozenset, first.tolist())) != set(map(frozenset, again.tolist()))
