import sys
from types import SimpleNamespace

import pytest

from training.log import TensorBoard, WeightsAndBiases
from training.options import OptionError


def test_tensorboard_finds_the_values_of_each_step(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = TensorBoard(tmp_path)
    for step, loss in enumerate((4.0, 3.5, 3.25), 1):
        tracker.write(step, {"loss": loss, "lr": 0.001})
    tracker.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 4.0), (2, 3.5), (3, 3.25)]
    assert events.Tags()["scalars"] == ["loss", "lr"]


@pytest.fixture
def started(monkeypatch):
    """What Weights & Biases was asked for; no server of it can run here."""
    calls = []

    def init(**asked):
        run = SimpleNamespace(asked=asked, logged=[], is_finished=False)
        run.log = lambda values, step: run.logged.append((step, values))
        run.finish = lambda: setattr(run, "is_finished", True)
        calls.append(run)
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return calls


def test_a_run_that_goes_on_is_the_same_run_at_weights_and_biases(started, tmp_path):
    for name in ("first", "first", "second"):
        (tmp_path / name).mkdir(exist_ok=True)
        tracker = WeightsAndBiases("project", tmp_path / name, {"lr": 0.001})
        tracker.write(7, {"loss": 2.0})
        tracker.close()
    ids = [run.asked["id"] for run in started]
    assert ids[0] == ids[1] != ids[2] and len(ids[0]) == 16
    assert all(run.asked["resume"] == "allow" and run.asked["config"] == {"lr": 0.001} for run in started)
    assert all(run.logged == [(7, {"loss": 2.0})] and run.is_finished for run in started)


@pytest.mark.parametrize(("tracker", "module", "extra"), [
    (lambda run: TensorBoard(run), "torch.utils.tensorboard", "tensorboard"),
    (lambda run: WeightsAndBiases("project", run, {}), "wandb", "wandb"),
])  # fmt: skip
def test_a_package_that_is_not_there_is_named(monkeypatch, tmp_path, tracker, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OptionError, match=rf"--{extra} needs its package: pip install 'sameplace\[{extra}\]'"):
        tracker(tmp_path)
