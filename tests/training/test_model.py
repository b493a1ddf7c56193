import json
import math
import re

import pytest
import torch

from tests.training.places import make_batch
from training.data.batch import GROUNDS, LOCATION, SPOTS, VIEW_FIELDS, VIEWS
from training.model import NO_DECAY, Model, ModelConfig
from training.towers import TowerError
from training.towers.presets import PRESETS

EXTENT = (5.0, 49.0, 7.0, 51.0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Model(ModelConfig(extent=EXTENT)).eval()


def with_gaps(batch):
    """Each view away in some rows, and the first place nowhere but in its location."""
    batch.present_MB[:-1, 0] = False
    batch.present_MB[torch.arange(5), torch.arange(1, 6)] = False
    return batch


def test_views_are_unit_vectors_in_order(model):
    batch = make_batch(model)
    batch.focus_BR2.zero_()  # what `encode` takes for granted
    with torch.no_grad():
        out = model(batch)
    assert out.z_MBD.shape == (6, 6, model.dim)
    assert out.z_MBD.dtype == torch.float32
    assert torch.allclose(out.z_MBD.norm(dim=-1), torch.ones(6, 6))
    assert torch.allclose(out.spots_SBD.norm(dim=-1), torch.ones(2, 6))
    for view, name in enumerate(VIEWS):
        assert torch.allclose(
            model.encode(view=name, values=getattr(batch, VIEW_FIELDS[name])), out.z_MBD[view], atol=1e-5
        )


def test_absent_views_are_zero_and_leave_the_others_alone(model):
    with torch.no_grad():
        whole = model(make_batch(model))
        out = model(with_gaps(make_batch(model)))
    assert not out.z_MBD[~out.present_MB].any()
    assert torch.allclose(out.z_MBD[out.present_MB], whole.z_MBD[out.present_MB], atol=1e-5)
    assert not out.inside_SB[:, ~out.present_MB[0]].any()
    assert not out.spots_SBD[~out.inside_SB].any()
    assert torch.allclose(out.spots_SBD[out.inside_SB], whole.spots_SBD[out.inside_SB], atol=1e-5)


def test_a_tower_without_rows_does_not_run(model, monkeypatch):
    batch = make_batch(model)
    batch.present_MB[1] = False
    monkeypatch.setattr(model.towers["aerial"], "forward", None)
    assert not model(batch).z_MBD[1].any()


@pytest.mark.parametrize("autocast", [False, True])
def test_a_place_does_not_depend_on_its_batch(model, autocast):
    batch = with_gaps(make_batch(model))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        whole = model(batch)
        for row in range(len(batch)):
            alone = model(batch.rows(row, row + 1))
            assert torch.allclose(alone.z_MBD[:, 0], whole.z_MBD[:, row], atol=2e-2 if autocast else 1e-5)
            assert torch.allclose(alone.spots_SBD[:, 0], whole.spots_SBD[:, row], atol=2e-2 if autocast else 1e-5)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_does_not_depend_on_its_batch(model, view):
    values = getattr(make_batch(model), VIEW_FIELDS[view])
    with torch.no_grad():
        whole = model.encode(view, values)
        assert torch.allclose(model.encode(view, values[2:3]), whole[2:3], atol=1e-5)
        assert torch.allclose(model.encode(view, values.flip(0)), whole.flip(0), atol=1e-5)
        others = torch.cat([values[2:3], values[:2].flip(-1) if view != LOCATION else -values[:2]])
        assert torch.allclose(model.encode(view, others)[:1], whole[2:3], atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)


@pytest.mark.parametrize(("location", "predictor"), [("scaled", "hidden"), ("plain", "linear")])
def test_gradients_reach_every_parameter(location, predictor):
    model = Model(ModelConfig(extent=EXTENT, location=location, predictor=predictor))
    out = model(make_batch(model))
    target = torch.randn(model.dim)
    (model.scale * ((out.z_MBD @ target).sum() + (out.spots_SBD @ target).sum())).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_an_absent_view_gives_its_tower_no_gradient(model):
    batch = make_batch(model)
    batch.present_MB[3] = False
    model.zero_grad()
    model(batch).z_MBD.sum().backward()
    assert all(parameter.grad is None for parameter in model.towers["street"].parameters())
    assert all(parameter.grad is not None for parameter in model.towers["aerial"].parameters())


def test_spots_follow_their_position(model):
    batch = make_batch(model)
    batch.inside_SB[0, :3] = False
    with torch.no_grad():
        before = model(batch).spots_SBD
        batch.spots_BS2[4, 1] *= -0.5
        after = model(batch).spots_SBD
    changed = (before != after).any(-1)
    assert changed.nonzero().tolist() == [[1, 4]]
    assert before[0].any(-1).tolist() == [False] * 3 + [True] * 3


def test_sentinel2_and_elevation_follow_where_the_place_lies_in_them(model):
    batch = make_batch(model)
    with torch.no_grad():
        before = model(batch).z_MBD
        for number, view in enumerate(GROUNDS):
            z_BD = model.encode(view, getattr(batch, VIEW_FIELDS[view]), batch.focus_BR2[:, number])
            assert torch.allclose(z_BD, before[VIEWS.index(view)], atol=1e-5)
        batch.focus_BR2[4] *= -1
        after = model(batch).z_MBD
    changed = (before - after).abs().amax(-1) > 1e-4
    assert changed.nonzero().tolist() == [[VIEWS.index("sentinel2"), 4], [VIEWS.index("dem"), 4]]


def test_without_inr_nothing_is_inside():
    model = Model(ModelConfig(extent=EXTENT, inr=False))
    out = model(make_batch(model, 2))
    assert not out.inside_SB.any()
    assert not out.spots_SBD.any()
    assert out.spots_SBD.shape == (len(SPOTS), 2, model.dim)


def test_damaged_heights_do_not_reach_the_embedding(model):
    batch = make_batch(model, 3)
    batch.dem_BCHW[0] = float("nan")
    batch.dem_BCHW[1, 0, 5, 5] = float("nan")
    assert model(batch).z_MBD.isfinite().all()


def test_scale_starts_as_clips_and_is_bounded(model):
    assert float(model.scale.detach()) == pytest.approx(1 / 0.07)
    other = Model(ModelConfig(extent=EXTENT))
    torch.nn.init.constant_(other.log_scale, 9.0)
    assert float(other.scale.detach()) == pytest.approx(100.0)
    other.clamp_scale()
    assert float(other.log_scale.detach()) == pytest.approx(math.log(100.0))
    other.scale.backward()
    assert float(other.log_scale.grad) == pytest.approx(100.0)


def test_vectors_and_tables_take_no_decay(model):
    decays = {name: parameter for name, parameter in model.named_parameters() if not re.search(NO_DECAY, name)}
    assert all(parameter.ndim == 2 and name.endswith("weight") for name, parameter in decays.items())
    assert not any(".tokens.embedding" in name or "registers" in name or "norm" in name for name in decays)
    assert "towers.text.head.weight" in decays
    assert "towers.location.encoder.transformer.layers.0.self_attn.in_proj_weight" in decays


def test_configurations_survive_json():
    config = ModelConfig(preset="small", extent=EXTENT, statistics={"dem": {"mean": [3.0], "std": [2.0]}})
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_keys_are_named():
    with pytest.raises(ValueError, match="Unknown keys depth, heads in a model's configuration"):
        ModelConfig.from_dict({**ModelConfig().to_dict(), "heads": 3, "depth": 2})


@pytest.mark.parametrize(("wrong", "message"), [
    ({"preset": "huge"}, "Unknown preset 'huge': choose from tiny, small, base"),
    ({"predictor": "cubic"}, "Unknown predictor 'cubic'"),
    ({"finest_m": 0.0}, "finest_m is 0.0"),
    ({"extent": (49.0, 5.0, 51.0, 97.0)}, "is not west, south, east, north"),
    ({"statistics": {"aerial": {"mean": [1.0] * 3, "std": [1.0, 0.0, 1.0]}}}, "statistics of aerial"),
    ({"statistics": {"dem": {"mean": [math.nan], "std": [1.0]}}}, "statistics of dem"),
])  # fmt: skip
def test_impossible_configurations_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**wrong)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"text": "words"}, "Unknown text tower 'words': choose byte, wordpiece"),
    ({"street": "resnet"}, "Unknown tower 'resnet' for street"),
    ({"location": "grid"}, "Unknown location encoder 'grid'"),
])  # fmt: skip
def test_unknown_towers_are_named(wrong, message):
    with pytest.raises(TowerError, match=message):
        Model(ModelConfig(**wrong))


