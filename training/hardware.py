"""The machine at hand: which device, how fast it multiplies, whether bfloat16 pays, who keeps freed memory."""

import ctypes
import os
import time

import torch

from training.options import OptionError

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "V100": 125e12}
"""Dense bfloat16 (V100: float16) operations per second by a word of the GPU's name, from NVIDIA's product pages."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
BF16_PAYS = 1.5
"""On a CPU bfloat16 is taken where it multiplies so many times faster than float32."""


def find_device(name: str) -> torch.device:
    """Returns the device of that name; `auto` is a GPU where there is one, else the CPU.

    Raises:
        OptionError: if there is no such device.
    """
    has_gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"--device {name!r} is no device: write auto, cpu, cuda or cuda:0.") from error
    if device.type == "cuda" and (not has_gpu or (device.index or 0) >= torch.cuda.device_count()):
        raise OptionError(
            f"--device {name}: no GPU of that name, {torch.cuda.device_count()} are usable: take --device cpu or auto."
        )
    return device


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Returns what towers multiply in: `auto` is bfloat16 on GPUs that have it and on CPUs where it pays."""
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    pays = measure_flops(torch.bfloat16) > BF16_PAYS * measure_flops(torch.float32)
    return torch.bfloat16 if pays else torch.float32


def measure_flops(dtype: torch.dtype, size: int = 1024) -> float:
    """Returns operations per second of the best of a few square matrix products on this CPU."""
    a_LD, b_DL = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a_LD @ b_DL
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def find_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the peak by which MFU is told: of the product page on a known GPU, measured on a CPU, else infinity."""
    if device.type == "cpu":
        return measure_flops(dtype)
    name = torch.cuda.get_device_name(device)
    return next((peak for word, peak in PEAK_FLOPS.items() if word in name), float("inf"))


def keep_memory() -> bool:
    """Lets this process keep what it frees; returns whether its C library can.

    Each step frees and takes the same gigabytes. The GNU C library gives large blocks back and has the kernel clear new
    ones page by page (mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD), which cost a CPU about a tenth of the time of a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))


def count_threads(wanted: int) -> int:
    """Returns how many threads decode: as wanted, else one a core that this process may use, at most 8."""
    return wanted or min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
