import json

import numpy as np
import pytest
from PIL import Image

from tests.training.evaluation.test_report import make_evaluation
from training.evaluation.canvas import DPI
from training.evaluation.plots import (
    COLOURS,
    CURVE_IN,
    LOSS_IN,
    MATRIX_IN,
    draw_curves,
    draw_loss,
    draw_matrix,
    draw_run,
    read_losses,
)
from training.evaluation.robustness import Curve


def _pixels(path, size_in):
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.size == tuple(round(DPI * side) for side in size_in)
        return np.asarray(picture.convert("RGB")).astype(int)


def _holds(pixels, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return (np.abs(pixels - wanted).max(-1) <= 8).sum()


def test_a_run_is_drawn_whole(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    rows = [{"step": 10 * i, "loss": 5 / i, "lr": 1e-3} for i in range(1, 50)] + [{"step": 500, "recall": 0.1}]
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 5')
    drawn = draw_run(run, [make_evaluation()], tmp_path / "plots")
    assert [p.name for p in drawn] == [
        "retrieval_val_random.png", "retrieval_val_hard.png", "distance_val.png", "loss.png",
    ]  # fmt: skip
    matrix = _pixels(drawn[0], MATRIX_IN)
    assert len(np.unique(matrix.reshape(-1, 3), axis=0)) > 100
    distances = _pixels(drawn[2], CURVE_IN)
    for view in ("sentinel2", "aerial", "dem", "street", "text"):
        assert _holds(distances, COLOURS[view]) > 500, view
    assert _holds(_pixels(drawn[3], LOSS_IN), COLOURS["aerial"]) > 500


def test_a_long_note_below_a_matrix_stays_inside_the_picture(tmp_path, monkeypatch):
    search = make_evaluation().searches[0]
    note = "near galleries (a place and all within 5 km): 16 ... 20 places, 10 of them, radius 1.36 ... 1.74 km"
    monkeypatch.setattr(type(search), "describe", lambda _: note)
    pixels = _pixels(draw_matrix(search, "test split", tmp_path / "matrix.png"), MATRIX_IN)
    assert (pixels[:, -round(0.1 * DPI) :] == 255).all()  # nothing reaches the right edge


def test_the_log_of_a_run_is_found_from_one_of_its_checkpoints(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (tmp_path / "step_00000001").mkdir()
    assert [p.name for p in draw_run(tmp_path / "step_00000001", [], tmp_path / "plots")] == ["loss.png"]
    assert draw_run(tmp_path / "plots" / "elsewhere" / "x", [], tmp_path / "more") == []


def test_losses_are_read_until_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 1, "recall": 0.5}\n{"step": 2, "loss": 1.5}\n{"st')
    steps, losses = read_losses(path)
    assert steps.tolist() == [1, 2] and losses.tolist() == [2, 1.5]


@pytest.mark.parametrize("losses", [[1.0], [2.0, 2.0], [-1.0, -3.0]])
def test_short_flat_and_negative_losses_are_drawn(tmp_path, losses):
    path = draw_loss(np.arange(1.0, len(losses) + 1), np.array(losses), tmp_path / "loss.png")
    assert _pixels(path, LOSS_IN).std() > 1


def test_curves_without_a_line_are_not_drawn(tmp_path):
    curve = Curve("Missing views", "probability", [0.0, 0.5], {}, 0.0, 1)
    assert draw_curves([curve], "val split", tmp_path / "c.png") is None and not (tmp_path / "c.png").exists()
