"""List the commands that reproduce the files in results/: ``make results``."""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "results"


def main() -> int:
    """Print one line per file: seconds of training, command, name."""
    paths = sorted(FOLDER.glob("*.json"))
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        seconds = record.get("training_seconds", record.get("seconds"))
        took = f"{seconds:7.0f} s" if seconds is not None else "       ? "
        print(f"{took}  {record.get('command', '?')}  # {path.name}")
    if not paths:
        print("results/ holds no file yet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
