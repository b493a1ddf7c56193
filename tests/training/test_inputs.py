import io

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from training.inputs import (
    InputError,
    check_order,
    read_pictures,
    read_points,
    read_positions,
    read_rasters,
    read_texts,
)


def _picture(height, width):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, np.full((height, width), 128)], -1).astype(np.uint8)


def _write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def test_the_middle_square_of_a_picture_is_taken():
    (square,) = read_pictures([_picture(256, 512)], 64).numpy().astype(int)
    assert square.shape == (64, 64, 3)
    assert abs(square[0, :, 0].mean() - 1.5) < 2 and abs(square[-1, :, 0].mean() - 252.5) < 2
    assert abs(square[:, 0, 1].mean() - 64) < 3 and abs(square[:, -1, 1].mean() - 191) < 3


def test_files_bytes_and_arrays_of_one_picture_are_one_square(tmp_path):
    pixels = _picture(256, 320)
    payload = simplejpeg.encode_jpeg(pixels, quality=98, colorsubsampling="444")
    path = tmp_path / "a picture.jpg"
    path.write_bytes(payload)
    from_path, from_text, from_bytes, from_array = read_pictures([path, str(path), payload, pixels], 64).int()
    assert torch.equal(from_path, from_text) and torch.equal(from_path, from_bytes)
    assert (from_path - from_array).abs().max() <= 4


def test_a_picture_smaller_than_the_square_is_enlarged():
    assert read_pictures([_picture(20, 30)], 64).shape == (1, 64, 64, 3)


def test_what_is_no_picture_is_named(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    path = tmp_path / "really.jpg"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=r"really\.jpg is no JPEG that can be read"):
        read_pictures([path], 64)
    with pytest.raises(InputError, match=r"gone\.jpg cannot be read \(No such file"):
        read_pictures([tmp_path / "gone.jpg"], 64)
    with pytest.raises(InputError, match=r"shape \(64, 64\), uint8: give \(height, width, 3\)"):
        read_pictures([np.zeros((64, 64), np.uint8)], 64)
    with pytest.raises(InputError, match="float64: give"):
        read_pictures([np.zeros((64, 64, 3))], 64)


def test_rasters_keep_their_stored_values():
    stored = np.random.default_rng(0).integers(0, 65536, (12, 128, 128)).astype(np.uint16)
    (bits,) = read_rasters([stored], "sentinel2")
    assert bits.dtype == torch.int16
    np.testing.assert_array_equal(bits.numpy().view(np.uint16), stored)
    height = np.linspace(-5, 900, 128 * 128, dtype=np.float32).reshape(128, 128)
    np.testing.assert_array_equal(read_rasters([height], "dem")[0, 0], height)


