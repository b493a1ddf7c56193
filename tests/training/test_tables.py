import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.training.evaluation.test_embedded import make_batch
from tests.training.standin import DIM, StandIn
from training.api import BATCH, Encoder
from training.data.batch import VIEWS
from training.inputs import InputError
from training.tables import ROWS_PER_GROUP, embed_files, embed_places, write_table


def test_places_become_a_row_for_each_view_that_is_there(tmp_path):
    present = np.zeros((6, 2), bool)
    present[[VIEWS.index(v) for v in ("street", "text", "location")], 0] = True
    present[[VIEWS.index(v) for v in ("text", "location")], 1] = True
    batch = make_batch(["a", "b"], present, [[10.001, 1.001], [20, 2]])
    encoder = Encoder(StandIn())
    assert (
        write_table(tmp_path / "z.parquet", embed_places(encoder, [batch], {"a": (10.0, 1.0), "b": (20.0, 2.0)})) == 5
    )
    table = pq.read_table(tmp_path / "z.parquet")
    assert table.column_names == ["key", "modality", "lon", "lat", "z"]
    assert table.schema.field("z").type.list_size == DIM and table.schema.field("z").type.value_type == pa.float32()
    assert table["key"].to_pylist() == ["a", "a", "a", "b", "b"]
    assert table["modality"].to_pylist() == ["street", "text", "location", "text", "location"]
    assert table["lon"].to_pylist() == [10.001, 10, 10, 20, 20] and table["lat"].to_pylist() == [1.001, 1, 1, 2, 2]
    np.testing.assert_allclose(table["z"].to_pylist()[2], encoder.encode("location", [(10, 1)])[0], rtol=1e-6)


def test_points_become_rows_in_their_order(tmp_path):
    path = tmp_path / "p.csv"
    rows = [(i % 180, i % 60 + 0.25) for i in range(2 * BATCH + 5)]
    path.write_text("lat,lon\n" + "".join(f"{lat},{lon}\n" for lon, lat in rows))
    encoder = Encoder(StandIn())
    assert write_table(tmp_path / "deep" / "z.parquet", embed_files(encoder, "location", [path])) == len(rows)
    table = pq.read_table(tmp_path / "deep" / "z.parquet")
    assert table.column_names == ["lon", "lat", "z"]
    assert list(zip(table["lon"].to_pylist(), table["lat"].to_pylist(), strict=True)) == rows
    np.testing.assert_allclose(np.array(table["z"].to_pylist()), encoder.encode("location", rows), rtol=1e-6)


def test_memory_holds_a_few_thousand_rows_however_many_points_there_are(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("lon,lat\n" + "1,2\n" * (3 * ROWS_PER_GROUP))
    encoder = Encoder(StandIn())
    write_table(tmp_path / "z.parquet", embed_files(encoder, "location", [path]))
    parquet = pq.ParquetFile(tmp_path / "z.parquet")
    assert parquet.num_row_groups == 3 and encoder.model.most == BATCH


def test_pictures_and_texts_name_their_files(tmp_path):
    encoder = Encoder(StandIn())
    (tmp_path / "a.txt").write_text("a mill")
    (tmp_path / "b.csv").write_text("text\na weir\na quay\n")
    write_table(tmp_path / "t.parquet", embed_files(encoder, "text", [tmp_path / "a.txt", tmp_path / "b.csv"]))
    table = pq.read_table(tmp_path / "t.parquet")
    assert [p.rpartition("/")[2] for p in table["file"].to_pylist()] == ["a.txt", "b.csv", "b.csv"]
    assert table["row"].to_pylist() == [0, 0, 1]
    simplejpeg = pytest.importorskip("simplejpeg")
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / name).write_bytes(simplejpeg.encode_jpeg(np.full((40, 40, 3), 90, np.uint8)))
    write_table(tmp_path / "s.parquet", embed_files(encoder, "street", [tmp_path / "x.jpg", tmp_path / "y.jpg"]))
    assert pq.read_table(tmp_path / "s.parquet").column_names == ["file", "z"]


def test_a_table_is_whole_or_not_there(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("lon,lat\n" + "1,2\n" * (2 * ROWS_PER_GROUP) + "1,north\n")
    output = tmp_path / "out" / "z.parquet"
    output.parent.mkdir()
    output.write_text("an earlier table")
    with pytest.raises(InputError, match="line 8194"):
        write_table(output, embed_files(Encoder(StandIn()), "location", [path]))
    assert [p.name for p in output.parent.iterdir()] == ["z.parquet"] and output.read_text() == "an earlier table"


def test_nothing_to_embed_is_an_error(tmp_path):
    (tmp_path / "p.csv").write_text("lon,lat\n")
    with pytest.raises(InputError, match="the input is empty"):
        write_table(tmp_path / "z.parquet", embed_files(Encoder(StandIn()), "location", [tmp_path / "p.csv"]))
    assert not (tmp_path / "z.parquet").exists()


def test_a_files_positions_are_refused_where_they_look_swapped(tmp_path):
    (tmp_path / "p.csv").write_text("lon,lat\n49.6,6.1\n")
    with pytest.raises(InputError, match=r"p\.csv: longitude 49.6, latitude 6.1 look swapped"):
        list(embed_files(Encoder(StandIn(extent=(5.7, 49.4, 6.6, 50.2))), "location", [tmp_path / "p.csv"]))


def test_embedding_leaves_the_batch_for_the_loader_to_write_again():
    batch = make_batch(["a"], np.ones((6, 1), bool), [[10.0, 1.0]])
    memory = batch.lonlat_B2
    list(embed_places(Encoder(StandIn()), [batch], {"a": (11.0, 2.0)}))
    assert torch.equal(memory, torch.tensor([[10.0, 1.0]], dtype=torch.float64))
