"""`make bench`: print the tables, write them to benchmarks/results/."""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import attention, recurrent, transformer

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or ["recurrent", "attention", "transformer"]
    if "recurrent" in wanted:
        rows = []
        _head("")
        for row in recurrent.rows():
            _show(row, "")
            rows.append(recurrent.as_dict(row))
        _write("recurrent", rows)
    for part in (attention, transformer):
        name = part.__name__.rpartition(".")[2]
        if name not in wanted:
            continue
        rows = []
        _head(f" {'peer MB':>8} {'ours MB':>8}")
        for row, *memory in part.rows():
            _show(row, "".join(f" {value:8.1f}" for value in memory))
            peer_mb, ours_mb = (float(f"{value:.3g}") for value in memory)
            more = {"peer_mb": peer_mb, "ours_mb": ours_mb}
            rows.append(recurrent.as_dict(row) | more)
        _write(name, rows)


def _head(more: str) -> None:
    print(
        f"{'work':52} {'beside':42} {'peer ms':>8} {'ours ms':>8} {'×':>6}"
        + more
    )


def _show(row, more: str) -> None:
    print(
        f"{row.work:52} {row.peer:42} {row.peer_ms:8.1f} "
        f"{row.ours_ms:8.1f} {row.ratio:6.2f}" + more,
        flush=True,
    )


def _write(name: str, rows: list[dict]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    about = {
        "command": "make bench",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "versions": {p: version(p) for p in ("torch", "d2l")},
        "rows": rows,
    }
    text = json.dumps(about, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
