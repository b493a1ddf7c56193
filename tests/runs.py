import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


def run_build(*arguments: str, expect: int = 0, limit_s: float = 200) -> str:
    """Runs a build in a process of its own and returns its stderr."""
    command = [sys.executable, "-m", "pipelines.build_shards", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s)
    assert done.returncode == expect, done.stderr[-3000:]
    return done.stderr
