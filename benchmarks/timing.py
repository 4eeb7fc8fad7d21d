"""How the measurements are taken: alternating, in one process, as ratios."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# A turn repeats its call until so many milliseconds have passed, or nearly.
TURN = 100.0


@dataclass(frozen=True)
class Row:
    """One line of the table: the same work done by a peer and by us.

    Args:
        work: what was done.
        peer: who did it otherwise.
        peer_ms, ours_ms: median milliseconds of processor time.
        ratio: median of the ratios of neighbouring measurements; above 1
            means that ours is faster.
        agree: how it was checked that both did the same.
        mark: the ratio that was to be reached, where one was set.
    """

    work: str
    peer: str
    peer_ms: float
    ours_ms: float
    ratio: float
    agree: str
    mark: float | None = None


def compare(
    work: str,
    peer: str,
    theirs: Callable[[], object],
    ours: Callable[[], object],
    agree: str,
    repeats: int = 5,
    mark: float | None = None,
    parts: int = 1,
    once: bool = False,
) -> Row:
    """Time both by turns, so that a busy machine slows both alike.

    A call does `parts` equal pieces of work; milliseconds are given for one.
    With `once` there is one call in a turn, however short.
    """
    theirs(), ours()  # the first call pays for what is set up once
    turns = [
        (run, 1 if once else max(1, round(TURN / _milliseconds(run, 1))))
        for run in (theirs, ours)
    ]
    pairs = [
        tuple(_milliseconds(run, calls) for run, calls in turns)
        for _ in range(repeats)
    ]
    return Row(
        work,
        peer,
        statistics.median(t for t, _ in pairs) / parts,
        statistics.median(o for _, o in pairs) / parts,
        statistics.median(t / o for t, o in pairs),
        agree,
        mark,
    )


def _milliseconds(run: Callable[[], object], calls: int) -> float:
    """Processor time of one call, as the mean of so many."""
    start = time.process_time()
    for _ in range(calls):
        run()
    return 1000 * (time.process_time() - start) / calls


def peak_mb() -> float:
    """The most memory that this process has had."""
    status = Path("/proc/self/status")
    if not status.exists():  # in bytes on macOS, in KiB elsewhere
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
    # On Linux `ru_maxrss` begins with the memory of the parent.
    (line,) = (
        line
        for line in status.read_text(encoding="utf-8").splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) / 2**10
