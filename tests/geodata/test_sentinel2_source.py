import json
from dataclasses import asdict

import numpy as np
import pytest
import rasterio
import shapely

from geodata import cells
from geodata.grid import make_grid, transformer
from geodata.services.session import HttpSettings, Session
from geodata.services.signing import Signer
from geodata.sources.elevation import ElevationSource, square_of, squares_of
from geodata.sources.files import Limits
from geodata.sources.rasters import Rasters
from geodata.sources.sentinel2 import SceneChoice, Sentinel2Source
from geodata.sources.source import Finding, ReadError
from schemas.drop import Reason
from schemas.modality import SENTINEL2_BANDS
from schemas.reference import Place
from tests.runs import SHARED
from tests.services.blobs import BlobDouble, SasDouble
from tests.services.server import Fault
from tests.services.world import CENTRE, TAKES, World, dn, height_m

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not beside this checkout")
WEST, EAST = (CENTRE[0] - 0.012, CENTRE[1]), (CENTRE[0] + 0.012, CENTRE[1])


class Listed:
    """Search results without a server."""

    def __init__(self, items):
        self.items, self.asked = items, []

    def find(self, collections, box, **more):
        self.asked.append((tuple(collections), box, more))
        return [item for item in self.items if item["collection"] in collections]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world")).write()


@pytest.fixture
def served(world):
    sas = SasDouble()
    blobs = BlobDouble(world.folder, sas)
    session = Session(
        HttpSettings({"sas": sas.root, "blob": blobs.root}, patience_s=0, backoff_s=0.01, read_s=2, attempts=3)
    )
    yield blobs, Rasters(session, Signer(session))
    blobs.server.close()
    sas.server.close()


def place_at(lonlat):
    key = cells.cell_at(*lonlat, 10)
    unit = cells.to_key(cells.ancestors(np.array([cells.to_cell(key)], dtype=np.uint64), 5)[0])
    return Place(key, unit, "train", *cells.centre(key), "LU")


def make_source(world, rasters, **choice):
    return Sentinel2Source(Listed(world.items), rasters, SceneChoice(**choice), limits=Limits())


def pixel_lonlat(grid):
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    at = transformer(grid.crs, "EPSG:4326").transform(grid.left + columns * grid.gsd_m, grid.top - rows * grid.gsd_m)
    return np.asarray(at[0]), np.asarray(at[1])


@pytest.mark.parametrize("lonlat", [WEST, EAST])
def test_every_band_lies_where_the_grid_says_without_the_offset(world, served, lonlat):
    source, place = make_source(world, served[1]), place_at(lonlat)
    found = [f.item for f in source.find([place], []) if isinstance(f, Finding)]
    item = next(item for item in found if "20240711" in item.item_id)
    grid = make_grid(place.key, "sentinel2")
    raster = source.read_raster(item, grid)
    assert raster.grid == grid
    assert raster.valid.all()
    lon, lat = pixel_lonlat(grid)
    for number, band in enumerate(SENTINEL2_BANDS):
        gap = np.abs(raster.values[number] - (dn(band, lon, lat, TAKES[0]) - 1000)).max()
        assert gap <= {"B02": 0.51, "B03": 0.51, "B04": 0.51, "B08": 0.51, "B01": 4, "B09": 4}.get(band, 1.5), band


def test_one_search_serves_a_unit_and_its_scenes_are_ranked_per_cell(world, served):
    source = make_source(world, served[1])
    places = [place_at((CENTRE[0] + 0.002 * i, CENTRE[1])) for i in range(-4, 5, 2)]
    places = [p for p in places if p.unit == places[0].unit]
    found = list(source.find(places, []))
    assert len(source._stac.asked) == 1
    ranked = {
        p.key: [f.item.item_id for f in found if isinstance(f, Finding) and f.reference.key == p.key] for p in places
    }
    for place in places:
        tile = "31UGR" if place.lon < 6 else "32UKA"
        assert all(tile in item_id for item_id in ranked[place.key])
        assert [item_id[11:19] for item_id in ranked[place.key]] == ["20240801", "20240711", "20240115"]
    drops = {d.reason: d.count for d in found if not isinstance(d, Finding)}
    assert drops[Reason.DUPLICATE] == 2


