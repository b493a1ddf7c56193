"""Location encoders against the same formulas written plainly, and what 32 bits cost each.

    python -m tests.benchmarks.locations [--rounds 7] [--batch 1024] [--only speed|precision|scaled]

Speed is forward and backward of position encoding and network. Written plainly, positions are encoded by numpy in
float64, as TorchSpatial does (`tests/training/location/plain.py`), and the network is made of torch's own layers; the
harmonics by one loop over all degrees and orders. UniGeoCLIP's encoder (12 layers, width 768) stands against
`torch.nn.TransformerEncoderLayer`, as it is published, both in float32 and ours in bfloat16 autocast besides.
"""

import argparse
import copy

import numpy as np
import torch
from torch import nn

from tests.benchmarks.alternate import alternate
from tests.training.location.plain import PLAIN, geoclip
from training.location import encode_position
from training.location.parameters import Span
from training.towers.locations import LOCATIONS, LocationShape, PositionEncoder, make_location_tower
from training.towers.networks import ScaleMlps
from training.towers.scaled import ScaledEncoder

SIGMAS = (1.0, 16.0, 256.0, 4096.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--only", choices=("speed", "precision", "scaled"))
    options = parser.parse_args()
    torch.manual_seed(0)
    lonlat_N2 = draw_points(options.batch)
    about = f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {options.rounds} rounds"
    if options.only in (None, "precision"):
        show_precision(draw_points(4096))
    if options.only in (None, "speed"):
        print(f"\nForward and backward, {options.batch} positions, the whole Earth to 100 m, to 256 values; {about}.\n")
        show_speed(lonlat_N2, options.rounds)
    if options.only in (None, "scaled"):
        print(f"\nUniGeoCLIP's encoder, {options.batch} positions, forward and backward; {about}.\n")
        show_scaled(lonlat_N2, options.rounds)


def draw_points(count: int) -> torch.Tensor:
    generator = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(generator.uniform(-1, 1, count)))
    return torch.tensor(np.stack([generator.uniform(-180, 180, count), lat], 1))


def make_encoders() -> dict[str, PositionEncoder]:
    towers = {name: make_location_tower(name, Span(), LocationShape()) for name in LOCATIONS}
    return {name: tower.encoder for name, tower in towers.items() if isinstance(tower.encoder, PositionEncoder)}


def show_precision(lonlat_N2: torch.Tensor) -> None:
    """Positions rounded to float32 are taken as exact: what is measured is the arithmetic."""
    print(
        "Largest error of a feature over 4,096 points, the whole Earth to 100 m, against float64 of the same points.\n"
    )
    print("| encoder | float32 throughout | float32 in, float32 out | float64 in, float32 out |\n|---|---|---|---|")
    single = lonlat_N2.float()
    tokens = make_location_tower("scaled", Span(), LocationShape()).encoder
    matrices = [part.mat for part in tokens.loc_enc]
    rows = {name: (e.position.name, parameters_of(e)) for name, e in make_encoders().items()}
    rows["scaled"] = "geoclip", {"matrices": matrices}
    rows["unigeoclip"] = "geoclip", {"matrices": [m.float() for m in _draw_published()]}
    for name in (name for name in LOCATIONS if name in rows):
        position, parameters = rows[name]
        exact = encode_position(position, single.double(), **parameters)
        with np.errstate(all="ignore"):
            naive = torch.tensor(PLAIN[position](single.numpy(), **parameters)).double()
        wrong = (naive - exact).abs()
        lost = "" if wrong.isfinite().all() else f", {1 - wrong.isfinite().double().mean():.1%} not finite"
        worst = wrong[wrong.isfinite()].max()
        ours = (encode_position(position, single, **parameters).double() - exact).abs().max()
        exact = encode_position(position, lonlat_N2, **parameters)
        rounded = (exact.float().double() - exact).abs().max()
        print(f"| {name} | {worst:.1e}{lost} | {ours:.1e} | {rounded:.1e} |", flush=True)


