import math

import pytest
import torch

from training.location import encode_position
from training.location.planar import find_tile, list_frequencies

EDGES = torch.tensor([[180.0, 10.0], [-180.0, 10.0]], dtype=torch.float64)


def test_frequencies_run_from_the_smallest_radius_to_the_largest():
    found = list_frequencies(16, 360, 0.1)
    assert (found[0], found[-1]) == (pytest.approx(10), pytest.approx(1 / 360))
    assert found[1] / found[0] == pytest.approx(found[9] / found[8])
    assert list_frequencies(1, 360, 0.1) == [10.0]
    assert list_frequencies(3, 1, 1, "nerf") == pytest.approx([math.pi, 2 * math.pi, 4 * math.pi])


@pytest.mark.parametrize("arguments", [(0, 1, 1), (4, 1, 0), (4, -1, 1), (4, 1, 1, "random")])
def test_impossible_frequencies_are_refused(arguments):
    with pytest.raises(ValueError, match="freq"):
        list_frequencies(*arguments)


def test_wrap_closes_at_the_antimeridian_and_takes_the_poles_for_one():
    for name in ("wrap", "wrap_ffn", "satclip_wrap"):
        a, b = encode_position(name, EDGES)
        assert torch.allclose(a, b, atol=1e-12)
    north, south = encode_position("wrap", torch.tensor([[7.0, 90.0], [7.0, -90.0]], dtype=torch.float64))
    assert torch.allclose(north, south, atol=1e-12)


def test_the_plane_has_an_edge_at_the_antimeridian():
    a, b = encode_position("space2vec_grid", EDGES, max_radius=360, min_radius=0.1)
    assert not torch.allclose(a, b, atol=0.1)


def test_wrap_knows_one_form():
    with pytest.raises(ValueError, match="do_global_pos_enc"):
        encode_position("wrap", EDGES, do_global_pos_enc=False)
    with pytest.raises(ValueError, match="Unknown loc_encode 'sin'"):
        encode_position("wrap", EDGES, loc_encode="sin")


def test_tiles_lie_row_by_row_from_the_south_west():
    extent = (5.0, 7.0, 49.0, 50.0)
    lonlat = torch.tensor([[5.1, 49.1], [6.9, 49.1], [5.1, 49.9], [7.0, 50.0], [0.0, 0.0]], dtype=torch.float64)
    assert find_tile(lonlat, interval=0.5, extent=extent).tolist() == [0, 3, 4, 7, 0]


def test_an_anchor_is_like_itself_and_half_like_what_lies_at_its_half_width():
    anchor = torch.tensor([[6.0, 49.0]], dtype=torch.float64)
    lonlat = anchor + torch.tensor([[0.0, 0.0], [0.0, 2 * math.sqrt(2 * math.log(2))]])
    out_NM = encode_position("rbf", lonlat, anchors_lonlat_deg=anchor, rbf_kernel_size=2.0)
    assert out_NM.flatten().tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("rbf", {"anchors_lonlat_deg": torch.zeros(3, 2), "num_rbf_anchor_pts": 4}),
        ("rff", {"dirvec": torch.zeros(2, 3), "shift": torch.zeros(3), "frequency_num": 4}),
    ],
)
def test_counts_that_do_not_fit_their_arrays_are_refused(name, params):
    with pytest.raises(ValueError, match="4"):
        encode_position(name, EDGES, **params)
