import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runs import ROOT
from tests.training.standin import StandIn
from training.api import BATCH, Encoder
from training.inputs import InputError


def test_each_view_is_encoded_from_what_people_have():
    encoder = Encoder(StandIn())
    given = {
        "text": ["a mill", "a weir"], "location": [(6.1, 49.6), (6.2, 49.7)],
        "street": [np.full((40, 30, 3), 7, np.uint8)] * 2, "aerial": np.full((2, 256, 256, 3), 7, np.uint8),
        "sentinel2": np.ones((2, 12, 128, 128), np.uint16), "dem": np.ones((2, 128, 128), np.float32),
    }  # fmt: skip
    for view in encoder.views:
        z = encoder.encode(view, given[view])
        assert z.shape == (2, 4) and z.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)


def test_a_patch_is_encoded_with_where_its_places_lie():
    encoder = Encoder(StandIn())
    patches, focus = np.ones((2, 1, 128, 128), np.float32), [(0.5, -0.25), (1, -1)]
    middle = encoder.encode("dem", patches)
    moved = encoder.encode("dem", patches, focus)
    assert (middle != moved).any(1).all() and (moved[0] != moved[1]).any()
    for view, wrong, words in (
        ("dem", [(0.5, 1.25), (0, 0)], r"holds 0 \.\.\. 1.25: give numbers of -1 \.\.\. 1"),
        ("dem", [(0.5, 0.5)], r"the shape \(1, 2\)"), ("dem", [(np.nan, 0), (0, 0)], "holds nan"), ("dem", [(0, 1), (0,)], "no array of numbers"),
        ("text", focus, "nowhere but in the middle of text: leave focus_N2 out"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            encoder.encode(view, patches, wrong)


def test_similarity_is_the_cosine_of_every_two():
    encoder = Encoder(StandIn())
    a, b = encoder.encode("location", [(0, 0), (90, 0)]), encoder.encode("text", ["x", "y", "z"])
    similarity = encoder.similarity(a, b)
    assert similarity.shape == (2, 3)
    np.testing.assert_allclose(similarity[1, 2], a[1] @ b[2], rtol=1e-6)
    np.testing.assert_allclose(encoder.similarity(a[0], a), [[1, a[0] @ a[1]]], rtol=1e-6)


def test_many_values_are_encoded_a_batch_at_a_time():
    encoder = Encoder(StandIn())
    texts = [str(i) for i in range(BATCH + 3)]
    z = encoder.encode("text", texts)
    assert encoder.model.most == BATCH
    np.testing.assert_array_equal(z[-1:], encoder.encode("text", texts[-1:]))


def test_nothing_is_encoded_as_nothing():
    for view in ("street", "text", "location"):
        assert Encoder(StandIn()).encode(view, []).shape == (0, 4)


def test_what_cannot_be_encoded_is_refused():
    encoder = Encoder(StandIn(extent=(5.7, 49.4, 6.6, 50.2)))
    with pytest.raises(InputError, match="Unknown view 'photo': choose from sentinel2"):
        encoder.encode("photo", [])
    with pytest.raises(InputError, match=r"give a list, such as \['a mill'\]"):
        encoder.encode("text", "a mill")
    with pytest.raises(InputError, match="One value was given: give a list"):
        encoder.encode("street", Path("a.jpg"))
    with pytest.raises(InputError, match="A value is of type int: give paths, bytes or arrays"):
        encoder.encode("street", [7])
    with pytest.raises(InputError, match="Positions are no array of numbers"):
        encoder.encode("location", [("6,13", "49,61")])
    with pytest.raises(InputError, match="Position 300: "):
        encoder.encode("location", [(6.1, 49.6)] * 300 + [(6.1, 149.6)])
    with pytest.raises(InputError, match="A text is no string"):
        encoder.encode("text", [b"a mill"])
    with pytest.raises(InputError, match="look swapped"):
        encoder.encode("location", [(49.6, 6.1)])


def test_importing_training_loads_no_torch():
    code = "import sys, training; training.load; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=60).returncode == 0
