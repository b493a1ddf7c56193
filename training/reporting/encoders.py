"""Location encoders compared: each learns to meet the same frozen embeddings of places.

The other views of a place were embedded once by one run, so that an encoder's training takes seconds and nothing but
the encoder differs.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import LOCATION, VIEWS
from training.evaluation.embedded import Embedded
from training.evaluation.galleries import GalleryRule
from training.evaluation.geolocation import Points, geolocate
from training.evaluation.retrieval import average, retrieve
from training.learning.augment import move
from training.location.parameters import Span
from training.losses import all_to_all
from training.reporting.kept import keep, name_file
from training.towers.locations import LocationShape, make_location_tower

SCALE = 1 / 0.07
DEPTHS = (0, 1, 2)
"""Of the scaled encoder, beside its own."""
RULE = GalleryRule("random")
"""Which places compete."""
_LOCATION = VIEWS.index(LOCATION)


@dataclass(frozen=True)
class Budget:
    """What every encoder may spend."""

    steps: int = 300
    batch: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.1
    noise_m: float = 1000.0
    """Training moves positions by a normal error of this size."""


@dataclass(frozen=True)
class Outcome:
    """How one encoder did on places it has not seen."""

    to_views: float
    """Recall@1, location searches the other views, mean over views."""
    from_views: float
    """Recall@1, the other views search locations, mean over views."""
    chance: float
    error_km: float
    """Median distance at which the first view is placed among the centres of the split: Sentinel-2, if it is there."""


def compare_encoders(
    names: Sequence[str], seeds: int, *, budget: Budget, span: Span, train: Embedded, val: Embedded, folder: Path,
    tell: Callable[[str], None],
) -> dict[str, list[Outcome]]:  # fmt: skip
    """Trains every location encoder against frozen views, and depths of the scaled one; returns outcomes by name.

    Args:
        folder: keeps each outcome, and those that are there for the same places and budget are taken.
        tell: is given a line before each encoder.
    """
    base = LocationShape(dim=train.z_MND.shape[2], width=192, hidden=256, heads=2)
    shapes = {name: (name, base) for name in names}
    if "scaled" in shapes:
        shapes |= {f"scaled, depth {depth}": ("scaled", replace(base, depth=depth)) for depth in DEPTHS}
    views = zlib.crc32(val.z_MND.tobytes(), zlib.crc32(train.z_MND.tobytes()))
    found: dict[str, list[Outcome]] = {}
    for label, (name, shape) in shapes.items():
        tell(f"location encoder {label}")
        shared = {"name": name, "shape": asdict(shape), "budget": asdict(budget), "views": views,
                  "span": [*span.extent, span.finest_m], "rule": asdict(RULE)}  # fmt: skip
        for seed in range(seeds):
            learn = partial(train_encoder, name, shape, span, train, budget, seed)
            kept = keep(name_file(folder, label, seed), {**shared, "seed": seed}, partial(_measure, learn, val))
            found.setdefault(label, []).append(Outcome(**kept))
    return found


def _measure(learn: Callable[[], torch.nn.Module], val: Embedded) -> dict[str, Any]:
    return asdict(measure_encoder(learn(), val, RULE))


def train_encoder(
    name: str, shape: LocationShape, span: Span, places: Embedded, budget: Budget, seed: int
) -> torch.nn.Module:
    """Returns a location tower that was contrasted with the frozen views, in both directions.

    Args:
        name: a row of `training.towers.locations.LOCATIONS`.
        places: of `train`.
    """
    torch.manual_seed(seed)
    tower = make_location_tower(name, span, shape).train()
    optimiser = torch.optim.AdamW(tower.parameters(), lr=budget.lr, weight_decay=budget.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, budget.lr, budget.steps, pct_start=0.1)
    z_MND, present_MN = torch.from_numpy(places.z_MND), torch.from_numpy(places.present_MN)
    lonlat_N2 = torch.from_numpy(places.lonlat_N2)
    weights_MM = torch.zeros(len(VIEWS), len(VIEWS))
    weights_MM[_LOCATION, :_LOCATION] = weights_MM[:_LOCATION, _LOCATION] = 1.0
    size = min(budget.batch, len(places))
    for _ in range(budget.steps):
        rows = torch.randperm(len(places))[:size]
        z_MBD, present_MB = z_MND[:, rows].clone(), present_MN[:, rows].clone()
        z_MBD[_LOCATION] = embed(tower, move(lonlat_N2[rows], budget.noise_m))
        present_MB[_LOCATION] = True
        loss = all_to_all(z_MBD, present_MB, torch.tensor(SCALE), weights_MM=weights_MM)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return tower.eval()


def embed(tower: torch.nn.Module, lonlat_N2: Tensor) -> Tensor:
    """Returns unit vectors (N, D) of positions, degrees east and north."""
    return F.normalize(tower(lonlat_N2)[0].float(), dim=-1)


def measure_encoder(tower: torch.nn.Module, places: Embedded, rule: GalleryRule) -> Outcome:
    """Measures a location tower against the frozen views of a split."""
    with torch.inference_mode():
        z_ND = embed(tower, torch.from_numpy(places.lonlat_N2)).numpy()
    z_MND, present_MN = places.z_MND.copy(), places.present_MN.copy()
    z_MND[_LOCATION], present_MN[_LOCATION] = z_ND, True
    found = replace(places, z_MND=z_MND, present_MN=present_MN)
    others = [view for view in VIEWS if view != LOCATION]
    to_views = average(retrieve(found, rule, asked=[(LOCATION, view) for view in others]))
    from_views = average(retrieve(found, rule, asked=[(view, LOCATION) for view in others]))
    assert to_views is not None and from_views is not None
    view = next(view for view in others if len(found.rows(view)))
    rows = found.rows(view)
    points = Points("centres of the split's cells", z_ND, found.lonlat_N2)
    placed = geolocate(view, found.z(view)[rows], found.lonlat_N2[rows], points)
    return Outcome(to_views.recall_1, from_views.recall_1, to_views.chance_1, float(np.median(placed.error_m)) / 1000)
