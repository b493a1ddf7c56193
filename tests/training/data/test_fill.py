import io

import numpy as np
import pytest
import torch
from PIL import Image

from geodata.raster import decode_geotiff, decode_jpeg, encode_jpeg
from schemas.modality import MODALITIES
from schemas.sample import encode_metadata
from tests.training.data.makers import make_keys, make_picture, make_sample
from training.data.batch import VIEWS
from training.data.draw import Luck, draw
from training.data.fill import Buffer, Shape, decode_square
from training.data.loader import tokenize_bytes
from training.data.places import read_places

SHAPE = Shape({"aerial": 64, "street": 64}, 256)


class Payloads:
    """Samples in memory."""

    def __init__(self, samples):
        self.places, _ = read_places([encode_metadata(sample) for sample in samples])
        self.payloads = [o.payload for sample in samples for o in sample.observations]

    def read(self, observation):
        return memoryview(self.payloads[observation])


@pytest.fixture(scope="module")
def samples():
    views = [tuple(MODALITIES), ("sentinel2", "text"), ("aerial", "street"), ("dem",), ("text",), ()]
    return [make_sample(key, views=views[n % 6]) for n, key in enumerate(make_keys(12))]


def _fill(samples, shape=SHAPE, luck=None, buffer=None):
    source = Payloads(samples)
    buffer = buffer or Buffer(len(samples), shape, pin=False)
    failures = buffer.fill(0, draw(source.places, np.arange(len(samples)), luck), source, tokenize_bytes)
    return buffer.finish([sample.key for sample in samples], np.zeros((0, 2), np.int64)), failures


def test_every_view_is_decoded_as_gdal_and_pillow_do(samples):
    batch, failures = _fill(samples, Shape({"aerial": 256, "street": 256}, 256))
    assert failures == []
    for row, sample in enumerate(samples):
        present = [sample.first(view) is not None for view in MODALITIES] + [True]
        assert batch.present_MB[:, row].tolist() == present
        if sample.sentinel2:
            values = decode_geotiff(sample.sentinel2.payload).values
            assert (batch.sentinel2_BCHW[row].numpy().view(np.uint16) == values).all() and (values == 0).any()
        if sample.dem:
            values = decode_geotiff(sample.dem.payload).values
            assert (batch.dem_BCHW[row].numpy() == values).all() and (values == -32768).any()
        if sample.aerial:
            assert np.abs(batch.aerial_BHWC[row].numpy().astype(int) - decode_jpeg(sample.aerial.payload)).max() <= 3
        if sample.street:
            middle = decode_jpeg(sample.street.payload)[:, 42:298].astype(int)
            assert np.abs(batch.street_BHWC[row].numpy() - middle).max() <= 3
        if sample.text:
            tokens = batch.text_BL[row]
            assert bytes((tokens[tokens > 0] - 1).tolist()) == sample.text.payload


@pytest.mark.parametrize("px", [32, 64, 128])
def test_pictures_are_reduced_while_they_are_decoded(samples, px):
    batch, _ = _fill(samples[:1], Shape({"aerial": px, "street": px}, 256))
    image = Image.open(io.BytesIO(samples[0].aerial.payload)).resize((px, px), Image.Resampling.BOX)
    assert batch.aerial_BHWC.shape == (1, px, px, 3)
    assert np.abs(batch.aerial_BHWC[0].numpy().astype(int) - np.asarray(image)).mean() < 2


def test_rows_of_absent_views_hold_zeros_though_the_memory_is_used_again(samples):
    buffer = Buffer(len(samples), SHAPE, pin=False)
    full = [make_sample(key, seed=9) for key in make_keys(12)]
    first, _ = _fill(full, buffer=buffer)
    assert all(first.sentinel2_BCHW.flatten(1).any(dim=1)) and all(first.text_BL.any(dim=1))
    batch, _ = _fill(samples, buffer=buffer)
    fresh, _ = _fill(samples)
    for name in (
        "present_MB",
        "sentinel2_BCHW",
        "aerial_BHWC",
        "dem_BCHW",
        "street_BHWC",
        "text_BL",
        "spots_BS2",
        "focus_BR2",
        "inside_SB",
    ):
        assert torch.equal(getattr(batch, name), getattr(fresh, name)), name
    assert not batch.sentinel2_BCHW[~batch.present_MB[0]].any() and not batch.text_BL[~batch.present_MB[4]].any()