def test_seasons_are_slots_of_their_own(world, served):
    source = make_source(world, served[1], seasons=4)
    found = list(source.find([place_at(WEST)], []))
    slots = {f.reference.slot: f.item.item_id[11:19] for f in found if isinstance(f, Finding) and f.reference.rank == 0}
    assert slots == {0: "20240115", 2: "20240801"}
    lost = [d for d in found if not isinstance(d, Finding) and d.reason == Reason.NO_SCENE]
    assert len(lost) == 2
    assert "season 1" in lost[0].detail


def test_cloud_comes_from_the_scene_classification(world, served):
    source, place = make_source(world, served[1]), place_at(WEST)
    shares = {}
    for found in source.find([place], []):
        if isinstance(found, Finding):
            raster = source.read_raster(found.item, make_grid(place.key, "sentinel2"))
            shares[found.item.item_id[11:19]] = raster.cloud.mean()
    assert shares == {"20240801": 1, "20240711": 0, "20240115": 0}


def test_a_split_acquisition_is_put_together_again(world, served, tmp_path):
    place = place_at(WEST)
    grid = make_grid(place.key, "sentinel2")
    middle = transformer(grid.crs, "EPSG:4326").transform(*grid.centre)
    halves = []
    for side in ("west", "east"):
        item = json.loads(
            json.dumps(next(i for i in world.items if "20240711" in i["id"] and "31UGR_20240711T170510" in i["id"]))
        )
        west, south, east, north = item["bbox"]
        box = (west, south, middle[0], north) if side == "west" else (middle[0], south, east, north)
        item["id"] += side
        item["geometry"] = shapely.geometry.mapping(shapely.box(*box))
        for asset in item["assets"].values():
            path = world.folder / "sentinel2l2a01" / asset["href"].partition(".net/")[2]
            new = path.with_name(f"{side}-{path.name}")
            _keep_side(path, new, middle[0], side)
            asset["href"] = asset["href"].replace(path.name, new.name)
        halves.append(item)
    source = Sentinel2Source(Listed(halves), served[1], SceneChoice(), limits=Limits())
    found = [f for f in source.find([place], []) if isinstance(f, Finding)]
    assert len(found) == 1
    assert "+" in found[0].item.item_id
    raster = source.read_raster(found[0].item, grid)
    lon, lat = pixel_lonlat(grid)
    assert raster.valid.mean() > 0.95  # 60 m pixels at the seam belong to neither half
    expected = dn("B02", lon, lat, TAKES[0]) - 1000
    assert np.abs(raster.values[1] - expected)[raster.valid].max() <= 0.51
    alone = source.read_raster(
        found[0].item.__class__(
            **{**asdict(found[0].item), "href": json.dumps({"parts": json.loads(found[0].item.href)["parts"][:1]})}
        ),
        grid,
    )
    assert 0.3 < alone.valid.mean() < 0.7


def _keep_side(source, target, lon, side):
    with rasterio.open(source) as dataset:
        profile, values = dataset.profile, dataset.read(1)
        x, _ = transformer("EPSG:4326", dataset.crs.to_string()).transform(lon, CENTRE[1])
        column = round((x - dataset.transform.c) / dataset.transform.a)
    values[:, column:] = 0 if side == "west" else values[:, column:]
    values[:, :column] = 0 if side == "east" else values[:, :column]
    with rasterio.open(target, "w", **profile) as dataset:
        dataset.write(values, 1)


