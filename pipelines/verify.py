"""Re-reads a finished corpus and names everything that is damaged.

python -m pipelines.verify shards/demo
"""

import argparse
import logging
import os
import sys
from collections import Counter
from dataclasses import asdict

from tqdm import tqdm

from pipelines.engine.command import run_command
from pipelines.engine.log import Log
from pipelines.files import storage
from pipelines.verification.examine_corpus import examine_corpus
from pipelines.verification.fault import CHECKS
from pipelines.verification.findings import Totals
from schemas.corpus import INDEX, CorpusError


def main(arguments: list[str] | None = None) -> int:
    """Prints the table of checks and every fault, and returns the exit status: 0 where there is none, 1 otherwise."""
    logging.basicConfig(level=logging.CRITICAL, force=True)  # GDAL says aloud what becomes a fault
    options = _parse(arguments)
    return run_command(lambda: _verify(options), CorpusError, storage.AddressError, log=Log(options.log_json))


def _verify(options: argparse.Namespace) -> int:
    storage.reach(options.corpus)
    with tqdm(unit="sample", file=sys.stderr, disable=options.log_json or None) as bar:
        totals = examine_corpus(options.corpus, options.workers, bar.update)
    _say(totals, Log(options.log_json, sys.stdout))
    return 1 if totals.faults else 0


def table(totals: Totals) -> str:
    """Returns the checks, one a line, with what was looked at and how many faults were found."""
    faults = Counter(fault.check for fault in totals.faults)
    lines = [f"{'check':<13} {'examined':>9} {'faults':>7}  law"]
    for check, law in CHECKS.items():
        lines.append(f"{check:<13} {totals.examined[check]:>9} {faults[check]:>7}  {law}")
    return "\n".join(lines)


def _say(totals: Totals, out: Log) -> None:
    faults = Counter(fault.check for fault in totals.faults)
    checks = {check: {"examined": totals.examined[check], "faults": faults[check]} for check in CHECKS}
    out.say("checks", table(totals), checks=checks)
    for fault in totals.faults:
        out.say("fault", str(fault), **asdict(fault))
    samples = {fault.key for fault in totals.faults if fault.key}
    text = f"{len(totals.faults)} faults, {len(samples)} samples concerned" if totals.faults else "no fault"
    if any(fault.shard.endswith(".tar") for fault in totals.faults):
        text += (
            ": delete the damaged shards and their sidecars and run the command that built the corpus again, "
            "which builds just these"
        )
    elif totals.faults:
        text += f": run the command that built the corpus again, which writes {INDEX} and the manifest anew"
    out.say("done", text, faults=len(totals.faults), samples=len(samples))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.verify", description="Re-reads a finished corpus and names everything damaged."
    )
    parser.add_argument("corpus", help="folder of the corpus, local, gs:// or s3://")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--log_json", action="store_true", help="say everything as JSON lines")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers {options.workers} is too small: give at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
