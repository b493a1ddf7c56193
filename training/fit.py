"""Trains encoders that agree about the place: `python -m training.fit shards/`.

On a CPU or one GPU as it stands, on many under torchrun. The run's folder gets checkpoints and `log.jsonl`; the same
command goes on where it ended.
"""

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from schemas.corpus import CorpusError
from schemas.modality import SENTINEL2
from training.checkpoint import CheckpointError
from training.command import run_command
from training.data.batch import LOCATION, SPOTS, VIEWS
from training.data.loader import Loader, LoaderOptions
from training.data.samples import Samples
from training.data.split import load, open_split
from training.data.stream import Stream, StreamLoader
from training.hardware import choose_precision, count_threads, find_peak_flops, keep_memory
from training.learning import distributed
from training.learning.config import EXAMPLE, FitOptions
from training.learning.learner import Learner, NotFiniteError, Report, check_finite
from training.learning.negatives import mask_near
from training.learning.resume import check_shared, describe_corpus, find_previous, restore, save, settle
from training.learning.validation import Validation
from training.learning.variants import VARIANTS, list_variants, published_options
from training.log import RunLog, TensorBoard, Tracker, WeightsAndBiases
from training.model import Model, ModelConfig
from training.options import OptionError, parse
from training.towers import TowerError

PARTS_OF_A_RUN = 10
"""Evaluations and checkpoints of a run where the options do not say."""
STOPPED = 130
"""Exit status of a run that was asked to stop and has written a checkpoint."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""

    def work() -> int:
        options = parse(
            FitOptions, arguments, prog="python -m training.fit", description=str(__doc__),
            epilog=f"{EXAMPLE}\n\n{list_variants()}", defaults=published_options,
        )  # fmt: skip
        keep_memory()
        try:
            return fit(options)
        finally:
            distributed.stop()

    errors = OptionError, CorpusError, CheckpointError, NotFiniteError, TowerError
    return run_command(work, *errors, where="the run", status=2)


def fit(options: FitOptions) -> int:
    """Trains; the acts of a run in their order."""
    # Where: the device, its precision, what an earlier process left
    device, is_main = distributed.start(options.device), distributed.is_main()
    distributed.check_batch(options.batch)
    run, previous = options.run_folder, find_previous(options)
    check_shared(run, previous, device)
    options = settle(options, previous, device)
    dtype = choose_precision(options.precision, device)

    # From what: the corpus
    samples = open_split(options.corpus, options.split)
    corpus = describe_corpus(samples)
    torch.manual_seed(options.seed)
    model = Model(configure(options, samples)).to(device)
    loader = open_loader(options, samples, model)
    steps = options.steps or options.epochs * loader.steps_per_epoch
    if options.dry_run:
        describe(model, options, steps, len(samples))
        return 0

    # Who: the learner, new or as the checkpoint has it
    phase = (options.phase_steps or loader.steps_per_epoch) if VARIANTS[options.variant].in_phases else 0
    learner = Learner(model, options, dtype=dtype, steps=steps, phase_steps=phase)
    first = restore(learner, previous, corpus) if previous else 0
    if options.compile:
        for tower in model.towers.values():
            tower.compile()
    if is_main:
        how = "going on at" if first else "beginning at"
        print(f"{run}: {how} step {first} of {steps}, {len(samples)} places", file=sys.stderr)
    meter = Meter(loader.steps_per_epoch, options.batch, model.flops_per_sample(), find_peak_flops(device, dtype))
    log = RunLog(run, start=first, steps=steps, trackers=open_trackers(options, run)) if is_main else None
    validation = Validation(options, learner) if is_main else None

    # The steps
    stopping = Stopping()
    every = max(1, -(-steps // PARTS_OF_A_RUN))
    save_every, eval_every = options.save_every or every, options.eval_every or _round_up(every, phase)
    last = min(steps, first + options.stop_after) if options.stop_after else steps
    metrics: dict[str, float] = {}
    is_stopped = False
    for step, batch in zip(range(first, last), loader.batches(first), strict=False):
        present_MB, batch = batch.present_MB, batch.to(device)
        if isinstance(loader, StreamLoader):
            batch = mask_near(batch, options.mask_within_m)
        report, done = learner.step(batch, step), step + 1
        is_stopped = distributed.any_of(stopping.is_asked, device)
        ends = done == last or is_stopped
        saves, evaluates = done % save_every == 0 or ends, done % eval_every == 0 or done == steps
        if log:
            meter.add(done, report, present_MB)
        if done % options.log_every == 0 or saves or evaluates:
            damaged = distributed.count(loader.damaged, device)  # what two processes met counts for each
            if log:
                log.write({**meter.read(), "scale": float(model.scale.detach()), "damaged": damaged})
        if validation and log and evaluates:
            metrics = validation.run()
            log.write({"step": done, **metrics})
        if saves and is_main:
            save(run, learner, done, metrics=metrics, corpus=corpus)
        if saves or evaluates:
            meter.restart()
        if ends:
            break
    if log:
        log.close()
    return STOPPED if is_stopped else 0


def configure(options: FitOptions, samples: Samples | Stream) -> ModelConfig:
    """Returns how the model is made for these options and this corpus.

    Raises:
        CorpusError: if the corpus's statistics cannot be divided by.
    """
    views = VARIANTS[options.variant].views
    has_spots = SENTINEL2.name in views and not set(SPOTS).isdisjoint(views)
    extent, statistics = samples.extent, samples.statistics
    try:
        return ModelConfig(
            preset=options.preset, views=views, dim=options.dim, text=options.text, aerial=options.aerial,
            street=options.street, tune=options.tune,
            predictor=options.predictor if options.predictor != "none" else "hidden",
            inr=options.predictor != "none" and has_spots, location=options.location, finest_m=options.finest_m,
            extent=extent, statistics=statistics, dropout=options.dropout, keep=options.keep_patches,
            keep_words=options.keep_words, checkpointing=options.checkpointing,
        )  # fmt: skip
    except ValueError as error:
        raise CorpusError(f"{options.corpus}: {error}") from error


def open_loader(options: FitOptions, samples: Samples | Stream, model: Model) -> Loader | StreamLoader:
    """Returns the loader of this process's share of each batch."""
    variant = VARIANTS[options.variant]
    phases = tuple((view, LOCATION) for view in variant.views if view != LOCATION) if variant.in_phases else ()
    how = LoaderOptions(
        seed=options.seed, threads=count_threads(options.threads), image_px=model.image_px, tokenize=model.tokenize,
        rank=distributed.rank(), world=distributed.world(), mask_within_m=options.mask_within_m,
        modality_dropout=options.modality_dropout, neighbours=options.neighbours, jitter=True,
        on_damage="fail" if options.on_damage == "fail" else "skip", pin=torch.cuda.is_available(),
        views=variant.views, phases=phases, phase_steps=options.phase_steps, is_unpaired=options.unpaired,
    )  # fmt: skip
    return load(samples, options.batch, options=how)


