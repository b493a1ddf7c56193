"""The implicit query with its gradients against the formulation of LIIF's and GAIR's code.

    python -m tests.benchmarks.inr [--rounds 7]

The reference unfolds the whole map, samples it four times and asks the predictor four times.
"""

import argparse
import itertools
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.benchmarks.alternate import alternate
from training.inr import Predictor, query

CHANNELS, DIM, HIDDEN = 192, 192, 256
CASES = ((64, 8, 1), (64, 8, 16), (64, 14, 64))
"""Samples, side of the map, points of each."""


def reference(features_BCHW: Tensor, xy_BQ2: Tensor, predictor: nn.Module) -> Tensor:
    height, width = features_BCHW.shape[2:]
    unfolded_BNHW = F.unfold(features_BCHW, 3, padding=1).unflatten(2, (height, width))
    rows_H, columns_W = (torch.arange(n) * 2 / n - 1 + 1 / n for n in (height, width))
    centres_BCHW = torch.stack(torch.meshgrid(columns_W, rows_H, indexing="xy")).expand(len(xy_BQ2), -1, -1, -1)
    answers, areas = [], []
    for step_x, step_y in itertools.product((-1, 1), repeat=2):
        at_BQ2 = (xy_BQ2 + torch.tensor([step_x / width, step_y / height]) + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
        around_BQN, centre_BQ2 = (
            F.grid_sample(m, at_BQ2[:, None], mode="nearest", align_corners=False)[:, :, 0].transpose(1, 2)
            for m in (unfolded_BNHW, centres_BCHW)
        )
        way_BQ2 = (xy_BQ2 - centre_BQ2) * torch.tensor([width, height])
        answers.append(predictor(torch.cat([around_BQN, way_BQ2], -1)))
        areas.append(way_BQ2.prod(-1).abs() + 1e-9)
    total_BQ = torch.stack(areas).sum(0)
    return sum(a * (area / total_BQ).unsqueeze(-1) for a, area in zip(answers, reversed(areas), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{CHANNELS} channels to {DIM}, float32, {torch.get_num_threads()} threads, forward and backward;")
    print(f"medians of {options.rounds} alternating rounds; torch {torch.__version__}.\n")
    print("| samples | map | points | predictor | way | time | times as fast | times less work | differs by |")
    print("|---|---|---|---|---|---|---|---|---|")
    for hidden, (samples, side, points) in itertools.product((None, HIDDEN), CASES):
        torch.manual_seed(0)
        predictor = Predictor(CHANNELS, DIM, hidden)
        plain = nn.Sequential(*itertools.chain(*((layer, nn.ReLU()) for layer in predictor.layers)))[:-1]
        features_BCHW = torch.randn(samples, CHANNELS, side, side, requires_grad=True)
        xy_BQ2 = 2 * torch.rand(samples, points, 2) - 1
        ways = {"reference": partial(reference, features_BCHW, xy_BQ2, plain)}
        for form in ("gather", "conv", "auto"):
            ways[form] = partial(query, features_BCHW, xy_BQ2, predictor, form=form)
        times = alternate({way: lambda run=run: run().sum().backward() for way, run in ways.items()}, options.rounds)
        for way, t in times.items():
            faster, less_work = times["reference"].over(t)
            apart = (ways[way]() - ways["reference"]()).detach().abs().max().item()
            cells = [samples, f"{side} x {side}", points, "hidden" if hidden else "linear", way, t]
            print(
                "|",
                " | ".join(map(str, [*cells, f"{faster:.2f}", f"{less_work:.2f}", f"{apart:.0e}"])),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
