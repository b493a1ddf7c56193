"""What goes wrong around a build: one sentence, nothing finished is damaged, and the same command goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.benchmarks import kills
from tests.folders import write_folder
from tests.runs import ROOT, run_build

pytestmark = pytest.mark.slow
LIMIT_S = 60
"""A run that has not ended by then counts as hanging."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "mine", places=12)


@pytest.fixture(scope="module")
def reference(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    run_build(*arguments(source, output))
    return read_corpus(output)


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, whose size and mode can be changed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a disk of its own")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def remount(disk, options):
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def arguments(source, output):
    return ("--region", "DE", "--sources", f"folder:{source}", "--output", output, "--samples_per_shard", "2", "--workers", "2")  # fmt: skip


def read_corpus(output):
    return {str(path.relative_to(output)): path.read_bytes() for path in output.glob("*/*.tar")} | {
        name: (output / name).read_bytes() for name in ("index.parquet", "drops.parquet", "manifest.json")
    }


def check_failed(stderr, words):
    """One sentence, no stack."""
    sentences = [line for line in stderr.replace("\r", "\n").splitlines() if line.startswith("error:")]
    assert len(sentences) == 1 and words in sentences[0], stderr[-3000:]
    assert "Traceback" not in stderr, stderr[-3000:]


def check_finished(output, reference):
    """What a sidecar vouches for is whole."""
    finished = [path.name.partition(".")[0] for path in output.glob("sidecars/*.json")]
    for name in finished:
        shard = f"{name.partition('-')[0]}/{name}.tar"
        assert (output / shard).read_bytes() == reference[shard]
    assert not (output / "manifest.json").exists()
    return len(finished)


def check_resumed(source, output, reference):
    run_build(*arguments(source, output))
    assert read_corpus(output) == reference
    assert not list(output.rglob("*.tmp"))


def test_a_full_disk(source, disk, reference):
    output = disk / "out"
    run_build(*arguments(source, output), "--dry_run")
    shards = [name for name in reference if name.endswith(".tar")]
    room = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    remount(disk, f"size={room + int(3.5 * len(reference[shards[0]]))}")
    check_failed(run_build(*arguments(source, output), expect=1), "No space left on device")
    assert 0 < check_finished(output, reference) < len(shards)
    remount(disk, "size=64m")
    check_resumed(source, output, reference)


def test_a_disk_that_is_full_from_the_start(source, disk, reference):
    remount(disk, "size=16k")
    check_failed(run_build(*arguments(source, disk / "out"), expect=1), "No space left on device")
    remount(disk, "size=64m")
    check_resumed(source, disk / "out", reference)


def test_an_output_that_becomes_read_only(source, disk, reference):
    output = disk / "out"
    run_build(*arguments(source, output), "--dry_run")
    remount(disk, "ro")
    check_failed(run_build(*arguments(source, output), expect=1), "Read-only file system")
    assert check_finished(output, reference) == 0
    remount(disk, "rw")
    check_resumed(source, output, reference)


def test_an_output_that_is_read_only_from_the_start(source, disk, reference):
    remount(disk, "ro")
    check_failed(run_build(*arguments(source, disk / "out"), expect=1), "Read-only file system")
    assert not (disk / "out").exists()


def start(source, output):
    command = [sys.executable, "-m", "pipelines.build_shards", *map(str, arguments(source, output))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def find_workers(pid):
    """Returns the worker processes of a build; threads and processes may end while they are listed."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                if b"pipelines." in Path(f"/proc/{child}/cmdline").read_bytes():  # a copy of the command, or a program
                    found.append(int(child))
    return found


def wait_for(condition, process):
    end = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert process.poll() is None and time.monotonic() < end, "the moment did not come"
        time.sleep(0.01)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="finds worker processes in /proc")
@pytest.mark.parametrize("moment", ["as it starts", "at work"])
def test_a_worker_process_that_is_killed(source, tmp_path, reference, moment):
    """At work: an article file that is a pipe without a writer holds the workers in the middle of their shards.

    One that dies before it has work is replaced, unless it is just about to be given some.
    """
    output = tmp_path / "out"
    run_build(*arguments(source, output), "--dry_run")
    texts = source / "texts.jsonl"
    content = texts.read_bytes()
    if moment == "at work":
        texts.unlink()
        os.mkfifo(texts)
    process = start(source, output)
    try:
        workers = wait_for(lambda: find_workers(process.pid), process)
        if moment == "at work":
            wait_for(lambda: list(output.glob("*/*.tmp")), process)
            workers = find_workers(process.pid)
        os.kill(workers[-1], signal.SIGKILL)
        stderr = process.communicate(timeout=LIMIT_S)[1]
    finally:
        process.kill()
        process.wait()
        texts.unlink()
        texts.write_bytes(content)
    if moment == "as it starts" and not process.returncode:
        assert all((output / name).read_bytes() == content for name, content in reference.items())
        return
    assert process.returncode == 1
    check_failed(stderr, "A worker process was ended by SIGKILL")
    check_finished(output, reference)
    check_resumed(source, output, reference)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A demo corpus and the command that built it."""
    scratch = tmp_path_factory.mktemp("kills")
    command = kills.build_command(60, 2)
    kills.run(command, scratch / "demo")
    return command, scratch / "demo"


@pytest.mark.parametrize(
    ("moment", "stage"),
    [
        (lambda output: (output / "plan/plan.json").exists(), "planned"),
        (lambda output: any(output.glob("sidecars/*.json")), "building"),
        (lambda output: (output / "index.parquet").exists(), "finishing"),
    ],
    ids=["after the plan", "after the first sidecar", "between index and manifest"],
)
def test_a_build_that_is_killed_goes_on_to_the_same_bytes(undisturbed, tmp_path, moment, stage):
    command, reference = undisturbed
    output = tmp_path / "demo"
    kills.share_world(reference.parent, tmp_path)
    for _ in range(5):  # the last moment is short, and a busy machine may miss it
        kill = kills.kill_when(command, output, lambda: moment(output))
        if kill.stage == stage:
            break
        shutil.rmtree(output)
    assert kill.stage == stage
    kills.run(command, output)
    assert kills.compare(output, reference) == []


def test_a_comparison_tells_what_differs(undisturbed, tmp_path):
    reference = undisturbed[1]
    output = tmp_path / "demo"
    shutil.copytree(reference, output)
    table = pq.read_table(output / "index.parquet")
    pq.write_table(pa.concat_tables([table.slice(2), table.slice(2, 1)]), output / "index.parquet")
    shard = next(output.glob("train/*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1])
    (output / "train/x.tar.tmp").touch()
    told = [what for what in kills.compare(output, reference) if not what.startswith("plan/")]  # it names its folder
    assert told == [
        "train/x.tar.tmp is left over", "index.parquet has other rows", f"train/{shard.name} has other bytes",
        "2 samples are lost", "1 samples are doubled",
    ]  # fmt: skip
