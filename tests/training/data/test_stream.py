import io
import itertools
import shutil
import tarfile

import pytest
import torch

from schemas.corpus import CorpusError
from tests.services.server import Fault, LoopbackServer, Reply
from tests.training.data.makers import make_keys, make_sample, write_corpus
from training.data.batch import VIEWS
from training.data.loader import Loader, LoaderOptions
from training.data.samples import Samples, open_samples
from training.data.split import load, open_split
from training.data.stream import Stream, StreamLoader, open_stream

PX = {"aerial": 32, "street": 32}
OPTIONS = {"threads": 2, "image_px": PX, "seed": 3, "modality_dropout": 0.2, "mask_within_m": 2000.0}
TENSORS = (
    "sentinel2_BCHW", "aerial_BHWC", "dem_BCHW", "street_BHWC", "text_BL", "lonlat_B2", "spots_BS2",
    "focus_BR2",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    keys = make_keys(41)
    samples = [make_sample(key, photos=1 + n % 2, photo_px=(64, 96)) for n, key in enumerate(keys[:8])]
    items = [{"text": f"article {n % 6}"} for n in range(32)]
    samples += [make_sample(key, views=("text", "aerial"), items=items[n]) for n, key in enumerate(keys[8:40])]
    return write_corpus(tmp_path_factory.mktemp("corpora"), [*samples, make_sample(keys[40], views=())], per_shard=6)


@pytest.fixture(params=["http", "pipe"])
def address(request, corpus):
    if request.param == "pipe":
        yield f"pipe:cat {corpus}/{{}}"
        return

    def answer(asked):
        path = corpus / asked.path.removeprefix("/mine/")
        return Reply(200, path.read_bytes()) if path.is_file() else Reply(404)

    with LoopbackServer(answer) as server:
        yield f"{server.root}/mine"


def _copy(batch):
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in vars(batch).items()}


def _take(address, count, *, start=0, size=8, **options):
    loader = StreamLoader(open_stream(address, "train"), size, options=LoaderOptions(**OPTIONS | options))
    return [_copy(batch) for batch in itertools.islice(loader.batches(start), count)]


def test_a_stream_knows_what_the_folder_knows(corpus, address):
    stream, samples = open_split(address, "train"), open_split(corpus, "train")
    assert isinstance(stream, Stream) and isinstance(samples, Samples)
    assert (len(stream), stream.extent, stream.statistics) == (len(samples), samples.extent, samples.statistics)
    assert isinstance(load(stream, 8), StreamLoader) and isinstance(load(samples, 8), Loader)


def test_evaluation_of_a_stream_is_that_of_the_folder(corpus, address):
    options = LoaderOptions(**OPTIONS)
    remote = [_copy(batch) for batch in load(open_split(address, "train"), 8, options=options).in_order()]
    local = [_copy(batch) for batch in load(open_split(corpus, "train"), 8, options=options).in_order()]
    assert [batch["keys"] for batch in remote] == [batch["keys"] for batch in local]
    for one, two in zip(remote, local, strict=True):
        for name in (*TENSORS, "present_MB", "inside_SB", "near_K2"):
            assert torch.equal(one[name], two[name]), name


def test_training_draws_a_place_from_a_stream_as_from_the_folder(corpus, address):
    samples = open_samples(corpus, "train")
    local = {}
    loader = Loader(samples, 8, options=LoaderOptions(**OPTIONS))
    for batch in itertools.islice(loader.batches(), loader.steps_per_epoch):
        for row, key in enumerate(batch.keys):
            local[key] = [getattr(batch, name)[row].clone() for name in TENSORS]
    seen = 0
    for batch in _take(address, 5):
        for row, key in enumerate(batch["keys"]):
            if key in local:
                seen += 1
                assert all(
                    torch.equal(batch[name][row], value) for name, value in zip(TENSORS, local[key], strict=True)
                )
    assert seen > 20


