"""The all-to-all loss with its gradients against a loop of CLIP losses over the ten pairs of five views.

    python -m tests.benchmarks.loss [--places 4096] [--rounds 5]

The loop is written as open_clip writes its loss: logits in both directions, cross-entropy, mean. With views missing
there are two loops: one filters the rows of each pair, one computes all logits and masks. Memory is the most that one
step adds to a process of its own.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.benchmarks.alternate import alternate
from tests.benchmarks.process import measure
from training.losses import all_to_all

VIEWS, WIDTH, SCALE = 5, 512, 1 / 0.07
Views = tuple[Tensor, Tensor, Tensor]


def filtering_loop(z_MBD: Tensor, present_MB: Tensor, scale: Tensor) -> Tensor:
    losses = []
    for i, j in itertools.combinations(range(len(z_MBD)), 2):
        both_B = present_MB[i] & present_MB[j]
        a_ND, b_ND = (z_MBD[i], z_MBD[j]) if both_B.all() else (z_MBD[i][both_B], z_MBD[j][both_B])
        labels_N = torch.arange(len(a_ND))
        forth_NN, back_NN = scale * a_ND @ b_ND.T, scale * b_ND @ a_ND.T
        losses.append((F.cross_entropy(forth_NN, labels_N) + F.cross_entropy(back_NN, labels_N)) / 2)
    return torch.stack(losses).mean()


def masking_loop(z_MBD: Tensor, present_MB: Tensor, scale: Tensor) -> Tensor:
    losses = []
    for i, j in itertools.combinations(range(len(z_MBD)), 2):
        both_B = present_MB[i] & present_MB[j]
        labels_B = torch.where(both_B, torch.arange(len(both_B)), -100)  # cross_entropy leaves these rows out
        forth_BB, back_BB = scale * z_MBD[i] @ z_MBD[j].T, scale * z_MBD[j] @ z_MBD[i].T
        forth_BB, back_BB = (logits_BB.masked_fill(~both_B, -torch.inf) for logits_BB in (forth_BB, back_BB))
        losses.append((F.cross_entropy(forth_BB, labels_B) + F.cross_entropy(back_BB, labels_B)) / 2)
    return torch.stack(losses).mean()


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "loop": filtering_loop, "loop that masks": masking_loop, "tiles": all_to_all,
}  # fmt: skip
CASES = ((0.0, ("loop", "tiles")), (0.4, ("loop", "loop that masks", "tiles")))


def make_views(places: int, missing: float) -> Views:
    """Views that agree about as they do in the middle of a training."""
    generator = torch.Generator().manual_seed(0)
    middle_BD = torch.randn(places, WIDTH, generator=generator)
    z_MBD = F.normalize(middle_BD + 2 * torch.randn(VIEWS, places, WIDTH, generator=generator), dim=-1)
    present_MB = torch.rand(VIEWS, places, generator=generator) >= missing
    return z_MBD.requires_grad_(), present_MB, torch.tensor(SCALE, requires_grad=True)


def step(way: str, views: Views) -> tuple[Tensor, Tensor]:
    """Returns the gradients of z and scale."""
    z_MBD, _, scale = views
    z_MBD.grad = scale.grad = None
    WAYS[way](*views).backward()
    return z_MBD.grad, scale.grad


def difference(way: str, other: str, views: Views) -> tuple[float, float]:
    """Largest difference of the gradients of z and scale, relative to the largest."""
    (dz_MBD, dscale), (other_MBD, other_scale) = step(way, views), step(other, views)
    return float((dz_MBD - other_MBD).abs().max() / other_MBD.abs().max()), float((dscale / other_scale - 1).abs())


def print_memory(way: str, places: int, missing: float) -> None:
    """In a process of its own: the most memory of one step above that before it, in MiB."""
    step(way, make_views(64, missing))  # libraries have their buffers
    views = make_views(places, missing)
    before = _most_memory_mib()
    step(way, views)
    print(_most_memory_mib() - before)


def _most_memory_mib() -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory_of", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--missing", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        return print_memory(options.memory_of, options.places, options.missing)
    print(
        f"Five views, {options.places} places, width {WIDTH}, float32, {torch.get_num_threads()} threads, forward and"
    )
    print(
        f"backward; medians of {options.rounds} alternating rounds (fastest to slowest); torch {torch.__version__}.\n"
    )
    print(
        "| missing | way | time | peak MiB | tiles: times faster | times less work | of the memory | dz, dscale differ by |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for missing, ways in CASES:
        views = make_views(options.places, missing)
        times = alternate({way: lambda way=way, views=views: step(way, views) for way in ways}, options.rounds)
        command = [sys.executable, "-m", "tests.benchmarks.loss", "--places", str(options.places)]
        memory = {way: float(measure([*command, "--memory_of", way, "--missing", str(missing)]).said) for way in ways}
        for way in ways:
            cells = [""] * 4
            if way != "tiles":
                faster, less_work = times[way].over(times["tiles"])
                differences = " ".join(f"{d:.1e}" for d in difference("tiles", way, views))
                cells = [f"{faster:.2f}", f"{less_work:.2f}", f"1/{memory[way] / memory['tiles']:.1f}", differences]
            print(
                "|", " | ".join([f"{missing:.0%}", way, str(times[way]), f"{memory[way]:.0f}", *cells]), "|", flush=True
            )


if __name__ == "__main__":
    main()
