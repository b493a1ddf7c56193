"""The same build through Beam's portability framework: on Flink where it is there, and on Beam's own job service."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.engine.run import beam_options, prepare
from pipelines.plan.options import parse_options
from tests.folders import write_folder
from tests.runs import ROOT, run_build

START_S = 60


def find_jar() -> Path | None:
    """Returns the job server of Flink that the user has, if any."""
    named = os.environ.get("SAMEPLACE_FLINK_JAR")
    if named:
        return Path(named)
    cached = Path.home().joinpath(".apache_beam/cache/jars").glob("beam-runners-flink-*-job-server-*.jar")
    return max(cached, default=None)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=14)


@pytest.fixture(scope="module")
def local(source, tmp_path_factory):
    """Digests of the shards that a plain build gives."""
    output = tmp_path_factory.mktemp("local") / "corpus"
    build(source, output, "--workers", "1")
    return digests(output)


def build(source, output, *more):
    options = ("--region", "DE", "--sources", f"folder:{source}", "--output", output, "--samples_per_shard", "4")
    run_build(*options, *more)


def digests(output):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in output.glob("*/*.tar")}


def test_flags_of_flink_pass_through():
    text = "--region demo --output shards/x --workers 3 --runner FlinkRunner --flink_master=cluster:8081"
    options, rest = parse_options([*text.split(), "--flink_job_server_jar", "/jars/flink.jar"])
    prepare(options, rest)
    flags = beam_options(options, rest, tasks=9).get_all_options()
    assert (flags["flink_master"], flags["flink_job_server_jar"]) == ("cluster:8081", "/jars/flink.jar")
    assert flags["parallelism"] == 3


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="Flink needs Java")
@pytest.mark.skipif(not find_jar(), reason="no job server of Flink: name its jar with SAMEPLACE_FLINK_JAR")
def test_flink_gives_the_bytes_of_a_local_build(source, local, tmp_path):
    jar = find_jar()
    assert jar.is_file(), f"SAMEPLACE_FLINK_JAR names {jar}, which is not there"
    build(source, tmp_path / "flink", "--runner", "FlinkRunner", "--flink_job_server_jar", jar, "--workers", "1")
    assert digests(tmp_path / "flink") == local


@pytest.mark.slow
def test_a_portable_runner_gives_the_bytes_of_a_local_build(source, local, tmp_path):
    jobs, workers = free_port(), free_port()
    module = "apache_beam.runners.portability.local_job_service_main"
    with (
        server([module, "--port", str(jobs), "--staging_dir", str(tmp_path / "staging")], jobs),
        server(["apache_beam.runners.worker.worker_pool_main", "--service_port", str(workers)], workers),
    ):
        portable = ["--runner", "PortableRunner", "--job_endpoint", f"localhost:{jobs}"]
        pool = ["--environment_type", "EXTERNAL", "--environment_config", f"localhost:{workers}"]
        build(source, tmp_path / "out", *portable, *pool, "--mounted", os.path.commonpath([source, tmp_path]))
    assert digests(tmp_path / "out") == local


@contextmanager
def server(arguments, port):
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


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
