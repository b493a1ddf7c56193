import numpy as np
import pytest
import torch

from tests.training.worlds import make_places
from training.evaluation.galleries import GalleryRule
from training.location.parameters import Span
from training.reporting.encoders import Budget, compare_encoders, measure_encoder, train_encoder
from training.towers.locations import LocationShape

SHAPE = LocationShape(dim=16, width=24, hidden=32, heads=2, depth=1)
RULE = GalleryRule("random", 40, 2)
SPAN = Span((6.0, 49.0, 7.0, 50.0), 10_000.0)


def world(seed):
    """Places of which every view tells the position, but for noise."""
    rng = np.random.default_rng(seed)
    lonlat = rng.uniform([6, 49], [7, 50], (160, 2))
    waves = np.random.default_rng(0).normal(size=(2, 16)) * 2
    shared = np.cos((lonlat - [6.5, 49.5]) @ waves)
    return make_places(shared + 0.05 * rng.normal(size=(6, 160, 16)), lonlat_N2=lonlat)


@pytest.mark.parametrize("name", ["scaled", "rff"])
def test_an_encoder_learns_to_meet_frozen_views(name):
    train, val = world(1), world(2)
    budget = Budget(steps=120, batch=160, lr=3e-3, noise_m=0.0)
    before = train_encoder(name, SHAPE, SPAN, train, Budget(steps=1, batch=80, lr=0.0), 0)
    after = train_encoder(name, SHAPE, SPAN, train, budget, 0)
    first, last = measure_encoder(before, val, RULE), measure_encoder(after, val, RULE)
    assert last.to_views > 4 * last.chance and last.to_views > 2 * first.to_views
    assert last.from_views > 4 * last.chance and last.error_km < first.error_km
    assert last.chance == pytest.approx(1 / 40)


def test_the_same_seed_gives_the_same_encoder():
    one, two = (train_encoder("plain", SHAPE, SPAN, world(1), Budget(steps=3), 5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_outcomes_are_kept_for_the_same_places_and_budget(tmp_path):
    told = []

    def compare(train, steps=2):
        return compare_encoders(
            ["plain", "wrap"], 2, budget=Budget(steps), span=SPAN, train=train, val=world(2), folder=tmp_path,
            tell=told.append,
        )  # fmt: skip

    first = compare(world(1))
    assert {name: len(several) for name, several in first.items()} == {"plain": 2, "wrap": 2}
    assert told == ["location encoder plain", "location encoder wrap"]
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(written) == {"plain_0.json", "plain_1.json", "wrap_0.json", "wrap_1.json"}
    assert compare(world(1)) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert compare(world(1), steps=30)["plain"] != first["plain"]
    assert compare(world(3))["plain"] != first["plain"]


def test_depths_of_the_scaled_encoder_are_listed_beside_it(tmp_path):
    found = compare_encoders(
        ["scaled"], 1, budget=Budget(1), span=SPAN, train=world(1), val=world(2), folder=tmp_path, tell=lambda _: None
    )
    assert list(found) == ["scaled", *(f"scaled, depth {depth}" for depth in (0, 1, 2))]
    assert len({outcome for (outcome,) in found.values()}) == 4
