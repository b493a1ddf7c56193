"""The same build through Beam's portability framework: on Flink where it is there, and on Beam's own job service."""

import shutil

import pytest

from pipelines.engine.run import beam_options, prepare
from pipelines.plan.options import parse_options
from tests.engines import build, build_on_flink, build_portable, find_jar
from tests.folders import write_folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=14)


@pytest.fixture(scope="module")
def local(source, tmp_path_factory):
    """Digests of the shards that a plain build gives."""
    return build(source, tmp_path_factory.mktemp("local") / "corpus", "--workers", "1")


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
    assert build_on_flink(source, tmp_path / "flink") == local


@pytest.mark.slow
def test_a_portable_runner_gives_the_bytes_of_a_local_build(source, local, tmp_path):
    assert build_portable(source, tmp_path / "out") == local