@pytest.mark.parametrize(("view", "values", "message"), [
    ("sound", torch.zeros(1, 2), "Unknown view 'sound'"),
    ("dem", torch.zeros(1, 128, 128), r"dem has the shape \(1, 128, 128\): expected \(N, 1, 128, 128\)"),
    ("location", torch.tensor([[49.6, 106.1]]), r"is no longitude and latitude"),
    ("location", torch.tensor([[float("nan"), 6.1]]), r"is no longitude and latitude"),
])  # fmt: skip
def test_values_that_are_no_view_are_refused(model, view, values, message):
    with pytest.raises(ValueError, match=message):
        model.encode(view, values)


def test_nothing_encodes_to_nothing(model):
    assert model.encode("location", torch.zeros(0, 2, dtype=torch.float64)).shape == (0, model.dim)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_together(preset):
    with torch.device("meta"):
        model = Model(ModelConfig(preset=preset, extent=EXTENT))
    assert model.dim == PRESETS[preset].dim
    for size_px in model.image_px.values():
        assert 256 % size_px == 0
    assert all(flops > 0 for flops in model.flops_per_sample().values())


def test_base_is_the_size_that_was_published():
    with torch.device("meta"):
        model = Model(ModelConfig(preset="base"))
    assert model.dim == 768
    assert sum(parameter.numel() for parameter in model.towers["location"].parameters()) == 85_057_536
    vit = sum(parameter.numel() for parameter in model.towers["aerial"].parameters())
    assert 85e6 < vit < 88e6  # ViT-B: 86 million


