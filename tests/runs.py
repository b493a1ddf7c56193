import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


def run_build(*arguments: str, expect: int = 0, limit_s: float = 200) -> str:
    """Runs a build in a process of its own and returns its stderr."""
    command = [sys.executable, "-m", "pipelines.build_shards", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s)
    assert done.returncode == expect, done.stderr[-3000:]
    return done.stderr


def build_here(*arguments: object) -> Path:
    """Runs a build of one worker in this process and returns the corpus."""
    from pipelines.build_shards import build  # tests of the trainer do without Beam
    from pipelines.engine.log import Log
    from pipelines.plan.options import parse_options

    options, rest = parse_options([*map(str, arguments), "--workers", "1"])
    build(options, rest, Log())
    return Path(options.output)


def read_plan_table(corpus: Path | str, kind: str) -> pa.Table:
    """Returns all rows of one of a plan's tables: places, references, items or drops."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(corpus, "plan").glob(f"*.{kind}.parquet")))
