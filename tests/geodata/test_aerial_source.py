import io
import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.windows import Window

from geodata import cells
from geodata.grid import footprint, make_grid, transformer
from geodata.judge import Thresholds, judge_raster
from geodata.services.orthophotos import find_orthophoto
from geodata.services.session import HttpSettings, Session
from geodata.services.signing import Signer
from geodata.services.tiles import choose_zoom, tiles_over
from geodata.sources.aerial import AerialSource
from geodata.sources.files import Limits
from geodata.sources.rasters import Rasters
from geodata.sources.source import Finding, ReadError
from schemas.drop import Reason
from schemas.reference import Place
from tests.runs import SHARED
from tests.services.blobs import BlobDouble, SasDouble
from tests.services.luxembourg import TileServer
from tests.services.server import Fault, Reply
from tests.services.world import colour

LUXEMBOURG, TALLINN, MADRID, BERLIN = (6.13, 49.61), (24.75, 59.43), (-3.7, 40.42), (13.4, 52.5)


@pytest.fixture
def tiles():
    server = TileServer()
    yield server
    server.server.close()


def make_source(tiles, stac=None, **endpoints):
    session = Session(
        HttpSettings({"aerial": tiles.root, **endpoints}, {"aerial": 5000}, patience_s=0, backoff_s=0.001, read_s=2)
    )
    return AerialSource(session, stac, Rasters(session, Signer(session)), limits=Limits(), gsd_m=0.75)


def place_at(lonlat, country):
    key = cells.cell_at(*lonlat, 10)
    unit = cells.to_key(cells.ancestors(np.array([cells.to_cell(key)], dtype=np.uint64), 5)[0])
    return Place(key, unit, "train", *cells.centre(key), country)


def read(source, place):
    item = next(f.item for f in source.find([place], []) if isinstance(f, Finding))
    return source.read_raster(item, make_grid(place.key, "aerial"))


def pixel_lonlat(grid):
    columns, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    at = transformer(grid.crs, "EPSG:4326").transform(grid.left + columns * grid.gsd_m, grid.top - rows * grid.gsd_m)
    return np.asarray(at[0]), np.asarray(at[1])


@pytest.mark.parametrize(("lonlat", "country"), [(LUXEMBOURG, "LU"), (TALLINN, "EE"), (MADRID, "ES")])
def test_tiles_become_a_patch_that_lies_right(tiles, lonlat, country):
    flipped = "{-y}" in find_orthophoto(country).template
    if flipped:  # the double counts rows from the north
        tiles.server._handle = lambda request, handle=tiles._handle: handle(_unflip(request))
    raster = read(make_source(tiles), place_at(lonlat, country))
    assert raster.valid.all()
    assert np.abs(raster.values - colour(*pixel_lonlat(raster.grid))).mean() < 2
    assert flipped == (country in ("EE", "ES"))


def _unflip(request):
    start, service, z, x, y = request.path.split("/")
    path = "/".join([start, service, z, x, str(2 ** int(z) - 1 - int(y))])
    return request.__class__(**{**vars(request), "path": path})


def test_countries_without_an_open_service_and_the_sea_are_drops(tiles):
    source = make_source(tiles)
    drops = list(source.find([place_at(BERLIN, "DE"), place_at((-30.0, 45.0), None)], []))
    assert [d.reason for d in drops] == [Reason.NO_SERVICE, Reason.NO_SERVICE]
    assert "the country DE" in drops[0].detail
    assert "the sea" in drops[1].detail
    assert not tiles.server.requests


@pytest.mark.parametrize("kind", ["404", "204", "blank"])
def test_tiles_that_are_missing_or_blank_are_gaps_and_all_of_them_a_drop(tiles, kind):
    place = place_at(LUXEMBOURG, "LU")
    grid = make_grid(place.key, "aerial")
    zoom = choose_zoom(float(footprint(grid)[:, 1].mean()), 0.75, find_orthophoto("LU"))
    over = tiles_over(grid, zoom)
    if kind == "blank":
        buffer = io.BytesIO()
        Image.new("RGB", (256, 256), (255, 255, 255)).save(buffer, "PNG")
        white = Reply(200, buffer.getvalue(), {"Content-Type": "image/png"})
        blank = {f"/{t.z}/{t.x}/{t.y}" for t in over[:1]}
        tiles.server._handle = lambda r, h=tiles._handle: white if any(r.path.endswith(b) for b in blank) else h(r)
    else:
        tiles.special[over[0].z, over[0].x, over[0].y] = kind
        blank = set()
    raster = read(make_source(tiles), place)
    assert 0 < (~raster.valid).mean() < 1
    if (~raster.valid).mean() > 0.5:
        assert judge_raster(raster, place.key, "aerial", Thresholds()).reason == Reason.NODATA
    for tile in over:
        tiles.special[tile.z, tile.x, tile.y] = kind if kind != "blank" else ""
        blank.add(f"/{tile.z}/{tile.x}/{tile.y}")
    with pytest.raises(ReadError) as caught:
        read(make_source(tiles), place)
    assert (caught.value.reason, caught.value.retryable) == (Reason.NODATA, False)
    assert f"{len(over) if kind == 'blank' else 0} of {len(over)} tiles are blank" in caught.value.detail