def test_flops_are_those_that_torch_counts(model):
    from torch.utils.flop_counter import FlopCounterMode

    batch = make_batch(model, 1)
    expected = model.flops_per_sample()
    for name in VIEWS:
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            model.encode(name, getattr(batch, VIEW_FIELDS[name]))
        assert expected[name] == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_same_seed_makes_the_same_model():
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(Model(ModelConfig(extent=EXTENT)).state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_points_of_a_patch_are_those_that_training_localises(model):
    batch = make_batch(model)
    with torch.no_grad():
        found = model(batch)
        z_BQD = model.localise(batch.sentinel2_BCHW, batch.spots_BS2)
    rows = batch.inside_SB[0]
    assert rows.any() and torch.allclose(z_BQD[rows, 0], found.spots_SBD[0, rows], atol=1e-5)


def test_a_model_without_a_query_says_so():
    model = Model(ModelConfig(extent=EXTENT, inr=False))
    batch = make_batch(model, 2)
    with pytest.raises(ValueError, match="--predictor"):
        model.localise(batch.sentinel2_BCHW, batch.spots_BS2)


def test_flops_of_training_are_those_of_what_is_kept():
    from torch.utils.flop_counter import FlopCounterMode

    model = Model(ModelConfig(text="wordpiece", keep=0.5, keep_words=0.6))
    batch = make_batch(model, 1)
    expected, whole = model.flops_per_sample(), model.eval().flops_per_sample()
    model.train()
    for name in ("aerial", "dem", "street", "text", "sentinel2"):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            model.encode(name, getattr(batch, VIEW_FIELDS[name]))
        assert expected[name] == pytest.approx(counter.get_total_flops(), rel=0.02), name
        assert (expected[name] < 0.75 * whole[name]) == (name != "sentinel2"), name
