"""Trains every variant and every location encoder under one budget, and writes one page about it.

python -m training.report shards/demo --output runs/report
"""

import sys
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

from schemas.corpus import CorpusError
from training.api import Encoder, open_run
from training.checkpoint import CheckpointError
from training.command import run_command
from training.evaluation.embedded import Embedded, embed_split
from training.files import write_json
from training.inputs import InputError
from training.location.parameters import Span
from training.options import OptionError, check_least, listed, option, parse
from training.reading import open_for
from training.reporting.encoders import Budget, Outcome, compare_encoders
from training.reporting.figures import judge, summarise
from training.reporting.labels import TASKS, LabelPlan, measure_labels
from training.reporting.methods import add_methods, add_orderings
from training.reporting.page import Page
from training.reporting.pictures import add_pictures
from training.reporting.runs import RunError, Runs, list_rows
from training.reporting.scores import add_labels, label_orderings
from training.towers.locations import LOCATIONS, LocationShape

EXAMPLE = """examples:
  python -m training.report shards/demo                                     # everything, three seeds
  python -m training.report shards/demo --rows sameplace,gair --seeds 1 --steps 20 --encoders scaled,plain"""
FINEST_M = 100.0


@dataclass(frozen=True)
class ReportOptions:
    """All options of `python -m training.report`."""

    corpus: str = option(MISSING, "folder of a corpus with train, val and test")
    output: str = option("runs/report", "folder of the runs and of the page; a second call goes on where one ended")
    seeds: int = option(3, "runs of each row")
    steps: int = option(60, "steps of each run")
    batch: int = option(128, "places in a batch of each run")
    optimiser: str = option("adamw", "of each run", choices=("adamw", "muon"))
    lr: float = option(1e-3, "highest learning rate of each run")
    encoder_steps: int = option(300, "steps of each location encoder, against frozen views")
    rows: str = option("", "methods, with commas (default: all)")
    encoders: str = option("", "location encoders, with commas (default: all; none: leave them out)")
    labels: str = option("", "folder of labels for air_temperature, night_lights and habitat_1")
    label_tasks: str = option("", f"of {','.join(TASKS)} (default: all; none: leave them out)")
    label_encoders: str = option(
        "tile,wrap,rff,spherical_harmonics,sphereCplus",
        "location encoders that learn tasks of labels; all of --encoders are probed as they are",
    )
    label_seeds: int = option(3, "seeds of folds and weights of the encoders that learn labels")
    label_places: int = option(20_000, "places of a task of labels, at most")
    label_epochs: int = option(12, "rounds through the places of the encoders that learn labels")

    def __post_init__(self) -> None:
        check_least(self, seeds=1, steps=1, batch=2, encoder_steps=1, label_seeds=1, label_places=50, label_epochs=1)
        known = [row.name for row in list_rows()]
        plan = self.label_plan
        for name, words, all_words in (
            ("rows", self.row_names, known), ("encoders", self.encoder_names, LOCATIONS),
            ("label_tasks", plan.tasks, TASKS), ("label_encoders", plan.trained, LOCATIONS),
        ):  # fmt: skip
            unknown = [word for word in words if word not in all_words]
            if unknown:
                raise OptionError(f"--{name}: {unknown[0]!r} is not known: choose from {', '.join(all_words)}.")

    @property
    def row_names(self) -> list[str]:
        """The methods asked for; empty for all."""
        return listed(self.rows)

    @property
    def encoder_names(self) -> list[str]:
        """The location encoders asked for."""
        return [] if self.encoders == "none" else listed(self.encoders) or list(LOCATIONS)

    @property
    def label_plan(self) -> LabelPlan:
        """What is measured on labels of real places."""
        tasks = () if self.label_tasks == "none" else tuple(listed(self.label_tasks)) or TASKS
        return LabelPlan(
            tasks, Path(self.labels) if self.labels else None, tuple(self.encoder_names),
            tuple(listed(self.label_encoders)), self.label_seeds, self.label_places, self.label_epochs,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""

    def work() -> None:
        options = parse(
            ReportOptions, arguments, prog="python -m training.report", description=str(__doc__), epilog=EXAMPLE
        )
        print(report(options))

    return run_command(work, CheckpointError, CorpusError, InputError, OptionError, RunError)


def report(options: ReportOptions) -> Path:
    """Trains what is not trained, measures what is not measured, and writes the page; returns its path."""
    folder = Path(options.output)
    budget = ("--steps", str(options.steps), "--batch", str(options.batch), "--optimiser", options.optimiser,
              "--lr", str(options.lr), "--location_noise_m", "1000", "--log_every", "1",
              "--eval_every", str(10 * options.steps))  # fmt: skip
    runs = Runs(options.corpus, folder / "runs", budget)
    rows = list_rows(options.row_names)
    found: dict[str, list[dict[str, object]]] = {row.name: [] for row in rows}
    for seed in range(options.seeds):  # a report that is cut short has every row
        for row in rows:
            _tell(f"{row.name}, seed {seed}")
            runs.train(row, seed)
            found[row.name].append(runs.measure(row, seed))
    page = Page("What the methods do, on places they have not seen")
    page.paragraph(
        f"Corpus {options.corpus}; every run {options.steps} steps of {options.batch} places,"
        f" by {options.optimiser} at {options.lr:g}."
    )
    add_methods(page, rows, found, options.seeds)
    frozen = open_run(runs.path(rows[0], 0), device="cpu")
    train, val = (_embed(frozen, options.corpus, split) for split in ("train", "val"))
    span, asked = Span(frozen.model.config.extent, FINEST_M), Budget(options.encoder_steps)
    outcomes = compare_encoders(
        options.encoder_names, options.seeds, budget=asked, span=span, train=train, val=val,
        folder=folder / "encoders" / runs.path(rows[0], 0).name, tell=_tell,
    )  # fmt: skip
    if outcomes:
        add_encoders(page, outcomes, rows[0].name)
    labelled = measure_labels(options.label_plan, folder / "labels", _tell)
    if options.label_plan.tasks:
        add_labels(page, labelled, options.label_plan)
    add_orderings(page, found, runs, [*_depths(outcomes), *label_orderings(labelled)])
    add_pictures(page, frozen, options.corpus, val, folder / "pictures")
    write_json(folder / "report.json", {
        "options": asdict(options), "methods": found,
        "encoders": {name: [asdict(one) for one in several] for name, several in outcomes.items()},
        "labels": labelled.record(),
    })  # fmt: skip
    return page.write(folder / "report.html")


def add_encoders(page: Page, outcomes: dict[str, list[Outcome]], frozen: str) -> None:
    """Adds the table of location encoders, the best first."""
    page.heading("Location encoders")
    page.paragraph(
        f"Each learns to meet the frozen views of {frozen}, seed 0, under the same steps; places of val lie among "
        "those of train."
    )
    table = []
    for name, several in outcomes.items():
        to_views, from_views = summarise([o.to_views for o in several]), summarise([o.from_views for o in several])
        error = summarise([o.error_km for o in several])
        table.append((to_views.mean, [name, to_views.show(), from_views.show(), error.show(1, 1)]))
    head = ["encoder", "location finds views, recall@1 %", "views find location, recall@1 %", "median error, km"]
    page.table(head, [cells for _, cells in sorted(table, reverse=True)])


def _depths(outcomes: dict[str, list[Outcome]]) -> list[tuple[str, str, str]]:
    deep, flat = (summarise([o.from_views for o in outcomes.get(name, [])]) for name in ("scaled", "scaled, depth 0"))
    if not deep.seeds:
        return []
    shown = f"depth {LocationShape.depth} {deep.show()}; depth 0 {flat.show()}"
    return [("a deeper location encoder beats depth 0 where views search locations", shown, judge(deep, flat))]


def _embed(encoder: Encoder, corpus: str, split: str) -> Embedded:
    model = encoder.model
    centres, batches = open_for(model, corpus, split)
    return embed_split(model, batches, centres, encoder.device)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
