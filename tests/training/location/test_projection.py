import numpy as np
import pytest
import torch

from tests.runs import SHARED
from training.location import PUBLISHED_ROOT_3, centre_and_half_size, project_equal_earth


@pytest.fixture(scope="module")
def geoclip():
    path = SHARED / "golden" / "geoclip.npz"
    if not path.is_file():
        pytest.skip("../shared/data/golden is not beside this checkout")
    with np.load(path) as stored:
        return {name: torch.tensor(stored[name]) for name in stored}


def test_projection_is_that_of_proj(geoclip):
    ours = project_equal_earth(geoclip["lonlat_deg"])
    assert torch.allclose(ours, geoclip["pyproj_eqearth_R1"] * 66.50336 / 180, atol=1e-15, rtol=0)


def test_published_constant_gives_the_published_projection(geoclip):
    ours = project_equal_earth(geoclip["lonlat_deg"], root_3=PUBLISHED_ROOT_3)
    assert torch.allclose(ours, geoclip["equal_earth_scaled"], atol=1e-15, rtol=0)


def test_antimeridian_and_poles_are_edges_of_the_map():
    xy = project_equal_earth(torch.tensor([[180.0, 0.0], [-180.0, 0.0], [0.0, 90.0], [0.0, -90.0], [0.0, 0.0]]))
    assert xy[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert xy[1].tolist() == pytest.approx([-1.0, 0.0], abs=1e-6)
    assert xy[2].tolist() == pytest.approx([0.0, 0.487], abs=1e-3)
    assert torch.equal(xy[3], -xy[2])
    assert not xy[4].any()


def test_extents_hold_their_corners():
    extent = (-75.0, -35.0, -34.0, 6.0)
    centre_2, half_size = centre_and_half_size(extent)
    corners = torch.tensor([(lon, lat) for lon in (-75.0, -34.0) for lat in (-35.0, 0.0, 6.0)], dtype=torch.float64)
    relative = (project_equal_earth(corners) - centre_2) / half_size
    assert float(relative.abs().max()) <= 1 + 1e-12
