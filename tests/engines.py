"""One small plan built by every engine, and the digests of its shards side by side: `python -m tests.engines`.

Workers of this machine, the rehearsal of Dataflow, three parts of a job array, Beam's portable job service, and Flink
where its job server and Java are there. Each engine must write the same bytes.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.folders import write_folder
from tests.rehearsal import rehearse
from tests.runs import ROOT, run_build
from tests.services.objects import google_storage

PLACES, START_S = 14, 60
Digests = dict[str, str]
"""SHA-256 by the name of a shard."""


def find_jar() -> Path | None:
    """Returns the job server of Flink that the user has, if any."""
    named = os.environ.get("SAMEPLACE_FLINK_JAR")
    if named:
        return Path(named)
    cached = Path.home().joinpath(".apache_beam/cache/jars").glob("beam-runners-flink-*-job-server-*.jar")
    return max(cached, default=None)


def build(source: Path, output: Path, *more: object) -> Digests:
    """Builds the plan and returns what its shards are."""
    options = ("--region", "DE", "--sources", f"folder:{source}", "--output", output, "--samples_per_shard", "4")
    run_build(*map(str, (*options, *more)))
    return digests(output)


def digests(output: Path) -> Digests:
    """Returns the digests of a corpus's shards."""
    paths = sorted(output.glob("*/*.tar"))
    return {path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def build_parts(source: Path, output: Path, parts: int = 3) -> Digests:
    """Builds the plan in parts, as a job array does, and merges them."""
    build(source, output, "--workers", "1", "--plan_only")
    for number in range(1, parts + 1):
        build(source, output, "--workers", "1", "--partition", f"{number}/{parts}")
    command = [sys.executable, "-m", "pipelines.finish", str(output)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    return digests(output)


def build_portable(source: Path, output: Path) -> Digests:
    """Builds the plan through Beam's job service, with workers from its pool."""
    jobs, workers = free_port(), free_port()
    module = "apache_beam.runners.portability.local_job_service_main"
    with (
        server([module, "--port", str(jobs), "--staging_dir", f"{output}-staging"], jobs),
        server(["apache_beam.runners.worker.worker_pool_main", "--service_port", str(workers)], workers),
    ):
        portable = ["--runner", "PortableRunner", "--job_endpoint", f"localhost:{jobs}"]
        pool = ["--environment_type", "EXTERNAL", "--environment_config", f"localhost:{workers}"]
        return build(source, output, *portable, *pool, "--mounted", os.path.commonpath([source, output]))


def build_on_flink(source: Path, output: Path) -> Digests:
    """Builds the plan on a Flink of this machine."""
    jar = find_jar()
    assert jar is not None and jar.is_file(), f"SAMEPLACE_FLINK_JAR names {jar}, which is not there"
    return build(source, output, "--runner", "FlinkRunner", "--flink_job_server_jar", jar, "--workers", "1")


def rehearse_dataflow(folder: Path) -> Digests:
    """Builds the plan through the stand-in for Dataflow, into an emulated gs://; its folder is made alike."""
    with google_storage(folder) as store:
        return rehearse(folder, store).remote


def compare(folder: Path) -> dict[str, Digests | str]:
    """Builds the plan with each engine; why not, in place of digests, for one that is not here."""
    source = write_folder(folder / "mine", places=PLACES)
    engines: dict[str, Callable[[], Digests]] = {
        "FnApiRunner, 1 worker": lambda: build(source, folder / "one", "--workers", "1"),
        "FnApiRunner, 2 workers": lambda: build(source, folder / "two", "--workers", "2"),
        "3 partitions": lambda: build_parts(source, folder / "parts"),
        "PortableRunner": lambda: build_portable(source, folder / "portable"),
        "DataflowRunner (rehearsal)": lambda: rehearse_dataflow(folder / "dataflow"),
    }
    (folder / "dataflow").mkdir()
    found: dict[str, Digests | str] = {name: run() for name, run in engines.items()}
    why_not = "no Java" if not shutil.which("java") else "" if find_jar() else "no job server (SAMEPLACE_FLINK_JAR)"
    found["FlinkRunner"] = f"skipped: {why_not}" if why_not else build_on_flink(source, folder / "flink")
    return found


@contextmanager
def server(arguments: list[str], port: int) -> Iterator[None]:
    """Runs one of Beam's servers until the block ends, and then ends just it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the pool starts what is called python
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_S
        while not listens(port):
            assert process.poll() is None, f"{arguments[0]} ended with status {process.returncode}"
            assert time.monotonic() < deadline, f"{arguments[0]} does not listen"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    """Returns whether a server of this machine answers at a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Returns a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main() -> int:
    """Builds, prints the table, and returns whether all engines agree."""
    with TemporaryDirectory(prefix="sameplace-") as scratch:
        found = compare(Path(scratch))
    whole = {name: made for name, made in found.items() if isinstance(made, dict)}
    shards = sorted(set().union(*whole.values()))
    print("| engine | " + " | ".join(shards) + " |\n| --- |" + " --- |" * len(shards))
    for name, made in found.items():
        row = [made] if isinstance(made, str) else [f"`{made.get(shard, 'missing')[:16]}`" for shard in shards]
        print(f"| {name} | " + " | ".join(row) + " |")
    is_same = len({tuple(sorted(made.items())) for made in whole.values()}) == 1
    print(f"\n{len(whole)} engines, {len(shards)} shards: {'one list of sha256' if is_same else 'THEY DIFFER'}")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