def open_trackers(options: FitOptions, run: Path) -> list[Tracker]:
    """Returns the trackers that are asked for besides the log."""
    trackers: list[Tracker] = [TensorBoard(run)] if options.tensorboard else []
    return [*trackers, WeightsAndBiases(options.wandb, run, options.shaping())] if options.wandb else trackers


def describe(model: Model, options: FitOptions, steps: int, places: int) -> None:
    """Prints what a run would do."""
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{places} places, {steps} steps of {options.batch}, preset {options.preset}, {options.precision}")
    print(f"{options.variant}: {VARIANTS[options.variant].about}")
    flops = 3 * sum(model.flops_per_sample().values())
    print(f"{parameters / 1e6:.1f} M parameters, {flops / 1e9:.2f} G operations a place and step")


def _round_up(steps: int, phase: int) -> int:
    """Returns so many steps, or where there are phases those of whole ones."""
    return -(-steps // phase) * phase if phase else steps


class Meter:
    """Watches the losses between two lines of the log, and how fast places go by."""

    def __init__(self, steps_per_epoch: int, batch: int, flops: Mapping[str, int], peak: float) -> None:
        """Takes what is needed to tell speed.

        Args:
            steps_per_epoch: of the loader.
            batch: places of a step, over all processes.
            flops: operations of the forward pass of each view of a place.
            peak: operations a second of the device of this process, at most.
        """
        self._steps_per_epoch, self._batch, self._peak = steps_per_epoch, batch, peak
        self._flops_M = torch.tensor([flops.get(view, 0) for view in VIEWS], dtype=torch.float64)
        self._losses: list[tuple[int, Tensor]] = []
        self._last: tuple[int, Report] | None = None
        self.restart()

    def add(self, done: int, report: Report, present_MB: Tensor) -> None:
        """Takes what a step gave, and which views this process saw: twice the forward pass goes back."""
        self._losses.append((done, report.loss))
        self._flops += 3 * float(present_MB.double().sum(1).cpu() @ self._flops_M)
        self._last = done, report

    def read(self) -> dict[str, float]:
        """Returns the numbers of the last step.

        Raises:
            NotFiniteError: if a loss since the last reading was not finite; nothing was saved since.
        """
        check_finite(self._losses)
        assert self._last is not None
        (done, report), steps = self._last, len(self._losses)
        seconds = time.perf_counter() - self._since
        rate, mfu = steps * self._batch / seconds, self._flops / seconds / self._peak
        self._losses.clear()
        self.restart()
        return {
            "step": done, "epoch": round(done / self._steps_per_epoch, 3), "loss": float(report.loss), "lr": report.lr,
            "gradient_norm": float(report.gradient_norm), "samples_per_s": round(rate, 1),
            "mfu": round(mfu, 4),
        }  # fmt: skip

    def restart(self) -> None:
        """Forgets the time that evaluations and checkpoints took."""
        self._since, self._flops = time.perf_counter(), 0.0


class Stopping:
    """Takes SIGINT and SIGTERM as the wish to stop after the step at hand, with a checkpoint."""

    def __init__(self) -> None:
        self.is_asked = False
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


if __name__ == "__main__":
    sys.exit(main())
