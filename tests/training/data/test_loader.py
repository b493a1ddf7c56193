import itertools
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from schemas.corpus import CorpusError
from schemas.modality import MODALITIES
from tests.runs import ROOT
from tests.training.data.makers import make_keys, make_sample, write_corpus
from training.data.batch import VIEWS
from training.data.loader import Loader, LoaderOptions
from training.data.samples import open_samples
from training.data.tars import Damage

PX = {"aerial": 32, "street": 32}
OPTIONS = {"threads": 2, "image_px": PX, "seed": 3, "modality_dropout": 0.2, "mask_within_m": 300.0}


@pytest.fixture(scope="module")
def made():
    keys = make_keys(50)
    samples = [make_sample(key, photo_px=(64, 96), photos=1 + n % 2) for n, key in enumerate(keys[:12])]
    views = [("text", "aerial"), ("dem", "text"), ("street", "text"), ("text",), ("aerial",)]
    items = [{"text": f"article {n % 7}"} if n % 2 else None for n in range(37)]
    samples += [
        make_sample(key, views=views[n % 5], items=items[n], photo_px=(64, 96)) for n, key in enumerate(keys[12:49])
    ]
    return [*samples, make_sample(keys[49], views=())]


@pytest.fixture(scope="module")
def samples(made, tmp_path_factory):
    return open_samples(write_corpus(tmp_path_factory.mktemp("corpora"), made, per_shard=7), "train")


def _copy(batch):
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in vars(batch).items()}


def _take(samples, count, *, start=0, size=12, **options):
    batches = Loader(samples, size, options=LoaderOptions(**OPTIONS | options)).batches(start)
    return [_copy(batch) for batch in itertools.islice(batches, count)]


def _assert_equal(one, two):
    for name, value in one.items():
        same = torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        assert same, name


def test_an_epoch_holds_every_usable_place_once_and_no_article_twice_in_a_batch(made, samples):
    batches = _take(samples, 4)
    keys = [key for batch in batches for key in batch["keys"]]
    assert len(keys) == len(set(keys)) == 48
    assert set(keys) < {sample.key for sample in made if sample.observations}
    articles = {sample.key: sample.text.item_id for sample in made if sample.text}
    for batch in batches:
        own = [articles[key] for key in batch["keys"] if key in articles]
        assert len(own) == len(set(own)) > 5


