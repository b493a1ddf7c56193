"""What a run says: one JSON line a logged step in `log.jsonl`, one aligned line on stderr, and trackers where asked."""

import json
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from training.files import draft_of
from training.options import OptionError

LOG = "log.jsonl"


class Tracker(Protocol):
    """Takes numbers of a step."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the values of a step."""

    def close(self) -> None:
        """Ends the tracker."""


class RunLog:
    """The log of a run; a run that goes on from a checkpoint forgets the lines after it."""

    def __init__(self, run: Path, *, start: int, steps: int, trackers: list[Tracker]) -> None:
        self._path, self._steps, self._trackers = run / LOG, steps, trackers
        rows = read_log(run, until=start)
        with draft_of(self._path) as draft:
            draft.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        self._begin, self._first = time.monotonic(), start

    def write(self, row: Mapping[str, float]) -> None:
        """Notes the numbers of a step (`step` among them)."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(row)}\n")
        step = int(row["step"])
        for tracker in self._trackers:
            tracker.write(step, {name: value for name, value in row.items() if name != "step"})
        if "loss" in row:
            self._show(step, row)
        else:
            said = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "step")
            print(f"step {step:>6}  {said}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the trackers."""
        for tracker in self._trackers:
            tracker.close()

    def _show(self, step: int, row: Mapping[str, float]) -> None:
        spent = time.monotonic() - self._begin
        left_s = spent / max(1, step - self._first) * (self._steps - step)
        mfu = f"  MFU {100 * row['mfu']:4.1f} %" if row.get("mfu") else ""
        print(
            f"step {step:>6}/{self._steps}  loss {row['loss']:7.4f}  lr {row['lr']:.2e}  scale {row['scale']:5.1f}  "
            f"{row['samples_per_s']:7.1f} samples/s{mfu}  {_span(left_s)} left",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def read_log(run: Path, until: int | None = None) -> list[dict[str, Any]]:
    """Returns the lines of a run's log up to a step, without a last one that was cut off."""
    path = run / LOG
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:  # killed while writing
            break
        if until is None or row["step"] <= until:
            rows.append(row)
    return rows


class TensorBoard:
    """Event files for TensorBoard."""

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise OptionError("--tensorboard needs its package: pip install 'sameplace[tensorboard]'.") from error
        self._writer: Any = SummaryWriter(str(run / "tensorboard"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the values of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class WeightsAndBiases:
    """A run at Weights & Biases; what it needs of credentials it reads itself."""

    def __init__(self, project: str, run: Path, options: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise OptionError("--wandb needs its package: pip install 'sameplace[wandb]'.") from error
        self._run: Any = wandb.init(
            project=project, name=run.name, dir=str(run), config=dict(options), id=_keep_id(run), resume="allow"
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes the values of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def _keep_id(run: Path) -> str:
    """Returns the id under which a run that goes on is found again: the first call draws it."""
    path = run / "wandb_id"
    if not path.is_file():
        with draft_of(path) as draft:
            draft.write_text(secrets.token_hex(8), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
