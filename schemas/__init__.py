"""What a place, a record, a shard and a drop are. Values only: no network, no rasters, no tensors.

`schemas.page` holds what the pages about a corpus and about a run share.
"""

from schemas.corpus import Corpus, CorpusError, open_corpora, read_sample
from schemas.drop import Drop, Reason, Stage
from schemas.grid import Grid
from schemas.modality import MODALITIES, Modality
from schemas.sample import SCHEMA_VERSION, Observation, Sample

__all__ = [
    "MODALITIES", "SCHEMA_VERSION", "Corpus", "CorpusError", "Drop", "Grid", "Modality", "Observation", "Reason",
    "Sample", "Stage", "open_corpora", "read_sample",
]  # fmt: skip
