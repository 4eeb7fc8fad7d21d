"""`make bench`: print the tables, write them to benchmarks/results/.

``python -m benchmarks PART ...`` measures some parts only, and
``python -m benchmarks page`` writes the page from the files, measuring
nothing.
"""

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.attention import MEMORY_MARK
from benchmarks.table import PAGE, PARTS, RESULTS, write_page
from benchmarks.timing import Row


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or [*PARTS, "page"]
    unknown = set(wanted) - {*PARTS, "page"}
    if unknown:
        raise SystemExit(
            f"there is no part {sorted(unknown)[0]!r}; take some of "
            f"{', '.join(PARTS)}, or page"
        )
    for name in PARTS:
        if name not in wanted:
            continue
        if find_spec(f"benchmarks.{name}") is None:
            print(f"{name}: not there, left out")
            continue
        print(f"\n{name}")
        rows = []
        for row in _rows(name):
            print(_line(row), flush=True)
            rows.append(row)
        _write(name, rows)
    write_page()
    print(f"written to {PAGE.name}")


def _rows(name: str) -> Iterator[dict]:
    """A part's rows as they go to the file."""
    for found in import_module(f"benchmarks.{name}").rows():
        if isinstance(found, dict):
            yield found
            continue
        row, *memory = found if isinstance(found, tuple) else (found,)
        yield _as_dict(row, *memory)


def _as_dict(row: Row, *memory: float) -> dict:
    """Rounded to what is worth keeping; without what does not apply."""
    found = asdict(row)
    if memory:
        found |= {"peer_mb": memory[0], "ours_mb": memory[1]}
        if row.mark is not None:
            found["mark_memory"] = MEMORY_MARK
    return {
        key: float(f"{value:.3g}") if isinstance(value, float) else value
        for key, value in found.items()
        if value is not None
    }


def _line(row: dict) -> str:
    if "peer" not in row:
        return ", ".join(f"{key}: {value}" for key, value in row.items())
    memory = ""
    if "peer_mb" in row:
        memory = f", {row['peer_mb']:8.1f} {row['ours_mb']:8.1f} MB"
    return (
        f"{row['work']:56} {row['peer']:42} {row['peer_ms']:8.1f} "
        f"{row['ours_ms']:8.1f} ms {row['ratio']:6.2f}×{memory}"
    )


def _processor() -> str:
    """The processor's name; where the system does not tell, its kind."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _write(name: str, rows: list[dict]) -> None:
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": f"python -m benchmarks {name}",
        "machine": f"{_processor()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, 1 thread, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "versions": {p: version(p) for p in ("torch", "d2l", "joeynmt")},
        "rows": rows,
    }
    text = json.dumps(about, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
