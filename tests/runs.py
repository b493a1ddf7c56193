import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pipelines.build_shards", "pipelines.cost.pilot", "geodata.raster", "tests.runs"])


def run_module(
    module: str, *arguments: object, limit_s: float = 200, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a module's `main` as a command, in a process of its own: a copy of one that has loaded Beam.

    Loading it takes two to three seconds of the processor; tests that kill, limit or mount start the command as users do.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        words = [*map(str, arguments)]
        process = FORKS.Process(target=_be, args=[module, words, {**os.environ, **(environment or {})}, said])
        process.start()
        try:
            process.join(limit_s)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired([module, *words], limit_s, *(path.read_bytes() for path in said))
        finally:
            if process.exitcode is None:
                os.killpg(process.pid or 0, signal.SIGKILL)
                process.join()
        return subprocess.CompletedProcess([module, *words], process.exitcode, *(path.read_text() for path in said))


def _be(module: str, arguments: list[str], environment: dict[str, str], said: list[Path]) -> None:
    """Becomes the command; its workers are of its group."""
    os.setsid()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [module, *arguments]
    sys.exit(importlib.import_module(module).main())


def run_build(*arguments: object, expect: int = 0, limit_s: float = 200, is_program: bool = False) -> str:
    """Runs a build in a process of its own and returns its stderr.

    Args:
        is_program: starts it as users do, and not as a copy: then it hashes strings otherwise than all copies.
    """
    if is_program:
        command = [sys.executable, "-m", "pipelines.build_shards", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s)
    else:
        done = run_module("pipelines.build_shards", *arguments, limit_s=limit_s)
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
