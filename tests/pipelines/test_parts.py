"""Tar, tables and statistics: small things with laws of their own."""

import hashlib
import io
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.statistics import Statistics
from pipelines.tables import read_rows, write_rows
from pipelines.tar import TarWriter
from schemas.drop import Drop, Reason, Stage
from schemas.reference import Item

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
