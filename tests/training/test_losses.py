"""all_to_all against a plain loop over ordered pairs, and against open_clip's own numbers."""

import itertools
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.runs import SHARED
from training import tiles
from training.losses import all_to_all

M, B, D = 4, 23, 6
SCALE = 7.0


def _plain(z_MBD, present_MB, scale, *, include_self=False, weights_MM=None, negatives="pair", near_K2=None):
    """The definition, pair by pair and anchor by anchor."""
    views, places = present_MB.shape
    near = set(map(tuple, near_K2.tolist())) if near_K2 is not None else set()
    total, weight = (z_MBD * 0).sum(), 0.0
    for i, j in itertools.product(range(views), repeat=2):
        w = 1.0 if weights_MM is None else float(weights_MM[i, j])
        anchors = [b for b in range(places) if present_MB[i, b] and present_MB[j, b]]
        columns = anchors if negatives == "pair" else [c for c in range(places) if present_MB[j, c]]
        if (i == j and not include_self) or not w or len(anchors) < 2:
            continue
        weight += w
        for b in anchors:
            logits = [scale * z_MBD[i, b] @ z_MBD[j, c] for c in columns if (b, c) not in near or b == c]
            total = total + w / len(anchors) * (
                torch.logsumexp(torch.stack(logits), 0) - scale * z_MBD[i, b] @ z_MBD[j, b]
            )
    return total / weight if weight else total


def _views(seed=0, *, missing=0.35, dtype=torch.float64, views=M, places=B, width=D):
    generator = torch.Generator().manual_seed(seed)
    z_MBD = F.normalize(torch.randn(views, places, width, generator=generator, dtype=torch.float64), dim=-1)
    present_MB = torch.rand(views, places, generator=generator) >= missing
    return (z_MBD * present_MB[..., None]).to(dtype), present_MB


def _with_gradients(loss_of, z_MBD, scale):
    z_MBD, scale = z_MBD.clone().requires_grad_(), torch.as_tensor(scale, dtype=torch.float64).requires_grad_()
    loss = loss_of(z_MBD, scale)
    return [loss.detach(), *torch.autograd.grad(loss, (z_MBD, scale))]


NEAR = torch.tensor([[0, 1], [1, 0], [2, 20], [20, 2], [7, 8], [8, 7], [9, 9]])
SKEWED = torch.tensor([[9.0, 1, 0, 2], [0.5, 9, 3, 0], [0, 0, 9, 1], [4, 0, 0, 9]])
OPTIONS = [
    {},
    {"negatives": "candidate"},
    {"include_self": True},
    {"weights_MM": SKEWED},
    {"weights_MM": SKEWED, "negatives": "candidate", "include_self": True},
    {"near_K2": NEAR},
    {"near_K2": NEAR, "negatives": "candidate", "weights_MM": SKEWED.T, "include_self": True},
]


@pytest.mark.parametrize("kept", [0, 300, tiles.KEPT])  # no block, some blocks, all blocks keep their logits
@pytest.mark.parametrize("tile", [1, 5, 512])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "default")
def test_equals_the_definition_and_its_gradients(options, tile, kept, monkeypatch):
    monkeypatch.setattr(tiles, "KEPT", kept)
    z_MBD, present_MB = _views()
    ours = _with_gradients(lambda z, s: all_to_all(z, present_MB, s, tile=tile, **options), z_MBD, SCALE)
    plain = _with_gradients(lambda z, s: _plain(z, present_MB, s, **options), z_MBD, SCALE)
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "default")
def test_processes_that_share_out_the_places_add_up(options):
    z_MBD, present_MB = _views()
    whole = _with_gradients(lambda z, s: all_to_all(z, present_MB, s, tile=5, **options), z_MBD, SCALE)
    parts = [
        _with_gradients(lambda z, s, r=r: all_to_all(z, present_MB, s, tile=5, rows=r, **options), z_MBD, SCALE)
        for r in [(0, 1), (1, 14), (14, B)]
    ]
    for found, expected in zip(map(sum, zip(*parts, strict=True)), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kept", [0, 300, tiles.KEPT])
def test_going_back_twice_gives_the_same_gradients_and_none_are_made_where_none_are_asked_for(kept, monkeypatch):
    monkeypatch.setattr(tiles, "KEPT", kept)
    z_MBD, present_MB = _views(dtype=torch.float32)
    made, real = [], tiles._add_gradient
    monkeypatch.setattr(tiles, "_add_gradient", lambda *args: made.append(1) or real(*args))
    all_to_all(z_MBD, present_MB, SCALE)
    assert not made
    z_MBD.requires_grad_()
    loss = all_to_all(z_MBD, present_MB, SCALE)
    first, second = (torch.autograd.grad(loss, z_MBD, retain_graph=True)[0] for _ in range(2))
    assert made
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-8)


