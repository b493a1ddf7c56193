import numpy as np
import pytest

from tests.runs import SHARED
from training.inputs import InputError
from training.locbench.tasks import SAMPLE, TASKS, Task, cells_at, draw_on_map, load_task, number_classes
from training.options import OptionError

LABELS = SHARED / "europe_mini" / "labels"
KNOWN = {
    # name: metric, places, classes, one known fact: lon, lat, within degrees, least and most of the targets there
    "elevation": ("R2", 20_000, 0, (-68.19, -16.51, 0.05, 4000, 4100)),  # El Alto
    "land_cover": ("accuracy", SAMPLE, 15, (12.0, 25.0, 5.0, 0, 16)),
    "country": ("accuracy", 20_000, 200, (2.35, 48.86, 0.02, 0, 300)),
    "log_population": ("R2", 20_000, 0, (2.3488, 48.8534, 0.01, 6, 7)),  # Paris
    "air_temperature": ("R2", 3076, 0, (7.82, 36.83, 0.001, 18, 18.1)),
    "night_lights": ("R2", SAMPLE, 0, (2.35, 48.86, 0.1, 8, 10)),  # Paris
    "habitat_1": ("accuracy", 13_424, 8, (5.361326, 51.440478, 1e-6, 3, 3)),
    "habitat_3": ("accuracy", 13_424, 100, (5.361326, 51.440478, 1e-6, 0, 300)),
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_the_labels_are_those_of_the_places(name):
    if not LABELS.is_dir():
        pytest.skip("../shared/data/europe_mini is not beside this checkout")
    metric, least, classes, (lon, lat, within, low, high) = KNOWN[name]
    task = load_task(name, LABELS)
    assert task.name == name and task.metric == metric and len(task) >= least and task.source
    assert (task.classes >= classes) if classes else task.classes == 0
    near_N = (np.abs(task.lonlat_N2 - [lon, lat]) <= within).all(1)
    assert near_N.any() and ((task.target_N[near_N] >= low) & (task.target_N[near_N] <= high)).any()
    if classes:
        assert set(task.target_N.tolist()) == set(range(task.classes))


def test_positions_on_a_map_are_drawn_evenly_from_the_ground_and_not_from_gaps():
    row_HW = np.repeat(np.arange(180, dtype=np.uint8)[:, None], 360, 1)
    task = draw_on_map(row_HW, row_HW < 30, np.array([-180.0, 90.0]), 1.0)
    assert len(task) == SAMPLE and task.lonlat_N2[:, 1].max() <= 60
    assert np.array_equal(task.target_N, np.floor(90 - task.lonlat_N2[:, 1]))
    share = (task.lonlat_N2[:, 1] < 0).mean()
    assert abs(share - 1 / (1 + np.sin(np.radians(60)))) < 0.02


def test_a_cell_is_found_at_its_edges():
    row, column = cells_at(
        np.array([[-180.0, 90.0], [179.99, -90.0], [0.0, 0.0]]), np.array([-180.0, 90.0]), 1.0, (180, 360)
    )
    assert row.tolist() == [0, 179, 90] and column.tolist() == [0, 359, 180]


def test_thinning_keeps_positions_and_targets_together():
    task = Task("t", np.arange(200.0).reshape(100, 2) / 10, np.arange(100.0), "", tuple(map(str, range(100))))
    thin = task.thin(20, 0)
    assert len(thin) == 20 and task.thin(100, 0) is task
    assert (
        np.array_equal(thin.lonlat_N2[:, 0], thin.target_N / 5)
        and [float(key) for key in thin.keys] == thin.target_N.tolist()
    )


def test_classes_are_numbered_in_the_order_of_their_names():
    assert number_classes(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(("name", "labels", "said"), [("nope", None, "Unknown task"), ("habitat_1", None, "--labels")])
def test_refuses_what_it_does_not_know_or_find(name, labels, said):
    with pytest.raises(OptionError, match=said):
        load_task(name, labels)


@pytest.mark.parametrize(
    ("lonlat", "target"), [([[0.0, 95.0]], [1.0]), ([[0.0, 0.0]], [1.0, 2.0]), ([[0.0, 0.0]], [np.nan])]
)
def test_refuses_labels_that_are_none(lonlat, target):
    with pytest.raises(InputError):
        Task("t", np.array(lonlat), np.array(target), "")
