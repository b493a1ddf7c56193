"""What a build tells: the plan's table, progress read from the sidecars, the closing table."""

import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from tqdm import tqdm

from geodata.services.service import SERVICES
from pipelines.building.shards import Finished, read_sidecars
from pipelines.engine.log import Log
from pipelines.files import storage
from pipelines.plan.plan import Plan, ShardPlan
from schemas.modality import MODALITIES
from schemas.reference import SPLITS

POLL_S, REMOTE_POLL_S, JSON_POLL_S = 0.5, 10.0, 10.0
"""How often progress looks for new sidecars: in a folder, far away, and where each look is a line."""


class Progress:
    """Shows samples, rate, time left and drops while shards are built; right after any restart, for it counts files."""

    def __init__(self, output: str, shards: list[ShardPlan], todo: list[ShardPlan], log: Log) -> None:
        """Takes the shards that are to be there at the end of this run, and those of them that it builds."""
        self._output, self._log = output, log
        self._total = sum(shard.places for shard in shards)
        finished = Finished(output)
        self._before = {shard.name: finished.sidecar(shard) for shard in todo}
        self._left = list(shards)
        self._new: list[ShardPlan] = []
        self._done = self._drops = 0
        self._look()
        self._bar = tqdm(total=self._total, initial=self._done, unit="sample", file=sys.stderr, disable=log.as_json)
        self._first = self._done
        self._poll_s = max(JSON_POLL_S * log.as_json, REMOTE_POLL_S if storage.is_remote(output) else POLL_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:  # what came out as it was counts as built too
            self._before = {}
        self._show()
        self._bar.close()

    def _watch(self) -> None:
        while True:
            self._show()
            if self._stop.wait(self._poll_s):
                return

    def _show(self) -> None:
        self._look()
        with suppress(OSError):  # a worker has just put another in its place
            for _, sidecar in read_sidecars(self._output, self._new):
                self._drops += len(sidecar["drops"])
                if self._stop.is_set():
                    break
        self._new = []
        self._bar.update(self._done - self._bar.n)
        self._bar.set_postfix(drops=self._drops)
        if self._log.as_json:
            rate = round((self._done - self._first) / max(self._log.seconds, 0.001), 1)
            facts = {"samples": self._done, "of": self._total, "drops": self._drops, "samples_per_s": rate}
            self._log.say("progress", "", **facts)

    def _look(self) -> None:
        """Counts the places of shards finished since the last look."""
        finished = Finished(self._output)
        vouching = {shard.name: finished.sidecar(shard) for shard in self._left}
        new = [s for s in self._left if vouching[s.name] and vouching[s.name] != self._before.get(s.name)]
        self._new += new
        self._done += sum(shard.places for shard in new)
        self._left = [shard for shard in self._left if shard not in set(new)]


def plan_table(plan: Plan) -> str:
    """Returns what is planned, and what it will take."""
    estimate = plan.estimate["per_modality"]
    lines = [f"plan: {plan.places} places in {len(plan.shards)} shards, about {plan.estimate['bytes'] / 1e6:.0f} MB"]
    if priced := plan.estimate.get("priced"):
        lines = [
            f"about {priced['kept']} places, {plan.estimate['bytes'] / 1e6:.0f} MB: scaled from {priced['places']} of "
            f"{priced['of']} chosen places, all those of {priced['units']} units drawn by hash"
        ]
    lines.append(f"{'modality':<10} {'seen':>9} {'usable':>9} {'dropped':>9} {'to read':>9} {'MB':>9}")
    for name in (*MODALITIES, "other"):
        records = plan.records.get(name, {"seen": 0, "kept": 0, "dropped": 0})
        cost = estimate.get(name, {"observations": 0, "bytes": 0})
        if records["seen"] or cost["observations"]:
            lines.append(
                f"{name:<10} {records['seen']:>9} {records['kept']:>9} {records['dropped']:>9} "
                f"{cost['observations']:>9} {cost['bytes'] / 1e6:>9.1f}"
            )
    lines += _cost_lines(plan)
    if plan.rejected:
        lines.append("cells not taken: " + ", ".join(f"{reason} {number}" for reason, number in plan.rejected.items()))
    return "\n".join(lines)


def _cost_lines(plan: Plan) -> list[str]:
    """Views per sample, what was and will be asked of each service, and how long the build takes."""
    cost = plan.estimate
    views = ", ".join(f"{number} with {count}" for count, number in cost["views"].items())
    lines = [f"views found per place: {views}"]
    asked = cost.get("asked", {}).get("requests", {})
    services = [name for name in SERVICES if name in asked or name in cost["services"]]
    if services:
        lines.append(
            f"{'service':<16} {'to plan':>9} {'to read':>9} {'MB':>9} {'per s':>6} {'hours':>7}  at the polite rate"
        )
        for name in services:
            row = cost["services"].get(name, {"requests": 0, "bytes": 0, "rate_per_s": SERVICES[name].rate_per_s})
            hours = (asked.get(name, 0) + row["requests"]) / row["rate_per_s"] / 3600
            lines.append(
                f"{name:<16} {asked.get(name, 0):>9} {row['requests']:>9} {row['bytes'] / 1e6:>9.1f} "
                f"{row['rate_per_s']:>6g} {hours:>7.2f}"
            )
        lines += [f"licence: {modality}: {text or 'not stated'}, {n}" for modality, text, n in cost["licences"]]
    return [*lines, *(_hours_lines(cost) if "slowest" in cost else [])]  # plans of earlier versions lack it


def _hours_lines(cost: Mapping[str, Any]) -> list[str]:
    """How long the build takes and why, and on what the figures rest."""
    name = cost["slowest"]
    limits = {"processors": "what the workers compute", "answers": "the wait for answers"}
    reason = limits.get(name) or f"the polite rate of {name}"
    number = cost["workers"]
    basis = f"measured on {cost['measured']} observations" if cost["measured"] else "from constants, nothing measured"
    return [
        f"build: {_duration(cost['build_hours'])} with {number} worker{'s' if number > 1 else ''}, bound by {reason}",
        f"Dataflow: {cost['vcpu_hours']:.2g} vCPU hours, {cost['cpu_hours']:.2g} of them computing",
        f"sizes: {basis}",
        *(f"note: {note}" for note in cost["notes"]),
    ]


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def plan_notes(plan: Plan) -> list[str]:
    """Returns a sentence for what the user may not expect: fewer places than asked for, a split without any."""
    notes = []
    if "priced" in plan.estimate:
        return []
    places, wanted = plan.places, plan.options["samples"]
    if wanted is not None and places < wanted:
        notes.append(
            f"note: {places} of the {wanted} places asked for were found: the sources or the region hold no more."
        )
    have = {shard.name.partition("/")[0] for shard in plan.shards}
    missing = [split for split in SPLITS if split not in have]
    if missing:
        rule = plan.split_rule
        levels = f"{rule['test_resolution']},{rule['val_resolution']}"
        finer = f"{rule['test_resolution'] + 1},{min(9, rule['val_resolution'] + 1)}"
        notes.append(
            f"note: no place is in {' or '.join(missing)}: the places touch too few of the H3 blocks that are drawn "
            f"(resolutions {levels}); for a small region give --split_resolution {finer}, or more --samples."
        )
    return notes


def closing_table(manifest: dict[str, Any], seconds: float | None = None) -> str:
    """Returns observations seen, kept, dropped by reason; samples, bytes and, where known, seconds."""
    lines = [f"{'modality':<10} {'seen':>9} {'kept':>9} {'dropped':>9}  reasons of all drops"]
    for name in MODALITIES:
        row = manifest["observations"].get(name)
        reasons = ", ".join(f"{reason} {n}" for reason, n in manifest["drops"].get(name, {}).items())
        if row or reasons:
            row = row or {"seen": 0, "kept": 0, "dropped": 0}
            lines.append(f"{name:<10} {row['seen']:>9} {row['kept']:>9} {row['dropped']:>9}  {reasons}")
    for name, reasons_of in manifest["drops"].items():
        if name not in MODALITIES:
            lines.append(f"{name:<10} {'':>9} {'':>9} {'':>9}  " + ", ".join(f"{r} {n}" for r, n in reasons_of.items()))
    samples = {split: counts.get("samples", 0) for split, counts in manifest["counts"].items()}
    size = sum(shard["bytes"] for shard in manifest["shards"])
    lines.append(
        f"{sum(samples.values())} samples ({', '.join(f'{split} {n}' for split, n in samples.items())}), "
        f"{len(manifest['shards'])} shards, {size / 1e6:.1f} MB" + (f", {seconds:.0f} s" if seconds is not None else "")
    )
    return "\n".join(lines)
