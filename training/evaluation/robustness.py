"""Curves of robustness: recall@1 against wrong positions, misregistered rasters and missing views.

Only what searches is disturbed; the galleries are those of an undisturbed evaluation, so that each curve begins at its
figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.batch import GROUNDS, LOCATION, SPOTS, VIEW_FIELDS, VIEWS, Batch
from training.evaluation.disturbance import GROUND_M, Moves, draw_missing, only
from training.evaluation.embedded import Embedded, EmbeddedBatch, embed_split
from training.evaluation.galleries import GalleryRule
from training.evaluation.retrieval import average, retrieve

QUERY = "street"
"""The view that searches places of which views are missing."""
_SPOT = "Sentinel-2 at the photo"
_QUERY_OF = {_SPOT: "sentinel2"}
"""The view whose place in the embeddings something takes."""

Z = NDArray[np.float32]


@dataclass(frozen=True)
class Curve:
    """Recall@1 along one kind of disturbance."""

    name: str
    """What is disturbed, in words."""
    axis: str
    """What grows along it, with its unit."""
    at: list[float]
    """Where it was measured."""
    lines: dict[str, list[float | None]]
    """Recall@1 at each, by what searches and finds; None where nothing is left to see."""
    chance: float
    """Recall@1 of a blind guess."""
    places: int
    """That have what searches and what is found; at least two are needed."""


class Model(Protocol):
    """What a model must be able to do."""

    config: Any
    """Its `views` are those that can be embedded."""

    def __call__(self, batch: Batch, /) -> EmbeddedBatch:
        """Returns unit vectors (M, B, D), and those of the Sentinel-2 map at photo and article (S, B, D)."""
        ...

    def encode(self, view: str, values: Tensor, focus_N2: Tensor | None = None) -> Tensor:
        """Returns unit vectors (N, D) of one view."""
        ...


def measure(
    model: Model, batches: Iterable[Batch], centres: Mapping[str, tuple[float, float]], rule: GalleryRule, *,
    distances: Sequence[float], missing: Sequence[float], seeds: int = 3, device: torch.device | str = "cpu",
) -> list[Curve]:  # fmt: skip
    """Returns the curves of a run, of which it reads every place once.

    Args:
        model: in eval mode, on the device.
        batches: each place once, as `Loader.in_order` gives them.
        centres: (lon, lat) of the cells by key, degrees, WGS 84.
        distances: how far positions, rasters and spots are moved, metres.
        missing: probabilities with which a view of a place lacks.
    """
    moved = _Moved(model, distances, seeds, device)
    places = embed_split(model, moved.watch(batches, centres), centres, device)
    return [
        moved.curve(places, rule, "Wrong positions", [LOCATION]),
        moved.curve(places, rule, "Misregistered rasters", list(GROUND_M)),
        moved.curve(places, rule, "Wrong position inside the Sentinel-2 patch", [_SPOT]),
        _lose_views(places, rule, missing, seeds),
    ]  # fmt: skip


class _Moved:
    """Embeds what is moved while the batches go by."""

    def __init__(self, model: Model, distances: Sequence[float], seeds: int, device: torch.device | str) -> None:
        self._model, self._distances, self._seeds, self._device = model, list(distances), seeds, device
        self._rng = np.random.default_rng(0)
        self._found: dict[tuple[str, float, int], list[Z | None]] = {}

    def watch(self, batches: Iterable[Batch], centres: Mapping[str, tuple[float, float]]) -> Iterable[Batch]:
        """Passes batches on."""
        for batch in batches:
            there = batch.to(self._device)
            there.lonlat_B2 = torch.tensor([centres[key] for key in batch.keys], dtype=torch.float64).to(self._device)
            with torch.inference_mode():
                for seed in range(self._seeds):
                    for distance_m in self._distances:
                        moves = Moves.draw(len(batch), distance_m, self._rng)
                        for view in (LOCATION, *GROUND_M, _SPOT):
                            z_BD = self._embed(view, there, moves)
                            self._found.setdefault((view, distance_m, seed), []).append(
                                None if z_BD is None else z_BD.float().cpu().numpy()
                            )
            yield batch

    def curve(self, places: Embedded, rule: GalleryRule, name: str, views: list[str]) -> Curve:
        """Returns the curve of some views; each searches all other views, the spot the photo."""
        lines: dict[str, list[float | None]] = {}
        chance = 0.0
        for view in views:
            query = _QUERY_OF.get(view, view)
            pairs = [(query, other) for other in VIEWS if other != query]
            for label, asked in _split(view, pairs):
                line: list[float | None] = []
                for distance_m in self._distances:
                    figures = [
                        _search(self._held(places, view, distance_m, seed), query, rule, asked)
                        for seed in range(self._seeds)
                    ]
                    whole = [figure for figure in figures if figure is not None]
                    chance = max([chance, *(guess for _, guess in whole)])
                    line.append(float(np.mean([recall for recall, _ in whole])) if whole else None)
                if any(figure is not None for figure in line):
                    lines[label] = line
        shown = [_QUERY_OF.get(view, view) for view in views]
        return Curve(name, "moved by, metres", self._distances, lines, chance, max(len(places.rows(v)) for v in shown))

    def _embed(self, view: str, batch: Batch, moves: Moves) -> Tensor | None:
        if view not in (*self._model.config.views, _SPOT):
            return None
        if view == LOCATION:
            return self._model.encode(view, moves.of_positions(batch.lonlat_B2))
        if view == _SPOT:
            shown = only(batch, "sentinel2")
            shown.spots_BS2 = moves.of_spots(batch.spots_BS2)
            shown.inside_SB = batch.inside_SB & (shown.spots_BS2.abs() <= 1).all(-1).T
            return self._model(shown).spots_SBD[SPOTS.index("street")]
        values = moves.of_raster(view, getattr(batch, VIEW_FIELDS[view]))
        if values is None:
            return None
        focus_B2 = batch.focus_BR2[:, GROUNDS.index(view)] if view in GROUNDS else None
        return self._model.encode(view, values, focus_B2)

    def _held(self, places: Embedded, view: str, distance_m: float, seed: int) -> Embedded | None:
        """Returns the places with the moved view in its place."""
        parts = self._found[view, distance_m, seed]
        if any(part is None for part in parts):
            return None
        z_ND = np.concatenate([part for part in parts if part is not None])
        return places.with_view(_QUERY_OF.get(view, view), z_ND)


def _split(view: str, pairs: list[tuple[str, str]]) -> list[tuple[str, list[tuple[str, str]]]]:
    if view == _SPOT:
        return [(f"{_SPOT}, finds the photo", [("sentinel2", "street")])]
    if view == LOCATION:
        return [("location, finds the other views", pairs)]
    return [
        (f"{view}, finds the other views", [pair for pair in pairs if pair[1] != LOCATION]),
        (f"{view}, finds the location", [(view, LOCATION)]),
    ]


def _search(
    places: Embedded | None, query: str, rule: GalleryRule, asked: list[tuple[str, str]]
) -> tuple[float, float] | None:
    """Returns recall@1 and chance, the mean over the pairs."""
    mean = None if places is None else average(retrieve(places, rule, asked=asked))
    return None if mean is None else (mean.recall_1, mean.chance_1)


def _lose_views(places: Embedded, rule: GalleryRule, missing: Sequence[float], seeds: int) -> Curve:
    """A photo searches places described by the sum of the views that are left of each."""
    views = [view for view in VIEWS if view != QUERY and len(places.rows(view))]
    rows = np.flatnonzero(places.present_MN[[VIEWS.index(view) for view in (QUERY, *views)]].all(0))
    lines: dict[str, list[float | None]] = {}
    chance = 0.0
    groups = {"all other views": views, "all other views but location": [v for v in views if v != LOCATION]}
    for name, members in groups.items():
        if len(rows) < 2 or not members:
            continue
        line: list[float | None] = []
        for share in missing:
            figures = []
            for seed in range(seeds):
                left_MN = draw_missing(len(members), len(places), share, np.random.default_rng(seed))
                summed_ND = np.einsum("mnd,mn->nd", np.stack([places.z(view) for view in members]), left_MN)
                z_ND = (summed_ND / np.maximum(np.linalg.norm(summed_ND, axis=1, keepdims=True), 1e-12)).astype("f4")
                figures.append(_search_sum(places, rows, z_ND, rule))
            line.append(float(np.mean([recall for recall, _ in figures])))
            chance = max(chance, figures[0][1])
        lines[f"photo, finds {name}"] = line
    return Curve("Missing views", "probability that a view lacks", list(missing), lines, chance, len(rows))


def _search_sum(places: Embedded, rows: NDArray[np.intp], z_ND: Z, rule: GalleryRule) -> tuple[float, float]:
    """Returns recall@1 and chance of the photo among sums, of the places that have everything."""
    present_MN = np.zeros_like(places.present_MN)
    present_MN[:, rows] = places.present_MN[:, rows]
    whole = Embedded(places.keys, places.z_MND * present_MN[..., None], present_MN, places.lonlat_N2, places.photo_N2)
    mean = average(retrieve(whole, rule, lambda query, _: (whole.z(query), z_ND), [(QUERY, LOCATION)]))
    assert mean is not None
    return mean.recall_1, mean.chance_1


def write_table(curve: Curve) -> str:
    """Returns a curve as a Markdown table, shares in per cent; where nothing could be measured, why."""
    if not curve.lines:
        return f"### {curve.name}: not measured, {curve.places} places have all it takes\n"
    rows = [
        f"### {curve.name}: recall@1 in % (a blind guess: {100 * curve.chance:.2g})", "",
        f"| {curve.axis} | {' | '.join(f'{x:g}' for x in curve.at)} |", "| --- |" + " --- |" * len(curve.at),
    ]  # fmt: skip
    for name, line in curve.lines.items():
        cells = ["nothing left" if share is None else f"{100 * share:.1f}" for share in line]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])
