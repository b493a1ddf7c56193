"""Embeddings as parquet tables: read chunk by chunk, written chunk by chunk, whole or not at all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from training.api import BATCH, Encoder, check_seen
from training.data.batch import LOCATION, VIEWS, Batch
from training.files import draft_of
from training.inputs import InputError, check_order, read_points, read_texts

ROWS_PER_GROUP = 4096
"""Rows of the table that are held in memory."""
Columns = dict[str, Any]


def embed_places(
    encoder: Encoder, batches: Iterable[Batch], centres: Mapping[str, tuple[float, float]]
) -> Iterator[Columns]:
    """Yields the columns key, modality, lon, lat, z of all views that are present and trained, place by place.

    The location is embedded as the centre of the cell. lon, lat are those of the photo for street, of the cell's centre
    for all else.
    """
    for batch in batches:
        photo_B2 = batch.lonlat_B2.double().numpy().copy()
        centre_B2 = np.array([centres[key] for key in batch.keys], float)
        present_MB = batch.present_MB.numpy() & np.array([[view in encoder.views] for view in VIEWS])
        batch.lonlat_B2 = torch.from_numpy(centre_B2)
        z_MBD = encoder.embed_batch(batch)
        row_K, view_K = np.nonzero(present_MB.T)
        is_photo = view_K == VIEWS.index("street")
        lonlat_K2 = np.where(is_photo[:, None], photo_B2[row_K], centre_B2[row_K])
        yield {
            "key": [batch.keys[row] for row in row_K], "modality": [VIEWS[view] for view in view_K],
            "lon": lonlat_K2[:, 0], "lat": lonlat_K2[:, 1], "z": z_MBD[view_K, row_K],
        }  # fmt: skip


def embed_files(encoder: Encoder, modality: str, paths: Sequence[Path]) -> Iterator[Columns]:
    """Yields the columns of points, texts, pictures or rasters, read chunk by chunk.

    Raises:
        InputError: for a view that was not trained; for the first file, and line, that is not as it should be.
    """
    encoder.check_view(modality)
    if modality == LOCATION:
        for path in paths:
            for lonlat_N2 in read_points(path, BATCH):
                check_order(lonlat_N2, encoder.model.config.extent, str(path))
                lon, lat = lonlat_N2.T.numpy()
                yield {"lon": lon, "lat": lat, "z": encoder.encode_tensor(LOCATION, lonlat_N2)}
    elif modality == "text":
        for chunk in _chunk((str(path), row, text) for path in paths for row, text in enumerate(read_texts(path))):
            files, rows, texts = zip(*chunk, strict=True)
            z_ND = encoder.encode_tensor(modality, encoder.model.tokenize(list(texts)))
            check_seen(z_ND, lambda at, names=files, numbers=rows: f"{names[at]}, row {numbers[at]},")  # type: ignore[misc]
            yield {"file": list(files), "row": np.array(rows, np.int64), "z": z_ND}
    else:
        for names in _chunk(map(str, paths)):
            yield {"file": names, "z": encoder.encode(modality, names)}


def write_table(output: str | Path, chunks: Iterator[Columns]) -> int:
    """Writes chunks as one table, whole or not at all, and returns its number of rows.

    Raises:
        InputError: if there is nothing to write.
    """
    waiting: list[pa.RecordBatch] = []
    total = 0
    with draft_of(Path(output)) as draft, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for columns in chunks:
            batch = _to_record(columns)
            writer = writer or stack.enter_context(pq.ParquetWriter(draft, batch.schema, compression="zstd"))
            waiting.append(batch)
            total += len(batch)
            if sum(map(len, waiting)) >= ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting = []
        if writer is None:
            raise InputError("There is nothing to embed: the input is empty.")
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting))
    return total


def _to_record(columns: Columns) -> pa.RecordBatch:
    arrays = {name: pa.array(values) for name, values in columns.items() if name != "z"}
    z_ND = np.ascontiguousarray(columns["z"], np.float32)
    arrays["z"] = pa.FixedSizeListArray.from_arrays(pa.array(z_ND.ravel()), z_ND.shape[1])
    return pa.RecordBatch.from_pydict(arrays)


def _chunk(things: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(things)
    while found := list(islice(rest, BATCH)):
        yield found
