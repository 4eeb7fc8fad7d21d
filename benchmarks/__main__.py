"""`make bench`: print the table and write it to benchmarks/results/."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import recurrent

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    torch.set_num_threads(1)
    table = []
    print(f"{'work':44} {'beside':42} {'peer ms':>8} {'ours ms':>8} {'×':>6}")
    for row in recurrent.rows():
        table.append(recurrent.as_dict(row))
        print(
            f"{row.work:44} {row.peer:42} {row.peer_ms:8.1f} "
            f"{row.ours_ms:8.1f} {row.ratio:6.2f}",
            flush=True,
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "recurrent.json"
    about = {
        "command": "make bench",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "versions": {p: version(p) for p in ("torch", "d2l")},
        "rows": table,
    }
    text = json.dumps(about, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"written to {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
