"""Every vector of the golden files, through the public function, with the parameters that stand beside it."""

import json

import numpy as np
import pytest
import torch

from tests.runs import SHARED
from tests.training.location.plain import PLAIN
from training.location import POSITIONS, encode_position
from training.location.parameters import Span
from training.towers.locations import LOCATIONS, LocationShape, PositionEncoder, make_location_tower

GOLDEN = SHARED / "golden"
FILES = ("torchspatial_encodings", "satclip_encodings", "geoclip")
NO_OUTPUTS = {"lonlat_deg", "rff_dirvec", "rff_shift", "rbf_anchors_lonlat_deg"} | {
    f"rff_B_sigma{sigma}" for sigma in (1, 16, 256)
}
NEAR_POLES = 2e-8
"""SatCLIP's harmonics within 1e-6 degrees of a pole: its own polynomials (JSON: 1.5e-8 from the stable recurrence)."""
EXCEPTIONS = {"nerf__F32": 1e-5, "sh_analytic_L10": NEAR_POLES, "sh_closedform_L10": NEAR_POLES}
"""NeRF's last of 32 frequencies turns an ulp into 3e-6. Everything else: 1e-9."""


def list_keys():
    for file in FILES:
        if (GOLDEN / f"{file}.npz").is_file():
            with np.load(GOLDEN / f"{file}.npz") as stored:
                yield from ((file, key) for key in stored if key not in NO_OUTPUTS)


def read(file, key):
    """Points, what is expected there, and the parameters."""
    entry = json.loads((GOLDEN / f"{file}.json").read_text())["entries"].get(key, {})
    params = dict(entry.get("params", {})) | ({"L": entry["L"]} if "L" in entry else {})
    with np.load(GOLDEN / f"{file}.npz") as stored:
        name = key.split("__")[0]
        arrays = {other for other in stored if other in NO_OUTPUTS and other.startswith(f"{name}_")}
        params |= {other: torch.tensor(stored[other]) for other in arrays}
        if name.startswith("rff_sigma"):  # the even of its 64 points and 256 waves are kept
            return name, stored["lonlat_deg"][:32], stored[key][::2, ::2], {"B": stored[f"rff_B_{name[4:]}"]}
        return name, stored["lonlat_deg"], stored[key], params


@pytest.mark.parametrize(("file", "key"), list(list_keys()))
def test_golden_vectors_are_reproduced(file, key):
    name, lonlat_N2, expected, params = read(file, key)
    ours = encode_position(name, torch.tensor(lonlat_N2), **params)
    assert ours.dtype == torch.float64
    np.testing.assert_allclose(ours.numpy(), expected, atol=EXCEPTIONS.get(key, 1e-9), rtol=0)


@pytest.mark.parametrize("key", ["sh_analytic_L10", "sh_closedform_L10"])
def test_published_harmonics_are_off_only_at_the_poles(key):
    name, lonlat_N2, expected, params = read("satclip_encodings", key) if GOLDEN.is_dir() else pytest.skip("no golden")
    is_clear = np.abs(np.abs(lonlat_N2[:, 1]) - 90) > 1e-5
    assert is_clear.mean() > 0.7
    ours = encode_position(name, torch.tensor(lonlat_N2), **params).numpy()
    np.testing.assert_allclose(ours[is_clear], expected[is_clear], atol=1e-9, rtol=0)


def test_golden_tokens_of_unigeoclip():
    if not GOLDEN.is_dir():
        pytest.skip("../shared/data/golden is not beside this checkout")
    with np.load(GOLDEN / "unigeoclip_locenc.npz") as stored:
        lonlat_N2, expected_NKD = torch.tensor(stored["lonlat_deg"]), stored["rff_tokens"]
        matrices = [stored[f"sd__loc_enc.{k}.mat"] for k in range(4)]
    tokens_NKD = encode_position("rff_tokens", lonlat_N2, matrices=matrices)
    np.testing.assert_allclose(tokens_NKD, expected_NKD, atol=1e-9, rtol=0)
    assert torch.equal(encode_position("unigeoclip", lonlat_N2, matrices=matrices), tokens_NKD.flatten(1))


@pytest.fixture(scope="module")
def encoders():
    """A tower of each pair of a position encoding and a network, with its parameters for the whole Earth at 100 m."""
    torch.manual_seed(0)
    towers = {name: make_location_tower(name, Span(), LocationShape(16, 16, 16, 1, 2)) for name in LOCATIONS}
    return {name: tower.encoder for name, tower in towers.items() if isinstance(tower.encoder, PositionEncoder)}


