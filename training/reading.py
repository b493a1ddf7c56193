"""A split of a corpus in order, each place once, with the centres of its cells: how evaluation and embedding read."""

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from training.data.batch import Batch
from training.data.loader import LoaderOptions
from training.data.samples import Samples
from training.data.split import load, open_split
from training.data.stream import Stream
from training.hardware import count_threads

Centres = dict[str, tuple[float, float]]
"""(lon, lat) of the cells' centres by key, degrees, WGS 84."""


class Reads(Protocol):
    """What a model says about how it is to be fed."""

    image_px: dict[str, int]

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns tokens (N, L)."""
        ...


def open_once(corpus: str, split: str) -> Samples | Stream:
    """Opens a split that is to be searched, so that no place may be there twice; a stream's manifest vouches for it.

    Raises:
        CorpusError: if there is no such corpus or split, or a place is there twice.
    """
    samples = open_split(corpus, split)
    if isinstance(samples, Samples):
        samples.check_once()
    return samples


def open_for(model: Reads, corpus: str, split: str, *, batch: int = 256) -> tuple[Centres, Iterator[Batch]]:
    """Returns the centres of all places of a split and its batches, without dropout, jitter or chance.

    They come in the form that a model takes: its tokens, its sizes of pictures.

    Raises:
        CorpusError: as `open_once`.
    """
    return read_for(model, open_once(corpus, split), batch=batch)


def read_for(model: Reads, samples: Samples | Stream, *, batch: int = 256) -> tuple[Centres, Iterator[Batch]]:
    """Returns the same of samples that are open."""
    return read_in_order(samples, tokenize=model.tokenize, image_px=model.image_px, batch=batch)


def read_in_order(
    samples: Samples | Stream, *, tokenize: Callable[[list[str]], Tensor], image_px: dict[str, int], batch: int = 256
) -> tuple[Centres, Iterator[Batch]]:
    """Returns the same of samples that are open."""
    how = LoaderOptions(threads=count_threads(0), image_px=image_px, tokenize=tokenize)
    return samples.centres, load(samples, min(batch, len(samples)), options=how).in_order()
