import csv
import json

import numpy as np
import pytest
import rasterio
from PIL.TiffImagePlugin import IFDRational

from geodata import cells
from geodata.judge import Thresholds
from geodata.sources import SourceError
from geodata.sources.folder import scan_folder
from schemas.drop import Reason
from schemas.modality import SENTINEL2_BANDS
from tests.folders import CENTRE, make_photo, make_scene, write_folder, write_manifest, write_raster


def scan(folder, **thresholds):
    return scan_folder("mine", folder, resolution=10, thresholds=Thresholds(**thresholds))


def scan_rows(folder, *rows, **thresholds):
    write_manifest(folder, list(rows))
    return scan(folder, **thresholds)


def test_a_good_folder_is_used_whole(tmp_path):
    catalogue = scan(write_folder(tmp_path / "f", places=5))
    assert catalogue.drops == []
    assert (
        sorted(item.modality for item in catalogue.items)
        == ["aerial"] * 5 + ["dem", "sentinel2"] + ["street"] * 5 + ["text"] * 5
    )


@pytest.mark.parametrize("modality", ["sentinel2", "aerial", "dem", "street", "text"])
def test_a_missing_file_is_a_counted_drop(tmp_path, modality):
    drop = scan_rows(tmp_path, {"path": "gone.x", "modality": modality, "lat": 49.6, "lon": 6.1}).drops[0]
    assert (drop.reason, drop.item_id) == (Reason.MISSING_FILE, "gone.x")
    assert drop.key == cells.cell_at(6.1, 49.6, 10)


def test_a_path_may_not_leave_the_folder(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(make_photo(CENTRE))
    (tmp_path / "f").mkdir()
    drop = scan_rows(tmp_path / "f", {"path": "../secret.jpg", "modality": "street"}).drops[0]
    assert drop.reason == Reason.MISSING_FILE


@pytest.mark.parametrize("modality", ["sentinel2", "street"])
def test_what_is_no_image_is_unreadable(tmp_path, modality):
    (tmp_path / "a.bin").write_bytes(b"not a picture at all")
    assert (
        scan_rows(tmp_path, {"path": "a.bin", "modality": modality, "lat": 1, "lon": 2}).drops[0].reason
        == Reason.UNREADABLE
    )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_without_georeference_is_dropped(tmp_path):
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 12, "height": 50, "width": 50}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as dataset:
        dataset.write(make_scene(50))
    assert scan_rows(tmp_path, {"path": "a.tif", "modality": "sentinel2"}).drops[0].reason == Reason.NO_GEOREFERENCE


def test_a_raster_that_lies_about_its_bands_is_dropped(tmp_path):
    write_raster(tmp_path / "a.tif", make_scene(50)[:3])
    drop = scan_rows(tmp_path, {"path": "a.tif", "modality": "sentinel2"}).drops[0]
    assert drop.reason == Reason.WRONG_BANDS
    assert "has 3" in drop.detail


@pytest.mark.parametrize(
    ("lat", "lon", "words"),
    [("91", "6", "must lie in"), ("6.1", "149.6", "m from EXIF"), (str(CENTRE[0]), str(CENTRE[1]), "looks swapped"), ("x", "6", "could not convert"), ("6", "190", "must lie in"), ("150", "6", "They look swapped")],
)  # fmt: skip
def test_impossible_or_contradicting_coordinates_are_dropped(tmp_path, lat, lon, words):
    (tmp_path / "a.jpg").write_bytes(make_photo(CENTRE))
    drop = scan_rows(tmp_path, {"path": "a.jpg", "modality": "street", "lat": lat, "lon": lon}).drops[0]
    assert drop.reason == Reason.BAD_COORDINATES
    assert words in drop.detail


def test_a_raster_far_from_its_row_is_dropped(tmp_path):
    write_raster(tmp_path / "a.tif", make_scene(50), nodata=0, names=SENTINEL2_BANDS)
    row = {"path": "a.tif", "modality": "sentinel2", "lat": CENTRE[0], "lon": CENTRE[1]}
    drop = scan_rows(tmp_path, row).drops[0]
    assert drop.reason == Reason.BAD_COORDINATES
    assert drop.detail.endswith("looks swapped")


def test_exif_position_is_kept_to_the_metre(tmp_path):
    (tmp_path / "a.jpg").write_bytes(make_photo((-48.594831899, -27.587340216), heading=370.0))
    item = scan_rows(tmp_path, {"path": "a.jpg", "modality": "street"}).items[0]
    assert (item.lon, item.lat) == pytest.approx((-48.594831899, -27.587340216), abs=1e-6)
    assert item.heading_deg == pytest.approx(10.0)


