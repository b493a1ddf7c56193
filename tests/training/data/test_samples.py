import json
import shutil

import numpy as np
import pytest

from geodata import cells
from schemas.corpus import CorpusError
from schemas.modality import MODALITIES
from schemas.sample import encode_metadata
from tests.training.data.makers import make_keys, make_sample, measure, write_corpus, write_tar
from training.data.places import read_places
from training.data.samples import open_samples

KEYS = make_keys(30)


@pytest.fixture(scope="module")
def made():
    """Thirty places, of which some lack views, and some have several photos and seasons."""
    samples = [make_sample(key, photos=1 + n % 3, seasons=1 + n % 2) for n, key in enumerate(KEYS[:20])]
    samples += [make_sample(key, views=("text",)) for key in KEYS[20:22]]
    samples += [make_sample(key, views=("aerial", "dem"), split="val") for key in KEYS[22:28]]
    return samples + [make_sample(key, split="test", views=("sentinel2",)) for key in KEYS[28:]]


@pytest.fixture(scope="module")
def corpus(made, tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpora") / "one", made)


def _content(samples):
    """Every observation's bytes by key and member."""
    names = [samples.places.name_of(k) for k in range(len(samples.places.place_K))]
    return {name: bytes(samples.read(k)) for k, (_, name) in enumerate(names)}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_member_of_a_split_is_found_with_its_bytes_and_position(made, corpus, split):
    samples = open_samples(corpus, split)
    expected = [sample for sample in made if sample.split == split]
    assert sorted(samples.keys) == sorted(sample.key for sample in expected)
    assert _content(samples) == {o.member: o.payload for sample in expected for o in sample.observations}
    by_key = {sample.key: sample for sample in expected}
    for row, key in enumerate(samples.keys):
        assert tuple(samples.lonlat_N2[row]) == (by_key[key].lon, by_key[key].lat)
        assert samples.views_MN[:, row].tolist() == [by_key[key].first(view) is not None for view in MODALITIES]
        own = slice(*samples.places.first_N[row : row + 2])
        observations = by_key[key].observations
        assert [list(MODALITIES)[view] for view in samples.places.view_K[own]] == [o.modality for o in observations]
        for anchor, epsg, side, o in zip(
            samples.places.anchor_K2[own],
            samples.places.epsg_K[own],
            samples.places.side_K2[own],
            observations,
            strict=True,
        ):
            grid = o.grid
            assert tuple(anchor) == ((grid.left, grid.top) if grid else (o.lon, o.lat))
            assert epsg == (int(grid.crs[5:]) if grid else 0)
            assert tuple(side) == ((grid.right - grid.left, grid.top - grid.bottom) if grid else (0, 0))


def test_the_extent_holds_every_place(made, corpus):
    west, south, east, north = open_samples(corpus, "train").extent
    lonlat = np.array([(sample.lon, sample.lat) for sample in made if sample.split == "train"])
    assert [west, south] == lonlat.min(axis=0).tolist() and [east, north] == lonlat.max(axis=0).tolist()


def test_statistics_come_from_the_manifest_of_any_split(corpus):
    bands = json.loads((corpus / "manifest.json").read_text())["statistics"]["bands"]
    for split in ("train", "test"):
        statistics = open_samples(corpus, split).statistics
        assert set(statistics) == {"sentinel2", "aerial", "dem", "street"}
        for view, values in statistics.items():
            assert np.allclose(values["mean"], bands[view]["mean"]) and np.allclose(values["std"], bands[view]["std"])


def test_a_union_counts_as_one_corpus(made, corpus, tmp_path):
    other = [make_sample(key, seed=5) for key in make_keys(5, start=(11.3, 48.2))]
    shutil.copytree(corpus, tmp_path / "one")
    write_corpus(tmp_path / "two", other)
    samples = open_samples(tmp_path, "train")
    assert len(samples) == 22 + 5
    assert set(_content(samples)) >= {o.member for sample in other for o in sample.observations}
    together = measure([*made, *other]).summary()
    for view, values in samples.statistics.items():
        assert np.allclose(values["mean"], together[view]["mean"]) and np.allclose(values["std"], together[view]["std"])
    write_corpus(tmp_path / "three", other[:1])
    with pytest.raises(CorpusError, match=f"The place {other[0].key} is in"):
        open_samples(tmp_path, "train")


def test_real_and_synthetic_places_are_mixed_only_when_asked(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "one")
    write_corpus(tmp_path / "two", [make_sample(key) for key in make_keys(2, start=(11.3, 48.2))], synthetic=False)
    with pytest.raises(CorpusError, match="mix synthetic and real"):
        open_samples(tmp_path, "train")
    assert len(open_samples(tmp_path, "train", mix_synthetic=True)) == 24


@pytest.mark.parametrize("is_flat", [True, False])
def test_a_bare_folder_of_tars_works(made, corpus, tmp_path, is_flat, caplog):
    for tar in corpus.glob("*/*.tar"):
        target = tmp_path / (tar.name if is_flat else f"{tar.parent.name}/{tar.name}")
        target.parent.mkdir(exist_ok=True)
        shutil.copy(tar, target)
    for split in ("train", "val", "test"):
        bare, whole = open_samples(tmp_path, split), open_samples(corpus, split)
        assert _content(bare) == _content(whole)
    assert "has no manifest.json: its 5 tars are indexed" in caplog.text
    assert bare.split == "test"
    for view, values in whole.statistics.items():  # of train, and of all places: there are fewer than 500
        assert np.allclose(bare.statistics[view]["mean"], values["mean"], rtol=1e-3)
        assert np.allclose(bare.statistics[view]["std"], values["std"], rtol=1e-3)
    assert "statistics of the bands are measured at 22 places of split train" in caplog.text


def test_folders_without_places_are_refused_in_one_sentence(corpus, tmp_path):
    with pytest.raises(CorpusError, match="holds no finished corpus"):
        open_samples(tmp_path, "train")
    with pytest.raises(CorpusError, match="holds no finished corpus"):
        open_samples(tmp_path / "nowhere", "train")
    with pytest.raises(CorpusError, match="Unknown split 'all'"):
        open_samples(corpus, "all")
    write_corpus(tmp_path / "one", [make_sample(KEYS[0], views=("text",))])
    with pytest.raises(CorpusError, match="has no place of split 'test'"):
        open_samples(tmp_path, "test")
    manifest = json.loads((tmp_path / "one/manifest.json").read_text())
    (tmp_path / "one/manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(CorpusError, match="format 99"):
        open_samples(tmp_path, "train")


def test_a_record_of_a_newer_schema_is_refused(tmp_path):
    record = json.loads(encode_metadata(make_sample(KEYS[0], views=("text",))))
    with pytest.raises(CorpusError, match="schema version 2, this reader knows up to 1"):
        read_places([json.dumps(record | {"schema_version": 2}).encode()])
    with pytest.raises(ValueError, match="lacks key, split or position"):
        read_places([b'{"schema_version": 1}'])


def test_places_that_share_an_article_a_photo_or_the_cell_are_grouped(tmp_path):
    views = ("street", "text")
    shared = [{"text": "A"}, {"text": "A", "street": "P"}, {"street": "P"}, {"text": "B"}, {}]
    samples = [make_sample(key, views=views, items=items) for key, items in zip(KEYS, shared, strict=False)]
    write_tar(tmp_path / "a.tar", samples)
    write_tar(tmp_path / "b.tar", [make_sample(KEYS[4], views=("text",), seed=1)])
    opened = open_samples(tmp_path, "train")
    groups = dict(zip(zip(opened.keys, range(6), strict=True), opened.group_N.tolist(), strict=True))
    named = [[group for (key, _), group in groups.items() if key == wanted] for wanted in KEYS[:5]]
    assert named[0] == named[1] == named[2] and named[0][0] >= 0
    assert named[3] == [-1]
    assert named[4][0] == named[4][1] >= 0 and named[4][0] != named[0][0]


def test_what_is_damaged_is_named_and_the_rest_is_read(made, corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "one")
    tars = sorted((tmp_path / "one/train").glob("*.tar"))
    whole = open_samples(corpus, "train")
    tars[0].unlink()
    cut = tars[1].read_bytes()
    tars[1].write_bytes(cut[: len(cut) // 2])
    last = whole.keys[-1]
    tars[2].write_bytes(tars[2].read_bytes().replace(f'"key": "{last}"'.encode(), f'"key": {last}"'.encode() + b" "))
    samples = open_samples(tmp_path / "one", "train")
    said = [str(damage) for damage in samples.damage]
    assert "train/train-000000.tar, as a whole: it cannot be opened (No such file or directory)" in said
    assert any(
        "train/train-000001.tar" in text and "more members lie beyond the end of the shard" in text for text in said
    )
    assert any(f"train/train-000002.tar, {last}.json: no record of a place" in text for text in said)
    assert 0 < len(samples) < len(whole) - 8 and last not in samples.keys
    content = _content(whole)
    assert all(content[member] == payload for member, payload in _content(samples).items())


def test_a_tar_without_a_manifest_is_read_up_to_its_damage(tmp_path):
    samples = [make_sample(key, views=("aerial", "text")) for key in KEYS[:4]]
    write_tar(tmp_path / "a.tar", samples)
    payload = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(payload[: len(payload) * 2 // 3])
    opened = open_samples(tmp_path, "train")
    assert 0 < len(opened) < 4
    assert any("cut off" in damage.cause for damage in opened.damage)
    rows = write_tar(tmp_path / "a.tar", samples)
    broken = bytearray((tmp_path / "a.tar").read_bytes())
    broken[rows[2]["offset"] : rows[2]["offset"] + 512] = b"?" * 512
    (tmp_path / "a.tar").write_bytes(broken)
    opened = open_samples(tmp_path, "train")
    assert opened.keys == [sample.key for sample in samples[:2]]
    assert [damage.cause for damage in opened.damage] == [
        f"no member can be found from byte {rows[2]['offset']} on (invalid header)"
    ]


def test_a_million_places_stay_small(made):
    places, _ = read_places([encode_metadata(make_sample(cells.to_key(cells.to_cell(KEYS[0])), photos=1))])
    a_place = sum(getattr(places, name).nbytes for name in ("cells_N", "split_N", "lonlat_N2"))
    observations = sum(getattr(places, name).nbytes for name in ("place_K", "view_K", "anchor_K2", "side_K2", "epsg_K"))
    assert a_place + observations < 300


def test_a_bare_folder_that_holds_a_place_twice_is_known(corpus, tmp_path):
    tar = sorted(corpus.glob("train/*.tar"))[0]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(tar, tmp_path / name / "x.tar")
    samples = open_samples(tmp_path, "train")
    with pytest.raises(CorpusError, match=r"The place \w+ is in .*x\.tar and in .*x\.tar, and \d+ more are there"):
        samples.check_once()
    open_samples(corpus, "train").check_once()


def test_a_split_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    write_corpus(tmp_path / "one", [make_sample(KEYS[0], views=("text",))])
    with pytest.raises(CorpusError, match="has no place of split 'test' that can be read: choose from train"):
        open_samples(tmp_path, "test")
