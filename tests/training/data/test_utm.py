import numpy as np
import pytest
from pyproj import Transformer

from training.data.utm import is_known, project


@pytest.mark.parametrize("epsg", [32601, 32631, 32660, 32701, 32733, 32760, 32661, 32761])
def test_positions_are_those_of_proj_to_a_thousandth_of_a_millimetre(epsg):
    rng = np.random.default_rng(epsg)
    south = epsg // 100 == 327
    if epsg % 100 == 61:
        lonlat_N2 = np.stack(
            [rng.uniform(-180, 180, 500), rng.uniform(80, 89.999, 500) * (-1 if south else 1)], axis=-1
        )
    else:  # zones are as wide as 12 degrees around Svalbard
        lon = 6 * (epsg % 100) - 183 + rng.uniform(-6, 6, 500)
        lonlat_N2 = np.stack([lon, rng.uniform(0, 84, 500) * (-1 if south else 1)], axis=-1)
    x, y = Transformer.from_crs("EPSG:4326", f"EPSG:{epsg}", always_xy=True).transform(*lonlat_N2.T)
    xy_N2 = project(lonlat_N2, np.full(500, epsg, np.int32))
    assert np.abs(xy_N2 - np.stack([x, y], axis=-1)).max() < 1e-6


def test_the_pole_is_the_middle_of_its_sheet():
    assert np.allclose(project(np.array([[13.0, 90.0]]), np.array([32661], np.int32)), 2_000_000)


def test_each_point_has_its_own_system_and_unknown_ones_no_position():
    lonlat_N2 = np.array([[6.1, 49.6], [6.1, 49.6], [6.1, 49.6]])
    xy_N2 = project(lonlat_N2, np.array([32631, 3035, 32632], np.int32))
    assert np.isnan(xy_N2[1]).all() and not is_known(3035)
    assert xy_N2[0, 0] > 700_000 and xy_N2[2, 0] < 300_000