def test_a_photo_without_any_position_is_dropped(tmp_path):
    (tmp_path / "a.jpg").write_bytes(make_photo())
    assert scan_rows(tmp_path, {"path": "a.jpg", "modality": "street"}).drops[0].reason == Reason.BAD_COORDINATES


def test_a_tiny_photo_is_dropped_with_its_size(tmp_path):
    (tmp_path / "a.jpg").write_bytes(make_photo(CENTRE, size=(200, 100)))
    drop = scan_rows(tmp_path, {"path": "a.jpg", "modality": "street"}).drops[0]
    assert (drop.reason, drop.value) == (Reason.TINY, 100)


def test_a_two_to_one_photo_is_a_panorama(tmp_path):
    (tmp_path / "a.jpg").write_bytes(make_photo(CENTRE, size=(512, 256)))
    (tmp_path / "b.jpg").write_bytes(make_photo(CENTRE, size=(512, 384), seed=1))
    rows = [{"path": f"{name}.jpg", "modality": "street"} for name in "ab"]
    assert [item.is_pano for item in scan_rows(tmp_path, *rows).items] == [True, False]


def test_the_second_of_equal_photos_is_a_duplicate(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(make_photo(CENTRE))
    catalogue = scan_rows(tmp_path, *({"path": f"{name}.jpg", "modality": "street"} for name in "ab"))
    assert [item.item_id for item in catalogue.items] == ["a.jpg"]
    assert (catalogue.drops[0].item_id, catalogue.drops[0].reason) == ("b.jpg", Reason.DUPLICATE)


ARTICLES = [
    ({"text": "x" * 100}, None), ({"text": "x" * 20}, Reason.STUB), ({"lat": 49.5, "lon": 6.0}, Reason.IMPRECISE_LOCATION),
    ({"text": "Springfield may refer to: many towns in many countries, all over the world."}, Reason.DISAMBIGUATION),
    ({"title": "Mercury (disambiguation)"}, Reason.DISAMBIGUATION), ({"lat": 91}, Reason.BAD_COORDINATES),
    ({"lat": "north"}, Reason.UNREADABLE),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), ARTICLES)
@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_every_line_of_a_text_file_is_an_item_or_a_drop(tmp_path, suffix, changes, reason):
    good = {
        "id": "1",
        "title": "Mersch",
        "lat": 49.7512,
        "lon": 6.1034,
        "text": "A town on the river Alzette, with a castle and a mill, north of the city.",
    }
    lines = [good, {**good, "id": "2", "title": "Other", **changes}]
    if suffix == "jsonl":
        text = "".join(json.dumps(line) + "\n" for line in lines)
    else:
        text = "\n".join(["\t".join(good), *("\t".join(str(v) for v in line.values()) for line in lines)])
    (tmp_path / f"t.{suffix}").write_text(text)
    catalogue = scan_rows(tmp_path, {"path": f"t.{suffix}", "modality": "text"})
    assert len(catalogue.items) + len(catalogue.drops) == 2
    assert [drop.reason for drop in catalogue.drops] == ([reason] if reason else [])


def test_a_text_file_without_its_columns_is_unreadable(tmp_path):
    (tmp_path / "t.tsv").write_text("id\ttitle\n1\tA\n")
    drop = scan_rows(tmp_path, {"path": "t.tsv", "modality": "text"}).drops[0]
    assert drop.reason == Reason.UNREADABLE and "lat, lon, text" in drop.detail


def test_a_label_is_no_modality(tmp_path):
    assert scan_rows(tmp_path, {"path": "a.csv", "modality": "label"}).drops[0].reason == Reason.UNKNOWN_MODALITY


def test_a_wrong_time_is_left_out_and_said(tmp_path, caplog):
    (tmp_path / "a.jpg").write_bytes(make_photo(CENTRE))
    row = {"path": "a.jpg", "modality": "street", "captured_at": "2017-09-24T93:02:0Z"}
    assert scan_rows(tmp_path, row).items[0].captured_at is None
    assert "2017-09-24T93:02:0Z" in caplog.text


def test_exif_faults_cost_only_their_photo(tmp_path):
    (tmp_path / "a.jpg").write_bytes(make_photo((11.31, 91.5)))
    (tmp_path / "b.jpg").write_bytes(make_photo(CENTRE, heading=IFDRational(0, 0), seed=1))
    catalogue = scan_rows(tmp_path, *({"path": f"{name}.jpg", "modality": "street"} for name in "ab"))
    assert [(drop.item_id, drop.reason) for drop in catalogue.drops] == [("a.jpg", Reason.BAD_COORDINATES)]
    assert [(item.item_id, item.heading_deg) for item in catalogue.items] == [("b.jpg", None)]


