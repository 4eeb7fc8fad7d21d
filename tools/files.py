"""Quick checks on any file: ``python -m tools.files FILE...`` (`make lint`).

A text ends in exactly one line end, has no blanks at the end of a line and no
marks of a merge; YAML, TOML and JSON can be read; no file is large; none
names the host of a package registry, because where packages come from is the
reader's choice.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

LARGEST = 1_000_000  # bytes; a chapter with its pictures stays below
MERGE = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
# Written in two parts, so that this file passes its own check.
REGISTRY = re.compile("pypi" + r"\.org|pythonhosted" + r"\.org")
READERS = {
    ".ipynb": json.loads,
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
}


def faults(path: Path) -> list[str]:
    """Give what is wrong with one file."""
    data = path.read_bytes()
    found = []
    if len(data) > LARGEST:
        found.append(f"{len(data)} bytes, more than {LARGEST}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return found
    if "\0" in text:
        return found
    if "\r" in text:
        found.append("line ends of Windows")
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        found.append("must end in exactly one line end")
    if path.suffix not in (".md", ".ipynb"):
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                found.append(f"line {number} ends in blanks")
    if MERGE.search(text):
        found.append("marks of a merge")
    if REGISTRY.search(text):
        found.append("names the host of a package registry")
    try:
        READERS.get(path.suffix, str)(text)
    except (ValueError, yaml.YAMLError) as error:
        found.append(f"cannot be read: {error}")
    return found


def main() -> int:
    """Check the files that the command names."""
    status = 0
    for name in sys.argv[1:]:
        path = Path(name)
        if path.is_file() and not path.is_symlink():
            for fault in faults(path):
                print(f"{name}: {fault}")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
