import math

import pytest
import torch

from training.location import encode_position
from training.location import parameters as choose
from training.location.parameters import Span

EARTH, COUNTRY = Span(), Span((5.7, 49.4, 6.5, 50.2))
SPANS = [EARTH, COUNTRY, Span((6.0, 49.0, 6.0, 49.0)), Span((170.0, -20.0, -170.0, -10.0), 1000.0)]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("choice", [choose.choose_degrees, choose.choose_radians])
def test_waves_reach_from_the_side_to_the_finest_distance(span, choice):
    found = choice(span)
    unit_m = 2 * math.pi * 6_371_009 / (360 if choice is choose.choose_degrees else 2 * math.pi)
    assert found["min_radius"] * unit_m == pytest.approx(span.finest_m, rel=1e-3)
    assert found["max_radius"] >= found["min_radius"]


def test_the_whole_earth_has_the_published_waves():
    assert choose.choose_degrees(EARTH)["max_radius"] == 360
    assert choose.choose_radians(EARTH)["max_radius"] == 1
    assert choose.choose_doublings(EARTH) == {"frequency_num": 16}


@pytest.mark.parametrize("span", SPANS)
def test_tiles_are_many_but_not_finer_than_asked_for(span):
    found = choose.choose_tiles(span)
    west, east, south, north = found["extent"]
    assert found["interval"] >= span.finest_deg
    assert (east - west) * (north - south) / found["interval"] ** 2 <= choose.TILES * (1 + 1e-9)


def test_anchors_lie_evenly_over_the_area():
    anchors_M2 = choose.spread_anchors(EARTH.box, 4000)
    sines = anchors_M2[:, 1].deg2rad().sin()
    for part in (anchors_M2[:, 0] / 180, sines):
        counts = torch.histc(part, 20, -1, 1)
        assert counts.min() > 190 and counts.max() < 210
    country = choose.choose_anchors(COUNTRY)["anchors_lonlat_deg"]
    assert country.amin(0).tolist() > [5.7, 49.4] and (country.amax(0) <= torch.tensor([6.5, 50.2])).all()


@pytest.mark.parametrize("span", SPANS[:2])
def test_random_waves_are_half_alike_between_the_finest_distance_and_the_side(span):
    away_deg = math.sqrt(span.finest_deg * span.side_deg / 2)
    west, _, south, _ = span.box
    scale = (span.box[3] - south) / span.side_deg  # the plane is stretched to a square
    lonlat = torch.tensor([[west, south], [west, south + away_deg * scale]], dtype=torch.float64)
    parameters = choose.choose_waves(span)
    a, b = encode_position("rff", lonlat, **parameters)
    assert float(a @ b) == pytest.approx(0.5, abs=0.12)