@pytest.mark.parametrize(
    ("view", "payload"),
    [
        ("sentinel2", b""), ("sentinel2", b"II*\x00" + b"\xff" * 200), ("sentinel2", "cut"), ("sentinel2", "flip"),
        ("sentinel2", "other"), ("dem", "cut"), ("aerial", b"\xff\xd8 no picture"), ("aerial", "cut"), ("street", "cut"),
        ("street", b""), ("text", b"\xff\xfe\xfd"),
    ],
)  # fmt: skip
def test_a_damaged_member_is_absent_and_named_and_harms_no_other(view, payload):
    samples = [make_sample(key) for key in make_keys(3)]
    good, _ = _fill(samples)
    whole = samples[1].first(view).payload
    words = {
        "cut": whole[: len(whole) // 2],
        "flip": whole[:600] + b"\x00" * 4000 + whole[4600:],
        "other": samples[1].dem.payload,
    }
    object.__setattr__(
        samples[1].first(view), "payload", words.get(payload, payload) if isinstance(payload, str) else payload
    )
    batch, failures = _fill(samples)
    number = VIEWS.index(view)
    (failure,) = failures
    assert failure[0] == 5 + number and failure[1]
    expected = good.present_MB.clone()
    expected[number, 1] = False
    assert torch.equal(batch.present_MB, expected)
    values = {
        "sentinel2": "sentinel2_BCHW",
        "dem": "dem_BCHW",
        "aerial": "aerial_BHWC",
        "street": "street_BHWC",
        "text": "text_BL",
    }
    for name in values.values():
        got, wanted = getattr(batch, name), getattr(good, name).clone()
        if name == values[view]:
            wanted[1] = 0
        assert torch.equal(got, wanted), name
    if view in ("sentinel2", "street"):
        assert not batch.inside_SB[0, 1]


def test_the_square_of_a_photo_lies_where_chance_says():
    sample = make_sample(make_keys(1)[0], views=("street",), photo_px=(256, 512))
    pixels = decode_jpeg(sample.street.payload)
    for crop, left in ((0.0, 0), (0.25, 64), (1.0, 256)):
        out = np.empty((256, 256, 3), np.uint8)
        decode_square(memoryview(sample.street.payload), out, crop)
        assert np.abs(out.astype(int) - pixels[:, left : left + 256]).max() <= 3
    one, two = (_fill([sample], luck=Luck(0, epoch))[0].street_BHWC.clone() for epoch in (0, 1))
    assert not torch.equal(one, two)


@pytest.mark.parametrize("size", [(40, 30), (90, 200), (700, 260), (65, 64), (64, 64), (1, 1)])
def test_photos_of_any_size_give_a_full_square(size):
    picture = make_picture(*size, np.random.default_rng(0))
    out = np.zeros((64, 64, 3), np.uint8)
    decode_square(memoryview(encode_jpeg(picture)), out, 0.5)
    middle = picture[(size[0] - min(size)) // 2 :, (size[1] - min(size)) // 2 :][: min(size), : min(size)]
    assert np.abs(out.mean(axis=(0, 1)) - middle.mean(axis=(0, 1))).max() < 12
    assert (out != 0).any(axis=(1, 2)).all()


def test_sides_that_the_decoder_cannot_give_are_refused():
    for px in (0, 100, 512):
        with pytest.raises(ValueError, match=f"multiples of 32 up to 256 .* not {px}"):
            Shape({"aerial": px, "street": 64}, 1)