def test_no_place_comes_twice_in_an_epoch_nor_an_article_in_a_batch(corpus, address):
    samples = open_samples(corpus, "train")
    groups = dict(zip(samples.keys, samples.group_N.tolist(), strict=True))
    batches = _take(address, 10, size=6)
    epoch = [key for batch in batches[:6] for key in batch["keys"]]
    assert len(epoch) == len(set(epoch)) == 36
    for batch in batches:
        own = [groups[key] for key in batch["keys"] if groups[key] >= 0]
        assert len(batch["keys"]) == 6 and len(own) == len(set(own))
    assert batches[0]["keys"] != batches[6]["keys"]


def test_a_stream_that_goes_on_gets_the_batches_of_an_unbroken_one(address):
    unbroken = _take(address, 8)
    for start in (3, 7):
        for one, two in zip(unbroken[start:], _take(address, 8 - start, start=start, threads=1), strict=True):
            for name, value in one.items():
                assert torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name], name


def test_ranks_read_different_shards_and_number_their_pairs_by_the_whole_batch(address):
    shares = [_take(address, 3, size=8, rank=rank, world=2, mask_within_m=1e5) for rank in range(2)]
    for one, two in zip(*shares, strict=True):
        assert len(one["keys"]) == len(two["keys"]) == 4 and not set(one["keys"]) & set(two["keys"])
        assert one["near_K2"].numel() and one["near_K2"].max() < 4 <= two["near_K2"].min()
    keys = []
    for rank in range(2):
        loader = StreamLoader(open_stream(address, "train"), 8, options=LoaderOptions(rank=rank, world=2, image_px=PX))
        keys += [key for batch in loader.in_order() for key in batch.keys]
    assert len(keys) == len(set(keys)) == 41


def test_what_cannot_work_is_refused_in_one_sentence(corpus, address):
    stream = open_stream(address, "train")
    with pytest.raises(CorpusError, match="has no shard of split 'val'"):
        open_stream(address, "val")
    with pytest.raises(CorpusError, match="Unknown split 'all'"):
        open_stream(address, "all")
    with pytest.raises(CorpusError, match="7 shards of split 'train' for 8 ranks"):
        StreamLoader(stream, 8, options=LoaderOptions(world=8))
    with pytest.raises(CorpusError, match="A batch of 64 places for each rank is larger than its share of the 41"):
        StreamLoader(stream, 64).batches()
    with pytest.raises(CorpusError, match="No place of split 'train' has two of the views sentinel2:"):
        next(StreamLoader(stream, 32, options=LoaderOptions(image_px=PX, views=("sentinel2",))).batches())
    with pytest.raises(CorpusError, match="does not say where the file's name belongs"):
        open_stream(f"pipe:cat {corpus}", "train")
    with pytest.raises(CorpusError, match="holds no finished corpus that can be read"):
        open_stream(f"pipe:cat {corpus}/nowhere/{{}}", "train")


def test_a_shard_that_is_cut_off_is_named_and_counted_or_an_error(corpus, tmp_path, caplog):
    (tmp_path / "train").mkdir()
    for path in [*corpus.glob("*.*"), *corpus.glob("train/*.tar")]:
        (tmp_path / path.relative_to(corpus)).write_bytes(path.read_bytes())
    cut = tmp_path / "train/train-000001.tar"
    cut.write_bytes(cut.read_bytes()[:20_000])
    (tmp_path / "train/train-000003.tar").unlink()
    stream = open_stream(f"pipe:cat {tmp_path}/{{}}", "train")
    loader = StreamLoader(stream, 8, options=LoaderOptions(image_px=PX))
    keys = [key for batch in loader.in_order() for key in batch.keys]
    assert 41 - 12 <= len(keys) < 41 - 6 and loader.damaged == 2
    assert "train/train-000001.tar, as a whole: it" in caplog.text
    assert "train/train-000003.tar, as a whole: it" in caplog.text
    assert len(list(itertools.islice(loader.batches(), loader.steps_per_epoch))) == 5  # made up for by a second reading
    with pytest.raises(CorpusError, match=r"Damaged: train/train-000001\.tar"):
        list(StreamLoader(stream, 8, options=LoaderOptions(image_px=PX, on_damage="fail")).in_order())


