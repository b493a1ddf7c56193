import pytest
import torch

from tests.training.untrained import make_corpus
from training.checkpoint import load_model
from training.fit import main
from training.location.parameters import Span
from training.model import Model, ModelConfig
from training.towers import TowerError
from training.towers.locations import LOCATIONS, LocationShape, PositionEncoder, make_location_tower

EXTENT = (5.0, 49.0, 7.0, 51.0)
SMALL = LocationShape(dim=24, width=16, hidden=32, depth=1, heads=2, registers=2)
PLACES = torch.tensor([[5.2, 49.1], [6.13, 49.61], [6.1302, 49.61], [6.9, 50.8], [5.0, 51.0]], dtype=torch.float64)


def make(name, span=None):
    torch.manual_seed(0)
    return make_location_tower(name, span or Span(EXTENT), SMALL)


@pytest.mark.parametrize("name", LOCATIONS)
def test_every_encoder_learns_from_every_weight(name):
    tower = make(name)
    z_BD, features = tower(PLACES)
    assert z_BD.shape == (5, 24) and z_BD.dtype == torch.float32 and features is None
    z_BD.square().sum().backward()
    for parameter, weight in tower.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), parameter
    assert any(weight.grad.abs().sum() > 0 for weight in tower.parameters())
    assert tower.flops() > 0


@pytest.mark.parametrize("name", LOCATIONS)
def test_the_embedding_of_a_point_does_not_change_when_others_join_its_batch(name):
    tower = make(name).eval()
    with torch.no_grad():
        alone_BD, together_BD = tower(PLACES[1:2])[0], tower(PLACES)[0]
        others_BD = tower(torch.cat([PLACES[1:2], -PLACES]))[0]
    torch.testing.assert_close(alone_BD[0], together_BD[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone_BD[0], others_BD[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LOCATIONS)
def test_weights_alone_bring_back_the_values(name):
    """Whatever was drawn at random is in the weights: a tower made anew, with other draws, gives the same."""
    tower = make(name)
    with torch.no_grad():
        for buffer in tower.buffers():  # centre_2 of `plain` follows from the extent
            buffer.add_(0.01 if name != "plain" else 0.0)
    state = {key: value.clone() for key, value in tower.state_dict().items()}
    torch.manual_seed(1)
    other = make_location_tower(name, Span(EXTENT), SMALL)
    other.load_state_dict(state)
    assert torch.equal(tower(PLACES)[0], other(PLACES)[0])


@pytest.mark.parametrize("name", LOCATIONS)
def test_towers_are_the_same_whatever_the_seed_has_drawn_before(name):
    """Frozen frequencies and anchors are no draws of the run."""
    torch.manual_seed(7)
    one, other = make(name), make_location_tower(name, Span(EXTENT), SMALL)
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("name", [n for n in LOCATIONS if n not in ("wrap", "wrap_ffn", "xyz", "plain", "tile")])
def test_autocast_reaches_no_feature(name):
    tower = make(name)
    features = tower.encoder.position if isinstance(tower.encoder, PositionEncoder) else tower.encoder.features
    with torch.autocast("cpu", torch.bfloat16):
        cast = features(PLACES)
    assert torch.equal(cast, features(PLACES))


@pytest.mark.parametrize(
    "span",
    [
        Span(),
        Span((6.0, 49.0, 6.0, 49.0)),
        Span((170.0, -20.0, -170.0, -10.0)),
        Span((-180.0, -90.0, 180.0, 90.0), 5e6),
    ],
    ids=["earth", "point", "antimeridian", "coarse"],
)
def test_any_extent_has_its_towers(span):
    places = torch.tensor([[180.0, 90.0], [-180.0, -90.0], [0.0, 0.0]], dtype=torch.float64)
    for name in LOCATIONS:
        assert make(name, span)(places)[0].isfinite().all(), name


@pytest.mark.parametrize(
    "name", ["rff", "space2vec_grid", "space2vec_theory", "nerf", "sphereC", "sphereDFS", "geoclip"]
)
def test_two_hundred_metres_are_told_apart(name):
    position = make(name).encoder.position
    a, b = position(PLACES[1:2])[0], position(PLACES[1:2] + torch.tensor([[0.0, 200 / 111_195]]).double())[0]
    near = position(PLACES[1:2] + torch.tensor([[0.0, 1 / 111_195]]).double())[0]
    assert (a - b).norm() > 10 * (a - near).norm() > 0


def test_unknown_encoders_are_named():
    with pytest.raises(TowerError, match=r"Unknown location encoder 'grid': choose from scaled, .*sphereC,"):
        make("grid")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "small", places=16, held_out=4)


@pytest.mark.parametrize("name", ["rbf", "tile"])
def test_a_fit_takes_the_encoder_and_its_checkpoint_opens(corpus, tmp_path, name):
    options = ["--location", name, "--steps", "2", "--batch", "8", "--device", "cpu", "--precision", "bf16"]
    assert main([str(corpus), "--output", str(tmp_path / "run"), "--eval_every", "99", *options]) == 0
    model = load_model(tmp_path / "run")
    assert model.config.location == name
    fresh = Model(ModelConfig.from_dict(model.config.to_dict()))
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.eval().encode("location", PLACES), model.encode("location", PLACES))
