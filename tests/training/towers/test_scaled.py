import numpy as np
import pytest
import torch

from tests.runs import SHARED
from training.location import METRES_PER_UNIT, choose_sigmas
from training.towers.locations import LocationTower
from training.towers.scaled import PlainEncoder, ScaledEncoder

EXTENT = (5.0, 49.0, 7.0, 51.0)
HUNDRED_METRES = torch.tensor([[6.13, 49.61], [6.13, 49.61 + 100 / 111_195]], dtype=torch.float64)


@pytest.fixture(scope="module")
def golden():
    path = SHARED / "golden" / "unigeoclip_locenc.npz"
    if not path.is_file():
        pytest.skip("../shared/data/golden is not beside this checkout")
    with np.load(path) as stored:
        return {name: torch.tensor(stored[name]) for name in stored}


def make_published(golden):
    encoder = ScaledEncoder([1, 16, 256, 4096], 24, 2, 3, hidden=48, registers=2).double()
    encoder.load_state_dict({name[4:]: value for name, value in golden.items() if name.startswith("sd__")})
    return encoder


def test_published_weights_load_and_give_the_published_values(golden):
    encoder = make_published(golden)
    assert torch.allclose(encoder.features(golden["lonlat_deg"]), golden["rff_tokens"], atol=1e-9, rtol=0)
    assert torch.allclose(encoder(golden["lonlat_deg"]), golden["out"], atol=1e-9, rtol=0)


def test_float32_gives_the_published_values_too(golden):
    encoder = make_published(golden).float()
    assert torch.allclose(encoder(golden["lonlat_deg"]).double(), golden["out"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("scales", [4, 6])
def test_default_size_is_the_published_one_whatever_the_scales(scales):
    with torch.device("meta"):
        encoder = ScaledEncoder([16.0**k for k in range(scales)])
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 85_057_536


def test_frequencies_are_frozen_seeded_and_saved():
    encoder, other = ScaledEncoder([1.0, 16.0], 16, 1, 2), ScaledEncoder([1.0, 16.0], 16, 1, 2)
    assert not any("loc_enc" in name for name, _ in encoder.named_parameters())
    assert torch.equal(encoder.state_dict()["loc_enc.1.mat"], other.state_dict()["loc_enc.1.mat"])
    assert encoder.state_dict()["loc_enc.1.mat"].shape == (8, 2)


def test_autocast_does_not_reach_the_features():
    encoder = ScaledEncoder(choose_sigmas(EXTENT, 100.0), 64, 1, 2)
    plain = encoder.features(HUNDRED_METRES)
    with torch.autocast("cpu", torch.bfloat16):
        cast = encoder.features(HUNDRED_METRES)
    assert cast.dtype == torch.float32
    assert torch.equal(plain, cast)


def test_a_hundred_metres_are_told_apart_under_autocast():
    encoder = ScaledEncoder(choose_sigmas(EXTENT, 100.0), 64, 2, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens_NKD = encoder.features(HUNDRED_METRES)
        out_ND = encoder(HUNDRED_METRES).float()
    cosine_K = torch.nn.functional.cosine_similarity(tokens_NKD[0], tokens_NKD[1], dim=-1)
    assert float(cosine_K[-1]) < 0.75
    assert float((out_ND[0] - out_ND[1]).norm() / out_ND[0].norm()) > 0.05


def test_the_plain_encoder_keeps_metres_under_autocast():
    encoder = PlainEncoder(EXTENT, 64)
    with torch.autocast("cpu", torch.bfloat16):
        out_ND = encoder(HUNDRED_METRES)
    assert not torch.equal(out_ND[0], out_ND[1])
    scale = encoder.half_size * METRES_PER_UNIT
    assert 70_000 < scale < 200_000


def test_a_head_stands_only_where_widths_differ():
    encoder = ScaledEncoder([1.0], 16, 1, 2)
    names = {name for name, _ in LocationTower(encoder, 16, 16).named_parameters()}
    assert not any(name.startswith("head") for name in names)
    assert LocationTower(encoder, 16, 8)(HUNDRED_METRES)[0].shape == (2, 8)
