"""How a run does on `val` while it learns: recall among random galleries, with the averaged weights."""

import logging
from itertools import islice

import torch

from schemas.corpus import CorpusError
from training.data.batch import LOCATION, VIEWS
from training.data.samples import Samples
from training.data.stream import Stream
from training.evaluation.embedded import Embedded, embed_split
from training.evaluation.galleries import GalleryRule
from training.evaluation.retrieval import Pair, average, group, retrieve
from training.learning.config import FitOptions
from training.learning.learner import Learner
from training.learning.variants import VARIANTS
from training.reading import open_once, read_in_order

BATCH = 256
MOST_PLACES = 2000
"""About so many places of val are looked at."""
_log = logging.getLogger(__name__)


class Validation:
    """The places of `val`; a corpus without them is trained on unwatched, which is said once."""

    def __init__(self, options: FitOptions, learner: Learner) -> None:
        self._learner = learner
        self._has_phases = VARIANTS[options.variant].in_phases
        self._samples: Samples | Stream | None = None
        if options.split == "val":
            return
        try:
            samples = open_once(options.corpus, "val")
            _ = samples.centres  # those of a stream are read here
            self._samples = samples
        except CorpusError as error:
            _log.warning("No evaluation while training: %s", error)

    def run(self) -> dict[str, float]:
        """Returns recall@1 over the pairs with and without location, and their multiples of chance.

        Where views learn in phases also that of each with location, to see what is forgotten. Nothing where the places
        cannot be read just now, which is said.
        """
        if self._samples is None:
            return {}
        model, average_ = self._learner.model, self._learner.average
        if average_:
            average_.swap(model)
        model.eval()
        try:
            places = self._embed(self._samples)
        except CorpusError as error:
            _log.warning("This time no evaluation: %s", error)
            return {}
        finally:
            model.train()
            if average_:
                average_.swap(model)
        found = {}
        for name, pairs in group(retrieve(places, GalleryRule("random", draws=3))).items():
            mean = average(pairs)
            if mean and name.startswith("six"):
                word = "location" if name.endswith("with location") else "views"
                found[f"val_recall_1_{word}"] = round(mean.recall_1, 5)
                found[f"val_times_chance_{word}"] = round(mean.times_chance, 2)
                if self._has_phases and word == "location":
                    found |= {f"val_recall_1_{view}": recall for view, recall in _by_view(pairs).items()}
        return found

    def _embed(self, samples: Samples | Stream) -> Embedded:
        model, dtype = self._learner.model, self._learner.dtype
        centres, batches = read_in_order(samples, tokenize=model.tokenize, image_px=model.image_px, batch=BATCH)
        device = next(model.parameters()).device
        some = islice(batches, MOST_PLACES // BATCH + 1)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return embed_split(model, some, centres, device)


def _by_view(pairs: list[Pair]) -> dict[str, float]:
    """Returns recall@1 of each view with location, the mean of both directions."""
    views = [view for view in VIEWS if view != LOCATION]
    found = {view: [p.recall_1 for p in pairs if view in (p.query, p.gallery)] for view in views}
    return {view: round(sum(recalls) / len(recalls), 5) for view, recalls in found.items() if recalls}