def show_speed(lonlat_N2: torch.Tensor, rounds: int) -> None:
    print("| encoder | plain | ours | times as fast | times less work | plain, position only | ours, position only |")
    print("|---|---|---|---|---|---|---|")
    for name, encoder in make_encoders().items():
        plain = PlainlyWritten(encoder)
        ways = {"plain": lambda p=plain: run(p, lonlat_N2), "ours": lambda e=encoder: run(e, lonlat_N2)}
        times = alternate(ways, rounds)
        faster, less_work = times["plain"].over(times["ours"])
        alone = alternate(
            {"plain": lambda p=plain: p.encode(lonlat_N2), "ours": lambda e=encoder: e.position(lonlat_N2)}, rounds
        )
        apart = (plain(lonlat_N2) - encoder(lonlat_N2)).abs().max().item()
        assert apart < 1e-2, f"{name} differs by {apart}"
        cells = [
            name,
            times["plain"],
            times["ours"],
            f"{faster:.2f}",
            f"{less_work:.2f}",
            alone["plain"],
            alone["ours"],
        ]
        print("|", " | ".join(map(str, cells)), "|", flush=True)


def show_scaled(lonlat_N2: torch.Tensor, rounds: int) -> None:
    encoder = ScaledEncoder(SIGMAS)
    published = Published(encoder)
    ways = {
        "published, float32": lambda: run(published, lonlat_N2),
        "ours, float32": lambda: run(encoder, lonlat_N2),
        "published, bfloat16 autocast": lambda: run(published, lonlat_N2, autocast=True),
        "ours, bfloat16 autocast": lambda: run(encoder, lonlat_N2, autocast=True),
    }
    times = alternate(ways, rounds)
    print("| way | time | times as fast as published, float32 | times less work |\n|---|---|---|---|")
    for way, found in times.items():
        faster, less_work = times["published, float32"].over(found)
        print(f"| {way} | {found} | {faster:.2f} | {less_work:.2f} |", flush=True)


def run(encoder: nn.Module, lonlat_N2: torch.Tensor, *, autocast: bool = False) -> None:
    encoder.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = encoder(lonlat_N2)
    out.float().square().sum().backward()


def parameters_of(encoder: PositionEncoder) -> dict[str, object]:
    return {**encoder.position.numbers, **dict(encoder.position.named_buffers())}


class PlainlyWritten(nn.Module):
    """The same encoder with the position in numpy, and GeoCLIP's networks added up one after the other."""

    def __init__(self, encoder: PositionEncoder) -> None:
        super().__init__()
        self.network = copy.deepcopy(encoder.network)
        self.formula, self.numbers = PLAIN[encoder.position.name], parameters_of(encoder)

    def encode(self, lonlat_N2: torch.Tensor) -> torch.Tensor:
        arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in self.numbers.items()}
        return torch.tensor(self.formula(lonlat_N2.numpy(), **arrays))

    def forward(self, lonlat_N2: torch.Tensor) -> torch.Tensor:
        features = self.encode(lonlat_N2).float()
        if not isinstance(self.network, ScaleMlps):
            return self.network(features)
        out = torch.zeros(len(features), self.network.scales[0][-1].out_features)
        for mlp, part in zip(self.network.scales, features.chunk(len(self.network.scales), 1), strict=True):
            out = out + mlp(part)
        return out


class Published(nn.Module):
    """UniGeoCLIP's module: features in float32, layers of torch, registers in front (methods of the paper's code)."""

    def __init__(self, encoder: ScaledEncoder) -> None:
        super().__init__()
        self.matrices = [part.mat for part in encoder.loc_enc]
        self.registers = nn.Parameter(encoder.registers.detach().clone())
        width = encoder.registers.shape[1]
        layer = nn.TransformerEncoderLayer(width, 12, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)

    def forward(self, lonlat_N2: torch.Tensor) -> torch.Tensor:
        features = torch.tensor(geoclip(lonlat_N2.float().numpy(), matrices=[m.numpy() for m in self.matrices]))
        tokens = features.unflatten(1, (len(self.matrices), -1))
        out = self.transformer(torch.cat([self.registers.expand(len(tokens), -1, -1), tokens], 1))
        return out[:, len(self.registers) :].mean(1)


def _draw_published() -> list[torch.Tensor]:
    return [part.mat for part in ScaledEncoder(SIGMAS, 64, 1, 2).loc_enc]


if __name__ == "__main__":
    main()
