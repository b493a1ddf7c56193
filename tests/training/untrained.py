"""A run with an untrained model beside a corpus of a few places: what the runnables need, in a second."""

import torch

from tests.training.data.makers import make_keys, make_sample, write_corpus
from training.checkpoint import State, write_checkpoint
from training.data.samples import open_samples
from training.model import Model, ModelConfig


def make_corpus(folder, places=30, held_out=None):
    """All views at every place; val and test have as many places as train, or so many."""
    samples = []
    for number, split in enumerate(("train", "val", "test")):
        size = places if held_out is None or split == "train" else held_out
        for key in make_keys(size, start=(6.13 + number / 5, 49.61)):
            samples.append(make_sample(key, split=split))
    return write_corpus(folder, samples)


def make_run(folder, corpus):
    """A checkpoint of the first step."""
    samples = open_samples(corpus, "train")
    config = ModelConfig(extent=samples.extent, statistics=samples.statistics)
    torch.manual_seed(0)
    state = State(step=1, model=config.to_dict(), options={}, corpus={}, metrics={})
    write_checkpoint(folder, state, {"model.safetensors": Model(config).state_dict()}, keep=1)
    return folder