def test_half_a_surrogate_pair_costs_only_its_line(tmp_path):
    good = '{"id": "1", "title": "Mersch", "lat": 49.7512, "lon": 6.1034, "text": "' + "x" * 80 + '"}'
    (tmp_path / "t.jsonl").write_text(good + "\n" + good.replace('"1"', '"2"').replace("xx", "\\ud83d", 1) + "\n")
    catalogue = scan_rows(tmp_path, {"path": "t.jsonl", "modality": "text"})
    assert len(catalogue.items) == 1
    assert catalogue.drops[0].reason == Reason.UNREADABLE


@pytest.mark.parametrize("fault", ["rotated", "engineering"])
def test_rasters_in_no_usable_frame_are_dropped(tmp_path, fault):
    frames = {
        "rotated": (rasterio.Affine(0, 10, 690000, 10, 0, 5340000), "EPSG:32632"),
        "engineering": (rasterio.Affine(10, 0, 5, 0, -10, 5), 'LOCAL_CS["site",UNIT["metre",1]]'),
    }
    transform, crs = frames[fault]
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "height": 50,
        "width": 50,
        "transform": transform,
        "crs": crs,
    }
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as dataset:
        dataset.write(np.ones((1, 50, 50), np.float32))
    assert scan_rows(tmp_path, {"path": "a.tif", "modality": "dem"}).drops[0].reason == Reason.NO_GEOREFERENCE


@pytest.mark.parametrize(("modality", "count", "dtype"), [("aerial", 3, np.uint16), ("sentinel2", 12, np.float32)])
def test_values_in_another_unit_are_refused_not_clipped(tmp_path, modality, count, dtype):
    write_raster(tmp_path / "a.tif", np.ones((count, 100, 100), dtype))
    drop = scan_rows(tmp_path, {"path": "a.tif", "modality": modality}).drops[0]
    assert drop.reason == Reason.WRONG_BANDS and np.dtype(dtype).name in drop.detail


def test_two_articles_of_one_id_are_told_apart_in_the_reason(tmp_path):
    lines = [{"id": "1", "title": f"T{n}", "lat": 49.7512, "lon": 6.1034, "text": f"{n}" * 80} for n in range(2)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    drop = scan_rows(tmp_path, {"path": "t.jsonl", "modality": "text"}).drops[0]
    assert drop.reason == Reason.DUPLICATE and "same identifier" in drop.detail


@pytest.mark.parametrize(
    ("text", "heading"), [("-90", 270.0), ("370.5", 10.5), ("north", None), ("nan", None), ("", None)]
)
def test_headings_are_degrees_or_unknown(tmp_path, text, heading):
    (tmp_path / "a.jpg").write_bytes(make_photo(CENTRE))
    (tmp_path / "manifest.csv").write_text(f"path,modality,lat,lon,heading\na.jpg,street,,,{text}\n")
    assert scan(tmp_path).items[0].heading_deg == heading


def test_a_manifest_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_bytes("path,modality,lat,lon\nZoë.jpg,street,1,2\n".encode("latin-1"))
    with pytest.raises(SourceError, match="save it as CSV in UTF-8"):
        scan(tmp_path)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"has no manifest.csv"):
        scan(tmp_path)


def test_a_manifest_without_a_column_is_refused(tmp_path):
    with (tmp_path / "manifest.csv").open("w") as file:
        csv.writer(file).writerow(["path", "modality", "lat"])
    with pytest.raises(SourceError, match="lacks the column lon"):
        scan(tmp_path)


def test_every_real_record_is_an_item_or_a_drop(europe_mini):
    catalogue = scan(europe_mini)
    with (europe_mini / "manifest.csv").open() as file:
        rows = [row["modality"] for row in csv.DictReader(file)]
    lines = len((europe_mini / "text/pleiades.tsv").read_text().splitlines()) - 1
    seen = [entry.modality for entry in (*catalogue.items, *catalogue.drops)]
    for modality in ("sentinel2", "dem", "aerial", "street", "label"):
        assert seen.count(modality) == rows.count(modality)
    assert seen.count("text") == lines
    assert sum(drop.reason == Reason.IMPRECISE_LOCATION for drop in catalogue.drops) == 235
    panoramas = [item.item_id for item in catalogue.items if item.is_pano]
    assert {f"street/panoramax_{n}.jpg" for n in range(1, 6)} <= set(panoramas)
    assert np.isfinite([item.lon for item in catalogue.items]).all()
