"""Tar, tables and statistics: small things with laws of their own."""

import hashlib
import io
import os
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest

import pipelines.plan.plan as plan_module
from pipelines.building.statistics import Statistics
from pipelines.files.tables import read_rows, write_rows
from pipelines.files.tar import TarWriter
from pipelines.plan.plan import (
    PART_SHARDS,
    Plan,
    PlanWriter,
    ShardRows,
    commit,
    read_plan,
    read_plan_drops,
    read_shard_rows,
)  # fmt: skip
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


def make_rows(number):
    place = Place(f"8a00000000{number:01x}7fff", "8500", "train", float(number), float(number), None)
    return ShardRows([place], [], [])


def write_one(output, number):
    writer = PlanWriter(str(output), number)
    writer.add(make_rows(number))
    writer.drop([Drop("", "text", Stage.FIND, Reason.STUB, detail=str(number))])
    writer.close()
    commit(str(output), Plan({"n": number}, [], writer.shards, {}, writer.drops, revision=number))


@pytest.mark.parametrize("killed_at", ["places.parquet", "items.parquet", "drops.parquet", "plan.json", "tidy"])
def test_a_plan_that_is_replaced_is_the_old_or_the_new_one_and_never_a_mixture(tmp_path, monkeypatch, killed_at):
    write_one(tmp_path, 0)

    class KilledError(BaseException):
        pass

    real = os.replace

    def replace(source, target):
        if str(target).endswith(killed_at):
            raise KilledError
        real(source, target)

    def die(*_):
        raise KilledError

    monkeypatch.setattr(os, "replace", replace)
    if killed_at == "tidy":
        monkeypatch.setattr(plan_module, "tidy", die)
    with pytest.raises(KilledError):
        write_one(tmp_path, 1)
    monkeypatch.undo()
    found = read_plan(str(tmp_path))
    number = int(killed_at == "tidy")
    assert found.options == {"n": number}
    assert read_shard_rows(str(tmp_path), found.shards[0]) == make_rows(number)
    assert [drop.detail for _, drops in read_plan_drops(str(tmp_path), found.drops) for drop in drops] == [str(number)]
    plan_module.tidy(str(tmp_path), found)
    assert len(list((tmp_path / "plan").iterdir())) == 5


def test_a_plan_of_many_shards_has_parts_and_each_row_once(tmp_path):
    writer = PlanWriter(str(tmp_path), 0)
    for number in range(2 * PART_SHARDS + 1):
        place = Place(f"{number:015x}", "8500", "val" if number % 3 else "test", 0.0, 0.0, None)
        writer.add(ShardRows([place], [], []))
    writer.close()
    assert len({shard.part for shard in writer.shards}) == 3
    assert len({shard.name for shard in writer.shards}) == 2 * PART_SHARDS + 1
    for number, shard in enumerate(writer.shards):
        rows = read_shard_rows(str(tmp_path), shard)
        assert rows.places[0].key == f"{number:015x}"
        assert rows.sha256() == shard.sha256
