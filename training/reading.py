"""A split of a corpus in order, each place once, with the centres of its cells: how evaluation and embedding read."""

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from training.data.batch import Batch
from training.data.loader import Loader, LoaderOptions
from training.data.samples import Samples, open_samples
from training.hardware import count_threads

Centres = dict[str, tuple[float, float]]
"""(lon, lat) of the cells' centres by key, degrees, WGS 84."""


class Reads(Protocol):
    """What a model says about how it is to be fed."""

    image_px: dict[str, int]

    def tokenize(self, texts: list[str]) -> Tensor:
        """Returns tokens (N, L)."""
        ...


def open_split(
    corpus: str, split: str, *, tokenize: Callable[[list[str]], Tensor], image_px: dict[str, int], batch: int = 256
) -> tuple[Centres, Iterator[Batch]]:
    """Returns the centres of all places of a split and its batches, without dropout, jitter or chance.

    Raises:
        CorpusError: if there is no such corpus or split.
    """
    return read_in_order(open_samples(corpus, split), tokenize=tokenize, image_px=image_px, batch=batch)


def open_for(model: Reads, corpus: str, split: str, *, batch: int = 256) -> tuple[Centres, Iterator[Batch]]:
    """Returns the same in the form that a model takes: its tokens, its sizes of pictures.

    Raises:
        CorpusError: if there is no such corpus or split.
    """
    return open_split(corpus, split, tokenize=model.tokenize, image_px=model.image_px, batch=batch)


def read_in_order(
    samples: Samples, *, tokenize: Callable[[list[str]], Tensor], image_px: dict[str, int], batch: int
) -> tuple[Centres, Iterator[Batch]]:
    """Returns the same of samples that are open."""
    how = LoaderOptions(threads=count_threads(0), image_px=image_px, tokenize=tokenize)
    centres = dict(zip(samples.keys, map(tuple, samples.lonlat_N2.tolist()), strict=True))
    return centres, Loader(samples, min(batch, len(samples)), options=how).in_order()