def test_gradients_are_those_of_finite_differences():
    z_MBD, present_MB = _views(views=3, places=5, width=3)
    z_MBD.requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    near_K2 = torch.tensor([[0, 1], [1, 0]])
    assert torch.autograd.gradcheck(
        lambda z, s: all_to_all(z, present_MB, s, tile=2, near_K2=near_K2, include_self=True), (z_MBD, scale)
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_two_views_are_clip(dtype):
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("../shared/data is not beside this checkout")
    golden = np.load(folder / "clip_loss.npz")
    entries = [e for e in json.loads((folder / "clip_loss.json").read_text())["entries"] if f"{e['key']}_a" in golden]
    assert entries
    tolerance = 1e-14 if dtype == torch.float64 else 1e-5  # inputs are rounded, and multiplied by the scale
    for entry in entries:
        key = entry["key"]
        z_MBD = torch.tensor(np.stack([golden[f"{key}_a"], golden[f"{key}_b"]])).to(dtype).requires_grad_()
        scale = torch.tensor(entry["logit_scale"], dtype=dtype, requires_grad=True)
        loss = all_to_all(z_MBD, torch.ones(z_MBD.shape[:2], dtype=torch.bool), scale, tile=4)
        loss.backward()
        expected = torch.tensor(np.stack([golden[f"{key}_grad_a"], golden[f"{key}_grad_b"]])).to(dtype)
        assert loss.item() == pytest.approx(entry["cliploss_float64"], rel=tolerance)
        assert scale.grad.item() == pytest.approx(entry["grad_logit_scale"], rel=100 * tolerance)
        torch.testing.assert_close(z_MBD.grad, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def test_of_few_places_only_pairs_with_two_count():
    z_MBD, _ = _views(missing=0)
    present_MB = torch.zeros(M, B, dtype=torch.bool)
    present_MB[0, :9] = present_MB[1, 5:] = present_MB[2, 8:10] = True  # 0 and 2 share one place
    mean = _with_gradients(lambda z, s: all_to_all(z, present_MB, s), z_MBD, SCALE)
    pairs = [((0, 1), (5, 9)), ((1, 2), (8, 10))]
    everywhere = torch.ones(2, B, dtype=torch.bool)
    alone = [all_to_all(z_MBD[list(v)][:, b:e], everywhere[:, b:e], SCALE) for v, (b, e) in pairs]
    torch.testing.assert_close(mean[0], sum(alone) / 2)
    assert not mean[1][3].any()


@pytest.mark.parametrize("present", [0, 1])
def test_where_nothing_is_usable_there_is_a_zero_with_gradients(present):
    z_MBD, _ = _views(missing=0)
    present_MB = torch.zeros(M, B, dtype=torch.bool)
    present_MB[:, :present] = True
    loss, dz_MBD, dscale = _with_gradients(lambda z, s: all_to_all(z, present_MB, s), z_MBD, SCALE)
    assert loss == 0 and dscale == 0 and not dz_MBD.any()


def test_rows_of_absent_views_are_not_read():
    z_MBD, present_MB = _views()
    dirty_MBD = torch.where(present_MB[..., None], z_MBD, torch.nan)
    clean = _with_gradients(lambda z, s: all_to_all(z, present_MB, s, negatives="candidate"), z_MBD, SCALE)
    dirty = _with_gradients(lambda z, s: all_to_all(z, present_MB, s, negatives="candidate"), dirty_MBD, SCALE)
    for found, expected in zip(dirty, clean, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_float32_keeps_its_digits_where_views_nearly_agree():
    """The softmax of a positive is 1 to several digits, and the gradient is what is left."""
    generator = torch.Generator().manual_seed(1)
    middle_BD = torch.randn(64, 64, generator=generator, dtype=torch.float64)
    z_MBD = F.normalize(middle_BD + 0.7 * torch.randn(3, 64, 64, generator=generator, dtype=torch.float64), dim=-1)
    z_MBD, present_MB = z_MBD.float(), torch.ones(3, 64, dtype=torch.bool)
    exact = _with_gradients(lambda z, s: all_to_all(z.double(), present_MB, s), z_MBD, 40.0)
    ours = _with_gradients(lambda z, s: all_to_all(z, present_MB, s, tile=20), z_MBD, 40.0)
    assert exact[0] < 1e-3
    for found, expected in zip(ours, exact, strict=True):
        torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=2e-3 * float(expected.abs().max()))


def test_finite_where_views_are_opposed_at_the_highest_scale():
    z_BD = _views(missing=0)[0][0].float()
    z_MBD = torch.stack([z_BD, -z_BD])
    results = _with_gradients(lambda z, s: all_to_all(z, torch.ones(2, B, dtype=torch.bool), s), z_MBD, 100.0)
    assert all(value.isfinite().all() for value in results)


def test_bfloat16_counts_in_float32_also_under_autocast():
    z_MBD, present_MB = _views(dtype=torch.bfloat16)
    plain = _with_gradients(lambda z, s: all_to_all(z.float(), present_MB, s), z_MBD, SCALE)
    with torch.autocast("cpu", torch.bfloat16):
        ours = _with_gradients(lambda z, s: all_to_all(z, present_MB, s), z_MBD, SCALE)
    assert ours[0].dtype == torch.float32 and ours[1].dtype == torch.bfloat16
    for found, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"present_MB": torch.ones(M, B + 1, dtype=torch.bool)}, "rows"),
        ({"weights_MM": -torch.ones(M, M)}, "weight -1"),
        ({"negatives": "hard"}, "hard"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    z_MBD, present_MB = _views()
    arguments = {"present_MB": present_MB, "scale": SCALE, **change}
    with pytest.raises(ValueError, match=message):
        all_to_all(z_MBD, **arguments)
