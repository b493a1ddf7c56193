"""Who may be at work in the folder of a corpus at the same time."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from pipelines.files.lock import LOCK, BusyError, hold, is_lock
from tests.folders import write_folder
from tests.pipelines.test_build_folder import build
from tests.runs import ROOT

HOLD = "import sys; from pipelines.files.lock import hold\nwith hold(*sys.argv[1:]): print('held', flush=True); input()"


def other_process(output, part=""):
    """Starts a process that holds a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output), part], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.communicate("\n", timeout=30)


def test_a_second_run_is_told_who_is_there(tmp_path):
    first = other_process(tmp_path)
    for part in ("", "1/2"):
        with pytest.raises(BusyError) as error, hold(str(tmp_path), part):
            pass
        assert f"process {first.pid} on {socket.gethostname()} since 20" in str(error.value)
    end(first)
    assert os.listdir(tmp_path) == []
    with hold(str(tmp_path)):
        assert os.listdir(tmp_path) == [LOCK]


def test_parts_run_side_by_side_but_not_twice_and_nothing_else_beside_them(tmp_path):
    first, second = other_process(tmp_path, "1/2"), other_process(tmp_path, "2/2")
    for part in ("", "2/2"):
        with pytest.raises(BusyError, match=f"process {second.pid} "), hold(str(tmp_path), part):
            pass
    end(second)
    with hold(str(tmp_path), "2/2"):
        assert all(map(is_lock, os.listdir(tmp_path)))
    with pytest.raises(BusyError), hold(str(tmp_path)):
        pass
    end(first)
    assert os.listdir(tmp_path) == []


def test_the_lock_of_a_killed_run_bars_nobody(tmp_path):
    first = other_process(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert os.listdir(tmp_path) == [LOCK]
    with hold(str(tmp_path)):
        pass
    assert os.listdir(tmp_path) == []


def test_a_folder_into_which_nothing_came_is_not_left_behind(tmp_path):
    with hold(str(tmp_path / "new")):
        pass
    assert not (tmp_path / "new").exists()
    with hold("gs://bucket/corpus"):
        pass


@pytest.mark.slow
def test_two_builds_of_one_corpus_end_the_second_with_a_sentence(tmp_path):
    folder = write_folder(tmp_path / "mine", places=3)
    first = other_process(tmp_path / "out")
    said = build(folder, tmp_path / "out", "--workers", "1", expect=1)
    assert said.startswith("error: Another run is at work in ") and said.count("\n") == 1
    end(first)
    killed = other_process(tmp_path / "out")
    killed.kill()
    killed.wait()
    build(folder, tmp_path / "out", "--workers", "1")
    assert not list((tmp_path / "out").glob(f"{LOCK}*"))
