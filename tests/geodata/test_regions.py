import itertools
import pickle

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import Geod

from geodata.regions import RegionError, _countries, find_country, find_region


def inside(name, lon, lat, *, land=True):
    region = find_region(name)
    contains = region.contains_land if land else region.contains
    return bool(contains(np.array([lon]), np.array([lat]))[0])


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("FJ", [(178.0, -17.8), (-179.9, -16.8)]), ("Russia", [(37.6, 55.75), (-172.0, 66.5)]),
        ("new zealand", [(174.8, -41.2), (-176.5, -43.95)]), ("US", [(-100.0, 40.0), (-155.5, 19.6), (173.1, 52.9)]),
        ("Antarctica", [(0.0, -90.0), (179.99, -85.0), (-179.99, -85.0)]), ("FR", [(2.35, 48.85), (-53.0, 4.0)]),
        ("world", [(6.1, 49.6), (-179.9, -16.8)]), ("europe", [(2.35, 48.85), (37.6, 55.75), (-18.0, 65.0)]),
        ("asia", [(100.0, 62.0), (139.7, 35.7)]), ("North America", [(-100.0, 40.0)]), ("oceania", [(134.0, -25.0)]),
    ],
)  # fmt: skip
def test_known_places_are_inside(name, points):
    assert all(inside(name, *point) for point in points)


@pytest.mark.parametrize(("name", "point"), [("europe", (-53.0, 4.0)), ("europe", (100.0, 62.0)), ("FJ", (0.0, -17.0)), ("FR", (13.4, 52.5)), ("world", (-30.0, 45.0))])  # fmt: skip
def test_other_places_are_outside(name, point):
    assert not inside(name, *point)


@pytest.mark.parametrize(("name", "width"), [("FJ", 8), ("RU", 180), ("NZ", 25), ("LU", 1), ("170,-25,-170,-10", 20)])
def test_boxes_are_tight_at_the_antimeridian(name, width):
    boxes = find_region(name).boxes
    assert sum(east - west for west, _, east, _ in boxes) < width
    assert len(boxes) == (1 if name == "LU" else 2)


@pytest.mark.parametrize("name", ["FJ", "RU", "NZ", "AQ", "europe", "world", "170,-25,-170,-10"])
def test_boxes_hold_all_land(name):
    region = find_region(name)
    held = shapely.union_all([shapely.box(*box) for box in region.boxes])
    assert region.land.difference(held.buffer(1e-9)).area < 1e-6


def test_antarctica_reaches_the_pole():
    assert min(south for _, south, _, _ in find_region("AQ").boxes) == -90


@pytest.mark.parametrize(("code", "area_km2"), [("FJ", 18_270), ("RU", 16_980_000), ("NZ", 267_700), ("LU", 2_586), ("FR", 638_000), ("BR", 8_516_000), ("GL", 2_166_000)])  # fmt: skip
def test_areas_are_near_the_published_ones(code, area_km2):
    area_m2 = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.orient_polygons(find_region(code).land))[0])
    assert area_m2 / 1e6 == pytest.approx(area_km2, rel=0.02)


def test_every_country_is_found_by_code_and_name():
    for _, row in _countries().iterrows():
        for word in (row["name"], row["short_name"], row["iso_a2"], row["iso_a3"]):
            if isinstance(word, str):
                assert not find_region(word).land.is_empty
                assert not find_region(word.upper()).land.is_empty


@pytest.mark.parametrize(("one", "other"), [("usa", "US"), ("UK", "GB"), ("Czech Republic", "czechia"), ("Côte d'Ivoire", "ivory coast"), ("north_america", "North America"), ("the netherlands", "NL")])  # fmt: skip
def test_aliases_name_the_same(one, other):
    assert find_region(one).land.equals(find_region(other).land)


def test_a_box_across_the_antimeridian_holds_both_sides():
    assert inside("170,-25,-170,-10", 178.0, -17.8)
    assert inside("170,-25,-170,-10", -179.9, -16.8)
    assert not inside("170,-25,-170,-10", 0.0, -17.0, land=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frnce", "Unknown region 'frnce'.*france"), ("5,6", "four numbers"), ("5,91,6,92", "leaves the Earth"),
        ("50,100,51,110", "they look swapped"), ("5,50,6,50", "south must be less"), ("5,50,5,51", "is empty"),
        ("-40,40,-35,45", "holds no land"), ("nowhere.geojson", "no such file"), ("200,0,210,10", "leaves the Earth"),
    ],
)  # fmt: skip
def test_bad_regions_get_a_sentence(text, words):
    with pytest.raises(RegionError, match=words):
        find_region(text)


