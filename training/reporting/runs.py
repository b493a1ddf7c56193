"""Runs of `training.fit` for the report: one process each, continued where an earlier report ended."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from training.evaluate import main as evaluate
from training.learning.variants import VARIANTS
from training.log import read_log
from training.shards import is_remote, read_manifest


class RunError(RuntimeError):
    """A run of the report failed: its command, and its last words."""


@dataclass(frozen=True)
class Row:
    """One method: a variant and the options that differ from it."""

    name: str
    about: str
    options: tuple[str, ...] = ()


ABLATIONS = (
    Row("linear_query", "the published linear predictor of the Sentinel-2 map", ("--predictor", "linear")),
    Row("no_query", "no query of the Sentinel-2 map", ("--predictor", "none")),
    Row("hub", "each view contrasted with location alone", ("--pairs", "hub")),
    Row("plain_location", "Equal Earth coordinates through an MLP", ("--location", "plain")),
)
"""The default variant with one thing changed."""


QUEUE = 512
"""Past positions that GeoCLIP and GAIR keep in a report; the published 4,096 take 15 x the time of a step on a CPU."""


def list_rows(names: Sequence[str] = ()) -> list[Row]:
    """Returns the variants and the ablations, or those of these names."""
    rows = []
    for name, variant in VARIANTS.items():
        queue = ("--queue", str(QUEUE)) if "queue" in variant.options else ()
        rows.append(Row(name, variant.about, ("--variant", name, *queue)))
    rows += ABLATIONS
    return [row for row in rows if not names or row.name in names]


@dataclass(frozen=True)
class Runs:
    """Where runs of a report lie and what they all share."""

    corpus: str
    folder: Path
    budget: tuple[str, ...]
    """Options of `training.fit` for all."""

    @cached_property
    def corpus_id(self) -> str:
        """What tells the corpus from others, and from itself built anew: a digest of its shards' names and sizes."""
        if is_remote(self.corpus):
            shards: list[Any] = read_manifest(self.corpus)["shards"]
        else:
            root = Path(self.corpus)
            shards = [[path.relative_to(root).as_posix(), path.stat().st_size] for path in sorted(root.rglob("*.tar"))]
        return hashlib.sha256(json.dumps(shards, sort_keys=True).encode()).hexdigest()[:16]

    def path(self, row: Row, seed: int) -> Path:
        """Returns the folder of a run."""
        return self.folder / f"{row.name}_{seed}"

    def train(self, row: Row, seed: int) -> Path:
        """Trains a run where it is not finished; returns its folder.

        Raises:
            RunError: if training fails, or the folder holds a run of other options.
        """
        run, finished = self.path(row, seed), self.path(row, seed) / "finished"
        asked = ["--seed", str(seed), *self.budget, *row.options]
        if finished.exists():
            had, _, corpus = finished.read_text(encoding="utf-8").partition("\n")
            if had != " ".join(asked):
                raise RunError(f"{run} was trained with {had or 'other options'}, not {' '.join(asked)}: "
                               "choose another --output, or delete this run.")  # fmt: skip
            if corpus != self.corpus_id:
                fact = f"was not trained on {self.corpus} as it is now" if corpus else "does not say on which corpus"
                raise RunError(f"{run} {fact}: choose another --output, or delete this run.")
            return run
        command = [sys.executable, "-m", "training.fit", self.corpus, "--output", str(run), *asked]
        done = subprocess.run(command, env=os.environ.copy(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        finished.write_text(f"{' '.join(asked)}\n{self.corpus_id}", encoding="utf-8")
        return run

    def measure(self, row: Row, seed: int) -> dict[str, Any]:
        """Evaluates a run where that is not done; returns the numbers of `training.evaluate`.

        Raises:
            RunError: if it fails.
        """
        run = self.path(row, seed)
        file = run / "evaluation.json"
        found = _read_evaluation(file)
        if found is None:
            with (run / "evaluation.md").open("w", encoding="utf-8") as tables, contextlib.redirect_stdout(tables):
                status = evaluate([str(run), self.corpus, "--no_baseline", "--json", str(file)])
            if status:
                raise RunError(f"The evaluation of {run} failed.")
            found = json.loads(file.read_text(encoding="utf-8"))
        return found

    def losses(self, row: Row, seed: int) -> list[float]:
        """Returns the losses that a run logged."""
        return [line["loss"] for line in read_log(self.path(row, seed)) if "loss" in line]


def _read_evaluation(file: Path) -> dict[str, Any] | None:
    """Returns what an evaluation found; None where there is none, or one from before spots were measured."""
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    searches = [search for split in found["splits"].values() for search in split["retrieval"].values()]
    return found if all("spots" in search for search in searches) else None
