import math

import pytest
import torch

from training.towers.text import ByteTokens, TextTower, WordPieces, drop_tokens
from training.towers.vit import VitShape

TEXTS = ["Ein Dorf am Fluss.", "", "山と川", "a" * 5000, "Straße 461 m \U0001f3d4"]
SHAPE = VitShape(32, 2, 2, 16)


def make_tower(kind):
    return TextTower(ByteTokens(64, 32, stride=8) if kind == "byte" else WordPieces(24, 32), SHAPE)


def test_bytes_are_utf8_plus_one():
    tokens_NL = ByteTokens(16, 32, stride=8).tokenize(["é", ""])
    assert tokens_NL.tolist() == [[0xC3 + 1, 0xA9 + 1] + [0] * 14, [0] * 16]


def test_pieces_cut_words_numbers_and_ideographs():
    assert WordPieces(24, 32)._cut("Countryside 461 m, 山と川_OK 2,310 km at -3.5 in 10-20") == [
        "countrys", "ide", "461", "m", "山", "と", "川", "ok", "2,310", "km", "at", "-3.5", "in", "10", "20",
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), [
    ("461", 461), ("0", 0), ("2,310", 2310), ("1.234.567", 1234567), ("3.5", 3.5), ("3,14", 3.14), ("-12", -12), ("\u221240", -40), ("٣٤", 34), ("4²", 42),
])  # fmt: skip
def test_a_number_is_one_token_that_knows_its_value(text, number):
    pieces = WordPieces(4, 32)
    code = int(pieces.tokenize([text])[0, 0]) - pieces.rows - 1
    logarithm = code / 1024 - 48
    assert logarithm == pytest.approx(math.copysign(math.log1p(abs(number)), number), abs=1 / 2048)


def test_an_endless_number_is_the_largest():
    pieces = WordPieces(4, 32)
    assert pieces.tokenize(["9" * 500])[0, 0] == pieces.tokenize(["9" * 100])[0, 0]


def test_near_numbers_look_alike():
    pieces = WordPieces(4, 32)
    one, near, far = (pieces(pieces.tokenize([text]))[0][0, 0] for text in ("1000", "1003", "1300"))
    assert (one - near).norm() < (one - far).norm() / 4


def test_pieces_are_the_same_in_every_process():
    assert WordPieces(4, 32).tokenize(["River"]).tolist() == [[1836, 0, 0, 0]]


@pytest.mark.parametrize("kind", ["byte", "wordpiece"])
def test_any_text_is_read(kind):
    tower = make_tower(kind)
    tokens_NL = tower.tokenize(TEXTS)
    out_ND, no_map = tower(tokens_NL)
    assert tokens_NL.dtype == torch.int64
    assert tokens_NL.shape == (5, tower.tokens.length)
    assert out_ND.shape == (5, 16)
    assert out_ND.isfinite().all()
    assert no_map is None


@pytest.mark.parametrize("kind", ["byte", "wordpiece"])
def test_padding_has_no_say(kind):
    tower = make_tower(kind)
    tokens_NL = tower.tokenize(["Ein Dorf am Fluss und am See"])
    _, mask_BL = tower.tokens(tokens_NL)
    assert 0 < int(mask_BL.sum()) < mask_BL.shape[1]
    before, _ = tower(tokens_NL)
    tower.position_LD.data[~mask_BL[0]] += 100
    after, _ = tower(tokens_NL)
    assert torch.equal(before, after)


def test_windows_overlap_by_half_a_stride():
    tokens = ByteTokens(32, 32, stride=8)
    text = torch.ones(1, 32, dtype=torch.int64)
    other = text.clone()
    other[0, 17] = 2
    changed = (tokens(text)[0] != tokens(other)[0]).any(2)[0]
    assert changed.tolist() == [False, True, True, False]


@pytest.mark.parametrize("kind", ["byte", "wordpiece"])
def test_order_matters(kind):
    tower = make_tower(kind)
    one, two = tower(tower.tokenize(["461 m high", "146 m high"]))[0]
    assert not torch.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize("kind", ["byte", "wordpiece"])
def test_gradients_reach_every_parameter(kind):
    tower = make_tower(kind)
    tower(tower.tokenize(TEXTS))[0].square().sum().backward()
    assert [name for name, parameter in tower.named_parameters() if parameter.grad is None] == []


def test_training_drops_words_but_never_all():
    torch.manual_seed(0)
    lengths = torch.tensor([0, 1, 5] + [40] * 200)
    mask_BL = torch.arange(40) < lengths[:, None]
    x_BLD = torch.arange(40.0).expand(len(lengths), 40)[..., None]
    kept_BKD, left_BK = drop_tokens(x_BLD, mask_BL, 0.6)
    assert left_BK.shape[1] < 40 and kept_BKD.shape == (*left_BK.shape, 1)
    counts = left_BK.sum(1)
    assert counts[0] == 0 and counts[1] == 1 and (counts[2:] >= 1).all()
    assert float(counts[3:].float().mean()) == pytest.approx(0.6 * 40, abs=1)
    for row, left in zip(kept_BKD[..., 0], left_BK, strict=True):
        assert len(set(row[left].tolist())) == int(left.sum())  # none twice
    assert (kept_BKD[2, left_BK[2], 0] < 5).all()


def test_only_training_drops_words():
    tower = TextTower(WordPieces(24, 32), VitShape(32, 2, 2, 16, keep=0.5))
    tokens_NL = tower.tokenize(["a village between two lakes and a wood"])
    tower.eval()
    assert torch.equal(tower(tokens_NL)[0], tower(tokens_NL)[0])
    tower.train()
    assert not torch.equal(tower(tokens_NL)[0], tower(tokens_NL)[0])
