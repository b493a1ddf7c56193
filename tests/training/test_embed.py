import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from geodata.grid import pixel_position
from schemas.corpus import read_sample
from tests.training.data.makers import make_keys, make_sample, write_corpus
from tests.training.untrained import make_corpus, make_run
from training import load
from training.checkpoint import State, write_checkpoint
from training.data.batch import GROUNDS
from training.data.samples import open_samples
from training.embed import main
from training.model import Model, ModelConfig


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora") / "small", places=6)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "small", corpus)


@pytest.fixture(scope="module")
def table(run, corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("tables") / "z.parquet"
    assert main([str(run), str(corpus), "--split", "val", "-o", str(output), "--device", "cpu"]) == 0
    return pq.read_table(output)


def test_every_view_of_every_place_is_embedded(table):
    assert table.column_names == ["key", "modality", "lon", "lat", "z"]
    assert len(table) == 6 * 6 and len(set(table["key"].to_pylist())) == 6
    np.testing.assert_allclose(np.linalg.norm(table["z"].to_pylist(), axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("modality", ["sentinel2", "aerial", "dem", "street", "text"])
def test_members_unpacked_are_embedded_as_those_in_the_corpus(run, corpus, table, tmp_path, modality):
    rows = [
        (k, z)
        for k, m, z in zip(*(table[c].to_pylist() for c in ("key", "modality", "z")), strict=True)
        if m == modality
    ]
    paths, focus = [], []
    for key, _ in rows:
        sample = read_sample(corpus, key)
        observation = sample.first(modality)
        paths.append(tmp_path / observation.member)
        paths[-1].write_bytes(observation.payload)
        if modality in GROUNDS:
            focus.append(np.array(pixel_position(observation.grid, sample.lon, sample.lat)) / 64 - 1)
    output = tmp_path / "z.parquet"
    assert main([str(run), "--modality", modality, *map(str, paths), "-o", str(output), "--device", "cpu"]) == 0
    found = pq.read_table(output)
    assert found["file"].to_pylist() == list(map(str, paths))
    z_ND = np.array(found["z"].to_pylist())
    if focus:  # a file does not say where in it the place lies
        np.testing.assert_allclose(z_ND, load(run).encode(modality, paths), atol=2e-6)
        z_ND = load(run).encode(modality, paths, focus)
    np.testing.assert_allclose(z_ND, [z for _, z in rows], atol=2e-6)


def test_points_of_a_file_are_embedded_as_in_three_lines_of_python(run, tmp_path):
    (tmp_path / "p.csv").write_text("lon,lat\n6.13,49.61\n6.2,49.7\n")
    assert main([str(run), "--modality", "location", str(tmp_path / "p.csv"), "-o", str(tmp_path / "z.parquet")]) == 0
    model = load(run)
    a, b = model.encode("location", [(6.13, 49.61), (6.2, 49.7)]), model.encode("text", ["a mill"])
    np.testing.assert_allclose(pq.read_table(tmp_path / "z.parquet")["z"].to_pylist(), a, atol=2e-6)
    assert model.similarity(a, b).shape == (2, 1)


def test_bad_input_is_one_sentence_and_leaves_nothing(run, corpus, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("lon,lat\n49.61,6.13\n")
    (tmp_path / "t.csv").write_text('text\na mill\n""\n')
    output = str(tmp_path / "out" / "z.parquet")
    for arguments, message in (
        (["--modality", "location", str(tmp_path / "p.csv")], "look swapped"),
        (["--modality", "street", str(tmp_path / "p.csv")], "is no JPEG"),
        (
            ["--modality", "text", str(tmp_path / "t.csv")],
            "t.csv, row 1, holds nothing that the model reads: leave it out",
        ),
        ([str(tmp_path)], "holds no finished corpus"),
        ([str(corpus), "--split", "dev"], "Unknown split 'dev'"),
    ):
        assert main([str(run), *arguments, "-o", output]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ") and message in line
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


def test_several_corpora_are_refused_in_words(run, corpus, capsys):
    with pytest.raises(SystemExit):
        main([str(run), str(corpus), str(corpus), "-o", "z.parquet"])
    assert "2 corpora were given: give one folder" in capsys.readouterr().err


def test_a_place_that_lies_in_two_tars_has_two_rows_of_each_view(run, tmp_path):
    made = write_corpus(tmp_path / "made", [make_sample(key, split="test") for key in make_keys(2)])
    for name in ("a", "b"):
        (tmp_path / "bare" / name).mkdir(parents=True)
        shutil.copy(made / "test/test-000000.tar", tmp_path / "bare" / name / "x.tar")
    output = tmp_path / "z.parquet"
    assert main([str(run), str(tmp_path / "bare"), "-o", str(output)]) == 0
    assert pq.read_table(output).num_rows == 2 * 2 * 6


def test_a_view_that_was_not_trained_is_one_sentence(corpus, tmp_path, capsys):
    samples = open_samples(corpus, "train")
    config = ModelConfig(views=("aerial", "location"), extent=samples.extent, statistics=samples.statistics)
    state = State(step=1, model=config.to_dict(), options={}, corpus={}, metrics={})
    write_checkpoint(tmp_path / "run", state, {"model.safetensors": Model(config).state_dict()}, keep=1)
    (tmp_path / "t.txt").write_text("a mill")
    asked = [str(tmp_path / "run"), "--modality", "text", str(tmp_path / "t.txt"), "-o", str(tmp_path / "z.parquet")]
    assert main(asked) == 1
    assert "This run was not trained on 'text': choose from aerial, location." in capsys.readouterr().err
