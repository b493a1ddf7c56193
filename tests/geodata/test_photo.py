import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import ExifTags, Image

from geodata import photo
from geodata.photo import PhotoError, decode_photo, open_photo, parse_photo
from tests.folders import make_photo


def decode_bytes(payload, short_side_px):
    return decode_photo(payload, open_photo(payload), short_side_px)


def with_exif(size=(300, 200), orientation=1, detail=None):
    image = Image.fromarray(np.tile(np.arange(size[0], dtype=np.uint8)[None, :, None], (size[1], 1, 3)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if detail:
        exif[ExifTags.IFD.Exif] = detail
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize("lonlat", [(6.13, 49.61), (-48.59, -27.58), (-0.001, 0.0), (179.9999, -89.9)])
def test_positions_round_trip_through_exif(lonlat):
    assert parse_photo(make_photo(lonlat)).lonlat == pytest.approx(lonlat, abs=1e-6)


def test_a_camera_without_a_fix_has_no_position():
    assert parse_photo(make_photo((0.0, 0.0))).lonlat is None
    assert parse_photo(make_photo()).lonlat is None


def test_a_rotated_photo_is_stored_upright():
    lying = with_exif(size=(250, 200), orientation=6)
    facts = parse_photo(lying)
    assert (facts.width, facts.height) == (200, 250)
    upright = decode_bytes(lying, 100)
    assert upright.shape == (125, 100, 3)
    assert int(upright[120, 50, 0]) > int(upright[5, 50, 0]) + 200  # what was left is now above


@pytest.mark.parametrize(
    ("size", "shape"),
    [((640, 480), (256, 341)), ((480, 640), (341, 256)), ((200, 150), (150, 200)), ((1024, 512), (256, 512))],
)
def test_the_short_side_is_reduced_and_never_enlarged(size, shape):
    assert decode_bytes(make_photo(size=size), 256).shape[:2] == shape


def test_times_are_utc():
    Exif = ExifTags.Base
    detail = {Exif.DateTimeOriginal: "2022:10:19 08:56:34", Exif.OffsetTimeOriginal: "+02:00"}
    assert parse_photo(with_exif(detail=detail)).captured_at == datetime(2022, 10, 19, 6, 56, 34, tzinfo=UTC)
    assert parse_photo(with_exif(detail={Exif.DateTimeOriginal: "0000:00:00 00:00:00"})).captured_at is None


@pytest.mark.parametrize("payload", [b"", b"\xff\xd8\xff", b"GIF89a"])
def test_what_is_no_photo_is_refused(payload):
    with pytest.raises(PhotoError):
        parse_photo(payload)


def test_a_truncated_photo_is_refused():
    with pytest.raises(PhotoError, match="cannot be decoded"):
        decode_bytes(make_photo()[:5000], 256)


def lively(size, *, save=("JPEG", {"quality": 95})):
    """A picture with structure of many scales, and itself encoded."""
    rng = np.random.default_rng(0)
    parts = [Image.fromarray(rng.integers(15, 70, (4 * n, 4 * n, 3), dtype=np.uint8)) for n in (1, 5, 25)]
    pixels = sum(np.asarray(part.resize(size, Image.Resampling.BICUBIC)) for part in parts)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, save[0], **save[1])
    return pixels, buffer.getvalue()


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


@pytest.mark.parametrize("resizer", [photo.cykooz_resizer, None], ids=["compiled", "Pillow"])
@pytest.mark.parametrize("size", [(640, 480), (1023, 769), (2050, 1030), (4500, 2600)])
def test_a_reduced_photo_is_near_the_original_reduced_by_lanczos(monkeypatch, resizer, size):
    monkeypatch.setattr(photo, "cykooz_resizer", resizer)
    pixels, payload = lively(size)
    found = decode_bytes(payload, 256)
    best = Image.fromarray(pixels).resize(found.shape[1::-1], Image.Resampling.LANCZOS)
    assert psnr(found, np.asarray(best)) > 38


def test_both_decoders_show_the_same():
    _, plain = lively((640, 480))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    _, turned = lively((640, 480), save=("JPEG", {"quality": 95, "exif": exif}))
    _, lossless = lively((640, 480), save=("PNG", {}))
    assert psnr(decode_bytes(plain, 256), decode_bytes(turned, 256)[::-1, ::-1]) > 45
    assert psnr(decode_bytes(plain, 256), decode_bytes(lossless, 256)) > 38


def test_grey_and_cmyk_photos_become_rgb():
    pixels, _ = lively((640, 480))
    for mode in ("L", "CMYK"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", quality=95)
        found = decode_bytes(buffer.getvalue(), 256)
        assert found.shape == (256, 341, 3)
        expected = Image.fromarray(pixels).convert(mode).convert("RGB").resize((341, 256), Image.Resampling.LANCZOS)
        assert psnr(found, np.asarray(expected)) > 35


def test_bytes_too_many_between_the_segments_of_a_jpeg_are_passed_over():
    _, payload = lively((640, 480))
    at = payload.index(b"\xff\xda")
    odd = payload[:at] + bytes(5) + payload[at:]
    assert psnr(decode_bytes(odd, 256), decode_bytes(payload, 256)) > 45
