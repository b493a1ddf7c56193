import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes are forked on Linux alone")
SCRIPT = """
import multiprocessing, sys
from pipelines.engine import workers
{first_line}
workers.fork_ahead(2)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
{last_line}
"""
LIMIT_S = 60


def start(last_line, first_line=""):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(first_line=first_line, last_line=last_line)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(pids):
    end = time.monotonic() + LIMIT_S
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end, "a worker process is left behind"
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["killed", "ends"])
def test_waiting_worker_processes_end_with_their_command(how):
    process = start("sys.stdin.read()")
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2 and all(is_running(pid) for pid in pids)
    if how == "killed":
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    wait_for_end(pids)


def test_a_process_with_threads_is_not_forked():
    process = start(
        "", first_line="import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    assert process.communicate(timeout=LIMIT_S)[0].split() == []


def test_one_that_is_gone_is_replaced():
    process = start(
        "pids = [c.pid for c in multiprocessing.active_children()]; import os; [os.kill(p, 9) for p in pids]; "
        "[c.join() for c in multiprocessing.active_children()]; "
        "started = workers._start(dict(os.environ)); started.kill(); print(type(started).__name__, workers._FORKED)"
    )
    assert process.communicate(timeout=LIMIT_S)[0].split()[-2:] == ["Popen", "[]"]
