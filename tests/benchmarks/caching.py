"""A step by gradient caching against the same step with the whole batch at once.

    python -m tests.benchmarks.caching [--places 256] [--pieces 8] [--rounds 5]

Two views, each seen by a small transformer of its own. The least that caching can cost is one forward pass more for
all pieces but the last.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.benchmarks.alternate import alternate
from training.learning.caching import cached_backward
from training.losses import all_to_all

TOKENS, WIDTH, LAYERS = 64, 192, 4


class Towers(nn.Module):
    """Two towers and a temperature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.TransformerEncoderLayer(WIDTH, 3, 4 * WIDTH, batch_first=True, norm_first=True) for _ in range(2)]
        self.towers = nn.ModuleList(
            nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False) for layer in layers
        )
        self.log_scale = nn.Parameter(torch.tensor(2.6))

    def encode(self, tokens_MBLD: Tensor) -> tuple[Tensor]:
        z = [F.normalize(tower(view).mean(1), dim=-1) for tower, view in zip(self.towers, tokens_MBLD, strict=True)]
        return (torch.stack(z),)

    def loss_of(self, z_MBD: Tensor) -> Tensor:
        return all_to_all(z_MBD, torch.ones(z_MBD.shape[:2], dtype=torch.bool), self.log_scale.exp())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=256)
    parser.add_argument("--pieces", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = Towers()
    tokens_MBLD = torch.randn(2, options.places, TOKENS, WIDTH)
    ways = {
        "whole batch": lambda: model.loss_of(*model.encode(tokens_MBLD)).backward(),
        f"{options.pieces} pieces": lambda: cached_backward(
            model.encode, tokens_MBLD.chunk(options.pieces, 1), model.loss_of, dims=(1,)
        ),
    }
    print(
        f"{options.places} places, two towers of {LAYERS} layers, width {WIDTH}, {TOKENS} tokens, float32, dropout 0.1;"
    )
    print(
        f"{torch.get_num_threads()} threads; medians of {options.rounds} alternating rounds; torch {torch.__version__}.\n"
    )
    times = alternate(ways, options.rounds)
    whole, pieces = times.values()
    longer, more_work = pieces.over(whole)
    print("| way | time | times the whole batch's | times its work | least possible |\n|---|---|---|---|---|")
    least = 1 + (options.pieces - 1) / options.pieces / 3
    for (way, t), cells in zip(
        times.items(), (["", "", ""], [f"{longer:.2f}", f"{more_work:.2f}", f"{least:.2f}"]), strict=True
    ):
        print("|", " | ".join([way, str(t), *cells]), "|")


if __name__ == "__main__":
    main()
