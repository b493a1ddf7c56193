"""How a worker's C library gives out memory: from few heaps, and what was freed is kept for the next picture."""

import ctypes

_SETTINGS = {-8: 2, -3: 30_000_000, -1: 64_000_000}
"""malloc.h of glibc: M_ARENA_MAX, else a heap for each thread; M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, bytes, else the
arrays of each photo (0.1 to 2 MB) are mapped anew, which was a fifth of its time."""


def keep_memory() -> None:
    """Sets it for this process; does nothing where the C library has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _SETTINGS.items():
            mallopt(parameter, value)
