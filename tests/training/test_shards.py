import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from schemas.corpus import CorpusError
from tests.runs import ROOT
from tests.services.server import LoopbackServer, Reply
from training.shards import open_shards

SHARDS = {"train/train-000000.tar": 3, "train/train-000001.tar": 2, "val/val-000000.tar": 1}


def _member(key, suffix):
    return f"{key}.{suffix}", f"{key} {suffix}".encode() * 100


def _tar(name, places):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for number in range(places):
            for suffix in ("json", "sentinel2.geotiff", "text.txt"):
                member, payload = _member(f"{name[:5].strip('/')}{name[-5]}{number}", suffix)
                info = tarfile.TarInfo(member)
                info.size = len(payload)
                tar.addfile(info, io.BytesIO(payload))
    return sink.getvalue()


@pytest.fixture(scope="session")
def files():
    manifest = {"format_version": 1, "shards": [{"name": name} for name in SHARDS]}
    return {"manifest.json": json.dumps(manifest).encode(), **{name: _tar(name, n) for name, n in SHARDS.items()}}


def _put_folder(files, tmp_path):
    for name, payload in files.items():
        path = tmp_path / "my corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
    yield str(tmp_path / "my corpus")


def _put_http(files, tmp_path):
    def answer(asked):
        payload = files.get(asked.path.removeprefix("/corpora/mine/"))
        return Reply(404) if payload is None else Reply(200, payload)

    with LoopbackServer(answer) as server:
        yield f"{server.root}/corpora/mine"


def _put_objects(files, store):
    from pipelines.files import storage

    storage.reach(f"{store.root}/x")
    for name, payload in files.items():
        storage.write_bytes(f"{store.root}/corpora/mine/{name}", payload)
    yield f"{store.root}/corpora/mine"


@pytest.fixture(params=["folder", "http", "gs", "s3"])
def corpus(request, files, tmp_path, enter_store):
    put = {"folder": _put_folder, "http": _put_http}.get(request.param)
    if put is not None:
        yield from put(files, tmp_path)
    else:
        yield from _put_objects(files, enter_store(request.param))


def test_every_sample_of_a_split_comes_once_from_wherever_the_corpus_lies(corpus):
    samples = list(open_shards(corpus, "train"))
    assert [sample["__key__"] for sample in samples] == ["train00", "train01", "train02", "train10", "train11"]
    for sample in samples:
        for suffix in ("json", "sentinel2.geotiff", "text.txt"):
            assert sample[suffix] == _member(sample["__key__"], suffix)[1]


def test_what_is_no_corpus_is_named(corpus):
    with pytest.raises(CorpusError, match="elsewhere holds no finished corpus that can be read"):
        open_shards(f"{corpus}/elsewhere", "train")
    with pytest.raises(CorpusError, match=r"no shard of split 'test': it has train, val"):
        open_shards(corpus, "test")


def test_a_shard_that_is_gone_is_an_error_and_no_end(files, tmp_path):
    folder = next(_put_folder(files, tmp_path))
    Path(folder, "train/train-000001.tar").unlink()
    with pytest.raises(FileNotFoundError):
        list(open_shards(folder, "train"))


def test_a_newer_format_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": 99, "shards": []}))
    with pytest.raises(CorpusError, match="format 99"):
        open_shards(str(tmp_path), "train")


def test_loader_workers_share_the_shards(files, tmp_path):
    folder = next(_put_folder(files, tmp_path))
    code = (
        "import sys, torch\nfrom training.shards import open_shards\n"
        "if __name__ == '__main__':\n"
        f"    loader = torch.utils.data.DataLoader(open_shards({folder!r}, 'train'), batch_size=None, num_workers=2)\n"
        "    print(sorted(sample['__key__'] for sample in loader))\n"
        "    assert not {'apache_beam', 'rasterio', 'h3'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == str(["train00", "train01", "train02", "train10", "train11"]), done.stderr