def test_phases_of_a_stream_follow_the_step(address):
    phases = (("text", "location"), ("dem", "location"))
    found = _take(address, 4, start=1, phases=phases, phase_steps=2, modality_dropout=0.0)
    shown = [set(batch["present_MB"].any(1).nonzero().flatten().tolist()) for batch in found]
    text, dem = ({VIEWS.index(view) for view in phase} for phase in phases)
    assert shown == [text, dem, dem, text]


def test_a_connection_that_ends_within_a_shard_is_named_and_counted(corpus, caplog):
    def answer(asked):
        return Reply(200, (corpus / asked.path.removeprefix("/")).read_bytes())

    with LoopbackServer(answer) as server:
        server.faults.append(Fault("truncated", path="train-000002.tar", times=9))
        loader = StreamLoader(open_stream(server.root, "train"), 8, options=LoaderOptions(image_px=PX))
        keys = [key for batch in loader.in_order() for key in batch.keys]
    assert 41 - 6 <= len(keys) < 41 and loader.damaged == 1
    assert "train/train-000002.tar, as a whole: it cannot be read to its end" in caplog.text


@pytest.mark.parametrize("record", ['{"key": "x", "split": "train", "lon": null, "lat": 1.0, "observations": []}', "{"])
def test_a_record_that_is_none_is_named_and_its_place_left_out(tmp_path, caplog, record):
    samples = [make_sample(key, views=("text",)) for key in make_keys(3)]
    corpus = write_corpus(tmp_path / "one", samples)
    tar = corpus / "train/train-000000.tar"
    with tarfile.open(tar) as file:
        members = [(info, file.extractfile(info).read()) for info in file]
    with tarfile.open(tar, "w") as file:
        for info, payload in members:
            content = record.encode() if info.name == f"{samples[1].key}.json" else payload
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    loader = StreamLoader(open_stream(f"pipe:cat {corpus}/{{}}", "train"), 2, options=LoaderOptions(image_px=PX))
    assert [key for batch in loader.in_order() for key in batch.keys] == [samples[0].key, samples[2].key]
    assert loader.damaged == 1 and f"{samples[1].key}.json: no record of a place" in caplog.text


def test_a_record_of_a_newer_schema_is_refused(tmp_path):
    corpus = write_corpus(tmp_path / "one", [make_sample(key, views=("text",)) for key in make_keys(3)])
    tar = corpus / "train/train-000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b'"schema_version": 1', b'"schema_version": 9'))
    loader = StreamLoader(open_stream(f"pipe:cat {corpus}/{{}}", "train"), 2, options=LoaderOptions(image_px=PX))
    with pytest.raises(CorpusError, match="schema version 9"):
        list(loader.in_order())


def test_a_split_of_which_nothing_can_be_read_is_one_sentence(tmp_path):
    corpus = write_corpus(tmp_path / "one", [make_sample(key, views=("text",)) for key in make_keys(3)])
    (corpus / "train/train-000000.tar").write_bytes(b"")
    loader = StreamLoader(open_stream(f"pipe:cat {corpus}/{{}}", "train"), 2, options=LoaderOptions(image_px=PX))
    with pytest.raises(CorpusError, match="has no place of split 'train' that can be read"):
        list(loader.in_order())


def test_a_stream_knows_the_centres_of_its_places(corpus, address):
    stream, samples = open_split(address, "train"), open_split(corpus, "train")
    assert stream.centres.keys() == set(samples.keys)
    assert all(stream.centres[key] == pytest.approx(centre) for key, centre in samples.centres.items())


def test_an_index_that_cannot_be_read_is_one_sentence(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "one")
    (tmp_path / "one/index.parquet").write_bytes(b"PAR1")
    stream = open_stream(f"pipe:cat {tmp_path}/one/{{}}", "train")
    with pytest.raises(CorpusError, match=r"The index\.parquet of pipe:cat .* cannot be read"):
        _ = stream.extent
