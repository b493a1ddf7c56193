"""The embedded places of one split: what retrieval and geolocation measure, whatever model made it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.modality import SENTINEL2
from training.data.batch import LOCATION, SPOTS, VIEWS, Batch


class EmbeddedBatch(Protocol):
    """What a model makes of a batch."""

    z_MBD: Tensor
    present_MB: Tensor
    spots_SBD: Tensor
    """The Sentinel-2 map at photo and article, zeros where they are not inside."""


class Embeds(Protocol):
    """What a model must be able to do to be measured."""

    def __call__(self, batch: Batch, /) -> EmbeddedBatch:
        """Returns unit vectors (M, B, D) of the present views, in the order of `VIEWS`."""
        ...


@dataclass(frozen=True, eq=False)
class Embedded:
    """N embedded places."""

    keys: list[str]
    """H3 cells, each once."""
    z_MND: NDArray[np.float32]
    """(M, N, D): unit vectors, views in the order of `VIEWS`, zeros where a view is absent."""
    present_MN: NDArray[np.bool_]
    """(M, N): which views there are."""
    lonlat_N2: NDArray[np.float64]
    """(N, 2): centre of the cell, degrees east and north, WGS 84: what the location view embeds."""
    photo_N2: NDArray[np.float64]
    """(N, 2): position of the photo where there is one, else the cell's centre."""
    spots_SND: NDArray[np.float32] | None = None
    """(S, N, D): the Sentinel-2 map at photo and article, unit vectors in the order of `SPOTS`; zeros where they are
    not inside. None where there is no query."""

    def __post_init__(self) -> None:
        if len(set(self.keys)) != len(self.keys):
            twice = next(key for key in self.keys if self.keys.count(key) > 1)
            raise ValueError(f"The place {twice} occurs twice: an answer could then be right and counted as wrong.")
        n = len(self.keys)
        if self.z_MND.shape[:2] != (len(VIEWS), n) or self.present_MN.shape != (len(VIEWS), n):
            raise ValueError(f"Expected {len(VIEWS)} views of {n} places, found embeddings {self.z_MND.shape}.")
        if self.spots_SND is not None and self.spots_SND.shape[:2] != (len(SPOTS), n):
            raise ValueError(f"Expected {len(SPOTS)} spots of {n} places, found embeddings {self.spots_SND.shape}.")
        if not np.isfinite(self.z_MND).all():
            raise ValueError("The embeddings are not all finite: the model is broken, train again from a checkpoint.")

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, view: str) -> NDArray[np.intp]:
        """Returns the rows of the places that have the view."""
        return np.flatnonzero(self.present_MN[VIEWS.index(view)])

    def z(self, view: str) -> NDArray[np.float32]:
        """Returns (N, D) of one view."""
        z_ND: NDArray[np.float32] = self.z_MND[VIEWS.index(view)]
        return z_ND

    def with_view(self, view: str, z_ND: NDArray[np.float32]) -> "Embedded":
        """Returns the places with one view embedded otherwise, (N, D); where that is zeros the view is absent."""
        m = VIEWS.index(view)
        z_MND, present_MN = self.z_MND.copy(), self.present_MN.copy()
        present_MN[m] &= z_ND.any(1)
        z_MND[m] = z_ND * present_MN[m][:, None]
        return replace(self, z_MND=z_MND, present_MN=present_MN)

    def at_spot(self, name: str) -> "Embedded | None":
        """Returns the places with the Sentinel-2 map at the photo or article in the place of the whole patch."""
        return None if self.spots_SND is None else self.with_view(SENTINEL2.name, self.spots_SND[SPOTS.index(name)])

    def query_lonlat(self, view: str) -> NDArray[np.float64]:
        """Returns (N, 2) where the queries of a view truly lie: the photo's own position, else the cell's centre."""
        return self.photo_N2 if view == "street" else self.lonlat_N2


def join_splits(parts: Sequence[Embedded]) -> Embedded:
    """Returns the places of several splits as one set, in their order."""
    spots = [part.spots_SND for part in parts if part.spots_SND is not None]
    return Embedded(
        [key for part in parts for key in part.keys],
        np.concatenate([part.z_MND for part in parts], axis=1),
        np.concatenate([part.present_MN for part in parts], axis=1),
        np.concatenate([part.lonlat_N2 for part in parts]),
        np.concatenate([part.photo_N2 for part in parts]),
        np.concatenate(spots, axis=1) if len(spots) == len(parts) else None,
    )


def embed_split(
    model: Embeds, batches: Iterable[Batch], centres: Mapping[str, tuple[float, float]], device: torch.device | str
) -> Embedded:
    """Embeds every place once, its location as the centre of its cell and never as the photo's own position.

    Args:
        model: in eval mode, on the device.
        batches: each place once, as `Loader.in_order` gives them.
        centres: (lon, lat) of the cells by key, degrees, WGS 84.
    """
    keys: list[str] = []
    z, present, photos, spots = [], [], [], []
    for batch in batches:
        keys += batch.keys
        photos.append(batch.lonlat_B2.double().cpu().numpy().copy())
        moved = batch.to(device)
        centre_B2 = torch.tensor([centres[key] for key in batch.keys], dtype=torch.float64, device=device)
        moved.lonlat_B2 = centre_B2.reshape(-1, 2)
        with torch.inference_mode():  # not around the loop: the loader writes its memory again
            found = model(moved)
        z.append(found.z_MBD.float().cpu().numpy().copy())
        spots.append(found.spots_SBD.float().cpu().numpy().copy())
        present.append(found.present_MB.cpu().numpy().copy())
    if not keys:
        raise ValueError("There is no place to embed: the split is empty.")
    present_MN = np.concatenate(present, axis=1)
    photo_N2, lonlat_N2 = np.concatenate(photos), np.array([centres[key] for key in keys], float)
    has_photo = present_MN[VIEWS.index("street")][:, None]
    assert VIEWS[-1] == LOCATION
    spots_SND = np.concatenate(spots, axis=1)
    return Embedded(
        keys, np.concatenate(z, axis=1), present_MN, lonlat_N2, np.where(has_photo, photo_N2, lonlat_N2),
        spots_SND if spots_SND.any() else None,
    )  # fmt: skip
