"""Measuring a command: time, time of the processor, and the most memory that its process tree held."""

import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.runs import ROOT

STEP_S = 0.05
"""Between two looks at the process tree."""


@dataclass(frozen=True)
class Run:
    """One command, from its start to its end."""

    seconds: float
    processor_s: float
    """Time of the processor, of all its processes: wanders less on a machine that others use."""
    peak_mib: float
    """Largest sum of resident memory over the process tree; pages that processes share count for each of them."""
    said: str
    """What it wrote on both outputs."""


def measure(command: list[str], *, environment: dict[str, str] | None = None) -> Run:
    """Runs a command from the project's root; one that fails ends the benchmark with its last words."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    start, before_s = time.perf_counter(), _processor_s()
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(process.stdout.read()))
    reader.start()
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(_memory_mib(pid) for pid in _tree(process.pid)))
        time.sleep(STEP_S)
    seconds = time.perf_counter() - start
    reader.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{said[0].decode()[-3000:]}")
    return Run(seconds, _processor_s() - before_s, peak, said[0].decode(errors="replace"))


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _memory_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
