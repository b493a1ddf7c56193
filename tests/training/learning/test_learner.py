"""A step of learning, in pieces and at once, for what variants add to it."""

import pytest
import torch

from tests.training.places import make_batch
from training.data.batch import LOCATION
from training.learning.config import FitOptions
from training.learning.learner import Learner
from training.learning.variants import VARIANTS, published_options
from training.model import Model, ModelConfig

EXTENT = (5.0, 49.0, 6.0, 50.0)


def make_learner(name, *, phase_steps=0, **more):
    options = {**published_options({"variant": name}), "dropout": 0.0, "keep_patches": 1.0, "ema": 0.0, "clip": 0.0}
    how = FitOptions("x", variant=name, plain_patches=True, **{**options, **more})
    torch.manual_seed(0)
    views = VARIANTS[name].views
    model = Model(ModelConfig(extent=EXTENT, views=views, inr=name == "gair", predictor="linear", dropout=how.dropout))
    return Learner(model, how, dtype=torch.float32, steps=99, phase_steps=phase_steps)


def with_gaps(batch):
    """Half of the places lack the photo, and each has one more view less."""
    batch.present_MB[3, ::2] = False
    batch.present_MB[torch.tensor([0, 1, 2, 4, 4, 2]), torch.arange(6)] = False
    batch.inside_SB &= batch.present_MB[0]
    batch.inside_SB[0] &= batch.present_MB[3]
    return batch


@pytest.mark.parametrize("name", ["fused_ntxent", "geoclip", "gair", "csp"])
def test_pieces_give_the_gradients_of_the_whole_batch(name):
    slopes: dict[int, dict[str, torch.Tensor]] = {}
    for micro_batch in (0, 4):
        queue = {"queue": 7} if VARIANTS[name].options.get("queue") else {}
        learner = make_learner(name, micro_batch=micro_batch, lr=0.0, mask_within_m=1000.0, **queue)
        for step in range(2):
            loss = learner.step(with_gaps(make_batch(learner.model, seed=step)), step).loss
        slopes[micro_batch] = {n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None} | {
            "": loss
        }
        assert not learner.queue or len(learner.queue.positions()) == 7
    assert slopes[0].keys() == slopes[4].keys()
    for key, slope in slopes[0].items():
        torch.testing.assert_close(slopes[4][key], slope, rtol=1e-3, atol=1e-3 * float(slope.abs().max()), msg=key)


def test_the_queue_adds_negatives_from_the_second_step_on():
    learner, plain = (make_learner("geoclip", lr=0.0, mask_within_m=0.0, queue=queue) for queue in (6, 0))
    batches = [make_batch(learner.model, seed=seed) for seed in range(2)]
    found, without = ([float(one.step(batch, n).loss) for n, batch in enumerate(batches)] for one in (learner, plain))
    assert found[0] == without[0] and found[1] > without[1]


def test_places_near_those_of_the_queue_are_no_negatives():
    learner = make_learner("geoclip", lr=0.0, mask_within_m=1e7, queue=6)
    batch = make_batch(learner.model)
    first, again = (float(learner.step(batch, step).loss) for step in range(2))
    assert again == pytest.approx(first, rel=1e-6), "the queue holds nothing that is far enough"


def test_a_twin_differs_by_dropout_alone():
    for dropout in (0.0, 0.3):
        learner = make_learner("csp", dropout=dropout)
        learner.model.train()
        z_RBD, *_ = learner.encode((make_batch(learner.model), torch.zeros(0, 2, dtype=torch.float64)))
        location, twin = (z_RBD[learner._objective.rows.index(row)] for row in (LOCATION, "twin"))
        assert torch.equal(location, twin) == (dropout == 0)


def test_a_frozen_hub_gets_no_gradient_after_the_first_phase():
    learner = make_learner("cyclic", hub="frozen", phase_steps=1)
    batch = make_batch(learner.model)
    hub = list(learner.model.towers[LOCATION].parameters())
    learner.step(batch, 0)
    assert all(p.grad is not None for p in hub)
    before = [p.detach().clone() for p in hub]
    learner.step(batch, 1)
    assert all(p.grad is None and p.requires_grad for p in hub)
    assert all(torch.equal(p, old) for p, old in zip(hub, before, strict=True)), "not by decay or momentum either"
    assert all(p.grad is not None for p in learner.model.towers["text"].parameters())


def test_a_shared_hub_learns_in_every_phase():
    learner = make_learner("cyclic", phase_steps=1)
    learner.step(make_batch(learner.model), 1)
    assert all(p.grad is not None for p in learner.model.towers[LOCATION].parameters())


def test_each_phase_warms_up():
    learner, plain = make_learner("cyclic", warmup=0.5, phase_steps=4), make_learner("imagebind", warmup=0.5)
    batch = make_batch(learner.model, 2)
    batch.present_MB[:-2] = False  # text and location alone
    factors = [learner.step(batch, step).lr / plain.step(batch, step).lr for step in range(8, 14)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 0.5, 1])
