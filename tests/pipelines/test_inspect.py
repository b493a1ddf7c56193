import io

import numpy as np
import pytest
from PIL import Image

import schemas
from geodata.grid import pixel_position, transformer
from geodata.raster import Raster
from pipelines.inspect import main
from pipelines.inspection.pictures import GAP, false_colour, mark, relief
from pipelines.inspection.tell import clean
from schemas.corpus import open_corpora
from schemas.grid import Grid
from tests.folders import write_folder
from tests.runs import build_here

GRID = Grid("EPSG:32632", 500_000, 5_000_000, 10.0, 64, 64)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    source = write_folder(tmp_path_factory.mktemp("source") / "mine", places=6)
    output = tmp_path_factory.mktemp("shards") / "small"
    return build_here("--region", "DE", "--sources", f"folder:{source}", "--output", output)


@pytest.fixture(scope="module")
def index(corpus):
    return open_corpora(corpus)[0].read_index().to_pylist()


def test_a_corpus_is_told_in_numbers(corpus, index, capsys):
    assert main([str(corpus)]) == 0
    said = capsys.readouterr().out
    assert f"small: {len(index)} places" in said
    assert f"{'all':<8} {len(index):>9}" in said and "CC0-1.0: tests" in said and f"DE {len(index)}" in said


def test_a_sample_is_told_with_what_it_lacks_and_shown_on_a_sheet(corpus, index, tmp_path, capsys):
    key = next(row["key"] for row in index if "street" in row["modalities"])
    photo = schemas.read_sample(corpus, key).street
    assert main([str(corpus), key.upper(), "--sheet", str(tmp_path / "one.png")]) == 0
    said = capsys.readouterr().out
    assert key in said and photo.item_id in said and clean(photo.attribution) in said and f"{photo.lat:.5f} N" in said
    with Image.open(tmp_path / "one.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 1000 and len(sheet.convert("RGB").getcolors(1 << 24)) > 1000


def test_a_sheet_of_a_corpus_shows_the_places_with_the_most_views(corpus, tmp_path, capsys):
    sizes = {}
    for number in (1, 3):
        assert main([str(corpus), "--samples", str(number), "--sheet", str(tmp_path / "sheet.png")]) == 0
        payload = (tmp_path / "sheet.png").read_bytes()
        sizes[number] = Image.open(io.BytesIO(payload)).size
    assert sizes[1][0] == sizes[3][0] and sizes[3][1] > 2 * sizes[1][1] - 100
    assert "3 samples" in capsys.readouterr().err


def test_what_is_not_there_gets_a_sentence(corpus, tmp_path, capsys):
    assert main([str(corpus), "8a0000000000000"]) == 1
    assert "holds no sample 8a0000000000000: see the column key" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "holds no corpus" in capsys.readouterr().err


def test_words_from_outside_do_not_steer_the_terminal():
    assert clean("a\x1b[31mb\n\u202ec  e\u0301") == "a[31mb c é"


def test_plants_are_red_and_gaps_are_grey_in_false_colour():
    values = np.full((12, 64, 64), 300, np.uint16)
    values[7, :, :32] = 4000  # B08
    valid = np.ones((64, 64), bool)
    valid[0] = False
    picture = false_colour(Raster(values, valid, GRID))
    assert picture[5, 5].tolist() == [255, 0, 0] and picture[5, 60].tolist() == [0, 0, 0]
    assert picture[0, 0].tolist() == list(GAP)


def test_light_comes_from_the_north_west():
    rows, columns = np.mgrid[:64, :64]
    valid = np.ones((64, 64), bool)
    facing = relief(Raster((10.0 * (rows + columns))[None].astype(np.float32), valid, GRID))
    averted = relief(Raster((-10.0 * (rows + columns))[None].astype(np.float32), valid, GRID))
    flat = relief(Raster(np.zeros((1, 64, 64), np.float32), valid, GRID))
    assert facing.mean() > flat.mean() > averted.mean()
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1


def test_the_mark_is_where_the_photo_was_taken():
    lon, lat = transformer(GRID.crs, "EPSG:4326").transform(500_205.0, 4_999_895.0)
    marked = mark(np.zeros((64, 64, 3), np.uint8), [pixel_position(GRID, lon, lat), (70.5, -0.5)])
    assert marked[10, 22].tolist() == [255, 230, 0] and marked[10, 20].tolist() == [0, 0, 0]