@pytest.mark.parametrize(("is_still_in", "offset"), [(True, -1000), (False, 0)])
def test_a_doubtful_offset_is_decided_by_the_dark_pixels(world, served, is_still_in, offset):
    place = place_at(WEST)
    item = json.loads(json.dumps(next(i for i in world.items if "31UGR_20240711T170510" in i["id"])))
    item["properties"]["earthsearch:boa_offset_applied"] = False
    source = Sentinel2Source(Listed([item]), served[1], SceneChoice(), limits=Limits())
    finding = next(f for f in source.find([place], []) if isinstance(f, Finding))
    href = json.loads(finding.item.href)
    if not is_still_in:  # a scene whose numbers are a thousand lower than the flag says
        for band, url in href["parts"][0]["bands"].items():
            path = world.folder / "sentinel2l2a01" / url.partition(".net/")[2]
            new = path.with_name(f"low-{path.name}")
            with rasterio.open(path) as dataset:
                profile, values = dataset.profile, dataset.read(1)
            with rasterio.open(new, "w", **profile) as dataset:
                dataset.write(np.where(values > 0, values - 1000, 0).astype(np.uint16), 1)
            href["parts"][0]["bands"][band] = url.replace(path.name, new.name)
    raster = source.read_raster(
        finding.item.__class__(**{**asdict(finding.item), "href": json.dumps(href)}), make_grid(place.key, "sentinel2")
    )
    lon, lat = pixel_lonlat(raster.grid)
    assert np.abs(raster.values[1] - (dn("B02", lon, lat, TAKES[0]) - 1000)).max() <= 0.51
    assert f"offset {offset} applied" in raster.note


def test_a_missing_band_file_is_a_drop_with_its_name(world, served):
    source, place = make_source(world, served[1]), place_at(WEST)
    item = next(f.item for f in source.find([place], []) if isinstance(f, Finding))
    gone = item.__class__(**{**asdict(item), "href": item.href.replace("B11_20m", "B11_gone")})
    with pytest.raises(ReadError, match="B11_gone") as caught:
        source.read_raster(gone, make_grid(place.key, "sentinel2"))
    assert (caught.value.reason, caught.value.retryable) == (Reason.MISSING_FILE, False)


def test_a_store_that_is_down_is_retryable(world, served):
    source, place = make_source(world, served[1]), place_at(WEST)
    item = next(f.item for f in source.find([place], []) if isinstance(f, Finding))
    served[0].server.faults.append(Fault("status", 999, status=503))
    with pytest.raises(ReadError) as caught:
        source.read_raster(item, make_grid(place.key, "sentinel2"))
    assert (caught.value.reason, caught.value.retryable) == (Reason.SERVICE, True)


@pytest.mark.parametrize("lonlat", [WEST, EAST, CENTRE])
def test_elevation_is_seamless_across_two_tiles(world, served, lonlat):
    source, place = ElevationSource(Listed(world.items), served[1]), place_at(lonlat)
    finding = next(iter(source.find([place], [])))
    raster = source.read_raster(finding.item, make_grid(place.key, "dem"))
    lon, lat = pixel_lonlat(raster.grid)
    assert raster.valid.all()
    assert np.abs(raster.values[0] - height_m(lon, lat)).max() < 0.1
    assert finding.item.note == "Copernicus DEM GLO-30"


def test_a_coarse_tile_stands_in_for_a_missing_one_and_says_so(world, served):
    items = [i for i in world.items if i["collection"] != "cop-dem-glo-30" or "E006" in i["id"]]
    coarse = json.loads(json.dumps(next(i for i in world.items if "E005" in i["id"])))
    coarse |= {"collection": "cop-dem-glo-90", "id": "Copernicus_DSM_COG_30_N49_00_E005_00_DEM"}
    _write_coarse(world.folder, coarse)
    source = ElevationSource(Listed([*items, coarse]), served[1])
    finding = next(iter(source.find([place_at(CENTRE)], [])))
    assert finding.item.note in ("Copernicus DEM GLO-30 + GLO-90", "Copernicus DEM GLO-90 + GLO-30")
    raster = source.read_raster(finding.item, make_grid(place_at(CENTRE).key, "dem"))
    assert raster.valid.all()
    assert np.abs(raster.values[0] - height_m(*pixel_lonlat(raster.grid))).max() < 1
    source = ElevationSource(Listed(items), served[1])
    drop = next(iter(source.find([place_at(CENTRE)], [])))
    assert drop.reason == Reason.NODATA
    assert "not all sea" in drop.detail


