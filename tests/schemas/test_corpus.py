import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import schemas
from schemas.corpus import FORMAT_VERSION, CorpusError, open_corpora

RULE = {"test_resolution": 4, "val_resolution": 7}


def make_corpus(folder, keys=("a",), **changes):
    folder.mkdir(parents=True)
    manifest = {"format_version": FORMAT_VERSION, "synthetic": False, "split_rule": RULE, **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    pq.write_table(pa.table({"key": list(keys)}), folder / "index.parquet")
    return folder


def test_one_corpus_and_a_folder_of_two_are_opened(tmp_path):
    make_corpus(tmp_path / "one")
    make_corpus(tmp_path / "two", keys=("b", "c"))
    (tmp_path / "unfinished" / "plan").mkdir(parents=True)
    assert [c.path.name for c in open_corpora(tmp_path / "one")] == ["one"]
    assert [c.path.name for c in open_corpora(tmp_path)] == ["one", "two"]


def test_a_folder_without_corpus_is_refused(tmp_path):
    with pytest.raises(schemas.CorpusError, match="no finished corpus"):
        open_corpora(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    make_corpus(tmp_path / "one", format_version=FORMAT_VERSION + 1)
    with pytest.raises(schemas.CorpusError, match="install a newer sameplace"):
        open_corpora(tmp_path)


def test_differing_split_rules_are_refused(tmp_path):
    make_corpus(tmp_path / "one")
    make_corpus(tmp_path / "two", keys=("b",), split_rule={**RULE, "val_resolution": 8})
    with pytest.raises(schemas.CorpusError, match="split by different rules"):
        open_corpora(tmp_path)


def test_clashing_keys_are_refused(tmp_path):
    make_corpus(tmp_path / "one", keys=("a", "b"))
    make_corpus(tmp_path / "two", keys=("b",))
    with pytest.raises(schemas.CorpusError, match="The place b is in"):
        open_corpora(tmp_path)


def test_synthetic_and_real_are_mixed_only_when_asked(tmp_path):
    make_corpus(tmp_path / "one")
    make_corpus(tmp_path / "two", keys=("b",), synthetic=True)
    with pytest.raises(schemas.CorpusError, match="mix synthetic and real"):
        open_corpora(tmp_path)
    assert len(open_corpora(tmp_path, mix_synthetic=True)) == 2


def test_an_unknown_key_is_named(tmp_path):
    make_corpus(tmp_path / "one")
    with pytest.raises(KeyError, match="No sample zz"):
        schemas.read_sample(tmp_path, "zz")


def test_public_names_are_frozen():
    assert {"Sample", "Observation", "read_sample", "open_corpora", "Drop", "Grid", "MODALITIES"} <= set(
        schemas.__all__
    )
    views = ("sentinel2", "aerial", "dem", "street", "text")
    assert all(isinstance(getattr(schemas.Sample, view), property) for view in views)
    needed = {
        "payload",
        "lon",
        "lat",
        "captured_at",
        "source",
        "item_id",
        "licence",
        "attribution",
        "distance_m",
        "synthetic",
    }
    assert needed <= set(schemas.Observation.__dataclass_fields__)


@pytest.mark.parametrize(("name", "content", "words"), [
    ("manifest.json", b'{"format_version": 1, "sh', "manifest.json cannot be read"),
    ("manifest.json", b"[1]", "manifest.json holds no object"),
    ("index.parquet", b"PAR1 cut off", "index.parquet cannot be read"),
    ("index.parquet", None, "index.parquet cannot be read"),
])  # fmt: skip
def test_a_damaged_file_of_a_corpus_is_named_with_a_remedy(tmp_path, name, content, words):
    corpus = make_corpus(tmp_path / "one", ["8a1faa4ca84ffff"])
    (corpus / name).unlink() if content is None else (corpus / name).write_bytes(content)
    with pytest.raises(CorpusError, match=f"{words}.*pipelines.finish"):
        schemas.corpus.read_sample(corpus, "8a1faa4ca84ffff")