def test_a_raster_file_of_a_corpus_is_read_and_another_named(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    height = np.linspace(0, 100, 128 * 128, dtype=np.float32).reshape(1, 128, 128)
    for name, how in (("good", {"compress": "zstd", "predictor": 3}), ("other", {"compress": "deflate"})):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=128, height=128, count=1, dtype="float32",
            crs="EPSG:32632", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), interleave="band", blockysize=128, **how,
        ) as file:  # fmt: skip
            file.write(height)
    np.testing.assert_array_equal(read_rasters([tmp_path / "good.tif"], "dem")[0], height)
    with pytest.raises(InputError, match=r"other\.tif is no dem\.geotiff as the corpus writes it"):
        read_rasters([tmp_path / "other.tif"], "dem")
    whole = (tmp_path / "good.tif").read_bytes()
    for cut in (whole[:100], whole[: len(whole) // 2], b"II*\0", b""):
        with pytest.raises(
            InputError, match=r"The payload is no dem\.geotiff as the corpus writes it .*: give an array"
        ):
            read_rasters([cut], "dem")
    with pytest.raises(InputError, match=r"sentinel2 is \(12, 128, 128\) of uint16"):
        read_rasters([tmp_path / "good.tif"], "sentinel2")


def test_positions_that_are_none_are_refused():
    assert read_positions([(6.13, 49.61)]).tolist() == [[6.13, 49.61]]
    with pytest.raises(InputError, match=r"Position 1: Longitude 49.61 and latitude 106.13 .* They look swapped"):
        read_positions([(6.13, 49.61), (49.61, 106.13)])
    with pytest.raises(InputError, match="latitude nan"):
        read_positions([(6.13, float("nan"))])
    with pytest.raises(InputError, match=r"shape \(2,\): give pairs"):
        read_positions([6.13, 49.61])


def test_positions_swapped_within_the_limits_are_known_by_the_models_extent():
    luxembourg = (5.7, 49.4, 6.6, 50.2)
    right, swapped = torch.tensor([[6.1, 49.6], [6.2, 49.7]]), torch.tensor([[49.6, 6.1], [49.7, 6.2]])
    check_order(right, luxembourg, "x")
    check_order(torch.tensor([[10.0, 20.0]]), luxembourg, "x")  # elsewhere is allowed
    check_order(torch.cat([right, swapped]), luxembourg, "x")
    with pytest.raises(InputError, match=r"x: longitude 49.6, latitude 6.1 look swapped, .* between 5.7 and 6.6 east"):
        check_order(swapped, luxembourg, "x")


def test_extents_over_the_antimeridian_hold_both_sides():
    fiji = (176.0, -21.0, -178.0, -12.0)
    check_order(torch.tensor([[177.0, -18.0], [-179.0, -17.0]]), fiji, "x")
    with pytest.raises(InputError, match="look swapped"):
        check_order(torch.tensor([[-18.0, 177.0]]), fiji, "x")


def test_points_are_read_in_chunks_whatever_stands_beside_them(tmp_path):
    path = _write(tmp_path / "p.csv", "﻿name, LAT ,lon\n" + "".join(f'"a, b",{i / 10},{-i}\n' for i in range(10)) + "\n")
    chunks = list(read_points(path, 4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]
    assert torch.cat(chunks).tolist() == [[-i, i / 10] for i in range(10)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y\n1,2\n", r"no column lon and no column lat \(its first line is 'x,y'\): write lon,lat there"),
        ("lon,latitude\n1,2\n", "no column lat"),
        ("", "no column lon"),
        ("lon,lat\n1,2\n1,north\n", "line 3: could not convert string to float: 'north'"),
        ("lon,lat\n1,2\n3\n", "line 3: 1 values, the header has 2"),
        ("lon,lat\n48.8,102.3\n", "line 2: Longitude 48.8 and latitude 102.3 .* They look swapped"),
        ("lon,lat\nnan,1\n", "line 2: Longitude nan"),
    ],
)
def test_the_line_of_a_bad_point_is_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        list(read_points(_write(tmp_path / "p.csv", content), 100))


def test_files_that_are_no_csv_are_named(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"lon,lat\n\xff\xfe,1\n")
    with pytest.raises(InputError, match=r"p\.csv is no CSV file in UTF-8"):
        list(read_points(path, 100))
    with pytest.raises(InputError, match=r"gone\.csv cannot be read \(No such file"):
        list(read_points(tmp_path / "gone.csv", 100))


def test_texts_are_whole_files_or_rows_of_a_table(tmp_path):
    assert list(read_texts(_write(tmp_path / "a.txt", "one\ntwo\n"))) == ["one\ntwo\n"]
    assert list(read_texts(_write(tmp_path / "b.csv", 'id,text\n1,"a, b"\n2,"c\nd"\n'))) == ["a, b", "c\nd"]
    with pytest.raises(InputError, match="no column text"):
        list(read_texts(_write(tmp_path / "c.csv", "lon,lat\n1,2\n")))
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"d\.txt is not UTF-8"):
        list(read_texts(tmp_path / "d.txt"))
