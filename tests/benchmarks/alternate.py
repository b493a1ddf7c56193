"""Times ways of doing the same in alternating rounds, so that what else the machine does meets all of them."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """One way, over all rounds."""

    elapsed: list[float]
    """Seconds."""
    work: list[float]
    """Seconds of the processor, of all threads: wanders less on a machine that others use."""

    def __str__(self) -> str:
        return f"{_show(statistics.median(self.elapsed))} ({_show(min(self.elapsed))} to {_show(max(self.elapsed))})"

    def over(self, other: "Times") -> tuple[float, float]:
        """Median over the rounds of how many times as long, and as much work, this way takes."""
        pairs = (self.elapsed, other.elapsed), (self.work, other.work)
        elapsed, work = (statistics.median(a / b for a, b in zip(*pair, strict=True)) for pair in pairs)
        return elapsed, work


def alternate(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Runs each way once in each round, after one round that does not count."""
    times = {way: Times([], []) for way in ways}
    for number in range(rounds + 1):
        for way, run in ways.items():
            start = time.perf_counter(), time.process_time()
            run()
            if number:
                times[way].elapsed.append(time.perf_counter() - start[0])
                times[way].work.append(time.process_time() - start[1])
    return times


def _show(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