def _write_coarse(folder, item):
    """A tile of GLO-90: its half pixel is wider, so it ends before its finer neighbour begins."""
    step = 1 / 1200
    transform = rasterio.Affine(step, 0, 5 - step / 2, 0, -step, 50 + step / 2)
    rows, columns = np.meshgrid(np.arange(1200) + 0.5, np.arange(1200) + 0.5, indexing="ij")
    path = folder / "elevationeuwest" / "copernicus-dem" / "COP90_hh" / f"{item['id']}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "width": 1200, "height": 1200, "crs": "EPSG:4326"}
    with rasterio.open(path, "w", **profile, transform=transform, tiled=True, compress="deflate") as dataset:
        dataset.write(height_m(*(transform @ (columns, rows))).astype(np.float32), 1)
    href = f"https://elevationeuwest.blob.core.windows.net/copernicus-dem/COP90_hh/{path.name}"
    item["assets"] = {"data": {"href": href}}


def test_sea_is_level_zero_only_where_there_is_neither_tile_nor_land(served):
    source = ElevationSource(Listed([]), served[1])
    place = place_at((-30.0, 45.0))
    finding = next(iter(source.find([place], [])))
    raster = source.read_raster(finding.item, make_grid(place.key, "dem"))
    assert finding.item.note == "sea level"
    assert raster.valid.all()
    assert not raster.values.any()


@pytest.mark.parametrize(("lat", "width"), [(55, 2400), (61, 1800), (72, 1200), (-52, 2400)])
def test_pixels_that_are_not_square_lie_right(served, world, tmp_path, lat, width):
    lon_step, lat_step = 1 / width, 1 / 3600
    north_south, east_west = "N" if lat >= 0 else "S", "E"
    name = f"Copernicus_DSM_COG_10_{north_south}{abs(lat):02d}_00_{east_west}010_00_DEM"
    transform = rasterio.Affine(lon_step, 0, 10 - lon_step / 2, 0, -lat_step, lat + 1 + lat_step / 2)
    place = place_at((10.5, lat + 0.5))
    rows, columns = np.meshgrid(np.arange(3600) + 0.5, np.arange(width) + 0.5, indexing="ij")
    lon, lat_ = transform @ (columns, rows)
    path = world.folder / "elevationeuwest" / "copernicus-dem" / "COP30_hh" / f"{name}.tif"
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "width": width, "height": 3600, "crs": "EPSG:4326"}
    with rasterio.open(path, "w", **profile, transform=transform, tiled=True, compress="deflate", zlevel=1) as dataset:
        dataset.write(height_m(lon, lat_).astype(np.float32), 1)
    item = json.loads(json.dumps(next(i for i in world.items if i["collection"] == "cop-dem-glo-30")))
    href = f"https://elevationeuwest.blob.core.windows.net/copernicus-dem/COP30_hh/{name}.tif"
    item |= {"id": name, "assets": {"data": {"href": href}}}
    source = ElevationSource(Listed([item]), served[1])
    finding = next(iter(source.find([place], [])))
    raster = source.read_raster(finding.item, make_grid(place.key, "dem"))
    assert raster.valid.all()
    assert np.abs(raster.values[0] - height_m(*pixel_lonlat(raster.grid))).max() < 0.15


@pytest.mark.parametrize("name", ["planetary-computer", "earth-search"])
def test_a_recorded_tile_says_its_square(name):
    path = {"planetary-computer": "cop-dem-glo-30-items-limit1.json", "earth-search": "cop-dem-glo-30-search-0.json"}[
        name
    ]
    for feature in json.loads((SHARED / "recordings" / name / path).read_text())["features"]:
        west, south, _, _ = feature["bbox"] if "bbox" in feature else shapely.geometry.shape(feature["geometry"]).bounds
        lon, lat = square_of(feature)
        assert abs(lon - west) < 0.01
        assert abs(lat - south) < 0.01


@pytest.mark.parametrize("lonlat", [(-179.999, 10.5), (179.9995, 10.5), (0.0, 51.0), (24.5, 70.0), (-0.001, -33.0)])
def test_a_patch_takes_all_squares_that_it_touches(lonlat):
    place = place_at(lonlat)
    grid = make_grid(place.key, "dem")
    lon, lat = pixel_lonlat(grid)
    needed = {
        (int((np.floor(a) + 180) % 360 - 180), int(np.floor(b))) for a, b in zip(lon.ravel(), lat.ravel(), strict=True)
    }
    assert needed <= set(squares_of(place))
