import ctypes
import subprocess
import sys

import pytest
import torch

from training.hardware import choose_precision

GROW = """
import os, sys, torch
from training.hardware import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
before = open("/proc/self/statm").read().split()[1]
block = torch.ones(50_000_000)
del block
print((int(open("/proc/self/statm").read().split()[1]) - int(before)) * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_memory_that_is_freed_stays_with_the_process():
    def left(how):
        return int(subprocess.run([sys.executable, "-c", GROW, how], capture_output=True, check=True).stdout)

    assert left("kept") > 150e6 > 50e6 > left("given back")


def test_a_gpu_that_only_imitates_bfloat16_multiplies_in_float32(monkeypatch):
    def is_supported(including_emulation=True):
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert choose_precision("auto", torch.device("cuda")) == torch.float32