@pytest.mark.parametrize(
    "fault", [Fault("status", 2, status=429), Fault("status", 3, status=503), Fault("reset", 1), Fault("html", 2),
              Fault("truncated", 1), Fault("wrong_length", 1)], ids=str,
)  # fmt: skip
def test_a_fault_is_asked_again(tiles, fault):
    expected = read(make_source(tiles), place_at(LUXEMBOURG, "LU")).values
    tiles.server.faults.append(Fault(**vars(fault)))
    assert (read(make_source(tiles), place_at(LUXEMBOURG, "LU")).values == expected).all()


def test_a_service_that_is_down_or_forbids_is_a_drop_that_says_so(tiles):
    tiles.server.faults.append(Fault("status", 999, status=503))
    with pytest.raises(ReadError) as caught:
        read(make_source(tiles), place_at(LUXEMBOURG, "LU"))
    assert (caught.value.reason, caught.value.retryable) == (Reason.SERVICE, True)
    tiles.server.faults[:] = [Fault("status", 999, status=403)]
    with pytest.raises(ReadError, match="403") as caught:
        read(make_source(tiles), place_at(LUXEMBOURG, "LU"))
    assert caught.value.retryable  # a ban ends


@pytest.fixture
def vermont(tmp_path, tiles):
    """Recorded NAIP images around Lake Champlain, whose files hold a known picture."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not beside this checkout")
    features = []
    for number in range(2):
        path = SHARED / "recordings" / "planetary-computer" / f"naip-search-all-items-{number}.json"
        features += json.loads(path.read_text())["features"]
    sas = SasDouble()
    blobs = BlobDouble(tmp_path, sas)

    class Listed:
        def find(self, collections, box, **_):
            return [f for f in features if f["collection"] in collections]

    yield features, make_source(tiles, Listed(), sas=sas.root, blob=blobs.root), tmp_path
    blobs.server.close()
    sas.server.close()


def test_naip_takes_the_newest_year_that_holds_the_patch(vermont):
    features, source, _ = vermont
    place = place_at((-73.16, 44.02), "US")
    found = [f for f in source.find([place], []) if isinstance(f, Finding)]
    years = [f.item.captured_at[:4] for f in found]
    assert years == sorted(years, reverse=True)
    assert 1 <= len(years) <= 3
    assert years[0] == max(f["properties"]["naip:year"] for f in features)
    assert found[0].item.licence == "Public domain"
    drops = [d for d in source.find([place], []) if not isinstance(d, Finding)]
    assert sum(d.count for d in drops) == len(features) - len({i for f in found for i in f.item.item_id.split("+")})


def test_naip_images_are_put_together_at_their_seam(vermont):
    features, source, folder = vermont
    place = place_at((-73.16, 44.02), "US")
    finding = next(f for f in source.find([place], []) if isinstance(f, Finding))
    grid = make_grid(place.key, "aerial")
    for feature in features:
        if feature["id"] in finding.item.item_id.split("+"):
            _write_naip(folder, feature, grid)
    raster = source.read_raster(finding.item, grid)
    assert raster.valid.all()
    lon, lat = pixel_lonlat(grid)
    assert np.abs(raster.values.astype(float) - _smooth(lon, lat)).max() < 4


def _smooth(lon, lat):
    return np.stack([127 + 90 * np.sin(lon * 300), 127 + 90 * np.cos(lat * 400), 127 + 60 * np.sin((lon + lat) * 250)])


def _write_naip(folder, feature, grid):
    properties = feature["properties"]
    affine, (height, width) = Affine(*properties["proj:transform"][:6]), properties["proj:shape"]
    crs = f"EPSG:{properties['proj:epsg']}"
    path = folder / "naipeuwest" / feature["assets"]["image"]["href"].partition(".net/")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 4, "width": width, "height": height, "crs": crs}
    profile |= {"transform": affine, "tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True}
    x, y = transformer(grid.crs, crs).transform(*grid.centre)
    column, row = (int(v) for v in ~affine @ (x, y))
    window = Window(column - 500, row - 500, 1000, 1000).intersection(Window(0, 0, width, height))
    i, j = np.meshgrid(np.arange(window.width) + 0.5, np.arange(window.height) + 0.5)
    ux, uy = affine @ (window.col_off + i, window.row_off + j)
    lon, lat = transformer(crs, "EPSG:4326").transform(ux, uy)
    picture = _smooth(np.asarray(lon), np.asarray(lat)).round().astype(np.uint8)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(picture, [1, 2, 3], window=window)
        dataset.write(np.full(picture.shape[1:], 200, np.uint8), 4, window=window)


def test_one_transparent_pixel_means_that_there_is_no_picture(tiles):
    buffer = io.BytesIO()
    Image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(buffer, "PNG")
    tiles.server._handle = lambda request: Reply(200, buffer.getvalue(), {"Content-Type": "image/png"})
    with pytest.raises(ReadError) as caught:
        read(make_source(tiles), place_at(LUXEMBOURG, "LU"))
    assert caught.value.reason == Reason.NODATA
    assert len(tiles.server.requests) == len(set(tiles.server.paths()))
