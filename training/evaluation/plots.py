"""Pictures of an evaluation: which view finds which, how near queries are placed, how the loss fell."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.data.batch import VIEWS
from training.evaluation.canvas import new_figure, save_figure
from training.evaluation.geolocation import RADII_M, Geolocation
from training.evaluation.report import Evaluation, Search
from training.evaluation.robustness import Curve
from training.log import LOG, read_log

MATRIX_IN, CURVE_IN, LOSS_IN, CURVES_IN = (7.0, 6.2), (8.0, 5.0), (8.0, 4.5), (11.0, 4.0)
"""Width and height of the pictures, inches."""
COLOURS = {
    "sentinel2": "#D55E00", "aerial": "#0072B2", "dem": "#7F6A00", "street": "#CC79A7", "text": "#009E73",
    "location": "#000000",
}  # fmt: skip
"""Okabe and Ito's palette (2008), told apart by all common kinds of colour blindness; its yellow darkened for lines."""
NAMES = {"sentinel2": "Sentinel-2", "aerial": "aerial", "dem": "elevation", "street": "street", "text": "text",
         "location": "location"}  # fmt: skip
_GREY, _FAINT = "#555555", "#DDDDDD"
_NOTE = 100  # letters of a line below a matrix


def draw_run(run: Path, found: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Draws everything there is to see of a run, and returns the pictures' paths.

    Args:
        run: its folder; the loss is drawn where it holds a log.
        folder: gets `retrieval_SPLIT_KIND.png`, `distance_SPLIT.png`, `loss.png`.
    """
    drawn = []
    for one in found:
        for search in one.searches:
            if search.pairs:
                path = folder / f"retrieval_{one.split}_{search.rule.kind}.png"
                drawn.append(draw_matrix(search, f"{one.split} split", path))
        if one.geolocation:
            drawn.append(draw_distances(one.geolocation, f"{one.split} split", folder / f"distance_{one.split}.png"))
    log = run / LOG if (run / LOG).is_file() else run.parent / LOG  # a checkpoint lies in its run
    steps, losses = read_losses(log) if log.is_file() else (np.zeros(0), np.zeros(0))
    if len(steps):
        drawn.append(draw_loss(steps, losses, folder / "loss.png"))
    return drawn


def draw_matrix(search: Search, title: str, path: Path) -> Path:
    """Draws recall@1 of every pair: rows search, columns are found."""
    figure, axes = _begin(MATRIX_IN)
    share_MM = np.full((len(VIEWS), len(VIEWS)), np.nan)
    for pair in search.pairs:
        share_MM[VIEWS.index(pair.query), VIEWS.index(pair.gallery)] = 100 * pair.recall_1
    top = max(1.0, float(np.nanmax(share_MM)))
    axes.imshow(share_MM, cmap="Blues", vmin=0, vmax=top * 1.15)
    for row, column in np.argwhere(np.isfinite(share_MM)).tolist():
        value = share_MM[row, column]
        axes.text(
            column, row, f"{value:.0f}" if value >= 9.95 else f"{value:.1f}", ha="center", va="center", fontsize=13,
            color="white" if value > 0.6 * top else "black",
        )  # fmt: skip
    names = [NAMES[view] for view in VIEWS]
    axes.set_xticks(range(len(VIEWS)), names, fontsize=11)
    axes.set_yticks(range(len(VIEWS)), names, fontsize=11)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_ylabel("this view searches", fontsize=11, color=_GREY)
    axes.set_xlabel("this view is found", fontsize=11, color=_GREY)
    axes.xaxis.set_label_position("top")
    for side in axes.spines.values():
        side.set_visible(False)
    chance = 100 * float(np.mean([pair.chance_1 for pair in search.pairs]))
    figure.suptitle(f"Recall@1 in %, {title}", x=0.02, ha="left", fontsize=14, fontweight="bold")
    note = textwrap.fill(f"{search.describe()}; a blind guess: {chance:.2g} %", _NOTE)
    figure.text(0.02, 0.01, note, fontsize=9, color=_GREY)
    return save_figure(figure, path)


def draw_distances(found: Sequence[Geolocation], title: str, path: Path) -> Path:
    """Draws which share of the queries is placed within each distance, one line a view."""
    figure, axes = _begin(CURVE_IN)
    x_km = np.geomspace(0.01, 20_000, 600)
    ends = []
    for row in found:
        share = 100 * np.searchsorted(np.sort(row.error_m) / 1000, x_km, side="right") / row.queries
        axes.plot(x_km, share, color=COLOURS[row.query], lw=2)
        ends.append((_area(share), row.query))
    chance = 100 * np.mean([row.chance for row in found], axis=0)
    axes.plot(np.array(RADII_M) / 1000, chance, "D", color=_GREY, ms=5, clip_on=False)
    axes.set_xscale("log")
    axes.set_xlim(x_km[0], x_km[-1])
    axes.set_ylim(0, 102)
    ticks = [0.1, 1, 10, 100, 1000, 10_000]
    axes.set_xticks(ticks, ["100 m", "1 km", "10 km", "100 km", "1000 km", "10 000 km"])
    axes.xaxis.minorticks_off()
    axes.set_yticks(range(0, 101, 20), [f"{share} %" for share in range(0, 101, 20)])
    axes.grid(color=_FAINT, lw=0.7)
    axes.set_axisbelow(True)
    _label_lines(axes, [query for _, query in sorted(ends, reverse=True)])
    _open_frame(axes)
    axes.set_xlabel("distance from the truth to the point that was found", fontsize=11)
    figure.suptitle(f"Queries placed within a distance, {title}", x=0.02, ha="left", fontsize=14, fontweight="bold")
    note = f"among {found[0].gallery_size} points: {found[0].gallery}; diamonds: a blind guess"
    figure.text(0.02, 0.015, note, fontsize=9, color=_GREY)
    return save_figure(figure, path)


def draw_loss(steps_N: Any, losses_N: Any, path: Path) -> Path:
    """Draws the loss of a run: what was logged faint, its running mean strong."""
    figure, axes = _begin(LOSS_IN, note=False)
    axes.plot(steps_N, losses_N, color=COLOURS["aerial"], lw=1, alpha=0.3)
    smooth_N = _smooth(losses_N)
    axes.plot(steps_N, smooth_N, color=COLOURS["aerial"], lw=2)
    axes.annotate(
        f"{smooth_N[-1]:.2f}", (steps_N[-1], smooth_N[-1]), xytext=(6, 0), textcoords="offset points", va="center",
        color=COLOURS["aerial"], fontsize=11, fontweight="bold",
    )  # fmt: skip
    low, high = float(np.min(losses_N)), float(np.max(losses_N))
    axes.set_ylim(min(0.0, low), high + 0.05 * (high - low or 1.0))
    axes.set_xlim(0, max(1.0, float(steps_N[-1])))
    axes.grid(axis="y", color=_FAINT, lw=0.7)
    axes.set_axisbelow(True)
    _open_frame(axes)
    axes.set_xlabel("step", fontsize=11)
    figure.suptitle("Loss over the steps", x=0.02, ha="left", fontsize=14, fontweight="bold")
    return save_figure(figure, path)


def draw_curves(curves: Sequence[Curve], title: str, path: Path) -> Path | None:
    """Draws curves of robustness side by side, a panel each, one line for each search; nothing where there is none."""
    drawn = [curve for curve in curves if curve.lines]
    if not drawn:
        return None
    rows = -(-len(drawn) // 2)
    figure = new_figure((CURVES_IN[0], CURVES_IN[1] * rows))
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, curve in zip(panels, drawn, strict=False):
        at = [str(f"{x:g}") for x in curve.at]
        for name, line in curve.lines.items():
            view = name.partition(",")[0]
            shares = [np.nan if share is None else 100 * share for share in line]
            axes.plot(
                at, shares, marker="o", ms=4, lw=1.8, label=name, color=COLOURS.get(view),
                ls="--" if name.endswith("location") else "-",
            )  # fmt: skip
        axes.axhline(100 * curve.chance, color=_GREY, lw=1, ls=":")
        axes.set_ylim(bottom=0)
        axes.set_title(curve.name, loc="left", fontsize=11)
        axes.set_xlabel(curve.axis, fontsize=10)
        axes.grid(axis="y", color=_FAINT, lw=0.7)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8, frameon=False)
        _open_frame(axes)
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    figure.suptitle(f"Recall@1 in %, {title}; dotted: a blind guess", x=0.02, ha="left", fontsize=14, fontweight="bold")
    return save_figure(figure, path)


def read_losses(log: Path) -> tuple[Any, Any]:
    """Returns steps and losses of a run's log; a line that was cut off ends it."""
    rows = [(row["step"], row["loss"]) for row in read_log(log.parent) if "loss" in row]
    steps_N, losses_N = np.array(rows, float).reshape(-1, 2).T
    return steps_N, losses_N


def _begin(size_in: tuple[float, float], *, note: bool = True) -> tuple[Figure, Axes]:
    figure = new_figure(size_in)
    figure.get_layout_engine().set(rect=(0.01, 0.05 if note else 0.0, 0.98, 0.94 if note else 0.99))  # type: ignore[union-attr, call-arg]
    return figure, figure.add_subplot()


def _open_frame(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GREY)
    axes.tick_params(colors=_GREY, labelsize=10)


def _label_lines(axes: Axes, order: Sequence[str]) -> None:
    """Names the lines at the right, from the best down."""
    for number, query in enumerate(order):
        axes.annotate(
            NAMES[query], (1.01, 0.9 - 0.075 * number), xycoords="axes fraction", va="center", fontsize=11,
            color=COLOURS[query], fontweight="bold",
        )  # fmt: skip


def _area(share: Any) -> float:
    return float(np.mean(share))


def _smooth(values_N: Any) -> Any:
    """Returns the mean over a centred window of a fortieth of the rows."""
    reach = max(1, len(values_N) // 80)
    total = np.concatenate([[0.0], np.cumsum(values_N)])
    at = np.arange(len(values_N))
    start, stop = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values_N))
    return (total[stop] - total[start]) / (stop - start)