def test_bad_files_get_a_sentence(tmp_path):
    def write(name, shapes, crs=4326):
        geopandas.GeoDataFrame(geometry=shapes, crs=crs).to_file(tmp_path / name)
        return str(tmp_path / name)

    (tmp_path / "broken.geojson").write_text("{")
    cases = {
        str(tmp_path / "broken.geojson"): "cannot be read",
        write("points.geojson", [shapely.Point(5, 50)]): "no polygon",
        write("swapped.geojson", [shapely.box(49, 170, 50, 171)]): "swapped",
        write("sea.gpkg", [shapely.box(-40, 40, -35, 45)]): "holds no land",
        write("far.geojson", [shapely.box(600, 10, 610, 20)]): "longitudes from 600",
        write("metres.geojson", [shapely.box(4e6, 3e6, 5e6, 4e6)]): "names its CRS",
        write("pole.gpkg", [shapely.box(-2e6, -2e6, 2e6, 2e6)], 3031): "encloses a pole",
    }
    for path, words in cases.items():
        with pytest.raises(RegionError, match=words):
            find_region(path)


def test_formats_and_reference_systems_give_the_same_region(tmp_path):
    table = geopandas.GeoDataFrame(
        geometry=[shapely.box(6, 49.5, 6.4, 50), shapely.box(6.5, 49.5, 6.6, 49.8)], crs=4326
    )
    table.to_file(tmp_path / "a.geojson")
    table.to_file(tmp_path / "b.gpkg")
    table.to_parquet(tmp_path / "c.parquet")
    table.to_crs(3035).to_parquet(tmp_path / "d.parquet")
    lands = [find_region(str(path)).land for path in sorted(tmp_path.iterdir())]
    for one, other in itertools.combinations(lands, 2):
        assert one.symmetric_difference(other).area < 0.02 * one.area


def test_a_file_beyond_180_degrees_is_wrapped(tmp_path):
    geopandas.GeoDataFrame(geometry=[shapely.box(170, -25, 190, -10)], crs=4326).to_file(tmp_path / "a.geojson")
    wrapped = find_region(str(tmp_path / "a.geojson")).land
    assert wrapped.symmetric_difference(find_region("170,-25,-170,-10").land).area < 1e-9


def test_a_projected_file_across_the_antimeridian_stays_whole(tmp_path):
    ring = shapely.box(170, -25, 190, -10).difference(shapely.box(176, -19, 179, -16))
    expected = geopandas.GeoDataFrame(geometry=[ring], crs=4326)
    expected.to_file(tmp_path / "degrees.gpkg")
    expected.to_crs(3832).to_file(tmp_path / "metres.gpkg")  # PDC Mercator: meridians and parallels are straight
    degrees, metres = (find_region(str(tmp_path / name)).geometry for name in ("degrees.gpkg", "metres.gpkg"))
    assert metres.symmetric_difference(degrees).area < 1e-6


def test_a_projected_file_of_the_whole_width_is_not_turned_inside_out(tmp_path):
    wide = geopandas.GeoDataFrame(geometry=[shapely.box(-180, -60, 180, 70)], crs=4326)
    wide.to_crs(3857).to_file(tmp_path / "wide.gpkg")
    assert find_region(str(tmp_path / "wide.gpkg")).geometry.area == pytest.approx(360 * 130, rel=1e-6)


def test_a_polygon_that_crosses_itself_is_repaired(tmp_path):
    bow = shapely.Polygon([(5, 50), (7, 51), (7, 50), (5, 51)])
    table = geopandas.GeoDataFrame(geometry=[bow, shapely.box(5.5, 50, 6, 52)], crs=4326)
    table.to_file(tmp_path / "bow.geojson")
    expected = shapely.union_all([shapely.make_valid(bow), shapely.box(5.5, 50, 6, 52)])
    assert find_region(str(tmp_path / "bow.geojson")).geometry.symmetric_difference(expected).area < 1e-9


def test_a_region_survives_pickling():
    fiji = find_region("FJ")
    fiji.contains_land(np.array([178.0]), np.array([-17.8]))  # prepares the geometry
    copy = pickle.loads(pickle.dumps(fiji))  # noqa: S301 - its own bytes
    assert copy.boxes == fiji.boxes
    assert copy.land.equals(fiji.land)


def test_countries_of_points():
    places = {"LU": (6.13, 49.61), "BR": (-48.0, -15.8), "NZ": (174.8, -41.2), "AQ": (0.0, -90.0), None: (-30.0, 45.0)}
    lonlat = np.array(list(places.values()))
    assert find_country(lonlat[:, 0], lonlat[:, 1]) == list(places)
