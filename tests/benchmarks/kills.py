"""Kills builds at random moments and resumes them: is the corpus that of an undisturbed run?

python -m tests.benchmarks.kills --kills 50

SIGKILL goes to the whole process group, at a moment drawn uniformly over the run: while it plans, builds or finishes; of
every fourth run the resumed one is killed as well. Prints Markdown for BENCHMARKS.md.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
SECOND_KILL = 0.25
"""Share of the runs of which the resumed one is killed too."""
LIMIT_S = 300
OVER = "over before it was killed"


@dataclass(frozen=True)
class Kill:
    """One moment at which a run was killed."""

    seconds: float
    stage: str
    """What was going on."""
    finished: int
    """Shards with a sidecar."""

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.stage}, {self.finished} shards"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--samples", type=int, default=240, help="places of the demo")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        command = build_command(options.samples, options.workers)
        run(command, Path(scratch, "warm"))  # writes the demo world, which the others share
        shutil.rmtree(Path(scratch, "warm"))
        reference, seconds = Path(scratch, "reference", "demo"), time.monotonic()
        share_world(Path(scratch), reference.parent)
        run(command, reference)
        seconds = time.monotonic() - seconds
        print(f"{options.samples} places, undisturbed {seconds:.1f} s, seed {options.seed}\n")
        print("| run | killed at | in the resumed run | difference |\n| --- | --- | --- | --- |")
        bad, lost, doubled, stages = 0, 0, 0, Counter()
        for number in range(options.kills):
            output = Path(scratch, f"run-{number}", "demo")
            share_world(Path(scratch), output.parent)
            kills = [kill_after(command, output, rng.uniform(0, seconds))]
            while kills[0].stage == OVER:  # the run was faster than the measured one: it counts only if it is killed
                seconds = min(seconds, kills[0].seconds)
                shutil.rmtree(output)
                kills = [kill_after(command, output, rng.uniform(0, seconds))]
            if rng.random() < SECOND_KILL:
                kills.append(kill_after(command, output, rng.uniform(0, seconds)))
            run(command, output)
            differences = compare(output, reference)
            bad += bool(differences)
            lost, doubled = (a + b for a, b in zip((lost, doubled), count_keys(output, reference), strict=True))
            stages.update(kill.stage for kill in kills)
            told = "; ".join(differences) or "none"
            print(f"| {number} | {kills[0]} | {kills[1] if len(kills) > 1 else ''} | {told} |", flush=True)
            shutil.rmtree(output.parent)
    print("\n" + ", ".join(f"{count} x {stage}" for stage, count in stages.most_common()))
    print(
        f"{options.kills - bad} of {options.kills} resumed to identical bytes, {lost} samples lost, {doubled} doubled"
    )
    sys.exit(1 if bad else 0)


def build_command(samples: int, workers: int) -> list[str]:
    """Returns the command without its output."""
    command = [sys.executable, "-m", "pipelines.build_shards", "--region", "demo", "--samples", str(samples)]
    return [*command, "--workers", str(workers), "--samples_per_shard", "20"]


def share_world(source: Path, folder: Path) -> None:
    """Lets the corpora in a folder read the demo world that lies in another."""
    folder.mkdir(exist_ok=True)
    for world in source.glob(".demo-world-*"):
        (folder / world.name).symlink_to(world)


def run(command: list[str], output: Path) -> None:
    """Runs a build to its end."""
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    if done.returncode:
        raise SystemExit(f"{output} ended with {done.returncode}: {done.stderr[-3000:]}")


def kill_after(command: list[str], output: Path, seconds: float) -> Kill:
    """Starts a build and kills it after some seconds."""
    end = time.monotonic() + seconds
    return kill_when(command, output, lambda: time.monotonic() >= end)


def kill_when(command: list[str], output: Path, is_due: Callable[[], bool]) -> Kill:
    """Starts a build and kills it with all its processes once it is due, or says that it was over before."""
    start = time.monotonic()
    process = subprocess.Popen(
        [*command, "--output", str(output)], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not is_due() and process.poll() is None:
        time.sleep(0.001)
    over = process.poll() is not None
    if over and process.returncode:
        raise SystemExit(f"{output} ended by itself with {process.returncode}")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stage = OVER if over else find_stage(output)
    return Kill(time.monotonic() - start, stage, len(list(output.glob("sidecars/*.json"))))


def find_stage(output: Path) -> str:
    """Returns how far a build came, by its files."""
    if (output / "manifest.json").exists():
        return "after the manifest"
    if any((output / name).exists() for name in ("drops.parquet", "index.parquet", "README.md")):
        return "finishing"
    if any(output.glob("drops.parquet*")) or any(output.glob("index.parquet*")):
        return "finishing"
    if any(output.glob("sidecars/*.json")) or any(output.glob("*/*.tar*")):
        return "building"
    if (output / "plan" / "plan.json").exists():
        return "planned"
    return "planning" if output.exists() else "starting"


def compare(output: Path, reference: Path) -> list[str]:
    """Returns in what two corpora differ, one sentence each: lost and doubled samples, bytes, tables, leftovers."""
    found, wanted = _list_files(output), _list_files(reference)
    differences = [f"{name} is missing" for name in sorted(wanted - found)]
    differences += [f"{name} is left over" for name in sorted(found - wanted)]
    for name in sorted(found & wanted):
        if name.endswith((".tar", ".json", ".md")) and _read(output, name) != _read(reference, name):
            differences.append(f"{name} has other bytes")
        elif name.endswith(".parquet") and not pq.read_table(output / name).equals(pq.read_table(reference / name)):
            differences.append(f"{name} has other rows")
    lost, doubled = count_keys(output, reference)
    differences += [f"{lost} samples are lost"] if lost else []
    differences += [f"{doubled} samples are doubled"] if doubled else []
    return differences


def count_keys(output: Path, reference: Path) -> tuple[int, int]:
    """Returns how many samples of the reference are lost, and how many occur once more than once."""
    keys = Counter(pq.read_table(output / "index.parquet")["key"].to_pylist())
    wanted = set(pq.read_table(reference / "index.parquet")["key"].to_pylist())
    return len(wanted - set(keys)), keys.total() - len(keys)


def _list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _read(folder: Path, name: str) -> bytes:
    """Returns a file's bytes; the plan names the demo world by its path, which differs from run to run."""
    return (folder / name).read_bytes().replace(str(folder.parent).encode(), b"")


if __name__ == "__main__":
    main()
