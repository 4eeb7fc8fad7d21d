"""`make mutants`: break a copy of the library, and see what notices.

Each break is made in a copy of the project, where the unit tests named for
it run first, then all unit tests, then the chapters, until one fails. What
fails must pass in a copy without a break, or it is no witness. The list of
what caught each break is printed; a break that nothing catches ends the run
with exit status 1. An argument picks breaks by a part of their name.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.mutants.breaks import BREAKS, Break

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (
    ".git", ".venv", ".*cache*", ".hypothesis", "_build", "__pycache__",
)  # fmt: skip
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Run the breaks; the exit status."""
    wanted = arguments[0] if arguments else ""
    chosen = [one for one in BREAKS if wanted in one.name]
    survivors = []
    for one in chosen:
        caught = _caught(one)
        print(f"{one.name:52} {caught or 'SURVIVED'}", flush=True)
        if not caught:
            survivors.append(one.name)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} breaks caught")
    return 1 if survivors or not chosen else 0


def _caught(one: Break) -> str | None:
    with _copy() as copy:
        path = copy / "s2s_lib" / f"{one.module}.py"
        text = path.read_text(encoding="utf-8")
        if text.count(one.right) != 1:
            raise SystemExit(
                f"the break {one.name!r} looks for {one.right!r} in "
                f"{one.module}.py, where it stands {text.count(one.right)} "
                "times instead of once: write the break anew"
            )
        path.write_text(text.replace(one.right, one.wrong), encoding="utf-8")
        for tests in _rounds(one):
            failed = _first_failure(copy, tests)
            if failed:
                _must_pass(failed.split("::")[0])
                return failed
    return None


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of the project for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        yield copy


@cache
def _must_pass(file: str) -> None:
    """Stop if a file of tests fails in a copy without a break."""
    with _copy() as copy:
        nbval = ["--nbval", "--nbval-sanitize-with=tests/sanitize.cfg"]
        options = nbval if file.endswith(".ipynb") else []
        if failed := _first_failure(copy, [*options, file]):
            raise SystemExit(
                f"{failed} fails in a copy without a break too, so it is no "
                "witness: mend it, or what the copy lacks"
            )


def _rounds(one: Break) -> Iterator[list[str]]:
    yield [f"tests/unit/test_{name}.py" for name in one.tests]
    yield ["tests/unit"]
    yield ["--nbval", "--nbval-sanitize-with=tests/sanitize.cfg", "chapters"]


def _first_failure(copy: Path, tests: list[str]) -> str | None:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE"]
    # The copy comes before the installed library, in kernels too; models
    # trained by a broken library stay out of the common cache.
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "S2S_CACHE_DIR": str(copy / ".cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *tests],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    match = FAILED.search(done.stdout)
    if done.returncode != 1 or match is None:
        raise SystemExit(done.stdout + done.stderr)
    return match.group(1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
