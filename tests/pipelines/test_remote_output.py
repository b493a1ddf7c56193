"""Whole builds whose corpus lies at gs:// and s3://, in processes of their own with a time limit."""

import json

import pytest

from pipelines.files import storage
from tests.folders import write_folder
from tests.runs import run_build
from training.shards import open_shards

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=14)


@pytest.fixture(scope="module")
def local(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("local") / "corpus"
    build(source, output)
    return json.loads((output / "manifest.json").read_text())


def build(source, output):
    options = ("--region", "DE", "--sources", f"folder:{source}", "--output", output, "--samples_per_shard", "4")
    return run_build(*options, "--workers", "2")


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_corpus_at_an_object_store_has_the_bytes_of_a_local_one(kind, enter_store, source, local):
    store = enter_store(kind)
    output = f"{store.root}/whole/corpus"
    build(source, output)
    storage.reach(output)
    files = storage.list_files(output)
    manifest = json.loads(storage.read_bytes(storage.join(output, "manifest.json")))
    assert manifest["shards"] == local["shards"]
    assert all(files[shard["name"]] == shard["bytes"] for shard in manifest["shards"])
    assert not [name for name in files if name.endswith(storage.TEMPORARY)]
    splits = {shard["name"].partition("/")[0] for shard in manifest["shards"]}
    keys = [sample["__key__"] for split in sorted(splits) for sample in open_shards(output, split)]
    assert len(set(keys)) == len(keys) == sum(shard["samples"] for shard in manifest["shards"])
    count = len(manifest["shards"])
    assert f"{count} of {count} shards are finished already" in build(source, output)
