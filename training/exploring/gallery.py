"""The places that are searched: some splits of a corpus, embedded once by a run and kept for the next start."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.corpus import MANIFEST, CorpusError
from schemas.modality import MODALITIES
from schemas.reference import SPLITS
from training.api import Encoder
from training.checkpoint import STATE, find_checkpoint
from training.data.batch import Batch
from training.data.draw import Draw, draw
from training.data.samples import Samples, open_samples
from training.evaluation.embedded import Embedded, embed_split, join_splits
from training.files import draft_of
from training.options import listed
from training.reading import read_in_order
from training.shards import is_remote

BATCH = 128
"""Places embedded at once."""
LAYOUT = 1
"""Of the kept file; another one is not read."""
Report = Callable[[int, int], None]
"""Is told of places done and of all places."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """N embedded places of some splits, and where their pictures lie."""

    splits: tuple[Samples, ...]
    """A split each."""
    places: Embedded
    """Of all splits, one after the other."""

    @cached_property
    def start_S(self) -> NDArray[np.intp]:
        """First row of each split, and N."""
        return np.concatenate([[0], np.cumsum([len(samples) for samples in self.splits])]).astype(np.intp)

    @cached_property
    def split_N(self) -> NDArray[np.intp]:
        """Number of the split of each place."""
        return np.repeat(np.arange(len(self.splits)), np.diff(self.start_S))

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each cell."""
        return {key: row for row, key in enumerate(self.places.keys)}

    def read(self, row: int, view: str) -> memoryview | None:
        """Returns the bytes of the observation that was embedded; None where the view is absent.

        Raises:
            OSError: if its tar cannot be opened any more.
        """
        samples, drawn = self.draw(row)
        chosen = int(drawn.chosen_MB[list(MODALITIES).index(view), 0])
        return samples.read(chosen) if chosen >= 0 else None

    def draw(self, row: int) -> tuple[Samples, Draw]:
        """Returns the split of a place, and what the model saw of it."""
        number = int(self.split_N[row])
        samples = self.splits[number]
        return samples, draw(samples.places, np.array([row - self.start_S[number]]), None)


def open_splits(corpus: str, names: str) -> tuple[Samples, ...]:
    """Opens splits by their names, with commas between them; `all` opens those that have a place.

    Raises:
        CorpusError: if there is no such corpus or split, or it is no folder.
    """
    if is_remote(corpus):
        raise CorpusError(f"{corpus} is no folder, and the page reads places in any order: copy the corpus to one.")
    if names.strip() != "all":
        wanted = list(dict.fromkeys(listed(names)))
        if not wanted:
            raise CorpusError("--split names no split: write val, test, val,test or all.")
        return tuple(open_samples(corpus, name) for name in wanted)
    found, failure = [], None
    for name in SPLITS:
        try:
            found.append(open_samples(corpus, name))
        except CorpusError as error:
            failure = error
    if failure is not None and not found:
        raise failure
    return tuple(found)


def embed_splits(encoder: Encoder, splits: tuple[Samples, ...], report: Report = lambda *_: None) -> Embedded:
    """Embeds all places of some splits, in their order.

    Raises:
        CorpusError: if a place is there twice.
    """
    total, done, parts = sum(map(len, splits)), 0, []

    def count(batches: Iterator[Batch]) -> Iterator[Batch]:
        nonlocal done
        for batch in batches:
            yield batch
            done += len(batch)
            report(done, total)

    model = encoder.model
    for samples in splits:
        samples.check_once()
        centres, batches = read_in_order(samples, tokenize=model.tokenize, image_px=model.image_px, batch=BATCH)
        parts.append(embed_split(model, count(batches), centres, encoder.device))
    return join_splits(parts)


def name_kept(run: Path, corpus: Path, splits: tuple[Samples, ...], weights: str) -> str | None:
    """Returns the name of the file that keeps embeddings: of checkpoint, weights, manifests, splits and places.

    None where a corpus has no manifest: nothing then says whether it has changed.
    """
    manifests = [corpus / MANIFEST] if (corpus / MANIFEST).is_file() else sorted(corpus.glob(f"*/{MANIFEST}"))
    if not manifests:
        return None
    parts = [str(LAYOUT).encode(), (find_checkpoint(run) / STATE).read_bytes(), weights.encode()]
    parts += [path.read_bytes() for path in manifests]
    for samples in splits:
        parts += [samples.split.encode(), samples.places.cells_N.tobytes()]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return f"embeddings-{digest[:32]}.npz"


def read_kept(path: Path, splits: tuple[Samples, ...]) -> Embedded | None:
    """Returns kept embeddings; None where there are none that can be used."""
    keys = [key for samples in splits for key in samples.keys]
    try:
        with np.load(path, allow_pickle=False) as kept:
            found = Embedded(keys, kept["z_MND"], kept["present_MN"], kept["lonlat_N2"], kept["photo_N2"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if found.lonlat_N2.shape == found.photo_N2.shape == (len(keys), 2) else None


def keep(path: Path, places: Embedded) -> None:
    """Writes embeddings, whole or not at all.

    Raises:
        OSError: if they cannot be written.
    """
    arrays = {name: getattr(places, name) for name in ("z_MND", "present_MN", "lonlat_N2", "photo_N2")}
    with draft_of(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)
