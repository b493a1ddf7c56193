"""One split of a corpus, wherever it lies: the one place that chooses between folders and streams."""

from pathlib import Path

from training.data.loader import Loader, LoaderOptions
from training.data.samples import Samples, open_samples
from training.data.stream import Stream, StreamLoader, open_stream
from training.shards import is_remote


def open_split(corpus: str | Path, split: str, *, mix_synthetic: bool = False) -> Samples | Stream:
    """Opens one split; both kinds have `statistics`, `extent` and a length.

    Args:
        corpus: a folder as `open_samples` takes it, an address, or `pipe:` and a command.
        mix_synthetic: allows a union of synthetic and real corpora.

    Raises:
        CorpusError: as `open_samples` and `open_stream`.
    """
    if is_remote(str(corpus)):
        return open_stream(str(corpus), split)
    return open_samples(corpus, split, mix_synthetic=mix_synthetic)


def load(places: Samples | Stream, batch_size: int, *, options: LoaderOptions | None = None) -> Loader | StreamLoader:
    """Returns the loader of a split.

    Args:
        batch_size: places of one batch, all ranks together.

    Raises:
        CorpusError, ValueError: as `Loader` and `StreamLoader`.
    """
    if isinstance(places, Stream):
        return StreamLoader(places, batch_size, options=options)
    return Loader(places, batch_size, options=options)