def test_a_run_that_goes_on_gets_the_batches_of_an_unbroken_one(samples):
    unbroken = _take(samples, 11)
    for start in (1, 6, 10):
        for one, two in zip(unbroken[start:], _take(samples, 11 - start, start=start, threads=1), strict=True):
            _assert_equal(one, two)
    assert unbroken[0]["keys"] != unbroken[4]["keys"]


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batches_that_one_process_gets(samples, world):
    whole = _take(samples, 6)
    shares = [_take(samples, 6, rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert [key for part in parts for key in part["keys"]] == batch["keys"]
        for part in parts:
            assert torch.equal(part["near_K2"], batch["near_K2"])
        for name, value in batch.items():
            if name not in ("keys", "near_K2"):
                axis = 1 if name.endswith("B") else 0
                assert torch.equal(torch.cat([part[name] for part in parts], dim=axis), value), name


def test_shapes_and_types_are_those_of_the_contract(samples):
    batch = _take(samples, 1)[0]
    assert {name: (tuple(v.shape), v.dtype) for name, v in batch.items() if isinstance(v, torch.Tensor) and name != "near_K2"} == {
        "present_MB": ((6, 12), torch.bool), "sentinel2_BCHW": ((12, 12, 128, 128), torch.int16),
        "aerial_BHWC": ((12, 32, 32, 3), torch.uint8), "dem_BCHW": ((12, 1, 128, 128), torch.float32),
        "street_BHWC": ((12, 32, 32, 3), torch.uint8), "text_BL": ((12, 256), torch.int64),
        "lonlat_B2": ((12, 2), torch.float64), "spots_BS2": ((12, 2, 2), torch.float32), "focus_BR2": ((12, 2, 2), torch.float32),
        "inside_SB": ((2, 12), torch.bool),
    }  # fmt: skip
    assert batch["near_K2"].dtype == torch.int64 and batch["near_K2"].shape[1] == 2


def test_evaluation_sees_every_place_once_and_always_the_same(made, samples):
    runs = []
    for threads in (1, 3):
        loader = Loader(samples, 16, options=LoaderOptions(**OPTIONS | {"threads": threads, "mask_within_m": 0.0}))
        runs.append([_copy(batch) for batch in loader.in_order()])
    assert [len(batch["keys"]) for batch in runs[0]] == [16, 16, 16, 2]
    assert [key for batch in runs[0] for key in batch["keys"]] == samples.keys
    for one, two in zip(*runs, strict=True):
        _assert_equal(one, two)
    present = torch.cat([batch["present_MB"] for batch in runs[0]], dim=1)
    assert (present[:-1].numpy() == samples.views_MN).all()  # no dropout
    by_key = {sample.key: sample for sample in made}
    for key, lonlat in zip(samples.keys, torch.cat([batch["lonlat_B2"] for batch in runs[0]]).tolist(), strict=True):
        own = by_key[key].street or by_key[key]
        assert tuple(lonlat) == (own.lon, own.lat)


def test_ranks_evaluate_every_place_once(samples):
    keys = []
    for rank in range(3):
        loader = Loader(samples, 6, options=LoaderOptions(**OPTIONS | {"rank": rank, "world": 3}))
        keys += [key for batch in loader.in_order() for key in batch.keys]
    assert keys == samples.keys


def test_a_split_smaller_than_the_batch_can_be_evaluated_but_not_trained_on(samples):
    loader = Loader(samples, 64, options=LoaderOptions(**OPTIONS))
    assert [len(batch) for batch in loader.in_order()] == [50]
    with pytest.raises(CorpusError, match="A batch of 64 is larger than the"):
        loader.batches()


def test_a_batch_may_be_used_until_the_next_but_one_is_asked_for(samples):
    batches = Loader(samples, 12, options=LoaderOptions(**OPTIONS)).batches()
    first = next(batches)
    kept = _copy(first)
    second = next(batches)
    _assert_equal(kept, vars(first))
    kept = _copy(second)
    for _ in range(3):
        third = next(batches)
        _assert_equal(kept, vars(second))
        second, kept = third, _copy(third)


def test_only_the_views_that_are_asked_for_are_loaded(made, samples):
    loader = Loader(samples, 12, options=LoaderOptions(**OPTIONS | {"views": ("dem", "text"), "modality_dropout": 0.0}))
    batch = next(loader.batches())
    wanted = torch.tensor([view in ("dem", "text") for view in VIEWS])
    assert (batch.present_MB == wanted[:, None]).all()
    assert loader.steps_per_epoch == sum(bool(s.dem and s.text) for s in made) // 12


def test_phases_load_one_view_in_turn_and_the_places_they_would_have_anyway(samples):
    phases = (("text", "location"), ("aerial", "location"))
    whole = _take(samples, 9)
    for steps, wanted in ((2, [0, 0, 1, 1, 0, 0, 1, 1, 0]), (0, [0, 0, 0, 0, 1, 1, 1, 1, 0])):  # an epoch has 4
        found = _take(samples, 9, phases=phases, phase_steps=steps, modality_dropout=0.0)
        for step, batch in enumerate(found):
            absent = [m for m, view in enumerate(VIEWS) if view not in phases[wanted[step]]]
            assert batch["keys"] == whole[step]["keys"]
            assert batch["present_MB"].any(1).sum() == 2 and not batch["present_MB"][absent].any()
        _assert_equal(found[6], _take(samples, 1, start=6, phases=phases, phase_steps=steps, modality_dropout=0.0)[0])


def test_a_corpus_without_two_views_anywhere_is_refused(tmp_path):
    write_corpus(tmp_path, [make_sample(key, views=("text",)) for key in make_keys(4)])
    samples = open_samples(tmp_path, "train")
    assert Loader(samples, 2, options=LoaderOptions(image_px=PX)).steps_per_epoch == 2
    with pytest.raises(
        CorpusError, match=r"No place of split 'train' has two of the views sentinel2, aerial, dem, street, text:"
    ):
        Loader(samples, 2, options=LoaderOptions(image_px=PX, views=tuple(MODALITIES))).batches()


def test_what_cannot_work_is_refused_at_once(samples):
    with pytest.raises(ValueError, match="A batch of 10 places cannot be shared by 4 ranks"):
        Loader(samples, 10, options=LoaderOptions(world=4))
    with pytest.raises(ValueError, match="Unknown view 'radar'"):
        LoaderOptions(views=("radar",))
    with pytest.raises(ValueError, match="Rank 2 must lie below world 2"):
        LoaderOptions(rank=2, world=2)


@pytest.fixture
def damaged(made, tmp_path):
    """A corpus with a photo cut short, a broken patch, and a shard cut off."""
    corpus = write_corpus(tmp_path, made, per_shard=7)
    whole = open_samples(corpus, "train")
    wounds = {}
    for view, number in (("street", 0), ("sentinel2", 3)):
        k = int(np.flatnonzero(whole.places.view_K == list(MODALITIES).index(view))[number])
        wounds[whole.places.name_of(k)[1]] = (
            whole.shards[whole.shard_N[whole.places.place_K[k]]],
            int(whole.offset_K[k]),
        )
    for path, offset in wounds.values():
        payload = bytearray(path.read_bytes())
        payload[offset : offset + 400] = bytes(400)
        path.write_bytes(payload)
    cut = whole.shards[-2]
    cut.write_bytes(cut.read_bytes()[:1024])
    return corpus, list(wounds)


def test_damage_is_skipped_named_once_and_counted(damaged, caplog):
    corpus, members = damaged
    samples = open_samples(corpus, "train")
    loader = Loader(samples, 49, options=LoaderOptions(**OPTIONS | {"modality_dropout": 0.0}))
    for _ in range(2):
        (batch,) = [_copy(batch) for batch in loader.in_order()]
    assert loader.damaged == 3
    said = [record.getMessage() for record in caplog.records if "damaged, skipped" in record.getMessage()]
    assert len(said) == 3
    assert any("lie beyond the end of the shard at byte 1024" in text for text in said)
    for member in members:
        assert sum(f"train/train-000000.tar, {member}: " in text for text in said) == 1
        row, view = batch["keys"].index(member.partition(".")[0]), member.split(".")[1].rstrip("0")
        assert not batch["present_MB"][VIEWS.index(view), row]


def test_damage_can_be_an_error(damaged, made, tmp_path):
    corpus, members = damaged
    options = LoaderOptions(**OPTIONS | {"on_damage": "fail"})
    with pytest.raises(CorpusError, match=r"Damaged: train/train-000006.tar, .* beyond the end of the shard"):
        Loader(open_samples(corpus, "train"), 7, options=options)
    samples = replace(open_samples(corpus, "train"), damage=())
    with pytest.raises(CorpusError, match=f"Damaged: train/train-000000.tar, ({'|'.join(members)}): "):
        list(Loader(samples, 7, options=options).in_order())


def test_a_fault_of_the_tokenizer_reaches_the_caller(samples):
    def tokenize(texts):
        if texts == [""]:
            return torch.zeros(1, 4, dtype=torch.int64)
        raise ZeroDivisionError("tokenizer")

    with pytest.raises(ZeroDivisionError, match="tokenizer"):
        next(Loader(samples, 12, options=LoaderOptions(**OPTIONS | {"tokenize": tokenize})).batches())


def test_a_process_ends_though_its_batches_were_never_closed(samples):
    corpus = samples.shards[0].parents[1]
    code = (
        "import sys\nfrom training.data.samples import open_samples\n"
        "from training.data.loader import Loader, LoaderOptions\n"
        f"batches = Loader(open_samples({str(corpus)!r}, 'train'), 4, options=LoaderOptions(threads=2)).batches()\n"
        "print(len(next(batches)), len({'apache_beam', 'rasterio', 'h3', 'pyproj'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.split() == ["4", "0"], done.stderr


@pytest.mark.slow
def test_the_real_corpus_is_read_though_most_views_are_missing(real_corpus):
    samples = open_samples(real_corpus, "train")
    counts = samples.views_MN.sum(axis=1)
    assert (counts > 0).all() and counts[0] < 0.1 * len(samples)
    loader = Loader(samples, 512, options=LoaderOptions(threads=2, image_px=PX, on_damage="fail"))
    present = torch.cat([batch.present_MB.clone() for batch in loader.in_order()], dim=1)
    assert (present[:-1].numpy() == samples.views_MN).all()
    batch = next(loader.batches())
    assert len(batch) == 512 and (batch.present_MB.sum(dim=0) >= 2).all()


def test_damage_that_every_rank_knows_is_told_by_one_and_refused_by_all(samples):
    samples = replace(samples, damage=(Damage("train/a.tar", "", "", "it is cut off"),))
    told = [Loader(samples, 8, options=LoaderOptions(rank=rank, world=2)).damaged for rank in range(2)]
    assert told == [1, 0]
    for rank in range(2):
        with pytest.raises(CorpusError, match="it is cut off"):
            Loader(samples, 8, options=LoaderOptions(rank=rank, world=2, on_damage="fail"))
