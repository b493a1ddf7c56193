"""Forward and backward speed of each tower: python -m tests.benchmarks.towers [preset] [batch]

Seconds of the processor, not of the clock, on one thread: other work on the machine disturbs them least.
"""

import statistics
import sys
import time

import torch

from tests.training.places import make_batch
from training.data.batch import VIEW_FIELDS
from training.model import Model, ModelConfig

ROUNDS = 3


def main(preset: str = "tiny", size: str = "256") -> None:
    torch.set_num_threads(1)
    model = Model(ModelConfig(preset=preset, extent=(5.0, 49.0, 7.0, 51.0)))
    batch = make_batch(model, int(size))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(
        f"{preset}, {millions:.1f} M parameters, batch {size}, bfloat16 autocast, one thread, torch {torch.__version__}"
    )
    print(
        "\n| view | forward GF a sample | median ms | least ... most | samples a second |\n| --- | --- | --- | --- | --- |"
    )
    for view, flops in model.flops_per_sample().items():
        values = getattr(batch, VIEW_FIELDS[view])
        show(view, flops, len(batch), lambda v=view, x=values: model.encode(v, x).sum())
    show("all", sum(model.flops_per_sample().values()), len(batch), lambda: _sum(model, batch))


def show(name, flops, size, run):
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.thread_time()
        with torch.autocast("cpu", torch.bfloat16):
            out = run()
        out.backward()
        seconds.append(time.thread_time() - start)
    seconds = sorted(seconds[1:])
    median = statistics.median(seconds)
    spread = f"{seconds[0] * 1e3:.0f} ... {seconds[-1] * 1e3:.0f}"
    print(f"| {name} | {flops / 1e9:.3f} | {median * 1e3:.0f} | {spread} | {size / median:.0f} |", flush=True)


def _sum(model, batch):
    out = model(batch)
    return out.z_MBD.sum() + out.spots_SBD.sum()


if __name__ == "__main__":
    main(*sys.argv[1:])
