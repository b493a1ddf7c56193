"""Tar, tables and statistics: small things with laws of their own."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import pipelines.plan as plan_module
from pipelines.plan import Plan, ShardPlan, ShardRows, read_plan, read_shard_rows, write_plan
from pipelines.statistics import Statistics
from pipelines.tables import read_rows, write_rows
from pipelines.tar import TarWriter
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Item, Place

MEMBERS = {"a.json": b"{}", "a.street.jpg": bytes(range(256)) * 5, "b.text.txt": b"x" * 512, "c.empty": b""}


def test_tar_is_what_the_standard_library_reads_and_writes():
    ours, theirs = io.BytesIO(), io.BytesIO()
    writer = TarWriter(ours)
    offsets = {name: writer.add(name, payload) for name, payload in MEMBERS.items()}
    writer.close()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, payload in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(payload), 0o644
            tar.addfile(info, io.BytesIO(payload))
    assert ours.getvalue() == theirs.getvalue()
    assert writer.sha256 == hashlib.sha256(ours.getvalue()).hexdigest()
    for name, payload in MEMBERS.items():
        assert ours.getvalue()[offsets[name] : offsets[name] + len(payload)] == payload


def test_a_name_too_long_for_ustar_is_refused():
    with pytest.raises(ValueError, match="name is too long"):
        TarWriter(io.BytesIO()).add("x" * 101, b"")


def test_records_round_trip_through_parquet(tmp_path):
    drops = [
        Drop("k", "dem", Stage.READ, Reason.NODATA, 0.5, "half", "s", "i", True),
        Drop("", "", Stage.FIND, Reason.STUB),
    ]
    items = [
        Item("s", "i", "dem", "a.tif", 1.0, 2.0, crs="EPSG:4326", bounds=(0.0, 1.0, 2.0, 3.0)),
        Item("s", "j", "text", "t", 1, 2, offset=0),
    ]
    for record, rows in ((Drop, drops), (Item, items)):
        path = str(tmp_path / record.__name__)
        write_rows(path, [rows[:1], rows[1:]], record)
        assert read_rows(path, record) == rows
        assert read_rows(path, record, 1) == rows[1:]
        assert pq.ParquetFile(path).num_row_groups == 2


def test_statistics_of_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    values = [rng.normal(300, 40, (3, n)).astype(np.float32) for n in (100, 1, 5000)]
    whole, parts = Statistics(), Statistics()
    for one in values:
        whole.add("aerial", one)
        part = Statistics()
        part.add("aerial", one)
        parts.merge(part.sums)
    every = np.concatenate(values, axis=1).astype(np.float64)
    for found in (whole.summary()["aerial"], parts.summary()["aerial"]):
        assert found["mean"] == pytest.approx(every.mean(axis=1), rel=1e-6)
        assert found["std"] == pytest.approx(every.std(axis=1), rel=1e-5)
        assert found["pixels"] == [5101] * 3
    whole.add("text", None)
    assert "text" not in whole.summary()


@pytest.mark.parametrize("killed_at", ["places.parquet.new", "plan.json.new", "commit", "items.parquet", "plan.json"])
def test_a_plan_that_is_replaced_is_the_old_or_the_new_one_and_never_a_mixture(tmp_path, monkeypatch, killed_at):
    old, new = (
        (Plan({"n": n}, [], [ShardPlan("train/train-000000.tar", 0, 1, rows.sha256())], {}), [rows])
        for n, rows in enumerate(
            ShardRows([Place(f"8a00000000{n}7fff", "8500", "train", float(n), float(n), None)], [], [])
            for n in range(2)
        )
    )
    write_plan(str(tmp_path), *old, [])

    class KilledError(Exception):
        pass

    def die(path, *_):
        if str(path).endswith(killed_at):
            raise KilledError

    def guard(name, number):
        real = getattr(Path, name)

        def guarded(*arguments, **more):
            die(arguments[number])
            return real(*arguments, **more)

        monkeypatch.setattr(Path, name, guarded)

    for name, number in (("replace", 1), ("touch", 0), ("write_text", 0)):  # the argument that names the file
        guard(name, number)
    real_rows = plan_module.write_rows
    monkeypatch.setattr(plan_module, "write_rows", lambda path, *a: (die(path), real_rows(path, *a))[1])
    with pytest.raises(KilledError):
        write_plan(str(tmp_path), *new, [])
    monkeypatch.undo()
    found = read_plan(str(tmp_path))
    expected = new if killed_at in ("items.parquet", "plan.json") else old
    assert found.sha256 == expected[0].sha256
    assert read_shard_rows(str(tmp_path), 0).sha256() == found.shards[0].sha256
    assert {path.name for path in (tmp_path / "plan").iterdir()} == {
        "plan.json", "places.parquet", "references.parquet", "items.parquet", "drops.parquet"
    }  # fmt: skip