def draw_points(count):
    generator = np.random.default_rng(0)
    return np.stack([generator.uniform(-180, 180, count), np.degrees(np.arcsin(generator.uniform(-1, 1, count)))], 1)


def parameters_of(position):
    return {**position.numbers, **dict(position.named_buffers())}


@pytest.mark.parametrize("name", [name for name in LOCATIONS if name not in ("scaled", "unigeoclip", "plain")])
def test_formulas_are_the_plain_ones_and_float32_is_as_good(encoders, name):
    """Float32 positions give what the same positions give in float64, rounded; a plain float32 formula does not."""
    position, lonlat_N2 = encoders[name].position, draw_points(64).astype(np.float32)
    params = parameters_of(position)
    plain_NF = PLAIN[position.name](lonlat_N2.astype(np.float64), **params)
    exact_NF = encode_position(position.name, torch.tensor(lonlat_N2).double(), **params)
    np.testing.assert_allclose(exact_NF, plain_NF, atol=2e-9, rtol=0)
    rounded_NF = encode_position(position.name, torch.tensor(lonlat_N2), **params)
    assert rounded_NF.dtype == torch.float32
    assert torch.equal(rounded_NF, exact_NF.float())
    if name in ("space2vec_grid", "sphereC", "nerf", "geoclip"):
        naive_NF = PLAIN[position.name](lonlat_N2, **params)
        assert np.abs(naive_NF - plain_NF).max() > 1e-3


def test_autocast_does_not_reach_an_encoding(encoders):
    lonlat_N2 = torch.tensor(draw_points(8))
    for name in ("rff", "space2vec_theory", "geoclip"):
        params = parameters_of(encoders[name].position)
        with torch.autocast("cpu", torch.bfloat16):
            cast_NF = encode_position(encoders[name].position.name, lonlat_N2, **params)
        assert torch.equal(cast_NF, encode_position(encoders[name].position.name, lonlat_N2, **params))


def test_float64_stays_and_float32_returns():
    for dtype in (torch.float64, torch.float32):
        assert encode_position("equal_earth", torch.zeros(2, 2, dtype=dtype)).dtype == dtype


def test_unknown_encodings_are_named():
    with pytest.raises(ValueError, match=r"Unknown position encoding 'gridd': choose from .*geoclip"):
        encode_position("gridd", torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("lonlat", "message"),
    [
        (torch.zeros(2), r"shape \(2,\)"),
        (torch.zeros(2, 3), r"shape \(2, 3\)"),
        (torch.tensor([[49.6, 106.1]]), "beyond 90 degrees"),
        (torch.tensor([[float("nan"), 6.1]]), "not a number"),
    ],
)
def test_what_is_no_position_is_refused(lonlat, message):
    with pytest.raises(ValueError, match=message):
        encode_position("xyz", lonlat)


@pytest.mark.parametrize("name", POSITIONS)
def test_gradients_reach_the_position(name):
    if name == "tile_index":
        pytest.skip("a tile has none")
    lonlat_N2 = torch.tensor(draw_points(3), requires_grad=True)
    arrays = {
        "rff": {"dirvec": torch.ones(2, 3), "shift": torch.zeros(3)},
        "rbf": {"anchors_lonlat_deg": torch.zeros(3, 2), "rbf_kernel_size": 90.0},
        **{key: {"matrices": [torch.ones(3, 2)]} for key in ("geoclip", "gair", "unigeoclip", "rff_tokens")},
        **{f"rff_sigma{sigma}": {"B": torch.ones(3, 2)} for sigma in (1, 16, 256)},
    }
    encode_position(name, lonlat_N2, **arrays.get(name, {})).sum().backward()
    assert lonlat_N2.grad.isfinite().all() and lonlat_N2.grad.abs().sum() > 0


def test_parameters_go_by_all_their_published_names():
    lonlat_N2, dirvec, shift = torch.tensor(draw_points(3)), torch.randn(2, 5), torch.zeros(5)
    expected = encode_position("rff", lonlat_N2, dirvec=dirvec, shift=shift)
    assert torch.equal(encode_position("rff", lonlat_N2, rff_dirvec=dirvec.numpy(), rff_shift=shift.numpy()), expected)
    assert torch.equal(encode_position("rff", lonlat_N2.numpy(), W=dirvec, b=shift), expected)
