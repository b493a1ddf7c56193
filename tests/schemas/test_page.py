"""What both pages share: outlines of countries in the form that a page reads."""

import base64

import geopandas
import numpy as np
import shapely

from schemas.countries import TABLE, read_outlines
from schemas.page.pack import pack_outlines

KINDS = {"u2": "<u2", "u4": "<u4"}


def unpack(column):
    return np.frombuffer(base64.b64decode(column[1]), KINDS[column[0]])


def test_outlines_are_those_that_a_geometry_library_reads():
    shapes = geopandas.read_parquet(TABLE)
    found = read_outlines()
    assert [country.name for country in found] == shapes.short_name.tolist()
    for country, shape in zip(found, shapes.geometry, strict=True):
        parts = shapely.get_parts(shape)
        assert len(country.polygons) == len(parts)
        for rings, part in zip(country.polygons, parts, strict=True):
            expected = shapely.get_rings(part)
            assert len(rings) == len(expected)
            assert all((a == shapely.get_coordinates(b)).all() for a, b in zip(rings, expected, strict=True))
        largest = max(parts, key=lambda part: shapely.area(shapely.Polygon(part.exterior)))
        assert shapely.contains_xy(largest, *country.label_lonlat), country.name


def test_outlines_are_rings_that_share_the_points_of_their_borders():
    packed = pack_outlines()
    points, lengths = unpack(packed["points"]).reshape(-1, 2), unpack(packed["lengths"])
    assert lengths.sum() == len(points) and lengths.min() >= 2
    rings = np.split(points, np.cumsum(lengths)[:-1])
    assert all((ring[0] == ring[-1]).all() for ring in rings)
    label = {name: (lon, lat) for name, lon, lat, _ in packed["labels"]}
    assert -5 < label["France"][0] < 9 and 42 < label["France"][1] < 51
    paris = (np.array([2.35 + 180, 48.85 + 90]) / (360, 180) * 65535).round()
    assert (np.abs(points - paris).max(axis=1) < 2000).any()
