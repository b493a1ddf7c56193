"""What positions are seen through: a run, a location encoder by name, or a table of embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from training.api import BATCH, Encoder
from training.data.batch import LOCATION
from training.inputs import InputError
from training.location.parameters import Span
from training.locbench.folds import find_nearest
from training.locbench.tasks import Task
from training.sphere import LonLat
from training.towers.locations import LocationShape, make_location_tower

Embeddings = NDArray[np.float32]


def embed_run(encoder: Encoder, lonlat_N2: LonLat) -> Embeddings:
    """Returns the location embeddings of a run: (N, D)."""
    chunks = torch.from_numpy(lonlat_N2).split(BATCH)
    return np.concatenate([encoder.encode_tensor(LOCATION, chunk) for chunk in chunks])


@torch.inference_mode()
def embed_untrained(name: str, lonlat_N2: LonLat, finest_km: float, seed: int) -> Embeddings:
    """Returns what a location encoder of that name makes of positions before it learnt anything: (N, 256)."""
    torch.manual_seed(seed)
    tower = make_location_tower(name, span_of(lonlat_N2, finest_km), LocationShape()).eval()
    return np.concatenate([tower(chunk)[0].float().numpy() for chunk in torch.from_numpy(lonlat_N2).split(BATCH)])


def span_of(lonlat_N2: LonLat, finest_km: float) -> Span:
    """Returns the extent of positions with the finest distance that an encoder is to tell apart."""
    (west, south), (east, north) = lonlat_N2.min(0).tolist(), lonlat_N2.max(0).tolist()
    return Span((west, south, east, north), finest_km * 1000)


@dataclass(frozen=True, eq=False)
class Table:
    """Embeddings of one modality, as `training.embed` writes them."""

    name: str
    z_ND: Embeddings
    lonlat_N2: LonLat
    keys: tuple[str, ...]
    """Names of the places; or none."""

    @classmethod
    def read(cls, path: Path) -> "Iterator[Table]":
        """Yields the embeddings of each modality in a parquet table with the columns lon, lat, z (modality, key).

        Raises:
            InputError: for a table without these columns.
        """
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path} is no parquet table ({error}): make one with training.embed.") from error
        missing = [name for name in ("lon", "lat", "z") if name not in table.column_names]
        if missing:
            raise InputError(f"{path} has no column {', '.join(missing)}: make it with training.embed.")
        views = np.array(
            table["modality"].to_pylist() if "modality" in table.column_names else [path.stem] * len(table)
        )
        keys = table["key"].to_pylist() if "key" in table.column_names else []
        z_ND = np.array(table["z"].to_pylist(), np.float32)
        lonlat_N2 = np.stack([table["lon"].to_numpy(), table["lat"].to_numpy()], 1)
        for view in dict.fromkeys(views.tolist()):
            rows = np.nonzero(views == view)[0]
            yield cls(str(view), z_ND[rows], lonlat_N2[rows], tuple(keys[row] for row in rows) if keys else ())

    def join(self, task: Task, within_km: float) -> tuple[Task, Embeddings]:
        """Returns the positions of a task that an embedding goes with, and these.

        Where both have keys, by key; else a position goes with the nearest embedding within reach.

        Raises:
            InputError: if none does.
        """
        if task.keys and self.keys:
            row_of = {key: row for row, key in enumerate(self.keys)}
            row_N = np.array([row_of.get(key, -1) for key in task.keys])
        else:
            nearest_N1, away_N1 = find_nearest(task.lonlat_N2, self.lonlat_N2, 1)
            row_N = np.where(away_N1[:, 0] <= within_km * 1000, nearest_N1[:, 0], -1)
        rows = np.nonzero(row_N >= 0)[0]
        if not len(rows):
            raise InputError(f"No position of {task.name} has an embedding within {within_km:g} km: raise --join_km.")
        return task.take(rows), self.z_ND[row_N[rows]]
